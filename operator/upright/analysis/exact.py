"""The exact boundary: when so few errors are expected that 1/alpha is too far away.

What it tests: kernel A's relative null, p_c <= r0 p_s, by the number of the canary's bad events.
Null hypothesis: given the e_k bad events of look k, the canary's are Binomial(e_k, q_k), q_k = n_c r0 / (n_c r0 + n_s).
That is exact for Poisson events at the edge of the tolerance; below the edge fewer are the canary's, and for Bernoulli
events the law is narrower. The number of all the canary's bad events is then the sufficient statistic for the ratio.
Guarantee: a healthy canary is ever rolled back with probability at most alpha, with equality but for discreteness:
nothing is simulated and no bound is used. It needs independent events (dispersion 1), counts that are whole numbers,
and a horizon that is known beforehand; there is no slack that would forgive a violation.
Method: the law of the sum, among paths that were not yet rolled back, is kept as an array and convolved with the
binomial law of each look. After t of T looks at most 0.9 alpha sqrt(t/T) may have been spent, and of the tenth that is
kept for looks after the T planned ones, while a rollout is on hold, all but 1 / sqrt(t/T): the boundary is the lowest
sum whose tail fits into what is left, and the tail from it on is spent. What one look leaves unspent, later ones have.
Few events only: the sum forgets when an event happened, so once `FEW` of the canary's are expected, the onset mixture
takes over and gets what is left of alpha. When that happens depends on the e_k and the traffic alone, which the null
law is conditioned on, so the two parts add up to alpha.
Source: alpha spending (Lan & DeMets 1983), here with the exact law by recursion (Armitage, McPherson & Rowe 1969).

The design document simulates 3,000 null paths instead; the recursion needs no random numbers and fits into a state.
"""

from typing import NamedTuple

import numpy as np

from upright.analysis.looks import Floats, Table

FEW = 25.0  # expected bad events of the canary
CELLS = 64  # sums from here on are not told apart: beyond FEW by nearly 8 standard deviations
_KEPT = 0.1  # of alpha, for looks after the planned ones
_NUMBERS: Floats = np.arange(float(CELLS))  # of bad events


class Exact(NamedTuple):
    """The memory of one metric's exact boundary. The first axis of every array is the run."""

    expected: Floats  # (runs,): bad events of a canary at the edge of the tolerance, beyond FEW for ever once it was
    bad: Floats  # (runs,): those that the canary had
    spent: Floats  # (runs,): probability with which a canary at the edge was rolled back so far
    alive: Floats  # (runs, CELLS): probability that it was not, by its number of bad events
    log_evidence: Floats  # (runs,): ln of 1/alpha times what may be spent over the probability of so many or more


SHAPES: dict[str, tuple[int, ...]] = {
    "expected": (),
    "bad": (),
    "spent": (),
    "alive": (CELLS,),
    "log_evidence": (),
}


def empty(runs: int) -> Exact:
    """A boundary before the first look."""
    nothing = np.zeros(runs)
    return Exact(nothing, nothing, nothing, np.repeat([np.eye(1, CELLS)[0]], runs, axis=0), nothing)


def seen(memory: Exact, table: Table, r0: float, alpha: float, elapsed: Floats) -> Exact:
    """The memory after one look.

    Args:
        memory: before it.
        table: of one channel, with whole numbers; zero in the runs that have nothing to look at.
        r0: 1 plus the tolerated relative increase.
        alpha: the probability of a false rollback by this metric.
        elapsed: the time that is over with this look, in parts of what was planned, shape (runs,).
    """
    n_c, e_c, n_s, e_s = table.counts[:, 0].T
    events = e_c + e_s
    odds = n_c * r0 / np.maximum(n_s, 1e-300)
    expected = memory.expected + events * odds / (1 + odds)
    few = (expected <= FEW) & (events > 0)  # a look without events tells nothing
    if not few.any():
        return memory._replace(expected=expected)
    alive = _added(memory.alive, _binomial(events * few, odds))
    tail = np.add.accumulate(alive[:, ::-1], axis=1)[:, ::-1]
    budget = np.where(few, alpha * _may_be_spent(elapsed) - memory.spent, -1.0)
    beyond = tail <= budget[:, None]
    bad = memory.bad + e_c * few
    of_so_many = tail[np.arange(len(bad)), np.minimum(bad, CELLS - 1).astype(np.intp)]
    log_evidence = np.log(np.maximum(budget, 1e-300) / np.maximum(of_so_many * alpha, 1e-300))
    return Exact(
        expected=expected,
        bad=bad,
        spent=memory.spent + np.maximum.reduce(np.where(beyond, tail, 0.0), axis=1),
        alive=np.where(beyond, 0.0, alive),
        log_evidence=np.where(few, log_evidence, memory.log_evidence),
    )


def evidence(memory: Exact, log_mixture: Floats, alpha: float) -> Floats:
    """The ln of the evidence, shape (runs,): at 1/alpha the canary is rolled back.

    While events are few it says how much of what may be spent the canary's number of bad events would take, later it is
    the evidence of the mixture, scaled to what is left of alpha.
    """
    left = log_mixture + np.log1p(-memory.spent / alpha)
    return np.asarray(np.where(memory.expected <= FEW, memory.log_evidence, left))


def boundary(memory: Exact) -> int | None:
    """From how many bad events on a single run was rolled back at its last look; None while that is out of reach."""
    if memory.expected[0] > FEW or memory.alive[0, -1] > 0:
        return None
    return int(np.flatnonzero(memory.alive[0])[-1]) + 1


def _may_be_spent(elapsed: Floats) -> Floats:
    """The part of alpha by this look. It never comes to all of it: however long a hold lasts, something is left."""
    beyond = _KEPT * (1 - 1 / np.sqrt(np.maximum(elapsed, 1.0)))
    return np.asarray((1 - _KEPT) * np.sqrt(np.minimum(elapsed, 1.0)) + beyond)


def _binomial(number: Floats, odds: Floats) -> Floats:
    """The probabilities of 0, 1, ... bad events of the canary, shape (runs, as many as can be, CELLS at most)."""
    most = min(int(number.max()), CELLS - 1)
    law = np.empty((len(number), most + 1))
    law[:, 0] = np.exp(-number * np.log1p(odds))  # odds may be so small that 1 + odds is 1
    law[:, 1:] = (number[:, None] - _NUMBERS[:most]) * odds[:, None] / _NUMBERS[1 : most + 1]  # by the one before
    return np.asarray(np.multiply.accumulate(law, axis=1))


def _added(alive: Floats, law: Floats) -> Floats:
    """The law of the sum; its last cell holds all that is beyond."""
    reach = law.shape[1]
    after = np.zeros((len(alive), CELLS + reach - 1))
    for bad in range(reach):
        after[:, bad : bad + CELLS] += alive * law[:, bad, None]
    within = after[:, :CELLS]
    within[:, -1] = np.maximum(within[:, -1], alive.sum(axis=1) - within[:, :-1].sum(axis=1))
    return within
