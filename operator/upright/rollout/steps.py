"""May the candidate have more? What becomes of it after this moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from upright.api.artifact import Refusal
from upright.api.common import format_duration
from upright.api.deployment import Analysis, Arm, DeploymentSpec
from upright.contract import Manifest
from upright.pods.reading import hindrance, termination
from upright.rollout.manifests import SERVE
from upright.rollout.traffic import Replicas, split


@dataclass(frozen=True)
class Stay:
    """It keeps what it has; `again` is how long until that may change by time alone."""

    step_since: datetime | None
    message: str
    again: timedelta


@dataclass(frozen=True)
class Advance:
    """It gets the share of the next step; the step after the last is all of it."""

    step: int


@dataclass(frozen=True)
class Promote:
    """It becomes the stable version."""


@dataclass(frozen=True)
class Reject:
    """It is not tried again by itself. `metric` is empty when it never served."""

    metric: str
    message: str


@dataclass(frozen=True)
class Hold:
    """It has come to the end of its steps without a verdict, and a person decides."""

    message: str


Decision = Stay | Advance | Promote | Reject | Hold


def replicas_at(spec: DeploymentSpec, step: int) -> Replicas:
    """The pods of both versions in a step; after the last one both have all."""
    if step >= len(spec.rollout.steps):
        return Replicas(spec.replicas, spec.replicas)
    return split(spec.replicas, spec.rollout.steps[step].weight)


def decide(
    spec: DeploymentSpec,
    candidate: Arm,
    *,
    first: bool,
    ready: int,
    pods: Sequence[Manifest],
    analysis: Analysis | None,
    now: datetime,
) -> Decision:
    """What becomes of the candidate. `first`: there is no stable version. `ready`: how many of its pods are."""
    if (refusal := _refusal(pods)) is not None:
        return Reject("", refusal)
    if analysis and analysis.verdict == "Rollback":
        return Reject(analysis.metric, analysis.message)
    step = candidate.step or 0
    steps = spec.rollout.steps
    wanted = spec.replicas if first else replicas_at(spec, step).candidate
    if ready < wanted:
        return _not_ready(spec, candidate, ready, wanted, pods, now, serves=first and ready > 0)
    if first or step >= len(steps):
        return Promote()
    since = candidate.step_since or now
    if spec.paused:
        return Stay(since, f"Paused at step {step + 1} of {len(steps)} by spec.paused.", steps[step].for_)
    left = since + steps[step].for_ - now
    if left > timedelta(0):
        return Stay(since, f"Step {step + 1} of {len(steps)}, {_roughly(left)} left.", left)
    if step + 1 < len(steps):
        return Advance(step + 1)
    return _at_the_end(spec, analysis, len(steps))


def _at_the_end(spec: DeploymentSpec, analysis: Analysis | None, end: int) -> Decision:
    proven = analysis is not None and analysis.verdict == "Promote"
    if proven or spec.rollout.on_inconclusive == "Promote":
        return Advance(end)
    seen = analysis.message if analysis else "Nothing could be compared."
    if spec.rollout.on_inconclusive == "Rollback":
        return Reject("", f"The steps ended without a verdict, and onInconclusive is Rollback. {seen}")
    return Hold(
        f"The steps ended without a verdict, and onInconclusive is Hold. {seen} "
        "Set onInconclusive to Promote or Rollback to decide."
    )


def _not_ready(
    spec: DeploymentSpec,
    candidate: Arm,
    ready: int,
    wanted: int,
    pods: Sequence[Manifest],
    now: datetime,
    *,
    serves: bool,
) -> Decision:
    """`serves`: it is all there is, so that taking it away would be worse than waiting for the rest of its pods."""
    found = next((reason for pod in pods if (reason := hindrance(pod) or _crash(pod))), None)
    because = f" {found}." if found else ""
    if candidate.step_since is None and (candidate.step or 0) == 0 and not serves:
        left = candidate.since + spec.rollout.startup_deadline - now
        if left <= timedelta(0):
            return Reject(
                "",
                f"Only {ready} of {wanted} pods were ready within {format_duration(spec.rollout.startup_deadline)} "
                f"(rollout.startupDeadline).{because}",
            )
        return Stay(None, f"{ready} of {wanted} pods are ready.{because}", left)
    return Stay(candidate.step_since, f"{ready} of {wanted} pods are ready.{because}", timedelta(minutes=1))


def _refusal(pods: Sequence[Manifest]) -> str | None:
    """Why a pod will not load the model, when its runtime says so: trying again would not help."""
    for pod in pods:
        ended = termination(pod, SERVE)
        if ended and ended["exitCode"] != 0:
            try:
                refusal = Refusal.model_validate_json(ended.get("message", ""))
            except ValidationError:
                continue
            return f"{refusal.message} ({refusal.reason})"
    return None


def _crash(pod: Manifest) -> str | None:
    ended = termination(pod, SERVE)
    if ended is None or ended["exitCode"] == 0:
        return None
    said = ended.get("message", "").strip()
    name = pod["metadata"]["name"]
    return f"Pod {name} exited with {ended['exitCode']} ({ended.get('reason', 'Error')}){f': {said}' if said else ''}"


def _roughly(left: timedelta) -> str:
    return "less than a minute" if left < timedelta(minutes=1) else "a minute or more"
