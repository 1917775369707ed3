"""The analysis of one rollout: `begin`, then `update` with each look. Pure: equal calls give equal states.

Several metrics: the weights a_m sum to 1, and the rollout is rolled back when sum_m a_m E_m >= 1/alpha. The sum is an
e-process under any dependence between the metrics, so by Ville's inequality a healthy canary is ever rolled back with
probability at most alpha. The metric with the largest a_m E_m is blamed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from upright.analysis import comparison, continuous, onset
from upright.analysis import state as codec
from upright.analysis.comparison import MAX_CHANNELS, Comparison
from upright.analysis.continuous import Drifting
from upright.analysis.looks import (
    EDGES,
    KIND,
    MISSING,
    SKIPS,
    USABLE,
    WARMING,
    Counts,
    Floats,
    Histogram,
    Ints,
    Look,
    Measurement,
    Moments,
    Table,
    above_edges,
    as_runs,
    checked,
)
from upright.analysis.state import State
from upright.api.monitoring import Metric, MetricType, Policy, seconds


@dataclass(frozen=True)
class Watched:
    """One metric: what is remembered of it, and which looks it skipped."""

    memory: Comparison | Drifting | None  # None until the first look of a Latency metric names its edges
    edges: tuple[float, ...]
    dispersion: float
    skips: Ints  # (runs, len(SKIPS))
    last_skip: Ints  # (runs,): index into SKIPS, or USABLE


@dataclass(frozen=True)
class Analysis:
    """A state with its arrays, as the functions of this package use it."""

    runs: int
    looks: int
    late: int
    first: float | None
    last: float | None
    crossed: Floats  # (runs,): when the evidence crossed the threshold, NaN before
    blamed: Ints  # (runs,): index of the metric with the largest share of the evidence then
    crossing: Floats  # (runs,): ln of the evidence then
    metrics: Mapping[str, Watched]


def begin(policy: Policy, history: Iterable[Look] = (), dispersion: Mapping[str, float] | None = None) -> State:
    """The state before the first look.

    Args:
        policy: what is promised and watched.
        history: looks from before the rollout. Only what they say of the stable version is used, to guess its rates.
        dispersion: by metric name, for the metrics whose dispersion is `auto`; see `estimate_dispersion`. A metric
            that is not in it is taken to scatter like independent events.
    """
    known = dispersion or {}
    analysis = Analysis(
        runs=1,
        looks=0,
        late=0,
        first=None,
        last=None,
        crossed=np.full(1, np.nan),
        blamed=np.zeros(1, dtype=np.int64),
        crossing=np.full(1, -np.inf),
        metrics={metric.name: _unseen(metric, policy, known.get(metric.name, 1.0)) for metric in policy.metrics},
    )
    for look in history:
        analysis = _remembering(analysis, policy, look)
    return dump(analysis, policy)


def update(policy: Policy, state: Mapping[str, Any], look: Look) -> State:
    """The state after one more look. A look that is not newer than the last one changes no evidence.

    Counts may be arrays over runs; the first such look makes the state one of that many runs.

    Raises:
        ValueError: the state was begun with another policy, or the look has another number of runs than the state.
    """
    analysis = load(policy, state)
    if analysis.last is not None and not look.time > analysis.last:
        return dump(replace(analysis, late=analysis.late + (look.time != analysis.last)), policy)
    if not np.isfinite(look.time):
        raise ValueError(f"a look's time must be a number of seconds, found {look.time}")
    return dump(_seen(analysis, policy, look), policy)


def planned_looks(policy: Policy) -> int:
    """How many looks fit into the horizon."""
    return max(1, round(seconds(policy.horizon) / seconds(policy.interval)))


def metric_evidence(watched: Watched, policy: Policy, runs: int) -> Floats:
    """The ln E of one metric, shape (runs,); 0 before its first usable look."""
    if isinstance(watched.memory, Comparison):
        return comparison.evidence(watched.memory, planned_looks(policy))
    if isinstance(watched.memory, Drifting):
        return continuous.evidence(watched.memory, policy)
    return np.zeros(runs)


def weighted_evidence(analysis: Analysis, policy: Policy) -> Floats:
    """ln(a_m E_m), shape (runs, metrics)."""
    weights = np.array([metric.weight for metric in policy.metrics])
    by_metric = [metric_evidence(analysis.metrics[metric.name], policy, analysis.runs) for metric in policy.metrics]
    return np.asarray(np.stack(by_metric, axis=-1) + np.log(weights / weights.sum()))


def _unseen(metric: Metric, policy: Policy, estimated: float) -> Watched:
    given = estimated if metric.dispersion == "auto" else metric.dispersion
    memory: Comparison | Drifting | None = None
    if metric.type is MetricType.MEAN:
        memory = continuous.empty(1)
    elif metric.type is not MetricType.LATENCY:
        memory = comparison.empty(metric, policy, 1, 1)
    return Watched(
        memory=memory,
        edges=tuple(metric.buckets or ()),
        dispersion=max(1.0, float(given)),
        skips=np.zeros((1, len(SKIPS)), dtype=np.int64),
        last_skip=np.full(1, USABLE, dtype=np.int64),
    )


def _seen(analysis: Analysis, policy: Policy, look: Look) -> Analysis:
    first = look.time if analysis.first is None else analysis.first
    warming = look.time - first < seconds(policy.warm_up)
    metrics = {
        metric.name: _watched(
            analysis.metrics[metric.name], metric, policy, look.measurements.get(metric.name), warming
        )
        for metric in policy.metrics
    }
    runs = max(len(watched.last_skip) for watched in metrics.values())
    analysis = replace(
        analysis,
        runs=runs,
        looks=analysis.looks + 1,
        first=first,
        last=look.time,
        crossed=_spread(analysis.crossed, runs),
        blamed=_spread(analysis.blamed, runs),
        crossing=_spread(analysis.crossing, runs),
        metrics={name: _for_runs(watched, runs) for name, watched in metrics.items()},
    )
    shares = weighted_evidence(analysis, policy)
    together = onset.log_sum(shares)
    crosses = np.isnan(analysis.crossed) & (together >= -np.log(policy.false_rollback_probability))
    return replace(
        analysis,
        crossed=np.where(crosses, look.time, analysis.crossed),
        blamed=np.where(crosses, shares.argmax(axis=-1), analysis.blamed),
        crossing=np.where(crosses, together, analysis.crossing),
    )


def _watched(
    watched: Watched, metric: Metric, policy: Policy, measurement: Measurement | None, warming: bool
) -> Watched:
    """One metric after one look."""
    if metric.type is MetricType.MEAN:
        return _watched_mean(watched, metric, measurement, warming)
    watched, table, why = _tabulated(watched, metric, policy, measurement)
    if table is None:
        return _skipped(watched, np.full(len(watched.last_skip), why))
    watched = _for_runs(watched, len(table.canary_total))
    assert isinstance(watched.memory, Comparison)
    used, reason = checked(table, one_arm=metric.type is MetricType.LIMIT)
    if warming:
        reason = np.where(reason == USABLE, WARMING, reason)
        used = Table(*(np.zeros_like(part) for part in vars(used).values()))
    memory = comparison.seen(watched.memory, metric, policy, used, reason, planned_looks(policy), watched.dispersion)
    return _skipped(replace(watched, memory=memory), reason)


def _watched_mean(watched: Watched, metric: Metric, measurement: Measurement | None, warming: bool) -> Watched:
    if not isinstance(measurement, Moments):
        return _skipped(watched, np.full(len(watched.last_skip), MISSING if measurement is None else KIND))
    sample = continuous.sampled(measurement)
    watched = _for_runs(watched, sample.shape[0])
    assert isinstance(watched.memory, Drifting)
    reason = continuous.reasons(sample)
    if warming:
        reason = np.where(reason == USABLE, WARMING, reason)
    return _skipped(replace(watched, memory=continuous.seen(watched.memory, metric, sample, reason)), reason)


def _tabulated(
    watched: Watched, metric: Metric, policy: Policy, measurement: Measurement | None
) -> tuple[Watched, Table | None, int]:
    """The measurement as a table of channels, or why there is none; a first histogram settles the edges."""
    if measurement is None:
        return watched, None, MISSING
    if metric.type is not MetricType.LATENCY:
        if not isinstance(measurement, Counts):
            return watched, None, KIND
        arms = (*measurement.canary, *measurement.stable)
        return watched, Table(*np.broadcast_arrays(*(as_runs(value)[:, None] for value in arms))), USABLE
    if not isinstance(measurement, Histogram):
        return watched, None, KIND
    edges = watched.edges or _chosen(measurement.edges)
    table = above_edges(measurement, np.array(edges)) if edges else None
    if table is None:
        return watched, None, EDGES
    if watched.memory is None:
        memory = comparison.empty(metric, policy, len(watched.last_skip), len(edges))
        watched = replace(watched, memory=memory, edges=edges)
    return watched, table, USABLE


def _chosen(edges: Iterable[float]) -> tuple[float, ...]:
    """The finite edges, thinned out evenly to the number of channels that a state has room for."""
    finite = [float(edge) for edge in edges if np.isfinite(edge)]
    if len(finite) <= MAX_CHANNELS:
        return tuple(finite)
    places = np.unique(np.linspace(0, len(finite) - 1, MAX_CHANNELS).round().astype(int))
    return tuple(finite[place] for place in places)


def _skipped(watched: Watched, reason: Ints) -> Watched:
    watched = _for_runs(watched, len(reason))
    counted = watched.skips + (reason[:, None] == np.arange(len(SKIPS)))
    return replace(watched, skips=counted, last_skip=np.where(reason == USABLE, watched.last_skip, reason))


def _remembering(analysis: Analysis, policy: Policy, look: Look) -> Analysis:
    """The analysis after a look from before the rollout."""
    metrics = dict(analysis.metrics)
    for metric in policy.metrics:
        measurement = look.measurements.get(metric.name)
        if metric.type is MetricType.MEAN or measurement is None:
            continue
        watched, table, _ = _tabulated(metrics[metric.name], metric, policy, measurement)
        if table is None or not isinstance(watched.memory, Comparison):
            continue
        silent = np.zeros_like(table.stable_total)
        stable, reason = checked(Table(table.stable_total, table.stable_bad, silent, silent), one_arm=True)
        if (reason == USABLE).all():
            memory = comparison.with_history(watched.memory, stable.canary_total, stable.canary_bad)
            metrics[metric.name] = replace(watched, memory=memory)
    return replace(analysis, metrics=metrics)


def _spread(array: Any, runs: int) -> Any:
    """The array with one run repeated to so many runs."""
    if array.shape[0] == runs:
        return array
    if array.shape[0] != 1:
        raise ValueError(f"the look has {runs} runs, but the state has {array.shape[0]}")
    return np.repeat(array, runs, axis=0)


def _for_runs(watched: Watched, runs: int) -> Watched:
    if len(watched.last_skip) == runs or (runs == 1 and len(watched.last_skip) > 1):
        return watched
    memory = watched.memory
    if memory is not None:
        parts = {field.name: _spread(getattr(memory, field.name), runs) for field in fields(memory)}
        memory = replace(memory, **parts)
    return replace(
        watched, memory=memory, skips=_spread(watched.skips, runs), last_skip=_spread(watched.last_skip, runs)
    )


def dump(analysis: Analysis, policy: Policy) -> State:
    """The analysis as a state."""
    metrics = {}
    for name, watched in analysis.metrics.items():
        memory = watched.memory
        arrays = {} if memory is None else {f.name: codec.encode(getattr(memory, f.name)) for f in fields(memory)}
        metrics[name] = {
            "edges": list(watched.edges),
            "dispersion": watched.dispersion,
            "skipped": _dump_skips(watched.skips),
            "lastSkip": codec.encode(watched.last_skip),
            "memory": arrays,
        }
    return {
        "policy": codec.fingerprint(policy),
        "looks": analysis.looks,
        "late": analysis.late,
        "first": analysis.first,
        "last": analysis.last,
        "crossed": codec.encode(analysis.crossed),
        "blamed": codec.encode(analysis.blamed),
        "crossing": codec.encode(analysis.crossing),
        "metrics": metrics,
    }


def load(policy: Policy, state: Mapping[str, Any]) -> Analysis:
    """The analysis that a state holds."""
    codec.checked(state, policy)
    metrics = {}
    for metric in policy.metrics:
        stored = state["metrics"][metric.name]
        arrays: dict[str, Any] = {name: codec.decode(array) for name, array in stored["memory"].items()}
        memory: Comparison | Drifting | None = None
        if arrays:
            arrays["used"] = arrays["used"].astype(np.int64)
            memory = Drifting(**arrays) if metric.type is MetricType.MEAN else Comparison(**arrays)
        metrics[metric.name] = Watched(
            memory=memory,
            edges=tuple(stored["edges"]),
            dispersion=stored["dispersion"],
            skips=_load_skips(stored["skipped"]),
            last_skip=codec.decode(stored["lastSkip"]).astype(np.int64),
        )
    crossed = codec.decode(state["crossed"])
    return Analysis(
        runs=len(crossed),
        looks=state["looks"],
        late=state["late"],
        first=state["first"],
        last=state["last"],
        crossed=crossed,
        blamed=codec.decode(state["blamed"]).astype(np.int64),
        crossing=codec.decode(state["crossing"]),
        metrics=metrics,
    )


def _dump_skips(skips: Ints) -> Any:
    """Named counts for one rollout; for many runs the array."""
    if len(skips) > 1:
        return skips
    return {why: int(count) for why, count in zip(SKIPS, skips[0], strict=True) if count}


def _load_skips(stored: Any) -> Ints:
    if isinstance(stored, dict):
        return np.array([[stored.get(why, 0) for why in SKIPS]], dtype=np.int64)
    return np.asarray(stored, dtype=np.int64)
