"""Since when are pods as they are? By the clock of whoever looks: those of their nodes may be behind, or ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from upright.contract import Key
from upright.pods.reading import Pod

_TOLD = ("changed", "ready_since", "stopped", "scheduled", "begun")
_Change = tuple[str, datetime]
"""A pod's UID, and when something of it was, as its node says."""


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
            since(pod, pod.created)  # when one is taken to have begun whose containers have been started again
            times: dict[str, Any] = {one: since(pod, at) for one in _TOLD if (at := getattr(pod, one))}
            containers = tuple(
                replace(one, ended=replace(one.ended, at=since(pod, one.ended.at)))
                if one.ended and one.ended.at
                else one
                for one in pod.containers
            )
            return replace(pod, containers=containers, **times)

        self._seen[key] = seen
        return {revision: [dated(pod) for pod in each] for revision, each in pods.items()}

    def forget(self, key: Key) -> None:
        """Its pods are of no interest any more."""
        self._seen.pop(key, None)
