"""The onset-aware mixture: what turns evidence per look into evidence over a rollout.

What it tests: whatever the kernel tests; this module only bets over time. Regressions often begin late, and nobody
knows how large they are, so the starting capital of 1 is spread over effect sizes g and over the look at which the
regression begins: half on the first planned look, most of the rest evenly on the others. A tenth is kept for looks
after those, which are taken while a rollout is paused or held, and never ends: after n times as many looks as were
planned, 1 / sqrt(n) of it is left.

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

_FIRST, _KEPT = 0.5, 0.1
"""Of the capital: on the first planned look, and kept for looks after the planned ones."""


def log_stakes(planned: int, effects: int) -> Floats:
    """The ln of the capital put on each effect, of shape (4, effects): at the first look, at a later one, as a part of
    what is put down at one after those that were planned, and nothing.
    """
    first, later = (1 - _KEPT, 0.0) if planned == 1 else (_FIRST, (1 - _FIRST - _KEPT) / (planned - 1))
    with np.errstate(divide="ignore"):
        return np.repeat(np.log([[first], [later], [1.0], [0.0]]) - math.log(effects), effects, axis=1)


def bet(log_wealth: Floats, llr: Floats, stakes: Floats, used: Floats, planned: int, usable: Bools) -> Floats:
    """The ln R after one more look, of shape (runs, channels, g) like `llr`; `stakes` as of `log_stakes`.

    Unusable runs stay as they are: nothing is staked, and their llr must be 0.
    """
    stage = np.where(usable, (used >= 1).astype(np.intp) + (used >= planned), 3)
    beyond = np.maximum(used, planned)
    part = np.where(stage == 2, np.log(_kept(beyond, planned) - _kept(beyond + 1, planned)), 0.0)
    return np.asarray(np.logaddexp(log_wealth, (stakes[stage] + part[:, None])[:, None]) + llr)


def log_idle(used: Floats, planned: int) -> Floats:
    """The ln of the capital not yet at work after so many used looks, shape (runs,)."""
    later = np.maximum(planned - used, 0.0) * ((1 - _FIRST - _KEPT) / max(1, planned - 1))
    return np.log(np.where(used < 1, 1.0, later + _kept(used, planned)))


def _kept(used: Floats, planned: int) -> Floats:
    """What is left after so many used looks of what is kept for looks after the planned ones."""
    return np.asarray(_KEPT * np.sqrt(planned / np.maximum(used, planned)))
