"""What a rollout asks of a source of measurements, and what it is told."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from upright.analysis import Look, Policy
from upright.analysis.counters import LONGEST_GAP
from upright.api.deployment import Prometheus
from upright.api.monitoring import Boundary
from upright.contract import Key
from upright.pods.reading import Pod

ArmName = Literal["canary", "stable"]

LONGEST = timedelta(seconds=4)
"""How long all pods of a Deployment together may take to be read. Those that others leave no time for are left out."""
FASTEST = timedelta(seconds=1)
"""Between two looks, at least."""
OF_A_POD = timedelta(milliseconds=25)
"""The same for each pod: a look at forty may come every second, one at a thousand takes longer than is usual."""
OF_PROMETHEUS = timedelta(seconds=5)
"""Between two looks at a Prometheus server, at least: it scrapes no faster."""
NEARLY = 0.9
"""Of an interval: timers differ a little."""
_WAITS = LONGEST_GAP - 1 - (1 - NEARLY)
"""Intervals for which the events of one version wait for some of the other: what is older is not compared."""
ENOUGH = 5
"""Events of each version by which a look that comes sooner than is usual is compared: of fewer, one version may have
none, and those of the other would be lost."""
AHEAD = 60.0
"""Seconds by which a look may be to come: clocks of two machines differ. Beyond that a clock was ahead."""
EXPECTED = 40
"""Requests that should have reached the candidate by which it is known whether they do."""


def longest_gap(interval: timedelta) -> float:
    """Seconds between two looks beyond which they are not compared, nor is anybody said to have looked meanwhile."""
    return LONGEST_GAP * (interval + LONGEST).total_seconds()


@dataclass(frozen=True)
class Asked:
    """A comparison that is under way."""

    comparison: str
    """Names it: another one begins from nothing."""
    policy: Policy
    """What is watched, how often, and with which test."""
    pods: Mapping[ArmName, Sequence[Pod]]
    after: float | None
    """Time (Unix seconds) of the last look that the status contains; None when there is none, or when it is to come:
    a clock was ahead that is no longer."""
    hurry: timedelta = timedelta(0)
    """For how long from now looks are to come as fast as they may."""
    timeout: timedelta = timedelta(seconds=30)
    """The longest that a request may take."""
    port: int | None = None
    """At which the pods are asked; None: where they answer requests."""
    path: str = "/metrics"
    prometheus: Prometheus | None = None
    """Who is asked in the place of the pods."""
    versions: Mapping[ArmName, str] = field(default_factory=dict)
    """The names of the ModelVersions."""
    resumed: bool = False
    """Looks have been recorded, whatever the clock says of when: what pods have counted may be among them."""

    @property
    def where(self) -> Hashable:
        """Names whose counters are read: others have counted other things before."""
        return self.port, self.path, self.prometheus

    @property
    def interval(self) -> timedelta:
        """Between looks."""
        return self.policy.interval

    @property
    def shortest(self) -> timedelta:
        """Between looks, when there is something to see: each costs a request for every pod."""
        least = OF_PROMETHEUS if self.prometheus else max(FASTEST, OF_A_POD * sum(map(len, self.pods.values())))
        return min(self.interval, least)

    def counts_itself(self, pod: Pod) -> bool:
        """Whether the container that answers requests shows what is counted, and no other one of its pod."""
        return self.port in (None, pod.port)

    def may_take(self, since: float, counted: Sequence[float]) -> bool:
        """Whether a look can be compared that comes so many seconds after the last one, with so many events of each
        version. Where one has none yet, those of the other wait for some looks: what is compared with nothing is lost.
        """
        intervals = since / self.interval.total_seconds()
        if min(counted) >= ENOUGH or intervals >= _WAITS:
            return True
        return intervals >= NEARLY and (min(counted) > 0 or max(counted) == 0)

    @property
    def whole(self) -> bool:
        """Requests must be whole numbers: a metric of them has the exact boundary, which can use no others."""
        return any(metric.boundary is Boundary.EXACT and metric.total is None for metric in self.policy.metrics)


State = Literal["Counted", "NoRequests", "Unreadable", "Stuck", "Unknown"]


@dataclass(frozen=True)
class Frequent:
    """What came up most often, of what was counted against an arm since the comparison began or this process did."""

    what: str
    """A word: with what requests failed, or why they were refused, and for which feature."""
    count: float
    of: float
    """All that failed, or were refused."""
    message: str = ""
    """What the model said of it, without values."""
    example: str = ""
    """What one of these requests asked, likewise."""


@dataclass(frozen=True)
class Measurement:
    """What the newest look found of one arm."""

    state: State
    """Counted: requests were counted. NoRequests: counters can be read, and nobody asks. Unreadable: no pod's counters
    can be read. Stuck: requests go in, and for longer than one may take none comes out. Unknown: no pod was ready, or
    what one showed cannot be judged yet."""
    message: str = ""
    """Of an unreadable or stuck one: which pod, why, and what to do, in sentences."""
    requests: float | None = 0
    """That were answered (2xx, 4xx, 5xx) since the comparison began or this process did. Where nobody counts them, the
    events that a metric counts; None when not all metrics can be told, so that there may have been others.
    """
    recent: float = 0
    """Those of the last minute, of the last four looks where these took longer, or of as many as it took until EXPECTED
    should have reached the candidate: but only between looks at both of which each version had a ready pod whose
    counters could be read, so that either could have been asked."""
    expected: float = 0
    """Of the candidate: how many recent ones should have reached it, by what the stable version answered and by the
    pods that were ready when it did."""
    failing: Frequent | None = None
    """Of those that its pods have answered with 5xx, as far as they say with what."""
    refusing: Frequent | None = None
    """Of those that they have answered with 4xx or 503, likewise."""


@dataclass(frozen=True)
class Reading:
    """What is known now."""

    looks: Sequence[Look] = ()
    """Those later than `after`, oldest first."""
    arms: Mapping[ArmName, Measurement] = field(default_factory=dict)
    """By arm, as of the newest look; empty before the first one."""
    since: float | None = None
    """When this process took its first look (Unix seconds), or the first one after a gap in which it stood still or its
    clock jumped; None before it. What was before, nobody has watched."""
    until: float | None = None
    """When it took its newest look, likewise."""
    watching: bool = False
    """What pods of an image of one's own count is only watched as yet, and compared with nothing."""
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    """By metric that the newest look says nothing of, why, and what to do, in sentences."""
    behind: timedelta = timedelta(0)
    """How much longer than two intervals it takes from any moment until a look is told that is of nothing before it."""

    def is_old(self, now: datetime, interval: timedelta) -> bool:
        """Whether a look is overdue: what has become of the versions since the newest one is not known."""
        return self.until is not None and now.timestamp() - self.until > longest_gap(interval)

    def quiet(self, now: datetime, interval: timedelta) -> bool:
        """Whether it is known that nobody has asked either version since the comparison began: that takes two looks."""
        looked = self.since is not None and now.timestamp() - self.since >= interval.total_seconds()
        return looked and bool(self.arms) and all(arm.requests == 0 for arm in self.arms.values())


class Source(Protocol):
    """Where measurements come from. It takes its looks by itself, beside the turns, and gives the key a turn after each
    that has something new to say.
    """

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Called once, before anything is asked."""
        ...

    def read(self, key: Key, asked: Asked) -> Reading:
        """What is known of a comparison; looks go on being taken until another is asked for, or the key is forgotten.
        Never waits. A look is handed out again and again until `after` says that it has been recorded.
        """
        ...

    def forget(self, key: Key) -> None:
        """No comparison is under way any more."""
        ...
