"""What a run waits for that others do, and what their events say when it does not happen."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from upright.api import names
from upright.contract import Key, Manifest, Reference, ResourceType, World
from upright.pods.reading import Pod

STRANGE = timedelta(minutes=1)
"""What has not happened for so long is worth a word, also when nobody tells why."""
_REFUSED = timedelta(seconds=10)
"""A Job that has had no pod for so long may be refused one."""
_LONGEST = timedelta(minutes=5)
_POD_NAME = re.compile(r'pods "[^"]*" is forbidden: ')
"""Another one at each try."""


@dataclass(frozen=True)
class Wait:
    """Something that others have yet to do for a run."""

    of: Reference
    """Whose events tell why they have not."""
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
    """What the run of a Job waits for: its first pod, or that the newest begins. `pods`: newest first."""
    if not pods:
        if job.get("spec", {}).get("suspend"):
            return None
        begun = job.get("status", {}).get("startTime") or job["metadata"]["creationTimestamp"]
        return Wait(_reference(names.JOBS, job, job["metadata"]), datetime.fromisoformat(begun), _REFUSED, _refusal)
    newest = pods[0]
    if newest.phase == "Pending" and not newest.going and not newest.hindrance and newest.begun is None:
        meta = {"name": newest.name, "uid": newest.uid}
        return Wait(_reference(names.PODS, job, meta), newest.created, STRANGE, _hitch)
    return None


class Warnings:
    """What events say of what the runs of each TrainingJob wait for. A list of them costs the API server in proportion
    to all events of the namespace: asked for only while nothing happens, and at growing intervals.
    """

    def __init__(self) -> None:
        self._known: dict[Key, dict[str, tuple[datetime, str]]] = {}

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)

    async def read(self, key: Key, waits: Mapping[str, Wait | None], world: World) -> Mapping[str, str]:
        """Of each wait that lasts too long: why; empty when nobody tells and it is strange."""
        before, known, told = self._known.get(key, {}), dict[str, tuple[datetime, str]](), dict[str, str]()
        for name, wait in waits.items():
            if wait is None or (waited := world.now - wait.since) < wait.patience:
                continue
            asked, said = before.get(wait.of.uid, (None, ""))
            if asked is None or not timedelta(0) <= world.now - asked < wait.again(asked):
                asked, said = world.now, wait.read(await world.warnings(wait.of))
            known[wait.of.uid] = asked, said
            if said or waited >= STRANGE:
                told[name] = said
        self._known[key] = known
        return told


def _refusal(events: Sequence[Manifest]) -> str:
    """What the Job controller says when it cannot make a pod."""
    note = _newest([one for one in events if one.get("reason") == "FailedCreate"])
    return _POD_NAME.sub("", note.rpartition("Error creating: ")[2]).strip()


def _hitch(events: Sequence[Manifest]) -> str:
    """What the kubelet says when it cannot begin with a pod; that there was no node for it once is over."""
    return _newest([one for one in events if one.get("reason") != "FailedScheduling"]).strip()


def _newest(events: Sequence[Manifest]) -> str:
    return str(max(events, key=_told_at).get("message", "")) if events else ""


def _told_at(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp"))


def _reference(type: ResourceType, job: Manifest, meta: Mapping[str, str]) -> Reference:
    return Reference(type, job["metadata"]["namespace"], meta["name"], meta["uid"])
