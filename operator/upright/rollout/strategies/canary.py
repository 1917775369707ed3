"""A new version gets its share of the traffic in steps, and is compared with the stable one meanwhile."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from upright.api.artifact import Refusal
from upright.api.common import format_duration
from upright.api.deployment import Arm, Step
from upright.conditions import Finding
from upright.rollout.facts import STEADY, ArmFacts, Facts
from upright.rollout.modes.realtime import SERVE
from upright.rollout.routing.replicas import share, split
from upright.rollout.strategies import Advance, Decision, Left, Promote, Reject, Shape, Stay

_BROKEN_FOR = timedelta(seconds=30)
"""A stable version of which no pod has answered for so long is not what a candidate need be compared with."""
_SETTLED = timedelta(seconds=30)
"""After so long in a step requests should have reached the candidate, if they reach the stable version."""
_EXPECTED = 20
"""Requests. That none of so many expected ones arrives by chance has a probability of e^-20 where each is sent anew."""
_NOW_AND_THEN = timedelta(minutes=1)
_ZERO = timedelta(0)


@dataclass(frozen=True)
class Canary:
    """The strategy."""

    def shape(self, facts: Facts) -> Shape:
        """Ready pods never become fewer than `replicas` by our doing: pods are taken away as others become ready."""
        replicas, arm, candidate, stable = facts.spec.replicas, facts.candidate.arm, facts.candidate, facts.stable
        if stable is None:
            return Shape(0, replicas)
        needed = min(candidate.size, max(0, replicas - stable.ready))
        if arm.leaving:
            return Shape(replicas, needed)
        step = split(replicas, _step(facts).weight)
        stays = max(step.stable, replicas - candidate.ready)
        return Shape(stays, replicas if arm.finishing else max(step.candidate, needed))

    def decide(self, facts: Facts) -> Decision:
        """First what condemns it, then whether its pods are there, then whether it could be compared, then time."""
        spec, candidate, stable, now = facts.spec, facts.candidate, facts.stable, facts.now
        arm = candidate.arm
        if arm.leaving:
            return _leave(facts)
        if (condemned := _condemned(facts)) is not None:
            return condemned
        if spec.replicas == 0:
            nothing = "spec.replicas is 0: no pod can be compared, and the rollout waits."
            return Stay(_standing(arm, now), nothing, _NOW_AND_THEN)
        wanted = self.shape(facts).candidate
        if candidate.ready < wanted:
            return _unready(facts, wanted)
        arm = arm.model_copy(update={"unready_since": None})
        if stable is None:
            return Promote()
        if not arm.finishing and not spec.paused and _is_broken(stable, now):
            return Advance(
                _finishing(arm, now),
                f"No pod of {stable.arm.model_version} answers, so that there is nothing to compare with.",
            )
        if arm.finishing:
            return _finish(facts, arm)
        return _compare(facts, arm)


def _step(facts: Facts) -> Step:
    """The step that it is in: the last one, when there are fewer than there were."""
    steps = facts.spec.rollout.steps
    return steps[min(facts.candidate.arm.step or 0, len(steps) - 1)]


def _condemned(facts: Facts) -> Reject | None:
    """What is wrong with it, whatever the time."""
    for pod in facts.candidate.pods:
        ended = pod.ended(SERVE)
        if not pod.ready and ended and ended.exit_code != 0 and (refusal := _refusal(ended.message)):
            return Reject("", f"{refusal.message} ({refusal.reason})")
    if facts.analysis and facts.analysis.verdict == "Rollback":
        return Reject(facts.analysis.metric, facts.analysis.message)
    return _fails_too_often(facts)


def _refusal(message: str) -> Refusal | None:
    """What our runtime leaves when it will not load the model: trying again would not help."""
    try:
        return Refusal.model_validate_json(message)
    except ValidationError:
        return None


def _fails_too_often(facts: Facts) -> Reject | None:
    candidate, stable, limit = facts.candidate, facts.stable, facts.spec.rollout.restarts
    if stable is None or candidate.failures < limit:
        return None
    of_stable = max(0, stable.failures - (candidate.arm.stable_failures or 0))
    if of_stable and of_stable * len(candidate.pods) >= candidate.failures * len(stable.pods):
        return None  # whatever it is, it is not this version
    crash = next((crash for pod in candidate.pods if (crash := pod.crash)), "The reason is not known")
    return Reject(
        "",
        f"Its containers have failed {candidate.failures} times since it went out, and those of "
        f"{stable.arm.model_version} {of_stable} times (rollout.restarts is {limit}). {crash}.",
    )


def _unready(facts: Facts, wanted: int) -> Decision:
    """Too few pods answer. Its clock stands still, and another one runs."""
    candidate, now, deadline = facts.candidate, facts.now, facts.spec.rollout.startup_deadline
    since = candidate.arm.unready_since or (now if _has_begun(candidate.arm) else candidate.arm.since)
    arm = _standing(candidate.arm, now).model_copy(update={"unready_since": since})
    said = f"{candidate.ready} of {wanted} pods are ready.{candidate.trouble}"
    left = since + deadline - now
    if left > _ZERO:
        return Stay(arm, said, left)
    if candidate.lacks_room:
        room = Finding("NoRoom", f"{candidate.arm.model_version} waits for room in the cluster. {said}")
        return Stay(arm, said, _NOW_AND_THEN, held=room)
    if facts.stable is None and candidate.ready:
        return Stay(arm, said, _NOW_AND_THEN)  # it is all there is: taking it away would be worse
    return Reject(
        "",
        f"Only {candidate.ready} of {wanted} pods were ready within {format_duration(deadline)} "
        f"(rollout.startupDeadline).{candidate.trouble}",
    )


def _has_begun(arm: Arm) -> bool:
    """Whether all its pods have been ready once."""
    return bool(arm.step or arm.step_since or arm.step_spent or arm.finishing)


def _is_broken(stable: ArmFacts, now: datetime) -> bool:
    since = stable.arm.unready_since
    return stable.ready == 0 and since is not None and now - since >= _BROKEN_FOR


def _finishing(arm: Arm, now: datetime) -> Arm:
    return _standing(arm, now).model_copy(update={"finishing": True})


def _finish(facts: Facts, arm: Arm) -> Decision:
    """All its pods are ready. It takes over once they have been so for a while."""
    if facts.spec.paused:
        return Stay(arm, "All steps are done. Paused by spec.paused.", _NOW_AND_THEN)
    if facts.candidate.steady(facts.now) < facts.spec.replicas:
        steady = format_duration(STEADY)
        return Stay(arm, f"All steps are done; its pods must be ready for {steady} without interruption.", STEADY)
    return Promote()


def _leave(facts: Facts) -> Decision:
    """It was given up in a step for which the stable version had lost pods; it goes as those come back."""
    candidate, stable, now = facts.candidate, facts.stable, facts.now
    since = candidate.arm.unready_since or now
    left = since + facts.spec.rollout.startup_deadline - now
    if stable is None or stable.ready >= facts.spec.replicas or not candidate.ready or left <= _ZERO:
        return Left()
    return Stay(
        candidate.arm.model_copy(update={"unready_since": since}),
        f"{candidate.ready} pods of {candidate.arm.model_version} still carry traffic, until "
        f"{stable.arm.model_version} has all its pods again.{stable.trouble}",
        left,
    )


def _compare(facts: Facts, arm: Arm) -> Decision:
    """All pods of the step are there: its clock runs while the versions can be compared."""
    spec, now, steps = facts.spec, facts.now, facts.spec.rollout.steps
    if (arm.step or 0) >= len(steps):  # steps have been taken away: what is left of them is gone through in full
        arm = arm.model_copy(update={"step": len(steps) - 1, "step_since": None, "step_spent": None})
    place = f"Step {(arm.step or 0) + 1} of {len(steps)}"
    if spec.paused:
        return Stay(_standing(arm, now), f"{place}, paused by spec.paused.", _NOW_AND_THEN)
    arm, blind = _unmeasured(facts, arm)
    if blind and (decision := _without_measurements(facts, arm, place, blind)) is not None:
        return decision
    arm = arm if arm.step_since else arm.model_copy(update={"step_since": now})
    left = _step(facts).for_ - _elapsed(arm, now)
    if left > _ZERO:
        return Stay(arm, f"{place}, {_roughly(left)} left.{_quiet(facts)}", left, unmeasured=blind)
    if (arm.step or 0) + 1 < len(steps):
        step = (arm.step or 0) + 1
        following = arm.model_copy(update={"step": step, "step_since": None, "step_spent": None})
        said = f"Step {step + 1} of {len(steps)} begins, with {steps[step].weight} % of the traffic.{_quiet(facts)}"
        return Advance(following, said)
    return _at_the_end(facts, arm, blind)


def _at_the_end(facts: Facts, arm: Arm, blind: str) -> Decision:
    analysis, then = facts.analysis, facts.spec.rollout.on_inconclusive
    if (analysis is not None and analysis.verdict == "Promote") or then == "Promote":
        return Advance(_finishing(arm, facts.now), f"All steps are done; the last pods start.{_quiet(facts)}")
    seen = analysis.message if analysis else "Nothing could be compared."
    said = f"The steps ended without a verdict, and onInconclusive is {then}. {seen}"
    if then == "Rollback":
        return Reject("", said)
    remedy = "Set onInconclusive to Promote or Rollback to decide."
    return Stay(arm, said, _NOW_AND_THEN, Finding("Inconclusive", said, remedy), blind)


def _unmeasured(facts: Facts, arm: Arm) -> tuple[Arm, str]:
    """Why the versions cannot be compared, if they cannot, and the candidate with the time since when."""
    why = _blindness(facts, arm)
    if not why:
        return arm.model_copy(update={"unmeasured_since": None}), ""
    return arm.model_copy(update={"unmeasured_since": arm.unmeasured_since or facts.now}), why


def _blindness(facts: Facts, arm: Arm) -> str:
    arms = facts.reading.arms
    for name in ("canary", "stable"):
        found = arms.get(name)
        if found and found.state in {"Unreadable", "Stuck"}:
            return found.message
    canary, stable = arms.get("canary"), arms.get("stable")
    if not canary or not stable or not facts.stable or canary.requests > 0:
        return ""
    weight = share(facts.candidate.ready, facts.stable.ready)
    expected = stable.requests * weight / max(1, 100 - weight)
    if expected < _EXPECTED or (arm.unmeasured_since is None and _elapsed(arm, facts.now) < _SETTLED):
        return ""
    return (
        f"None of the requests reaches {arm.model_version}, which should have had about {expected:.0f} of them; "
        f"{facts.stable.arm.model_version} has answered {stable.requests:.0f}. A NetworkPolicy may keep clients from "
        "its pods, or the clients keep their connections to the others."
    )


def _without_measurements(facts: Facts, arm: Arm, place: str, why: str) -> Decision | None:
    """What becomes of a candidate that cannot be compared; None when it goes on unseen, as somebody wanted."""
    rollout, now = facts.spec.rollout, facts.now
    standing = _standing(arm, now)
    left = (arm.unmeasured_since or now) + rollout.no_data_deadline - now
    said = f"{place} does not end: the versions cannot be compared. {why}"
    if left > _ZERO:
        return Stay(standing, said, left, unmeasured=why)
    deadline = f"for {format_duration(rollout.no_data_deadline)} (rollout.noDataDeadline)"
    if rollout.on_inconclusive == "Rollback":
        return Reject("", f"It could not be compared {deadline}, and onInconclusive is Rollback. {why}")
    if rollout.on_inconclusive == "Promote" and rollout.when_unmeasured == "Promote":
        return None
    remedy = (
        "It goes on by itself when they can. To let it go out unseen, set onInconclusive and whenUnmeasured to Promote."
    )
    held = Finding("Unmeasured", f"{arm.model_version} could not be compared {deadline}. {why}", remedy)
    return Stay(standing, said, _NOW_AND_THEN, held, why)


def _quiet(facts: Facts) -> str:
    """That nobody asks either version: no verdict, and nothing that time could change."""
    if not facts.reading.quiet:
        return ""
    return " No requests have come in, so that nothing is compared."


def _standing(arm: Arm, now: datetime) -> Arm:
    """With its step's clock stopped."""
    if arm.step_since is None:
        return arm
    return arm.model_copy(update={"step_since": None, "step_spent": _elapsed(arm, now)})


def _elapsed(arm: Arm, now: datetime) -> timedelta:
    """What the step's clock has counted. One that was put back counts nothing meanwhile."""
    running = max(_ZERO, now - arm.step_since) if arm.step_since else _ZERO
    return (arm.step_spent or _ZERO) + running


def _roughly(left: timedelta) -> str:
    return "less than a minute" if left < timedelta(minutes=1) else "a minute or more"
