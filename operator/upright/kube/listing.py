"""Lists of our own: they begin what is known, and find what no watch has told of."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence

from upright.contract import Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.errors import ApiError, NotFoundError
from upright.kube.objects import uid_of
from upright.kube.places import Place

RETRY = 5.0
RELIST = 600.0

Told = Callable[[ResourceType, Manifest], None]
Listed = Callable[[ResourceType, str, Container[str], int], None]
"""Is told the UIDs of all objects of a namespace (or of all), as of a version."""

logger = logging.getLogger(__name__)


async def take_in(client: Client, place: Place, seen: Told, listed: Listed) -> int:
    """List a place and tell of what is there, and at last that this is all. Only one page is held at a time.

    Returns the version that the list is as of; raises ApiError.
    """
    there, version = set[str](), 0
    async for page, as_of in client.pages(place.type, place.namespace, place.selector, metadata=place.metadata):
        version = as_of
        for manifest in page:
            there.add(uid_of(manifest))
            seen(place.type, manifest)
    listed(place.type, place.namespace, there, version)
    return version


class Lister:
    """Lists everything that is watched, in one namespace after the other."""

    def __init__(self, client: Client, places: Sequence[Place], seen: Told, listed: Listed) -> None:
        self._client = client
        self._places = places
        self._seen = seen
        self._listed = listed
        self._wanted: dict[Place, None] = {}
        self._asked = asyncio.Event()
        self.missing = "nothing has been listed yet"
        """What stands in the way of listing everything, in a sentence; empty once it has been done."""

    async def until_possible(self) -> None:
        """Wait for whatever is missing to list everything: resources, permissions, the API server itself."""
        await self._until(self._try)

    async def until_complete(self) -> None:
        """List everything once, waiting for whatever is missing."""
        await self._until(self._take_in)

    async def _until(self, look: Callable[[Place], Awaitable[object]]) -> None:
        while True:
            before, self.missing = self.missing, " ".join(await _complaints(self._places, look))
            if not self.missing:
                return
            if self.missing != before:
                logger.warning("not ready: %s Waiting; nothing needs to be restarted.", self.missing)
            await asyncio.sleep(RETRY)

    def again(self, place: Place) -> None:
        """List a place soon: its watch has begun anew, and does not tell of an object that vanished before."""
        self._wanted[place] = None
        self._asked.set()

    async def now_and_then(self) -> None:
        """List again for ever: what is asked for at once, and everything every ten minutes."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELIST):
                    await self._asked.wait()
            places = list(self._wanted) or self._places
            self._wanted.clear()
            self._asked.clear()
            for complaint in await _complaints(places, self._take_in):
                logger.warning("relisting: %s", complaint)

    async def _take_in(self, place: Place) -> None:
        await take_in(self._client, place, self._seen, self._listed)

    async def _try(self, place: Place) -> None:
        await anext(self._client.pages(place.type, place.namespace, place.selector, metadata=place.metadata, size=1))


async def _complaints(places: Sequence[Place], look: Callable[[Place], Awaitable[object]]) -> Iterable[str]:
    """List places; returns what stands in the way, once for each resource."""
    complaints = dict[ResourceType, str]()
    for place in places:
        if place.type in complaints:
            continue
        try:
            await look(place)
        except NotFoundError:
            complaints[place.type] = crd_missing(place.type)
        except ApiError as error:
            complaints[place.type] = f"{error}."
    return complaints.values()


def crd_missing(type: ResourceType) -> str:
    return (
        f"the cluster does not know {type} in version {type.version}: install its CustomResourceDefinition "
        f"(`helm upgrade --install` with the chart does; `kubectl get crd {type}` shows it)."
    )
