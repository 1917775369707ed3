"""What to do about a Deployment.

Everything that cannot be derived again from the world is in the status before anything acts on it: which version is
stable, which is the candidate and in which step, what has been rejected. The objects follow from that alone.
"""

from datetime import timedelta

from upright.api import names
from upright.api.by_segment import whole_of
from upright.api.deployment_status import Arm, ComparedFailures, DeploymentStatus, StandIn
from upright.conditions import Finding, said_since
from upright.contract import Plan
from upright.rollout import evidence
from upright.rollout import status as statuses
from upright.rollout.clocks import arm_as_watched, as_watched, stable_as_seen
from upright.rollout.decision import Advance, Left, Promote, Reject, Shape, Stay
from upright.rollout.draft import Draft
from upright.rollout.facts import LASTING, STEADY, ArmFacts, Facts
from upright.rollout.memory import remembered, unrecorded
from upright.rollout.objects import is_lost, objects
from upright.rollout.observe import Observed
from upright.rollout.obstacle import OLD_PODS_GOING, is_gone, obstacle, old_pods_may_go_for
from upright.rollout.restarts import counted
from upright.rollout.revision import revision
from upright.rollout.standing_in import is_base_of_next, is_needed, makes_way
from upright.rollout.strategies import STRATEGIES
from upright.rollout.taking_up import also_carrying, answering, arm_of, taken_up
from upright.rollout.telling import asked, most_frequent, tell, where_to_look
from upright.rollout.unwanted import by_whom, why_unwanted
from upright.rollout.verdict import analyse

_ASK_SOON, _ASK_RARELY = timedelta(seconds=5), timedelta(minutes=5)
"""For what is not watched, a Service that somebody else owns: the longer it lasts, the more rarely."""


def plan(observed: Observed) -> Plan:
    """The plan for what was observed."""
    resource, before = observed.resource, observed.resource.status
    wanted = revision(observed.wanted, resource.spec.serving) if observed.wanted else None
    draft = _begin(observed, wanted)
    draft.obstacle = obstacle(observed, wanted, draft)
    _settle(observed, draft, wanted)
    if draft.candidate and before.candidate and draft.candidate.revision == before.candidate.revision:
        _judge(observed, draft, draft.candidate)
    _keep_stand_in(observed, draft)
    _shape(observed, draft)
    draft.obstacle = obstacle(observed, wanted, draft)
    again = _ask_again(observed) if observed.taken else _until_something_lasts(observed, draft)
    draft.events += tell(observed, draft, wanted)
    status = statuses.sparing(before, statuses.status(observed, draft))
    needed = objects(observed, draft)
    comparison = evidence.compared(draft.stable, draft.candidate)
    worth = evidence.is_worth_keeping(before, status, observed.evidence, draft.evidence)
    memory = remembered(observed.memory, status, observed.versions)
    keep = evidence.to_keep(resource, observed.kept, comparison, draft.evidence if worth else None, memory)
    return Plan(
        status=statuses.as_json(status),
        keep=keep,
        record=not statuses.tells_only_what_is_made(observed, status),
        create=needed.create,
        apply=needed.apply,
        scale=needed.scale,
        correct=needed.correct,
        delete=[
            *needed.delete,
            *(() if keep or memory.rejected else evidence.outlived(observed.kept, comparison)),
            *observed.forgotten,
        ],
        events=[*draft.events, *asked(resource.spec, before, status), *needed.events],
        counts=draft.counts,
        gauges={
            "upright_deployment_phase": [({**draft.labels(), "phase": str(status.phase)}, 1.0)],
            "upright_rollout_evidence": [
                ({**draft.labels(), "metric": metric.name}, metric.evidence)
                for metric in (draft.analysis.metrics if draft.analysis and draft.candidate else [])
            ],
        },
        again=again,
    )


def _begin(observed: Observed, wanted: str | None) -> Draft:
    """What the status says, but for what can no longer be so, and for a rejection that somebody wants forgotten."""
    resource, before = observed.resource, observed.resource.status
    known = {(one.revision, one.at) for one in before.rejected}
    draft = Draft(
        resource=resource,
        now=observed.now,
        stable=arm_as_watched(before.stable, observed),
        candidate=arm_as_watched(before.candidate, observed),
        stand_in=as_watched(before.stand_in, observed),
        analysis=before.analysis,
        rejected=list(before.rejected),
        remembered=[one for one in observed.rejected if (one.revision, one.at) not in known],
        history=list(before.history),
    )
    if draft.stable and is_lost(observed, draft.stable.revision, draft.stable.model_version):
        lost = f"The workload of {draft.stable.model_version} is gone, and with it what its pods were made of."
        draft.say("Warning", "RevisionLost", lost)
        draft.stable = draft.analysis = None
    if before.stable is None and before.candidate is None:
        draft.stable = taken_up(observed, draft)
    elif (stable := statuses.arm_facts(observed, draft.stable)) is not None:
        repairing = bool(draft.candidate and draft.candidate.repairing)
        draft.stable = stable_as_seen(stable, resource.spec.replicas, observed.now, repairing=repairing)
    last = len(resource.spec.rollout.steps) - 1
    if draft.candidate and _is_of_old(before) and (draft.candidate.step or 0) > last:
        draft.candidate = draft.candidate.model_copy(update={"step": last, "finishing": True})
    if resource.wants_retry:
        draft.retry(wanted)
    return draft


def _is_of_old(status: DeploymentStatus) -> bool:
    """Whether an operator wrote it that told the end of the steps by their number."""
    return all(one.type != "Current" for one in status.conditions)


def _settle(observed: Observed, draft: Draft, wanted: str | None) -> None:
    """Drop a candidate that is no longer wanted, take back one that is wanted again, or begin with what is wanted."""
    candidate = draft.candidate
    if candidate is None:
        _begin_with(observed, draft, wanted)
        return
    why, facts = why_unwanted(observed, draft, candidate, wanted), _facts(observed, draft, candidate)
    serving = {candidate.revision, draft.stable.revision if draft.stable else None}
    coming = wanted is not None and wanted not in serving and draft.obstacle is None
    if (candidate.leaving or why) and is_base_of_next(facts, coming=coming):
        draft.promote(candidate)
    elif not candidate.leaving:
        if why:  # it goes first, lest requests reach its pods beside the next one's
            draft.abort(candidate, why, by_whom(observed, candidate), leaving=is_needed(facts, bad=False))
    elif candidate.revision == wanted:  # a rejected one is tried again with new pods, unless these are to stay
        if not facts.rejected:
            draft.take_back(candidate)
        elif draft.is_retried(candidate) and makes_way(facts):
            failed = {"own_failures": _failures(observed, wanted) or None, "compared_failures": ComparedFailures()}
            draft.take_back(candidate.model_copy(update={"since": observed.now, **failed}))
    elif coming and makes_way(facts):
        draft.stand_in = _most_answering(observed, candidate, draft.stand_in, wanted)
        _begin_with(observed, draft, wanted)


def _most_answering(observed: Observed, candidate: Arm, stand_in: StandIn | None, wanted: str | None) -> StandIn:
    """What of the two that were given up goes on answering; not the one that is to go out again."""
    found = answering(observed)
    better = stand_in and found.get(stand_in.revision, (0, 0)) > found.get(candidate.revision, (0, 0))
    if stand_in and better and stand_in.revision != wanted:
        return stand_in
    return StandIn(model_version=candidate.model_version, revision=candidate.revision)


def _begin_with(observed: Observed, draft: Draft, wanted: str | None) -> None:
    """Let what is wanted go out, if nothing is in its way."""
    version, target = observed.wanted, wanted
    if draft.obstacle and draft.obstacle.reason == "VersionRejected" and not draft.stable and observed.fallback:
        version = observed.versions[observed.fallback]
        target = revision(version, observed.resource.spec.serving)
    elif draft.obstacle or draft.serves(target):
        version = target = None
    also = also_carrying(observed, draft, target)
    if also and target in answering(observed):  # both go on
        draft.stand_in = StandIn(model_version=also.model_version, revision=also.revision)
    elif also:  # it goes as pods of what was taken up come back, like a candidate that is given up
        draft.candidate = also.model_copy(update={"leaving": True})
        return
    if version is None or target is None:
        return
    stable = statuses.arm_facts(observed, draft.stable)
    draft.candidate = Arm(
        model_version=version.metadata.name,
        revision=target,
        since=observed.now,
        step=0,
        unready_since=observed.now,
        compared_failures=ComparedFailures() if stable else None,
        own_failures=_failures(observed, target) or None,
        stable_failures=(stable.seen_failures or None) if stable else None,
    )
    draft.analysis = None


def _failures(observed: Observed, revision_name: str) -> int:
    """How often pods of a revision have failed that are there already: they were taken over."""
    failures = sum(pod.seen_failures for pod in observed.pods.get(revision_name, ()))
    return failures + len(observed.evicted.get(revision_name, ()))


def _keep_stand_in(observed: Observed, draft: Draft) -> None:
    """What was given up before the candidate answers beside it until half of the pods that are wanted do without it,
    and not for a moment only. When the candidate goes before that, it is what is left; but not when it has itself not
    answered for longer than a moment.
    """
    stand_in, now = draft.stand_in, observed.now
    if stand_in is None:
        return
    down = None if statuses.standing_in(observed, draft) else stand_in.down_since or now
    draft.stand_in = stand_in.model_copy(update={"down_since": down})
    stable, candidate = (statuses.arm_facts(observed, arm) for arm in (draft.stable, draft.candidate))
    others = (stable.relied_upon(now) if stable else 0) + (candidate.steady(now, LASTING) if candidate else 0)
    if 2 * others >= observed.resource.spec.replicas or (down and now - down >= LASTING):
        draft.stand_in = None
    elif candidate is None:
        draft.stand_in = draft.analysis = None
        if stand_in.revision in observed.workloads:
            waited = observed.now - observed.resource.spec.rollout.startup_deadline
            left = {"leaving": True, "unready_since": waited, "down_since": down}
            draft.candidate = arm_of(observed, stand_in.revision).model_copy(update=left)
            _judge(observed, draft, draft.candidate)  # so that it is told at once


def _judge(observed: Observed, draft: Draft, candidate: Arm) -> None:
    """Let pods, evidence and time decide about the candidate."""
    spec, looks, anew = observed.resource.spec, observed.reading.looks, ""
    if draft.stable and not candidate.leaving:
        recorded = observed.evidence
        if looks or recorded:
            weighed = analyse(spec, recorded, looks, draft.analysis)
            draft.analysis, draft.evidence, anew = weighed.analysis, weighed.evidence, weighed.anew
        candidate = draft.in_step(candidate, anew)
    if (stable := statuses.arm_facts(observed, draft.stable)) is not None:
        candidate = counted(_facts(observed, draft, candidate), stable)
    facts = _facts(observed, draft, candidate)
    undone = unrecorded(observed.memory, observed.resource.status, candidate)
    match undone or STRATEGIES[spec.rollout.strategy].decide(facts):
        case Stay(arm, message, again, held, unmeasured, unseen):
            least = LASTING if arm.unready_since else STEADY  # one that is waited for may have settled long before that
            settling = facts.candidate.ready > facts.candidate.steady(observed.now, least)
            draft.candidate, draft.progress = arm, message
            recovering = arm.unready_since or (draft.stable and draft.stable.unready_since)
            draft.again = min(again, STEADY if settling else LASTING if recovering else again)
            draft.held = _held_before(observed) if unseen and not draft.obstacle else held
            draft.unmeasured, draft.unseen = unmeasured, unseen
        case Advance(arm, message):
            draft.candidate, draft.progress = arm, message
            draft.again = timedelta(0)  # the status is recorded, and what follows from it is decided next
            if not (arm.finishing and facts.candidate.ready >= spec.replicas):  # that it takes over is told at once
                draft.say("Normal", "StepReached", f"{facts.name}: {message}")
        case Promote():
            draft.promote(candidate)
        case Reject(metric, message):
            pods = names.object_name(observed.resource.metadata.name, candidate.revision)
            seen = observed.reading.arms.get("canary")
            blamed = [one for one in spec.monitoring.metrics if one.name == whole_of(metric)]
            said = (most_frequent(one, seen) for one in blamed)
            # What an operator that ended before its status was written has kept says so already.
            message = " ".join([message, *(one for one in said if one and one not in message)])
            where = " ".join(where_to_look(one, pods) for one in blamed)
            leaving, others = is_needed(facts, bad=True), facts.stable.ready if facts.stable else 0
            draft.reject(candidate, metric, message, where, leaving=leaving, stable_answers=others > 0)
        case Left():
            draft.candidate = None


def _held_before(observed: Observed) -> Finding | None:
    """What holds it, as the recorded status says."""
    held = observed.resource.status.held
    return Finding(held.reason, held.message) if held else None


def _shape(observed: Observed, draft: Draft) -> None:
    """How many pods both versions should have, now that it is decided which they are."""
    spec = observed.resource.spec
    if draft.candidate:
        facts = _facts(observed, draft, draft.candidate)
        draft.shape = STRATEGIES[spec.rollout.strategy].shape(facts)
    else:
        draft.shape = Shape(spec.replicas if draft.stable else 0, 0)


def _until_something_lasts(observed: Observed, draft: Draft) -> timedelta | None:
    """How long until what time alone may change: at the latest when another pod has answered for long enough to count,
    what stands in has not for too long, or old pods have been there for too long.
    """
    stable, stand_in, now = draft.stable, draft.stand_in, observed.now
    waits = [draft.again]
    if draft.candidate or stand_in or (stable and stable.unready_since):
        arms = filter(None, (statuses.arm_facts(observed, arm) for arm in (stable, draft.candidate)))
        waits += [arm.lasts_in(now) for arm in arms]
    if draft.obstacle and draft.obstacle.reason == OLD_PODS_GOING:
        waits.append(old_pods_may_go_for(observed))
    if stand_in:
        waits.append((stand_in.down_since or now) + LASTING - now)
    return min((one for one in waits if one is not None), default=None)


def _facts(observed: Observed, draft: Draft, candidate: Arm) -> Facts:
    found = statuses.arm_facts(observed, candidate)
    return Facts(
        now=observed.now,
        spec=observed.resource.spec,
        candidate=found or ArmFacts(candidate),
        stable=statuses.arm_facts(observed, draft.stable),
        analysis=draft.analysis,
        reading=observed.reading,
        standing_in=statuses.standing_in(observed, draft),
        irreplaceable=draft.stable is not None and is_gone(observed.versions.get(draft.stable.model_version)),
        rejected=draft.was_rejected(candidate),
        halted=_halted(observed, candidate),
    )


def _halted(observed: Observed, candidate: Arm) -> str:
    """Why nothing goes on, whatever answers."""
    if observed.taken:
        return f"stopped, since Service {', '.join(observed.taken)} is somebody else's"
    if is_gone(observed.versions.get(candidate.model_version)):
        return f"stopped, since no pod of {candidate.model_version} could be started any more: its artifact is gone"
    return "paused by spec.paused" if observed.resource.spec.paused else ""


def _ask_again(observed: Observed) -> timedelta:
    """The longer a name has been taken, the more rarely one asks whether it still is."""
    since = said_since(observed.resource.status.conditions, "ServiceNameTaken")
    waited = observed.now - since if since else timedelta(0)
    return min(max(waited / 4, _ASK_SOON), _ASK_RARELY)
