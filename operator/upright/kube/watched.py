"""Since when has somebody watched, without an interruption that matters?

A machine sleeps, a clock is set, a watch is in trouble, an operator is away for a while: what was recorded before says
nothing of the time in between. It is told by the time of day: each place is noted while it is watched, and between two
notes of it that are further apart nobody has.
"""

import asyncio
from collections.abc import Callable, Container, Iterable
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
        self._seen = set[Place]()
        self._noted: datetime | None = None

    def take_over(self, since: datetime, until: datetime | None) -> None:
        """Who led before has watched from `since` until then; None: nobody led."""
        self._since, self._until = dict.fromkeys(self._since, since), dict.fromkeys(self._since, until)
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
                self._seen.add(place)
        return now

    def since(self, namespace: str) -> datetime:
        """Since when a namespace has been watched. What is not watched now is needed by nobody who asks."""
        now = self.note()
        here = [place for name in {"", namespace} for place in self._in.get(name, ()) if self._until[place] == now]
        return max((self._since[place] for place in here), default=now)

    def until_now(self) -> tuple[datetime, datetime | None]:
        """Since when and until when all places have been watched, for who leads next. But for namespaces that are not
        watched now, such as those that are gone: they are nobody else's interruption. While this process has seen
        nothing, what it has taken over. Until None: nobody has watched.
        """
        if not self._seen:
            known = [until for until in self._until.values() if until]
            return max(self._since.values(), default=ALWAYS), min(known, default=None)
        now = self._clock()
        places = [place for place in self._seen if not place.namespace or self._is_watched(place, now)]
        since = max((self._as_of(place, now) for place in places), default=now)
        return since, min((until for place in places if (until := self._until[place])), default=now)

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
