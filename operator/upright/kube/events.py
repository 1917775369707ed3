"""Events for people: one object per occurrence that repeats, not one per repetition."""

import logging
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from upright.contract import Event, Manifest, Reference, ResourceType
from upright.kube.client import Client
from upright.kube.conditions import cut
from upright.kube.errors import ApiError, NotFoundError, TerminatingError
from upright.kube.objects import meta, name_of, namespace_of, uid_of

EVENTS = ResourceType("events.k8s.io", "v1", "events", "Event")
CONTROLLER = "upright.dev/operator"
QUIET = 60.0
"""Seconds between two writes of one series."""
BURST = 25
REFILL = 60.0
"""An object may have BURST events at once, and one more each REFILL seconds: whatever we do, it is never a flood."""
REMEMBERED = 4096
_FIGURE = re.compile(r"(?<![\w.-])\d+(\.\d+)?(?![\w-])")
"""A number that stands for itself, and is no part of a name."""

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class _Series:
    event: Reference
    count: int
    written: float


@dataclass
class _Allowance:
    left: float
    at: float


class Recorder:
    """Writes events.k8s.io/v1 Events. Those of one object, reason and wording (but for figures) are one series."""

    def __init__(
        self, client: Client, instance: str, monotonic: Callable[[], float], clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._instance = instance
        self._monotonic = monotonic
        self._clock = clock
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._complaint = ""

    async def record(self, resource: Manifest, event: Event) -> None:
        """Tell it. An event that cannot be written is not worth failing for: the log says so, once."""
        try:
            await self._record(resource, event)
            self._complaint = ""
        except TerminatingError:
            raise  # there is no use in going on
        except ApiError as error:
            if str(error) != self._complaint:
                logger.warning("events are not written: %s", error)
            self._complaint = str(error)

    async def _record(self, resource: Manifest, event: Event) -> None:
        key = (uid_of(resource), event.reason, _FIGURE.sub("#", event.message))
        series = self._series.get(key)
        if series is None:
            if self._allow(uid_of(resource)):
                created = await self._client.create(EVENTS, self._manifest(resource, event))
                target = Reference(EVENTS, namespace_of(created), name_of(created), uid_of(created))
                _remember(self._series, key, _Series(target, 1, self._monotonic()))
            return
        self._series.move_to_end(key)
        series.count += 1
        if series.count > 2 and self._monotonic() - series.written < QUIET:
            return
        seen = {"count": series.count, "lastObservedTime": _micro(self._clock())}
        try:
            await self._client.merge(series.event, {"series": seen})  # all else of an event is immutable
            series.written = self._monotonic()
        except NotFoundError:  # the API server drops events after an hour
            del self._series[key]
            await self._record(resource, event)

    def _allow(self, uid: str) -> bool:
        now = self._monotonic()
        allowance = self._allowances.get(uid) or _Allowance(BURST, now)
        left = min(BURST, allowance.left + (now - allowance.at) / REFILL)
        _remember(self._allowances, uid, _Allowance(max(0.0, left - 1), now))
        return left >= 1

    def _manifest(self, resource: Manifest, event: Event) -> Manifest:
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{name_of(resource)}.{secrets.token_hex(8)}",
                "namespace": namespace_of(resource) or "default",
            },
            "eventTime": _micro(self._clock()),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "type": event.type,
            "reason": event.reason,
            "action": event.action,
            "note": cut(event.message),
            "regarding": {
                "apiVersion": resource["apiVersion"],
                "kind": resource["kind"],
                "namespace": namespace_of(resource),
                "name": name_of(resource),
                "uid": uid_of(resource),
                "resourceVersion": meta(resource).get("resourceVersion"),
            },
        }


def _micro(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _remember(memory: OrderedDict[K, V], key: K, value: V) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
