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


def log_stakes(planned: int, effects: int) -> Floats:
    """The ln of the capital put on each effect: at the first look, at a later one, and at any after the last."""
    first, later = (1.0, 0.0) if planned == 1 else (0.5, 0.5 / (planned - 1))
    with np.errstate(divide="ignore"):
        return np.repeat(np.log([[first], [later], [0.0]]) - math.log(effects), effects, axis=1)


def bet(log_wealth: Floats, llr: Floats, stakes: Floats, used: Floats, planned: int, usable: Bools) -> Floats:
    """The ln R after one more look, of shape (runs, channels, g) like `llr`; `stakes` as of `log_stakes`.

    Unusable runs stay as they are: nothing is staked, and their llr must be 0.
    """
    stage = np.where(usable, (used >= 1).astype(np.intp) + (used >= planned), 2)
    return np.asarray(np.logaddexp(log_wealth, stakes[stage][:, None]) + llr)


def log_idle(used: Floats, planned: int) -> Floats:
    """The ln of the capital not yet at work after so many used looks, shape (runs,)."""
    later = np.maximum(planned - used, 0.0) * (0.5 / max(1, planned - 1))
    return np.log(np.where(used < 1, 1.0, np.maximum(later, 1e-300)))  # finite where nothing is left
