"""What is known of a rollout when something is decided about it: one frozen value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from upright.api.deployment import Analysis, Arm, DeploymentSpec
from upright.pods.reading import Pod
from upright.rollout.measuring import Reading

STEADY = timedelta(seconds=10)
"""A pod that has been ready for so long without interruption counts when a version is to take all the traffic."""


@dataclass(frozen=True)
class ArmFacts:
    """One of the two versions, and its pods."""

    arm: Arm
    """As recorded."""
    pods: Sequence[Pod] = ()
    """Those that belong to it and are not being deleted."""
    size: int = 0
    """For how many pods its workload has been asked."""
    refused: str = ""
    """Why the cluster makes no more pods for it, as the API server says; empty when it does."""
    lost: int = 0
    """How many pods have failed as a whole, for instance evicted ones."""

    @property
    def ready(self) -> int:
        """How many pods answer."""
        return sum(pod.ready for pod in self.pods)

    def steady(self, now: datetime, least: timedelta = STEADY) -> int:
        """How many pods have answered for so long without interruption; by default, for as long as it takes to be
        trusted with all the traffic.
        """
        return sum(pod.ready_since is not None and now - pod.ready_since >= least for pod in self.pods)

    @property
    def failures(self) -> int:
        """How often containers of its pods, and whole pods, have ended otherwise than well."""
        return self.lost + sum(pod.failures for pod in self.pods)

    def failing(self, since: datetime) -> float:
        """The share of its pods of which a container, or the whole, has failed since then."""
        failed = self.lost + sum(pod.failed_since(since) for pod in self.pods)
        return failed / max(1, self.lost + len(self.pods))

    @property
    def trouble(self) -> str:
        """What its pods suffer from, in a sentence with a space before it; empty when nothing is known."""
        found = next((why for pod in self.pods if (why := pod.hindrance)), None) or next(
            (why for pod in self.pods if not pod.ready and (why := pod.crash)), None
        )
        return f" {found or self.refused}." if found or self.refused else ""

    @property
    def lacks_room(self) -> bool:
        """Whether it has too few pods for want of room alone: a quota, or no node. That says nothing of the version."""
        if "exceeded quota" in self.refused:
            return all(pod.ready for pod in self.pods)
        waiting = [pod for pod in self.pods if not pod.ready]
        return bool(waiting) and all(pod.unscheduled for pod in waiting)


@dataclass(frozen=True)
class Facts:
    """A candidate, the version that it is compared with, and what has been measured of the two."""

    now: datetime
    spec: DeploymentSpec
    candidate: ArmFacts
    stable: ArmFacts | None
    """None: the candidate is the first version."""
    analysis: Analysis | None = None
    reading: Reading = field(default_factory=Reading)
    recorded_until: float | None = None
    """Time (Unix seconds) of the last look that the recorded status contains."""
