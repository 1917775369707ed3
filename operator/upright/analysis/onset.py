"""The onset-aware mixture: what turns evidence per look into evidence over a rollout.

What it tests: whatever the kernel tests; this module only bets over time. Regressions often begin late, and nobody
knows how large they are, so the starting capital of 1 is spread over effect sizes g and over the time at which the
regression begins: half on the first look, most of the rest evenly on the planned time after it, each look getting that
of the time since the one before. A tenth is kept for looks after that, which are taken while a rollout is paused or
held, and never ends: after n times as long as was planned, 1 / sqrt(n) of it is left.

    R_g <- (R_g + w_t pi_g) exp(llr_t(g)),    cash <- cash - w_t,    E_t = sum_g R_g + cash

Time is counted in intervals between looks that are used, and a longer gap is one interval: so looks that come faster,
while there is something to see, put no more at stake than those which they stand for.

Null hypothesis: each look's factor exp(llr) has conditional mean at most 1 (the kernel's null).
Guarantee: E_t is then a non-negative supermartingale from 1, so it ever reaches 1/alpha with probability at most
alpha (Ville). Proof: money put on a g at look t is still in hand before it, and every product after it has mean at
most 1; a mixture of supermartingales with predictable weights of sum 1 is one. When a look is taken is decided before
it, so its weight is predictable.
Cost: ln 2 of evidence for a regression that is there from the start.
Source: the mixture over onsets is Shin, Ramdas & Rinaldo, "E-detectors" (arXiv 2203.03532), with a finite budget.
"""

import numpy as np

from upright.analysis.looks import Bools, Floats

_FIRST, _KEPT = 0.5, 0.1
"""Of the capital: on the first look, and kept for looks after the planned time."""


def bet(
    log_wealth: Floats, llr: Floats, prior: Floats, once: Bools, before: Floats, after: Floats, planned: int
) -> Floats:
    """The ln R after one more look, of shape (runs, channels, g) like `llr`.

    Args:
        log_wealth: the ln R before it.
        llr: of the look; 0 in the runs that do not use it.
        prior: pi_g, how what is put down is spread over the effects.
        once: the effects that get all of theirs at the first look.
        before: the time that had been used before the look, in intervals, shape (runs,).
        after: the same after it; equal where it is not used, so that nothing is put down.
        planned: intervals.
    """
    first, moved = (before <= 0) & (after > 0), idle(before, planned) - idle(after, planned)
    with np.errstate(divide="ignore"):
        put_down = np.log(np.where(once, first[:, None], moved[:, None]) * prior)
    return np.asarray(np.logaddexp(log_wealth, put_down[:, None]) + llr)


def idle(used: Floats, planned: int) -> Floats:
    """The capital that is not yet at work after so much used time, shape (runs,)."""
    later = np.maximum(planned - np.maximum(used, 1.0), 0.0) * ((1 - _FIRST - _KEPT) / max(1, planned - 1))
    kept = _KEPT * np.sqrt(planned / np.maximum(used, planned))
    return np.asarray(np.where(used <= 0, 1.0, later + kept))
