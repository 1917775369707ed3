"""Since when has somebody watched, without an interruption that matters?

A machine sleeps, a clock is set, a watch is in trouble, an operator is away for a while: what was recorded before says
nothing of the time in between. It is told by the time of day: each place is noted while it is watched, and between two
notes of it that are further apart nobody has.
"""

import asyncio
from collections.abc import Callable, Collection, Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from upright.contract import ALWAYS
from upright.kube.places import Place

UNNOTICED = timedelta(minutes=2)
"""An interruption of so long at most, such as that of a rolling update, is none."""
BEAT = 10.0
"""Seconds between two notes, at most."""
_OFTEN = timedelta(seconds=1)
"""Two notes are not closer, whoever asks: each looks at every place."""
_ZERO = timedelta(0)


@dataclass(frozen=True)
class Handover:
    """What one leader tells the next of its watching, and of that of those before it."""

    since: datetime
    until: datetime | None
    """None: nobody has watched."""
    unwatched: Collection[str] = ()
    """Namespaces of which this does not hold: they were not watched in the end."""


class Watched:
    """The times for which this process and those that led before it have watched each place."""

    def __init__(
        self, places: Iterable[Place], unseen: Callable[[], Container[Place]], clock: Callable[[], datetime]
    ) -> None:
        """`unseen`: of which places what is known is too old to decide anything by, or nothing is known yet."""
        self._unseen = unseen
        self._clock = clock
        self._since = dict.fromkeys(places, ALWAYS)
        self._until: dict[Place, datetime | None] = dict.fromkeys(self._since)
        self._in: dict[str, list[Place]] = {}
        for place in self._since:
            self._in.setdefault(place.namespace, []).append(place)
        self._noted: datetime | None = None

    def take_over(self, before: Handover) -> None:
        """Believe who led before."""
        self._since = dict.fromkeys(self._since, before.since)
        self._until = {place: None if place.namespace in before.unwatched else before.until for place in self._since}
        self._noted = None

    def note(self) -> datetime:
        """What is seen is watched now; returns when that is, or was less than a second ago."""
        now = self._clock()
        if self._noted is not None and _ZERO <= now - self._noted < _OFTEN:
            return self._noted
        self._noted, unseen = now, self._unseen()
        for place in self._since:
            if place not in unseen:
                self._since[place], self._until[place] = self._as_of(place, now), now
        return now

    def since(self, namespace: str) -> datetime:
        """Since when a namespace has been watched. What is not watched now is needed by nobody who asks."""
        now = self.note()
        here = [place for name in {"", namespace} for place in self._in.get(name, ()) if self._until[place] == now]
        return max((self._since[place] for place in here), default=now)

    def handover(self) -> Handover:
        """For who leads next. That a namespace is not watched now, say because it is gone, interrupts no other."""
        now = self._clock()
        unwatched = {place.namespace for place in self._since if place.namespace and not self._is_watched(place, now)}
        rest = [place for place in self._since if place.namespace not in unwatched]
        since = max((self._as_of(place, now) for place in rest), default=now)
        until = min((at for place in rest if (at := self._until[place])), default=None)
        return Handover(since, until, sorted(unwatched))

    async def keep(self) -> None:
        """Note for ever, also while nothing has a turn."""
        while True:
            self.note()
            await asyncio.sleep(BEAT)

    def _as_of(self, place: Place, now: datetime) -> datetime:
        """Since when it has been watched if it is now."""
        return min(self._since[place], now) if self._is_watched(place, now) else now

    def _is_watched(self, place: Place, now: datetime) -> bool:
        """Whether it has been until now. A clock that is put back is an interruption, too."""
        until = self._until[place]
        return until is not None and abs(now - until) <= UNNOTICED
