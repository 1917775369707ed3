"""Lists of our own: they begin what is known, and find what no watch has told of."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence, Set
from typing import Protocol

from upright.contract import Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.errors import ApiError, NotFoundError, UnknownError
from upright.kube.memory import Memory
from upright.kube.objects import key_of, uid_of
from upright.kube.places import Place, everywhere, sentences

RETRY = 5.0
RELIST = 3600.0
"""A watch that begins anew has its place listed at once; this finds what no watch should have missed."""
REMEMBERED_UNREAD = 1024

Told = Callable[[ResourceType, Manifest], None]


class Seen(Protocol):
    def __call__(self, type: ResourceType, manifest: Manifest, as_of: int = 0) -> None:
        """Is told of a version of an object, and, if a list has it, as of which version that is."""


Listed = Callable[[ResourceType, str, Container[str], int], None]
"""Is told the UIDs of all objects of a namespace (or of all), as of a version."""

logger = logging.getLogger(__name__)


async def take_in(
    client: Client, place: Place, seen: Seen, listed: Listed, unread: Told = lambda _type, _manifest: None
) -> int:
    """List a place and tell of what is there, and at last that this is all. Only one page is held at a time. Of what is
    too large to be read `unread` is told which object it is.

    Returns the version that the list is as of; raises ApiError.
    """
    there, version = set[str](), 0
    async for page in client.pages(place.type, place.namespace, place.selector, metadata=place.metadata):
        version = page.version
        there.update(uid_of(manifest) for manifest in (*page.items, *page.unread))
        for manifest in page.items:
            seen(place.type, manifest, version)
        for manifest in page.unread:
            unread(place.type, manifest)
    listed(place.type, place.namespace, there, version)
    return version


class Lister:
    """Lists everything that is watched, in one namespace after the other.

    Each namespace is served once everything in it has been listed, whatever becomes of the others: one may be gone, or
    somebody may have taken away what the operator may do there.
    """

    def __init__(
        self, client: Client, places: Sequence[Place], seen: Seen, listed: Listed, serve: Callable[[str], None]
    ) -> None:
        self._client = client
        self._places = places
        self._seen = seen
        self._listed = listed
        self._serve = serve
        self._several = len({place.namespace for place in places}) > 1
        self._wanted: dict[Place, None] = {}
        self._asked = asyncio.Event()
        self._said = ""
        self._complaints: dict[Place, str] = {}
        self._unread = Memory[str, bool](REMEMBERED_UNREAD)
        self.unserved = {place.namespace for place in places}
        """Namespaces (the empty one is all of them) of which not everything has been listed yet."""
        self.troubles: Mapping[Place, str] = dict.fromkeys(places, "nothing has been listed yet")
        """What stands in the way of serving them, in a sentence."""

    async def until_possible(self) -> None:
        """Wait for whatever is missing to list a namespace: resources, permissions, the API server itself."""
        await _until(lambda: self._free(self._try))
        self.troubles = {}  # while another leads nobody looks again, and would take back what is mended

    async def until_complete(self) -> None:
        """List everything once, waiting for whatever is missing to serve at least one namespace."""
        await _until(self._serve_more)

    def again(self, place: Place) -> None:
        """List a place soon: its watch has begun anew, and does not tell of an object that vanished before."""
        self._wanted[place] = None
        self._asked.set()

    async def now_and_then(self) -> None:
        """List again for ever: what is asked for at once, everything every hour, and soon what has failed."""
        clock = asyncio.get_running_loop().time
        due = clock() + RELIST
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, clock() + RETRY) if self._wanted or self.unserved else due):
                    await self._asked.wait()
            self._asked.clear()
            if self.unserved:
                for namespace in await self._serve_more():
                    logger.warning("serving namespace %s, too", namespace)
            wanted, self._wanted = self._wanted, {}
            places: Iterable[Place] = wanted
            if clock() >= due:
                places, due = self._places, clock() + RELIST
            await self._relist([place for place in places if place.namespace not in self.unserved])
            self._wanted |= {place: None for place in wanted if self._complaints.get(place)}

    async def _relist(self, places: Sequence[Place]) -> None:
        complaints = {place: await _trouble(place, self._take_in) for place in places}
        new = {place: said for place, said in complaints.items() if said and said != self._complaints.get(place)}
        for complaint in dict.fromkeys(new.values()):
            logger.warning("relisting: %s", complaint)
        self._complaints |= complaints

    async def _serve_more(self) -> Collection[str]:
        """List what is not served, and serve what has been listed. Returns which namespaces that is."""
        free = await self._free(self._take_in)
        self.unserved -= free
        for namespace in free:
            self._serve(namespace)
        return free

    async def _free(self, look: Callable[[Place], Awaitable[None]]) -> Set[str]:
        """Look at what is not served. Returns the namespaces in which nothing stands in the way."""
        found = dict[Place, str]()
        # What was in the way is looked at first. As long as something is, nothing else is listed: of one namespace (or
        # all) the rest is tried, to be told of at once; of several the rest is left, for one that is gone costs one
        # request then, and is told of once.
        for place in sorted(self._places, key=lambda place: place not in self.troubles):
            blocked = place.namespace in {each.namespace for each in found}
            if place.namespace not in self.unserved or (blocked and self._several):
                continue
            if trouble := await _trouble(place, self._try if blocked else look):
                found[place] = trouble
        self.troubles = found
        self._tell()
        return self.unserved - {place.namespace for place in found}

    def _tell(self) -> None:
        said, self._said = self._said, sentences(self.troubles)
        if self._said in ("", said):
            return
        if everywhere(self.troubles, self._places):
            logger.warning("not ready: %s Waiting; nothing needs to be restarted.", self._said)
        else:
            logger.warning(
                "not served: %s Other namespaces are, and these will be as soon as that is mended; nothing needs to be "
                "restarted. A namespace that is gone for good is to be taken out of those to look after.",
                self._said,
            )

    async def _take_in(self, place: Place) -> None:
        await take_in(self._client, place, self._seen, self._listed, self._tell_unread)

    def _tell_unread(self, type: ResourceType, manifest: Manifest) -> None:
        if not self._unread.get(uid_of(manifest)):
            self._unread.set(uid_of(manifest), True)
            logger.warning("%s %s is too large to be read: nothing is done for it", type.kind, key_of(manifest))

    async def _try(self, place: Place) -> None:
        await anext(self._client.pages(place.type, place.namespace, place.selector, metadata=place.metadata, size=1))


async def _until(step: Callable[[], Awaitable[Collection[str]]]) -> None:
    while True:
        if await step():
            return
        await asyncio.sleep(RETRY)


async def _trouble(place: Place, look: Callable[[Place], Awaitable[None]]) -> str:
    """Look at a place; returns what stands in the way, in a sentence, if something does."""
    try:
        await look(place)
    except (NotFoundError, UnknownError):
        return crd_missing(place.type)
    except ApiError as error:
        return f"{error}."
    return ""


def crd_missing(type: ResourceType) -> str:
    return (
        f"the cluster does not know {type} in version {type.version}: install its CustomResourceDefinition "
        f"(`helm upgrade --install` with the chart does; `kubectl get crd {type}` shows it)."
    )
