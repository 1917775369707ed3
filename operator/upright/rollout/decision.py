"""What can become of a candidate."""

from dataclasses import dataclass
from datetime import timedelta

from upright.api.deployment_status import Arm
from upright.conditions import Finding


@dataclass(frozen=True)
class Stay:
    """It keeps what it has."""

    arm: Arm
    """The candidate, with its clocks."""
    message: str
    again: timedelta
    """How long until that may change by time alone."""
    held: Finding | None = None
    """Only a person, or a change in the cluster, brings it on."""
    unmeasured: str = ""
    """Why the versions cannot be compared."""
    unseen: bool = False
    """This process has not looked yet: what was said before still stands."""


@dataclass(frozen=True)
class Advance:
    """It gets another share."""

    arm: Arm
    message: str


@dataclass(frozen=True)
class Promote:
    """It becomes the stable version."""


@dataclass(frozen=True)
class Reject:
    """It is not tried again by itself. `metric` is empty when no metric condemned it."""

    metric: str
    message: str


@dataclass(frozen=True)
class Left:
    """It was given up before, and its pods are needed no more."""


Decision = Stay | Advance | Promote | Reject | Left


@dataclass(frozen=True)
class Shape:
    """How many pods each version should have."""

    stable: int
    candidate: int
