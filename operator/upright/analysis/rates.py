"""Kernel B: is the canary's rate higher, for rates of any size?

What it tests: two proportions (latencies above a bucket edge, wrong predictions), or one proportion against a limit.
Null hypothesis: p_c <= r0 p_s + epsilon (two arms) or p <= maximum (one arm), for the mean rates of the look.
Guarantee: the factor exp(llr) of a look has mean at most 1 under the null for independent events, exactly, for every
plug-in: a wrong guess costs power, never validity.
Source: Turner, Ly & Gruenwald (arXiv 2106.02693, 2203.09785); the proof below is ours.

The alternative is (p_c1, p_s1): p_s1 a guess from earlier looks, p_c1 an odds shift of r0 p_s1 + epsilon by g. The null
point (q_c, q_s) is the point of the line p_c = r0 p_s + epsilon nearest to it, minimising
n_c KL(p_c1 || q_c) + n_s KL(p_s1 || q_s). The factor of a look is the likelihood ratio of the two points.

Proof. Write the factor of one request of an arm as 1 + d (y - q) with y in {0, 1}; then its log mean at a true rate
p is ln(1 + d (p - q)) <= d (p - q). Over the look, the log mean is at most n_c d_c (p_c - q_c) + n_s d_s (p_s - q_s),
and choosing d_s = -slope d_c with slope = r0 n_c / n_s makes this n_c d_c (p_c - q_c - r0 (p_s - q_s)), which is at
most 0 under the null for d_c >= 0, as (q_c, q_s) lies on the line. That choice is the stationarity condition of the
nearest point, so imposing it changes nothing when the point is exact and keeps the mean at most 1 when it is only
approximate. Rates that differ between requests change nothing, because the bound is linear in them.

How near the point is to the nearest one is thus a matter of power alone. On its line, from 0 at p_s1 to 1 at p_c1,
the nearest point lies at the canary's share of the information about it, n_c r0^2 / (q_c (1 - q_c)) against
n_s / (q_s (1 - q_s)), which depend on the point; here they are taken in the middle of the line. Each arm's own
likelihood ratio then gives a d_c, equal at the exact point, of which the smaller keeps every factor positive. That has
at least 85 % of the growth of the exact point, and mostly 99 %.

For g below 1 the null is p_c >= r0 p_s + epsilon, d_c <= 0, and the same holds with the sign turned.

The design document stops this kernel where r0 p_s >= 0.95; by the proof it need only stop where no p_c1 above
r0 p_s1 + epsilon is left, but beyond 0.95 there is nothing to gain, so that limit is kept. Bets of non-inferiority go
on beyond it with the highest guess that has a margin: every canary is better than a margin beyond 1.
"""

import numpy as np

from upright.analysis.bets import LOWEST, Bets
from upright.analysis.looks import Floats, Table

EFFECTS: Floats = np.array([1.25, 1.6, 2.5, 5.0, 20.0, 100.0])


def compare(table: Table, stable_rate: Floats, against: Bets) -> Floats:
    """The llr of each bet, shape (runs, channels, bets).

    `stable_rate` is the guess p_s1 of shape (runs, channels), made before the look; where it is `NO_GUESS` or more,
    there is no evidence.
    """
    known = stable_rate[..., None]
    # the first axis of these arrays is the arm: canary, stable
    total, bad = table.counts.reshape(*known.shape[:2], 2, 2).transpose(3, 2, 0, 1)[..., None]
    start = np.empty((*total.shape[:-1], len(against.g)))
    start[1] = np.minimum(np.maximum(known, LOWEST), against.highest)
    start[0] = against.r0 * start[1] + against.addend
    way = np.empty_like(start)
    shift = against.gain * start[0]
    way[0] = shift * (1 - start[0]) / (1 + shift)
    way[1] = way[0] / against.r0
    # the line ends at a stable rate of 0, which is before an alternative for the canary that is below epsilon
    furthest = (1 - 1e-9) * start[1] / np.maximum(start[1], -way[1])
    traffic = total + 1e-300  # where there was none, any slope will do
    slope = against.r0 * (traffic[0] / traffic[1])
    weight = against.r0 * slope
    q = start + 0.5 * furthest * way
    variance = q - q * q
    of_canary = weight * variance[1]
    share = np.minimum(of_canary / (of_canary + variance[0]), furthest)
    q = start + share * way
    variance = q - q * q
    stake = np.minimum((1 - share) / variance[0], share / (weight * variance[1]))
    d = np.empty_like(q)
    d[0] = stake * way[0] * (known < against.useful_below)
    d[1] = -slope * d[0]
    drop = d * q
    llr = bad * np.log1p(d - drop) + (total - bad) * np.log1p(-drop)
    return np.asarray(llr[0] + llr[1])


def against_limit(total: Floats, bad: Floats, maximum: float, effects: Floats = EFFECTS) -> Floats:
    """The llr against p <= maximum (effects above 1) or p >= maximum (below 1), shape (runs, channels, effects)."""
    p1 = effects * maximum / (1 + (effects - 1) * maximum)
    d = (p1 - maximum) / (maximum * (1 - maximum))
    good = np.log1p(-d * maximum)
    return np.asarray(total[..., None] * good + bad[..., None] * (np.log1p(d * (1 - maximum)) - good))
