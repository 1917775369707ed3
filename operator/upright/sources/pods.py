"""Looks taken at the serving pods themselves: raw counters from /metrics, as increases summed over a version's pods.

Counters are read as they are, never as rates: `rate()` and its like extrapolate to fractions, and the tests of
`upright.analysis` want whole requests.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from upright.analysis import Counts, Look
from upright.analysis.counters import LONGEST_GAP, NEW, STRANGE, Increase, Sample, increase
from upright.api.serving import ANSWERED, FAILED, REQUESTS
from upright.contract import Key, Manifest
from upright.pods.build import HTTP_PORT
from upright.pods.reading import is_ready

SILENT = "it does not answer"

_PATIENCE = timedelta(seconds=2)
"""How long a pod may take to answer. A look that waits for one makes the next so much later."""
_MAX_BYTES = 4 * 1024 * 1024
_CHUNK = 64 * 1024
_EARLY = timedelta(milliseconds=100)
"""A look this little before its time is taken at once: timers are not exact."""
_NEVER = datetime.min.replace(tzinfo=UTC)

logger = logging.getLogger(__name__)

Counters = tuple[float, float]
"""Of one pod since its process began: requests that the model answered or failed, and those it failed."""


class PodLooks:
    """Remembers, for each Deployment, the last sample of each pod and the looks that no status contains yet."""

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
        """See `upright.rollout.observe.Looks`. A pod that does not answer, or whose counters make no sense, is left out
        of the look and named in it; a look for which no pod of a version is left has no counts.
        """
        memory = self._memories.get(key)
        if memory is None or memory.rollout != rollout:
            memory = self._memories[key] = _Memory(rollout, after is None, -math.inf if after is None else after)
        if memory.is_due(now, interval):
            memory.begin(now, interval)
            memory.take(await _read_all(pods), metrics, interval)
        memory.looks = [look for look in memory.looks if after is None or look.time > after]
        return tuple(memory.looks), memory.read + interval - now


@dataclass
class _Memory:
    """What has been read in one rollout. Pods go by name: a new one of the same name is the old one restarted."""

    rollout: str
    fresh: bool
    """No evidence has been recorded before: all that the candidate's pods ever answered belongs to this rollout."""
    time: float
    """Of the last look, in Unix seconds. It only goes forward, as the analysis does."""
    read: datetime = _NEVER
    """When the pods were last read, as the clock said then."""
    samples: dict[str, Sample] = field(default_factory=dict)
    """By pod, the one to compare the next with."""
    looks: list[Look] = field(default_factory=list)

    def is_due(self, now: datetime, interval: timedelta) -> bool:
        """Whether to look. A clock that was put back does not tell for how long not to."""
        return not timedelta(0) <= now - self.read < interval - _EARLY

    def begin(self, now: datetime, interval: timedelta) -> None:
        """A look begins: at the clock's time, but after the last look although the clock was put back."""
        self.read = now
        self.time = now.timestamp() if now.timestamp() > self.time else self.time + interval.total_seconds()

    def take(
        self, pages: Mapping[str, Mapping[str, Counters | None]], metrics: Sequence[str], interval: timedelta
    ) -> None:
        """Take the look that has begun, if there is something of both versions to compare. If not, what they have
        counted since they were last compared waits, and a look without counts tells which pods were left out, if any.

        Args:
            pages: by arm and pod, what it counts; None when it does not answer.
            metrics: the names under which the look is told.
            interval: between looks.
        """
        samples = {
            arm: {pod: Sample(self.time, page) for pod, page in members.items() if page is not None}
            for arm, members in pages.items()
        }
        if self.fresh:
            start = Sample(self.time - interval.total_seconds(), (0.0, 0.0))
            self.samples = dict.fromkeys(samples["canary"], start) | self.samples
        added = {arm: self._added(members, interval) for arm, members in samples.items()}
        taken = all(arm.pods for arm in added.values())
        # before the first canary pod there is nothing that the stable version's counts could wait for
        waits = not taken and any(pod in self.samples for pod in pages["canary"])
        for arm, members in samples.items():
            for pod, sample in members.items():
                why = added[arm].left_out.get(pod)
                # what is no number is nothing to begin again from
                if why != STRANGE and not (waits and why is None):
                    self.samples[pod] = sample
        left_out = _worth_telling(pages, added)
        if taken:
            (canary, canary_bad), (stable, stable_bad) = added["canary"].counts, added["stable"].counts
            counts = Counts(canary=(canary, canary_bad), stable=(stable, stable_bad))
            self.looks.append(Look(self.time, dict.fromkeys(metrics, counts), left_out))
        elif left_out:
            self.looks.append(Look(self.time, {}, left_out))

    def _added(self, samples: Mapping[str, Sample], interval: timedelta) -> Increase:
        """What the pods of a version have counted since the samples that are remembered."""
        before = {pod: self.samples[pod] for pod in samples if pod in self.samples}
        return increase(before, samples, LONGEST_GAP * (interval + _PATIENCE).total_seconds())


def _worth_telling(
    pages: Mapping[str, Mapping[str, Counters | None]], added: Mapping[str, Increase]
) -> Mapping[str, str]:
    """The pods that were left out, and why; that some are new is normal."""
    left_out = {pod: SILENT for members in pages.values() for pod, page in members.items() if page is None}
    for arm in added.values():
        left_out |= {pod: why for pod, why in arm.left_out.items() if why != NEW}
    return dict(sorted(left_out.items()))


async def _read_all(pods: Mapping[str, Sequence[Manifest]]) -> Mapping[str, Mapping[str, Counters | None]]:
    """By arm and pod, what it counts now; None when it does not answer. All at once, so that both arms are alike."""
    asked = [(arm, pod) for arm, members in pods.items() for pod in members if _is_running(pod)]
    timeout = aiohttp.ClientTimeout(total=_PATIENCE.total_seconds())
    async with aiohttp.ClientSession(timeout=timeout) as session:
        found = await asyncio.gather(*(_read(session, pod) for _, pod in asked))
    pages: dict[str, dict[str, Counters | None]] = {arm: {} for arm in pods}
    for (arm, pod), page in zip(asked, found, strict=True):
        if page is not None or is_ready(pod):  # one that starts or ends need not answer
            pages[arm][pod["metadata"]["name"]] = page
    return pages


async def _read(session: aiohttp.ClientSession, pod: Manifest) -> Counters | None:
    """What a pod counts now; None when it does not answer, or counts nothing of ours."""
    address = pod["status"].get("podIP")
    if not address:
        return None
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{_port(pod)}/metrics"
    try:
        async with session.get(url) as response:
            response.raise_for_status()
            return counters(await _page(response))
    except (aiohttp.ClientError, TimeoutError, ValueError, IndexError) as error:
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


def counters(exposition: str) -> Counters | None:
    """The counters in a page of metrics; None when it has none of ours. NaN where a part of a sum is no count.

    Raises ValueError for a text that is no metrics, IndexError for one that ends within a label.
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
                # a negative part must be seen even where the sum is not negative
                answered[code] = answered.get(code, 0) + (sample.value if sample.value >= 0 else math.nan)
    if not known:
        return None
    bad = answered.get(FAILED, 0)
    return answered.get(ANSWERED, 0) + bad, bad


def _is_running(pod: Manifest) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Running")


def _port(pod: Manifest) -> int:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == HTTP_PORT), 80)
