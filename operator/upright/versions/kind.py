"""ModelVersion as one of the kinds that the controller runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from upright.api import names
from upright.api.indexes import VERSIONS_BY_CLAIM, held, said_of_versions, versions_met
from upright.contract import Index, Key, Manifest, Plan, ResourceType, Watch, World
from upright.defaults import Defaults
from upright.pods.reading import FIELDS
from upright.versions.inspection import witness
from upright.versions.observe import USES, WITNESSES, Observed, claim_exists, observe, version_served
from upright.versions.plan import plan


def _served(pod: Manifest, _: World) -> Iterable[Key]:
    return [Key(pod["metadata"]["namespace"], version) for version in version_served(pod)]


def _met(deployment: Manifest, _: World) -> Iterable[Key]:
    """The versions that a Deployment serves, or has given up."""
    namespace = deployment["metadata"]["namespace"]
    return [Key(namespace, version) for version in versions_met(deployment)]


def _held(claim: Manifest, world: World) -> Iterable[Key]:
    """The versions whose artifact is in a claim, and that do not know yet that it is there, or is not."""
    namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
    return world.named(VERSIONS_BY_CLAIM, namespace, held(name, missing=claim_exists(world, namespace, name)))


@dataclass(frozen=True)
class ModelVersions:
    """The kind."""

    defaults: Defaults
    type: ResourceType = names.MODEL_VERSIONS
    watches: Sequence[Watch] = (
        Watch(names.PODS, _served, fields=FIELDS, reads=witness),
        Watch(names.DEPLOYMENTS, _met, reads=said_of_versions),
        Watch(names.CLAIMS, _held, metadata=True, reads=names.is_going),
    )
    applies: Sequence[ResourceType] = ()
    indexes: Sequence[Index] = (USES, WITNESSES, VERSIONS_BY_CLAIM)

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Nothing but the watches wakes it."""

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""

    async def observe(self, resource: Manifest, world: World) -> Observed:
        return await observe(resource, world, self.defaults)

    def plan(self, observed: Observed) -> Plan:
        return plan(observed)
