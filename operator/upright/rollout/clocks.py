"""Which of the recorded times count? None that is to come, and none for which nobody watched. And which are recorded of
the stable version?
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from upright.api.deployment_status import Arm, StandIn
from upright.rollout.facts import LASTING, ArmFacts, elapsed, lasts
from upright.rollout.observe import Observed
from upright.rollout.verdict import is_ahead

_OF_STABLE = ("unready_since", "ready_since", "lacking_since", "down_since", "barred_since")
_CLOCKS = (*_OF_STABLE, "unmeasured_since", "short_since")
_KEPT_EVERY = timedelta(hours=1)
"""So much of a day, at most, is lost when nobody watches for a while."""
_UNLOOKED = timedelta(minutes=2)
"""For longer than this between the last look that is recorded and the first one of this process, or the first one after
it stood still, nobody has looked."""

_Watched = TypeVar("_Watched", Arm, StandIn)


def as_watched(one: _Watched | None, observed: Observed) -> _Watched | None:
    """A version's place with its clocks as they can be. What was so when the operator went away, or the machine fell
    asleep, and is so again, may not have been meanwhile: each deadline begins anew when somebody watches again. A clock
    that was ahead would let what it has recorded stand still until then.
    """
    if one is None:
        return None
    now, since = observed.now, observed.watched_since
    clocks = {clock: min(max(at, since), now) for clock in _CLOCKS if (at := getattr(one, clock, None))}
    return one.model_copy(update=clocks)


def arm_as_watched(arm: Arm | None, observed: Observed) -> Arm | None:
    """An arm likewise, with the time since when it has its place, and that of its step."""
    watched = as_watched(arm, observed)
    if watched is None:
        return None
    return _step_as_watched(watched.model_copy(update={"since": min(watched.since, observed.now)}), observed)


def stable_as_seen(stable: ArmFacts, replicas: int, now: datetime, *, repairing: bool) -> Arm:
    """The stable version with its clocks: since when none of its pods has answered for long, and since when it has been
    as it is: one answers again, none has a node (unless the candidate repairs, and may have taken the room), or none
    answers, which goes on while that is so for less than a minute, or no node may take them. They stop while `replicas`
    is 0, and not where somebody has deleted its workload or scaled it down.
    """
    arm, stopped = stable.arm, dict.fromkeys((*_OF_STABLE, "barred_spent"))
    recovered = stable.ready and (arm.unready_since is None or any(lasts(pod, now) for pod in stable.pods))
    if replicas == 0 or recovered:
        return arm.model_copy(update=stopped)
    unready = arm.unready_since or (now if arm.ready_replicas or stable.failures else None)  # from zero none fell
    lacking = arm.lacking_since or now
    down = arm.down_since if repairing or now - lacking < LASTING else None
    if stable.ready:
        clocks: dict[str, object] = {"ready_since": arm.ready_since or now}
    elif stable.homeless and not repairing:
        clocks = {"lacking_since": lacking, "down_since": down}
        if stable.barred:
            clocks |= {"down_since": arm.down_since or now, **_barred(arm, now)}
    else:  # an operator of before has recorded that it fell, and nothing since
        fell = None if arm.ready_since or arm.lacking_since else arm.unready_since
        clocks = {"down_since": down or fell or now}
    return arm.model_copy(update={**stopped, "unready_since": unready, **clocks})


def _barred(arm: Arm, now: datetime) -> Mapping[str, object]:
    """Its clock of a day, of which what has been counted is kept when nobody watches."""
    since = arm.barred_since or now
    if now - since < _KEPT_EVERY:
        return {"barred_since": since, "barred_spent": arm.barred_spent}
    return {"barred_since": now, "barred_spent": elapsed(since, arm.barred_spent, now)}


def _step_as_watched(arm: Arm, observed: Observed) -> Arm:
    """Its step keeps the time until the last look before nobody looked, and its clock stands until somebody does."""
    if arm.step_since is None:
        return arm
    recorded = observed.resource.status.analysis
    began = arm.step_since.timestamp()
    looked_at = recorded.at if recorded and not is_ahead(recorded.at, observed.now) else None
    until, first = max(looked_at or 0.0, began), observed.reading.since
    looked = first is None or first - until <= _UNLOOKED.total_seconds()
    if looked and arm.step_since >= observed.watched_since:
        return arm.model_copy(update={"step_since": min(arm.step_since, observed.now)})
    spent = min(until, observed.now.timestamp()) - began
    update = {"step_since": None, "step_spent": (arm.step_spent or timedelta(0)) + timedelta(seconds=max(0.0, spent))}
    return arm.model_copy(update=update)
