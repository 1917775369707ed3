"""Kernel A: has the canary more errors, in proportion, than the stable version?

What it tests: the ratio of two rates of rare events, from the events of one look (n_c, e_c, n_s, e_s).
Null hypothesis: p_c <= r0 p_s (relative margin, r0 = 1 + delta) or p_c <= p_s + epsilon (absolute margin), where p_c
and p_s are the mean rates over the requests of the look.
Guarantee: the factor exp(llr) of a look has mean at most 1 under the null, for Bernoulli or Poisson events, whatever
the common rate is and however it varies, and for any split of the traffic that is known before the events.
Source: Lindon & Malek (arXiv 2011.03567) for the conditional multinomial form; the absolute margin is derived here.

Relative. With q(r) = n_c r / (n_c r + n_s), q0 = q(r0), q1 = q(r0 g):

    llr = e_c ln(q1/q0) + e_s ln((1-q1)/(1-q0)) = e_c ln g - (e_c + e_s) ln(1 + q0 (g - 1))

Each event multiplies by a = q1/q0 (canary) or b = (1-q1)/(1-q0) (stable). For Bernoulli events
E[a^e_c] = prod (1 + p_i (a-1)) <= exp(n_c p_c (a-1)), with equality in the Poisson case. As n_c/q0 = (n_c r0 + n_s)/r0
and n_s/(1-q0) = n_c r0 + n_s, the mean of the factor is at most exp((q1-q0)(n_c r0 + n_s)(p_c/r0 - p_s)), which is at
most 1 exactly under the null when g > 1, and under p_c >= r0 p_s when g < 1: the same formula tests non-inferiority.

Absolute. Take r0 = 1, so that n_c (a-1) = n_s (1-b) = (q1-q0)(n_c + n_s). The log mean is at most
n_c p_c (a-1) - n_s p_s (1-b) = (q1-q0)(n_c + n_s)(p_c - p_s) <= epsilon (q1-q0)(n_c + n_s), whatever p_s is. Take that
much, which is epsilon n_s q0 (g-1) / (1 + q0 (g-1)), off llr and the mean is at most 1; for g < 1 the sign turns and
the null is p_c >= p_s + epsilon.
"""

import numpy as np

from upright.analysis.bets import Bets
from upright.analysis.looks import Floats, Table

EFFECTS: Floats = np.array([1.1, 1.2, 1.35, 1.5, 1.75, 2, 2.5, 3, 4, 6, 10, 20, 50, 100])


def compare(table: Table, against: Bets) -> Floats:
    """The llr of each bet, shape (runs, channels, bets); 0 where a version had no traffic.

    A margin is relative (epsilon = 0) or absolute (r0 = 1).
    """
    n_c, e_c, n_s, e_s = (table.counts[..., place, None] for place in range(4))
    weighted = n_c * against.r0
    growth = weighted / np.maximum(weighted + n_s, 1e-300) * against.gain  # 0 where there was no traffic
    llr = e_c * against.log_g - (e_c + e_s) * np.log1p(growth)
    if against.absolute:
        llr -= n_s * against.epsilon * growth / (1 + growth)
    return llr
