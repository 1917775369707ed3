"""Bets: how much worse, or how much better, than a margin the canary is supposed to be.

What is bet on: that the canary's rate is g times (in odds, for kernel B) the margin r0 p_s + epsilon. With g above 1
the null hypothesis is that the canary is within the margin; with g below 1 that it is beyond it, and the evidence is
of non-inferiority. A kernel turns the counts of one look into the llr of every bet at once.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from upright.analysis.looks import Floats

CEILING = 0.95  # no margin is beyond this rate
LOWEST = 1e-6  # no guess is below this rate
NO_GUESS = 1.5  # a "rate" from here on says that nothing is known


@dataclass(frozen=True)
class Bets:
    """Alternatives g, each against its own margin; every array is of shape (bets,)."""

    g: Floats
    r0: Floats
    epsilon: Floats

    @cached_property
    def log_g(self) -> Floats:
        """The ln g."""
        return np.log(self.g)

    @cached_property
    def gain(self) -> Floats:
        """The g - 1."""
        return self.g - 1

    @cached_property
    def absolute(self) -> bool:
        """Whether any margin has an absolute part."""
        return bool(self.epsilon.any())

    @cached_property
    def addend(self) -> Floats:
        """The epsilon of rates of any size: one beyond the ceiling counts as the ceiling. Nothing is bet on being worse
        than such a margin, and what is better than the ceiling allows is better than it.
        """
        return np.minimum(self.epsilon, CEILING)

    @cached_property
    def highest(self) -> Floats:
        """The stable rate at which the margin reaches the ceiling."""
        return np.maximum((CEILING - self.epsilon) / self.r0, LOWEST)

    @cached_property
    def useful_below(self) -> Floats:
        """The guess of the stable rate from which on there is nothing to bet on.

        None is worse than a margin beyond the ceiling, but all are better, so only what is no rate at all ends that.
        """
        return np.where(self.g > 1, (CEILING - self.epsilon) / self.r0, NO_GUESS)


def bets(effects: Floats, r0: float = 1.0, epsilon: float = 0.0) -> Bets:
    """The effects, all against one margin."""
    return Bets(effects, np.full(len(effects), r0), np.full(len(effects), epsilon))


def together(parts: list[Bets]) -> Bets:
    """Several groups of bets, one after the other."""
    return Bets(*(np.concatenate([getattr(part, field) for part in parts]) for field in ("g", "r0", "epsilon")))
