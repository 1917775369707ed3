"""The source that a Deployment has chosen."""

from collections.abc import Callable

from upright.contract import Key
from upright.rollout.measuring import Asked, Reading, Source


class Chosen:
    """A source of measurements (see `upright.rollout.measuring.Source`) made of one for each way to measure."""

    def __init__(self, pods: Source, prometheus: Source) -> None:
        self._pods = pods
        self._prometheus = prometheus

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Called once, before anything is asked."""
        self._pods.begin(wake)
        self._prometheus.begin(wake)

    def read(self, key: Key, asked: Asked) -> Reading:
        """What is known of a comparison, by the way that is asked for; of another one nothing is kept."""
        chosen, other = (self._prometheus, self._pods) if asked.prometheus else (self._pods, self._prometheus)
        other.forget(key)
        return chosen.read(key, asked)

    def forget(self, key: Key) -> None:
        """No comparison is under way any more."""
        self._pods.forget(key)
        self._prometheus.forget(key)
