"""What to do about a TrainingJob: start a run, wait for it, keep what became of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import zip_longest

from upright.api import names
from upright.api.training_job import Run, TrainingJobStatus
from upright.conditions import NEWS, Finding, conditions, cut, some, told
from upright.contract import Correction, Count, Event, Manifest, Plan, Reference
from upright.pods.reading import Pod
from upright.training.following import after, after_failure, after_success, instead, request
from upright.training.manifests import fault_of, model_version
from upright.training.manifests import job as job_of
from upright.training.observe import REUSED, Observed, is_waiting
from upright.training.outcome import (
    Ended,
    Held,
    Produced,
    Working,
    attempts_of,
    deleted,
    failed_attempts,
    hindrance_worth_a_word,
    is_decided,
    measured,
    outcome,
    published,
    publishing_since,
    publishing_worth_a_word,
    read_by,
)
from upright.training.parameters import InvalidParametersError, as_environment
from upright.training.triggers import agree, due, requested, with_baseline
from upright.training.waiting import STRANGE, wait_of

_MOST_OF_RUNS = 256 * 1024
"""Characters of all in a status: an object of more than 1 MiB is none that the operator takes in."""
_LINGER = timedelta(seconds=30)
"""How long the other containers of a pod may go on once the model is published."""


@dataclass
class _Draft:
    """The plan as it grows."""

    runs: list[Run]
    create: list[Manifest] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    finding: Finding | None = None
    """What is in the way."""
    answer: Run | None = None
    """The run that has made what the spec asks for, although it is not the newest."""
    again: list[timedelta] = field(default_factory=list)
    starting: bool = False
    """Whether a Job is made for the newest run. It says all that there is to say of the run."""


def plan(observed: Observed) -> Plan:
    """The plan for what was observed."""
    resource = observed.resource
    draft = _Draft(runs=list(observed.runs))
    for index, run in enumerate(draft.runs):
        if run.finished_at is None and not is_waiting(run, observed.jobs):
            draft.runs[index] = _follow(observed, draft, run)
    # As they were observed: what ends now is recorded first.
    if all(run.finished_at or is_waiting(run, observed.jobs) for run in observed.runs):
        _begin(observed, draft)
    kept = resource.spec.history + (draft.runs[0].finished_at is None if draft.runs else 0)
    draft.runs = list(_bounded(draft.runs[:kept]))
    removals = _expired(observed, draft)
    return Plan(
        status=_status(observed, draft).model_dump(mode="json", by_alias=True, exclude_none=True),
        create=draft.create,
        correct=[
            Correction(
                reference,
                "/metadata/ownerReferences",
                names.taken_up_by(
                    names.owner_reference("TrainingJob", resource.metadata), observed.jobs[reference.name]
                ),
                Event("Normal", "JobAdopted", "Run", f"Took up Job {reference.name}, which had lost its owner."),
            )
            for reference in observed.orphans
        ],
        delete=removals,
        events=[*_milestones(observed, draft.runs), *_in_the_way(observed, draft), *draft.events],
        counts=draft.counts,
        again=min(draft.again, default=None),
        record=not draft.starting,
    )


def _bounded(runs: Iterable[Run]) -> Iterator[Run]:
    """The runs as a status has room for them: older ones without what is long, and stands on their versions, too."""
    size = 0
    for place, run in enumerate(runs):
        size += len(run.model_dump_json())
        long = place and size > _MOST_OF_RUNS
        yield run.model_copy(update={"metrics": {}, "data": {}, "sources": {}}) if long else run


def _follow(observed: Observed, draft: _Draft, run: Run) -> Run:
    """The run, as its version tells of it, or else its Job and pods."""
    resource, job, pods = observed.resource, observed.jobs.get(run.name), observed.pods.get(run.name, ())
    run = run.model_copy(update={"sources": {**run.sources, **read_by(pods)}, "attempts": attempts_of(run, job, pods)})
    if run.name in observed.versions:
        return _succeed(observed, draft, run)
    if job is None:
        ready = next((one for one in resource.status.conditions if one.type == "Ready"), None)
        return _finish(observed, draft, run, "Failed", deleted(run, ready))
    match outcome(run, job, pods, observed.told.get(run.name), observed.now):
        case Held(finding):
            draft.finding = _held_up(observed, draft, run, finding)
            return run.model_copy(
                update={"phase": "Pending", "job": job["metadata"]["uid"], "message": cut(finding.message)}
            )
        case Working(hindrance, note, ends_by_itself):
            if hindrance:
                draft.finding = _held_up(observed, draft, run, hindrance, ends_by_itself=ends_by_itself)
            if not is_decided(job) and (wait := wait_of(job, pods)):
                draft.again.append(wait.again(observed.now))
            for at, why in failed_attempts(pods):
                if observed.now - at < NEWS:
                    draft.events.append(Event("Warning", "AttemptFailed", "Run", f"Run {run.name}: {why}", at))
            if since := publishing_since(pods):
                draft.again += publishing_worth_a_word(since, observed.now)
            draft.again += hindrance_worth_a_word(pods, observed.now)
            overdue = (pod.gone_by + STRANGE - observed.now for pod in pods if pod.gone_by)
            draft.again += [left for left in overdue if left > timedelta(0)]
            return run.model_copy(update={"phase": "Running", "job": job["metadata"]["uid"], "message": cut(note)})
        case Produced() if run.name in observed.taken:
            draft.finding = _held_up(observed, draft, run, _taken(run, resource.metadata.namespace))
            return run.model_copy(update={"phase": "Running", "message": cut(draft.finding.message)})
        case Produced(report, pod):
            made = model_version(resource, run, job, report, pod, observed.now)
            if fault := fault_of(made):
                said = f"Run {run.name} has published its model, but no ModelVersion can be made of it: {fault}."
                return _finish(observed, draft, run, "Failed", said)
            draft.create.append(made)
            return run
        case Ended(phase, message):
            ended = _finish(observed, draft, run, phase, message)
            return ended.model_copy(update={"metrics": measured(pods)})


def _taken(run: Run, namespace: str) -> Finding:
    return Finding(
        "NameTaken",
        f"Run {run.name} has published its model, and ModelVersion {run.name} is there already, which it has not made.",
        f"Delete that, and the run's own is made at once: kubectl delete modelversion {run.name} -n {namespace}",
    )


def _held_up(observed: Observed, draft: _Draft, run: Run, found: Finding, *, ends_by_itself: bool = False) -> Finding:
    """What is in the way of a run, with what follows the run: its own message, which may be quoted when it has ended,
    is without that.
    """
    runs = [run, *(one for one in draft.runs if one.number < run.number)]
    in_order = found.reason == "Queued"
    follows = after(observed, runs) if ends_by_itself else instead(observed, runs, in_order=in_order)
    return replace(found, message=" ".join(filter(None, (found.message, found.remedy, follows))), remedy="")


def _succeed(observed: Observed, draft: _Draft, run: Run) -> Run:
    """The run that has made its version. What its sources held is what was read, not what was there when its Job was
    made.
    """
    made = observed.versions[run.name]
    told = {"metrics": made.metrics, "data": made.data, "sources": {**run.sources, **made.sources}} if made else {}
    message = made.message if made else f"Run {run.name} produced ModelVersion {run.name}."
    ended = _finish(observed, draft, run, "Succeeded", message)
    return ended.model_copy(update={"model_version": run.name, **told})


def _finish(observed: Observed, draft: _Draft, run: Run, phase: str, message: str) -> Run:
    resource = observed.resource
    labels = {"namespace": resource.metadata.namespace, "model": resource.model, "result": phase}
    draft.counts.append(Count("upright_training_runs_total", labels))
    return run.model_copy(update={"phase": phase, "finished_at": observed.now, "message": cut(message)})


def _in_the_way(observed: Observed, draft: _Draft) -> Sequence[Event]:
    found, recorded = draft.finding, observed.resource.status.conditions
    if found is None:
        return ()
    return told(found, "Reconciling" if found.passing else "Stalled", recorded, observed.now, "Run")


def _milestones(observed: Observed, runs: Sequence[Run]) -> Iterable[Event]:
    """How runs have begun and ended, while that is news. What an earlier object of this name did, that one has told."""
    made = observed.resource.metadata.creation_timestamp
    for run, before in zip_longest(runs, runs[1:]):
        job = observed.jobs.get(run.name)  # made by the clock by which the object was, which may be ahead of ours
        begun = datetime.fromisoformat(job["metadata"]["creationTimestamp"]) if job else None
        if max((at for at in (run.started_at, run.finished_at, begun) if at), default=observed.now) < made:
            continue
        if run.finished_at and observed.now - run.finished_at < NEWS:
            good = run.phase == "Succeeded"
            yield Event("Normal" if good else "Warning", f"Run{run.phase}", "Run", run.message, run.finished_at)
        elif run.job and not run.finished_at and run.started_at and observed.now - run.started_at < NEWS:
            message = f"Created Job {run.name} ({run.trigger}{_changed(before, run)})."
            yield Event("Normal", "RunStarted", "Start", message, run.started_at)


def _begin(observed: Observed, draft: _Draft) -> None:
    """Make the Job of the next run when one is due, or record what the run waits for.

    Nothing is under way: what is recorded and has no Job yet is decided anew.
    """
    resource = observed.resource
    waiting = next((run for run in draft.runs if run.finished_at is None), None)
    draft.runs = [run for run in draft.runs if run.finished_at]
    if draft.runs:
        draft.runs[0] = with_baseline(draft.runs[0], observed.inputs)
    reason = due(resource, draft.runs, observed.inputs, observed.answer)
    if isinstance(reason, Run):
        _answer(observed, draft, reason)
    if reason is None or isinstance(reason, Run):
        return
    try:
        as_environment(resource.spec.parameters)
    except InvalidParametersError as error:
        draft.finding = Finding("InvalidParameters", f"No run can start: {error}.")
        return
    if not (store := resource.spec.output.store or observed.defaults.store or ""):
        draft.finding = Finding(
            "NoStore",
            "No run can start: spec.output.store is not given and the operator has no default store; "
            "set it to a claim, for instance pvc://models.",
        )
        return
    if ".." in store:
        draft.finding = Finding(
            "InvalidStore",
            f"No run can start: the store {store} contains '..', and no version could say that its artifact is there; "
            "write the path from the root of the claim into spec.output.store, or into the operator's default store.",
        )
        return
    run = Run(
        name=names.run_name(resource.metadata.name, observed.next_number),
        number=observed.next_number,
        trigger=reason,
        phase="Pending",
        inputs=observed.inputs.spec,
        settings=observed.inputs.settings,
        sources=dict(observed.inputs.sources),
        request=requested(resource),
        started_at=waiting.started_at if waiting and observed.obstacles else observed.now,
    )
    draft.runs.insert(0, run)
    if observed.obstacles:
        said = "; ".join(some(observed.obstacles, len(observed.obstacles)))
        draft.finding = Finding("CannotStart", f"Run {run.name} cannot start: {said}.", passing=True)
    else:
        draft.create.append(job_of(resource, run, observed.defaults, store))
        draft.starting = True


def _changed(before: Run | None, run: Run) -> str:
    """Which sources hold something else than they did for the run before."""
    if before is None or agree(before.sources, run.sources):
        return ""
    changed = [uri for uri, digest in run.sources.items() if before.sources.get(uri, digest) != digest]
    return f": {', '.join(changed)} has changed"


def _answer(observed: Observed, draft: _Draft, run: Run) -> None:
    """A version that exists is what the spec asks for."""
    draft.answer = run
    if observed.resource.status.last_version != run.model_version:
        draft.events.append(Event("Normal", REUSED, "Start", _answered(observed, run).message))


def _answered(observed: Observed, run: Run) -> Finding:
    return Finding(
        REUSED,
        f"ModelVersion {run.model_version} was made from this very spec, so no other run is needed. "
        f"To have one: {request(observed)}",
    )


def _expired(observed: Observed, draft: _Draft) -> list[Reference]:
    """The Jobs of finished runs that are kept no longer; notes when to look for the next one.

    Not left to Kubernetes' own time to live: an operator that was down for so long would lose what a run reported.
    """
    finished: dict[str, datetime] = {run.name: run.finished_at for run in draft.runs if run.finished_at}
    active = {run.name for run in draft.runs if not run.finished_at}
    expired = []
    for name, job in observed.jobs.items():
        if name in active or job["metadata"].get("deletionTimestamp"):
            continue
        since = observed.now - finished[name] if name in finished else None
        remaining = observed.resource.spec.ttl - since if since is not None else timedelta(0)
        if since is not None and not is_decided(job):
            remaining = min(observed.resource.spec.ttl, _linger(observed.pods.get(name, ()))) - since
            if remaining <= timedelta(0):
                message = f"Deleted Job {name}: its run has ended, and {_going_on(observed.pods.get(name, ()))}."
                draft.events.append(Event("Normal", "JobEnded", "Run", message, finished[name]))
        if remaining > timedelta(0):
            draft.again.append(remaining)
        else:
            meta = job["metadata"]
            expired.append(Reference(names.JOBS, meta["namespace"], name, meta["uid"]))
    return expired


def _linger(pods: Sequence[Pod]) -> timedelta:
    """For how long a Job may go on whose run has ended. Not at all once it might train again, and without end once a
    pod of it has succeeded: then nothing of it goes on, whatever attempts have failed, and only Kubernetes has yet to
    say so.
    """
    if any(pod.phase == "Succeeded" for pod in pods):
        return timedelta.max
    left = [pod for pod in pods if pod.phase != "Failed"]
    return _LINGER if left and all(map(published, left)) else timedelta(0)


def _going_on(pods: Iterable[Pod]) -> str:
    running = sorted({one.name for pod in pods for one in pod.containers if not one.ended and not one.waiting})
    return f"{', '.join(running)} would go on" if running else "it would try again"


def _status(observed: Observed, draft: _Draft) -> TrainingJobStatus:
    resource, runs = observed.resource, draft.runs
    latest = draft.answer or (runs[0] if runs else None)
    active = latest is not None and latest.finished_at is None
    suspended = resource.spec.suspend and not active
    if draft.finding:
        finding = draft.finding
    elif latest is None or suspended:
        finding = Finding("Suspended", "No run starts while spec.suspend is true.")
    elif draft.answer:
        finding = _answered(observed, draft.answer)
    elif active:
        begun = "has no Job yet" if draft.starting else "is under way"  # read only where the Job cannot be made
        said = latest.message or f"Run {latest.name} {begun} ({latest.trigger})."
        follows = instead(observed, runs, in_order=True) if latest.message else after(observed, runs)
        finding = Finding(latest.phase, f"{said} {follows}".rstrip())
    elif latest.phase in {"Failed", "Refused"}:
        finding = after_failure(observed, latest)
    else:
        finding = after_success(observed, latest)
    stalled = None
    if draft.finding:
        stalled = None if draft.finding.passing else draft.finding
    elif latest is not None and latest.phase in {"Failed", "Refused"} and not suspended:
        stalled = finding
    return TrainingJobStatus(
        observed_generation=resource.metadata.generation,
        phase="Suspended" if suspended else latest.phase if latest else "Pending",
        runs=runs,
        last_version=draft.answer.model_version if draft.answer else _last_version(observed, runs),
        conditions=conditions(
            resource.metadata.generation,
            "True" if latest and latest.phase == "Succeeded" and not draft.finding else "False",
            finding,
            reconciling=not stalled and (active or draft.finding is not None),
            stalled=stalled,
        ),
    )


def _last_version(observed: Observed, runs: Sequence[Run]) -> str | None:
    """What the newest run has made, where the spec asks for that or it has just been made. Else what was so before: a
    version that has answered for another spec is the last one until there is a next.
    """
    before, newest = observed.resource.status, next((run for run in runs if run.model_version), None)
    if newest is None or before.last_version is None:
        return newest.model_version if newest else before.last_version
    asked_for = newest is runs[0] and newest.inputs == observed.inputs.spec
    told = {run.number: run.model_version for run in before.runs}
    is_new = told[newest.number] is None if newest.number in told else newest.number > max(told, default=0)
    return newest.model_version if asked_for or is_new else before.last_version
