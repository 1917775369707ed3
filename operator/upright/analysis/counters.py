"""Counters of pods turned into the counts of one look.

What it does: each pod's counters now less its counters before, summed over the pods of one version. Order and grouping
of pods make no difference.
Guarantee: a number that cannot be trusted is left out with its pod and named; it is never evidence.
Source: the reset rule is that of Prometheus' `increase`, without its extrapolation: a counter that fell began again at
zero, so what it shows now is what was counted since. Whoever knows that it did not begin again leaves its pod out; and
whoever knows that it did, and may have overtaken what it showed before, gives zeros for that. A fall by as little as
sums of fractions are rounded is none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from upright.analysis.looks import INFINITE

LONGEST_GAP = 4
"""Looks between two samples of a pod beyond which they are not compared."""
_ROUNDED = 1e-9
"""Of a counter: exporters that add up fractions, one time in this order and another time in that, differ by less."""

NEW = "it was not there before"
GONE = "it is not there any more"
GAP = "too long ago was it seen before"
LATE = "its sample is not newer than the one before"
STRANGE = "its counters are not finite numbers of at least zero"
SHAPE = "its counters are not those it had before"
TORN = "some of its counters went backwards and others did not"


@dataclass(frozen=True)
class Sample:
    """Cumulative counters of one pod at a time in seconds; the first one counts all events."""

    time: float
    counters: Sequence[float]


@dataclass(frozen=True)
class Increase:
    """What was counted since the look before: the sum over the pods that could be used, and why others could not."""

    counts: tuple[float, ...]
    pods: int
    left_out: Mapping[str, str]
    halves: tuple[tuple[float, ...], ...] = ()
    """The same sum over each second of these pods in the order of their names, and over the others; empty of one pod.
    Which half a pod belongs to does not depend on what it counted.
    """


def fell(before: float, now: float) -> bool:
    """Whether a counter went backwards, and by more than it is rounded."""
    return now < before * (1 - _ROUNDED)


def increase(before: Mapping[str, Sample], now: Mapping[str, Sample], longest_gap: float) -> Increase:
    """The increase of every counter over all pods between two scrapes.

    Args:
        before: the pods' samples at the look before, by pod.
        now: their samples at this look.
        longest_gap: seconds between the two samples of a pod beyond which they are not compared, because traffic may
            have been split differently in between.
    """
    used: list[list[float]] = []
    left_out = dict.fromkeys((pod for pod in before if pod not in now), GONE)
    for pod, sample in sorted(now.items()):
        why = _distrust(before.get(pod), sample, longest_gap)
        if why is not None:
            left_out[pod] = why
            continue
        delta = _delta(before[pod].counters, sample.counters)
        if delta is None or (used and len(delta) != len(used[0])):
            left_out[pod] = TORN if delta is None else SHAPE
            continue
        used.append(delta)
    halves = (_sum(used[::2]), _sum(used[1::2])) if len(used) > 1 else ()
    return Increase(_sum(used), len(used), left_out, halves)


def _sum(deltas: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(math.fsum(parts) for parts in zip(*deltas, strict=True))


def _distrust(before: Sample | None, now: Sample, longest_gap: float) -> str | None:
    if _is_strange(now) or (before is not None and _is_strange(before)):
        return STRANGE
    if before is None:
        return NEW
    if len(before.counters) != len(now.counters):
        return SHAPE
    if now.time <= before.time:
        return LATE
    return GAP if now.time - before.time > longest_gap else None


def _is_strange(sample: Sample) -> bool:
    return not all(0 <= value < INFINITE for value in sample.counters)


def _delta(before: Sequence[float], now: Sequence[float]) -> list[float] | None:
    """The increase; None when a part of the counters fell alone, or grew by more than the count of all events."""
    if fell(before[0], now[0]):
        return list(now) if max(now) <= now[0] else None
    rounded = before[0] * _ROUNDED
    delta = [new - old for old, new in zip(before, now, strict=True)]
    if min(delta) < -rounded or max(delta) > delta[0] + rounded:
        return None
    every = max(delta[0], 0.0)
    return [min(max(part, 0.0), every) for part in delta]
