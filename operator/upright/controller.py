"""The loop, once for all kinds: an event names a key, the key is observed, planned, and the plan carried out."""

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from upright import __version__
from upright.api import names
from upright.contract import Event, Key, Kind, Manifest, Plan, ResourceType, Watch
from upright.kube.actions import Actions
from upright.kube.client import Client
from upright.kube.conditions import (
    INTERNAL_ERROR,
    OBSTACLES,
    cut,
    differs,
    halted,
    invalid,
    mistake,
    recorded,
    told,
    with_obstacle,
    with_transition_times,
)
from upright.kube.errors import (
    ApiError,
    ConflictError,
    LeavingError,
    NotFoundError,
    NotLeaderError,
    RefusedError,
    TerminatingError,
    complaint_of,
)
from upright.kube.events import Recorder
from upright.kube.failures import Failures
from upright.kube.keeping import UNUSABLE
from upright.kube.memory import Memory
from upright.kube.objects import is_meant_otherwise, key_of, type_of, uid_of
from upright.kube.queue import Queue
from upright.kube.store import REMEMBERED_COMPLAINTS, Stores
from upright.metrics import Metrics

WORKERS = 16
"""Of each kind: a plan may wait for an API server that is slow to answer, and others should not wait with it."""
IMMEDIATE_RETRIES = 5
UNTOLD = 30.0
"""Seconds until an event that could not be told is tried again."""
SOON = 5.0
"""Seconds after which an object is looked at again that waits for what nobody may tell."""

logger = logging.getLogger(__name__)


class Controller:
    """Takes in what the watches deliver, and keeps every object of every kind as its plan wants it.

    No object gets a turn while what is known of one of the types that its kind needs is too old (`blind`).
    """

    def __init__(
        self,
        kinds: Sequence[Kind[Any]],
        stores: Stores,
        client: Client,
        recorder: Recorder,
        metrics: Metrics,
        blind: Callable[[Container[ResourceType], str], bool] = lambda _types, _namespace: False,
    ) -> None:
        self._stores = stores
        self._unserved = set[str]()
        actions = Actions(client, stores, self.seen, self.gone)
        self._loops = [
            _Loop(kind, stores, actions, client, recorder, metrics, self.seen, self._unserved, blind) for kind in kinds
        ]

    def seen(self, type: ResourceType, manifest: Manifest, as_of: int = 0) -> None:
        """A version of an object: from a watch, in answer to a write of ours, or from a list, as of that version."""
        if versions := self._stores.of(type).put(manifest, as_of):
            self._wake(type, versions)

    def gone(self, type: ResourceType, manifest: Manifest) -> None:
        """The object with this UID is no more."""
        if removed := self._stores.of(type).remove(manifest):
            self._wake(type, removed)

    def listed(self, type: ResourceType, namespace: str, there: Container[str], version: int) -> None:
        """The UIDs of all objects of a namespace (or of all), as of a version: what is not among them is no more."""
        for removed in self._stores.of(type).retain(there, version, namespace):
            self._wake(type, [removed])

    def start(self, unserved: Iterable[str] = ()) -> None:
        """Begin to work, but not in namespaces that are `unserved`.

        Only where everything has been listed: a plan made from half of the world would be wrong.
        """
        self._unserved.update(unserved)
        for loop in self._loops:
            loop.start()

    def serve(self, namespace: str) -> None:
        """Begin to work in a namespace, too: everything in it has been listed now."""
        self._unserved.discard(namespace)
        for loop in self._loops:
            loop.serve(namespace)

    async def stop(self, grace: float) -> None:
        """Carry out what has been begun, and begin nothing more."""
        await asyncio.gather(*(loop.queue.stop(grace) for loop in self._loops))

    async def failed(self) -> None:
        """Wait for a loop to fail, which is a mistake in this program, and raise what it failed with."""
        await asyncio.gather(*(loop.queue.join() for loop in self._loops))

    def _wake(self, type: ResourceType, versions: Sequence[Manifest]) -> None:
        for loop in self._loops:
            loop.wake(type, versions)


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
        unserved: Container[str],
        blind: Callable[[Container[ResourceType], str], bool],
    ) -> None:
        self.queue = Queue(WORKERS)
        self._kind = kind
        self._stores = stores
        self._actions = actions
        self._client = client
        self._recorder = recorder
        self._metrics = metrics
        self._seen = seen
        self._unserved = unserved
        self._blind = blind
        self._standing = asyncio.Lock()  # the API server takes its time for what is too large: one worker is enough
        self._known = [kind.type, *(watch.type for watch in kind.watches), *kind.applies]
        self._uids: dict[Key, str] = {}
        self._complaints: dict[Key, str] = {}
        self._unreadable: Memory[tuple[ResourceType, str], str] = Memory(REMEMBERED_COMPLAINTS)
        metrics.depth.labels(kind=kind.type.kind).set_function(lambda: self.queue.depth)

    def start(self) -> None:
        self._kind.begin(self.queue.add)
        self.queue.start(self.work)

    def serve(self, namespace: str) -> None:
        """Give each object of a namespace the turn that it has not had."""
        for manifest in self._stores.all(self._kind.type, namespace):
            self.queue.add(key_of(manifest))

    def wake(self, type: ResourceType, versions: Sequence[Manifest]) -> None:
        """Give a turn to whomever an object concerns: in its old and its new version, or in the only one that there is
        of one that is new, or gone.
        """
        newest = versions[-1]
        if type == self._kind.type:
            self.queue.add(key_of(newest), rested=is_meant_otherwise(versions))
        for watch in self._kind.watches:
            if watch.type == type and self._concerns(watch, versions):
                for version in versions:
                    try:
                        keys = list(watch.wakes(version, self._stores))
                    except Exception as error:  # noqa: BLE001 - what cannot be read must not end the watch of all
                        self._cannot_read(type, version, error)
                    else:
                        for key in keys:
                            self.queue.add(key)

    def _concerns(self, watch: Watch, versions: Sequence[Manifest]) -> bool:
        """Whether anything of what is read of an object has changed."""
        if watch.reads is None or len(versions) == 1:
            return True
        try:
            old, new = map(watch.reads, versions)
        except Exception as error:  # noqa: BLE001 - as above
            self._cannot_read(watch.type, versions[-1], error)
            return True
        return bool(old != new)

    async def work(self, key: Key) -> None:
        """One turn of a key. Whatever goes wrong is counted, said once, and tried again later."""
        if key.namespace in self._unserved:
            return
        if self._blind(self._known, key.namespace):
            self._metrics.reconciles.labels(kind=self._kind.type.kind, result="blind").inc()
            self.queue.add_later(key, SOON)
            return
        began = time.perf_counter()
        try:
            again = await self._with_fresh_data(key)
        except NotLeaderError:
            result = "not leader"  # the process is about to end
        except TerminatingError as error:
            result = error.reason  # the object is about to go: that will be its next turn
        except Exception as error:  # noqa: BLE001 - a mistake in one plan must not end the loop for all others
            result = error.reason if isinstance(error, ApiError) else INTERNAL_ERROR
            if isinstance(error, LeavingError) and not error.lasting:
                self.queue.add_later(key, SOON)
            else:
                self._complain(key, error)
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
        if resource is None or names.is_going(resource):
            self._forget(key)
            return None
        if self._uids.setdefault(key, uid_of(resource)) != uid_of(resource):  # a namesake: the one before is no more
            self._forget(key)
            self._uids[key] = uid_of(resource)
        if why := resource.get(UNUSABLE):
            if self._standing.locked():
                return SOON
            async with self._standing:
                await self._stand_still(resource, halted(resource, "TooLarge", why))
            return None
        try:
            plan = self._kind.plan(await self._kind.observe(resource, self._stores))
        except ValidationError as error:
            if error.title != self._kind.type.kind:
                await self._halt(resource, error)
                raise
            await self._stand_still(resource, invalid(resource, error))  # no retry will change that
            return None
        except Exception as error:
            await self._halt(resource, error)
            raise
        again = None if plan.again is None else max(0.0, plan.again.total_seconds())
        return again if await self._carry_out(key, resource, plan) else min(again or UNTOLD, UNTOLD)

    async def _carry_out(self, key: Key, resource: Manifest, plan: Plan) -> bool:
        """Record, act, tell. Returns whether everything that must be told has been."""
        obstacle = told(resource, OBSTACLES)  # until acting has shown that it is gone
        failures = Failures()
        if plan.keep:
            with failures.of(outdated=True):
                await self._actions.keep(type_of(plan.keep, self._known), plan.keep)
        wrote = plan.record and await self._record(resource, with_obstacle(plan.status, obstacle, resource))
        for count in plan.counts if wrote else ():
            self._metrics.count(self._kind.type, key, count)
        self._metrics.contribute(self._kind.type, key, plan.gauges)
        acted = await self._act(resource, plan, failures)
        found = failures.worst()
        # A plan that changed nothing has nothing to tell: its events were told when it did, maybe by another process.
        # Only those that say when they were decided are told until they are known to be.
        news = wrote or (acted and found is None)
        complete = True
        for event in plan.events:
            if event.at is not None or news:
                complete = await self._recorder.record(resource, event) and complete
        if found is not None:
            await self._tell_obstacle(resource, plan, obstacle, found)
            raise found
        if obstacle is not None:
            await self._record(self._newest(resource), plan.status)
        return complete

    async def _record(self, resource: Manifest, status: Mapping[str, Any]) -> bool:
        """Write the status, unless it says nothing new. It is that of this very version of the object."""
        old = recorded(resource)
        if not differs(status, old):
            return False
        dated = with_transition_times(status, old, self._stores.now)
        try:
            answer = await self._client.patch_status(self._kind.type, resource, dated)
        except RefusedError as error:
            if error.lasting:  # only an event can tell of it
                await self._recorder.record(resource, Event("Warning", error.reason, "Reconcile", cut(f"{error}.")))
            raise
        self._seen(self._kind.type, answer)
        return True

    async def _act(self, resource: Manifest, plan: Plan, failures: Failures) -> bool:
        """Carry the plan out, in the order that `Plan` promises. Returns whether anything was done."""
        kept: dict[ResourceType, set[Key]] = {}
        for manifest in (*plan.create, *plan.apply):
            kept.setdefault(type_of(manifest, self._known), set()).add(key_of(manifest))
        acted = False
        for manifest in plan.apply:
            of = type_of(manifest, self._known)
            with failures.of(leads=key_of(manifest) in self._stores.of(of)):
                done = await self._actions.apply(of, manifest)
                acted |= await self._told(resource, done.event, done.wrote)
        for correction in plan.correct:
            with failures.of(leads=True):
                acted |= await self._told(resource, correction.event, await self._actions.correct(correction))
        for manifest in plan.create:
            with failures.of():
                done = await self._actions.create(type_of(manifest, self._known), manifest)
                acted |= await self._told(resource, done.event, done.wrote)
        for scale in plan.scale:
            with failures.of():
                acted |= await self._told(resource, scale.event, await self._actions.scale(scale))
        if failures.leads:
            return acted
        for target in (*plan.delete, *self._actions.superfluous(resource, self._kind.applies, kept)):
            with failures.of():
                acted |= await self._actions.delete(target)
        return acted

    async def _told(self, resource: Manifest, event: Event | None, acted: bool) -> bool:
        """Tell of an act that has changed something."""
        if acted and event:
            await self._recorder.record(resource, event)
        return acted

    async def _halt(self, resource: Manifest, error: Exception) -> None:
        """No plan could be made: say why on the object, if that stays so until somebody does something about it."""
        if reason := self._lasting(resource, error):
            await self._stand_still(resource, halted(resource, *reason))

    async def _stand_still(self, resource: Manifest, status: Mapping[str, Any]) -> None:
        """Say on the object why nothing goes on. An event tells it first: who ends in between leaves it to be told."""
        if differs(status, recorded(resource)):
            [stalled] = [one for one in status["conditions"] if one["type"] == "Stalled"]
            await self._recorder.record(resource, Event("Warning", stalled["reason"], "Reconcile", stalled["message"]))
            await self._record(resource, status)

    async def _tell_obstacle(
        self, resource: Manifest, plan: Plan, obstacle: tuple[str, str] | None, error: Exception
    ) -> None:
        """The plan could not be carried out: say why on the object, if that stays so."""
        reason = self._lasting(resource, error)
        if reason and reason != obstacle:
            await self._recorder.record(resource, Event("Warning", reason[0], "Reconcile", reason[1]))
            await self._record(self._newest(resource), with_obstacle(plan.status, reason, resource))
        elif not plan.record:  # else nobody would see what is about to happen
            await self._record(self._newest(resource), with_obstacle(plan.status, obstacle, resource))

    def _lasting(self, resource: Manifest, error: Exception) -> tuple[str, str] | None:
        """Reason and sentence of what stays so until somebody does something about it."""
        if isinstance(error, ApiError):
            return (error.reason, cut(f"{str(error).removesuffix('.')}.")) if error.lasting else None
        before = told(resource, {INTERNAL_ERROR})
        if before and self._complaints.get(key_of(resource)) == complaint_of(error):
            return before  # its words may have a figure in them that changes each time
        return INTERNAL_ERROR, mistake(error, __version__)

    def _complain(self, key: Key, error: Exception) -> None:
        delay, complaint = self.queue.back_off(key), complaint_of(error)
        if self._complaints.get(key) == complaint:
            return
        self._complaints[key] = complaint
        said = "%s %s: %s; trying again in %.0f s and then ever more rarely"
        # A traceback is for a mistake of ours; what the cluster does is said in a sentence.
        ours = None if isinstance(error, ApiError) else error
        logger.warning(
            said, self._kind.type.kind, key, f"{type(error).__name__}: {error}" if ours else error, delay, exc_info=ours
        )

    def _cannot_read(self, type: ResourceType, manifest: Manifest, error: Exception) -> None:
        self._metrics.unreadable.labels(kind=self._kind.type.kind, resource=str(type)).inc()
        said = f"{error.__class__.__name__}: {error}"
        if self._unreadable.get((type, uid_of(manifest))) != said:
            self._unreadable.set((type, uid_of(manifest)), said)
            what = f"{type.kind} {key_of(manifest)}"
            logger.warning("%s cannot be read, so no %s is woken by it: %s", what, self._kind.type.kind, said)

    def _newest(self, resource: Manifest) -> Manifest:
        key = key_of(resource)
        newest = self._stores.get(self._kind.type, key.namespace, key.name)
        return newest if newest and uid_of(newest) == uid_of(resource) else resource  # never a namesake

    def _forget(self, key: Key) -> None:
        self._kind.forget(key)
        self._metrics.forget(self._kind.type, key)
        self._complaints.pop(key, None)
        self._uids.pop(key, None)
        self.queue.succeeded(key)
