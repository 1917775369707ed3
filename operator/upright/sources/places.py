"""Who may have a connection open: so many at once over all Deployments, shared out evenly."""

import asyncio
import contextlib
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator

from upright.contract import Key


class Places:
    """Places for connections. One that becomes free goes to whoever has fewest: first by namespace, then by Deployment,
    then by how long it has waited. So pods that swallow packets hold up those of the same namespace, and nobody else
    for longer than it takes one of them to be given up.
    """

    def __init__(self, total: int, each: int) -> None:
        """`total` over all Deployments, `each` at most for one."""
        self._free = total
        self._each = each
        self._held: Counter[Key] = Counter()
        self._held_by_namespace: Counter[str] = Counter()
        self._waiting: dict[Key, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._turns = itertools.count()

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
        self._waiting.setdefault(key, deque()).append((next(self._turns), called))
        self._call()
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._leave(key)  # it was called just before it was told to go
            raise

    def _leave(self, key: Key) -> None:
        self._free += 1
        self._held -= Counter((key,))  # which keeps no zeros
        self._held_by_namespace -= Counter((key.namespace,))
        self._call()

    def _call(self) -> None:
        """Give the free places to those who wait."""
        while self._free and (key := self._next()) is not None:
            _, called = self._waiting[key].popleft()
            if not called.cancelled():
                called.set_result(None)
                self._free -= 1
                self._held[key] += 1
                self._held_by_namespace[key.namespace] += 1

    def _next(self) -> Key | None:
        for key in [key for key, queue in self._waiting.items() if not queue]:
            del self._waiting[key]
        allowed = [key for key in self._waiting if self._held[key] < self._each]
        return min(
            allowed,
            key=lambda key: (self._held_by_namespace[key.namespace], self._held[key], self._waiting[key][0][0]),
            default=None,
        )
