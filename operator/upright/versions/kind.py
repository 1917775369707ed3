"""ModelVersion as one of the kinds that the controller runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from upright.api import names
from upright.api.deployment import DeploymentStatus
from upright.contract import Index, Key, Manifest, Plan, ResourceType, Watch, World
from upright.defaults import Defaults
from upright.versions.observe import Observed, observe
from upright.versions.plan import plan


def _served(pod: Manifest, _: World) -> Iterable[Key]:
    meta = pod["metadata"]
    labels = meta.get("labels", {})
    if names.DEPLOYMENT in labels and names.MODEL_VERSION in labels:
        yield Key(meta["namespace"], labels[names.MODEL_VERSION])


def _used(deployment: Manifest, _: World) -> Iterable[Key]:
    status = DeploymentStatus.model_validate(deployment.get("status", {}))
    for arm in (status.stable, status.candidate):
        if arm:
            yield Key(deployment["metadata"]["namespace"], arm.model_version)


@dataclass(frozen=True)
class ModelVersions:
    """The kind."""

    defaults: Defaults
    type: ResourceType = names.MODEL_VERSIONS
    watches: Sequence[Watch] = (Watch(names.PODS, _served), Watch(names.DEPLOYMENTS, _used))
    applies: Sequence[ResourceType] = ()

    indexes: Sequence[Index] = ()

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Nothing but the watches wakes it."""

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""

    async def observe(self, resource: Manifest, world: World) -> Observed:
        return await observe(resource, world, self.defaults)

    def plan(self, observed: Observed) -> Plan:
        return plan(observed)
