"""Who gets what share? With one Service over both versions, traffic follows the ratio of ready pods."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Replicas:
    """How many pods each version has."""

    stable: int
    candidate: int

    @property
    def weight(self) -> int:
        """The candidate's share in percent, rounded; 0 when there are no pods."""
        return share(self.candidate, self.stable)


def share(candidate: int, stable: int) -> int:
    """The candidate's share of so many pods in percent, rounded; 0 when there are no pods."""
    both = candidate + stable
    return round(100 * candidate / both) if both else 0


def split(replicas: int, weight: int) -> Replicas:
    """The pods that give the candidate `weight` percent (1 to 99) as nearly as whole pods can.

    Up to 50 % the stable version keeps all its pods, so that a rollback needs none to start; above, the candidate has
    all of its own and the stable version goes down. There are never fewer ready pods than `replicas`.
    """
    if replicas == 0:
        return Replicas(0, 0)
    if weight <= 50:
        return Replicas(replicas, max(1, round(replicas * weight / (100 - weight))))
    return Replicas(max(1, round(replicas * (100 - weight) / weight)), replicas)
