"""What a plan for a Deployment depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from upright.analysis import Look
from upright.api import names
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.contract import Key, Manifest, World
from upright.defaults import Defaults
from upright.rollout.manifests import service_names
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


class Looks(Protocol):
    """Where measurements come from."""

    async def since(
        self,
        key: Key,
        rollout: str,
        pods: Mapping[str, Sequence[Manifest]],
        metrics: Sequence[str],
        interval: timedelta,
        after: float | None,
        now: datetime,
    ) -> tuple[Sequence[Look], timedelta]:
        """Take a look when one is due; return those later than `after` (Unix seconds), and how long until the next.

        `rollout` names the comparison: another one begins from nothing. `pods` are those of the arms `canary` and
        `stable`. With `after` None no evidence of this rollout has been recorded yet.
        """
        ...


async def observe(manifest: Manifest, world: World, defaults: Defaults, source: Looks) -> Observed:
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
    looks: Sequence[Look] = ()
    next_look = resource.spec.monitoring.interval
    if status.stable and status.candidate:
        looks, next_look = await source.since(
            Key(meta.namespace, meta.name),
            f"{status.stable.revision}-{status.candidate.revision}-{status.candidate.since.timestamp()}",
            {
                "canary": pods.get(status.candidate.revision, ()),
                "stable": pods.get(status.stable.revision, ()),
            },
            [metric.name for metric in resource.spec.monitoring.metrics],
            resource.spec.monitoring.interval,
            status.analysis.at if status.analysis else None,
            world.now,
        )
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
        next_look=next_look,
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
