"""Deployment as one of the kinds that the controller runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from upright.api import names
from upright.api.indexes import (
    DEPLOYMENTS_BY_MODEL,
    DEPLOYMENTS_BY_VERSION,
    TRAINING_JOBS_BY_RUN,
    VERSIONS_BY_LINE,
    VERSIONS_BY_MODEL,
    VERSIONS_BY_NAME,
    VERSIONS_BY_SERVED,
    offered,
    runs_under_way,
)
from upright.contract import Index, Key, Manifest, Plan, ResourceType, Watch, World
from upright.defaults import Defaults
from upright.pods.reading import FIELDS, read
from upright.rollout.measuring import Source
from upright.rollout.members import MEMBERS
from upright.rollout.memory import BY_STABLE, LEFT
from upright.rollout.modes.realtime import FOLLOWING
from upright.rollout.observe import NOBODYS, Observed, observe
from upright.rollout.plan import plan
from upright.rollout.sightings import Sightings
from upright.rollout.template import DIGESTED


def _owner(manifest: Manifest, _: World) -> Iterable[Key]:
    meta = manifest["metadata"]
    name = (meta.get("labels") or {}).get(names.DEPLOYMENT)
    return [Key(meta["namespace"], name)] if name else []


def _interested(version: Manifest, world: World) -> Iterable[Key]:
    """The Deployments that serve, name or follow a version, or go back to it when they are made anew."""
    namespace, name = version["metadata"]["namespace"], version["metadata"]["name"]
    yield from world.named(DEPLOYMENTS_BY_VERSION, namespace, name)
    if model := version.get("spec", {}).get("model"):
        yield from world.named(DEPLOYMENTS_BY_MODEL, namespace, model)
    yield from world.named(BY_STABLE, namespace, name)  # each has its Deployment's name


def _waiting(job: Manifest, world: World) -> Iterable[Key]:
    """The Deployments that name a version which a TrainingJob is making."""
    for name in runs_under_way(job):
        yield from world.named(DEPLOYMENTS_BY_VERSION, job["metadata"]["namespace"], name)


def _made(manifest: Manifest, world: World) -> Iterable[Key]:
    return _owner(manifest, world) if names.can_be_ours(manifest, names.REVISION) else ()


def _nobody(_: Manifest, __: World) -> Iterable[Key]:
    """What is kept there is of use with the next look."""
    return ()


@dataclass(frozen=True)
class Deployments:
    """The kind."""

    defaults: Defaults
    source: Source
    sightings: Sightings = field(default_factory=Sightings)
    type: ResourceType = names.DEPLOYMENTS
    watches: Sequence[Watch] = (
        Watch(
            names.APPS_DEPLOYMENTS,
            _made,
            fields=(
                "spec.replicas",
                "spec.paused",
                *(f"spec.{field}" for field in FOLLOWING),
                "spec.template.metadata.annotations",
                "status.conditions",
            ),
            digests=DIGESTED,
        ),
        Watch(names.CONTROLLER_REVISIONS, _made, fields=("revision",)),
        Watch(names.COMPARISONS, _nobody),
        Watch(names.PODS, _owner, fields=FIELDS, reads=read),
        Watch(
            names.SERVICES,
            _owner,
            fields=(
                "spec.type",
                "spec.sessionAffinity",
                "spec.internalTrafficPolicy",
                "spec.publishNotReadyAddresses",
                "spec.trafficDistribution",
                "spec.externalIPs",
                "spec.clusterIP",
                "spec.selector",
                "spec.ports",
            ),
        ),
        Watch(names.MODEL_VERSIONS, _interested, reads=offered),
        Watch(names.TRAINING_JOBS, _waiting, reads=runs_under_way),
    )
    applies: Sequence[ResourceType] = (names.SERVICES,)
    indexes: Sequence[Index] = (
        DEPLOYMENTS_BY_VERSION,
        DEPLOYMENTS_BY_MODEL,
        VERSIONS_BY_MODEL,
        VERSIONS_BY_LINE,
        VERSIONS_BY_NAME,
        VERSIONS_BY_SERVED,
        TRAINING_JOBS_BY_RUN,
        MEMBERS,
        BY_STABLE,
        LEFT,
        *NOBODYS.values(),
    )

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Looks wake it, too."""
        self.source.begin(wake)

    def forget(self, key: Key) -> None:
        """No more looks at its pods."""
        self.source.forget(key)
        self.sightings.forget(key)

    async def observe(self, resource: Manifest, world: World) -> Observed:
        return await observe(resource, world, self.defaults, self.source, self.sightings)

    def plan(self, observed: Observed) -> Plan:
        return plan(observed)
