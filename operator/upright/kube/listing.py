"""Lists of our own: they begin what is known, and find what no watch has told of."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence

from upright.contract import Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.errors import ApiError, NotFoundError
from upright.kube.places import Place

RETRY = 5.0
RELIST = 600.0

Listed = Callable[[ResourceType, str, Iterable[Manifest], int], None]

logger = logging.getLogger(__name__)


class Lister:
    """Lists everything that is watched, in one namespace after the other."""

    def __init__(self, client: Client, places: Sequence[Place], listed: Listed) -> None:
        self._client = client
        self._places = places
        self._listed = listed
        self._wanted: dict[Place, None] = {}
        self._asked = asyncio.Event()
        self.missing = "nothing has been listed yet"
        """What stands in the way of listing everything, in a sentence; empty once it has been done."""

    async def until_complete(self) -> None:
        """List everything once, waiting for whatever is missing: resources, permissions, the API server itself."""
        while True:
            before, self.missing = self.missing, " ".join(await self._list(self._places))
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
            for complaint in await self._list(places):
                logger.warning("relisting: %s", complaint)

    async def _list(self, places: Sequence[Place]) -> list[str]:
        """List places; returns what stands in the way, once for each resource."""
        complaints = dict[ResourceType, str]()
        for place in places:
            if place.type in complaints:
                continue
            try:
                found = await self._client.list(place.type, place.namespace, place.selector, metadata=place.metadata)
            except NotFoundError:
                complaints[place.type] = crd_missing(place.type)
            except ApiError as error:
                complaints[place.type] = f"{error}."
            else:
                self._listed(place.type, place.namespace, *found)
        return list(complaints.values())


def crd_missing(type: ResourceType) -> str:
    return (
        f"the cluster does not know {type} in version {type.version}: install its CustomResourceDefinition "
        f"(`helm upgrade --install` with the chart does; `kubectl get crd {type}` shows it)."
    )
