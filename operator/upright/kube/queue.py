"""The queue of keys: each at most once in line, never twice at work, later when asked, slower when it fails."""

import asyncio
import random
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable

from upright.contract import Key

FIRST_DELAY = 1.0
LONGEST_DELAY = 300.0
SHARE = 2
"""One namespace may have one worker in so many: what its objects wait for must not hold up those of all others, and a
key of another namespace has at most so many of its keys before it in line."""
LONGEST_REST = 30.0
"""After a failure, news of other objects is waited for no longer than this: it may be what the key needs."""


class Queue:
    """Keys that want attention, for `workers` at a time. Delays are in seconds, by the clock of the event loop.

    A key that is added while it stands in line is there already; one that is added while it is worked on stands in
    line again when that is done. One that has failed rests: what its own turn wrote comes back as news, too.
    """

    def __init__(self, workers: int, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._most = max(1, workers // SHARE)
        self._line: asyncio.Queue[Key | None] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._working: set[Key] = set()
        self._once_more: dict[Key, bool] = {}  # and whether it may have that turn at once, however this one ends
        self._alarms: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._rests: dict[Key, float] = {}  # until when, by the loop's clock
        self._count = workers
        self._workers: list[asyncio.Task[None]] = []
        self._places: Counter[str] = Counter()  # that a namespace has, in line or at work
        self._aside: defaultdict[str, deque[Key]] = defaultdict(deque)  # of namespaces that have all their places
        self._stopping = False
        # One turn begins at a time, and between two of them the loop does all else that there is to do, as renewing
        # the Lease: each may reckon for as long as its object is large, and wait for nothing.
        self._beginning = asyncio.Lock()

    @property
    def depth(self) -> int:
        """How many keys stand in line."""
        return len(self._waiting) + len(self._once_more)

    def add(self, key: Key, *, rested: bool = False) -> None:
        """Add the key; one that rests, at the end of its rest, unless it is `rested`: what is new is what it needs."""
        if rested:
            self._rests.pop(key, None)
        elif (until := self._rests.get(key)) and (left := until - asyncio.get_running_loop().time()) > 0:
            self.add_later(key, left)
            return
        self._silence(key)
        if key in self._working:
            self._once_more[key] = rested or self._once_more.get(key, False)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._enter(key)

    def add_later(self, key: Key, delay: float) -> None:
        """Add the key after `delay`, unless it comes up before."""
        loop = asyncio.get_running_loop()
        alarm = self._alarms.get(key)
        if alarm is not None and alarm.when() <= loop.time() + delay:
            return
        self._silence(key)
        self._alarms[key] = loop.call_later(delay, self.add, key)

    def failures(self, key: Key) -> int:
        """How often in a row it has failed."""
        return self._failures.get(key, 0)

    def back_off(self, key: Key) -> float:
        """Add the key after a delay, in seconds, that doubles with each failure in a row, with jitter. Returns it."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        longest = min(FIRST_DELAY * 2.0 ** min(failures, 16), LONGEST_DELAY)
        delay = longest * (0.5 + 0.5 * self._jitter())
        if self._once_more.get(key):
            return 0.0
        self._once_more.pop(key, None)
        self._rests[key] = asyncio.get_running_loop().time() + min(delay, LONGEST_REST)
        self.add_later(key, delay)
        return delay

    def succeeded(self, key: Key) -> None:
        """The next failure of the key is again its first."""
        self._failures.pop(key, None)
        self._rests.pop(key, None)

    def start(self, work: Callable[[Key], Awaitable[None]]) -> None:
        """Begin to work on the keys. `work` must not raise: an exception ends its worker."""
        self._workers = [asyncio.create_task(self._serve(work), name=f"worker {n}") for n in range(self._count)]

    async def stop(self, grace: float) -> None:
        """Begin nothing new and let what is being worked on end, for at most `grace` seconds."""
        self._stopping = True
        for key in list(self._alarms):
            self._silence(key)
        for _ in self._workers:
            self._line.put_nowait(None)
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    async def join(self) -> None:
        """Wait until a worker has failed: the queue would be served no more."""
        if self._workers:
            done, _ = await asyncio.wait(self._workers, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()

    async def _serve(self, work: Callable[[Key], Awaitable[None]]) -> None:
        while True:
            key = await self._line.get()
            async with self._beginning:
                await asyncio.sleep(0)
            if key is None or self._stopping:
                return
            self._waiting.discard(key)
            self._working.add(key)
            self._silence(key)
            try:
                await work(key)
            finally:
                self._working.discard(key)
                self._leave(key.namespace)
                if (rested := self._once_more.pop(key, None)) is not None:
                    self.add(key, rested=rested)

    def _enter(self, key: Key) -> None:
        """A place in line, or behind those of its namespace that wait for one: whoever comes first is first."""
        if self._places[key.namespace] < self._most:
            self._places[key.namespace] += 1
            self._line.put_nowait(key)
        else:
            self._aside[key.namespace].append(key)

    def _leave(self, namespace: str) -> None:
        """A turn is over: the next of its namespace has the place."""
        if aside := self._aside.get(namespace):
            self._line.put_nowait(aside.popleft())
            if not aside:
                del self._aside[namespace]
        else:
            self._places[namespace] -= 1
            if not self._places[namespace]:
                del self._places[namespace]

    def _silence(self, key: Key) -> None:
        if alarm := self._alarms.pop(key, None):
            alarm.cancel()
