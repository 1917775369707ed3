"""What became of a run, as its Job and its pods tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from upright.api.artifact import REFUSED, PublishReport, Refusal, read_report
from upright.api.training_job import Run
from upright.contract import Manifest
from upright.pods import container_statuses, hindrance, termination


@dataclass(frozen=True)
class Working:
    """The run goes on."""

    attempts: int
    hindrance: str | None
    """What keeps it from going on, if anything is known to."""


@dataclass(frozen=True)
class Produced:
    """A model was published."""

    report: PublishReport
    pod: Manifest


@dataclass(frozen=True)
class Ended:
    """The run ended without a model."""

    phase: Literal["Failed", "Refused"]
    message: str


Outcome = Working | Produced | Ended


def outcome(run: Run, job: Manifest | None, pods: Sequence[Manifest]) -> Outcome:
    """What became of a run that has been given a Job. `pods`: the run's, newest first."""
    if job is None:
        return Ended("Failed", f"Job {run.name} was deleted before it ended.")
    conditions = {
        condition["type"]: condition
        for condition in job.get("status", {}).get("conditions", [])
        if condition["status"] == "True"
    }
    if "Complete" in conditions:
        return _produced(run, pods)
    if "Failed" in conditions:
        return _failed(run, conditions["Failed"], pods)
    return Working(attempts_of(job), hindrance(pods[0]) if pods else None)


def attempts_of(job: Manifest | None) -> int:
    """How many pods a run's Job has started; 0 without a Job."""
    status = job.get("status", {}) if job else {}
    return sum(status.get(count, 0) for count in ("active", "succeeded", "failed"))


def _produced(run: Run, pods: Sequence[Manifest]) -> Outcome:
    for pod in pods:
        ended = termination(pod, "publish")
        if ended and ended["exitCode"] == 0:
            try:
                return Produced(read_report(ended.get("message", "")), pod)
            except ValidationError as error:
                return Ended("Failed", f"Run {run.name} published, but its report cannot be read: {error}")
    return Ended(
        "Failed",
        f"Run {run.name} completed, but the pod that could report the version is gone. "
        "What it published is in the store; run it again to have it reported.",
    )


def _failed(run: Run, condition: Manifest, pods: Sequence[Manifest]) -> Ended:
    if condition.get("reason") == "DeadlineExceeded":
        return Ended("Failed", f"Run {run.name} took longer than spec.deadline allows and was stopped.")
    for pod in pods:
        for status in container_statuses(pod):
            container = status["name"]
            ended = termination(pod, container)
            if ended is None or ended["exitCode"] == 0:
                continue
            said = ended.get("message", "").strip()
            if container in {"data", "publish"}:
                phase: Literal["Failed", "Refused"] = "Refused" if ended["exitCode"] == REFUSED else "Failed"
                return Ended(phase, f"Run {run.name}: {_refusal(container, ended)}")
            reason = "ran out of memory" if ended.get("reason") == "OOMKilled" else f"exited with {ended['exitCode']}"
            words = f", its last words: {said}" if said else ""
            log = f"kubectl logs {pod['metadata']['name']} -c {container}"
            return Ended("Failed", f"Run {run.name}: the training program {reason}{words}. See {log}")
    return Ended("Failed", f"Run {run.name} failed: {condition.get('message') or condition.get('reason')}.")


def _refusal(container: str, ended: Manifest) -> str:
    try:
        refusal = Refusal.model_validate_json(ended.get("message", ""))
    except ValidationError:
        return f"container {container!r} exited with {ended['exitCode']} ({ended.get('reason', 'no reason')})"
    return f"{refusal.message} ({refusal.reason})"
