"""Models of the rules that other tools decide by, written from their documentation. They are not those products.

Each takes the looks of many rollouts and gives, for each, the look after which it rolls back, or -1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def argo_rollouts(canary_total: Array, canary_bad: Array, every: int, condition: float, failure_limit: int) -> Ints:
    """An AnalysisTemplate's metric: success rate >= `condition`, measured every `every` looks over that time.

    A measurement that misses the condition is a failure; more than `failure_limit` failures fail the run. A measurement
    without traffic is NaN, for which the condition does not hold.
    """
    return _failed_checks(*_success(canary_total, canary_bad, every), condition, failure_limit + 1, every)


def flagger(canary_total: Array, canary_bad: Array, every: int, condition: float, threshold: int) -> Ints:
    """A Canary's request-success-rate: checks that fail are counted over the whole analysis and never reset.

    `threshold` of them roll back; a check for which there is no data fails.
    """
    return _failed_checks(*_success(canary_total, canary_bad, every), condition, threshold, every)


def kayenta(
    canary_total: Array, canary_bad: Array, stable_total: Array, stable_bad: Array, point: int, every: int
) -> Ints:
    """A judgement every `every` looks over all points since the beginning, one for each `point` looks.

    Its default classifier calls a metric high when the lower end of the 98 % confidence interval of the shift (Mann and
    Whitney) is above a quarter of the estimated shift (Hodges and Lehmann). That is so exactly when the test, after a
    shift by that quarter, still finds the canary higher at 1 % one-sided.
    """
    canary, stable = (
        1 - good / np.maximum(total, 1)
        for total, good in (_success(canary_total, canary_bad, point), _success(stable_total, stable_bad, point))
    )
    out = np.full(canary.shape[1], -1, dtype=np.int64)
    for points in range(every // point, canary.shape[0] + 1, every // point):
        open_runs = np.flatnonzero(out < 0)
        if not open_runs.size:
            break
        a, b = canary[:points, open_runs], stable[:points, open_runs]
        likely = _higher(a, b)  # a shift towards zero makes the test harder, so only these can pass it
        a, b, open_runs = a[:, likely], b[:, likely], open_runs[likely]
        if open_runs.size:
            shift = np.median((a[:, None] - b[None]).reshape(-1, open_runs.size), axis=0)
            out[open_runs[_higher(a - 0.25 * np.abs(shift), b)]] = points * point - 1
    return out


def _higher(a: Array, b: Array) -> NDArray[np.bool_]:
    result = mannwhitneyu(a, b, alternative="greater", method="asymptotic", axis=0)
    return np.asarray(result.pvalue) < 0.01


def _success(total: Array, bad: Array, every: int) -> tuple[Array, Array]:
    """Total and good of each measurement."""
    looks = total.shape[0] // every * every
    summed = [counts[:looks].reshape(-1, every, counts.shape[1]).sum(axis=1) for counts in (total, total - bad)]
    return summed[0], summed[1]


def _failed_checks(total: Array, good: Array, condition: float, allowed: int, every: int) -> Ints:
    with np.errstate(invalid="ignore", divide="ignore"):
        failed = ~(good / total >= condition)
    reached = failed.cumsum(axis=0) >= allowed
    first = reached.argmax(axis=0)
    return np.where(reached.any(axis=0), (first + 1) * every - 1, -1)
