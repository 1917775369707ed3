"""The loop, once for all kinds: an event names a key, the key is observed, planned, and the plan carried out."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from upright.contract import Event, Key, Kind, Manifest, Plan, ResourceType
from upright.kube.actions import Actions
from upright.kube.client import Client
from upright.kube.conditions import differs, invalid, stalled, with_transition_times
from upright.kube.errors import ApiError, ConflictError, NotFoundError, NotLeaderError, TerminatingError
from upright.kube.events import Recorder
from upright.kube.objects import is_being_deleted, key_of, meta, type_of
from upright.kube.queue import Queue
from upright.kube.store import Stores
from upright.metrics import Metrics

WORKERS = 8
"""Of each kind: a plan may wait for pods that are slow to answer, and others should not wait with it."""
IMMEDIATE_RETRIES = 5

logger = logging.getLogger(__name__)


class Controller:
    """Takes in what the watches deliver, and keeps every object of every kind as its plan wants it."""

    def __init__(
        self, kinds: Sequence[Kind[Any]], stores: Stores, client: Client, recorder: Recorder, metrics: Metrics
    ) -> None:
        self._stores = stores
        actions = Actions(client, stores, self.seen, self.gone)
        self._loops = [_Loop(kind, stores, actions, client, recorder, metrics, self.seen) for kind in kinds]

    def seen(self, type: ResourceType, manifest: Manifest) -> None:
        """A version of an object: from a watch, a list, or in answer to a write of ours."""
        self._wake(type, self._stores.of(type).put(manifest))

    def gone(self, type: ResourceType, manifest: Manifest) -> None:
        """The object with this UID is no more."""
        self._wake(type, self._stores.of(type).remove(manifest))

    def listed(self, type: ResourceType, namespace: str, manifests: Iterable[Manifest], version: int) -> None:
        """All objects of a namespace (or of all), as of a version: what is not among them is no more."""
        self._wake(type, self._stores.of(type).replace(manifests, version, namespace))

    def start(self) -> None:
        """Begin to work. Only once everything has been listed: a plan made from half of the world would be wrong."""
        for loop in self._loops:
            loop.queue.start(loop.work, WORKERS)

    async def stop(self, grace: float) -> None:
        """Carry out what has been begun, and begin nothing more."""
        await asyncio.gather(*(loop.queue.stop(grace) for loop in self._loops))

    async def failed(self) -> None:
        """Wait for a loop to fail, which is a mistake in this program, and raise what it failed with."""
        await asyncio.gather(*(loop.queue.join() for loop in self._loops))

    def _wake(self, type: ResourceType, manifests: Iterable[Manifest]) -> None:
        for manifest in manifests:
            for loop in self._loops:
                loop.wake(type, manifest)


def watched_types(kinds: Sequence[Kind[Any]]) -> list[ResourceType]:
    """Every resource that some kind needs to know about, in a stable order."""
    wanted = [each for kind in kinds for each in (kind.type, *(watch.type for watch in kind.watches), *kind.applies)]
    return list(dict.fromkeys(wanted))


class _Loop:
    """The loop of one kind."""

    def __init__(
        self,
        kind: Kind[Any],
        stores: Stores,
        actions: Actions,
        client: Client,
        recorder: Recorder,
        metrics: Metrics,
        seen: Callable[[ResourceType, Manifest], None],
    ) -> None:
        self.queue = Queue()
        self._kind = kind
        self._stores = stores
        self._actions = actions
        self._client = client
        self._recorder = recorder
        self._metrics = metrics
        self._seen = seen
        self._complaints: dict[Key, str] = {}
        self._obstacles: dict[Key, ApiError] = {}
        metrics.depth.labels(kind=kind.type.kind).set_function(lambda: self.queue.depth)

    def wake(self, type: ResourceType, manifest: Manifest) -> None:
        if type == self._kind.type:
            self.queue.add(key_of(manifest))
        for watch in self._kind.watches:
            if watch.type == type:
                for key in watch.wakes(manifest, self._stores):
                    self.queue.add(key)

    async def work(self, key: Key) -> None:
        """One turn of a key. Whatever goes wrong is counted, said once, and tried again later."""
        began = time.perf_counter()
        try:
            again = await self._with_fresh_data(key)
        except NotLeaderError:
            result = "not leader"  # the process is about to end
        except TerminatingError as error:
            result = error.reason  # the object is about to go: that will be its next turn
        except Exception as error:  # noqa: BLE001 - a mistake in one plan must not end the loop for all others
            result = error.reason if isinstance(error, ApiError) else "Error"
            await self._complain(key, error)
        else:
            result = "ok"
            self.queue.succeeded(key)
            if self._complaints.pop(key, None):
                logger.info("%s %s: well again", self._kind.type.kind, key)
            if again is not None:
                self.queue.add_later(key, again)
        self._metrics.reconciles.labels(kind=self._kind.type.kind, result=result).inc()
        self._metrics.duration.labels(kind=self._kind.type.kind).observe(time.perf_counter() - began)

    async def _with_fresh_data(self, key: Key) -> float | None:
        """Plan and carry out; after a conflict at once again, from what is there now."""
        for _ in range(IMMEDIATE_RETRIES):
            try:
                return await self._reconcile(key)
            except (ConflictError, NotFoundError):
                await self._actions.refresh(self._kind.type, key.namespace, key.name)
        return await self._reconcile(key)

    async def _reconcile(self, key: Key) -> float | None:
        resource = self._stores.get(self._kind.type, key.namespace, key.name)
        if resource is None or is_being_deleted(resource):
            self._forget(key)
            return None
        try:
            observed = await self._kind.observe(resource, self._stores)
        except ValidationError as error:
            await self._refuse(resource, error)
            return None
        plan = self._kind.plan(observed)
        await self._carry_out(key, resource, plan)
        return None if plan.again is None else max(0.0, plan.again.total_seconds())

    async def _carry_out(self, key: Key, resource: Manifest, plan: Plan) -> None:
        obstacle = self._obstacles.get(key)
        status = plan.status if obstacle is None else _hindered(plan.status, obstacle, resource)
        try:
            recorded = await self._record(resource, status)
            if recorded:
                for count in plan.counts:
                    self._metrics.count(count)
            self._metrics.contribute(self._kind.type, key, plan.gauges)
            acted = await self._act(resource, plan)
        except ApiError as error:
            if not error.lasting:
                raise
            self._obstacles[key] = error
            if str(obstacle) != str(error):
                await self._recorder.record(resource, Event("Warning", error.reason, "Reconcile", str(error)))
                await self._record(self._newest(resource), _hindered(plan.status, error, resource))
            raise
        if obstacle is not None:
            del self._obstacles[key]
            await self._record(self._newest(resource), plan.status)
        # A plan that changed nothing has nothing to tell: its events were told when it did, maybe by another process.
        if recorded or acted:
            for event in plan.events:
                await self._recorder.record(resource, event)

    async def _record(self, resource: Manifest, status: Mapping[str, Any]) -> bool:
        """Write the status, unless it says nothing new. It is that of this very version of the object."""
        old = resource.get("status") or {}
        if not differs(status, old):
            return False
        dated = with_transition_times(status, old, self._stores.now)
        answer = await self._client.patch_status(self._kind.type, resource, dated)
        self._seen(self._kind.type, answer)
        return True

    async def _act(self, resource: Manifest, plan: Plan) -> bool:
        known = [self._kind.type, *(watch.type for watch in self._kind.watches), *self._kind.applies]
        kept: dict[ResourceType, set[Key]] = {}
        for manifest in (*plan.create, *plan.apply):
            kept.setdefault(type_of(manifest, known), set()).add(key_of(manifest))
        acted = [await self._actions.create(type_of(manifest, known), manifest) for manifest in plan.create]
        acted += [await self._actions.apply(type_of(manifest, known), manifest) for manifest in plan.apply]
        acted += [await self._actions.scale(scale) for scale in plan.scale]
        superfluous = self._actions.superfluous(resource, self._kind.applies, kept)
        acted += [await self._actions.delete(target) for target in (*plan.delete, *superfluous)]
        return any(acted)

    async def _refuse(self, resource: Manifest, error: ValidationError) -> None:
        """The object makes no sense, and no retry will change that: say which field, and wait for a change."""
        status = invalid(resource, error)
        if await self._record(resource, status):
            message = status["conditions"][0]["message"]
            await self._recorder.record(resource, Event("Warning", "InvalidSpec", "Reconcile", message))

    async def _complain(self, key: Key, error: Exception) -> None:
        delay = self.queue.back_off(key)
        complaint = f"{type(error).__name__}: {error}"
        if self._complaints.get(key) == complaint:
            return
        self._complaints[key] = complaint
        said = "%s %s: %s; trying again in %.0f s and then ever more rarely"
        # A traceback is for a mistake of ours; what the cluster does is said in a sentence.
        ours = None if isinstance(error, ApiError) else error
        logger.warning(said, self._kind.type.kind, key, error if ours is None else complaint, delay, exc_info=ours)

    def _newest(self, resource: Manifest) -> Manifest:
        key = key_of(resource)
        return self._stores.get(self._kind.type, key.namespace, key.name) or resource

    def _forget(self, key: Key) -> None:
        self._metrics.contribute(self._kind.type, key, None)
        self._complaints.pop(key, None)
        self._obstacles.pop(key, None)
        self.queue.succeeded(key)


def _hindered(status: Mapping[str, Any], obstacle: ApiError, resource: Manifest) -> dict[str, Any]:
    return stalled(status, obstacle.reason, str(obstacle), int(meta(resource).get("generation", 0)))
