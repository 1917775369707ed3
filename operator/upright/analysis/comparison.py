"""What is remembered of one counted metric, and how a look changes it.

This module joins the parts for ErrorRate, RefusalRate, Ratio, Quality, Latency and Limit: a kernel gives the evidence
of the look, the onset mixture accumulates it, and three choices are made here, each of which keeps the guarantee:

- Margins. A canary is healthy while it is within the relative or the absolute margin. Evidence must exclude both, so
  E = min(E_relative, E_absolute): below each of two e-processes, so an e-process under either null.
- Channels. A Latency metric compares the counts above each bucket edge. E is their mean: an e-process when the canary
  is healthy at every edge, whatever the dependence between edges.
- Dispersion. llr / phi. By Jensen's inequality exp(llr / phi) has mean at most 1 whenever exp(llr) has, for phi >= 1.
  That phi also makes clustered events safe is the usual quasi-likelihood argument: measured, not proven.

Promotion before the horizon needs evidence of non-inferiority: bets with effects below 1 against
"p_c >= r_tol p_s and p_c >= p_s + epsilon", averaged over the two, and the least over the channels. By the ratio alone
nobody could show it of a service without bad events, so the absolute margin counts, as far as it is tolerated and no
further. Without one the null is "p_c >= r_tol p_s"; that of a Limit is "p_c >= maximum". It says that the canary was
that much worse in every look; what begins later is the business of the watch after promotion.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from upright.analysis import interval, onset, rates, ratio
from upright.analysis.bets import Bets, bets, together
from upright.analysis.looks import USABLE, Bools, Floats, Ints, Table
from upright.api.monitoring import Margins, Metric, MetricType
from upright.api.policy import Policy

MAX_CHANNELS = 14
MEMORY = 0.95  # weight of the past in the guess of the stable rate, per interval
_COUNTED = (MetricType.ERROR_RATE, MetricType.REFUSAL_RATE, MetricType.RATIO)
_GUESSED = (MetricType.LATENCY, MetricType.QUALITY)
_ABSOLUTE_SAFE: Floats = np.array([0.1, 0.6])


class Comparison(NamedTuple):
    """The memory of one counted metric. The first axis of every array is the run, the second the channel."""

    used: Floats  # (runs,): looks that gave evidence
    spent: Floats  # (runs,): the time that they stand for, in intervals: see `onset`
    at: Floats  # (runs,): when the last of them was taken, in seconds
    log_evidence: Floats  # (runs,): ln E
    safest: Floats  # (runs,): the highest ln evidence for non-inferiority so far
    log_wealth: Floats  # (runs, channels, bets): ln R of each bet
    events: Floats  # (runs, 2): n_c, n_s of the used looks, equal in all channels
    bad: Floats  # (runs, channels, 2): e_c, e_s of them
    strata: Floats  # (runs, channels, 3): sums of `interval.stratum`
    guess: Floats  # (runs, 1 + channels): the stable version's discounted events and bad events, for kernel B


def shapes(type: MetricType, tolerance: Margins, channels: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a `Comparison` without its axis of runs, in the order of its fields."""
    wagers = len(_margins(type, tolerance)) * len(_effects(type)) + len(_safe_prior(type, tolerance))
    return {
        "used": (),
        "spent": (),
        "at": (),
        "log_evidence": (),
        "safest": (),
        "log_wealth": (channels, wagers),
        "events": (2,),
        "bad": (channels, 2),
        "strata": (channels, 3),
        "guess": (1 + channels,),
    }


def empty(metric: Metric, runs: int, channels: int) -> Comparison:
    """A comparison that has seen nothing."""
    nothing = {name: np.zeros((runs, *shape)) for name, shape in shapes(metric.type, metric.margins, channels).items()}
    return Comparison(**{**nothing, "log_wealth": np.full_like(nothing["log_wealth"], -np.inf)})


def seen(
    comparison: Comparison, metric: Metric, policy: Policy, time: float, table: Table, reason: Ints, dispersion: Floats
) -> Comparison:
    """The comparison after one look at a time in seconds; `table` is zero in the runs whose `reason` is not USABLE, and
    `dispersion` of shape (runs,).
    """
    usable, before = reason == USABLE, comparison.spent
    since = (time - comparison.at) / policy.interval.total_seconds()
    width = np.where(before > 0, np.minimum(since, 1.0), 1.0) * usable
    spent = before + width
    wagers = _wagers(metric.type, metric.margins, policy.inferiority_ratio, policy.planned_looks)
    llr = _evidence_of_look(comparison, metric, wagers.bets, table) / dispersion[:, None, None]
    wealth = onset.bet(comparison.log_wealth, llr, wagers.prior, wagers.once, before, spent, wagers.planned)
    worse, safe = _by_channel(wealth, spent, wagers)
    return Comparison(
        used=comparison.used + usable,
        spent=spent,
        at=np.where(usable, time, comparison.at),
        log_evidence=np.logaddexp.reduce(worse, axis=-1) - math.log(worse.shape[-1]),
        safest=np.maximum(comparison.safest, np.minimum.reduce(safe, axis=-1)),
        log_wealth=wealth,
        events=comparison.events + table.counts[:, 0, ::2],
        bad=comparison.bad + table.counts[..., 1::2],
        strata=comparison.strata + interval.stratum(table),
        guess=_learned(comparison.guess, table.counts[..., 2:], width) if metric.type in _GUESSED else comparison.guess,
    )


def with_history(comparison: Comparison, stable: Floats) -> Comparison:
    """The comparison after the stable version alone was seen, as (total, bad): only its rate is better known."""
    return comparison._replace(guess=_learned(comparison.guess, stable, np.ones(1)))


def blamed_channel(comparison: Comparison, metric: Metric, policy: Policy) -> Ints:
    """The channel with the most evidence, shape (runs,)."""
    wagers = _wagers(metric.type, metric.margins, policy.inferiority_ratio, policy.planned_looks)
    return np.asarray(_by_channel(comparison.log_wealth, comparison.spent, wagers)[0].argmax(axis=-1))


def ratio_with_interval(
    comparison: Comparison, metric: Metric, alpha: float, dispersion: Floats
) -> tuple[Floats, Floats, Floats]:
    """(ratio, low, high), each of shape (runs, channels). For a Limit the ratio is to the maximum."""
    if metric.maximum is not None:
        total, bad = comparison.events[:, :1], comparison.bad[..., 0]
        return interval.rate_interval(total, bad, metric.maximum, alpha, dispersion[:, None])
    return interval.ratio_interval(comparison.strata, comparison.events[:, None], alpha, dispersion[:, None])


@dataclass(frozen=True)
class _Wagers:
    """The bets and their stakes: for each margin those that the canary is worse, then those that it is not inferior."""

    planned: int  # intervals
    bets: Bets
    groups: Ints  # where the bets of each margin begin, and those of non-inferiority
    prior: Floats  # (bets,): how the capital of each margin is spread over its effects, and that of non-inferiority
    once: Bools  # (bets,): the latter, which is all put down at the first look


@lru_cache(maxsize=256)
def _wagers(type: MetricType, tolerance: Margins, worst: float, planned: int) -> _Wagers:
    margins, safe = _margins(type, tolerance), _safe_prior(type, tolerance)
    effects = _effects(type)
    parts = [bets(effects, r0, epsilon) for r0, epsilon in margins]
    if type is MetricType.LIMIT:
        parts.append(bets(np.array([0.5, 0.9])))
    else:
        parts.append(bets(np.array([1 / worst]), r0=worst))
    if len(safe) > 2:
        parts.append(bets(_ABSOLUTE_SAFE, epsilon=tolerance.absolute))
    worse = len(margins) * len(effects)
    prior = np.concatenate([np.full(worse, 1 / len(effects)), safe])
    groups = np.arange(len(margins) + 1) * len(effects)
    return _Wagers(planned, together(parts), groups, prior, np.arange(len(prior)) >= worse)


def _by_channel(wealth: Floats, spent: Floats, wagers: _Wagers) -> tuple[Floats, Floats]:
    """The ln E that the canary is worse, by the margin with the least, and that it is not; each (runs, channels)."""
    by_group = np.logaddexp.reduceat(wealth, wagers.groups, axis=-1)
    worse = np.minimum.reduce(by_group[..., :-1], axis=-1)
    return np.logaddexp(worse, np.log(onset.idle(spent, wagers.planned))[:, None]), by_group[..., -1]


def _evidence_of_look(comparison: Comparison, metric: Metric, wagers: Bets, table: Table) -> Floats:
    """The llr of every bet, shape (runs, channels, bets)."""
    if metric.maximum is not None:
        return rates.against_limit(table.canary_total, table.canary_bad, metric.maximum, wagers.g)
    if metric.type in _COUNTED:
        return ratio.compare(table, wagers)
    total, bad = comparison.guess[:, :1], comparison.guess[:, 1:]
    return rates.compare(table, (bad + 0.5) / (total + 0.25), wagers)  # the guess is 2 before anything was seen


def _effects(type: MetricType) -> Floats:
    return ratio.EFFECTS if type in _COUNTED else rates.EFFECTS


def _margins(type: MetricType, tolerance: Margins) -> tuple[tuple[float, float], ...]:
    """(r0, epsilon) of each margin that has to be exceeded."""
    relative, absolute = (1 + tolerance.relative, 0.0), (1.0, tolerance.absolute)
    if type is MetricType.LIMIT or tolerance.absolute == 0:
        return (relative,)
    return (absolute,) if tolerance.relative == 0 else (relative, absolute)


def _safe_prior(type: MetricType, tolerance: Margins) -> tuple[float, ...]:
    """Capital on each bet of non-inferiority."""
    if type is MetricType.LIMIT:
        return (0.5, 0.5)
    return (0.5, 0.25, 0.25) if tolerance.absolute else (1.0,)


def _learned(guess: Floats, stable: Floats, width: Floats) -> Floats:
    total, bad = stable[:, :1, 0], stable[..., 1]
    kept = np.where(total > 0, MEMORY ** width[:, None], 1.0)
    return np.asarray(guess * kept + np.concatenate((total, bad), axis=1))
