"""What to do about a TrainingJob: start a run, wait for it, keep what became of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upright.api import names
from upright.api.training_job import Run, TrainingJob, TrainingJobStatus, Trigger, outcome_fields
from upright.conditions import Finding, conditions, cut
from upright.contract import Count, Event, Manifest, Plan, Reference
from upright.training.manifests import job as job_of
from upright.training.manifests import model_version, run_name
from upright.training.observe import Observed
from upright.training.outcome import Ended, Produced, Working, attempts_of, outcome
from upright.training.parameters import InvalidParametersError, as_environment

_ASK_AGAIN = timedelta(seconds=5)
"""For what is missing: it is not watched."""


@dataclass
class _Draft:
    """The plan as it grows."""

    runs: list[Run]
    create: list[Manifest] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    stalled: Finding | None = None


def plan(observed: Observed) -> Plan:
    """The plan for what was observed."""
    resource = observed.resource
    draft = _Draft(runs=list(resource.status.runs))
    _follow(observed, draft)
    if not any(run.finished_at is None for run in draft.runs):
        _start(observed, draft)
    draft.runs = draft.runs[: resource.spec.history + (draft.runs[0].finished_at is None if draft.runs else 0)]
    status = _status(observed, draft)
    waits = any(run.phase == "Pending" for run in draft.runs)
    removals, next_removal = _expired(observed, draft.runs)
    return Plan(
        status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
        create=draft.create,
        delete=removals,
        events=draft.events,
        counts=draft.counts,
        again=_ASK_AGAIN if waits else next_removal,
    )


def _follow(observed: Observed, draft: _Draft) -> None:
    """Bring the run under way up to date, and give it its Job once it is recorded and can start."""
    resource = observed.resource
    for index, run in enumerate(draft.runs):
        if run.finished_at is not None:
            continue
        job = observed.jobs.get(run.name)
        if job is None and run.phase == "Pending":
            if observed.obstacles:
                draft.stalled = Finding("CannotStart", f"Run {run.name} cannot start: {'; '.join(observed.obstacles)}.")
                draft.events.append(Event("Warning", "CannotStart", "Start", draft.stalled.message))
                continue
            draft.create.append(job_of(resource, run, observed.defaults, _store(observed)))
            draft.events.append(Event("Normal", "RunStarted", "Start", f"Created Job {run.name} ({run.trigger})."))
            continue
        match outcome(run, job, [pod for pod in observed.pods if _runs(pod, run)]):
            case Working(attempts, hindrance):
                draft.runs[index] = run.model_copy(
                    update={"phase": "Running", "attempts": attempts, "message": cut(hindrance or "")}
                )
                if hindrance:
                    draft.stalled = Finding("RunHindered", f"Run {run.name}: {hindrance}.")
                    draft.events.append(Event("Warning", "RunHindered", "Run", draft.stalled.message))
            case Produced(report, pod) if run.name not in observed.versions:
                draft.create.append(model_version(resource, run, report, pod))
            case Produced(report, _):
                told = report.model_dump(mode="json", by_alias=True, exclude_none=True)
                draft.runs[index] = _finish(
                    observed, draft, run, "Succeeded", f"Run {run.name} produced ModelVersion {run.name}."
                ).model_copy(
                    update={
                        "attempts": attempts_of(job),
                        "model_version": run.name,
                        "metrics": told.get("metrics", {}),
                        "data": {source["name"]: source["digest"] for source in told.get("data", [])},
                    }
                )
            case Ended(phase, message):
                draft.runs[index] = _finish(observed, draft, run, phase, message).model_copy(
                    update={"attempts": attempts_of(job)}
                )


def _runs(pod: Manifest, run: Run) -> bool:
    return bool(pod["metadata"]["labels"].get(names.RUN) == str(run.number))


def _finish(observed: Observed, draft: _Draft, run: Run, phase: str, message: str) -> Run:
    resource = observed.resource
    good = phase == "Succeeded"
    draft.events.append(Event("Normal" if good else "Warning", f"Run{phase}", "Run", message))
    labels = {"namespace": resource.metadata.namespace, "model": resource.model, "result": phase}
    draft.counts.append(Count("upright_training_runs_total", labels))
    return run.model_copy(update={"phase": phase, "finished_at": observed.now, "message": cut(message)})


def _start(observed: Observed, draft: _Draft) -> None:
    """Record the next run, when there is a reason for one; its Job is made from the record."""
    resource = observed.resource
    trigger = _trigger(resource, draft.runs[0] if draft.runs else None)
    if trigger is None or resource.spec.suspend:
        return
    try:
        as_environment(resource.spec.parameters)
    except InvalidParametersError as error:
        draft.stalled = Finding("InvalidParameters", f"No run can start: {error}.")
        draft.events.append(Event("Warning", "InvalidParameters", "Start", draft.stalled.message))
        return
    if not _store(observed):
        draft.stalled = Finding(
            "NoStore",
            "No run can start: spec.output.store is not given and the operator has no default store; "
            "set it to a claim, for instance pvc://models.",
        )
        draft.events.append(Event("Warning", "NoStore", "Start", draft.stalled.message))
        return
    draft.runs.insert(
        0,
        Run(
            name=run_name(resource.metadata.name, observed.next_number),
            number=observed.next_number,
            trigger=trigger,
            phase="Pending",
            inputs=_inputs(resource),
            request=resource.metadata.annotations.get(names.RUN_REQUESTED),
            started_at=observed.now,
        ),
    )


def _store(observed: Observed) -> str:
    return observed.resource.spec.output.store or observed.defaults.store or ""


def _inputs(resource: TrainingJob) -> str:
    return names.short_hash(outcome_fields(resource.spec))


def _trigger(resource: TrainingJob, latest: Run | None) -> Trigger | None:
    """Why a run should start now, when none is under way."""
    if latest is None:
        return "Created"
    if latest.inputs != _inputs(resource):
        return "SpecChanged"
    request = resource.metadata.annotations.get(names.RUN_REQUESTED)
    return "Requested" if request is not None and request != latest.request else None


def _expired(observed: Observed, runs: Iterable[Run]) -> tuple[list[Reference], timedelta | None]:
    """The finished Jobs that are kept no longer, and when to look for the next one.

    Not left to Kubernetes' own time to live: an operator that was down for so long would lose what a run reported.
    """
    finished: dict[str, datetime] = {run.name: run.finished_at for run in runs if run.finished_at}
    active = {run.name for run in runs if not run.finished_at}
    ttl = observed.resource.spec.ttl
    expired, left = [], []
    for name, job in observed.jobs.items():
        if name in active or job["metadata"].get("deletionTimestamp"):
            continue
        if name in finished and (remaining := finished[name] + ttl - observed.now) > timedelta(0):
            left.append(remaining)
        else:
            meta = job["metadata"]
            expired.append(Reference(names.JOBS, meta["namespace"], name, meta["uid"]))
    return expired, min(left, default=None)


def _status(observed: Observed, draft: _Draft) -> TrainingJobStatus:
    resource = observed.resource
    runs = draft.runs
    latest = runs[0] if runs else None
    active = latest is not None and latest.finished_at is None
    last_version = next((run.model_version for run in runs if run.model_version), resource.status.last_version)
    if draft.stalled:
        finding = draft.stalled
    elif latest is None or (resource.spec.suspend and not active):
        finding = Finding("Suspended", "No run starts while spec.suspend is true.")
    elif active:
        finding = Finding(latest.phase, latest.message or f"Run {latest.name} is under way ({latest.trigger}).")
    else:
        finding = Finding(latest.phase, latest.message)
    failed = latest is not None and latest.phase in {"Failed", "Refused"}
    stalled = draft.stalled or (
        Finding(
            finding.reason,
            finding.message,
            "Correct the cause and change the spec, or ask for another run: "
            f"kubectl annotate --overwrite trainingjob {resource.metadata.name} {names.RUN_REQUESTED}=$(date +%s)",
        )
        if failed and not resource.spec.suspend
        else None
    )
    return TrainingJobStatus(
        observed_generation=resource.metadata.generation,
        phase="Suspended" if resource.spec.suspend and not active else latest.phase if latest else "Pending",
        runs=runs,
        last_version=last_version,
        conditions=conditions(
            resource.metadata.generation,
            "True" if latest and latest.phase == "Succeeded" and not draft.stalled else "False",
            finding,
            reconciling=active and not draft.stalled,
            stalled=stalled,
        ),
    )
