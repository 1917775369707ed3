"""What is known of pods only to whoever looks again and again.

Since when are they as they are? By the clock of whoever looks: those of their nodes may be behind, or ahead. And how
often have their containers failed? The kubelet tells how often they were started again, and how they ended the last
time: of the ends between two looks, that of the last one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from upright.contract import Key
from upright.pods.container import Container
from upright.pods.reading import Pod

_TOLD = ("changed", "stopped", "scheduled")
_BEGUN = "begun"
_READY = "ready_since"
_LOADED = timedelta(hours=1)
"""A model has been loaded by then."""
_Change = tuple[str, datetime | str]
"""A pod's UID, and when something of it was, as its node says; or that it has begun, which it does once, whatever the
kubelet has yet to tell when containers have been started again."""


@dataclass(frozen=True, slots=True)
class _Ends:
    """How a container has ended, as far as it was seen."""

    told: int = 0
    """How often, of those of which it is known how."""
    before: int = 0
    """How often when this process looked first."""
    failed: int = 0
    """How often it has failed since then, and `before`."""

    def then(self, one: Container) -> "_Ends":
        """What is known once it has been looked at again. All ends since the last look were like the last one; where
        that has been cleared away, they will be like the next. One that turns out to be injected has not failed. A
        number that falls, since the kubelet has lost count, makes no failures when it rises again.
        """
        told = one.ends if one.ended else min(self.told, one.ends)
        more = max(0, told - self.told) if one.failures else 0
        failed = min(self.before, self.failed) if one.injected else self.failed + more
        return _Ends(told, self.before, min(failed, one.ends))


class Sightings:
    """When changes of the pods of a key were seen first, and how often their containers have failed. What a process
    finds when it looks first may be of any time before: of the times the node's word counts, but for what is to come;
    and all ends count as failures, so that there are no fewer than whoever looked before has counted.
    """

    def __init__(self) -> None:
        self._seen: dict[Key, Mapping[_Change, datetime]] = {}
        self._ends: dict[Key, Mapping[tuple[str, str], _Ends]] = {}

    def dated(self, key: Key, pods: Mapping[str, Sequence[Pod]], now: datetime) -> dict[str, Sequence[Pod]]:
        """All its pods as they are now, by revision, each since when it has been seen so."""
        before, seen = self._seen.get(key), dict[_Change, datetime]()
        known, ends = self._ends.get(key), dict[tuple[str, str], _Ends]()

        def since(pod: Pod, told: datetime, what: str = "") -> datetime:
            change = (pod.uid, what or told)
            known = told if before is None else before.get(change, now)
            return seen.setdefault(change, min(known, now))

        def counted(pod: Pod, one: Container) -> Container:
            if one.ended is None and not one.ends:
                return one
            place = pod.uid, one.name
            first = 0 if one.injected or one.prepares or known is not None else one.ends
            ends[place] = (known or {}).get(place, _Ends(first, first, first)).then(one)
            at = one.ended.at if one.ended else None
            ended = replace(one.ended, at=since(pod, at)) if one.ended and at else one.ended
            return replace(one, ended=ended, seen_failures=ends[place].failed)

        def dated(pod: Pod) -> Pod:
            times: dict[str, Any] = {one: since(pod, at) for one in _TOLD if (at := getattr(pod, one))}
            if pod.begun:
                times[_BEGUN] = since(pod, pod.begun, _BEGUN)
            if pod.ready_since:
                told = now if _is_up_again(pod, now) else pod.ready_since
                times[_READY] = since(pod, told, f"{_READY} {pod.ready_since}")
            return replace(pod, containers=tuple(counted(pod, one) for one in pod.containers), **times)

        self._seen[key], self._ends[key] = seen, ends
        return {revision: [dated(pod) for pod in each] for revision, each in pods.items()}

    def forget(self, key: Key) -> None:
        """Its pods are of no interest any more."""
        self._seen.pop(key, None)
        self._ends.pop(key, None)


def _is_up_again(pod: Pod, now: datetime) -> bool:
    """Whether its node has gone on saying that it is ready while what serves was started again lately: it says when
    that was, and nobody when it was up.
    """
    again = (one.started for one in pod.containers if one.serves and one.restarts and one.started)
    return any(at == pod.ready_since and now - at < _LOADED for at in again)
