"""What every comparison does, whatever it is fed with: it keeps looks until a status contains them, in an order that no
clock upsets.
"""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta

from upright.analysis import Look
from upright.rollout.measuring import AHEAD, ArmName, Asked, Measurement
from upright.sources.unmeasured import unrecorded

MOST_LOOKS = 256
"""That wait to be recorded. Further ones are not evidence: what has been handed out once is never taken back."""


class Unrecorded:
    """The looks of a comparison."""

    def __init__(self, asked: Asked) -> None:
        self.looks: list[Look] = []
        """Those that no status contains yet."""
        self.arms: Mapping[ArmName, Measurement] = {}
        self._policy = asked.policy.fingerprint
        self._second = -math.inf
        """When the last look was taken, as the clock said."""
        self._time = -math.inf
        """Of the last look, in Unix seconds. It goes forward, as the analysis does, unless a clock was ahead."""
        self._passed = asked.interval.total_seconds()
        """Seconds between the last two looks, at most an interval."""
        self.recorded(asked.after)

    @property
    def behind(self) -> timedelta:
        """See `Reading`: pods show what has happened by now."""
        return timedelta(0)

    def watch(self, asked: Asked) -> None:
        """Take up what is asked from now on. Looks that wait were taken for other metrics, if there are others now."""
        if asked.policy.fingerprint != self._policy:
            self._policy, self.looks = asked.policy.fingerprint, []

    def recorded(self, after: float | None) -> None:
        """The status contains the looks until then."""
        if after is not None:
            self._time = max(self._time, after)
            self.looks = [look for look in self.looks if look.time > after]

    def _why_full(self) -> Mapping[str, str]:
        """Why nothing more is compared, by nothing; empty where there is room for another look."""
        return {"": unrecorded(len(self.looks))} if len(self.looks) >= MOST_LOOKS else {}

    def _add(self, asked: Asked, look: Look) -> bool:
        """Keep one, unless it is too many, or of other metrics than are watched by now. Returns whether it is kept."""
        kept = len(self.looks) < MOST_LOOKS and asked.policy.fingerprint == self._policy
        self.looks += [look] if kept else []
        return kept

    def _pass_time(self, asked: Asked, now: datetime) -> bool:
        """A look is taken now; put back a little, looks go on after the last one. Returns whether the clock was ahead:
        of a time to come nothing is kept.
        """
        second = now.timestamp()
        if ahead := self._time - second > AHEAD:
            self._time, self.looks = -math.inf, [look for look in self.looks if look.time < second]
        if second > self._second:  # otherwise how long it was is not known: as long as before
            self._passed = min(second - self._second, asked.interval.total_seconds())
        self._second, self._time = second, second if second > self._time else self._time + self._passed
        return ahead
