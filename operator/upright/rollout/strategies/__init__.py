"""May the candidate have more? One module for each answer, by the name that `rollout.strategy` has for it."""

from collections.abc import Mapping
from typing import Protocol

from upright.rollout.decision import Decision, Shape
from upright.rollout.facts import Facts
from upright.rollout.strategies.canary import Canary


class Strategy(Protocol):
    """How a new version goes out."""

    def decide(self, facts: Facts) -> Decision:
        """What becomes of the candidate."""
        ...

    def shape(self, facts: Facts) -> Shape:
        """The pods of both versions, now."""
        ...


STRATEGIES: Mapping[str, Strategy] = {"Canary": Canary()}
