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

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from upright.analysis.looks import Bools, Floats

Scalar = TypeVar("Scalar", bound=np.generic)


def cash(used: Floats, planned: int) -> Floats:
    """Capital not yet at work after `used` looks, shape (runs,)."""
    return np.where(used == 0, 1.0, np.maximum(planned - used, 0.0) * (0.5 / max(planned - 1, 1)))


def bet(log_wealth: Floats, llr: Floats, used: Floats, planned: int, usable: Bools) -> Floats:
    """The ln R after one more look, of shape (runs, ..., g) like `llr`; unusable runs stay as they are."""
    stake = (cash(used, planned) - cash(used + 1, planned)) / llr.shape[-1]
    with np.errstate(divide="ignore"):
        after = np.logaddexp(log_wealth, _over(np.log(stake), llr.ndim)) + llr
    return after if usable.all() else np.where(_over(usable, llr.ndim), after, log_wealth)


def log_evidence(log_wealth: Floats, used: Floats, planned: int) -> Floats:
    """The ln E, the last axis of `log_wealth` summed away."""
    with np.errstate(divide="ignore"):
        idle = _over(np.log(cash(used, planned)), log_wealth.ndim - 1)
    return np.asarray(np.logaddexp(np.logaddexp.reduce(log_wealth, axis=-1), idle))


def _over(values: NDArray[Scalar], ndim: int) -> NDArray[Scalar]:
    """An array over runs, shaped to broadcast over `ndim` axes."""
    return values.reshape(-1, *(1,) * (ndim - 1))
