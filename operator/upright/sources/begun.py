"""Which pods have begun before our eyes, so that all that they ever counted is evidence?"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from upright.pods.reading import Pod


def begun(pods: Iterable[Pod], first: datetime, now: datetime, lately: timedelta) -> frozenset[str]:
    """Those made since the first look, or not long before, and not ready for long. What others show they may have
    counted at any time, when the stable version was not looked at.
    """
    return frozenset(
        pod.name
        for pod in pods
        if pod.created >= first - lately and (pod.ready_since is None or now - pod.ready_since <= lately)
    )
