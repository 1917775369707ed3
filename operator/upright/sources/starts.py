"""When did what counts begin, so that all that it shows is of a time that is known?"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TypeAlias

from upright.pods.reading import Pod
from upright.rollout.measuring import Asked
from upright.rollout.modes.realtime import SERVE

Start: TypeAlias = tuple[str, int, datetime | None]
"""Of a container: its pod's UID, how often it was started again, and when."""


def begun(pods: Iterable[Pod], first: datetime, now: datetime, lately: timedelta) -> frozenset[str]:
    """Those made since the first look, or not long before, and not ready for long. What others show they may have
    counted at any time, when the stable version was not looked at.
    """
    return frozenset(
        pod.name
        for pod in pods
        if pod.created >= first - lately and (pod.ready_since is None or now - pod.ready_since <= lately)
    )


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
    """Whether a container had been started by a time in Unix seconds, as its node's clock says, in whole seconds."""
    *_, started = start
    return started is not None and started.timestamp() + 1 <= time


def spans(before: float, since: float, now: float, longest: float) -> bool:
    """Whether a sample of before tells, with one of now, of the time since when the others are compared. A pod that was
    not read then would bring what it has counted in another time: in an outage that both versions share, one would have
    had more of it. What is too long ago, or to come, is to be told.
    """
    return before == since or not 0 < now - before <= longest
