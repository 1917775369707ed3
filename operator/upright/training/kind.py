"""TrainingJob as one of the kinds that the controller runs."""

from collections.abc import Callable, Iterable, Sequence

from upright.api import names
from upright.api.indexes import offered
from upright.contract import Index, Key, Manifest, Plan, ResourceType, Watch, World
from upright.defaults import Defaults
from upright.pods.reading import FIELDS, read
from upright.training.contents import Contents
from upright.training.inputs import DEFAULT_STORE, USERS, VERSIONS, VERSIONS_BY_INPUTS, place_of
from upright.training.observe import WORKERS, Observed, observe
from upright.training.plan import plan
from upright.training.record import RUNS
from upright.training.waiting import Warnings


def _training_job(manifest: Manifest, _: World) -> Iterable[Key]:
    meta = manifest["metadata"]
    name = meta.get("labels", {}).get(names.TRAINING_JOB)
    return [Key(meta["namespace"], name)] if name else []


def _made(job: Manifest, world: World) -> Iterable[Key]:
    return _training_job(job, world) if names.can_be_ours(job, names.RUN) else ()


def _worked(pod: Manifest) -> object:
    return names.controller_of(pod), read(pod)


class TrainingJobs:
    """The kind."""

    type: ResourceType = names.TRAINING_JOBS
    applies: Sequence[ResourceType] = ()
    indexes: Sequence[Index] = (USERS, VERSIONS, VERSIONS_BY_INPUTS, RUNS, WORKERS)

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults
        self._contents = Contents()
        self._warnings = Warnings()
        self.watches: Sequence[Watch] = (
            Watch(
                names.JOBS,
                _made,
                ("spec.suspend", "spec.managedBy", "spec.template.metadata.annotations", "status"),
            ),
            Watch(names.PODS, _training_job, FIELDS, reads=_worked),
            Watch(names.MODEL_VERSIONS, _training_job, reads=offered),
            Watch(names.CONFIG_MAPS, self._users("configmap"), metadata=True),
            Watch(names.CLAIMS, self._users("pvc"), metadata=True, reads=names.is_going),
        )

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Nothing but the watches wakes it."""

    def forget(self, key: Key) -> None:
        self._contents.forget(key)
        self._warnings.forget(key)

    async def observe(self, resource: Manifest, world: World) -> Observed:
        return await observe(resource, world, self._defaults, self._contents, self._warnings)

    def plan(self, observed: Observed) -> Plan:
        return plan(observed)

    def _users(self, scheme: str) -> Callable[[Manifest, World], Iterable[Key]]:
        """The TrainingJobs that use the object, or wait for it."""
        default = place_of(self._defaults.store) if self._defaults.store else None

        def users(manifest: Manifest, world: World) -> Iterable[Key]:
            meta = manifest["metadata"]
            place = f"{scheme}://{meta['name']}"
            for value in [place, DEFAULT_STORE] if place == default else [place]:
                yield from world.named(USERS, meta["namespace"], value)

        return users
