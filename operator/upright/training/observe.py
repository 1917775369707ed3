"""What a plan for a TrainingJob depends on."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice, takewhile

from pydantic import ValidationError

from upright.api import names
from upright.api.common import Metadata
from upright.api.model_version import ModelVersion
from upright.api.training_job import Run, TrainingJob
from upright.contract import Index, Key, Manifest, Reference, World
from upright.defaults import Defaults
from upright.locations import is_counted, locate
from upright.pods.reading import Pod, of_one_template, read
from upright.training.contents import Contents
from upright.training.inputs import (
    VERSIONS,
    VERSIONS_BY_INPUTS,
    Inputs,
    Made,
    can_be_served,
    hashes,
    inputs_of,
    made_from,
    uris_of,
)
from upright.training.outcome import has_ended, is_decided, published
from upright.training.record import RUNS, number_in, read_record, run_of
from upright.training.waiting import Warnings, wait_of

_LATE = timedelta(minutes=1)
_UNREADABLE = 8
"""After so many versions that cannot be read no more are: anybody can give a thousand our label, of up to 1 MiB each,
and what could not be read is read anew in each turn."""
REUSED = "VersionReused"
"""Why a TrainingJob is Ready that has had no run: a version is there that was made from what its spec says."""


@dataclass(frozen=True)
class Observed:
    """A TrainingJob and everything around it, at one moment."""

    now: datetime
    defaults: Defaults
    resource: TrainingJob
    runs: Sequence[Run]
    """Newest first: those that are recorded, and those of an earlier object of this name, as Jobs and versions tell."""
    inputs: Inputs
    """What a run that starts now would be made from."""
    jobs: Mapping[str, Manifest]
    """Our Jobs by name, also those of an earlier object of this name that have lost their owner."""
    orphans: Sequence[Reference]
    """Those of them that have no owner."""
    pods: Mapping[str, Sequence[Pod]]
    """Pods of the Jobs that go on or whose runs have not been recorded as ended, by Job, newest first."""
    versions: Mapping[str, Run | None]
    """Of the runs that have not been recorded as ended, those that have a ModelVersion, as it tells of them; None for
    one that cannot be read."""
    next_number: int
    """The first number whose name is free and which is higher than every one used before; 0 while a run goes on."""
    taken: Set[str] = frozenset()
    """Runs under way for which there is a ModelVersion of their name that they have not made."""
    answer: Run | None = None
    """The run whose ModelVersion may be the answer to the spec: it was made from just these inputs, however many there
    have been since, and whatever `spec.history` says.
    """
    spoilt: str = ""
    """Why the version of the newest run is of no use any more, in words that follow on it; empty while it is."""
    obstacles: Sequence[str] = ()
    """What keeps a run that is due from being started; a sentence each."""
    told: Mapping[str, str] = field(default_factory=dict)
    """Why nothing goes on with a Job that has had no pod for a while, or whose newest pod has not begun, by Job; empty
    when nobody tells why."""


async def observe(
    manifest: Manifest, world: World, defaults: Defaults, contents: Contents, warnings: Warnings
) -> Observed:
    """Gather it. Asks the API server only for a ConfigMap that has changed, for what seems to be missing (each watch
    may be late for itself, and how a run ends is decided once), and why nothing goes on with a Job.

    Raises pydantic.ValidationError for an object that the schema of this version would not accept.
    """
    resource = TrainingJob.model_validate(manifest)
    meta = resource.metadata
    labelled = world.indexed(RUNS, meta.namespace, meta.name)
    orphans = [job for job in labelled if names.has_no_controller(job)]
    owned = [job for job in labelled if names.controlled_by(job, meta.namespace, meta.uid)]
    jobs = {job["metadata"]["name"]: job for job in (*owned, *orphans)}
    versions = world.indexed(VERSIONS, meta.namespace, meta.name)
    key = Key(meta.namespace, meta.name)
    found = await contents.read(key, uris_of(resource.spec).values(), world)
    inputs = inputs_of(resource, {uri: digest for uri, (_, digest) in found.items() if digest})
    runs = _runs(resource, jobs, versions, inputs, world)
    under_way = [run for run in runs if not run.finished_at and not is_waiting(run, jobs)]
    named = {run.name: version for run in under_way if (version := _ours(run.name, resource, world))}
    for run in under_way:
        if run.name not in jobs and run.name not in named:
            job = await world.fetch(names.JOBS, meta.namespace, run.name)
            jobs |= {run.name: job} if job and names.controlled_by(job, meta.namespace, meta.uid) else {}
            version = await world.fetch(names.MODEL_VERSIONS, meta.namespace, run.name)
            named |= {run.name: version} if version and _is_of(version, meta.name) else {}
    ours = {name: version for name, version in named.items() if name not in jobs or _is_of_run(version, jobs[name])}
    pods = {
        name: _of_job(job, world)
        for name, job in jobs.items()
        if not has_ended(job) or any(run.name == name and not run.finished_at for run in runs)
    }
    for run in under_way:
        decided = run.name not in ours and run.name in jobs and is_decided(jobs[run.name])
        if decided and not any(map(published, pods[run.name])):
            uid = jobs[run.name]["metadata"]["uid"]
            there = await world.fetch_owned(names.PODS, meta.namespace, uid, names.TRAINING_JOB, meta.name)
            pods[run.name] = _of_job(jobs[run.name], world, there)
    waits = {name: wait_of(job, pods[name]) for name, job in jobs.items() if not is_decided(job)}
    return Observed(
        now=world.now,
        defaults=defaults,
        resource=resource,
        runs=runs,
        inputs=inputs,
        jobs=jobs,
        orphans=[_reference(job) for job in orphans],
        pods=pods,
        versions={run.name: made_by(ours[run.name]) for run in under_way if run.name in ours},
        taken={
            run.name
            for run in under_way
            if run.name in jobs and run.name not in ours and world.has(names.MODEL_VERSIONS, meta.namespace, run.name)
        },
        answer=_answer(resource, runs, inputs, world),
        spoilt=_spoilt(runs[0], versions, world.now) if runs else "",
        next_number=0 if under_way else _next_number(resource, runs, jobs, labelled, versions, world),
        obstacles=await _obstacles(resource, {uri: lacks for uri, (lacks, _) in found.items()}, world, defaults)
        if not under_way
        else (),
        told=await warnings.read(key, waits, world),
    )


def _spoilt(run: Run, versions: Sequence[Made], now: datetime) -> str:
    """The watch may be late to tell of a version that has just been made."""
    if run.model_version is None or run.finished_at is None or now - run.finished_at < _LATE:
        return ""
    since = takewhile(lambda one: one.number >= run.number, reversed(versions))
    made = next((one for one in since if one.name == run.model_version), None)
    if made is None:
        return "is not there any more"
    return "" if made.can_be_served else "cannot be served any more"


def is_waiting(run: Run, jobs: Mapping[str, Manifest]) -> bool:
    """Whether a run is recorded, and has no Job yet."""
    return run.phase == "Pending" and run.job is None and run.name not in jobs


def _runs(
    resource: TrainingJob, jobs: Mapping[str, Manifest], versions: Sequence[Made], inputs: Inputs, world: World
) -> Sequence[Run]:
    """What is recorded, completed by what is there: an object that was made again takes up what an earlier one did.

    A version is read as a whole only where its run would be kept in the status: else in each turn, and up to 1 MiB.
    """
    recorded = {run.number: run for run in resource.status.runs if not _is_told_better(run, jobs)}
    history = resource.spec.history
    ended = sorted(run.number for run in recorded.values() if run.finished_at)
    oldest = ended[-history] if len(ended) >= history else 0
    newest = islice(reversed(versions), history)
    wanted = [one for one in newest if one.tells and one.number > oldest and one.number not in recorded]
    unknown = [_ours(one.name, resource, world) for one in wanted]
    told = (*(run_of(job, inputs) for job in jobs.values()), *_told(one for one in unknown if one))
    runs = {run.number: run for run in told if run} | recorded
    return [runs[number] for number in sorted(runs, reverse=True)]


def _answer(resource: TrainingJob, runs: Sequence[Run], inputs: Inputs, world: World) -> Run | None:
    """The newest run that was made from just this, and whose version can be served. A version that stands for the spec
    already goes on whatever pods find of it, like one that a run has just made: what becomes of it starts no run.
    """
    status = resource.status
    reused = any((one.type, one.reason) == ("Ready", REUSED) for one in status.conditions)
    stands = [status.last_version] if reused and status.last_version else []
    recorded = {run.model_version: run for run in runs if run.model_version and _is_made_from(run, inputs)}

    def serving(candidates: Iterable[str]) -> Iterator[Manifest]:
        for name in candidates:
            version = _ours(name, resource, world)
            if version and (can_be_served(version) or (name in stands and not names.is_going(version))):
                yield version

    known = (recorded[version["metadata"]["name"]] for version in serving(recorded))
    others = _told(serving(chain(stands, _made_from(resource.metadata, inputs, world))))
    return next((run for run in chain(known, others) if _is_made_from(run, inputs)), None)


def _told(versions: Iterable[Manifest]) -> Iterator[Run]:
    """The runs that made these, as far as they can be read."""
    unreadable = 0
    for version in versions:
        if run := made_by(version):
            yield run
        elif (unreadable := unreadable + 1) == _UNREADABLE:
            return


def _made_from(meta: Metadata, inputs: Inputs, world: World) -> Iterator[str]:
    """The versions that can be served and were made from just this, newest first. There may be thousands from this spec
    and as many with one of its sources: looked through are those with the rarest.
    """
    held = hashes(inputs.sources)
    for made in dict.fromkeys((inputs.spec, *inputs.older)):
        ways = [made_from(meta.name, made, source) for source in ("", *held)]
        rarest = min((world.indexed(VERSIONS_BY_INPUTS, meta.namespace, way) for way in ways), key=len)
        yield from (name for name, sources in reversed(rarest) if held <= sources)


def _is_made_from(run: Run, inputs: Inputs) -> bool:
    """Whether a run was made from just this: what is not known of its sources speaks against it."""
    return run.inputs in (inputs.spec, *inputs.older) and inputs.sources.items() <= run.sources.items()


def _is_told_better(run: Run, jobs: Mapping[str, Manifest]) -> bool:
    """Whether a run was recorded because it had to wait, and its Job, made since, says with what it began."""
    waited = run.phase == "Pending" and run.job is None
    return waited and run.name in jobs and read_record(jobs[run.name]) is not None


def made_by(version: Manifest) -> Run | None:
    """The run that made a version, as the version tells. None for a version that cannot be read."""
    try:
        made = ModelVersion.model_validate(version)
    except ValidationError:
        return None
    lineage = made.spec.lineage
    if lineage is None or lineage.training_job is None:
        return None
    read = [*lineage.data, *([lineage.code] if lineage.code else [])]
    return Run(
        name=made.metadata.name,
        number=made.spec.number,
        trigger=lineage.training_job.trigger,
        phase="Succeeded",
        inputs=lineage.training_job.inputs,
        sources={source.uri: source.digest for source in read if is_counted(source.uri)},
        request=lineage.training_job.request,
        finished_at=min(made.spec.produced_at or made.metadata.creation_timestamp, made.metadata.creation_timestamp),
        model_version=made.metadata.name,
        metrics=made.spec.metrics,
        data={source.name: source.digest for source in lineage.data},
        message=f"Run {made.metadata.name} produced ModelVersion {made.metadata.name}.{_remarks(made)}",
    )


def _remarks(made: ModelVersion) -> str:
    names_of = made.metadata.annotations.get(names.UNKNOWN_METRICS)
    untried = made.metadata.annotations.get(names.UNTRIED)
    unknown = f" Its program told no number for {names_of}." if names_of else ""
    return f"{unknown} {untried}." if untried else unknown


def _next_number(
    resource: TrainingJob,
    runs: Sequence[Run],
    jobs: Mapping[str, Manifest],
    labelled: Sequence[Manifest],
    versions: Sequence[Made],
    world: World,
) -> int:
    number = 1 + max(
        (
            *(run.number for run in runs if not is_waiting(run, jobs)),
            *(version.number for version in versions[-1:]),
            *(number_in(job) or 0 for job in labelled),
            0,
        )
    )
    while world.has(names.MODEL_VERSIONS, resource.metadata.namespace, names.run_name(resource.metadata.name, number)):
        number += 1
    return number


async def _obstacles(
    resource: TrainingJob, lacks: Mapping[str, str | None], world: World, defaults: Defaults
) -> Sequence[str]:
    """A Job whose volumes do not exist, or are on their way out, would wait without a word.

    What the watches do not know of is asked for: they may be late.
    """
    namespace = resource.metadata.namespace
    store = resource.spec.output.store or defaults.store
    found = []
    for named, uri in {**uris_of(resource.spec), **({"spec.output.store": store} if store else {})}.items():
        location = locate(uri)
        there = world.get(location.type, namespace, location.name)
        if there is None and not location.counted:
            there = await world.fetch(location.type, namespace, location.name)
        what = f"{location.type.kind} {location.name} of {named}"
        if there is None and uri not in lacks:
            found.append(f"{what} does not exist in namespace {namespace}: create it, and the run starts by itself")
        elif there and names.is_going(there):
            found.append(f"{what} is being deleted: create it anew when it is gone, and the run starts by itself")
        elif lacking := lacks.get(uri):
            found.append(f"{what} {lacking}")
    return found


def _of_job(job: Manifest, world: World, asked: Iterable[Manifest] = ()) -> Sequence[Pod]:
    """The pods of a Job, newest first, as the API server, when it was `asked`, and else the watches tell of each."""
    namespace, uid = job["metadata"]["namespace"], job["metadata"]["uid"]
    found = {pod.uid: pod for pod in (*world.indexed(WORKERS, namespace, uid), *map(read, asked))}
    return of_one_template(sorted(found.values(), key=lambda pod: (pod.created, pod.name), reverse=True))


def _job_of(pod: Manifest) -> Iterable[str]:
    controller = names.controller_of(pod)
    return [controller["uid"]] if controller and controller.get("kind") == names.JOBS.kind else []


WORKERS = Index(names.PODS, "by Job", _job_of, reads=read)
"""The pods of a Job, by its UID: each is read once, when it arrives, and not again in every turn."""


def _ours(name: str, resource: TrainingJob, world: World) -> Manifest | None:
    """The version of this name, if a run of a TrainingJob of this name has made it."""
    version = world.get(names.MODEL_VERSIONS, resource.metadata.namespace, name)
    return version if version and _is_of(version, resource.metadata.name) else None


def _is_of(version: Manifest, training_job: str) -> bool:
    return bool((version["metadata"].get("labels") or {}).get(names.TRAINING_JOB) == training_job)


def _is_of_run(version: Manifest, job: Manifest) -> bool:
    """Whether the run of a Job that is there has made a version of its name: one from a backup, or from another
    namespace, has been made for another object of the TrainingJob's name.
    """
    of_version, of_job = (one["metadata"].get("labels") or {} for one in (version, job))
    owner = names.controller_of(job) or {}
    return of_version.get(names.TRAINING_JOB_UID) in (of_job.get(names.TRAINING_JOB_UID), owner.get("uid"))


def _reference(job: Manifest) -> Reference:
    meta = job["metadata"]
    return Reference(names.JOBS, meta["namespace"], meta["name"], meta["uid"])
