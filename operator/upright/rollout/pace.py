"""When is a closer look worth its cost?"""

from datetime import datetime, timedelta

from upright.analysis import Policy
from upright.api.deployment_status import Analysis, Arm
from upright.api.monitoring import Boundary

FRESH = timedelta(seconds=15)
"""A step's clock has begun as lately: what is grossly worse shows at once."""
RISEN = 10.0
"""Evidence that a healthy version has with a probability of at most a tenth: the next looks decide."""


def hurry(candidate: Arm, analysis: Analysis | None, policy: Policy, now: datetime) -> timedelta:
    """For how long looks are to come as fast as they may; decided by the past alone, so that the promise holds. Not
    while its step's clock stands still; and the exact boundary holds for looks that do not depend on the evidence.
    """
    begun = candidate.step_since
    if begun is None:
        return timedelta(0)
    exact = any(metric.boundary is Boundary.EXACT for metric in policy.metrics)
    if analysis is not None and analysis.evidence >= RISEN and not exact:
        return FRESH
    return max(timedelta(0), min(FRESH, begun + FRESH - now))
