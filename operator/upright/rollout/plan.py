"""What to do about a Deployment.

Everything that cannot be derived again from the world is in the status before anything acts on it: which version is
stable, which is the candidate and in which step, what has been rejected. The objects follow from that alone.
"""

from datetime import timedelta

from upright.api import names
from upright.api.deployment import Arm
from upright.contract import Plan
from upright.rollout import status as statuses
from upright.rollout import steps
from upright.rollout.draft import Draft
from upright.rollout.objects import objects
from upright.rollout.observe import Observed
from upright.rollout.obstacle import obstacle
from upright.rollout.revision import revision
from upright.rollout.verdict import analyse

_ASK_AGAIN = timedelta(seconds=30)
"""For what is not watched: a Service that somebody else owns."""


def plan(observed: Observed) -> Plan:
    """The plan for what was observed."""
    resource = observed.resource
    before = resource.status
    wanted = revision(observed.wanted, resource.spec.serving) if observed.wanted else None
    asked = resource.metadata.annotations.get(names.RETRY)
    retried = asked is not None and asked != before.retry
    draft = Draft(
        resource=resource,
        now=observed.now,
        stable=before.stable,
        candidate=before.candidate,
        analysis=before.analysis,
        rejected=[one for one in before.rejected if not (retried and one.revision == wanted)],
        history=list(before.history),
    )
    draft.obstacle = obstacle(observed, wanted, draft)
    _settle(observed, draft, wanted)
    if draft.candidate:
        _judge(observed, draft, draft.candidate)
    draft.obstacle = obstacle(observed, wanted, draft)
    _tell_obstacle(draft)
    status = statuses.sparing(before, statuses.status(observed, draft))
    needed = objects(observed, draft)
    return Plan(
        status=statuses.as_json(status),
        create=needed.create,
        apply=needed.apply,
        scale=needed.scale,
        delete=needed.delete,
        events=draft.events,
        counts=draft.counts,
        gauges={
            "upright_deployment_phase": [({**draft.labels(), "phase": str(status.phase)}, 1.0)],
            "upright_rollout_evidence": [
                ({**draft.labels(), "metric": metric.name}, metric.evidence)
                for metric in (draft.analysis.metrics if draft.analysis and draft.candidate else [])
            ],
        },
        again=_ASK_AGAIN if observed.taken else draft.again,
    )


def _settle(observed: Observed, draft: Draft, wanted: str | None) -> None:
    """Drop a candidate that is no longer wanted, and begin with the one that is."""
    if wanted is None or observed.wanted is None:
        return
    if draft.candidate and draft.candidate.revision != wanted:
        draft.replace(draft.candidate)
    if draft.obstacle or draft.serves(wanted) or observed.resource.spec.paused:
        return
    version = observed.wanted.metadata.name
    draft.candidate = Arm(model_version=version, revision=wanted, since=observed.now, step=0)
    draft.analysis = None
    place = f"beside {draft.stable.model_version}" if draft.stable else "as the first version"
    draft.say("Normal", "RolloutStarted", f"{version} (revision {wanted}) goes out {place}.")


def _tell_obstacle(draft: Draft) -> None:
    """Once, when it appears. Not what lasts only a moment, nor a rejection that has just been told."""
    known = {one.reason for one in draft.resource.status.conditions if one.type == "Stalled"}
    just_rejected = any(event.reason == "RolledBack" for event in draft.events)
    found = draft.obstacle
    if found and not found.passing and found.reason not in known and not just_rejected:
        draft.say("Warning", found.reason, found.message)


def _judge(observed: Observed, draft: Draft, candidate: Arm) -> None:
    """Let pods, evidence and time decide about the candidate."""
    spec = observed.resource.spec
    recorded = observed.resource.status.candidate
    if draft.stable and recorded and recorded.revision == candidate.revision and observed.looks:
        draft.analysis = analyse(spec, draft.analysis, observed.looks)
    decision = steps.decide(
        spec,
        candidate,
        first=draft.stable is None,
        ready=statuses.ready_pods(observed, candidate),
        pods=observed.pods.get(candidate.revision, ()),
        analysis=draft.analysis,
        now=observed.now,
    )
    match decision:
        case steps.Stay(step_since, message, again):
            draft.candidate = candidate.model_copy(update={"step_since": step_since})
            draft.progress = message
            draft.again = min(again, observed.next_look)
        case steps.Hold(message):
            draft.progress, draft.held, draft.again = message, True, observed.next_look
        case steps.Advance(step):
            draft.candidate = candidate.model_copy(update={"step": step, "step_since": None})
            draft.again = observed.next_look
            if step < len(spec.rollout.steps):
                draft.progress = f"Step {step + 1} of {len(spec.rollout.steps)} begins."
                share = f"{spec.rollout.steps[step].weight} %"
            else:
                draft.progress = "All steps are done; the last pods start."
                share = "all traffic"
            draft.say("Normal", "StepReached", f"{candidate.model_version} gets {share}. {draft.progress}")
        case steps.Promote():
            draft.promote(candidate)
        case steps.Reject(metric, message):
            draft.reject(candidate, metric, message)
