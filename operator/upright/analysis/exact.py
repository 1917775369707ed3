"""The exact boundary: when so few errors are expected that 1/alpha is too far away.

What it tests: kernel A's null, p_c <= r0 p_s, for independent events over a horizon that is known beforehand.
Guarantee: a healthy canary is ever rolled back with probability at most alpha paths / (paths + 1), up to the
approximation that, given the errors of a look, the canary's are Binomial(e, q(r0)): exact for Poisson events; for
Bernoulli events the true law is narrower.
Method: draw null paths e*_c ~ Bin(e_k, q_k(r0)) for the very errors and splits that were seen, and put them through
the same evidence. Under the null the observed path is one more such path. At look t the total budget is
floor(alpha paths sqrt(t / planned)) paths; those with the highest evidence among the living are retired until it is
used up, and the rollout is rolled back when its evidence strictly beats the last one to be retired. The observed path
is then among the `budget` highest of paths + 1 exchangeable ones, so over the horizon it is caught with probability at
most alpha paths / (paths + 1). Evidence rises with e_c, so p_c < r0 p_s only makes it smaller. Strictly: with ties
counted as wins the promise breaks.
Source: group-sequential alpha spending (Lan & DeMets 1983) with a Monte Carlo test (Besag & Clifford 1989).
"""

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from upright.analysis import onset, ratio
from upright.analysis.bets import bets
from upright.analysis.looks import Counts, Floats, Table, as_runs, table_of


def exact_crossing(
    looks: Sequence[Counts], planned: int, alpha: float, r0: float, rng: Generator, paths: int = 3000
) -> int | None:
    """The first look (counted from 0) at which the canary is worse by the exact boundary, None if there is none.

    Args:
        looks: of one rollout so far, in order, all usable.
        planned: looks in the horizon; later ones are not tested.
        alpha: the probability of a false rollback.
        r0: 1 plus the tolerated relative increase.
        rng: draws the null paths; the same generator and looks give the same answer.
        paths: how many null paths; at least 1/alpha, or there is no budget at all.
    """
    against = bets(ratio.EFFECTS, r0)
    wealth = np.full((paths + 1, 1, len(ratio.EFFECTS)), -np.inf)  # the observed path is the first
    stakes = onset.log_stakes(planned, len(ratio.EFFECTS))
    alive = np.ones(paths, dtype=np.bool_)
    every = np.ones(paths + 1, dtype=np.bool_)
    for look, counts in enumerate(looks[:planned]):
        table = _with_null_paths(counts, r0, rng, paths)
        used = np.full(paths + 1, float(look))
        wealth = onset.bet(wealth, ratio.compare(table, against), stakes, used, planned, every)
        evidence = np.logaddexp(np.logaddexp.reduce(wealth[:, 0], axis=-1), onset.log_idle(used + 1, planned))
        budget = int(alpha * paths * np.sqrt((look + 1) / planned)) - int((~alive).sum())
        if budget < 1:
            continue
        living = np.flatnonzero(alive)
        highest = living[np.argsort(-evidence[1:][living], kind="stable")[:budget]]
        if evidence[0] > evidence[1:][highest[-1]]:
            return look
        alive[highest] = False
    return None


def _with_null_paths(counts: Counts, r0: float, rng: Generator, paths: int) -> Table:
    """The observed table and then `paths` tables with as many errors, split as the null says."""
    n_c, e_c, n_s, e_s = (float(as_runs(value)[0]) for value in (*counts.canary, *counts.stable))
    errors = e_c + e_s
    drawn: Floats = rng.binomial(int(errors), n_c * r0 / (n_c * r0 + n_s), paths).astype(np.float64)
    canary = np.concatenate(([e_c], drawn))[:, None]
    return table_of((np.full_like(canary, n_c), canary), (np.full_like(canary, n_s), errors - canary))
