"""Watching which objects exist, and nothing of what is in them: ConfigMaps and claims that others make.

Kopf cannot ask for metadata alone, and whole ConfigMaps of a whole cluster would not fit into memory.
"""

import asyncio
from collections.abc import Callable, Iterable

from upright.contract import Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.errors import ApiError, ExpiredError
from upright.kube.listing import Listed
from upright.kube.objects import version_of
from upright.kube.patience import Signs, delays
from upright.kube.places import Place

PAUSE = 0.1
"""Seconds between a watch that the API server has ended and the next one."""

Told = Callable[[ResourceType, Manifest], None]


async def watch_metadata(
    client: Client, places: Iterable[Place], signs: Signs, *, seen: Told, gone: Told, listed: Listed
) -> None:
    """Watch for ever. What goes wrong is tried again, ever more rarely, and told to `signs`."""
    async with asyncio.TaskGroup() as watches:
        for place in places:
            watches.create_task(_watch(client, place, signs, seen, gone, listed))


async def _watch(client: Client, place: Place, signs: Signs, seen: Told, gone: Told, listed: Listed) -> None:
    version, waits = 0, delays()

    def deliver(event: str, manifest: Manifest) -> None:
        nonlocal version, waits
        version, waits = version_of(manifest), delays()
        if event != "BOOKMARK":
            (gone if event == "DELETED" else seen)(place.type, manifest)

    while True:
        signs.asks(place)
        try:
            if not version:
                manifests, version = await client.list(place.type, place.namespace, place.selector, metadata=True)
                listed(place.type, place.namespace, manifests, version)
            signs.well(place)
            await client.watch_metadata(place.type, place.namespace, version, deliver)
        except ExpiredError:
            version = 0
            await asyncio.sleep(next(waits))
        except ApiError as error:
            signs.troubled(place, f"{error}.")
            await asyncio.sleep(next(waits))
        else:
            await asyncio.sleep(PAUSE)
