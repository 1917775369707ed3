"""One look at both versions: what was counted since the look before, and whether it can be used.

A count is a number, or an array over the runs of a simulation. Counts are raw deltas of counters, never the output of
PromQL's `rate()` or `increase()`, which extrapolate to fractions.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upright.api.monitoring import Metric, MetricType

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Events of each version since the last look, as (total, bad); None for one that was not measured.

    `refused` is what came to canary and stable beside and is none of the metric's events, such as the requests refused
    by 4xx of an ErrorRate: it is no evidence, but a version with such events alone was not without traffic.

    Raises ValueError when there are not two of them.
    """

    canary: tuple[ArrayLike, ArrayLike] | None
    stable: tuple[ArrayLike, ArrayLike] | None
    refused: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)

    def __post_init__(self) -> None:
        _check(("total", "bad"), self.canary, self.stable)


@dataclass(frozen=True)
class Histogram:
    """Durations of each version since the last look: a count for each bucket (not cumulative).

    The last axis of `canary` and `stable` is the bucket; None for a version that was not measured. `edges` rise; they
    are the bounds between the buckets, or the upper bound of each (as Prometheus names its buckets, the last being
    infinite), or all bounds of all buckets (as `numpy.histogram` returns them): their number tells which.
    """

    canary: ArrayLike | None
    stable: ArrayLike | None
    edges: Sequence[float]


@dataclass(frozen=True)
class Moments:
    """Values of each version since the last look, as (number, sum, sum of squares); None for one without.

    Raises ValueError when there are not three of them.
    """

    canary: tuple[ArrayLike, ArrayLike, ArrayLike] | None
    stable: tuple[ArrayLike, ArrayLike, ArrayLike] | None

    def __post_init__(self) -> None:
        _check(("number", "sum", "sum of squares"), self.canary, self.stable)


def _check(parts: Sequence[str], *arms: Sequence[ArrayLike] | None) -> None:
    for arm in arms:
        if arm is not None and len(arm) != len(parts):
            raise ValueError(f"expected ({', '.join(parts)}) of a version, found {len(arm)} numbers")


Measurement: TypeAlias = Counts | Histogram | Moments


@dataclass(frozen=True)
class Look:
    """What was measured in one interval.

    `time` is the end of the interval in seconds, from any fixed origin (Unix time will do). `measurements` holds what
    was measured by the metric's name; a metric that is not there was not measured. `left_out` names the pods whose
    counters could not be used for this look, and why (a sentence such as those in `upright.analysis.counters`); it is
    never evidence. Of metrics in `waits` a later look has what was counted by now: this one changes nothing for them.
    `pods` is how many pods of the canary have counted anything; 0 where nobody says. `halves` compares two halves of
    the stable version's pods, the first as canary: it tells how much counts scatter. `since` is by metric since when
    it was counted, where that is before the last look: it has waited for something to compare it with.
    """

    time: float
    measurements: Mapping[str, Measurement]
    left_out: Mapping[str, str] = field(default_factory=dict)
    waits: Collection[str] = ()
    pods: int = 0
    halves: Mapping[str, Measurement] = field(default_factory=dict)
    since: Mapping[str, float] = field(default_factory=dict)


# Why a metric skipped a look. The place in this tuple is what a state stores. Of the first COUNTED a state counts how
# many looks were skipped for it; the others say which version was without traffic, and are counted as NO_TRAFFIC.
SKIPS = (
    "the metric was not measured",
    "the measurement is of another kind than the metric",
    "the bucket edges differ",
    "a count is not a finite number, or larger than anything counts",
    "a count went backwards",
    "there are more bad events than events",
    "no values have such a sum and sum of squares",
    "there was no traffic to one of the versions",
    "a count is not a whole number, as the exact boundary needs",
    "the version was still warming up",
    "all requests to one of the versions were refused (4xx), which is no error",
    "there was no traffic to the canary",
    "there was no traffic to the stable version",
    "there was no traffic to either version",
)
MISSING, KIND, EDGES, NOT_FINITE, BACKWARDS, EXCESS, IMPOSSIBLE, NO_TRAFFIC, FRACTION, WARMING, REFUSED = range(11)
COUNTED = 11
NO_CANARY, NO_STABLE, NEITHER = range(COUNTED, len(SKIPS))
USABLE = -1
INFINITE = 1e100  # more than any state holds; squares of less are finite
COUNTABLE = 2.0**53  # a counter of 64-bit floats does not rise by single events from here on


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


def rows(measurement: Counts | Moments, size: int) -> Floats:
    """The `size` parts of the canary and then those of stable, shape (runs, 2 size); 0 for what was not measured."""
    arms = (measurement.canary, measurement.stable)
    parts = [part for arm in arms for part in ((0.0,) * size if arm is None else arm)]
    row = np.empty((np.broadcast(*parts).size, len(parts)))
    for place, part in enumerate(parts):
        row[:, place] = part
    return row


def tabulated(counts: Counts) -> Table:
    """The counts as a table with one channel."""
    return Table(rows(counts, 2)[:, None])


def only_refused(counts: Counts) -> Bools:
    """Where every version without events had some that were refused, shape (runs,)."""
    arms = zip((counts.canary, counts.stable), counts.refused, strict=True)
    busy = [np.greater(0.0 if arm is None else arm[0], 0) | np.greater(refused, 0) for arm, refused in arms]
    return np.atleast_1d(np.logical_and(*busy))


def compares(look: Look, metrics: Iterable[Metric]) -> Bools:
    """Where both versions have counted something of any metric, or the canary of a Limit, shape (runs,)."""
    found: Bools = np.zeros(1, dtype=np.bool_)
    for metric in metrics:
        measurement = look.measurements.get(metric.name)
        if measurement is not None and metric.name not in look.waits:
            canary, stable = _has_events(measurement, measurement.canary), _has_events(measurement, measurement.stable)
            found = found | (canary & (stable | (metric.type is MetricType.LIMIT)))
    return found


def _has_events(measurement: Measurement, arm: Any) -> Bools:
    if arm is None:
        return np.zeros(1, dtype=np.bool_)
    return np.atleast_1d(np.atleast_1d(arm).sum(axis=-1) if isinstance(measurement, Histogram) else arm[0]) > 0


def stable_alone(table: Table) -> Table:
    """The stable version's counts in the place of the canary's, against nothing."""
    return Table(np.concatenate((table.counts[..., 2:], np.zeros_like(table.counts[..., :2])), axis=-1))


def reasons(runs: int, *causes: tuple[int, Bools]) -> Ints:
    """For each run `USABLE`, or the last of the reasons that hold anywhere in it; the first axis of each is the run."""
    reason = np.full(runs, USABLE)
    for why, where in causes:
        reason[where.reshape(runs, -1).any(axis=1)] = why
    return reason


def without_traffic(canary: Bools, stable: Bools) -> Sequence[tuple[int, Bools]]:
    """For `reasons`: where each version had none, along equal axes."""
    return (NO_STABLE, stable), (NO_CANARY, canary), (NEITHER, canary & stable)


def lacks_traffic(reason: Ints) -> Bools:
    """Where that is the reason."""
    return np.asarray((reason == NO_TRAFFIC) | (reason >= COUNTED))


def checked(table: Table, one_arm: bool = False, whole: bool = False) -> tuple[Table, Ints]:
    """The table with its unusable runs set to zero, and for each run `USABLE` or why it cannot be used.

    With `one_arm` only the canary needs traffic, with `whole` a count must be a whole number.
    """
    parts = table.counts
    totals, bad = parts[..., ::2], parts[..., 1::2]
    needed = totals[..., :1] if one_arm else totals
    fits = (bad >= 0) & (bad <= totals) & (totals < COUNTABLE) & (needed > 0)
    if fits.all() and not (whole and (parts % 1).any()):
        return table, np.full(len(parts), USABLE)
    finite = np.abs(parts) < COUNTABLE
    reason = reasons(
        len(parts),
        (FRACTION, (np.where(finite, parts, 0.0) % 1 > 0) & whole),
        *without_traffic(table.canary_total <= 0, (table.stable_total <= 0) & (not one_arm)),
        (EXCESS, bad > totals),
        (BACKWARDS, parts < 0),
        (NOT_FINITE, ~finite),
    )
    return Table(np.where((reason == USABLE)[:, None, None], parts, 0.0)), reason


def inner_edges(histogram: Histogram) -> tuple[float, ...] | None:
    """The bounds between the buckets; None when edges and counts do not fit together."""
    canary, stable = (np.shape(arm)[-1:] for arm in _both(histogram))
    if not canary or canary != stable:
        return None
    return _between(tuple(np.asarray(histogram.edges, dtype=np.float64).tolist()), *canary)


def above_edges(histogram: Histogram, wanted: tuple[float, ...]) -> Table | None:
    """How many durations were above each wanted edge; None when the edges or the shapes do not fit."""
    bounds = inner_edges(histogram)
    summing = None if bounds is None else _summing(bounds, wanted)
    if summing is None:
        return None
    canary, stable = _both(histogram)
    shape = np.broadcast(canary, stable).shape
    arms = np.empty((shape[0] if len(shape) > 1 else 1, 2, shape[-1]))
    arms[:, 0] = canary
    arms[:, 1] = stable
    with np.errstate(invalid="ignore", over="ignore"):  # the sum of all tells `checked` what is no finite number
        sums = arms @ summing
    counts = np.empty((len(arms), len(wanted), 4))
    counts[..., ::2] = sums[:, None, :, 0]
    counts[..., 1::2] = sums[..., 1:].swapaxes(1, 2)
    # a negative bucket must be seen even where the sum above an edge is not negative
    if (arms < 0).any():
        counts[..., 1::2][np.repeat((arms < 0).any(axis=-1, keepdims=True), len(wanted), axis=2).swapaxes(1, 2)] = -1.0
    return Table(counts)


def _both(histogram: Histogram) -> tuple[ArrayLike, ArrayLike]:
    """The counts of both versions, with empty buckets for the one that was not measured."""
    canary, stable = histogram.canary, histogram.stable
    if canary is None:
        canary = 0.0 if stable is None else np.zeros(np.shape(stable))
    return canary, np.zeros(np.shape(canary)) if stable is None else stable


@lru_cache(maxsize=256)
def _between(edges: tuple[float, ...], buckets: int) -> tuple[float, ...] | None:
    forms = {len(edges) + 1: edges, len(edges): edges[:-1], len(edges) - 1: edges[1:-1]}
    bounds = forms.get(buckets)
    if bounds is None or not np.all(np.isfinite(bounds)) or np.any(np.diff(bounds) <= 0):
        return None
    return bounds


@lru_cache(maxsize=256)
def _summing(bounds: tuple[float, ...], wanted: tuple[float, ...]) -> Floats | None:
    """The matrix that takes counts per bucket to their sum and those above each edge; None when an edge is no bound."""
    if not wanted or not set(wanted) <= set(bounds):
        return None
    first = [0, *(bounds.index(edge) + 1 for edge in wanted)]
    return np.array(np.arange(len(bounds) + 1)[:, None] >= first, dtype=np.float64)
