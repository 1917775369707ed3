"""Deployment as one of the kinds that the controller runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from upright.api import names
from upright.contract import Index, Key, Manifest, Plan, ResourceType, Watch, World
from upright.defaults import Defaults
from upright.rollout.measuring import Source
from upright.rollout.observe import Observed, observe
from upright.rollout.plan import plan


def _owner(manifest: Manifest, _: World) -> Iterable[Key]:
    meta = manifest["metadata"]
    name = meta.get("labels", {}).get(names.DEPLOYMENT)
    return [Key(meta["namespace"], name)] if name else []


def _interested(version: Manifest, world: World) -> Iterable[Key]:
    """The Deployments that serve, name or follow a version."""
    namespace, name, model = version["metadata"]["namespace"], version["metadata"]["name"], version["spec"]["model"]
    for deployment in world.all(names.DEPLOYMENTS, namespace):
        spec, status = deployment["spec"], deployment.get("status", {})
        serving = {status.get(arm, {}).get("modelVersion") for arm in ("stable", "candidate")}
        if name in {spec.get("modelVersion"), *serving} or model == spec.get("latest", {}).get("model"):
            yield Key(namespace, deployment["metadata"]["name"])


@dataclass(frozen=True)
class Deployments:
    """The kind."""

    defaults: Defaults
    source: Source
    type: ResourceType = names.DEPLOYMENTS
    watches: Sequence[Watch] = (
        Watch(names.APPS_DEPLOYMENTS, _owner),
        Watch(names.PODS, _owner),
        Watch(names.SERVICES, _owner),
        Watch(names.MODEL_VERSIONS, _interested),
    )
    applies: Sequence[ResourceType] = (names.SERVICES,)

    indexes: Sequence[Index] = ()

    def begin(self, wake: Callable[[Key], None]) -> None:
        """The source of measurements wakes it, beside the watches."""
        self.source.begin(wake)

    def forget(self, key: Key) -> None:
        """No comparison is under way any more."""
        self.source.forget(key)

    async def observe(self, resource: Manifest, world: World) -> Observed:
        return await observe(resource, world, self.defaults, self.source)

    def plan(self, observed: Observed) -> Plan:
        return plan(observed)
