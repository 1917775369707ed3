"""What pods showed when the time began that the next look compares, so that all of its counts are of the same time.

A pod that was not read then would bring what it has counted in another time: in an outage that both versions share, one
of them would have had more of it. So what can be compared with nothing yet waits, for all of them together.
"""

import math
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from upright.analysis.counters import Increase
from upright.rollout.measuring import ArmName, Asked
from upright.sources.starts import TOLD_IN, spans

Of = TypeVar("Of")
_AT_ONCE = 1.5
"""Intervals after the time began."""


class Remembered(Generic[Of]):
    """By pod, of what counts together.

    Args:
        nothing: what a pod shows that has counted nothing.
    """

    def __init__(self, nothing: Of) -> None:
        self._nothing = nothing
        self._shown: dict[str, tuple[float, Of]] = {}
        """And when."""
        self._born: set[str] = set()
        """Pods that have begun since then."""
        self._since = -math.inf
        """When the time began."""
        self._seen = -math.inf
        """When a look was taken last, or the first pods were seen."""

    @property
    def since(self) -> float:
        """When the time began that the next look compares, in Unix seconds; minus infinity before it has."""
        return self._since

    def begin_time(self, seen: float) -> None:
        """A clock was ahead: the time begins with the next look, and looks go on as if one had been taken then."""
        self._seen, self._since = seen, -math.inf

    def take_next(self) -> None:
        """How long ago the last look was taken is not known: the next one waits for nothing."""
        self._seen = -math.inf

    def is_ahead(self, time: float) -> bool:
        """Whether a look was taken later than that."""
        return time < self._seen

    def bear(self, pods: Mapping[str, float], time: float, interval: float) -> None:
        """All that these ever showed is counted, as if they had shown nothing an interval ago, of those that were never
        seen and may have counted only since the time began, which it does now if it has not; and not long after: of a
        time that waits for looks, one that begins in the last of them tells that one alone.

        Args:
            pods: that are read now, and since when each may have counted: infinite of one that has not been ready yet.
            time: of the look.
            interval: between looks.
        """
        began = time if self._since == -math.inf else self._since
        born = {
            pod
            for pod, since in pods.items()
            if since + TOLD_IN > began and min(since, time) - began <= _AT_ONCE * interval
        } - self._shown.keys()
        self._shown |= dict.fromkeys(born, (time - interval, self._nothing))
        self._born |= born

    def begin_from(self, pod: str, shown: Of) -> None:
        """A pod was started anew: what it shows next is compared with that."""
        if pod in self._shown:
            self._shown[pod] = (self._shown[pod][0], shown)

    def forget(self, pod: str) -> None:
        """What a pod shows next is compared with nothing."""
        self._shown.pop(pod, None)
        self._born.discard(pod)

    def forget_all_but(self, pods: Collection[str]) -> None:
        """Others are gone."""
        self._shown = {pod: shown for pod, shown in self._shown.items() if pod in pods}
        self._born &= set(pods)

    def of(self, pods: Container[str]) -> Sequence[Of]:
        """What is remembered of them."""
        return [shown for pod, (_, shown) in self._shown.items() if pod in pods]

    def before(self, pod: str, now: float, longest: float) -> tuple[float, Of] | None:
        """When, and what a pod showed that can be compared with what it shows now; None when that is nothing."""
        known = self._shown.get(pod)
        return known if known and (pod in self._born or spans(known[0], self._since, now, longest)) else None

    def may_take(self, asked: Asked, time: float, added: Iterable[Increase]) -> bool:
        """Whether versions of which pods could be used have added enough to be compared, or wait for long enough."""
        return asked.may_take(time - self._seen, [arm.counts[0] for arm in added])

    def go_on(
        self,
        asked: Asked,
        time: float,
        shown: Mapping[ArmName, Mapping[str, Of]],
        left_out: Mapping[str, str],
        *,
        needed: Iterable[ArmName],
        taken: bool,
        may_wait: bool,
        lasting: Container[str],
    ) -> None:
        """Remember what pods show for the next look.

        Args:
            asked: as the look began.
            time: of the look.
            shown: by arm and pod.
            left_out: by pod why it was; what is remembered of the others waits, unless the look is taken.
            needed: the versions of which something must be known; without a pod of each that is known as it was when
                the time began, it is over.
            taken: the versions were compared.
            may_wait: what was added may, where the candidate has a pod that it could be compared with.
            lasting: reasons for leaving a pod out, after which it goes on from what it showed before.
        """
        renewed = {pod for pod, why in left_out.items() if why not in lasting}
        waits = may_wait and not taken
        # before the first pod of the candidate there is nothing that the stable version's counts could wait for
        goes_on = waits and all(self._spans_with(arm, asked, renewed) for arm in needed)
        begins = waits and self._since == -math.inf
        for pods in shown.values():
            for pod, counts in pods.items():
                why = left_out.get(pod)
                stays = goes_on or (begins and pod in self._born) if why is None else why in lasting
                if not stays:
                    self._shown[pod] = (time, counts)
                    self._born.discard(pod)
        if not goes_on:
            if not begins:  # those that were not read since would bring what they counted in another time
                self._born.clear()
            self._since = time
        self._seen = time if taken or self._seen == -math.inf else self._seen

    def _spans_with(self, arm: ArmName, asked: Asked, renewed: Container[str]) -> bool:
        """Whether a pod of it stays known as it was when the time began, read now or not."""
        known = {pod.name for pod in asked.pods.get(arm, ()) if pod.name not in renewed} & self._shown.keys()
        return any(pod in self._born or self._shown[pod][0] == self._since for pod in known)
