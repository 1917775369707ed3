"""Leader election on a Lease: of several operators one acts, and it stops acting before another begins.

The library's `kubernetes.aio.leaderelection` is not used: its requests have no time limit and an error other than an
answer of the API server ends it, it measures the lease by the wall clock, which may jump, and it cannot give the lease
back on a graceful stop. What remains without these parts is the exchange of one object.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from upright.contract import ALWAYS, Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.errors import ApiError
from upright.kube.objects import PREFIX, meta, version_of
from upright.kube.watched import Handover, Watched

LEASES = ResourceType("coordination.k8s.io", "v1", "leases", "Lease")
WATCHED_SINCE, WATCHED_UNTIL, UNWATCHED = (
    f"{PREFIX}{name}" for name in ("watched-since", "watched-until", "unwatched")
)
"""Annotations of the Lease: since when its holder, and those before it, have watched without an interruption; until
when: one that leads and has yet to list everything watches nothing; and in which namespaces, with commas between them,
it does not.
"""

_WRITTEN = "%Y-%m-%dT%H:%M:%S.%fZ"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """In seconds. Another takes over after `duration` without a renewal; the holder stops writing before that."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    """After a renewal: the holder begins no write after it, and ends."""
    retry_period: float = 2.0
    """From one attempt to take or to renew the lease to the next one."""

    @property
    def attempt(self) -> float:
        """How long an attempt may take: it must be over before the lease could be."""
        return self.duration - self.renew_deadline


class Lease:
    """Our side of the election. `monotonic` gives seconds; `clock` the time of day, which is only written down, and by
    which who leads next knows for how long nobody has `watched`.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        times: LeaseTimes,
        watched: Watched,
        monotonic: Callable[[], float],
        clock: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._times = times
        self._watched = watched
        self._monotonic = monotonic
        self._clock = clock
        self._seen: tuple[str, float] = ("", 0.0)  # the newest version of the Lease, and when we first saw it
        self._renewed: float | None = None  # when our last successful renewal was sent
        self._may_be_ours = False  # also when no answer has come
        self._newest = 0  # version that was seen
        self.lost = "another process may lead now"
        """Why it is lost, once it is."""

    @property
    def held(self) -> bool:
        return self.remaining() > 0

    def remaining(self) -> float:
        """For how many seconds from now a write may be under way; not positive when none may begin."""
        if self._until_deadline() <= 0:
            return 0.0
        return self._until_deadline() + self._times.attempt

    def _until_deadline(self) -> float:
        """Seconds until the lease is lost unless it is renewed; not positive when it is not ours."""
        return 0.0 if self._renewed is None else self._renewed + self._times.renew_deadline - self._monotonic()

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        complaint = ""
        while True:
            try:
                if await self.attempt():
                    return
                complaint = ""
            except ApiError as error:
                if str(error) != complaint:
                    logger.warning("leader election: %s", error)
                complaint = str(error)
            await asyncio.sleep(self._times.retry_period)

    async def keep(self) -> None:
        """Renew the lease until it is lost. Once it is, no renewal brings it back: something may have been left out."""
        next_attempt = self._monotonic() + self._times.retry_period
        while True:
            await asyncio.sleep(max(0.0, next_attempt - self._monotonic()))
            if not self.held:
                return
            next_attempt = self._monotonic() + self._times.retry_period
            try:
                if not await self.attempt():
                    self._renewed = None
            except ApiError as error:
                logger.warning("leader election: renewal failed: %s", error)

    async def attempt(self) -> bool:
        """Take or renew the lease, unless another holds it. Raises ApiError when that cannot be told or done."""
        sent = self._monotonic()
        async with _bounded(min(self._times.attempt, self._until_deadline() if self.held else math.inf)):
            found = await self._client.get(LEASES, self._namespace, self._name)
            self._may_be_ours = self._may_make() if found is None else self._may_take(found)
            if self._may_be_ours and not self.held:
                self._watched.take_over(_watched_by(found or {}))
            if not self._may_be_ours:
                return False
            if found is None:
                found = await self._client.create(LEASES, self._manifest({}, {}))
            else:
                found = await self._client.replace(LEASES, self._manifest(meta(found), _spec(found)))
        before, self._newest = self._newest, version_of(found)
        if self._newest < before and self.held:  # what is known of all objects seems newer than what they will be
            self.lost = "the cluster has gone back in time, as when etcd is restored from a backup"
            return False
        self._renewed = sent
        return True

    async def release(self) -> None:
        """Give the lease back, so that another need not wait for its end."""
        if not self._may_be_ours:
            return
        self._renewed = None
        try:
            async with _bounded(self._times.attempt):
                found = await self._client.get(LEASES, self._namespace, self._name)
                if found is not None and _spec(found).get("holderIdentity") == self._identity:
                    released = self._manifest(meta(found), _spec(found))
                    released["spec"]["holderIdentity"] = ""
                    await self._client.replace(LEASES, released)
        except ApiError as error:
            logger.warning("leader election: could not give the lease back, another waits for its end: %s", error)

    def _may_make(self) -> bool:
        """Where there is none: somebody may have deleted what another has just renewed, and goes by."""
        version, seen = self._seen
        return self.held or not version or self._monotonic() >= seen + self._times.duration

    def _may_take(self, found: Manifest) -> bool:
        holder, version = _spec(found).get("holderIdentity"), meta(found)["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._monotonic())
        lapsed = self._monotonic() >= self._seen[1] + (_spec(found).get("leaseDurationSeconds") or self._times.duration)
        return not holder or holder == self._identity or lapsed

    def _manifest(self, metadata: Any, before: Any) -> dict[str, Any]:
        now, handover = self._clock().strftime(_WRITTEN), self._watched.handover()
        watched = {
            WATCHED_SINCE: handover.since.strftime(_WRITTEN),
            WATCHED_UNTIL: handover.until.strftime(_WRITTEN) if handover.until else "",
            UNWATCHED: ",".join(handover.unwatched),
        }
        changed = before.get("holderIdentity") != self._identity
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                **metadata,
                "annotations": {**(metadata.get("annotations") or {}), **watched},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._times.duration)),
                "acquireTime": now if changed else before.get("acquireTime", now),
                "renewTime": now,
                "leaseTransitions": before.get("leaseTransitions", 0) + (1 if changed and before else 0),
            },
        }


def _spec(found: Manifest) -> Mapping[str, Any]:
    """What is written on a Lease. One that was made by hand may say nothing: nobody holds it."""
    return found.get("spec") or {}


def _watched_by(found: Manifest) -> Handover:
    """What those who held a Lease tell of their watching."""
    said = found.get("metadata", {}).get("annotations") or {}
    until = said.get(WATCHED_UNTIL, _spec(found).get("renewTime"))  # an older operator has not said
    unwatched = [name for name in str(said.get(UNWATCHED, "")).split(",") if name]
    return Handover(_time(said.get(WATCHED_SINCE)) or ALWAYS, _time(until), unwatched)


def _time(text: Any) -> datetime | None:
    """None of what is no time: anybody may write on a Lease."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


@contextlib.asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as timeout:
        raise ApiError("the API server did not answer in time") from timeout
