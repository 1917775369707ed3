"""The onset-aware mixture: what turns evidence per look into evidence over a rollout.

What it tests: whatever the kernel tests; this module only bets over time. Regressions often begin late, and nobody
knows how large they are, so the starting capital of 1 is spread over effect sizes g and over the look at which the
regression begins: half on the first planned look, the rest evenly on the others.

    R_g <- (R_g + w_t pi_g) exp(llr_t(g)),    cash <- cash - w_t,    E_t = sum_g R_g + cash

Null hypothesis: each look's factor exp(llr) has conditional mean at most 1 (the kernel's null).
Guarantee: E_t is then a non-negative supermartingale from 1, so it ever reaches 1/alpha with probability at most
alpha (Ville). Proof: money put on a g at look t is still in hand before it, and every product after it has mean at
most 1; a mixture of supermartingales with predictable weights of sum 1 is one.
Cost: ln 2 of evidence for a regression that is there from the start.
Source: the mixture over onsets is Shin, Ramdas & Rinaldo, "E-detectors" (arXiv 2203.03532), with a finite budget.
"""

import math

import numpy as np

from upright.analysis.looks import Bools, Floats


def cash(used: Floats, planned: int) -> Floats:
    """Capital not yet at work after `used` looks, shape (runs,)."""
    return np.asarray(np.interp(used, (0, 1, planned), (1, 0.5 if planned > 1 else 0, 0)))


def log_stakes(planned: int, effects: int) -> Floats:
    """The ln of the capital put on each effect: at the first look, at a later one, and at any after the last."""
    first, later = (1.0, 0.0) if planned == 1 else (0.5, 0.5 / (planned - 1))
    with np.errstate(divide="ignore"):
        return np.repeat(np.log([[first], [later], [0.0]]) - math.log(effects), effects, axis=1)


def bet(log_wealth: Floats, llr: Floats, stakes: Floats, used: Floats, planned: int, usable: Bools) -> Floats:
    """The ln R after one more look, of shape (runs, channels, g) like `llr`; `stakes` as of `log_stakes`.

    Unusable runs stay as they are: nothing is staked, and their llr must be 0.
    """
    stage = np.where(usable, np.array((1.0, planned)).searchsorted(used, side="right"), 2)
    return np.asarray(np.logaddexp(log_wealth, stakes[stage][:, None]) + llr)


def log_evidence(log_wealth: Floats, used: Floats, planned: int) -> Floats:
    """The ln E, the last axis of `log_wealth` summed away."""
    # 1e-300 for nothing keeps the logarithm finite
    idle = np.log(np.maximum(cash(used, planned), 1e-300)).reshape(-1, *(1,) * (log_wealth.ndim - 2))
    return np.asarray(np.logaddexp(np.logaddexp.reduce(log_wealth, axis=-1), idle))
