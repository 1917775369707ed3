"""TrainingJob as one of the kinds that the controller runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from upright.api import names
from upright.contract import Index, Key, Manifest, Plan, ResourceType, Watch, World
from upright.defaults import Defaults
from upright.training.observe import Observed, observe
from upright.training.plan import plan


def _training_job(manifest: Manifest, _: World) -> Iterable[Key]:
    meta = manifest["metadata"]
    name = meta.get("labels", {}).get(names.TRAINING_JOB)
    return [Key(meta["namespace"], name)] if name else []


@dataclass(frozen=True)
class TrainingJobs:
    """The kind."""

    defaults: Defaults
    type: ResourceType = names.TRAINING_JOBS
    watches: Sequence[Watch] = tuple(
        Watch(watched, _training_job) for watched in (names.JOBS, names.PODS, names.MODEL_VERSIONS)
    )
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
