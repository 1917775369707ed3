"""When did what counts begin, so that all that it shows is of a time that is known?"""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TypeAlias

from upright.pods.reading import Pod
from upright.rollout.measuring import Asked, longest_gap
from upright.rollout.modes.realtime import SERVE

Start: TypeAlias = tuple[str, int, datetime | None]
"""Of a container: its pod's UID, how often it was started again, and when."""
TOLD_IN = 1.0
"""Seconds: the API server tells of moments without their fractions."""


class Begun:
    """Sees the pods of the candidate that began before its eyes: all that they ever showed is of this comparison."""

    def __init__(self, asked: Asked) -> None:
        self.since: Mapping[str, float] = {}
        """By such a pod, since when it may have counted, in Unix seconds; infinite of one that has not been ready yet.
        None after a restart of the operator, as what they show may be recorded."""
        self._fresh = not asked.resumed
        self._first: datetime | None = None
        """When the first look was taken."""

    def see(self, asked: Asked, now: datetime) -> None:
        """What there is at a look, read or not. A pod that was made not long before the first one counts, too; what
        others show they may have counted at any time, when the stable version was not looked at.
        """
        self._first = first = min(self._first or now, now)  # later only where the clock was ahead
        lately = timedelta(seconds=longest_gap(asked.interval))
        self.since = {
            pod.name: min(self.since.get(pod.name, math.inf), _may_count_since(pod, now))
            for pod in asked.pods.get("canary", ())
            if self._fresh and pod.created >= first - lately
        }


def _may_count_since(pod: Pod, now: datetime) -> float:
    """Its node may be ahead. One that is not ready now, and was, may have been since it was made."""
    if pod.ready_since is not None:
        return min(pod.ready_since, now).timestamp()
    return pod.created.timestamp() if pod.stopped or pod.going else math.inf


def start_of_any(pod: Pod) -> Start:
    """Is another one when any container of a pod was started again: only a counter that fell shows whose it is."""
    return (pod.uid, sum(one.restarts for one in pod.containers), None)


def start_of(pod: Pod, asked: Asked) -> Start:
    """Names the start of the container that counts, as far as the pod's status tells. Which one that is beside the one
    that answers is not known.
    """
    if not asked.counts_itself(pod):
        return start_of_any(pod)
    serve = next((one for one in pod.containers if one.name == SERVE), None)
    return (pod.uid, serve.restarts, serve.started) if serve else (pod.uid, 0, None)


def is_anew(before: Start, now: Start) -> bool:
    """Whether a container was started again, and did not merely end or run."""
    (*of_before, started), (*of_now, started_again) = before, now
    return of_before != of_now or None not in (started, started_again)


def was_by(start: Start, time: float) -> bool:
    """Whether a container had been started by a time in Unix seconds, as its node's clock says."""
    *_, started = start
    return started is not None and started.timestamp() + TOLD_IN <= time


def spans(before: float, since: float, now: float, longest: float) -> bool:
    """Whether a sample of before tells, with one of now, of the time since when the others are compared. A pod that was
    not read then would bring what it has counted in another time: in an outage that both versions share, one would have
    had more of it. What is too long ago, or to come, is to be told.
    """
    return before == since or not 0 < now - before <= longest
