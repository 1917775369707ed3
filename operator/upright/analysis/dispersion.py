"""How much more do counts scatter than independent events would?

What it estimates: phi, the variance of the difference of two equal arms over that of independent events. Errors come in
clusters (retries, bursts); evidence that takes each for a new one rolls healthy versions back.
Method: pods of the stable version are split into two pseudo-arms (an A/A comparison). In look k, of e_k bad events,
e1_k fall on the first arm, whose share of the events is q_k. For independent events the mean of (e1_k - e_k q_k)^2 is
e_k q_k (1 - q_k) (1 - p_k), p_k being the share of bad events, so

    phi = 1.1 max(1, sum_k (e1_k - e_k q_k)^2 / (q_k (1 - q_k)) / sum_k e_k (1 - p_k))

The factor 1 - p_k is missing in the design document; without it phi is underestimated for rates that are not small.
Guarantee: none exact. With K looks the estimate has a relative standard error of about sqrt(2/K): 6 % for two hours of
15-second looks, which the factor 1.1 covers. Clusters must fall within pods to be seen, so the arms must be of pods.
Source: Pearson's estimator of quasi-likelihood (McCullagh & Nelder, 1989, section 4.5).

In a rollout the looks bring the two halves of the stable version with them, and the estimate grows with them, from
what is usual for the type:

    phi_K = (W phi_0 + K phi) / (W + K)

A look is divided by what those before it gave, so phi is known before its counts are, and the factor of each look
keeps its mean of at most 1, whatever the estimate says. How long requests take differs from pod to pod for longer than
a look, so that squares of single looks are too small: of a Latency phi is at least what all looks say together,
1.1 (sum_k d_k)^2 / sum_k e_k (1 - p_k), where d_k^2 are the terms of the sum above. That is rough, but the larger the
longer pods of one version differ. So that a stable pod which is slow for a minute does not hide a slow canary for good,
a look tells of no more than twice the deviation that is usual by then: d_k^2 <= 4 phi' e_k (1 - p_k), phi' being the
phi_K of the squares alone. A square of a normal value that is bounded so has the mean B = 1 - 4 f(2) + 6 Q(-2) of it, f
being the density and Q the distribution, by which both sums are divided (Huber's "proposal 2", 1964).
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from upright.analysis import continuous
from upright.analysis.looks import (
    INFINITE,
    USABLE,
    Floats,
    Histogram,
    Look,
    Measurement,
    Moments,
    above_edges,
    checked,
    inner_edges,
    tabulated,
)
from upright.api.monitoring import Boundary, Metric, MetricType
from upright.api.policy import Policy

SAFETY = 1.1
MOST = 16.0  # is learned of events: a pod that fails in one look must not hide a canary that goes on failing
LEAST_EVENTS = 1000.0  # bad events above a bucket edge that its own estimate needs
SOONEST = 100.0  # the same in a rollout, which has no time for so many
USUAL: Mapping[MetricType, float] = {MetricType.LATENCY: 8.0}
"""The phi_0 of a type, where it is not 1. A higher one for errors would cost a gross regression several times the time:
see docs/analysis.md.
"""
WEIGHT = 4.0  # the W, in looks
BOUND = 4.0  # times its mean that a look's square of a Latency may be
BOUNDED = 0.92  # the B above


class Scatter(NamedTuple):
    """What an estimate rests on. The first axis of every array is the run."""

    looks: Floats  # (runs,): K
    squares: Floats  # (runs, channels): sum of the squared differences over q (1 - q)
    expected: Floats  # (runs, channels): what it would be for independent events
    drift: Floats  # (runs, channels): sum of the differences over the root of q (1 - q)


def shapes(channels: int) -> dict[str, tuple[int, ...]]:
    """The shape of each array of a `Scatter` without its axis of runs, in the order of its fields."""
    return {"looks": (), "squares": (channels,), "expected": (channels,), "drift": (channels,)}


def nothing(runs: int, channels: int) -> Scatter:
    """What is known before the first look."""
    return Scatter(*(np.zeros((runs, *shape)) for shape in shapes(channels).values()))


def is_learned(metric: Metric) -> bool:
    """Whether nobody says what its dispersion is. The exact boundary is for events that are known to be independent."""
    return metric.dispersion is None and metric.boundary is Boundary.MIXTURE


def usual(metric: Metric) -> float:
    """The dispersion by which a look is divided before anything is known."""
    return metric.scatter(USUAL.get(metric.type, 1.0))


def learned(scatter: Scatter, metric: Metric) -> Floats:
    """The dispersion by which the next look is divided, shape (runs,)."""
    if metric.type is MetricType.LATENCY:
        return _with_usual(scatter, np.maximum(scatter.squares, scatter.drift**2) / BOUNDED, metric)
    return np.minimum(_with_usual(scatter, scatter.squares, metric), MOST)


def _with_usual(scatter: Scatter, squares: Floats, metric: Metric) -> Floats:
    """The estimate from these squares, shape (runs,), and what is usual as WEIGHT looks."""
    told = scatter.looks * _estimate(squares, scatter.expected, SOONEST)
    return np.asarray((WEIGHT * usual(metric) + told) / (WEIGHT + scatter.looks))


def seen(scatter: Scatter, halves: Measurement, edges: tuple[float, ...], metric: Metric | None = None) -> Scatter:
    """The scatter after one more look at the two halves of the stable version; without a metric none is bounded."""
    found = _of_look(halves, edges)
    if found is None or found[0].shape[-1] != scatter.squares.shape[-1]:
        return scatter
    difference, expected = found
    if metric is not None and metric.type is MetricType.LATENCY:
        most = np.sqrt(BOUND * _with_usual(scatter, scatter.squares, metric)[:, None] * expected)
        difference = np.clip(difference, -most, most)
    return Scatter(
        looks=scatter.looks + (expected > 0).any(axis=-1),
        squares=scatter.squares + difference**2,
        expected=scatter.expected + expected,
        drift=scatter.drift + difference,
    )


def estimate_dispersion(policy: Policy, looks: Iterable[Look]) -> dict[str, float]:
    """The dispersion of every metric of the policy that the looks measured, for `begin(policy, dispersion=...)`.

    Args:
        policy: names the metrics.
        looks: A/A looks, both `canary` and `stable` counting pods of the stable version. At least 100 give a usable
            estimate. What is unusable is skipped.
    """
    known = list(looks)
    estimates = {}
    for metric in policy.metrics:
        measured = [look.measurements[metric.name] for look in known if metric.name in look.measurements]
        edges: tuple[float, ...] = ()
        if metric.type is MetricType.LATENCY:
            histograms = (part for part in measured if isinstance(part, Histogram))
            edges = next((found for part in histograms if (found := inner_edges(part)) is not None), ())
        scatter = nothing(1, max(1, len(edges)))
        for part in measured:
            scatter = seen(scatter, part, edges)
        if scatter.looks.any():
            estimates[metric.name] = float(_estimate(scatter.squares, scatter.expected, LEAST_EVENTS)[0])
    return estimates


def _estimate(squares: Floats, expected: Floats, enough: float) -> Floats:
    """The estimate, shape (runs,): the largest over the channels with enough events, or that of the one with most."""
    has_enough = expected >= np.minimum(enough, expected.max(axis=-1, keepdims=True))
    phi = np.where(has_enough, squares / np.maximum(expected, 1 / INFINITE), 0.0)
    return np.asarray(SAFETY * np.clip(phi.max(axis=-1), 1.0, INFINITE))


def _of_look(halves: Measurement, edges: tuple[float, ...]) -> tuple[Floats, Floats] | None:
    """One look's difference and what is expected of its square, each of shape (runs, channels), 0 where it is unusable;
    None when it has other edges.
    """
    if isinstance(halves, Moments):
        return _of_means(halves)
    table = above_edges(halves, edges) if isinstance(halves, Histogram) else tabulated(halves)
    if table is None:
        return None
    used, _ = checked(table)
    n1, e1, n2, e2 = np.moveaxis(used.counts, -1, 0)
    bad = e1 + e2
    # (e1 - bad q) / sqrt(q (1 - q)), where q may be so small that 1 - q is 1
    difference = (e1 * n2 - e2 * n1) / np.sqrt(np.maximum(n1 * n2, 1e-300))
    return difference, bad * (1 - bad / np.maximum(n1 + n2, 1e-300))


def _of_means(moments: Moments) -> tuple[Floats, Floats]:
    """The same of a mean: the difference, and the variance within the halves, each for one value."""
    sample = continuous.sampled(moments)
    number, total, squares = np.moveaxis(sample, -1, 0)
    freedom = number.sum(axis=1) - 2
    usable = (continuous.checked(sample) == USABLE) & (freedom > 0)
    number = np.where(usable[:, None], number, 1.0)
    total, squares = (np.where(usable[:, None], part, 0.0) for part in (total, squares))
    within = (squares - total**2 / number).sum(axis=1) / np.where(usable, freedom, 1.0)
    difference = (total[:, 0] / number[:, 0] - total[:, 1] / number[:, 1]) / np.sqrt((1 / number).sum(axis=1))
    return difference[:, None], np.maximum(within, 0.0)[:, None]
