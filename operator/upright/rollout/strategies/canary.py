"""A new version gets its share of the traffic in steps, and is compared with the stable one meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upright.api.artifact import REFUSED
from upright.api.by_segment import is_whole
from upright.api.common import format_duration
from upright.api.deployment import Step
from upright.api.deployment_status import Arm
from upright.conditions import Finding
from upright.pods.reading import Pod
from upright.rollout.blindness import unmeasured, was_unmeasured
from upright.rollout.decision import Advance, Decision, Promote, Reject, Shape, Stay
from upright.rollout.facts import LASTING, OUTAGE, STEADY, ArmFacts, Facts, begun, elapsed, is_misconfigured, some_pods
from upright.rollout.modes.realtime import SERVE
from upright.rollout.pace import RISEN
from upright.rollout.restarts import failed_too_often
from upright.rollout.routing.replicas import split
from upright.rollout.standing_in import BARRED_FOR, BROKEN_FOR, is_broken, is_silent_for_long, leave
from upright.rollout.unready import alike, disturbed, held_up, incomplete

_NOW_AND_THEN = timedelta(minutes=1)
_TOLERATED = 10
"""Of so many pods one may be missing, or young: in a large cluster a node is always being drained."""
_AS_LONG = 3
"""A pod that has been ready for so many times as long as its last break took is no longer waited for."""
_SETTLED: Mapping[str, None] = {"unready_since": None, "unready_pod": None, "down_since": None}
_COMPLETE: Mapping[str, None] = {"lacking_since": None, "short_since": None, "short_spent": None}
_ZERO = timedelta(0)


@dataclass(frozen=True)
class Canary:
    """The strategy."""

    def shape(self, facts: Facts) -> Shape:
        """Ready pods never become fewer than `replicas` by our doing: pods are taken away as others become ready."""
        replicas, arm, candidate, stable = facts.spec.replicas, facts.candidate.arm, facts.candidate, facts.stable
        if stable is None:
            return Shape(0, replicas)
        needed = min(candidate.size, max(0, replicas - stable.relied_upon(facts.now)))
        if arm.leaving:
            return Shape(replicas, needed)
        step = split(replicas, _step(facts).weight)
        missing, young = replicas - candidate.ready, replicas - candidate.steady(facts.now)
        stays = max(step.stable, min(young, max(stable.size, missing)))  # for those that are only young none comes back
        stays = max(stays, min(stable.size, replicas)) if facts.irreplaceable else stays
        return Shape(stays, replicas if arm.finishing or arm.repairing else max(step.candidate, needed))

    def decide(self, facts: Facts) -> Decision:
        """First what condemns it, then whether its pods are there, then whether it could be compared, then time."""
        spec, candidate, stable, now, arm = facts.spec, facts.candidate, facts.stable, facts.now, facts.candidate.arm
        if arm.leaving:
            return leave(facts)
        if (condemned := _condemned(facts)) is not None:
            return condemned
        if spec.replicas == 0:
            nothing = "spec.replicas is 0: no pod can be compared, and the rollout waits."
            none = {**_SETTLED, **_COMPLETE, "ready_since": None, "repairing": None}
            return Stay(_standing(arm, now, **none), nothing, _NOW_AND_THEN)
        if arm.repairing and stable and stable.recovered:  # whatever its own pods lack: it needs fewer from now on
            return _compare_after_all(facts, arm, "answers again")
        wanted = self.shape(facts).candidate
        if candidate.ready < wanted and (late := _late(facts, wanted)) is not None:
            return late
        if candidate.ready < wanted - (_tolerated(wanted) if stable else 0):
            return _unready(facts, wanted)
        seen = arm.ready_since if candidate.size >= wanted else None
        clocks = {"ready_since": seen or now, **_COMPLETE, **_unsettled(facts)}
        arm = arm.model_copy(update=clocks)
        if stable is None:
            return _serve_first(facts, arm)
        if arm.repairing:
            return _repair(facts, arm, stable)
        if not (arm.finishing or facts.halted) and (is_broken(facts) or is_silent_for_long(facts)):
            return Advance(
                _standing(arm, now, repairing=True, **_SETTLED, ready_since=None),
                f"No pod of {facts.stable_name} answers, so that there is nothing to compare with.",
            )
        if arm.finishing:
            return _take_over(facts, arm, "The steps are over")
        return _compare(facts, arm)


def _step(facts: Facts) -> Step:
    """The step that it is in."""
    return facts.spec.rollout.steps[facts.candidate.arm.step or 0]


def _condemned(facts: Facts) -> Reject | None:
    """What is wrong with it, whatever the time."""
    for pod in () if facts.only_candidate_answers else facts.candidate.pods:
        ended = pod.ended(SERVE)
        if not pod.ready and ended and ended.exit_code == REFUSED and (refusal := ended.refusal):
            return Reject("", f"{refusal.message} ({refusal.reason}).")
    if facts.analysis and facts.analysis.verdict == "Rollback":
        return Reject(facts.analysis.metric, facts.analysis.message)
    failed = failed_too_often(facts)
    return Reject("", failed) if failed else None


def _tolerated(pods: int) -> int:
    """How many of so many may be missing, or young."""
    return pods // _TOLERATED


def _late(facts: Facts, wanted: int) -> Reject | Stay | None:
    """What becomes of a candidate of which a pod has begun and has not been ready for `startupDeadline`."""
    candidate, now, deadline = facts.candidate, facts.now, facts.spec.rollout.startup_deadline
    unready = [pod for pod in candidate.pods if not pod.ready and not facts.waits(pod)]
    late = [pod for pod in unready if now - _unready_since(facts, pod) >= deadline]
    if not candidate.size or not late:
        return None
    said = f"{candidate.ready} of {wanted} pods are ready.{candidate.trouble or candidate.loss}{candidate.unready}"
    arm = _standing(candidate.arm, now, **_unsettled(facts), ready_since=None)
    if facts.only_candidate_answers:
        return Stay(arm, said, _NOW_AND_THEN, incomplete(facts, said))
    if facts.stable is None and all(map(is_misconfigured, late)):  # no other version would start, either
        remedy = "Create what is missing, and it starts by itself; or correct spec.serving."
        return Stay(arm, said, _NOW_AND_THEN, Finding("CannotStart", f"{facts.name} cannot be started. {said}", remedy))
    return Reject(
        "",
        f"Only {candidate.ready} of {wanted} pods were ready within {format_duration(deadline)} "
        f"(rollout.startupDeadline).{candidate.trouble}{candidate.unready}{alike(facts)}",
    )


def _unready(facts: Facts, wanted: int) -> Decision:
    """Too few pods answer. Its clock stands still, and others run: one while a pod that has begun is not ready, which
    is the version's doing; one while the cluster does not make or start pods, their nodes are away, or the stable
    version's are not ready either, which says nothing of it; and one while neither lasts, since pods that have begun
    are taken away before they are ready.
    """
    candidate, now, deadline = facts.candidate, facts.now, facts.spec.rollout.startup_deadline
    if candidate.size == 0:
        arm = _standing(candidate.arm, now, **_COMPLETE, **_SETTLED, ready_since=None)
        return Stay(arm, "Its workload is being made.", _NOW_AND_THEN)
    waiting = [pod for pod in candidate.pods if facts.waits(pod)]
    lacking = (candidate.arm.lacking_since or now) if len(candidate.pods) - len(waiting) < wanted else None
    short, longest = elapsed(candidate.arm.short_since, candidate.arm.short_spent, now), OUTAGE * deadline
    if facts.excuses(candidate.pods):
        short = _ZERO
    stands = {"short_since": None, "short_spent": short or None}
    runs = {"short_since": candidate.arm.short_since or now}
    clocks = {"lacking_since": lacking, **(stands if lacking else runs), **_unsettled(facts)}
    arm = _standing(candidate.arm, now, **clocks, ready_since=None)
    said = f"{candidate.ready} of {wanted} pods are ready.{candidate.trouble or candidate.loss}{alike(facts)}"
    queued = bool(waiting) and all(pod.gated for pod in waiting)
    held = None
    if lacking and now - lacking >= deadline and not queued:
        held = held_up(facts, said)
    elif short >= longest and not queued:
        held = disturbed(facts, said)
    left = [clock + deadline - now for clock in (arm.unready_since, lacking) if clock and now - clock < deadline]
    left += [longest - short] if arm.short_since and short < longest else []
    return Stay(arm, said, min(left, default=_NOW_AND_THEN), held)


def _unsettled(facts: Facts) -> Mapping[str, object]:
    """The pod that is waited for, and since when: one until it has settled, and then whichever has been unready for
    longest. So the short breaks of many do not add up, and one that is never ready for long is found, whatever the
    others do.
    """
    arm = facts.candidate.arm
    unsettled = [
        (_unready_since(facts, pod), pod.ready, pod.name != arm.unready_pod, pod.name, pod)
        for pod in facts.candidate.pods
        if not facts.waits(pod) and (not pod.ready or (pod.name == arm.unready_pod and not _settled(facts, pod)))
    ]
    if not unsettled:
        return _SETTLED
    since, ready, _, name, pod = min(unsettled, key=lambda one: one[:-1])
    known = (arm.down_since if name == arm.unready_pod else None) or since
    down = known if ready else max(known, pod.changed, begun(pod, facts.now))
    return {"unready_since": since, "unready_pod": name, "down_since": down}


def _unready_since(facts: Facts, pod: Pod) -> datetime:
    """Since when a pod has not been ready for long: the one that is waited for since it was first seen unready, any
    other since it has been so without interruption, as far as that was seen. One that comes later, for an autoscaler or
    a node that is drained, has its own time.
    """
    arm, began = facts.candidate.arm, begun(pod, facts.now)
    return max(arm.unready_since or facts.now, began if pod.name == arm.unready_pod else max(began, pod.changed))


def _settled(facts: Facts, pod: Pod) -> bool:
    """Whether the pod that is waited for has been ready for long enough without interruption: for a minute, or, where
    none of its containers has failed lately, for three times as long as its last break took.
    """
    if pod.ready_since is None:
        return False
    now, stopped = facts.now, facts.candidate.arm.down_since or _unready_since(facts, pod)
    since, failed = max(stopped, pod.ready_since), pod.failed_since(now - facts.spec.rollout.startup_deadline)
    least = LASTING if failed or since == stopped else min(LASTING, _AS_LONG * (since - stopped))
    return now - since >= least


def _repair(facts: Facts, arm: Arm, stable: ArmFacts) -> Decision:
    """All its pods are ready, and the stable version serves nothing; or does again, perhaps for a moment only. There is
    no hurry: it has the traffic, and nobody has compared it. One that comes and goes for so long is not broken; one
    whose pods are made anew again and again, and never answer, is.
    """
    ended = arm.ready_since and facts.now - arm.ready_since >= OUTAGE * facts.spec.rollout.startup_deadline
    if is_broken(facts) or (ended and is_silent_for_long(facts)):
        return _take_over(facts, arm, f"No pod of {facts.stable_name} answers", LASTING)
    if ended:
        return _compare_after_all(facts, arm, "is not found broken any more")
    if stable.ready:
        return Stay(arm, f"{facts.stable_name} answers again, with {some_pods(stable.ready)}.", STEADY)
    return _wait_for(stable, facts, arm, "It")


def _compare_after_all(facts: Facts, arm: Arm, why: str) -> Advance:
    """The repair is over: it is in its step again."""
    over = _standing(arm, facts.now, repairing=None, step_spent=None, **_COMPLETE, ready_since=None)
    return Advance(over, f"{facts.stable_name} {why}, and the versions are compared.")


def _serve_first(facts: Facts, arm: Arm) -> Decision:
    """A first version is the stable one when all its pods are ready. Where containers of them have failed, they must
    have been for a minute, but for a tenth, lest one that is killed again and again be taken for whole.
    """
    candidate, replicas = facts.candidate, facts.spec.replicas
    if candidate.failures and candidate.steady(facts.now, LASTING) < replicas - _tolerated(replicas):
        said = (
            f"Its containers have failed: its pods must be ready for {format_duration(LASTING)} without interruption."
        )
        return Stay(arm, said, STEADY)
    return Promote()


def _take_over(facts: Facts, arm: Arm, why: str, least: timedelta = STEADY) -> Decision:
    """It becomes the stable version once all its pods are ready, and all but a tenth have been for a while (`least`).
    When that tenth has been missing for as long as a start may take, it is the cluster that does not have it.
    """
    if facts.halted:
        return Stay(arm, f"{why}; {facts.halted}.", _NOW_AND_THEN)
    candidate, now, replicas = facts.candidate, facts.now, facts.spec.replicas
    waited = arm.ready_since is not None and now - arm.ready_since >= facts.spec.rollout.startup_deadline
    if candidate.ready < replicas and not waited:
        said = f"{why}; {candidate.ready} of {replicas} pods are ready.{candidate.trouble}"
        return Stay(arm, said, _NOW_AND_THEN)
    seen = arm.ready_since is not None and now - arm.ready_since >= least
    if not seen or candidate.steady(now, least) < replicas - _tolerated(replicas):
        return Stay(arm, f"{why}; its pods must be ready for {format_duration(least)} without interruption.", STEADY)
    return Promote()


def _wait_for(stable: ArmFacts, facts: Facts, arm: Arm, place: str) -> Stay:
    """Nothing is compared with a stable version that does not answer, and may by itself, until it is found broken. That
    it has no room is said, since the candidate has all the traffic.
    """
    arm, said = _standing(arm, facts.now), f"{place} waits for pods of {facts.stable_name}.{stable.trouble}"
    lacking = stable.arm.lacking_since
    if lacking is None or facts.now - lacking < facts.spec.rollout.startup_deadline:
        return Stay(arm, said, BROKEN_FOR)
    remedy = "It goes on by itself when a node has room for one."
    if not (stable.lacks_room or stable.barred):
        remedy = "It goes on by itself once the cluster makes them: events of its ReplicaSet say more."
        return Stay(arm, said, _NOW_AND_THEN, Finding("NotStarted", said, remedy))
    if stable.barred:
        remedy = (
            "It goes on by itself when a node may take one: see to labels, taints, volumes and what it asks for. Where "
            f"none may for {format_duration(BARRED_FOR)}, {facts.name} takes over uncompared."
        )
    return Stay(arm, said, _NOW_AND_THEN, Finding("NoRoom", said, remedy))


def _compare(facts: Facts, arm: Arm) -> Decision:
    """All pods of the step are there: its clock runs while somebody looks, and the versions can be compared."""
    spec, now, steps, since = facts.spec, facts.now, facts.spec.rollout.steps, facts.reading.since
    place = f"Step {(arm.step or 0) + 1} of {len(steps)}"
    if facts.halted:
        return Stay(_standing(arm, now), f"{place}, {facts.halted}.", _NOW_AND_THEN)
    if facts.stable and facts.stable.ready == 0:
        return _wait_for(facts.stable, facts, arm, place)
    unknown = was_unmeasured(arm) and any(one.state == "Unknown" for one in facts.reading.arms.values())
    if since is None or unknown or facts.reading.is_old(now, spec.monitoring.interval):
        return Stay(arm, f"{place} goes on with the next look at the pods.", _NOW_AND_THEN, unseen=True)
    arm, blind = unmeasured(facts, arm)
    if blind and (decision := _without_measurements(facts, arm, place, blind)) is not None:
        return decision
    if facts.reading.watching and not blind:
        said = f"{place} goes on when its pods' counters have been watched for a while."
        last = (arm.step or 0) + 1 == len(steps)
        over = last and elapsed(arm.step_since, arm.step_spent, now) >= _step(facts).for_
        return Stay(_standing(arm, now), said, _NOW_AND_THEN, unseen=over)  # it may wait for a person
    step_since = arm.step_since or now
    arm = arm.model_copy(update={"step_since": step_since, "step_weight": _step(facts).weight})
    watched = max(since, step_since.timestamp())
    two_looks = timedelta(seconds=watched - now.timestamp()) + 2 * spec.monitoring.interval + facts.reading.behind
    unlooked = any(one.state == "Unknown" for one in facts.reading.arms.values())
    lacking = 0 if blind or facts.analysis is None else 2 - facts.analysis.looks  # the evidence has begun anew
    further = spec.monitoring.interval * max(lacking, unlooked)
    early = spec.rollout.promote_early and not blind and _is_proven(facts) and not _is_doubted(facts)
    left = max(_ZERO if early else _step(facts).for_ - elapsed(step_since, arm.step_spent, now), two_looks, further)
    if left > _ZERO:
        return Stay(arm, f"{place}, {_roughly(left)} left.{_remarks(facts)}", left, unmeasured=blind)
    if (arm.step or 0) + 1 < len(steps) and not early:
        step = (arm.step or 0) + 1
        fresh = {"step": step, "step_since": None, "step_spent": None, "step_weight": None, **_SETTLED}
        following = arm.model_copy(update=fresh)
        said = f"Step {step + 1} of {len(steps)} begins, with {steps[step].weight} % of the traffic.{_remarks(facts)}"
        return Advance(following, said)
    return _at_the_end(
        facts, arm, "It is shown to be good enough (promoteEarly)" if early else "All steps are done", blind
    )


def _is_proven(facts: Facts) -> bool:
    """Whether it is shown in every metric to be less bad than `inferiorityRatio` excludes."""
    return facts.analysis is not None and facts.analysis.verdict == "Promote"


def _is_doubted(facts: Facts) -> bool:
    """Whether it looks worse by now, although it was once shown to be good enough."""
    return facts.analysis is not None and facts.analysis.evidence >= RISEN


def _at_the_end(facts: Facts, arm: Arm, why: str, blind: str) -> Decision:
    analysis, then = facts.analysis, facts.spec.rollout.on_inconclusive
    if (_is_proven(facts) and not _is_doubted(facts)) or then == "Promote":
        said = f"{why}; the last pods start.{_remarks(facts)}"
        since = arm.ready_since if facts.candidate.ready >= facts.spec.replicas else None
        return Advance(_standing(arm, facts.now, finishing=True, **_SETTLED, ready_since=since), said)
    seen = analysis.message if analysis else "Nothing could be compared."
    said = f"The steps ended without a verdict, and onInconclusive is {then}. {seen}"
    if then == "Rollback":
        return Reject("", said)
    remedy = "Set onInconclusive to Promote or Rollback to decide."
    return Stay(arm, said, _NOW_AND_THEN, Finding("Inconclusive", said, remedy), blind)


def _without_measurements(facts: Facts, arm: Arm, place: str, why: str) -> Decision | None:
    """What becomes of a candidate that cannot be compared; None when it goes on unseen, as somebody wanted."""
    rollout, now = facts.spec.rollout, facts.now
    standing = _standing(arm, now, unmeasured_since=arm.unmeasured_since, unmeasured_spent=arm.unmeasured_spent)
    left = rollout.no_data_deadline - elapsed(arm.unmeasured_since, arm.unmeasured_spent, now)
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
    held = Finding("Unmeasured", f"{facts.name} could not be compared {deadline}. {why}", remedy)
    return Stay(standing, said, _NOW_AND_THEN, held, why)


def _remarks(facts: Facts) -> str:
    """That nobody asks either version: no verdict, and nothing that time could change. Or that a metric is compared as
    a whole alone: users of a segment may not have asked yet, so that holds nothing up.
    """
    if facts.reading.quiet(facts.now, facts.spec.monitoring.interval):
        return " No requests have come in, so that nothing is compared."
    of_segments = (said for name, said in facts.reading.unmeasured.items() if not is_whole(name))
    return next((f" {said}" for said in of_segments), "")


def _standing(arm: Arm, now: datetime, **update: object) -> Arm:
    """With its clocks stopped: that of its step, and that of the time for which it could not be compared."""
    stopped: dict[str, object] = {}
    if arm.step_since:
        stopped |= {"step_since": None, "step_spent": elapsed(arm.step_since, arm.step_spent, now)}
    if arm.unmeasured_since:
        spent = elapsed(arm.unmeasured_since, arm.unmeasured_spent, now)
        stopped |= {"unmeasured_since": None, "unmeasured_spent": spent}
    return arm.model_copy(update={**stopped, **update})


def _roughly(left: timedelta) -> str:
    return "less than a minute" if left < timedelta(minutes=1) else "a minute or more"
