"""What a plan for a TrainingJob depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from upright.api import names
from upright.api.training_job import Run, TrainingJob
from upright.contract import Manifest, World
from upright.defaults import Defaults
from upright.pods.build import Location
from upright.training.manifests import run_labels, run_name


@dataclass(frozen=True)
class Observed:
    """A TrainingJob and everything around it, at one moment."""

    now: datetime
    defaults: Defaults
    resource: TrainingJob
    jobs: Mapping[str, Manifest]
    """Our Jobs, by name."""
    pods: Sequence[Manifest]
    """Pods of runs that have not been recorded as ended, newest first."""
    versions: frozenset[str]
    """Names of the ModelVersions that runs of this TrainingJob, or of an earlier one of its name, have produced."""
    next_number: int
    """The first number whose name is free and which is higher than every one used before."""
    obstacles: Sequence[str]
    """What keeps a run that is recorded, but has no Job yet, from being started; a sentence each."""


async def observe(manifest: Manifest, world: World, defaults: Defaults) -> Observed:
    """Gather it. Asks the API server only while a run waits to be started.

    Raises pydantic.ValidationError for an object that the schema of this version would not accept.
    """
    resource = TrainingJob.model_validate(manifest)
    meta = resource.metadata
    jobs = {job["metadata"]["name"]: job for job in world.owned(names.JOBS, meta.uid)}
    versions = world.labelled(names.MODEL_VERSIONS, meta.namespace, names.TRAINING_JOB, meta.name)
    active = [run for run in resource.status.runs if run.finished_at is None]
    pods = [
        pod for run in active if (job := jobs.get(run.name)) for pod in world.owned(names.PODS, job["metadata"]["uid"])
    ]
    number = 1 + max(
        (
            *(run.number for run in resource.status.runs),
            *(version["spec"]["number"] for version in versions),
            *(int(job["metadata"]["labels"][names.RUN]) for job in jobs.values()),
            0,
        )
    )
    while world.get(names.MODEL_VERSIONS, meta.namespace, run_name(meta.name, number)):
        number += 1
    return Observed(
        now=world.now,
        defaults=defaults,
        resource=resource,
        jobs=jobs,
        pods=sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True),
        versions=frozenset(str(version["metadata"]["name"]) for version in versions),
        next_number=number,
        obstacles=[
            obstacle
            for run in active
            if run.phase == "Pending" and run.name not in jobs
            for obstacle in await _obstacles(resource, run, world, defaults)
        ],
    )


async def _obstacles(resource: TrainingJob, run: Run, world: World, defaults: Defaults) -> list[str]:
    """Asked for only while a run waits: a Job whose volumes do not exist would wait without a word."""
    namespace = resource.metadata.namespace
    found = []
    namesake = await world.fetch(names.JOBS, namespace, run.name)
    if namesake and not run_labels(resource, run).items() <= namesake["metadata"].get("labels", {}).items():
        found.append(
            f"A Job named {run.name} that does not belong to this TrainingJob exists: delete it, "
            "and the run starts by itself"
        )
    wanted = {f"spec.data {source.name!r}": source.uri for source in resource.spec.data}
    if resource.spec.code:
        wanted["spec.code"] = resource.spec.code.uri
    if store := resource.spec.output.store or defaults.store:
        wanted["spec.output.store"] = store
    for field, uri in wanted.items():
        location = Location.parse(uri)
        of = names.CONFIG_MAPS if location.scheme == "configmap" else names.CLAIMS
        there = await world.fetch(of, namespace, location.name)
        if there is None:
            found.append(
                f"{of.kind} {location.name} of {field} does not exist in namespace {namespace}: create it, "
                "and the run starts by itself"
            )
        elif of is names.CONFIG_MAPS and location.path and location.path not in _keys(there):
            found.append(
                f"ConfigMap {location.name} of {field} has no key {location.path!r}, only "
                f"{', '.join(sorted(_keys(there))) or 'none'}: add it, or correct the URI"
            )
    return found


def _keys(config_map: Manifest) -> set[str]:
    return {*config_map.get("data", {}), *config_map.get("binaryData", {})}
