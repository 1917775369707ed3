"""When is a closer look worth its cost?"""

from datetime import datetime, timedelta

from upright.api.deployment_status import Analysis, Arm

FRESH = timedelta(seconds=15)
"""A step's clock has begun as lately: what is grossly worse shows at once."""
RISEN = 10.0
"""Evidence that a healthy version has with a probability of at most a tenth: the next looks decide."""


def hurry(candidate: Arm, analysis: Analysis | None, now: datetime) -> timedelta:
    """For how long looks are to come as fast as they may; decided by the past alone, so that the promise holds."""
    if analysis is not None and analysis.evidence >= RISEN:
        return FRESH
    begun = candidate.step_since
    return timedelta(0) if begun is None else max(timedelta(0), min(FRESH, begun + FRESH - now))
