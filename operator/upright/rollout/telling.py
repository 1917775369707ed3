"""What has happened to a rollout, as events. They are made from what the status records, so that none can be lost."""

from collections.abc import Sequence
from datetime import datetime

from upright.api.deployment import DeploymentSpec, Step
from upright.api.deployment_status import Arm, DeploymentStatus, Episode
from upright.api.monitoring import Metric, MetricType
from upright.conditions import NEWS, Finding, told
from upright.contract import Event
from upright.rollout import status as statuses
from upright.rollout.draft import Draft
from upright.rollout.facts import called
from upright.rollout.measuring import Measurement
from upright.rollout.modes.realtime import SERVE
from upright.rollout.observe import Observed
from upright.rollout.obstacle import MOMENTARY

_TOLD = {"Promoted": ("Normal", "Promoted"), "RolledBack": ("Warning", "RolledBack"), "Aborted": ("Normal", "Aborted")}
_OF_REQUESTS = {MetricType.ERROR_RATE: "errors", MetricType.REFUSAL_RATE: "refusals"}


def most_frequent(metric: Metric, seen: Measurement | None) -> str:
    """What came up most often of what was counted against a candidate that a metric condemns, if that is about its
    requests as they are counted by themselves. What it was comes last: a message that is too long loses its middle.
    """
    kind = _OF_REQUESTS.get(metric.type) if metric.total is None else None
    found = None if seen is None else {"errors": seen.failing, "refusals": seen.refusing}.get(kind or "")
    if found is None:
        return ""
    share = f"{100 * found.count / found.of:.3g} % of {found.of:.0f}"
    example = f", for instance with {found.example}" if found.example else ""
    what = f"{found.what}: {found.message}" if found.message else found.what
    end = "" if what.endswith((".", "!", "?")) else "."
    return f"Most frequent of its {kind} ({share}{example}): {what}{end}"


def where_to_look(metric: Metric, pods: str) -> str:
    """Where more is said of what was counted against a candidate that a metric condemns. `pods`: how the names of its
    pods begin.
    """
    kind = _OF_REQUESTS.get(metric.type)
    if kind == "refusals":
        return "Each of its answers of 4xx or 503 says why."
    if kind == "errors":
        return (
            f"Why it answered with 5xx is in the logs of its pods ({pods}-*, container {SERVE}), which go with it: "
            "look where your cluster collects logs, or serve it in another Deployment to see it fail."
        )
    return ""


def tell(observed: Observed, draft: Draft, wanted: str | None) -> Sequence[Event]:
    """The events of what was decided; of what is in the way; that nothing is measured; that the stable version no
    longer answers.
    """
    now, recorded = observed.now, observed.resource.status.conditions
    events = [*_news(draft.history, draft.stable, draft.candidate, observed.resource.spec.rollout.steps, now)]
    for found in (draft.obstacle, None if draft.unseen else draft.held):
        if found is None or found.waits or found.reason in MOMENTARY:
            continue
        if found.reason != "VersionRejected" or not _was_just_rolled_back(observed, draft, wanted):
            events += told(found, "Reconciling" if found.passing else "Stalled", recorded, now, "Rollout")
    if draft.unmeasured and not draft.unseen:
        events += told(Finding("Unmeasured", draft.unmeasured), "Measured", recorded, now, "Rollout")
    stable = statuses.arm_facts(observed, draft.stable)
    since = stable and (stable.arm.unready_since or stable.arm.down_since or stable.arm.lacking_since)
    if stable and since and stable.ready == 0 and stable.trouble:
        said = f"No pod of {called(stable.arm, draft.candidate)} answers.{stable.trouble}"
        events.append(Event("Warning", "NotServing", "Rollout", said, since))
    return events


def _was_just_rolled_back(observed: Observed, draft: Draft, wanted: str | None) -> bool:
    """Whether the rejection that is in the way is news, of which the event of the rollback tells."""
    revision = observed.passed_over.revision if observed.passed_over else wanted
    return any(
        (one.outcome, one.revision) == ("RolledBack", revision) and observed.now - one.to < NEWS
        for one in draft.history
    )


def _news(
    history: Sequence[Episode], stable: Arm | None, candidate: Arm | None, steps: Sequence[Step], now: datetime
) -> Sequence[Event]:
    """The events of what was decided in the last minutes, oldest first."""
    events = [
        Event(_TOLD[episode.outcome][0], _TOLD[episode.outcome][1], "Rollout", episode.reason, episode.to)  # type: ignore[arg-type]
        for episode in reversed(history)
        if episode.outcome in _TOLD and episode.reason and now - episode.to < NEWS
    ]
    if stable and now - stable.since < NEWS and all(episode.to != stable.since for episode in history):
        said = f"{stable.model_version} is the stable version."  # the first one, or what was found to serve
        events.append(Event("Normal", "Serving", "Rollout", said, stable.since))
    if candidate and not candidate.leaving and now - candidate.since < NEWS:
        place = f"beside {called(stable, candidate)}" if stable else "as the first version"
        said = f"{candidate.model_version} (revision {candidate.revision}) goes out {place}."
        events.append(Event("Normal", "RolloutStarted", "Rollout", said, candidate.since))
        begun = candidate.step_since if candidate.step == 0 and candidate.step_spent is None else None
        if begun and now - begun < NEWS:
            step = f"Step 1 of {len(steps)} begins, with {steps[0].weight} % of the traffic."
            events.append(Event("Normal", "StepReached", "Rollout", f"{called(candidate, stable)}: {step}", begun))
    return events


def asked(spec: DeploymentSpec, before: DeploymentStatus, after: DeploymentStatus) -> Sequence[Event]:
    """The events of what somebody has asked for and is done now: a pause, its end, no pods."""
    ready = next(one for one in after.conditions if one.type == "Ready")
    was_paused = any((one.type, one.reason) == ("Ready", "Paused") for one in before.conditions)
    events = []
    if ready.reason == "Paused" and not was_paused:
        events.append(Event("Normal", "Paused", "Rollout", ready.message))
    elif was_paused and not spec.paused:
        events.append(Event("Normal", "Resumed", "Rollout", f"spec.paused is no longer true. {ready.message}"))
    if spec.replicas == 0 and before.stable and before.stable.replicas and after.stable and not after.stable.replicas:
        said = f"spec.replicas is 0: no pod serves {after.stable.model_version}, and none is started until it is more."
        events.append(Event("Normal", "ScaledToZero", "Rollout", said))
    return events
