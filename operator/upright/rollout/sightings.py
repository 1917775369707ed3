"""Since when are pods as they are? By the clock of whoever looks: those of their nodes may be behind, or ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from upright.contract import Key
from upright.pods.reading import Pod

_Change = tuple[str, datetime]
"""A pod's UID, and when it changed, as its node says."""


class Sightings:
    """When changes of the pods of a key were seen first. Those that a process finds when it looks first may be of any
    time before: of these the node's word counts, but for what is to come.
    """

    def __init__(self) -> None:
        self._seen: dict[Key, Mapping[_Change, datetime]] = {}

    def dated(self, key: Key, pods: Mapping[str, Sequence[Pod]], now: datetime) -> dict[str, Sequence[Pod]]:
        """All its pods as they are now, by revision, each since when it has been seen so."""
        before, seen = self._seen.get(key), dict[_Change, datetime]()

        def since(pod: Pod, told: datetime) -> datetime:
            known = told if before is None else before.get((pod.uid, told), now)
            return seen.setdefault((pod.uid, told), min(known, now))

        def dated(pod: Pod) -> Pod:
            changed = since(pod, pod.changed)
            ready_since, stopped = (at and since(pod, at) for at in (pod.ready_since, pod.stopped))
            if (changed, ready_since, stopped) == (pod.changed, pod.ready_since, pod.stopped):
                return pod
            return replace(pod, changed=changed, ready_since=ready_since, stopped=stopped)

        self._seen[key] = seen
        return {revision: [dated(pod) for pod in each] for revision, each in pods.items()}

    def forget(self, key: Key) -> None:
        """Its pods are of no interest any more."""
        self._seen.pop(key, None)
