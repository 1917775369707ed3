"""One look at both versions: what was counted since the look before, and whether it can be used.

A count is a number, or an array over the runs of a simulation. Counts are raw deltas of counters, never the output of
PromQL's `rate()` or `increase()`, which extrapolate to fractions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Events of each version since the last look, as (total, bad)."""

    canary: tuple[ArrayLike, ArrayLike]
    stable: tuple[ArrayLike, ArrayLike]


@dataclass(frozen=True)
class Histogram:
    """Durations of each version since the last look: a count for each bucket (not cumulative).

    The last axis of `canary` and `stable` is the bucket. `edges` rise; they are the bounds between the buckets, or the
    upper bound of each (as Prometheus names its buckets, the last being infinite), or all bounds of all buckets (as
    `numpy.histogram` returns them): their number tells which.
    """

    canary: ArrayLike
    stable: ArrayLike
    edges: Sequence[float]


@dataclass(frozen=True)
class Moments:
    """Values of each version since the last look, as (number, sum, sum of squares)."""

    canary: tuple[ArrayLike, ArrayLike, ArrayLike]
    stable: tuple[ArrayLike, ArrayLike, ArrayLike]


Measurement: TypeAlias = Counts | Histogram | Moments


@dataclass(frozen=True)
class Look:
    """What was measured in one interval.

    `time` is the end of the interval in seconds, from any fixed origin (Unix time will do). `measurements` holds what
    was measured by the metric's name; a metric that is not there was not measured.
    """

    time: float
    measurements: Mapping[str, Measurement]


# Why a metric skipped a look, in the order in which it is checked. The place in this tuple is what a state stores.
SKIPS = (
    "the metric was not measured",
    "the measurement is of another kind than the metric",
    "the bucket edges differ",
    "a count is not a finite number",
    "a count went backwards",
    "there are more bad events than events",
    "there was no traffic to one of the versions",
    "the version was still warming up",
)
MISSING, KIND, EDGES, NOT_FINITE, BACKWARDS, EXCESS, NO_TRAFFIC, WARMING = range(len(SKIPS))
USABLE = -1
INFINITE = 1e100  # more than any service counts; squares of less are finite


@dataclass(frozen=True)
class Table:
    """Two-by-two tables: `counts` of shape (runs, channels, 4) holds n_c, e_c, n_s, e_s along its last axis.

    A Latency metric has a channel for each bucket edge, every other metric has one.
    """

    counts: Floats

    @property
    def canary_total(self) -> Floats:
        """Events of the canary, shape (runs, channels)."""
        return self.counts[..., 0]

    @property
    def canary_bad(self) -> Floats:
        """Bad events of the canary, shape (runs, channels)."""
        return self.counts[..., 1]

    @property
    def stable_total(self) -> Floats:
        """Events of the stable version, shape (runs, channels)."""
        return self.counts[..., 2]

    @property
    def stable_bad(self) -> Floats:
        """Bad events of the stable version, shape (runs, channels)."""
        return self.counts[..., 3]


def table_of(canary: tuple[Floats, Floats], stable: tuple[Floats, Floats]) -> Table:
    """The table of (total, bad) of both versions, each of shape (runs, channels)."""
    counts = np.empty((*np.broadcast_shapes(*(part.shape for part in (*canary, *stable))), 4))
    for place, part in enumerate((*canary, *stable)):
        counts[..., place] = part
    return Table(counts)


def tabulated(counts: Counts) -> Table:
    """The counts as a table with one channel."""
    parts = (*counts.canary, *counts.stable)
    table = np.empty((np.broadcast(*parts).size, 1, 4))
    for place, part in enumerate(parts):
        table[:, 0, place] = part
    return Table(table)


def stable_alone(table: Table) -> Table:
    """The stable version's counts in the place of the canary's, against nothing."""
    return Table(np.concatenate((table.counts[..., 2:], np.zeros_like(table.counts[..., :2])), axis=-1))


def as_runs(value: ArrayLike) -> Floats:
    """A number or an array over runs, as an array of shape (runs,)."""
    return np.atleast_1d(np.asarray(value, dtype=np.float64))


def checked(table: Table, one_arm: bool = False) -> tuple[Table, Ints]:
    """The table with its unusable runs set to zero, and for each run `USABLE` or why it cannot be used.

    With `one_arm` only the canary needs traffic.
    """
    parts = table.counts
    totals, bad = parts[..., ::2], parts[..., 1::2]
    needed = totals[..., :1] if one_arm else totals
    fits = (needed > 0) & (bad >= 0) & (bad <= totals) & (totals < INFINITE)
    usable: Bools = np.logical_and.reduce(fits, axis=(1, 2))
    reason = np.where(usable, USABLE, NOT_FINITE)
    if usable.all():
        return table, reason
    for why, where in (
        (NO_TRAFFIC, needed <= 0),
        (EXCESS, bad > totals),
        (BACKWARDS, parts < 0),
        (NOT_FINITE, ~(np.abs(parts) < INFINITE)),
    ):
        reason[where.any(axis=(1, 2))] = why
    return Table(np.where(usable[:, None, None], parts, 0.0)), reason


def inner_edges(histogram: Histogram) -> Floats | None:
    """The bounds between the buckets; None when edges and counts do not fit together."""
    edges = np.asarray(histogram.edges, dtype=np.float64)
    buckets = {np.shape(arm)[-1] if np.ndim(arm) else 0 for arm in (histogram.canary, histogram.stable)}
    forms = {len(edges) + 1: edges, len(edges): edges[:-1], len(edges) - 1: edges[1:-1]}
    bounds = forms.get(buckets.pop()) if len(buckets) == 1 else None
    if bounds is None or not np.all(np.isfinite(bounds)) or np.any(np.diff(bounds) <= 0):
        return None
    return bounds


def above_edges(histogram: Histogram, wanted: Floats) -> Table | None:
    """How many durations were above each wanted edge; None when the edges or the shapes do not fit."""
    bounds = inner_edges(histogram)
    if bounds is None or not len(wanted):
        return None
    places = np.searchsorted(bounds, wanted)
    if np.any(places >= len(bounds)) or not np.array_equal(bounds[places], wanted):
        return None
    canary, stable = (np.atleast_2d(np.asarray(arm, dtype=np.float64)) for arm in (histogram.canary, histogram.stable))
    totals = [np.repeat(arm.sum(axis=-1, keepdims=True), len(wanted), axis=-1) for arm in (canary, stable)]
    above = [arm[..., ::-1].cumsum(axis=-1)[..., ::-1][..., places + 1] for arm in (canary, stable)]
    # a negative bucket must be seen even where the sum above an edge is not negative
    for arm, counts in zip((canary, stable), above, strict=True):
        counts[np.any(arm < 0, axis=-1)] = -1.0
    return table_of((totals[0], above[0]), (totals[1], above[1]))
