"""Events for people: one object per occurrence that repeats, not one per repetition."""

import hashlib
import logging
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from upright.api.names import EVENTS
from upright.contract import Event, Manifest, Reference
from upright.kube.client import Client
from upright.kube.errors import ApiError, ConflictError, NotFoundError, NotLeaderError, TerminatingError
from upright.kube.memory import Memory
from upright.kube.objects import meta, name_of, namespace_of, uid_of

CONTROLLER = "upright.dev/operator"
QUIET = 60.0
"""Seconds between two writes of one series."""
BURST = 25
REFILL = 60.0
"""An object may have BURST events at once, and one more each REFILL seconds: whatever we do, it is never a flood."""
LONGEST_NOTE = 1024
REMEMBERED = 4096
REMEMBERED_TOLD = 16384
_FIGURE = re.compile(r"(?<![\w.-])\d+(\.\d+)?(?![\w-])")
"""A number that stands for itself, and is no part of a name."""

logger = logging.getLogger(__name__)


@dataclass
class _Series:
    event: Reference
    count: int
    written: float
    told: datetime


@dataclass
class _Allowance:
    left: float
    at: float


class Recorder:
    """Writes core/v1 Events.

    Those of one object, reason and wording (but for figures) are one series. Those that say when they were decided are
    told once for each object, reason and time, whoever has told them: their name says what they are.
    """

    def __init__(
        self, client: Client, instance: str, monotonic: Callable[[], float], clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._instance = instance
        self._monotonic = monotonic
        self._clock = clock
        self._series: Memory[tuple[str, str, str], _Series] = Memory(REMEMBERED)
        self._allowances: Memory[str, _Allowance] = Memory(REMEMBERED)
        self._told: Memory[str, datetime] = Memory(REMEMBERED_TOLD)
        # What was decided before may have been told by the process that led before, or have been forgotten.
        self._knows_since: datetime | None = None
        self._complaints: Memory[str, str] = Memory(REMEMBERED)  # by namespace: why none are written there

    async def record(self, resource: Manifest, event: Event) -> bool:
        """Tell it; returns whether it is told. One that cannot be written harms nothing: the log says so, once."""
        try:
            told = await (self._record(resource, event) if event.at is None else self._once(resource, event, event.at))
        except (TerminatingError, NotLeaderError):
            raise  # there is no use in going on
        except ApiError as error:
            if self._complaints.get(namespace_of(resource)) != error.reason:  # its words name each event
                logger.warning("events are not written: %s", error)
            self._complaints.set(namespace_of(resource), error.reason)
            return False
        self._complaints.drop(namespace_of(resource))
        return told

    async def _once(self, resource: Manifest, event: Event, at: datetime) -> bool:
        namespace, name = namespace_of(resource) or "default", _name(resource, event, at)
        series = self._series.get(_alike(resource, event))  # by the plan before, which may have known no time for it
        if self._told.get(name) or (series and series.told >= at):
            return True
        self._knows_since = self._knows_since or self._clock()
        if at > self._knows_since or not await self._client.get(EVENTS, namespace, name):
            if not self._allow(uid_of(resource)):
                return False
            with suppress(ConflictError):  # another process has told it
                await self._client.create(EVENTS, self._manifest(resource, event, name, at))
        if forgotten := self._told.set(name, at):
            self._knows_since = max(self._knows_since, forgotten)
        return True

    async def _record(self, resource: Manifest, event: Event) -> bool:
        key = _alike(resource, event)
        series = self._series.get(key)
        if series is None:
            if not self._allow(uid_of(resource)):
                return False
            name = _named(resource, self._clock(), secrets.token_hex(4))
            created = await self._client.create(EVENTS, self._manifest(resource, event, name, self._clock()))
            target = Reference(EVENTS, namespace_of(created), name_of(created), uid_of(created))
            self._series.set(key, _Series(target, 1, self._monotonic(), self._clock()))
            return True
        self._series.set(key, series)
        series.count, series.told = series.count + 1, self._clock()
        if series.count > 2 and self._monotonic() - series.written < QUIET:
            return True
        seen = {"count": series.count, "lastTimestamp": _seconds(self._clock()), "message": _note(event.message)}
        try:
            await self._client.merge(series.event, seen)
            series.written = self._monotonic()
        except NotFoundError:  # the API server drops events after an hour
            self._series.drop(key)
            return await self._record(resource, event)
        return True

    def _allow(self, uid: str) -> bool:
        now = self._monotonic()
        allowance = self._allowances.get(uid) or _Allowance(BURST, now)
        left = min(BURST, allowance.left + (now - allowance.at) / REFILL)
        self._allowances.set(uid, _Allowance(max(0.0, left - 1), now))
        return left >= 1

    def _manifest(self, resource: Manifest, event: Event, name: str, at: datetime) -> Manifest:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": namespace_of(resource) or "default"},
            "eventTime": _micro(at),
            "firstTimestamp": _seconds(at),
            "lastTimestamp": _seconds(at),
            "count": 1,
            "reportingComponent": CONTROLLER,
            "reportingInstance": self._instance,
            "type": event.type,
            "reason": event.reason,
            "action": event.action,
            "message": _note(event.message),
            "involvedObject": {
                "apiVersion": resource["apiVersion"],
                "kind": resource["kind"],
                "namespace": namespace_of(resource),
                "name": name_of(resource),
                "uid": uid_of(resource),
                "resourceVersion": meta(resource).get("resourceVersion"),
            },
        }


def _alike(resource: Manifest, event: Event) -> tuple[str, str, str]:
    """The same for what is one series."""
    return uid_of(resource), event.reason, _FIGURE.sub("#", event.message)


def _name(resource: Manifest, event: Event, at: datetime) -> str:
    """The same in every process, for an object's event of a reason and a time."""
    what = f"{uid_of(resource)} {event.reason} {at.astimezone(UTC).isoformat()}"
    return _named(resource, at, hashlib.sha256(what.encode()).hexdigest()[:8])


def _named(resource: Manifest, at: datetime, unique: str) -> str:
    """Names sort by time: the times that kubectl sorts by are whole seconds."""
    return f"{name_of(resource)}.{round(at.timestamp() * 1e6):x}{unique}"


def _note(message: str) -> str:
    """What fits: its limit is in bytes."""
    encoded = message.encode()
    return message if len(encoded) <= LONGEST_NOTE else encoded[: LONGEST_NOTE - 3].decode(errors="ignore") + "…"


def _micro(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
