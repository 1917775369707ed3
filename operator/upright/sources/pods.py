"""Looks taken at the serving pods themselves: raw counters from /metrics, as deltas summed over a version's pods.

Counters are read as they are, never as rates: `rate()` and its like extrapolate to fractions, and the tests of
`upright.analysis` want whole requests.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from upright.analysis import Counts, Look
from upright.api.serving import ANSWERED, FAILED, REQUESTS
from upright.contract import Key, Manifest
from upright.pods import HTTP_PORT

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_MAX_BYTES = 4 * 1024 * 1024
_CHUNK = 64 * 1024
_EARLY = timedelta(milliseconds=100)
"""A look this little before its time is taken at once: timers are not exact."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """A pod's counters since its process began: requests that the model answered or failed, and those it failed."""

    total: float
    bad: float

    def since(self, earlier: "Reading") -> "Reading":
        """What was added. A counter that went back began anew, so all of it was added."""
        if self.total < earlier.total or self.bad < earlier.bad:
            return self
        return Reading(self.total - earlier.total, self.bad - earlier.bad)


_NOTHING = Reading(0, 0)


@dataclass
class _Memory:
    """What has been read in one rollout."""

    rollout: str
    fresh: bool
    """No evidence has been recorded before: all that the candidate's pods ever answered belongs to this rollout."""
    readings: dict[str, Reading] = field(default_factory=dict)
    """By pod, the last one."""
    last: datetime | None = None
    looks: list[Look] = field(default_factory=list)

    def added(self, pod: str, reading: Reading, *, counts_from_start: bool) -> Reading | None:
        """What a pod has counted since its last reading; None for the first one, which only tells where to begin."""
        earlier = self.readings.get(pod, _NOTHING if counts_from_start and self.fresh else None)
        self.readings[pod] = reading
        return None if earlier is None else reading.since(earlier)


class PodLooks:
    """Remembers, for each Deployment, the last reading of each pod and the looks that no status contains yet."""

    def __init__(self) -> None:
        self._memories: dict[Key, _Memory] = {}

    async def since(
        self,
        key: Key,
        rollout: str,
        pods: Mapping[str, Sequence[Manifest]],
        metrics: Sequence[str],
        interval: timedelta,
        after: float | None,
        now: datetime,
    ) -> tuple[Sequence[Look], timedelta]:
        """See `upright.rollout.observe.Looks`. A pod that does not answer is left out of the look; a look in which no
        pod of a version answers is not taken.
        """
        memory = self._memories.get(key)
        if memory is None or memory.rollout != rollout:
            memory = self._memories[key] = _Memory(rollout, fresh=after is None)
        if memory.last is None or now - memory.last >= interval - _EARLY:
            memory.last = now
            await self._look(memory, pods, metrics, now.timestamp())
        memory.looks = [look for look in memory.looks if after is None or look.time > after]
        return tuple(memory.looks), memory.last + interval - now

    async def _look(
        self, memory: _Memory, pods: Mapping[str, Sequence[Manifest]], metrics: Sequence[str], time: float
    ) -> None:
        arms, known = {}, set(memory.readings)
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            for arm, members in pods.items():
                found = await asyncio.gather(*(_read(session, pod) for pod in members))
                arms[arm] = [
                    delta
                    for pod, read in zip(members, found, strict=True)
                    if read and (delta := memory.added(pod["metadata"]["uid"], read, counts_from_start=arm == "canary"))
                ]
        if all(arms.values()):
            summed = {
                arm: (sum(delta.total for delta in deltas), sum(delta.bad for delta in deltas))
                for arm, deltas in arms.items()
            }
            counts = Counts(canary=summed["canary"], stable=summed["stable"])
            memory.looks.append(Look(time, dict.fromkeys(metrics, counts)))
        elif memory.fresh:  # what a new pod has counted so far is kept for the first look that can be taken
            for pod in pods.get("canary", ()):
                if pod["metadata"]["uid"] not in known:
                    memory.readings.pop(pod["metadata"]["uid"], None)


async def _read(session: aiohttp.ClientSession, pod: Manifest) -> Reading | None:
    """What a pod counts now; None when it does not answer, or counts nothing of ours."""
    address = pod.get("status", {}).get("podIP")
    if not address or pod["status"].get("phase") != "Running":
        return None
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{_port(pod)}/metrics"
    try:
        async with session.get(url) as response:
            response.raise_for_status()
            return reading(await _page(response))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        logger.debug("%s of pod %s cannot be read: %s", url, pod["metadata"]["name"], error)
        return None


async def _page(response: aiohttp.ClientResponse) -> str:
    """The text of a page of metrics. Raises ValueError for one that is too long, or no text."""
    page = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        page += chunk
        if len(page) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes of metrics")
    return page.decode()


def reading(exposition: str) -> Reading | None:
    """The counters in a page of metrics; None when it has none of ours.

    Raises ValueError for a text that is no metrics.
    """
    answered: dict[str, float] = {}
    known = False
    for family in text_string_to_metric_families(exposition):
        if family.name != REQUESTS.removesuffix("_total"):
            continue
        known = True
        for sample in family.samples:
            if sample.name == REQUESTS:
                code = sample.labels.get("code", "")
                answered[code] = answered.get(code, 0) + sample.value
    if not known:
        return None
    bad = answered.get(FAILED, 0)
    return Reading(answered.get(ANSWERED, 0) + bad, bad)


def _port(pod: Manifest) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == HTTP_PORT), 80)
