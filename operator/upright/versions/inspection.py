"""Whether the artifact is what its digest names, as the pods tell that have read it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from upright.api import names
from upright.api.model_version import Inspection, ModelVersion, Refused
from upright.conditions import cut
from upright.contract import Manifest
from upright.pods.reading import Pod, read

SERVING_CONTAINER = "serve"
_REMEDY_BEFORE = f"Restore the artifact and set the annotation {names.RETRY} to a new value, or serve another version."
"""As an earlier operator wrote it behind what was found."""
_SINCE = "A pod has read it since and found its digest right."


@dataclass(frozen=True, slots=True)
class Witness:
    """A pod that serves a version, and what it tells of it."""

    deployment: str
    version: str
    created: datetime
    ready: bool
    findings: tuple[Inspection, ...]
    """What it has found of the artifact."""


def witness(manifest: Manifest) -> Witness:
    """Read a pod's manifest for what it tells of the version that it serves."""
    pod = read(manifest)
    return Witness(
        deployment=pod.labels.get(names.DEPLOYMENT, ""),
        version=pod.labels.get(names.MODEL_VERSION, ""),
        created=pod.created,
        ready=pod.ready,
        findings=tuple(_findings(pod)),
    )


def remedy(resource: ModelVersion) -> str:
    """What can be done about an artifact that pods have refused."""
    meta, lineage = resource.metadata, resource.spec.lineage
    train = ""
    if lineage and (job := lineage.training_job):
        train = f", train another with `{names.asks_for_run(job.name, meta.namespace)}`"
    return (
        "Restore the artifact from a backup of its claim and say so with `kubectl annotate --overwrite "
        f"modelversions.upright.dev {meta.name} -n {meta.namespace} {names.RETRY}=$(date +%s)`{train}, or serve "
        "another version."
    )


def retried(resource: ModelVersion, pods: Sequence[Witness], now: datetime) -> datetime | None:
    """When somebody asked for another try last: after all that is known now, whatever the nodes' clocks say."""
    before = resource.status
    if resource.metadata.asks(names.RETRY) in (None, before.retry):
        return before.retried
    recorded = [before.inspection] if before.inspection else []
    refusals = (each for pod in pods for each in pod.findings if each.outcome != "Intact")
    return max([now, *(found.at for found in (*recorded, *refusals))])


def inspection(resource: ModelVersion, pods: Sequence[Witness], retried: datetime | None) -> Inspection | None:
    """What was found last; None when no pod has read it yet, or when nothing counts that was found.

    A pod has read the artifact when it is ready, and as it was at the container's start; one that is ready again after
    a hiccup has read nothing anew. One that is not known to verify what it loads says nothing by being ready.
    """
    recorded = _recorded(resource)
    found = [
        each
        for each in [*([recorded] if recorded else []), *(each for pod in pods for each in pod.findings)]
        if each.outcome == "Intact" or retried is None or each.at > retried
    ]
    newest = max(found, key=lambda each: (each.at, each.outcome == "Intact"), default=None)
    if newest is None or recorded is None or recorded not in found:
        return newest
    since = {each.outcome for each in found if each.at > recorded.at}
    if newest.outcome == recorded.outcome and since <= {recorded.outcome}:
        return recorded  # when it was found first; a pod that finds the same is no news
    if newest.outcome == "Intact" and recorded.outcome != "Intact":
        return newest.model_copy(update={"message": f"{_SINCE} It had been found {recorded.outcome}."})
    return newest


def _findings(pod: Pod) -> Iterable[Inspection]:
    refusals = list(_refusals(pod))
    yield from refusals
    # a pod made by an operator that did not put the label on shows by a refusal of its own that it verifies; others of
    # these tell nothing, as nobody can tell them from an image that loads whatever is there
    if pod.labels.get(names.VERIFIES) != "true" and not refusals:
        return
    for container in pod.containers:
        if container.name == SERVING_CONTAINER and container.started and pod.ready:
            yield Inspection(outcome="Intact", at=container.started)


def _refusals(pod: Pod) -> Iterable[Inspection]:
    """What a pod that would not load the artifact says of it."""
    ended = pod.ended(SERVING_CONTAINER)
    if ended is None or ended.exit_code == 0:
        return
    refusal = ended.refusal
    for outcome in get_args(Refused):
        if refusal and refusal.reason == outcome:
            yield Inspection(outcome=outcome, at=ended.at or pod.created, message=cut(refusal.message))


def _recorded(resource: ModelVersion) -> Inspection | None:
    """What the status says; one that an earlier operator wrote says it in its conditions."""
    status = resource.status
    if status.inspection:
        return status.inspection
    verified = next((one for one in status.conditions if one.type == "Verified"), None)
    if verified is None or verified.last_transition_time is None:
        return None
    at = verified.last_transition_time
    if verified.status == "True":
        return Inspection(outcome="Intact", at=at)
    if verified.status == "False" and status.phase in get_args(Refused):
        return Inspection.model_validate(
            {"outcome": status.phase, "at": at, "message": verified.message.removesuffix(f" {_REMEDY_BEFORE}")}
        )
    return None
