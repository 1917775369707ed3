"""When a look is due, and until when it is kept: beside the turns, each Deployment's own."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

from upright.analysis import Look
from upright.analysis.looks import compares
from upright.contract import Key
from upright.pods.reading import Pod
from upright.rollout.measuring import ArmName, Asked, Measurement, Reading, longest_gap
from upright.rollout.pace import Worth

logger = logging.getLogger(__name__)


Seen = TypeVar("Seen")
Told = TypeVar("Told", covariant=True)
Telling = TypeVar("Telling", contravariant=True)


class Reader(Protocol[Told]):
    """Reads what is counted: of the pods themselves, or of who knows."""

    async def read(self, key: Key, pods: Sequence[Pod], asked: Asked) -> Told:
        """What is counted of a Deployment's pods; they are asked in their order, and in a bounded time."""
        ...


class Comparing(Protocol[Telling]):
    """What a comparison makes of that, from look to look."""

    looks: list[Look]
    """Those that no status contains yet."""
    arms: Mapping[ArmName, Measurement]
    watching: bool

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """See `Reading.unmeasured`."""
        ...

    @property
    def behind(self) -> timedelta:
        """See `Reading.behind`."""
        ...

    def watch(self, asked: Asked) -> None:
        """Take up what is asked from now on."""
        ...

    def recorded(self, after: float | None) -> None:
        """The status contains the looks until then."""
        ...

    def to_read(self, asked: Asked) -> Sequence[Pod]:
        """The pods to read, in order."""
        ...

    def take(self, asked: Asked, seen: Telling, now: datetime) -> bool:
        """Take a look. Returns whether there is anything new to say."""
        ...


@dataclass
class _Kept(Generic[Seen]):
    """What is kept for a Deployment."""

    asked: Asked
    comparison: Comparing[Seen]
    begun: float
    """When the last look began, or the first one will, as the event loop's clock says; nobody puts that back."""
    hurried: float = -math.inf
    """Until when looks come faster, likewise, where that is of any use."""
    worth: Worth = field(default_factory=Worth)
    timer: asyncio.TimerHandle | None = None
    first: float | None = None
    """When the first look was taken, or the first one after a gap, in Unix seconds."""
    last: float | None = None
    """When the newest one was."""
    look: asyncio.Task[None] | None = None
    """The look that is being taken. There is a timer or a look, never both."""

    @property
    def due(self) -> float:
        """When the next look is."""
        soon = self.begun + self.asked.shortest.total_seconds()
        return soon if self.worth and soon <= self.hurried else self.begun + self.asked.interval.total_seconds()


class Schedule(Generic[Seen]):
    """A source of measurements (see `upright.rollout.measuring.Source`) that reads counters at intervals.

    Between looks there is a timer and no task, so that nothing has to be waited for when the process ends.
    """

    def __init__(
        self,
        reader: Reader[Seen],
        comparing: Callable[[Asked], Comparing[Seen]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reader = reader
        self._comparing = comparing
        self._clock = clock
        self._kept: dict[Key, _Kept[Seen]] = {}
        self._wake: Callable[[Key], None] = lambda _: None

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Called once, before anything is asked."""
        self._wake = wake

    def read(self, key: Key, asked: Asked) -> Reading:
        """What is known of a comparison. The first look is taken at once, and the first one of an interval that was
        changed as if it had always been so.
        """
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(key)
        if kept is not None and kept.asked.where != asked.where:
            kept, asked = None, replace(asked, resumed=True)
        if kept is None or kept.asked.comparison != asked.comparison:
            self.forget(key)
            kept = self._kept[key] = _Kept(asked, self._comparing(asked), now - asked.interval.total_seconds())
            self._wait(key, kept)
        kept.asked, kept.hurried = asked, now + asked.hurry.total_seconds() if asked.hurry else -math.inf
        if kept.timer and kept.timer.when() != kept.due:
            self._wait(key, kept)
        kept.comparison.watch(asked)
        kept.comparison.recorded(asked.after)
        comparison = kept.comparison
        return Reading(
            looks=tuple(comparison.looks),
            arms=comparison.arms,
            since=kept.first,
            until=kept.last,
            watching=comparison.watching,
            unmeasured=comparison.unmeasured,
            behind=comparison.behind,
        )

    def forget(self, key: Key) -> None:
        """No comparison is under way any more."""
        kept = self._kept.pop(key, None)
        if kept and kept.timer:
            kept.timer.cancel()
        if kept and kept.look:
            kept.look.cancel()

    def _wait(self, key: Key, kept: _Kept[Seen]) -> None:
        """Take the next look when it is due; one that is late is taken at once."""
        if kept.timer:
            kept.timer.cancel()
        kept.timer = asyncio.get_running_loop().call_at(kept.due, self._begin, key, kept)

    def _begin(self, key: Key, kept: _Kept[Seen]) -> None:
        loop = asyncio.get_running_loop()
        kept.timer, kept.begun = None, loop.time()
        kept.look = loop.create_task(self._take(key, kept), name=f"look at {key}")

    async def _take(self, key: Key, kept: _Kept[Seen]) -> None:
        asked, now, news = kept.asked, self._clock(), False
        try:
            seen = await self._reader.read(key, kept.comparison.to_read(asked), asked)
            waiting = len(kept.comparison.looks)
            news = kept.comparison.take(asked, seen, now)
            compared = any(compares(look, asked.policy.metrics).any() for look in kept.comparison.looks[waiting:])
            kept.worth.taken(kept.begun, asked.interval, wanted=bool(kept.asked.hurry), compared=compared)
            second, before = now.timestamp(), kept.last
            if before is None or not 0 <= second - before <= longest_gap(asked.interval):
                kept.first, news = second, True
            kept.last = second
        except Exception:
            logger.exception("%s: a mistake of Upright's own spoiled a look; the next one is taken as usual", key)
        kept.look = None
        self._wait(key, kept)
        if news:
            self._wake(key)
