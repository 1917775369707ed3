"""Counters over a range of time from a Prometheus server, as raw increases: never `rate()` or `increase()`.

For each version and metric the raw series are read at every look; each series is turned into increases by itself, so
that a pod that misreports spoils nothing else, but all of a target begin again together. A series that appears on a
target that was already scraped began at zero there: the first error of a pod makes a new series, and must count.
"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from upright.analysis.counters import LONGEST_GAP, Sample, fell, increase
from upright.sources.copies import Series
from upright.sources.server import Labels, PrometheusError, ask, matrix

POINTS = 10_000  # Prometheus refuses more than 11,000 points of a series in one answer
_ROUNDED = 0.002  # seconds; servers count in milliseconds
_TIMEOUT = aiohttp.ClientTimeout(total=60)


@dataclass(frozen=True)
class Range:
    """Times in Unix seconds; both ends are looks."""

    start: float
    end: float
    step: float

    def times(self) -> tuple[float, ...]:
        """The looks."""
        return tuple(
            self.start + self.step * look for look in range(int((self.end - self.start) / self.step + 1e-9) + 1)
        )


async def read_series(url: str, selector: str, over: Range) -> Series:
    """The raw values of every series of a selector at each look.

    Raises:
        PrometheusError: the server does not answer, or not with the values.
    """
    found: dict[Labels, dict[float, float]] = defaultdict(dict)
    times = over.times()
    async with aiohttp.ClientSession(f"{url.rstrip('/')}/", timeout=_TIMEOUT) as session:
        for first in range(0, len(times), POINTS):
            chunk = times[first : first + POINTS]
            for labels, values in await _query_range(session, url, selector, chunk, over.step):
                found[labels].update(values)
    return found


def increases(
    series: Series, over: Range, *, from_start: bool = False, beside: Series | None = None
) -> dict[float, dict[Labels, float]]:
    """By look, what each series counted since the look before; series that cannot be trusted then are left out.

    Args:
        series: those to count.
        over: the looks.
        from_start: a target which is not there at the first look starts when it appears, so that all it ever counted is
            counted, as of a candidate's pods.
        beside: other series of the same targets. All series of a target begin again when one does, also those that have
            overtaken by the next look what they were.
    """
    targets: set[str] = set()
    before: dict[str, Sample] = {}
    began: dict[str, float] = {}  # by target, the newest look after which it began again
    by_name = {json.dumps(labels): (labels, values) for labels, values in series.items()}
    others = {f"beside {json.dumps(labels)}": (labels, values) for labels, values in (beside or {}).items()}
    added: dict[float, dict[Labels, float]] = {}
    for time in over.times():
        now, of = {}, {}
        for name, (labels, values) in (by_name | others).items():
            if time in values:
                now[name], of[name] = Sample(time, (values[time],)), _target(labels)
        for name in now.keys() - before.keys():
            if of[name] in targets or (from_start and time > over.start):
                before[name] = Sample(time - over.step, (0.0,))
        for name in now.keys() & before.keys():
            if fell(before[name].counters[0], now[name].counters[0]):
                began[of[name]] = max(before[name].time, began.get(of[name], -math.inf))
        added[time] = {}
        for name in now.keys() & before.keys() & by_name.keys():
            last = before[name]
            if of[name] and last.time <= began.get(of[name], -math.inf):
                last = Sample(last.time, (0.0,))
            part = increase({name: last}, {name: now[name]}, LONGEST_GAP * over.step)
            if part.pods:
                added[time][by_name[name][0]] = part.counts[0]
        before.update(now)
        targets.update(of.values())
    return added


class _OtherTimesError(Exception):
    """A value is of none of the times that were asked for."""


def _look(at: float, times: Sequence[float], step: float) -> float:
    """The time that was asked for; the server's differ from it in the last digits."""
    place = round((at - times[0]) / step)
    if not 0 <= place < len(times) or abs(times[place] - at) > _ROUNDED:
        raise _OtherTimesError(at)
    return times[place]


def _target(labels: Labels) -> str:
    return dict(labels).get("instance", "")


async def _query_range(
    session: aiohttp.ClientSession, url: str, selector: str, times: Sequence[float], step: float
) -> list[tuple[Labels, dict[float, float]]]:
    asked = {"query": selector, "start": repr(times[0]), "end": repr(times[-1]), "step": repr(step)}
    data, _ = await ask(session, url, selector, "api/v1/query_range", asked)
    found = matrix(url, selector, data)
    try:
        return [(one.labels, {_look(at, times, step): value for at, value in one.values}) for one in found]
    except _OtherTimesError as other:
        raise PrometheusError(
            f"{url} answered {selector!r} for {other.args[0]:g}, which is none of the times that it was asked for, "
            f"every {step:g} s from {times[0]:.0f}: ask a server that does not move them"
        ) from other
