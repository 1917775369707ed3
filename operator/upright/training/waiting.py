"""What a run waits for that others do, and what their events say when it does not happen."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter

from upright.contract import Key, Manifest, World
from upright.pods.container import Container
from upright.pods.reading import Pod

STRANGE = timedelta(minutes=1)
"""What has not happened for so long is worth a word, also when nobody tells why."""
_OWN = "kubernetes.io/job-controller"
_REFUSED = timedelta(seconds=10)
"""A Job that has had no pod for so long may be refused one."""
_PAUSE, _SHARE = timedelta(seconds=10), 20
"""Between two questions about a namespace: at least so long, and so many times as long as the last answer took."""
_LONGEST = timedelta(minutes=5)
_POD_NAME = re.compile(r'pods "[^"]*" is forbidden: ')
"""Another one at each try."""


@dataclass(frozen=True)
class Wait:
    """Something that others have yet to do for a run."""

    of: str
    """The UID of the object whose events tell why they have not."""
    since: datetime
    patience: timedelta
    """For how long it is nothing unusual."""
    read: Callable[[Sequence[Manifest]], str]
    """What the events say; empty when they say nothing of this."""

    def again(self, now: datetime) -> timedelta:
        """When to look, and to ask, again: after twice the time is never too late."""
        waited = now - self.since
        return self.patience - waited if waited < self.patience else min(waited, _LONGEST)


def wait_of(job: Manifest, pods: Sequence[Pod]) -> Wait | None:
    """What the run of a Job waits for: its first pod, or that the newest begins, or gets on. `pods`: newest first."""
    if not pods:
        if job.get("spec", {}).get("suspend") or managed_by(job):
            return None
        begun = job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"]
        return Wait(str(job["metadata"]["uid"]), datetime.fromisoformat(begun), _REFUSED, _refusal)
    newest = pods[0]
    if newest.phase != "Pending" or newest.going or newest.hindrance or not (newest.begun is None or stuck(newest)):
        return None
    return Wait(newest.uid, held_since(newest), STRANGE, _hitch)


def stuck(pod: Pod) -> Container | None:
    """The init container that was started last and is not up, so that those after it have never run: a native sidecar
    that does not pass its startup probe, or ends again and again. Others wait for nobody of theirs.
    """
    last = next((one for one in reversed(pod.containers) if not one.yet_to_run), None)
    return None if last is None or not last.init or last.up or last.completed else last


def held_since(pod: Pod) -> datetime:
    """Since when the next container of a pod should have started, or be up: since the pod has a node, or the container
    before it has done its work or was started. Not since its conditions have changed, nor since the kubelet has called
    it what it does: it has two words for an image that it cannot pull, and takes turns.
    """
    done = [one.ended.at for one in pod.containers if one.completed and one.ended and one.ended.at]
    began = [one.started for one in pod.containers if one.started and not one.restarts]
    return max([pod.scheduled or pod.created, *done, *began])


def managed_by(job: Manifest) -> str:
    """Who runs a Job in the place of this cluster's own controller, perhaps in another cluster; empty when nobody."""
    by = str(job.get("spec", {}).get("managedBy") or _OWN)
    return "" if by == _OWN else by


@dataclass(frozen=True)
class _Answer:
    """What the events of a namespace have said."""

    at: datetime
    took: timedelta
    said: Mapping[str, str]
    """Of each object that was asked about, by its UID."""


class Warnings:
    """What events say of what runs wait for. A list of some events costs the API server as much as one of all that a
    namespace has: so one answers for all runs that wait there, and the longer it took, the later the next is asked for.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, dict[str, Sequence[Wait]]] = defaultdict(dict)  # by namespace and TrainingJob
        self._answers: dict[str, _Answer] = {}
        self._asking: set[str] = set()

    def forget(self, key: Key) -> None:
        """Drop what is known of a TrainingJob, and, with the last that waits there, what is known of its namespace."""
        self._waiting[key.namespace].pop(key.name, None)
        if not self._waiting[key.namespace]:
            del self._waiting[key.namespace]
            self._answers.pop(key.namespace, None)

    async def read(self, key: Key, waits: Mapping[str, Wait | None], world: World) -> Mapping[str, str]:
        """Of each wait that lasts too long: why; empty when nobody tells and it is strange."""
        now = world.now
        lasting = {name: wait for name, wait in waits.items() if wait and now - wait.since >= wait.patience}
        if not lasting:
            self.forget(key)
            return {}
        self._waiting[key.namespace][key.name] = list(lasting.values())
        if any(self._is_due(key.namespace, wait, now) for wait in lasting.values()):
            await self._ask(key.namespace, world)
        answer = self._answers.get(key.namespace)
        said = {name: answer.said.get(wait.of, "") if answer else "" for name, wait in lasting.items()}
        return {name: why for name, why in said.items() if why or now - lasting[name].since >= STRANGE}

    def _is_due(self, namespace: str, wait: Wait, now: datetime) -> bool:
        if namespace in self._asking:
            return False
        if (last := self._answers.get(namespace)) is None:
            return True
        slow = min(_SHARE * last.took, _LONGEST)  # at most: the clock may have been put right meanwhile
        pause = max(_PAUSE, slow, wait.again(last.at) if wait.of in last.said else _PAUSE)
        return not timedelta(0) <= now - last.at < pause

    async def _ask(self, namespace: str, world: World) -> None:
        waits, began = [wait for each in self._waiting[namespace].values() for wait in each], world.now
        about: dict[str, list[Manifest]] = {wait.of: [] for wait in waits}
        before = self._answers.get(namespace)
        said = before.said if before else {}  # what is known stays when they cannot be had
        self._asking.add(namespace)
        try:
            events = await world.warnings(namespace, about)
            for event in events or ():
                about[event["involvedObject"]["uid"]].append(event)
            if events is not None:
                said = {wait.of: wait.read(about[wait.of]) for wait in waits}
        finally:
            self._asking.discard(namespace)
            if namespace in self._waiting:
                self._answers[namespace] = _Answer(began, world.now - began, said)


def _refusal(events: Sequence[Manifest]) -> str:
    """What the Job controller says when it cannot make a pod."""
    note = _newest([one for one in events if one.get("reason") == "FailedCreate"])
    return _POD_NAME.sub("", note.rpartition("Error creating: ")[2]).strip()


def _hitch(events: Sequence[Manifest]) -> str:
    """What the kubelet says when it cannot begin with a pod, or get on with it; that there was no node for it once is
    over, and that it waits before it tries again does not say why.
    """
    return _newest([one for one in events if one.get("reason") not in ("FailedScheduling", "BackOff")]).strip(" .")


def _newest(events: Sequence[Manifest]) -> str:
    return str(max(events, key=itemgetter("lastTimestamp")).get("message", "")) if events else ""
