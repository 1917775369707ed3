"""A pod as the API server tells of it, read once into a value: whether it answers, what it died of, what it lacks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from upright.api import names
from upright.api.serving import GRPC_PORT as GRPC_NUMBER
from upright.contract import Manifest
from upright.pods.build import GRPC_PORT, HTTP_PORT
from upright.pods.container import Container, Termination, read_container

FIELDS = (
    *(f"spec.{field}" for field in ("nodeName", "hostNetwork", "containers.ports")),
    *(f"spec.{containers}.{field}" for containers in ("initContainers", "containers") for field in ("name", "image")),
    "spec.initContainers.restartPolicy",
    *(f"status.{field}" for field in ("phase", "reason", "message", "podIP")),
    *(f"status.conditions.{field}" for field in ("type", "status", "reason", "message", "lastTransitionTime")),
    *(
        f"status.{containers}.{field}"
        for containers in ("initContainerStatuses", "containerStatuses")
        for field in ("name", "image", "imageID", "ready", "started", "restartCount", "state", "lastState")
    ),
)
"""All that is read of a pod beside its metadata: a whole one has about 22 KiB."""
_EVICTED = "Evicted"
_DENIES = "denied the request"
"""Says an admission webhook that has decided, whatever it tells besides."""
_OUTAGES = (
    "Internal error occurred",
    "failed calling webhook",
    "etcdserver: ",
    "did not complete within",
    "currently unable to handle",
    "unable to return a response in the time allotted",
    "not yet ready to handle",
    "status unknown for quota",
    "context deadline exceeded",
    "connection refused",
)


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod."""

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    maker: str
    """UID of what has made it, such as a ReplicaSet; empty when nobody owns it."""
    created: datetime
    phase: str
    why: tuple[str, str]
    """Reason and message of its phase: why its node refused or ended it as a whole. Usually empty."""
    changed: datetime
    """When one of its conditions changed last, or should have: see `_answering`."""
    stopped: datetime | None
    """When it was ready last, as its node says; None when it is, or never was."""
    scheduled: datetime | None
    """Since when it has a node, as far as that is told; None when it has none."""
    begun: datetime | None
    """When the first of its containers was started, as far as the kubelet still tells; None when none ever was."""
    evicted: bool
    """Its node ended it for what was used up. One that was refused before it began, or ended with its node, is not."""
    going: bool
    """It is being deleted."""
    ready_since: datetime | None
    """Since when it has answered without interruption; None when it does not, or is being deleted."""
    address: str
    """Its IP, of either family; empty until it has one."""
    host_network: bool
    port: int
    """Where it answers requests and is asked for metrics."""
    grpc: bool
    """It answers over gRPC, too (`serving.grpc`)."""
    containers: tuple[Container, ...]
    """Those of which its status tells: init containers first, in the order in which they run."""
    parts: tuple[str, ...]
    """The names of all containers of its spec."""
    unscheduled: str
    """Why no node takes it; empty when one does, or none has been looked for."""
    gated: bool
    """Somebody holds it back from the scheduler, such as a queue until it is its turn."""
    kept_out: str
    """Why it is not ready although its own containers are, in a sentence without its full stop: usually its node is
    away, or what somebody else has put into it is not ready. Empty when it is ready, or its own containers are not.
    """
    gone_by: datetime | None
    """When it should have ended, its grace period included; None when it is not being deleted."""

    @property
    def ready(self) -> bool:
        """Whether it answers and is not going away."""
        return self.ready_since is not None

    @property
    def placed(self) -> bool:
        """Whether it has a node, as far as that is told."""
        return self.scheduled is not None or self.begun is not None

    @property
    def failures(self) -> int:
        """How often containers of it have ended otherwise than well: all their ends where the last was such a one, as
        nothing is told of those before, and none where it was not. That says whether it fails, but not how often.
        """
        return sum(container.failures for container in self.containers)

    @property
    def seen_failures(self) -> int:
        """How often containers of it have failed, for whoever has looked; of those at which nobody has, as above."""
        return sum(one.failures if one.seen_failures is None else one.seen_failures for one in self.containers)

    def failed_since(self, moment: datetime) -> bool:
        """Whether a container of it has failed since then, as far as the kubelet still tells."""
        return any(
            one.failures and (one.ended.at is None or one.ended.at >= moment)
            for one in self.containers
            if one.ended is not None
        )

    @property
    def down(self) -> bool:
        """Whether a container that has failed does not run: most likely the kubelet waits before it starts it again."""
        return any(container.down and container.failures for container in self.containers)

    @property
    def ended_by_own_deadline(self) -> bool:
        """Whether it has run for longer than its own spec allows: no node's doing, although the node ends it."""
        return self.phase == "Failed" and self.why[0] == "DeadlineExceeded"

    def ended(self, container: str) -> Termination | None:
        """How a container ended, last time when it runs again."""
        return next((one.ended for one in self.containers if one.name == container), None)

    @property
    def waits(self) -> bool:
        """Whether the cluster has yet to start it, or its next container while those before it are as they should be;
        or to let it answer: it has no node or no volumes, its images are not there yet or cannot be had for now, its
        node is away, or a container that is injected is not ready. That says nothing of what it is made of.
        """
        if any(container.hindered for container in self.containers):
            return not any(container.faulty for container in self.containers)
        if self.unscheduled or self.kept_out or self.begun is None:
            return True
        return any(one.yet_to_run for one in self.containers) and all(
            one.yet_to_run or one.ready or one.completed for one in self.containers
        )

    @property
    def hindrance(self) -> str | None:
        """Why it is not starting although it should be, in a sentence without its full stop; None when nothing is known
        to be in its way.
        """
        for container in self.containers:
            reason, message = container.waiting or ("", "")
            if container.unpullable:
                return (
                    f"Image {container.image!r} of container {container.name!r} in pod {self.name} cannot be pulled "
                    f"({reason}): {message or 'no reason given'}. Correct the image's name, or make it available"
                )
            if container.hindered:
                return (
                    f"Container {container.name!r} of pod {self.name} cannot be started ({reason}): "
                    f"{message or 'no reason given'}"
                )
        return f"Pod {self.name} has no node to run on: {self.unscheduled}" if self.unscheduled else None

    @property
    def crash(self) -> str | None:
        """What it died of, or the container of it that ended last otherwise than well, in a sentence without its full
        stop. One that is injected is named where no other has.
        """
        if self.ended_by_own_deadline:
            return f"Pod {self.name} ran longer than activeDeadlineSeconds of its spec allows"
        if self.phase == "Failed" and any(self.why):
            return f"Pod {self.name} was refused or ended by its node ({self.why[0]}): {self.why[1].strip(' .')}"
        ended = [(one, one.ended) for one in self.containers if one.ended and one.failed]
        if not ended:
            return None
        last, end = max(ended, key=lambda pair: (not pair[0].injected, pair[1].at.timestamp() if pair[1].at else 0.0))
        if refusal := end.refusal:  # for people, only what it says to them
            last = replace(last, ended=replace(end, message=refusal.message))
        return f"Container {last.name!r} of pod {self.name} {last.ending}"

    @property
    def unready(self) -> str:
        """Which of its containers run and are not ready, but for those that have failed, in a sentence without its full
        stop; empty when none is known to.
        """
        found = [one.name for one in self.containers if one.started and not one.ready and not one.failed]
        return f"Of pod {self.name} {in_words(found)} run{'s' * (len(found) == 1)} without being ready" if found else ""


def read(manifest: Manifest) -> Pod:
    """Read a pod's manifest, as the API server tells of it, or what the stores keep of that."""
    meta, spec, status = manifest["metadata"], manifest.get("spec", {}), manifest.get("status", {})
    going = bool(meta.get("deletionTimestamp"))
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    ready, scheduled = conditions.get("Ready", {}), conditions.get("PodScheduled", {})
    images = {
        one.get("name"): one.get("image") for one in (*spec.get("initContainers", ()), *spec.get("containers", ()))
    }
    preparing = {one.get("name") for one in spec.get("initContainers", ()) if one.get("restartPolicy") != "Always"}
    created = _time(meta["creationTimestamp"])
    begun = _begun(status, created)
    ports = [(one.get("name", ""), port) for one in spec.get("containers", ()) for port in one.get("ports", ())]
    serving, port = _port(ports)
    containers = tuple(
        read_container(one, images, serving, init=init, prepares=one["name"] in preparing)
        for field, init in (("initContainerStatuses", True), ("containerStatuses", False))
        for one in status.get(field, ())
    )
    answering, begun_again = _answering(ready, containers, created)
    why = _why(status, conditions.get("DisruptionTarget", {}))
    return Pod(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        labels=meta.get("labels") or {},
        maker=(names.controller_of(manifest) or {}).get("uid", ""),
        created=created,
        phase=status.get("phase", ""),
        why=why,
        changed=max(
            (
                *(_time(at) for one in conditions.values() if (at := one.get("lastTransitionTime"))),
                *((begun_again,) if begun_again else ()),
            ),
            default=created,
        ),
        stopped=None if answering else begun_again or _stopped(conditions, created),
        scheduled=(
            _time(at) if scheduled.get("status") == "True" and (at := scheduled.get("lastTransitionTime")) else None
        ),
        begun=begun,
        evicted=why[0] == _EVICTED and (begun is not None or "DisruptionTarget" in conditions),
        going=going,
        ready_since=None if going else answering,
        address=status.get("podIP", ""),
        host_network=bool(spec.get("hostNetwork")),
        port=port,
        grpc=any((one.get("name"), one.get("containerPort")) == (GRPC_PORT, GRPC_NUMBER) for _, one in ports),
        containers=containers,
        parts=tuple(images),
        unscheduled=(
            scheduled.get("message") or scheduled.get("reason") or "no reason given"
            if scheduled.get("status") == "False"
            else ""
        ),
        gated=scheduled.get("reason") == "SchedulingGated",
        kept_out=_kept_out(manifest, conditions),
        gone_by=_time(meta["deletionTimestamp"]) if going else None,
    )


def _why(status: Manifest, target: Manifest) -> tuple[str, str]:
    """What a node has ended says so in its status or, as some kubelets leave that empty, in a condition alone."""
    ended = status.get("phase") == "Failed" and target.get("reason") == "TerminationByKubelet"
    if ended and not status.get("reason"):
        return _EVICTED, target.get("message", "")
    return status.get("reason", ""), status.get("message", "")


def of_one_template(pods: Sequence[Pod], others: Iterable[Pod] = ()) -> Sequence[Pod]:
    """These pods, of one template: what has run in one of them is made of what can be started, whatever keeps it from
    being started in another, or again. An image that has run in `others` was there, too, whatever the registry says.
    """
    if not any(one.hindered for pod in pods for one in pod.containers):
        return pods
    run = {(one.name, one.image) for pod in pods for one in pod.containers if one.has_run}
    pulled = {one.image for pod in (*pods, *others) for one in pod.containers if one.has_run}

    def known(one: Container) -> Container:
        return replace(one, startable=(one.name, one.image) in run or (one.unpullable and one.image in pulled))

    return [
        replace(pod, containers=tuple(map(known, pod.containers)))
        if any(one.hindered for one in pod.containers)
        else pod
        for pod in pods
    ]


def _answering(
    ready: Manifest, containers: Iterable[Container], created: datetime
) -> tuple[datetime | None, datetime | None]:
    """Since when it has answered, None when it does not; and when what serves began again, where its node has gone on
    saying that the pod is ready: kubelets from 1.35 on do, of a container that they start again at once.
    """
    if ready.get("status") != "True":
        return None, None
    told = _time(at) if (at := ready.get("lastTransitionTime")) else created
    serves = next((one for one in containers if one.serves and one.started), None)
    again = serves.started if serves and serves.restarts and serves.started and serves.started > told else None
    return (None if serves and not serves.up else again or told), again


def _stopped(conditions: Mapping[str, Manifest], created: datetime) -> datetime | None:
    """One that never was ready has not been said to be so since before its init containers were done."""
    ready, initialized = (
        _time(at) if (at := conditions.get(one, {}).get("lastTransitionTime")) else created
        for one in ("Ready", "Initialized")
    )
    return ready if conditions.get("Ready", {}).get("status") != "True" and ready > initialized else None


def _kept_out(manifest: Manifest, conditions: Mapping[str, Manifest]) -> str:
    """The kubelet says the same of both conditions, or names a readiness gate. Of a pod on a node that does not answer,
    another says that it is not ready, and gives no reason.
    """
    name, ready = manifest["metadata"]["name"], conditions.get("Ready", {})
    if ready.get("status") == "True" or conditions.get("ContainersReady", {}).get("status") != "True":
        return ""
    said = ready.get("message")
    why = f"it is not ready: {said}" if said else f"its node {manifest['spec'].get('nodeName', '')} does not answer"
    return f"Pod {name} runs, but {why}"


def is_outage(said: str) -> bool:
    """Whether an API server that made no pod, or a webhook that it asks, is out of order: neither has looked at it."""
    return _DENIES not in said and any(words in said for words in _OUTAGES)


def in_words(containers: Sequence[str]) -> str:
    """These containers, by name."""
    return f"container{'s' * (len(containers) != 1)} {', '.join(containers)}"


def _begun(status: Manifest, created: datetime) -> datetime | None:
    """Of a container that has been started again the kubelet no longer tells when it first was."""
    begun = [
        (one.get("restartCount", 0), ran)
        for one in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        for state in (one.get("state") or {}, one.get("lastState") or {})
        if (ran := state.get("running", state.get("terminated"))) is not None
    ]
    starts = [_time(ran["startedAt"]) for restarts, ran in begun if not restarts and ran.get("startedAt")]
    return min(starts) if starts else created if begun or status.get("phase") == "Running" else None


def _port(ports: Iterable[tuple[str, Manifest]]) -> tuple[str, int]:
    """Which container answers requests, and where, of all ports with the names of their containers."""
    return next(((name, int(port["containerPort"])) for name, port in ports if port.get("name") == HTTP_PORT), ("", 80))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
