"""Files of recorded metrics: one row for each time, version, metric (and pod, and bucket), in any order.

Columns: `time, arm, metric` and, by what was counted, `total, bad` (counts), `le, count` (histograms) or `number, sum,
sumsq` (values, for their mean); all kinds may stand in one file. `time` is the end of the interval (seconds, or ISO
8601), `arm` is canary or stable, the rest is what was added in the interval. An optional column `pod` lets the backtest
split the stable version by pod.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upright.analysis.looks import Bools, Floats, Ints
from upright.cli.recording import Kind, Recorded, Recording
from upright.cli.tables import Rows, rows_of

A_TIME = "seconds or ISO 8601 such as 2026-11-22T22:15:00Z (not milliseconds)"
_LATEST = 1e11  # seconds, in the year 5138: what is more are milliseconds
_ROUNDING = 1e-6  # of programs that print six digits
_FEW = 0.05


def read(path: Path) -> Recording:
    """Read a CSV or Parquet file, or a folder of such files, as Spark writes them.

    Raises:
        Unusable: there is no such file, it is of another kind, or a row makes no sense.
    """
    return _recording(rows_of(path))


def parsed_time(text: str) -> float:
    """Seconds, from seconds or ISO 8601; a time without zone is UTC. Raises ValueError for anything else."""
    if _is_iso(text):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    seconds = float(text)
    if not abs(seconds) < _LATEST:
        raise ValueError(text)
    return seconds


def _is_iso(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


@dataclass(frozen=True)
class _Values:
    """What the rows say; the first axis of every array but `pods` is the row."""

    times: Floats
    canary: Bools
    pods: NDArray[np.str_]  # all of them
    pod: Ints  # place in pods
    kinds: Ints  # place in Kind
    numbers: Mapping[str, Floats]  # by column, NaN where there is nothing


def _recording(rows: Rows) -> Recording:
    arms, arm = rows.words("arm")
    rows.refuse(~np.isin(arms, ("canary", "stable"))[arm], "arm", "canary or stable")
    metrics, metric = rows.words("metric")
    rows.refuse((metrics == "")[metric], "metric", "a word")
    pods, pod = rows.words("pod")
    kinds = _kinds(rows)
    values = _Values(_times(rows), (arms == "canary")[arm], pods, pod, kinds, _numbers(rows, kinds))
    found = ((str(name), np.flatnonzero(metric == place)) for place, name in enumerate(metrics))
    return Recording({name: _recorded(rows, values, chosen) for name, chosen in found if chosen.size})


def _times(rows: Rows) -> Floats:
    times = rows.parsed("time", parsed_time, A_TIME)
    rows.refuse(np.isnan(times), "time", A_TIME)
    column = rows.columns["time"]
    iso = np.array([_is_iso(text) for text in column.texts])[column.places]
    rows.refuse(iso != iso[0], "time", "ISO 8601 as in the first row" if iso[0] else "seconds as in the first row")
    return times


def _kinds(rows: Rows) -> Ints:
    """The place in Kind of what each row has values for."""
    given = np.array([np.any([rows.columns[name].given for name in kind.value], axis=0) for kind in Kind])
    kinds: Ints = given.argmax(axis=0)
    if not given.any(axis=0).all():
        wanted = ", or ".join(str(kind) for kind in Kind)
        raise rows.unusable(int(given.any(axis=0).argmin()), f": expected values for {wanted}, found none")
    several = given.sum(axis=0) > 1
    if several.any():
        row = int(several.argmax())
        beside = " as well as ".join(str(kind) for kind, there in zip(Kind, given[:, row], strict=True) if there)
        raise rows.unusable(row, f": expected values of one kind, found some for {beside}")
    return kinds


def _numbers(rows: Rows, kinds: Ints) -> dict[str, Floats]:
    numbers = {}
    for place, kind in enumerate(Kind):
        own = kinds == place
        for name in kind.value:
            found = numbers[name] = rows.parsed(name, float, "a number")
            rows.refuse(own & np.isnan(found), name, "a number")
            if name == "le":
                rows.refuse(own & (found == -math.inf), name, "a number or +Inf")
            elif name == "sum":
                rows.refuse(own & np.isinf(found), name, "a finite number")
            else:
                of = "a sum of squares" if name == "sumsq" else "a count"
                rows.refuse(own & ~((found >= 0) & (found < math.inf)), name, f"{of} of at least 0")
    excess = numbers["bad"] > numbers["total"]
    rows.refuse(excess, "bad", f"at most total ({numbers['total'][excess.argmax()]:g})")
    number, total, squares = (numbers[name] for name in Kind.MOMENTS.value)
    rows.refuse((number == 0) & (total != 0), "sum", "0, because number is 0")
    with np.errstate(over="ignore"):
        least = total * (total / np.maximum(number, np.finfo(np.float64).tiny))
    few = squares < least * (1 - _ROUNDING)
    rows.refuse(few, "sumsq", f"at least sum * sum / number ({least[few.argmax()]:.6g}), below which no values have it")
    numbers["sumsq"] = np.maximum(squares, least)  # the analysis forgives less rounding
    return numbers


def _recorded(rows: Rows, values: _Values, chosen: Ints) -> Recorded:
    """One metric, from its rows."""
    kinds = values.kinds[chosen]
    if (kinds != kinds[0]).any():
        other = int((kinds != kinds[0]).argmax())
        one, another = (list(Kind)[kinds[place]] for place in (0, other))
        raise rows.unusable(
            chosen[other],
            f": expected {one} as for the same metric in {rows.places()[chosen[0]]}, found {another}",
        )
    kind = list(Kind)[kinds[0]]
    _, time = np.unique(values.times[chosen], return_inverse=True)
    keys = (2 * time + values.canary[chosen]) * len(values.pods) + values.pod[chosen]
    _, first, cell = np.unique(keys, return_index=True, return_inverse=True)
    of = chosen[first]  # a row of each cell
    edges: tuple[float, ...] = ()
    cumulative = False
    if kind is Kind.HISTOGRAM:
        counts, edges, cumulative = _histograms(rows, values, chosen, cell)
    else:
        counts = np.stack([values.numbers[name][of] for name in kind.value], axis=-1)
        if len(of) < len(chosen):
            again = np.setdiff1d(chosen, of)[0]
            raise rows.unusable(again, ": the same time, arm, metric and pod stand twice")
    pods = values.pods[values.pod[of]]
    return Recorded(kind, edges, values.times[of], values.canary[of], pods, counts, cumulative)


def _histograms(rows: Rows, values: _Values, chosen: Ints, cell: Ints) -> tuple[Floats, tuple[float, ...], bool]:
    """The counts per bucket of each cell, the edges between the buckets, and whether the counts were cumulative."""
    edges, bucket = np.unique(values.numbers["le"][chosen], return_inverse=True)
    counts = np.full((cell.max() + 1, len(edges)), math.nan)
    counts[cell, bucket] = values.numbers["count"][chosen]
    _, first = np.unique(cell * len(edges) + bucket, return_index=True)
    if len(first) < len(chosen):
        again = np.setdiff1d(np.arange(len(chosen)), first)[0]
        edge = edges[bucket[again]]
        raise rows.unusable(
            chosen[again], f", column le: the bucket {edge:g} stands twice for the same time, arm, metric and pod"
        )
    if np.isnan(counts).any():
        place, missing = np.argwhere(np.isnan(counts))[0]
        raise rows.unusable(
            chosen[(cell == place).argmax()],
            f", column le: expected all buckets of the metric for its time, arm and pod, "
            f"found none with le {edges[missing]:g}; one that counted nothing has count 0",
        )
    counts, cumulative = _per_bucket(rows, counts, chosen, cell)
    if math.isinf(edges[-1]):
        return counts, tuple(edges[:-1].tolist()), cumulative
    return np.pad(counts, ((0, 0), (0, 1))), tuple(edges.tolist()), cumulative


def _per_bucket(rows: Rows, counts: Floats, chosen: Ints, cell: Ints) -> tuple[Floats, bool]:
    """Counts per bucket; those that nowhere fall with `le` are cumulative, as Prometheus has them."""
    added = np.diff(counts, axis=1, prepend=0.0)
    falls = (added < -1e-9 * counts.max(axis=1, keepdims=True)).any(axis=1)  # not by a rounding
    if not falls.any():
        return np.maximum(added, 0.0), True
    if falls.sum() < _FEW * counts.any(axis=1).sum():
        raise rows.unusable(
            chosen[(cell == falls.argmax()).argmax()],
            f", column count: expected counts that rise with le, as {100 * (~falls).mean():.4g} % of this metric's do, "
            "found some that fall at this time. Cumulative counts must never fall; if these are counts per bucket, of "
            "which nearly all are in the last, write them cumulatively.",
        )
    return counts, False
