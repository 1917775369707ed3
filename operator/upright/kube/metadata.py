"""Watching which objects exist, and nothing of what is in them: ConfigMaps and claims that others make.

Kopf cannot ask for metadata alone, and whole ConfigMaps of a whole cluster would not fit into memory.
"""

import asyncio
import logging
from collections.abc import Iterable

from upright.contract import Manifest
from upright.kube.client import Client
from upright.kube.connection import LONGEST_WAIT
from upright.kube.errors import ApiError, ExpiredError, TooLargeError
from upright.kube.listing import Listed, Seen, Told, take_in
from upright.kube.objects import version_of
from upright.kube.patience import Signs, delays
from upright.kube.places import Place

logger = logging.getLogger(__name__)


async def watch_metadata(
    client: Client, places: Iterable[Place], signs: Signs, *, seen: Seen, gone: Told, listed: Listed
) -> None:
    """Watch for ever. What goes wrong is tried again, ever more rarely, and told to `signs`."""
    async with asyncio.TaskGroup() as watches:
        for place in places:
            watches.create_task(_watch(client, place, signs, seen, gone, listed))


class _MissedError(Exception):
    """The watch works again, after so long that what it would tell is to be listed first."""


async def _watch(client: Client, place: Place, signs: Signs, seen: Seen, gone: Told, listed: Listed) -> None:
    version, waits, said = 0, delays(), False

    def deliver(event: str, manifest: Manifest) -> None:
        nonlocal version
        version = version_of(manifest)
        if event != "BOOKMARK":
            (gone if event == "DELETED" else seen)(place.type, manifest)

    def begins() -> None:
        if signs.well(place):
            raise _MissedError

    while True:
        signs.asks(place)
        began = asyncio.get_running_loop().time()
        try:
            if not version:
                version = await take_in(client, place, seen, listed)
                began = asyncio.get_running_loop().time()
            await client.watch_metadata(place.type, place.namespace, version, deliver, begins)
        except (ExpiredError, _MissedError):
            version = 0  # a list goes on behind it
        except TooLargeError as error:
            version = 0
            if not said:
                logger.warning("%s: at each change of it all of them are listed", error)
                said = True
        except ApiError as error:
            signs.troubled(place, f"{error}.")
        except Exception as error:  # what strangers write must not end the watches of all
            version = 0
            signs.troubled(place, f"cannot watch {place}: {error!r}.")
            logger.exception("watching %s", place)
        if asyncio.get_running_loop().time() > began + LONGEST_WAIT:
            waits = delays()  # not for an event: what is too large comes again after others
        await asyncio.sleep(next(waits))
