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
"""

from collections.abc import Iterable

import numpy as np

from upright.analysis import continuous
from upright.analysis.looks import (
    USABLE,
    Counts,
    Floats,
    Histogram,
    Look,
    Moments,
    Table,
    above_edges,
    checked,
    inner_edges,
    tabulated,
)
from upright.api.monitoring import MetricType, Policy

SAFETY = 1.1
LEAST_EVENTS = 1000.0  # bad events above a bucket edge that its own estimate needs


def estimate_dispersion(policy: Policy, looks: Iterable[Look]) -> dict[str, float]:
    """The dispersion of every metric of the policy that the looks measured, for `begin(policy, dispersion=...)`.

    Args:
        policy: names the metrics.
        looks: A/A looks, both `canary` and `stable` counting pods of the stable version. At least 100 give a usable
            estimate. What is unusable is skipped.
    """
    seen = list(looks)
    estimates = {}
    for metric in policy.metrics:
        measured = [look.measurements[metric.name] for look in seen if metric.name in look.measurements]
        if metric.type is MetricType.MEAN:
            phi = _of_means([part for part in measured if isinstance(part, Moments)])
        elif metric.type is MetricType.LATENCY:
            phi = _of_histograms([part for part in measured if isinstance(part, Histogram)])
        else:
            phi = _of_tables([tabulated(part) for part in measured if isinstance(part, Counts)])
        if phi is not None:
            estimates[metric.name] = SAFETY * max(1.0, phi)
    return estimates


def _of_tables(tables: list[Table]) -> float | None:
    scatter, expected = _sums(tables)
    return float(scatter[0] / expected[0]) if expected.size and expected[0] > 0 else None


def _of_histograms(histograms: list[Histogram]) -> float | None:
    """The largest estimate over the bucket edges with enough events, or that of the edge with most."""
    edges = next((edges for histogram in histograms if (edges := inner_edges(histogram)) is not None), ())
    tables = [table for histogram in histograms if (table := above_edges(histogram, edges)) is not None]
    scatter, expected = _sums(tables)
    if not expected.size or expected.max() <= 0:
        return None
    enough = expected >= min(LEAST_EVENTS, expected.max())
    return float((scatter[enough] / expected[enough]).max())


def _sums(tables: list[Table]) -> tuple[Floats, Floats]:
    """Sums over the looks, by channel, of the squared differences and of what they would be for independent events."""
    scatter, expected = [], []
    for table in tables:
        used, reason = checked(table)
        n1, e1, n2, e2 = np.moveaxis(used.counts[reason == USABLE], -1, 0)
        share, bad = n1 / (n1 + n2), e1 + e2
        scatter.append(((e1 - bad * share) ** 2 / (share * (1 - share))).sum(axis=0))
        expected.append((bad * (1 - bad / (n1 + n2))).sum(axis=0))
    if not scatter:
        return np.zeros(0), np.zeros(0)
    return np.sum(scatter, axis=0), np.sum(expected, axis=0)


def _of_means(moments: list[Moments]) -> float | None:
    samples = [continuous.sampled(part) for part in moments]
    usable = [sample[continuous.checked(sample) == USABLE] for sample in samples]
    if not sum(len(sample) for sample in usable):
        return None
    number, total, squares = np.moveaxis(np.concatenate(usable), -1, 0)
    within = (squares - total**2 / number).sum() / max(1.0, (number - 1).sum())
    difference = total[:, 0] / number[:, 0] - total[:, 1] / number[:, 1]
    expected = within * (1 / number).sum(axis=1)
    return float(np.mean(difference**2 / expected)) if within > 0 else None
