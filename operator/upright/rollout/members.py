"""The pods of a Deployment: each is read once, when it arrives, and not again in every turn."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

from upright.api import names
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.contract import Index, Manifest, World
from upright.pods.build import container_names
from upright.pods.container import Container
from upright.pods.reading import Pod, in_words, of_one_template, read
from upright.rollout.modes.realtime import SERVE
from upright.rollout.revision import revision

_ALIVE, _FAILED, _EVICTED, _COPIED = "alive", "failed", "evicted", "copied"
_STRANGERS = 3
"""So many are named: anybody can give a pod our label, and as many pods as they like."""
_SKEW = timedelta(minutes=1)
"""So far the clocks of the API servers that make a workload, and its pods, may differ."""


def _place(deployment: str, revision_name: str, made_for: str | None, state: str) -> str:
    return f"{deployment}/{revision_name}/{made_for or ''}/{state}"


def _places(manifest: Manifest) -> Iterable[str]:
    """Of its workload, with what became of it; and of its Deployment, while it is there. One that another workload has
    made is a copy, whatever became of it, and for whomever it says that it was made.
    """
    meta, phase = manifest["metadata"], manifest.get("status", {}).get("phase")
    labels = meta.get("labels") or {}
    name = labels.get(names.DEPLOYMENT)
    if not name or names.is_going(manifest) or phase == "Succeeded":
        return
    states = [_ALIVE]
    if phase != "Failed":
        yield name
    else:
        states = [_FAILED, _EVICTED] if read(manifest).evicted else [_FAILED]
    if not names.is_of_workload(manifest):
        if phase != "Failed":
            yield _place(name, labels.get(names.REVISION, ""), None, _COPIED)
        return
    for state in states:
        yield _place(name, labels.get(names.REVISION, ""), labels.get(names.DEPLOYMENT_UID), state)


def _created(manifest: Manifest) -> datetime:
    return datetime.fromisoformat(manifest["metadata"]["creationTimestamp"])


@dataclass(frozen=True, slots=True)
class Lost:
    """A pod that failed as a whole: evicted, refused by its node, or ended with it."""

    name: str
    maker: str
    created: datetime
    changed: datetime
    """When one of its conditions changed last."""
    crash: str | None
    """What became of it, in a sentence without its full stop."""


def lost(pod: Pod) -> Lost:
    """What is kept of one."""
    return Lost(pod.name, pod.maker, pod.created, pod.changed, pod.crash)


def _read(manifest: Manifest) -> Pod | Lost:
    pod = read(manifest)
    return lost(pod) if pod.phase == "Failed" else pod


# A node that refuses pods leaves thousands of them: a turn asks for how many there are of them, and for the last.
MEMBERS = Index(names.PODS, "by Deployment and by workload", _places, order=_created, reads=_read)


@dataclass(frozen=True)
class Members:
    """What `upright.rollout.observe.Observed` says of pods."""

    pods: Mapping[str, Sequence[Pod]]
    evicted: Mapping[str, Sequence[Lost]]
    lost: Mapping[str, Lost]
    strangers: Sequence[str]
    copies: Mapping[str, Sequence[str]]


def members(
    resource: Deployment, workloads: Mapping[str, Manifest], versions: Mapping[str, ModelVersion], world: World
) -> Members:
    """The pods of our workloads, and others that bear our label. One that nobody owns any more, while others are owned,
    is none of its workload: its ReplicaSet has released it, for who looks into it, and made another.

    One of the candidate's that is older than both it and its workload is of an earlier attempt: unless it is so by a
    clock that is a little behind, and of the ReplicaSet that has made the youngest of them. Of an earlier attempt's
    pods that can be said only when they have had a while to go. One that is only older than its workload, which was
    made again, has been taken over by it.
    """
    meta, candidate = resource.metadata, resource.status.candidate

    def known(workload: str, state: str) -> Sequence[Any]:
        made = workloads[workload]["metadata"]
        made_for = (made.get("annotations") or {}).get(names.DEPLOYMENT_UID)
        found = world.indexed(MEMBERS, meta.namespace, _place(meta.name, workload, made_for, state))
        if made_for is None and not found:  # somebody has dropped the annotation
            found = world.indexed(MEMBERS, meta.namespace, _place(meta.name, workload, meta.uid, state))
        return ([pod for pod in found if pod.maker] or found) if state == _ALIVE else found

    def of(workload: str, state: str) -> Sequence[Any]:
        found = known(workload, state)
        if candidate is None or candidate.revision != workload:
            return found
        since = min(_created(workloads[workload]), candidate.since.replace(microsecond=0))
        early, first = (bisect_left(found, at, key=lambda pod: pod.created) for at in (since - _SKEW, since))
        if early == first or world.now - candidate.since < _SKEW:
            return found[first:]
        last = (each[-1] for one in (_ALIVE, _FAILED) if (each := known(workload, one)))
        maker = max(last, key=lambda pod: pod.created).maker
        return [*(pod for pod in found[early:first] if maker and pod.maker == maker), *found[first:]]

    pods = {workload: of(workload, _ALIVE) for workload in workloads}
    ours = {pod.name for each in pods.values() for pod in each}
    others = (pod.name for pod in world.indexed(MEMBERS, meta.namespace, meta.name) if pod.name not in ours)
    injected = _injected(resource, versions, pods)
    return Members(
        pods={
            workload: [with_injected(pod, injected) for pod in of_one_template(each, chain(*pods.values()))]
            for workload, each in pods.items()
        },
        evicted={workload: of(workload, _EVICTED) for workload in workloads},
        lost={workload: failed[-1] for workload in workloads if (failed := of(workload, _FAILED))},
        strangers=list(islice(others, _STRANGERS)),
        copies={
            workload: [pod.name for pod in copied[:_STRANGERS]]
            for workload in workloads
            if (copied := world.indexed(MEMBERS, meta.namespace, _place(meta.name, workload, None, _COPIED)))
        },
    )


def _injected(
    resource: Deployment, versions: Mapping[str, ModelVersion], pods: Mapping[str, Sequence[Pod]]
) -> Set[str]:
    """Names of containers that others put into our pods, such as a mesh's proxy: those that no `spec.serving` has asked
    for. What pods of an earlier `spec.serving` have beside is theirs.
    """
    serving = resource.spec.serving
    today = {revision(version, serving) for version in versions.values()}
    found = {part for name in today for pod in pods.get(name, ()) for part in pod.parts}
    return found - {SERVE} - container_names(serving.pod)


def with_injected(pod: Pod, injected: Set[str]) -> Pod:
    """What a pod turns out to be when others put these containers into it: the same, where they do their work."""
    if not any(one.name in injected and (one.failed or not one.ready) for one in pod.containers):
        return pod
    containers = tuple(replace(one, injected=True) if one.name in injected else one for one in pod.containers)
    return replace(
        pod,
        containers=containers,
        kept_out=pod.kept_out or ("" if pod.ready else _held_by_others(pod.name, containers)),
    )


def _held_by_others(pod: str, containers: Sequence[Container]) -> str:
    """What is not ready of what others have put into it, where all else that has begun is."""
    lacking = [
        one for one in containers if not (one.ready or one.completed) and (one.injected or one.started or one.ended)
    ]
    if not lacking or not all(one.injected for one in lacking):
        return ""
    ended = next((f": {one.name} {one.ending}" for one in lacking if one.failed), "")
    return (
        f"Pod {pod} is kept from being ready by {in_words([one.name for one in lacking])}, which neither Upright nor "
        f"spec.serving.pod has put into it{ended}"
    )
