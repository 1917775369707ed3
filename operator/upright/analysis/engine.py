"""The analysis of one rollout: `begin`, then `update` with looks as they come. Pure: equal calls give equal states.

Several metrics: the weights a_m sum to 1, and the rollout is rolled back when sum_m a_m E_m >= 1/alpha. The sum is an
e-process under any dependence between the metrics, so by Ville's inequality a healthy canary is ever rolled back with
probability at most alpha. The metric with the largest a_m E_m is blamed. A metric with boundary Exact has its a_m alpha
to itself: it rolls back alone, and the others by the sum of theirs.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from upright.analysis import comparison, continuous, exact
from upright.analysis import dispersion as scattering
from upright.analysis.comparison import MAX_CHANNELS, Comparison
from upright.analysis.continuous import Drifting
from upright.analysis.looks import (
    COUNTED,
    EDGES,
    KIND,
    MISSING,
    NO_TRAFFIC,
    REFUSED,
    USABLE,
    WARMING,
    Bools,
    Counts,
    Floats,
    Histogram,
    Ints,
    Look,
    Measurement,
    Moments,
    Table,
    above_edges,
    checked,
    compares,
    inner_edges,
    lacks_traffic,
    only_refused,
    stable_alone,
    tabulated,
)
from upright.analysis.state import NAMED, Analysis, Crossing, LeftOut, State, WarmUp, Watched, dump, load
from upright.api.monitoring import Boundary, Metric, MetricType
from upright.api.policy import Policy

LARGEST = 690.0  # ln of the largest evidence that is told


def begin(policy: Policy, history: Iterable[Look] = (), dispersion: Mapping[str, float] | None = None) -> State:
    """The state before the first look.

    Args:
        policy: what is promised and watched.
        history: looks from before the rollout. Only what they say of the stable version is used, to guess its rates.
        dispersion: by metric name, for the metrics that leave theirs out; see `estimate_dispersion`. That of a metric
            that is not in it is learned from the halves that looks bring.
    """
    known = dispersion or {}
    analysis = Analysis(
        policy=policy.fingerprint,
        runs=1,
        looks=0,
        late=0,
        left_out=None,
        first=None,
        last=None,
        warm_up=WarmUp(0, np.full(1, np.nan)) if policy.warm_up else None,
        crossing=None,
        metrics={metric.name: _unseen(metric, known.get(metric.name)) for metric in policy.metrics},
    )
    for look in history:
        analysis = _remembering(analysis, policy, look)
    return dump(analysis)


def update(policy: Policy, state: Mapping[str, Any], *looks: Look) -> State:
    """The state after some more looks. One that is not newer than the last one changes no evidence.

    Counts may be arrays over runs; the first such look makes the state one of that many runs.

    Raises:
        StateError: the state was begun with another policy, or is damaged; begin anew.
        ValueError: the look's time is no finite number, or it has another number of runs than the state.
    """
    analysis = load(policy, state)
    for look in looks:
        if not math.isfinite(look.time):
            raise ValueError(f"a look's time must be a finite number of seconds, found {look.time}")
        if analysis.last is not None and look.time <= analysis.last:
            analysis = analysis._replace(late=analysis.late + (look.time != analysis.last))
        else:
            analysis = _seen(analysis, policy, look)
    return dump(analysis)


def metric_evidence(watched: Watched, metric: Metric, policy: Policy, runs: int) -> Floats:
    """The ln E of one metric, shape (runs,); 0 before its first usable look."""
    if isinstance(watched.memory, Comparison):
        mixture = watched.memory.log_evidence
        return mixture if watched.exact is None else exact.evidence(watched.exact, mixture, policy.share(metric))
    if isinstance(watched.memory, Drifting):
        return continuous.evidence(watched.memory, policy)
    return np.zeros(runs)


def weighted_evidence(analysis: Analysis, policy: Policy) -> Floats:
    """ln(a_m E_m), shape (runs, metrics)."""
    shares = np.empty((analysis.runs, len(policy.metrics)))
    for place, metric in enumerate(policy.metrics):
        evidence = metric_evidence(analysis.metrics[metric.name], metric, policy, analysis.runs)
        shares[:, place] = evidence + math.log(policy.share(metric) / policy.false_rollback_probability)
    return shares


def together(shares: Floats, policy: Policy) -> Floats:
    """The ln of the evidence of all metrics, shape (runs,), from `weighted_evidence`."""
    mixed = [metric.boundary is Boundary.MIXTURE for metric in policy.metrics]
    if all(mixed):
        return np.asarray(np.logaddexp.reduce(shares, axis=-1))
    summed = np.logaddexp.reduce(shares[:, mixed], axis=-1)  # minus infinity where there is none
    return np.asarray(np.maximum(summed, shares[:, np.logical_not(mixed)].max(axis=-1)))


def reported(log_evidence: ArrayLike) -> Floats:
    """The evidence, from its ln, as it is told: a finite number."""
    return np.asarray(np.exp(np.minimum(log_evidence, LARGEST)))


def combined_evidence(policy: Policy, state: Mapping[str, Any]) -> float:
    """The ln of the evidence of all metrics of one rollout as it is now, even if it was higher at a crossing."""
    return float(together(weighted_evidence(load(policy, state), policy), policy)[0])


def _unseen(metric: Metric, estimated: float | None) -> Watched:
    memory: Comparison | Drifting | None = None
    learns = estimated is None and scattering.is_learned(metric)
    if metric.type is MetricType.MEAN:
        memory = continuous.empty(1)
    elif metric.type is not MetricType.LATENCY:
        memory = comparison.empty(metric, 1, 1)
    return Watched(
        memory=memory,
        exact=exact.empty(1) if metric.boundary is Boundary.EXACT else None,
        edges=(),
        known=None if learns else metric.scatter(estimated or 1.0),
        scatter=scattering.nothing(1, 1) if learns and memory is not None else None,
        skips=np.zeros((1, COUNTED)),
        last_skip=np.full(1, float(USABLE)),
    )


def _seen(analysis: Analysis, policy: Policy, look: Look) -> Analysis:
    warm_up = None if analysis.warm_up is None else _warmed(analysis.warm_up, policy, look)
    metrics = dict(analysis.metrics)
    for metric in policy.metrics:
        if metric.name not in look.waits:
            warming = _is_warming(warm_up, policy, look, metric, analysis.last)
            watched = _watched(metrics[metric.name], metric, policy, look, warming)
            metrics[metric.name] = _learned(watched, metric, look)
    runs = max(len(watched.last_skip) for watched in metrics.values())
    if runs > 1:
        metrics = {name: _for_runs(watched, runs) for name, watched in metrics.items()}
    after = Analysis(
        policy=analysis.policy,
        runs=runs,
        looks=analysis.looks + 1,
        late=analysis.late,
        left_out=_left_out(analysis.left_out, look),
        first=look.time if analysis.first is None else analysis.first,
        last=look.time,
        warm_up=warm_up,
        crossing=analysis.crossing,
        metrics=metrics,
    )
    shares = weighted_evidence(after, policy)
    evidence = together(shares, policy)
    over = evidence >= -math.log(policy.false_rollback_probability)
    if not over.any():
        return after
    now = over & np.isnan(after.crossed)
    before = after.crossing or Crossing(after.crossed, after.crossed, after.crossed)
    crossing = Crossing(
        time=np.where(now, look.time, before.time),
        evidence=np.where(now, evidence, before.evidence),
        blamed=np.where(now, shares.argmax(axis=-1), before.blamed),
    )
    return after._replace(crossing=crossing)


def _warmed(before: WarmUp, policy: Policy, look: Look) -> WarmUp:
    """A warm-up begins with the first look in which both versions have counted something of any metric, and anew with
    more pods of the canary than ever: each brings the slowness of its beginning. A pod that takes another's place
    begins none, lest a canary whose pods come and go be never compared.
    """
    begins = np.isnan(before.since) | (look.pods > before.pods)
    now = np.where(compares(look, policy.metrics), look.time, np.nan)
    return WarmUp(max(before.pods, look.pods), np.where(begins, now, before.since))


def _is_warming(warm_up: WarmUp | None, policy: Policy, look: Look, metric: Metric, last: float | None) -> Bools:
    """Where what the look counts of a metric may be of the warm-up, shape (runs,): it stands for the time since the
    last one, or since when it has waited.
    """
    if warm_up is None:
        return np.zeros(1, dtype=np.bool_)
    before = (look.time if last is None else last, look.time - policy.interval.total_seconds())
    since = min(*before, look.since.get(metric.name, look.time))
    return ~(since - warm_up.since >= policy.warm_up.total_seconds())


def _left_out(before: LeftOut | None, look: Look) -> LeftOut | None:
    if not look.left_out:
        return before
    named = sorted(look.left_out.items())[:NAMED]
    return LeftOut((before.looks if before else 0) + 1, dict(named))


def _learned(watched: Watched, metric: Metric, look: Look) -> Watched:
    """The metric after the look was weighed: from then on it tells of the dispersion, too."""
    halves = look.halves.get(metric.name)
    if watched.scatter is None or halves is None:
        return watched
    scatter = scattering.seen(watched.scatter, halves, watched.edges, metric)
    return _for_runs(watched._replace(scatter=scatter), len(scatter.looks))


def _watched(watched: Watched, metric: Metric, policy: Policy, look: Look, warming: Bools) -> Watched:
    """One metric after one look."""
    measurement = look.measurements.get(metric.name)
    if metric.type is MetricType.MEAN:
        return _watched_mean(watched, metric, measurement, warming)
    watched, table, why = _tabulated(watched, metric, measurement)
    if table is None:
        return _skipped(watched, np.full(len(watched.last_skip), why))
    watched = _for_runs(watched, max(len(table.canary_total), len(warming)))
    assert isinstance(watched.memory, Comparison)
    used, reason = checked(table, one_arm=metric.type is MetricType.LIMIT, whole=watched.exact is not None)
    if isinstance(measurement, Counts) and lacks_traffic(reason).any():
        reason = np.where(lacks_traffic(reason) & only_refused(measurement), REFUSED, reason)
    if warming.any():
        reason = np.where((reason == USABLE) & warming, WARMING, reason)
        used = Table(np.where(warming[:, None, None], 0.0, used.counts))
    memory = comparison.seen(watched.memory, metric, policy, look.time, used, reason, watched.dispersion(metric))
    boundary = watched.exact
    if boundary is not None:
        elapsed = memory.spent / policy.planned_looks
        r0 = 1 + metric.margins.relative
        boundary = exact.seen(boundary, used, r0, policy.share(metric), elapsed)
    return _skipped(watched._replace(memory=memory, exact=boundary), reason)


def _watched_mean(watched: Watched, metric: Metric, measurement: Measurement | None, warming: Bools) -> Watched:
    if not isinstance(measurement, Moments):
        return _skipped(watched, np.full(len(watched.last_skip), MISSING if measurement is None else KIND))
    sample = continuous.sampled(measurement)
    watched = _for_runs(watched, max(len(sample), len(warming)))
    assert isinstance(watched.memory, Drifting)
    reason = continuous.checked(sample)
    reason = np.where((reason == USABLE) & warming, WARMING, reason)
    memory = continuous.seen(watched.memory, metric, sample, reason, watched.dispersion(metric))
    return _skipped(watched._replace(memory=memory), reason)


def _tabulated(watched: Watched, metric: Metric, measurement: Measurement | None) -> tuple[Watched, Table | None, int]:
    """The measurement as a table of channels, or why there is none; a first histogram settles the edges."""
    if measurement is None:
        return watched, None, MISSING
    if metric.type is not MetricType.LATENCY:
        if not isinstance(measurement, Counts):
            return watched, None, KIND
        return watched, tabulated(measurement), USABLE
    if not isinstance(measurement, Histogram):
        return watched, None, KIND
    edges = watched.edges or tuple(metric.buckets or _chosen(measurement))
    table = above_edges(measurement, edges)
    if table is None:
        return watched, None, EDGES
    if watched.memory is None:
        memory = comparison.empty(metric, len(watched.last_skip), len(edges))
        scatter = scattering.nothing(1, len(edges)) if watched.known is None else None
        watched = watched._replace(memory=memory, edges=edges, scatter=scatter)
    return watched, table, USABLE


def _chosen(histogram: Histogram) -> tuple[float, ...]:
    """The edges between the buckets, thinned out evenly to the number of channels that a state has room for."""
    edges = inner_edges(histogram)
    if edges is None:
        return ()
    wanted = min(len(edges), MAX_CHANNELS)
    return tuple(edges[place] for place in np.linspace(0, len(edges) - 1, wanted).round().astype(int))


def _skipped(watched: Watched, reason: Ints) -> Watched:
    if (reason == USABLE).all():
        return watched
    watched = _for_runs(watched, len(reason))
    kind = np.where(lacks_traffic(reason), NO_TRAFFIC, reason)
    counted = watched.skips + (kind[:, None] == np.arange(COUNTED))
    return watched._replace(skips=counted, last_skip=np.where(reason == USABLE, watched.last_skip, reason))


def _remembering(analysis: Analysis, policy: Policy, look: Look) -> Analysis:
    """The analysis after a look from before the rollout."""
    metrics = dict(analysis.metrics)
    for metric in policy.metrics:
        measurement = look.measurements.get(metric.name)
        if metric.type is MetricType.MEAN or measurement is None:
            continue
        watched, table, _ = _tabulated(metrics[metric.name], metric, measurement)
        if table is None or not isinstance(watched.memory, Comparison):
            continue
        stable, reason = checked(stable_alone(table), one_arm=True)
        if (reason == USABLE).all():
            memory = comparison.with_history(watched.memory, stable.counts[..., :2])
            metrics[metric.name] = watched._replace(memory=memory)
    return analysis._replace(metrics=metrics)


def _spread(array: Any, runs: int) -> Any:
    """The array with one run repeated to so many runs."""
    if array.shape[0] == runs:
        return array
    if array.shape[0] != 1:
        raise ValueError(f"the look has {runs} runs, but the state has {array.shape[0]}")
    return np.repeat(array, runs, axis=0)


def _spread_all(memory: Any, runs: int) -> Any:
    """A memory whose arrays have so many runs; None where there is none."""
    return None if memory is None else type(memory)(*(_spread(array, runs) for array in memory))


def _for_runs(watched: Watched, runs: int) -> Watched:
    if len(watched.last_skip) == runs or (runs == 1 and len(watched.last_skip) > 1):
        return watched
    return watched._replace(
        memory=_spread_all(watched.memory, runs),
        exact=_spread_all(watched.exact, runs),
        scatter=_spread_all(watched.scatter, runs),
        skips=_spread(watched.skips, runs),
        last_skip=_spread(watched.last_skip, runs),
    )
