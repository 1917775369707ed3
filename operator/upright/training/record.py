"""What a run's Job says of the run: the spec may have changed since it was made."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError

from upright.api import names
from upright.api.common import Problem, Resource
from upright.api.training_job import Run, TrainingJob, Trigger
from upright.contract import Index, Manifest
from upright.training.inputs import MOST_RUNS, Inputs


class Record(Resource):
    """The annotation names.RUN_RECORD."""

    trigger: Trigger
    inputs: str
    sources: Mapping[str, str] = Field(default_factory=dict)
    request: str | None = None
    settings: str | None = None
    problem: Problem | None = None
    started_at: datetime | None = None
    """To the microsecond, so that it is after the end of the run before: the API server tells whole seconds."""


def record_of(owner: TrainingJob, run: Run) -> str:
    """What the Job of a run that starts now must say."""
    return Record(
        trigger=run.trigger,
        inputs=run.inputs,
        sources=run.sources,
        request=run.request,
        settings=run.settings,
        problem=owner.spec.problem,
        started_at=run.started_at,
    ).model_dump_json(by_alias=True, exclude_none=True)


def read_record(job: Manifest) -> Record | None:
    """What a Job says; None for that of an older operator."""
    try:
        return Record.model_validate_json((job["metadata"].get("annotations") or {}).get(names.RUN_RECORD, ""))
    except ValidationError:
        return None


def number_in(job: Manifest) -> int | None:
    """The number of the run that a Job says it belongs to; None for a Job that only looks like ours, such as a copy of
    one: that has another name.
    """
    given = job["metadata"].get("labels") or {}
    number, owner = str(given.get(names.RUN, "")), given.get(names.TRAINING_JOB, "")
    if not (number.isascii() and number.isdigit() and len(number) <= len(str(MOST_RUNS))):
        return None
    counted = int(number)
    return counted if counted <= MOST_RUNS and job["metadata"]["name"] == names.run_name(owner, counted) else None


def _made_for(job: Manifest) -> Iterable[str]:
    name = (job["metadata"].get("labels") or {}).get(names.TRAINING_JOB)
    return [name] if name and number_in(job) is not None and names.can_be_ours(job, names.RUN) else []


def _reduced(job: Manifest) -> Manifest:
    """A Job of ours without the annotations that users have given it and its pods: they may be many, and large."""
    spec = job.get("spec", {})
    template = {"metadata": _only(names.PARAMETERS, spec.get("template", {}).get("metadata", {}))}
    return {**job, "metadata": _only(names.RUN_RECORD, job["metadata"]), "spec": {**spec, "template": template}}


def _only(annotation: str, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    given = metadata.get("annotations") or {}
    return {**metadata, "annotations": {annotation: given[annotation]} if annotation in given else {}}


RUNS = Index(names.JOBS, "by TrainingJob", _made_for, reads=_reduced)
"""Jobs of runs, by the TrainingJob that their label names; not what only bears that label, and is somebody else's. Each
is read once, when it arrives, and not again in every turn.
"""


def run_of(job: Manifest, inputs: Inputs) -> Run:
    """The run that a Job of ours belongs to, for a TrainingJob that knows nothing of it. Of an older operator's Job it
    is taken that the spec has not changed since.
    """
    meta = job["metadata"]
    record = read_record(job) or Record(trigger="Created", inputs=inputs.spec, sources=dict(inputs.sources))
    return Run.model_validate(
        {
            "name": meta["name"],
            "number": number_in(job),
            "phase": "Running",
            "job": meta["uid"],
            "startedAt": record.started_at or meta["creationTimestamp"],
            **record.model_dump(include={"trigger", "inputs", "sources", "request", "settings"}),
        }
    )


def parameters_of(job: Manifest, owner: TrainingJob) -> Any:
    """The parameters that the run's pods were given."""
    annotations = job.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations") or {}
    try:
        return json.loads(annotations[names.PARAMETERS])
    except (KeyError, ValueError, RecursionError):
        return owner.spec.parameters
