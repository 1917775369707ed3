"""When is a closer look worth its cost?"""

import math
from datetime import datetime, timedelta

from upright.api.deployment import DeploymentSpec
from upright.api.deployment_status import Analysis, Arm
from upright.api.monitoring import Boundary
from upright.rollout.facts import elapsed
from upright.rollout.measuring import NEARLY

FRESH = timedelta(seconds=15)
"""A step's clock has counted no more: what is grossly worse shows at once."""
RISEN = 10.0
"""Evidence that a healthy version has with a probability of at most a tenth: the next looks decide."""


def hurry(candidate: Arm, analysis: Analysis | None, spec: DeploymentSpec, now: datetime) -> timedelta:
    """For how long looks are to come as fast as they may; decided by the past alone, so that the promise holds. Not
    while its step's clock stands still, nor when the steps are over and a person is waited for; and the exact boundary
    holds for looks that do not depend on the evidence. What begins with a warm-up is not compared then.
    """
    if candidate.step_since is None:
        return timedelta(0)
    counted, steps = elapsed(candidate.step_since, candidate.step_spent, now), spec.rollout.steps
    step = candidate.step or 0
    if step + 1 >= len(steps) and counted >= steps[-1].for_:
        return timedelta(0)
    exact = any(metric.boundary is Boundary.EXACT for metric in spec.monitoring.metrics)
    if analysis is not None and analysis.evidence >= RISEN and not exact:
        return FRESH
    return timedelta(0) if spec.monitoring.warm_up else max(timedelta(0), FRESH - counted)


class Worth:
    """Whether closer looks bring anything, by those that were taken. Where none could be compared sooner than usual for
    an interval, since nobody asks, or what is read is made anew more seldom, they end; the next try is after a usual
    look with events of both versions, after two when that was in vain as well, and so on.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        """When they began, or the last one that was worth it was taken; None while nobody wants them."""
        self._compared = -math.inf
        """When the last look was taken that could be compared."""
        self._vain = 0
        """How often they were tried in vain."""
        self._left = 0
        """Usual looks that can be compared until the next try."""

    def __bool__(self) -> bool:
        return not self._left

    def taken(self, at: float, interval: timedelta, *, wanted: bool, compared: bool) -> None:
        """A look was.

        Args:
            at: when, in seconds of any clock.
            interval: between looks that are not close.
            wanted: closer looks are.
            compared: it has events of both versions.
        """
        usual = interval.total_seconds()
        sooner = compared and at - self._compared < NEARLY * usual
        if not wanted or sooner:
            self._since, self._vain, self._left = at if wanted else None, 0, 0
        elif self._left:
            self._left -= compared
            self._since = at
        elif self._since is None:
            self._since = at
        elif at - self._since >= usual:
            self._vain += 1
            self._left = 2 ** (self._vain - 1)
        self._compared = at if compared else self._compared
