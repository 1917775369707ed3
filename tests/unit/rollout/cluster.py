"""A cluster by a clock of its own: nodes with room for so many pods, and pods that fare as their version does, with the
status that a kubelet would write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random

from tests.unit.builders import NOW
from upright.api import names
from upright.contract import Manifest
from upright.pods.reading import Pod, read

STEP = 5
"""Seconds from one moment to the next."""


def moment(second: int) -> datetime:
    """When that is, of the seconds that are counted here."""
    return NOW + timedelta(seconds=second)


class Fares(Enum):
    """How pods of a version fare: seconds until they are ready, until they fail each time, and the failed requests."""

    WELL = 20, None, 0.0
    SLOWLY = 150, None, 0.0
    FAILING = 20, None, 0.4
    CRASHING = 20, 40, 0.0
    NOW_AND_THEN = 20, 1800, 0.0
    """On average so long: by chance, once it is ready."""
    NEVER_READY = None, None, 0.0

    def __init__(self, load: int | None, lives: int | None, fails: float) -> None:
        self.load, self.lives, self.fails = load, lives, fails


@dataclass
class SimulatedPod:
    """A pod; times are seconds of the simulation."""

    name: str
    revision: str
    created: int
    node: int | None = None
    running: int | None = None
    """Since when its container runs; None when it does not."""
    ready: int | None = None
    stopped: int | None = None
    """When it was ready last."""
    failures: int = 0
    failed: int | None = None
    again: int = 0
    """When its container is started again."""
    seen: Pod | None = None
    """As it is read; None when that has changed."""

    def read(self) -> Pod:
        """As the operator reads its status."""
        if self.seen is None:
            self.seen = read(self._manifest())
        return self.seen

    def _manifest(self) -> Manifest:
        labels = {names.DEPLOYMENT: "churn", names.REVISION: self.revision}
        meta = {"name": self.name, "namespace": "shop", "uid": self.name, "labels": labels}
        container = {"name": "serve", "image": "upright:1", "ports": [{"name": "http", "containerPort": 3000}]}
        return {
            "metadata": {**meta, "creationTimestamp": _stamp(self.created)},
            "spec": {"containers": [container]} | ({} if self.node is None else {"nodeName": f"node-{self.node}"}),
            "status": self._pending() if self.node is None else self._started(),
        }

    def _pending(self) -> Manifest:
        full = "0/3 nodes are available: 3 Insufficient cpu."
        scheduled = {"status": "False", "reason": "Unschedulable", "message": full}
        return {"phase": "Pending", "conditions": [{"type": "PodScheduled", **scheduled}]}

    def _started(self) -> Manifest:
        changed = self.ready if self.ready is not None else self.stopped if self.stopped is not None else self.created
        ready = {"status": str(self.ready is not None), "lastTransitionTime": _stamp(changed)}
        started = {"status": "True", "lastTransitionTime": _stamp(self.created)}
        running = {"running": {"startedAt": _stamp(self.running)}} if self.running is not None else None
        ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": _stamp(self.failed or 0)}
        container = {
            "name": "serve",
            "image": "upright:1",
            "imageID": "upright@sha256:1",
            "ready": self.ready is not None,
            "started": running is not None,
            "restartCount": self.failures - (running is None),
            "state": running or {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting"}},
            "lastState": {"terminated": ended} if self.failures else {},
        }
        return {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [
                *({"type": one, **started} for one in ("PodScheduled", "Initialized")),
                *({"type": one, **ready} for one in ("ContainersReady", "Ready")),
            ],
            "containerStatuses": [container],
        }


@dataclass
class Cluster:
    """Nodes, and the pods that controllers make for workloads."""

    random: Random
    fares: Mapping[str, Fares]
    """By revision; changed from outside when a version breaks."""
    nodes: list[int]
    """For how many pods each node has room; none when it is away."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Replicas of each workload, by revision."""
    unloadable: set[str] = field(default_factory=set)
    """Revisions whose artifact is gone: pods that start do not get ready."""
    pods: list[SimulatedPod] = field(default_factory=list)
    made: int = 0

    def of(self, revision_name: str) -> list[SimulatedPod]:
        """The pods of a workload."""
        return [pod for pod in self.pods if pod.revision == revision_name]

    def ready(self, revision_name: str) -> int:
        """How many pods of a workload answer."""
        return sum(pod.ready is not None for pod in self.of(revision_name))

    def surplus(self, revision_name: str, size: int) -> Sequence[SimulatedPod]:
        """Which pods a ReplicaSet ends when it is to have so many: those first that answer least."""
        mine = self.of(revision_name)
        least = sorted(mine, key=lambda pod: (pod.node is not None, pod.ready is not None, -(pod.ready or pod.created)))
        return least[: max(0, len(mine) - size)]

    def drain(self, node: int) -> None:
        """Its pods end, and are made anew."""
        self.pods = [pod for pod in self.pods if pod.node != node]

    def blink(self, revision_name: str, now: int) -> None:
        """All pods of a workload fail at once, and are started again."""
        for pod in self.of(revision_name):
            if pod.running is not None:
                self._fail(pod, now)

    def lives_on(self, now: int) -> bool:
        """What happens until now; whether any of it is to be seen."""
        before = [(pod.name, pod.node, pod.running, pod.ready, pod.failures) for pod in self.pods]
        self._control(now)
        for pod in self.pods:
            was = (pod.node, pod.running, pod.ready)
            self._schedule(pod, now) if pod.node is None else self._live(pod, now)
            if was != (pod.node, pod.running, pod.ready):
                pod.seen = None
        return before != [(pod.name, pod.node, pod.running, pod.ready, pod.failures) for pod in self.pods]

    def _control(self, now: int) -> None:
        gone = {pod.name for one, size in self.sizes.items() for pod in self.surplus(one, size)}
        self.pods = [pod for pod in self.pods if pod.revision in self.sizes and pod.name not in gone]
        for one, size in self.sizes.items():
            for _ in range(size - len(self.of(one))):
                self.made += 1
                self.pods.append(SimulatedPod(f"churn-{one}-{self.made}", one, now))

    def _schedule(self, pod: SimulatedPod, now: int) -> None:
        on = [other.node for other in self.pods]
        free = [node for node, room in enumerate(self.nodes) if on.count(node) < room]
        if free:
            pod.node, pod.running = min(free, key=on.count), now

    def _live(self, pod: SimulatedPod, now: int) -> None:
        fares = self.fares[pod.revision]
        if pod.running is None:
            if now >= pod.again:
                pod.running = now
            return
        if pod.ready is None and fares.load is not None and pod.revision not in self.unloadable:
            pod.ready = now if now - pod.running >= fares.load else None
        fails = fares.lives is not None and now - pod.running >= fares.lives
        if fares is Fares.NOW_AND_THEN:
            fails = pod.ready is not None and self.random.random() * 1800 < STEP
        if fails:
            self._fail(pod, now)

    def _fail(self, pod: SimulatedPod, now: int) -> None:
        pod.stopped = now if pod.ready is not None else pod.stopped
        pod.ready = pod.running = pod.seen = None
        pod.failures, pod.failed = pod.failures + 1, now
        soon = self.fares[pod.revision] is not Fares.CRASHING
        pod.again = now + (10 if soon else min(300, 10 * 2**pod.failures))


def _stamp(second: int) -> str:
    return moment(second).isoformat()
