"""Since when are pods as they are? By the clock of whoever looks: those of their nodes may be behind, or ahead."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from upright.contract import Key
from upright.pods.reading import Pod

_TOLD = ("changed", "stopped", "scheduled")
_BEGUN = "begun"
_READY = "ready_since"
_LOADED = timedelta(hours=1)
"""A model has been loaded by then."""
_Change = tuple[str, datetime | str]
"""A pod's UID, and when something of it was, as its node says; or that it has begun, which it does once, whatever the
kubelet has yet to tell when containers have been started again."""


class Sightings:
    """When changes of the pods of a key were seen first. Those that a process finds when it looks first may be of any
    time before: of these the node's word counts, but for what is to come.
    """

    def __init__(self) -> None:
        self._seen: dict[Key, Mapping[_Change, datetime]] = {}

    def dated(self, key: Key, pods: Mapping[str, Sequence[Pod]], now: datetime) -> dict[str, Sequence[Pod]]:
        """All its pods as they are now, by revision, each since when it has been seen so."""
        before, seen = self._seen.get(key), dict[_Change, datetime]()

        def since(pod: Pod, told: datetime, what: str = "") -> datetime:
            change = (pod.uid, what or told)
            known = told if before is None else before.get(change, now)
            return seen.setdefault(change, min(known, now))

        def dated(pod: Pod) -> Pod:
            times: dict[str, Any] = {one: since(pod, at) for one in _TOLD if (at := getattr(pod, one))}
            if pod.begun:
                times[_BEGUN] = since(pod, pod.begun, _BEGUN)
            if pod.ready_since:
                told = now if _is_up_again(pod, now) else pod.ready_since
                times[_READY] = since(pod, told, f"{_READY} {pod.ready_since}")
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


def _is_up_again(pod: Pod, now: datetime) -> bool:
    """Whether its node has gone on saying that it is ready while what serves was started again lately: it says when
    that was, and nobody when it was up.
    """
    again = (one.started for one in pod.containers if one.serves and one.restarts and one.started)
    return any(at == pod.ready_since and now - at < _LOADED for at in again)
