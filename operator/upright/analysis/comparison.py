"""What is remembered of one counted metric, and how a look changes it.

This module joins the parts for ErrorRate, Ratio, Quality, Latency and Limit: a kernel gives the evidence of the look,
the onset mixture accumulates it, and three choices are made here, each of which keeps the guarantee:

- Margins. A canary is healthy while it is within the relative or the absolute margin. Evidence must exclude both, so
  E = min(E_relative, E_absolute): below each of two e-processes, so an e-process under either null.
- Channels. A Latency metric compares the counts above each bucket edge. E is their mean: an e-process when the canary
  is healthy at every edge, whatever the dependence between edges.
- Dispersion. llr / phi. By Jensen's inequality exp(llr / phi) has mean at most 1 whenever exp(llr) has, for phi >= 1.
  That phi also makes clustered events safe is the usual quasi-likelihood argument: measured, not proven.

Promotion before the horizon needs evidence of non-inferiority: kernel A with effects below 1 against
"p_c >= r_tol p_s and p_c >= p_s + r_tol epsilon", averaged over the two, and the least over the channels. Its null says
that the canary was that much worse in every look; what begins later is the business of the watch after promotion.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from upright.analysis import interval, onset, rates, ratio
from upright.analysis.looks import USABLE, Floats, Ints, Table
from upright.api.monitoring import Metric, MetricType, Policy

MAX_CHANNELS = 14
LATENCY_MARGIN = 0.01  # the absolute part of non-inferiority where the tolerance has none
MEMORY = 0.95  # weight of the past in the guess of the stable rate, per look
_COUNTED = (MetricType.ERROR_RATE, MetricType.RATIO)
_LIMIT_SAFE: Floats = np.array([0.5, 0.9])
_ABSOLUTE_SAFE: Floats = np.array([0.1, 0.6])


@dataclass(frozen=True)
class Comparison:
    """The memory of one counted metric. The first axis of every array is the run, the second the channel."""

    used: Floats  # (runs,): looks that gave evidence
    safest: Floats  # (runs,): the highest ln evidence for non-inferiority so far
    log_wealth: Floats  # (runs, channels, margins, effects): ln R of the onset mixture
    log_inferiority: Floats  # (runs, channels, effects): ln of the evidence for non-inferiority
    totals: Floats  # (runs, channels, 4): n_c, e_c, n_s, e_s of the used looks
    strata: Floats  # (runs, channels, 3): sums of `interval.stratum`
    guess: Floats  # (runs, channels, 2): the stable version's discounted events and bad events


def shapes(metric: Metric, channels: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a `Comparison` without its axis of runs, in the order in which a state keeps them."""
    effects = len(ratio.EFFECTS if metric.type in _COUNTED else rates.EFFECTS)
    return {
        "used": (),
        "safest": (),
        "log_wealth": (channels, len(_margins(metric)), effects),
        "log_inferiority": (channels, len(_inferiority_prior(metric))),
        "totals": (channels, 4),
        "strata": (channels, 3),
        "guess": (channels, 2),
    }


def empty(metric: Metric, runs: int, channels: int) -> Comparison:
    """A comparison that has seen nothing."""
    nothing = Comparison(**{name: np.zeros((runs, *shape)) for name, shape in shapes(metric, channels).items()})
    return replace(nothing, log_wealth=np.full_like(nothing.log_wealth, -np.inf))


def seen(
    comparison: Comparison, metric: Metric, policy: Policy, table: Table, reason: Ints, dispersion: float
) -> Comparison:
    """The comparison after one look; `table` is zero in the runs whose `reason` is not USABLE."""
    usable = reason == USABLE
    llr, llr_safe = _evidence_of_look(comparison, metric, policy, table)
    inferiority = comparison.log_inferiority + llr_safe / dispersion
    floor = np.logaddexp.reduce(inferiority + np.log(_inferiority_prior(metric)), axis=-1).min(axis=-1)
    return Comparison(
        used=comparison.used + usable,
        safest=np.where(usable, np.maximum(comparison.safest, floor), comparison.safest),
        log_wealth=onset.bet(comparison.log_wealth, llr / dispersion, comparison.used, policy.planned_looks, usable),
        log_inferiority=inferiority,
        totals=comparison.totals + table.counts,
        strata=comparison.strata + interval.stratum(table),
        guess=_learned(comparison.guess, table.counts[..., 2:]),
    )


def with_history(comparison: Comparison, stable: Floats) -> Comparison:
    """The comparison after the stable version alone was seen, as (total, bad): only its rate is better known."""
    return replace(comparison, guess=_learned(comparison.guess, stable))


def channel_evidence(comparison: Comparison, policy: Policy) -> Floats:
    """The ln E of each channel, shape (runs, channels)."""
    by_margin = onset.log_evidence(comparison.log_wealth, comparison.used, policy.planned_looks)
    return np.asarray(by_margin.min(axis=-1))


def evidence(comparison: Comparison, policy: Policy) -> Floats:
    """The ln E of the metric, shape (runs,)."""
    by_channel = channel_evidence(comparison, policy)
    return np.asarray(np.logaddexp.reduce(by_channel, axis=-1) - np.log(by_channel.shape[-1]))


def ratio_with_interval(
    comparison: Comparison, metric: Metric, alpha: float, dispersion: float
) -> tuple[Floats, Floats, Floats]:
    """(ratio, low, high), each of shape (runs, channels). For a Limit the ratio is to the maximum."""
    if metric.maximum is not None:
        total, bad = comparison.totals[..., 0], comparison.totals[..., 1]
        return interval.rate_interval(total, bad, metric.maximum, alpha, dispersion)
    return interval.ratio_interval(comparison.strata, comparison.totals, alpha, dispersion)


def _margins(metric: Metric) -> tuple[tuple[float, float], ...]:
    """(r0, epsilon) of each margin that has to be exceeded."""
    tolerance = metric.margins
    relative, absolute = (1 + tolerance.relative, 0.0), (1.0, tolerance.absolute)
    if metric.type is MetricType.LIMIT or tolerance.absolute == 0:
        return (relative,)
    return (absolute,) if tolerance.relative == 0 else (relative, absolute)


def _evidence_of_look(comparison: Comparison, metric: Metric, policy: Policy, table: Table) -> tuple[Floats, Floats]:
    """The llr that the canary is worse, (runs, channels, margins, effects), and that it is not, (..., effects)."""
    if metric.maximum is not None:
        effects = np.concatenate((rates.EFFECTS, _LIMIT_SAFE))
        llr = rates.against_limit(table.canary_total, table.canary_bad, metric.maximum, effects)
        return llr[:, :, None, : len(rates.EFFECTS)], llr[..., len(rates.EFFECTS) :]
    margins = _margins(metric)
    safe = (policy.inferiority_ratio, _inferiority_margin(metric))
    if metric.type in _COUNTED:
        llr = ratio.compare(table, _bets(margins, *safe))
        worse = len(margins) * len(ratio.EFFECTS)
        return llr[..., :worse].reshape(*llr.shape[:2], len(margins), -1), llr[..., worse:]
    total, bad = comparison.guess[..., 0], comparison.guess[..., 1]
    known = np.where(total > 0, (bad + 0.5) / (total + 1), np.nan)
    by_margin = [rates.compare(table, known, r0, epsilon) for r0, epsilon in margins]
    return np.stack(by_margin, axis=2), ratio.compare(table, _bets((), *safe))


def _inferiority_margin(metric: Metric) -> float:
    least = LATENCY_MARGIN if metric.type is MetricType.LATENCY else 0.0
    return max(metric.margins.absolute, least)


@lru_cache(maxsize=64)
def _bets(margins: tuple[tuple[float, float], ...], worst: float, inferior_margin: float) -> ratio.Bets:
    """Kernel A's bets that the canary is worse than each margin, then those that it is not inferior."""
    parts = [ratio.bets(ratio.EFFECTS, r0, epsilon) for r0, epsilon in margins]
    parts.append(ratio.bets(np.array([1 / worst]), r0=worst))
    if inferior_margin:
        parts.append(ratio.bets(_ABSOLUTE_SAFE, epsilon=worst * inferior_margin))
    return ratio.together(parts)


def _inferiority_prior(metric: Metric) -> Floats:
    """Capital on each effect, in the order of the llr for non-inferiority."""
    if metric.maximum is not None:
        return np.array([0.5, 0.5])
    return np.array([0.5, 0.25, 0.25]) if _inferiority_margin(metric) else np.array([1.0])


def _learned(guess: Floats, stable: Floats) -> Floats:
    return np.where(stable[..., :1] > 0, MEMORY * guess + stable, guess)
