"""What a plan for a Deployment depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upright.analysis import Look
from upright.api import names
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.contract import Key, Manifest, World
from upright.defaults import Defaults
from upright.pods.reading import read
from upright.rollout.manifests import service_names
from upright.rollout.measuring import Asked, Source
from upright.rollout.revision import revision


@dataclass(frozen=True)
class Observed:
    """A Deployment and everything around it, at one moment."""

    now: datetime
    defaults: Defaults
    resource: Deployment
    wanted: ModelVersion | None
    """The version that the spec asks for; None when there is none."""
    versions: Mapping[str, ModelVersion]
    """The versions in question, by name: the wanted one and those that serve."""
    revisions: Mapping[str, Manifest]
    """Our apps/v1 Deployments, by revision."""
    pods: Mapping[str, Sequence[Manifest]]
    """Their pods, by revision."""
    taken: Sequence[str]
    """Names of Services that we would make, but that somebody else has."""
    looks: Sequence[Look]
    """The looks since the recorded state of the analysis, oldest first."""
    next_look: timedelta
    """How long until the next look is due."""


async def observe(manifest: Manifest, world: World, defaults: Defaults, source: Source) -> Observed:
    """Gather it. Measures while there is a candidate; asks the API server only for Services that we do not have.

    Raises pydantic.ValidationError for an object that this schema would not accept.
    """
    resource = Deployment.model_validate(manifest)
    meta, status = resource.metadata, resource.status
    wanted = _wanted(resource, world)
    serving = {arm.model_version for arm in (status.stable, status.candidate) if arm}
    versions = {name: version for name in serving if (version := _version(world, meta.namespace, name))}
    if wanted:
        versions[wanted.metadata.name] = wanted
    revisions = {
        str(owned["metadata"]["labels"][names.REVISION]): owned
        for owned in world.owned(names.APPS_DEPLOYMENTS, meta.uid)
    }
    pods: dict[str, list[Manifest]] = {name: [] for name in revisions}
    for pod in world.labelled(names.PODS, meta.namespace, names.DEPLOYMENT, meta.name):
        pods.setdefault(str(pod["metadata"]["labels"].get(names.REVISION)), []).append(pod)
    key = Key(meta.namespace, meta.name)
    looks: Sequence[Look] = ()
    if status.stable and status.candidate:
        monitoring = resource.spec.monitoring
        asked = Asked(
            comparison=f"{status.stable.revision}-{status.candidate.revision}-{status.candidate.since.timestamp()}",
            pods={
                "canary": [read(pod) for pod in pods.get(status.candidate.revision, ())],
                "stable": [read(pod) for pod in pods.get(status.stable.revision, ())],
            },
            metrics={metric.name: metric.type for metric in monitoring.metrics},
            interval=monitoring.interval,
            after=status.analysis.at if status.analysis else None,
        )
        looks = source.read(key, asked).looks
    else:
        source.forget(key)
    return Observed(
        now=world.now,
        defaults=defaults,
        resource=resource,
        wanted=wanted,
        versions=versions,
        revisions=revisions,
        pods=pods,
        taken=[name for name in service_names(meta.name) if await _is_foreign(world, meta.namespace, name, meta.uid)],
        looks=looks,
        next_look=resource.spec.monitoring.interval,
    )


def _wanted(resource: Deployment, world: World) -> ModelVersion | None:
    """The version that is asked for: the named one, or the newest that can be served and was not rejected."""
    spec, namespace = resource.spec, resource.metadata.namespace
    if spec.model_version:
        return _version(world, namespace, spec.model_version)
    if spec.latest is None:
        return None
    rejected = {rejection.revision for rejection in resource.status.rejected}
    candidates = [
        version
        for manifest in world.all(names.MODEL_VERSIONS, namespace)
        if (version := ModelVersion.model_validate(manifest)).spec.model == spec.latest.model
        and version.status.phase == "Ready"
        and revision(version, spec.serving) not in rejected
    ]
    return max(candidates, key=lambda version: version.spec.number, default=None)


def _version(world: World, namespace: str, name: str) -> ModelVersion | None:
    manifest = world.get(names.MODEL_VERSIONS, namespace, name)
    return ModelVersion.model_validate(manifest) if manifest else None


async def _is_foreign(world: World, namespace: str, name: str, owner_uid: str) -> bool:
    service = world.get(names.SERVICES, namespace, name)
    if service is None:
        service = await world.fetch(names.SERVICES, namespace, name)
    return service is not None and not names.controlled_by(service, owner_uid)
