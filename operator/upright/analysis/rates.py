"""Kernel B: is the canary's rate higher, for rates of any size?

What it tests: two proportions (latencies above a bucket edge, wrong predictions), or one proportion against a limit.
Null hypothesis: p_c <= r0 p_s + epsilon (two arms) or p <= maximum (one arm), for the mean rates of the look.
Guarantee: the factor exp(llr) of a look has mean at most 1 under the null for independent events, exactly, for every
plug-in: a wrong guess costs power, never validity.
Source: Turner, Ly & Gruenwald (arXiv 2106.02693, 2203.09785); the proof below is ours.

The alternative is (p_c1, p_s1): p_s1 a guess from earlier looks, p_c1 an odds shift of r0 p_s1 + epsilon by g. The null
point (q_c, q_s) is the point of the line p_c = r0 p_s + epsilon nearest to it, minimising
n_c KL(p_c1 || q_c) + n_s KL(p_s1 || q_s). The factor of a look is the likelihood ratio of the two points.

Proof. Write the factor of one request of an arm as 1 + d (y - q) with y in {0, 1}; then its log mean at a true rate p
is ln(1 + d (p - q)) <= d (p - q). Over the look, the log mean is at most n_c d_c (p_c - q_c) + n_s d_s (p_s - q_s),
and choosing d_s = -r0 n_c d_c / n_s makes this n_c d_c (p_c - q_c - r0 (p_s - q_s)), which is at most 0 under the null,
as (q_c, q_s) lies on the line. That choice is the stationarity condition of the nearest point, so imposing it changes
nothing when the point is exact and keeps the mean at most 1 when it is only approximate. Rates that differ between
requests change nothing, because the bound is linear in them.

The design document stops this kernel where r0 p_s >= 0.95; by the proof it need only stop where no p_c1 above
r0 p_s1 + epsilon is left, but beyond 0.95 there is nothing to gain, so that limit is kept.
"""

import numpy as np

from upright.analysis.looks import Floats, Table

EFFECTS: Floats = np.array([1.2, 1.5, 2.0, 3.5, 8.0, 30.0])
CEILING = 0.95


def compare(table: Table, stable_rate: Floats, r0: float, epsilon: float, effects: Floats = EFFECTS) -> Floats:
    """The llr against p_c <= r0 p_s + epsilon, shape (runs, channels, effects).

    `stable_rate` is the guess p_s1 of shape (runs, channels), made before the look; where it is NaN there is no guess
    and so no evidence.
    """
    if r0 * 1e-6 + epsilon >= CEILING:
        return np.zeros((*table.canary_total.shape, len(effects)))
    guess = np.clip(stable_rate, 1e-6, 1 - 1e-6)
    limit = r0 * guess + epsilon
    testable = (limit < CEILING) & (table.canary_total > 0) & (table.stable_total > 0)
    # where there is nothing to test, any point that is in range keeps the arithmetic quiet
    p_s1 = np.where(testable, guess, 0.5 * (CEILING - epsilon) / r0)[..., None]
    p_c1 = _shift_odds(r0 * p_s1 + epsilon, effects)
    n_c, n_s = (np.where(testable, n, 1.0)[..., None] for n in (table.canary_total, table.stable_total))
    q_s = _null_point(p_c1, p_s1, n_c, n_s, r0, epsilon)
    q_c = r0 * q_s + epsilon
    slope = r0 * n_c / n_s
    d_c = np.minimum((p_c1 - q_c) / (q_c * (1 - q_c)), (1 - 1e-9) / (slope * (1 - q_s)))
    d_s = -slope * d_c
    llr = _log_factor(table.canary_total, table.canary_bad, d_c, q_c) + _log_factor(
        table.stable_total, table.stable_bad, d_s, q_s
    )
    return np.where(testable[..., None], llr, 0.0)


def against_limit(total: Floats, bad: Floats, maximum: float, effects: Floats = EFFECTS) -> Floats:
    """The llr against p <= maximum (effects above 1) or p >= maximum (below 1), shape (runs, channels, effects)."""
    p1 = _shift_odds(np.array(maximum), effects)
    return _log_factor(total, bad, (p1 - maximum) / (maximum * (1 - maximum)), np.array(maximum))


def _shift_odds(p: Floats, g: Floats) -> Floats:
    return g * p / (1 + (g - 1) * p)


def _log_factor(total: Floats, bad: Floats, d: Floats, q: Floats) -> Floats:
    return bad[..., None] * np.log1p(d * (1 - q)) + (total - bad)[..., None] * np.log1p(-d * q)


def _null_point(p_c1: Floats, p_s1: Floats, n_c: Floats, n_s: Floats, r0: float, epsilon: float) -> Floats:
    """q_s of the null point nearest to (p_c1, p_s1)."""
    if epsilon == 0:
        # the stationarity condition is then A q^2 + B q + C = 0, and q its smaller root
        events = n_c * p_c1 + n_s * p_s1
        quiet_c, quiet_s = n_c * (1 - p_c1) * r0, n_s * (1 - p_s1)
        a, b = events * r0 + quiet_c + quiet_s * r0, events * (1 + r0) + quiet_c + quiet_s
        return 2 * events / (b + np.sqrt(np.maximum(b * b - 4 * a * events, 0.0)))
    # no closed form of use: Newton's method from the point that weighs both arms by their information
    low, high = np.maximum(np.minimum(p_s1, (p_c1 - epsilon) / r0), 1e-9), np.minimum(p_c1, (1 - 1e-9 - epsilon) / r0)
    info_c, info_s = r0 * n_c / (p_c1 * (1 - p_c1)), n_s / (p_s1 * (1 - p_s1))
    q = np.clip((info_c * (p_c1 - epsilon) + info_s * p_s1) / (info_c * r0 + info_s), low, high)
    for _ in range(3):
        q_c = r0 * q + epsilon
        slope = r0 * n_c * (p_c1 - q_c) / (q_c * (1 - q_c)) + n_s * (p_s1 - q) / (q * (1 - q))
        curve = r0 * r0 * n_c * (p_c1 / q_c**2 + (1 - p_c1) / (1 - q_c) ** 2)
        curve = curve + n_s * (p_s1 / q**2 + (1 - p_s1) / (1 - q) ** 2)
        q = np.clip(q + slope / curve, low, high)
    return q
