"""A continuous metric: has the canary's mean moved in the bad direction?

What it tests: means of values such as revenue per order, from (n, sum, sum of squares) of each look.
Null hypothesis: the canary's mean is worse than the stable version's by at most `tolerance.absolute` standard
deviations.
Guarantee: asymptotic. Each look gives z_k = D_k / sqrt(1.15 sigma^2 (1/n_c + 1/n_s)), D_k being the difference of means
in the bad direction less the tolerance. If z_k is sub-Gaussian with variance 1 and mean at most 0, the normal mixture
below is a supermartingale; means of some tens of values are near enough, and 1.15 is the safety for an estimated sigma.
Source: Howard & Ramdas (arXiv 1906.09712), one-sided normal mixture:

    ln M = 1/2 ln(4 rho/(t + rho)) + S^2/(2 (t + rho)) + ln Phi(S / sqrt(t + rho)),   S = sum z_k,  t looks.

Check: with S ~ lambda t a half-normal prior of precision rho on lambda > 0 gives
2 sqrt(rho/(t+rho)) exp(S^2/(2(t+rho))) Phi(S/sqrt(t+rho)), and 1/2 ln 4 is the 2.
"""

import math
from typing import NamedTuple

import numpy as np

from upright.analysis.looks import (
    BACKWARDS,
    IMPOSSIBLE,
    NOT_FINITE,
    USABLE,
    Floats,
    Ints,
    Moments,
    reasons,
    rows,
    without_traffic,
)
from upright.api.monitoring import Metric
from upright.api.policy import Policy

INFLATION = 1.15
LEAST_VALUES = 30  # values that an estimate of sigma needs before it is used
_ROUNDING = 1 - 1e-9
_FARTHEST = 1e6  # standard deviations between two means
_LARGEST = 1e80  # sum of squares of one look: those of all looks together stay finite numbers of a state


class Drifting(NamedTuple):
    """The memory of one continuous metric; the first axis of every array is the run."""

    used: Floats  # (runs,): looks seen
    compared: Floats  # (runs,): t, the looks that gave evidence
    total: Floats  # (runs,): S
    arms: Floats  # (runs, 2, 3): number, sum and sum of squares of canary and stable
    safe: Floats  # (runs,): S of the test for non-inferiority


SHAPES: dict[str, tuple[int, ...]] = {"used": (), "compared": (), "total": (), "arms": (2, 3), "safe": ()}


def empty(runs: int) -> Drifting:
    """A metric that has not been seen."""
    nothing = np.zeros(runs)
    return Drifting(nothing, nothing, nothing, np.zeros((runs, 2, 3)), nothing)


def sampled(moments: Moments) -> Floats:
    """The moments as an array of shape (runs, 2, 3): canary and stable; number, sum, sum of squares."""
    return rows(moments, 3).reshape(-1, 2, 3)


def checked(sample: Floats) -> Ints:
    """For each run `USABLE`, or why the sample is not."""
    finite = np.logical_and.reduce(np.abs(sample) < _LARGEST, axis=(1, 2))
    numbers, sums, squares = np.moveaxis(np.where(finite[:, None, None], sample, 0.0), -1, 0)
    possible = sums * sums * _ROUNDING <= numbers * squares  # Cauchy and Schwarz
    if (finite & ((numbers >= 1) & possible).all(axis=-1)).all():
        return np.full(len(sample), USABLE)
    return reasons(
        len(sample),
        *without_traffic(*np.moveaxis(numbers < 1, -1, 0)),
        (IMPOSSIBLE, ~possible),
        (BACKWARDS, (numbers < 0) | (squares < 0)),
        (NOT_FINITE, ~finite),
    )


def seen(memory: Drifting, metric: Metric, sample: Floats, reason: Ints, dispersion: Floats) -> Drifting:
    """The memory after one look."""
    usable = reason == USABLE
    if not usable.all():
        sample = np.where(usable[:, None, None], sample, 0.0)
    sigma = _deviation(memory.arms, metric)
    compares = usable & (sigma > 0)
    number = sample[..., 0] + ~usable[:, None]  # 1 where nothing can be used, so that it divides
    mean = sample[..., 1] / number
    worse = (mean[:, 0] - mean[:, 1]) * (1 if metric.worse == "Higher" else -1) / np.where(compares, sigma, 1.0)
    each = 1 / number
    certainty = compares / np.sqrt(dispersion * INFLATION * (each[:, 0] + each[:, 1]))
    margin = metric.margins.absolute
    worse = np.clip(worse, -_FARTHEST, _FARTHEST)
    return Drifting(
        used=memory.used + usable,
        compared=memory.compared + compares,
        total=memory.total + (worse - margin) * certainty,
        arms=memory.arms + sample,
        safe=memory.safe + (inferior(margin) - worse) * certainty,
    )


def evidence(memory: Drifting, policy: Policy) -> Floats:
    """The ln of the evidence that the canary's mean is worse, shape (runs,)."""
    return _log_mixture(memory.total, memory.compared, policy)


def non_inferiority(memory: Drifting, policy: Policy) -> Floats:
    """The ln of the evidence that the canary's mean is not worse by the inferior margin, shape (runs,)."""
    return _log_mixture(memory.safe, memory.compared, policy)


def differences(memory: Drifting, metric: Metric) -> tuple[Floats, Floats, Floats]:
    """(canary mean, stable mean, standard deviation), each of shape (runs,); NaN where nothing was seen."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = memory.arms[..., 1] / memory.arms[..., 0]
    return means[:, 0], means[:, 1], _deviation(memory.arms, metric)


def inferior(margin: float) -> float:
    """The difference of means, in standard deviations, that early promotion excludes: a tolerance is too near to 0."""
    return 2 * max(margin, 0.05)


def _deviation(arms: Floats, metric: Metric) -> Floats:
    """Standard deviation of one value around its arm's mean, NaN while too few were seen."""
    if metric.deviation is not None:
        return np.full(len(arms), metric.deviation)
    number, total, squares = (arms[..., place] for place in range(3))
    around = squares - total * total / np.maximum(number, 1.0)
    values = number[:, 0] + number[:, 1] - 2
    variance = np.maximum(around[:, 0] + around[:, 1], 0.0) / np.maximum(values, 1.0)
    return np.where(values >= LEAST_VALUES, np.sqrt(variance), np.nan)


def _log_mixture(total: Floats, looks: Floats, policy: Policy) -> Floats:
    rho = _precision(policy)
    time = looks + rho
    half_square = total * total / (2 * time)
    return np.asarray(0.5 * np.log(4 * rho / time) + half_square + _log_normal_cdf(total / np.sqrt(time)))


def _precision(policy: Policy) -> float:
    """The rho for which the boundary is lowest half way to the horizon."""
    best_at = max(1.0, policy.planned_looks / 2)
    width = (
        2 * math.log(1 / (2 * policy.false_rollback_probability)) if policy.false_rollback_probability < 0.5 else 1.0
    )
    return best_at / (width + math.log1p(width))


def _log_normal_cdf(x: Floats) -> Floats:
    """The ln Phi(x): from erfc, and from its asymptotic series far to the left."""
    body = np.log(0.5 * np.asarray(_erfc(np.maximum(x, -30.0) / -math.sqrt(2)), dtype=np.float64))
    if not (x < -30.0).any():
        return body
    far = np.minimum(x, -30.0)
    tail = -0.5 * far * far - np.log(-far) - 0.5 * math.log(2 * math.pi)
    return np.where(x < -30.0, tail, body)


_erfc = np.frompyfunc(math.erfc, 1, 1)
