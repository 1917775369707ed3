"""What is remembered of one counted metric, and how a look changes it.

This module joins the parts for ErrorRate, Ratio, Quality, Latency and Limit: a kernel gives the evidence of the look,
the onset mixture accumulates it, and three choices are made here, each of which keeps the guarantee:

- Margins. A canary is healthy while it is within the relative or the absolute margin. Evidence must exclude both, so
  E = min(E_relative, E_absolute): below each of two e-processes, so an e-process under either null.
- Channels. A Latency metric compares the counts above each bucket edge. E is their mean: an e-process when the canary
  is healthy at every edge, whatever the dependence between edges.
- Dispersion. llr / phi. By Jensen's inequality exp(llr / phi) has mean at most 1 whenever exp(llr) has, for phi >= 1.
  That phi also makes clustered events safe is the usual quasi-likelihood argument: measured, not proven.

Promotion before the horizon needs evidence of non-inferiority: the same kernels with effects below 1 against
"p_c >= r_tol p_s and p_c >= p_s + r_tol epsilon", averaged over the two, and the least over the channels.
"""

from dataclasses import dataclass, replace

import numpy as np

from upright.analysis import interval, onset, rates, ratio
from upright.analysis.looks import USABLE, Floats, Ints, Table
from upright.api.monitoring import Metric, MetricType, Policy

MAX_CHANNELS = 14
LATENCY_MARGIN = 0.01  # the absolute part of non-inferiority where the tolerance has none
MEMORY = 0.95  # weight of the past in the guess of the stable rate, per look
_COUNTED = (MetricType.ERROR_RATE, MetricType.RATIO)


@dataclass(frozen=True)
class Comparison:
    """The memory of one counted metric. The first axis of every array is the run, the second the channel."""

    used: Ints  # (runs,): looks that gave evidence
    log_wealth: Floats  # (runs, channels, margins, effects): ln R of the onset mixture
    log_inferiority: Floats  # (runs, channels, effects): ln of the evidence for non-inferiority
    totals: Floats  # (runs, channels, 4): n_c, e_c, n_s, e_s of the used looks
    strata: Floats  # (runs, channels, 5): sums of `interval.stratum`
    guess: Floats  # (runs, channels, 2): the stable version's discounted bad events and events
    safest: Floats  # (runs,): the highest ln evidence for non-inferiority so far


def empty(metric: Metric, policy: Policy, runs: int, channels: int) -> Comparison:
    """A comparison that has seen nothing."""
    effects = len(ratio.EFFECTS if metric.type in _COUNTED else rates.EFFECTS)
    return Comparison(
        used=np.zeros(runs, dtype=np.int64),
        log_wealth=np.full((runs, channels, len(_margins(metric)), effects), -np.inf),
        log_inferiority=np.zeros((runs, channels, len(_inferiority_prior(metric, policy)))),
        totals=np.zeros((runs, channels, 4)),
        strata=np.zeros((runs, channels, 5)),
        guess=np.zeros((runs, channels, 2)),
        safest=np.zeros(runs),
    )


def seen(
    comparison: Comparison, metric: Metric, policy: Policy, table: Table, reason: Ints, planned: int, dispersion: float
) -> Comparison:
    """The comparison after one look; `table` is zero in the runs whose `reason` is not USABLE."""
    usable = reason == USABLE
    llr = _evidence_of_look(comparison, metric, table) / dispersion
    inferiority = comparison.log_inferiority + _inferiority_of_look(metric, policy, table) / dispersion
    prior = np.log(_inferiority_prior(metric, policy))
    floor = onset.log_sum(inferiority + prior).min(axis=-1)
    counts = np.stack((table.canary_total, table.canary_bad, table.stable_total, table.stable_bad), axis=-1)
    return Comparison(
        used=comparison.used + usable,
        log_wealth=onset.bet(comparison.log_wealth, llr, comparison.used, planned, usable),
        log_inferiority=inferiority,
        totals=comparison.totals + counts,
        strata=comparison.strata + interval.stratum(table),
        guess=_learned(comparison.guess, table),
        safest=np.where(usable, np.maximum(comparison.safest, floor), comparison.safest),
    )


def with_history(comparison: Comparison, total: Floats, bad: Floats) -> Comparison:
    """The comparison after the stable version alone was seen: nothing to compare, but its rate is better known."""
    nothing = np.zeros_like(total)
    return replace(comparison, guess=_learned(comparison.guess, Table(nothing, nothing, total, bad)))


def channel_evidence(comparison: Comparison, planned: int) -> Floats:
    """The ln E of each channel, shape (runs, channels)."""
    by_margin = onset.log_evidence(comparison.log_wealth, comparison.used, planned)
    return np.asarray(by_margin.min(axis=-1))


def evidence(comparison: Comparison, planned: int) -> Floats:
    """The ln E of the metric, shape (runs,)."""
    by_channel = channel_evidence(comparison, planned)
    return np.asarray(onset.log_sum(by_channel) - np.log(by_channel.shape[-1]))


def ratio_with_interval(
    comparison: Comparison, metric: Metric, alpha: float, dispersion: float
) -> tuple[Floats, Floats, Floats]:
    """(ratio, low, high), each of shape (runs, channels). For a Limit the ratio is to the maximum."""
    if metric.maximum is not None:
        total, bad = comparison.totals[..., 0], comparison.totals[..., 1]
        share, low, high = interval.rate_interval(total, bad, metric.maximum, alpha, dispersion)
        return share, low, high
    return interval.ratio_interval(comparison.strata, alpha, dispersion)


def _margins(metric: Metric) -> tuple[tuple[float, float], ...]:
    """(r0, epsilon) of each margin that has to be exceeded."""
    tolerance = metric.margins
    relative, absolute = (1 + tolerance.relative, 0.0), (1.0, tolerance.absolute)
    if metric.type is MetricType.LIMIT or tolerance.absolute == 0:
        return (relative,)
    return (absolute,) if tolerance.relative == 0 else (relative, absolute)


def _evidence_of_look(comparison: Comparison, metric: Metric, table: Table) -> Floats:
    """The llr of shape (runs, channels, margins, effects)."""
    if metric.maximum is not None:
        return rates.against_limit(table.canary_total, table.canary_bad, metric.maximum)[:, :, None]
    if metric.type in _COUNTED:
        by_margin = [
            ratio.absolute(table, epsilon) if epsilon else ratio.relative(table, r0) for r0, epsilon in _margins(metric)
        ]
    else:
        bad, total = np.moveaxis(comparison.guess, -1, 0)
        known = np.where(total > 0, (bad + 0.5) / (total + 1), np.nan)
        by_margin = [rates.compare(table, known, r0, epsilon) for r0, epsilon in _margins(metric)]
    return np.stack(by_margin, axis=2)


def _inferiority_prior(metric: Metric, policy: Policy) -> Floats:
    if metric.maximum is not None:
        return np.array([0.5, 0.5])
    return np.array([0.5, 0.25, 0.25]) if _inferiority_margin(metric, policy) else np.array([1.0])


def _inferiority_margin(metric: Metric, policy: Policy) -> float:
    least = LATENCY_MARGIN if metric.type is MetricType.LATENCY else 0.0
    return policy.inferiority_ratio * max(metric.margins.absolute, least)


def _inferiority_of_look(metric: Metric, policy: Policy, table: Table) -> Floats:
    """The llr for non-inferiority of shape (runs, channels, effects), in the order of `_inferiority_prior`."""
    if metric.maximum is not None:
        return rates.against_limit(table.canary_total, table.canary_bad, metric.maximum, np.array([0.5, 0.9]))
    worst = policy.inferiority_ratio
    by_ratio = ratio.relative(table, worst, np.array([1 / worst]))
    margin = _inferiority_margin(metric, policy)
    if not margin:
        return by_ratio
    return np.concatenate((by_ratio, ratio.absolute(table, margin, np.array([0.1, 0.6]))), axis=-1)


def _learned(guess: Floats, table: Table) -> Floats:
    seen_now = np.stack((table.stable_bad, table.stable_total), axis=-1)
    return np.where((table.stable_total > 0)[..., None], MEMORY * guess + seen_now, guess)
