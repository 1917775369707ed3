"""What is known of a rollout when something is decided about it: one frozen value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from upright.api.deployment import DeploymentSpec
from upright.api.deployment_status import Analysis, Arm, Rejection
from upright.pods.reading import Pod, is_outage
from upright.rollout.measuring import Reading
from upright.rollout.members import Lost

STEADY = timedelta(seconds=10)
"""A pod that has been ready for so long without interruption counts when a version is to take all the traffic."""
LASTING = timedelta(minutes=1)
"""A pod that has been ready for so long without interruption has recovered: what comes then is another incident."""
_ALIKE = 3
"""A candidate fares like the stable version while its share of pods that are not ready is at most so many times as big:
pods are few, and shares rough."""
_NOWHERE = re.compile(r".*0/(\d+) nodes are available: \1 Preemption is not helpful", re.DOTALL)
"""What the scheduler says where no node would take a pod if it had fewer others: for labels, taints or volumes. It does
not say whether that lasts: of a taint not even which it is, and the only node that has a label or a volume may be away.
"""
_FULL = r"\d+ (?:Insufficient \S+?|Too many pods|cannot allocate all claims|resourceclaim in use)"
_ROOM = re.compile(rf"nodes are available: (?:{_FULL}(?:, |\. ))+(?!\d+ )")
"""What it says of all nodes where it is for want of room all the same: of more than any has of something, or of devices
that others hold."""
OUTAGE = 2
"""For so many times `startupDeadline` pods that are not ready may have the same cause as the stable version's."""


def some_pods(number: int) -> str:
    """So many, in words."""
    return "1 pod" if number == 1 else f"{number} pods"


def called(arm: Arm | Rejection, other: Arm | None) -> str:
    """A version in words; by its revision as well, where the other one is of the same version."""
    if other and other.model_version == arm.model_version:
        return f"revision {arm.revision} of {arm.model_version}"
    return arm.model_version


def begun(pod: Pod, now: datetime) -> datetime:
    """Since when a pod has been starting: it has a node, and what serves may begin long after containers before it, or
    beside it. What a node whose clock is ahead says is no reason to wait for longer.
    """
    first = (one.started for one in pod.containers if one.serves and one.started and not one.restarts)
    return max((at for at in (pod.scheduled, pod.begun, *first) if at and at <= now), default=pod.created)


def elapsed(since: datetime | None, spent: timedelta | None, now: datetime) -> timedelta:
    """What a clock has counted. One that was put back counts nothing meanwhile."""
    running = max(timedelta(0), now - since) if since else timedelta(0)
    return running + (spent or timedelta(0))


def answers(pod: Pod, now: datetime) -> bool:
    """Whether it answers, or did until a moment ago, and may again in one: what blinks is not taken away."""
    if pod.ready or pod.stopped is None or abs(now - pod.stopped) >= LASTING:
        return pod.ready
    return not any(container.backs_off for container in pod.containers)


def lasts(pod: Pod, now: datetime, least: timedelta = LASTING) -> bool:
    """Whether a pod has answered for so long without interruption."""
    return pod.ready_since is not None and now - pod.ready_since >= least


def counts(pod: Pod, now: datetime) -> bool:
    """Whether it answers for more than a moment: where containers have failed, for a minute already."""
    return pod.ready and (lasts(pod, now) or not pod.failures)


def is_misconfigured(pod: Pod) -> bool:
    """Whether it cannot be started for what spec.serving asks of it: that is the same for every version."""
    return any(container.faulty for container in pod.containers)


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
    evicted: Sequence[Lost] = ()
    """Those that their nodes have evicted."""
    lost: Lost | None = None
    """The youngest that failed as a whole."""

    @property
    def ready(self) -> int:
        """How many pods answer."""
        return sum(pod.ready for pod in self.pods)

    def relied_upon(self, now: datetime) -> int:
        """How many pods of the stable version answer for more than a moment: after a time in which none did, all that
        have for a minute already.
        """
        fell = self.arm.unready_since is not None
        return sum(lasts(pod, now) if fell else counts(pod, now) for pod in self.pods)

    def steady(self, now: datetime, least: timedelta = STEADY) -> int:
        """How many pods have answered for so long without interruption; by default, for as long as it takes to be
        trusted with all the traffic. One of which containers have failed must have for a minute: killed again and
        again, it is ready in between.
        """
        return sum(lasts(pod, now) or (lasts(pod, now, least) and not pod.failures) for pod in self.pods)

    def lasts_in(self, now: datetime) -> timedelta | None:
        """How long until another of its pods will have answered for long enough to count for more; None when all have
        that answer.
        """
        since = (pod.ready_since for pod in self.pods if pod.ready_since)
        left = (at + least - now for at in since for least in (STEADY, LASTING))
        return min((one for one in left if one > timedelta(0)), default=None)

    @property
    def failures(self) -> int:
        """How often containers of its pods have ended otherwise than well, as far as the last time of each says, or
        pods of it have been evicted.
        """
        return sum(pod.failures for pod in self.pods) + len(self.evicted)

    @property
    def seen_failures(self) -> int:
        """How often they have failed as they were seen to. Only by how much that grows says anything: what was before
        this process looked is in it, however it ended.
        """
        return sum(pod.seen_failures for pod in self.pods) + len(self.evicted)

    @property
    def recovered(self) -> bool:
        """Whether the stable version answers, and has for a minute without interruption if it did not."""
        return self.ready > 0 and self.arm.unready_since is None

    @property
    def trouble(self) -> str:
        """What its pods suffer from, those first that run, in a sentence with a space before it; empty when nothing is
        known.
        """
        unready = sorted((pod for pod in self.pods if not pod.ready), key=lambda pod: pod.waits)
        found = next((why for pod in unready if (why := pod.hindrance or pod.kept_out or pod.crash)), self.refused)
        return f" {found.rstrip('.')}." if found else ""

    @property
    def unready(self) -> str:
        """Which containers of a pod run without being ready, likewise."""
        found = next((pod.unready for pod in self.pods if not pod.ready and not pod.waits and pod.unready), "")
        return f" {found}." if found else ""

    @property
    def loss(self) -> str:
        """What became of the youngest pod that failed as a whole, likewise."""
        return f" {self.lost.crash}." if self.lost and self.lost.crash else ""

    @property
    def lacks_room(self) -> bool:
        """Whether a quota keeps pods from it, or no node takes them and more room might help."""
        wants = any(not _NOWHERE.match(why) or _ROOM.search(why) for why in self._unscheduled)
        return wants or "exceeded quota" in self.refused

    @property
    def homeless(self) -> bool:
        """Whether it has no pod on any node, since it lacks room, no node may take one, or the cluster makes none,
        without a reason that lies in what it is made of: another version may be what mends that.
        """
        unmade = len(self.pods) < self.size and (not self.refused or is_outage(self.refused))
        wants = self.lacks_room or self._unscheduled or unmade
        return bool(wants) and not any(pod.placed for pod in self.pods)

    @property
    def barred(self) -> bool:
        """Whether no node may take any of its pods, whatever room there is."""
        return self.homeless and not self.lacks_room and bool(self._unscheduled)

    @property
    def _unscheduled(self) -> Sequence[str]:
        """Why no node takes them, of those for which that is so."""
        return [pod.unscheduled for pod in self.pods if pod.unscheduled]


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
    standing_in: int = 0
    """How many pods answer of what was given up before the candidate."""
    irreplaceable: bool = False
    """No pod of the stable version could be started any more: its artifact is gone."""
    rejected: bool = False
    """The candidate was given up because it is bad, and not only because nobody wants it."""
    halted: str = ""
    """Why nothing goes on, whatever answers: somebody has paused it, or what all the traffic comes through is not ours.
    Follows on a comma."""

    @property
    def name(self) -> str:
        """The candidate, in words that tell the two apart."""
        return called(self.candidate.arm, self.stable.arm if self.stable else None)

    @property
    def stable_name(self) -> str:
        """The stable version, likewise."""
        return called(self.stable.arm, self.candidate.arm) if self.stable else ""

    @property
    def only_candidate_answers(self) -> bool:
        """Whether its pods are all that answer: they are not taken away, whatever becomes of the others."""
        others = self.standing_in + (self.stable.ready if self.stable else 0)
        return others == 0 and any(answers(pod, self.now) for pod in self.candidate.pods)

    @cached_property
    def suffering(self) -> tuple[int, int]:
        """How many pods of the stable version have stopped answering, and of how many: of those that began before a
        start may have taken until now. Ones that had stopped that long before the candidate went out are its own
        trouble, and so is a moment; and the cluster's, where they wait for it.
        """
        if self.stable is None:
            return 0, 0
        deadline, since = self.spec.rollout.startup_deadline, self.candidate.arm.since
        settled = [pod for pod in self.stable.pods if not pod.waits and begun(pod, self.now) <= self.now - deadline]
        stopped = [pod for pod in settled if not pod.ready and since - deadline <= pod.changed <= self.now - LASTING]
        return len(stopped), len(settled)

    @cached_property
    def suffers_alike(self) -> bool:
        """Whether the candidate's pods that are not ready may be so for what keeps the stable version's from it, too:
        an outage of what both need. A candidate that fares much worse has a fault of its own, whatever else there is.
        """
        stopped, of = self.suffering
        pods = [pod for pod in self.candidate.pods if not pod.waits]
        unready = sum(not pod.ready for pod in pods)
        return 0 < unready * of <= _ALIKE * stopped * len(pods)

    def excuses(self, pods: Sequence[Pod]) -> bool:
        """Whether any of the candidate's pods runs and is not ready for what may be an outage of both. Not for ever:
        the candidate may be what causes it; nor one that cannot be started for a reason of its own.
        """
        longest = OUTAGE * self.spec.rollout.startup_deadline
        return self.suffers_alike and any(
            not (pod.ready or pod.waits or pod.hindrance)
            and self.now - max(pod.changed, begun(pod, self.now)) < longest
            for pod in pods
        )

    def waits(self, pod: Pod) -> bool:
        """Whether a pod of the candidate waits for the cluster, or for the end of an outage."""
        return pod.waits or self.excuses([pod])
