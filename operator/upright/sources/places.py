"""Who may have a connection open: so many at once over all Deployments, shared out evenly."""

import asyncio
import contextlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator, Hashable
from typing import Generic, TypeVar

from upright.contract import Key

Of = TypeVar("Of", bound=Hashable)


class Places:
    """Places for connections. One that becomes free goes to whoever has fewest: first by namespace, then by Deployment,
    and by turns where they have as many. So pods that swallow packets hold up those of the same namespace, and nobody
    else for longer than it takes one of them to be given up. What a place costs does not grow with those who wait.
    """

    def __init__(self, total: int, each: int) -> None:
        """`total` over all Deployments, `each` at most for one."""
        self._free = total
        self._each = each
        self._held: Counter[Key] = Counter()
        self._held_by_namespace: Counter[str] = Counter()
        self._waiting: defaultdict[Key, OrderedDict[asyncio.Future[None], None]] = defaultdict(OrderedDict)
        """In the order in which they came."""
        self._namespaces = _Turns[str]()
        self._deployments: defaultdict[str, _Turns[Key]] = defaultdict(_Turns[Key])
        """By namespace. In both are those who wait and may have a further place, and nobody else."""

    @contextlib.asynccontextmanager
    async def one(self, key: Key) -> AsyncIterator[None]:
        """A place, as long as the context lasts. Waits for it."""
        await self._wait(key)
        try:
            yield
        finally:
            self._leave(key)

    async def _wait(self, key: Key) -> None:
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[key][called] = None
        self._queue(key)
        self._call()
        try:
            await called
        except asyncio.CancelledError:
            if called in self._waiting[key]:
                del self._waiting[key][called]
                self._queue(key)
            else:
                self._leave(key)  # it was called just before it was told to go
            raise

    def _leave(self, key: Key) -> None:
        self._free += 1
        self._held[key] -= 1
        self._held_by_namespace[key.namespace] -= 1
        self._queue(key)
        self._call()

    def _call(self) -> None:
        """Give the free places to those who wait."""
        while self._free and (namespace := self._namespaces.next()) is not None:
            key = self._deployments[namespace].next()
            assert key is not None
            called, _ = self._waiting[key].popitem(last=False)
            self._free -= 1
            self._held[key] += 1
            self._held_by_namespace[namespace] += 1
            self._queue(key)
            if not called.done():
                called.set_result(None)

    def _queue(self, key: Key) -> None:
        """What the Deployment has, or how many wait for it, has changed."""
        namespace = key.namespace
        mine = self._deployments[namespace]
        mine.put(key, self._held[key] if self._waiting[key] and self._held[key] < self._each else None)
        self._namespaces.put(namespace, self._held_by_namespace[namespace] if mine else None)
        if not mine:
            del self._deployments[namespace]
        if not self._waiting[key]:
            del self._waiting[key]
        if not self._held[key]:
            del self._held[key]
        if not self._held_by_namespace[namespace]:
            del self._held_by_namespace[namespace]


class _Turns(Generic[Of]):
    """Whose turn it is: of those with fewest, who has had as many for longest."""

    def __init__(self) -> None:
        self._has: dict[Of, int] = {}
        self._by_number: defaultdict[int, OrderedDict[Of, None]] = defaultdict(OrderedDict)
        """Few: nobody has more than there are places."""

    def __bool__(self) -> bool:
        return bool(self._has)

    def put(self, of: Of, has: int | None) -> None:
        """It has so many; None: it waits for no more."""
        before = self._has.get(of)
        if before == has:
            return
        if before is not None:
            del self._has[of]
            del self._by_number[before][of]
            if not self._by_number[before]:
                del self._by_number[before]
        if has is not None:
            self._has[of] = has
            self._by_number[has][of] = None

    def next(self) -> Of | None:
        """Whose turn it is; None when nobody waits."""
        return next(iter(self._by_number[min(self._by_number)])) if self._by_number else None
