"""What the workers of a pod know of each other: one of them answers a probe for all."""

from dataclasses import dataclass
from mmap import mmap
from time import monotonic

BEAT = 0.25
"""Seconds between what a worker says of itself."""

_PROMPT, _READY, _ALIVE = 1.0, 3.0, 10.0
"""Seconds for which it is believed: that it takes connections, that it is ready, that it is alive. A worker whose loop
stands still says nothing; as a process by itself does not answer its probes."""


class Board:
    """For each worker, when it last said that it runs, that it is ready, and that it is of use."""

    def __init__(self, workers: int) -> None:
        self._said = [memoryview(mmap(-1, 3 * 8)).cast("d") for _ in range(workers)]

    def tell(self, worker: int, *, ready: bool, alive: bool) -> None:
        """A worker says how it is; only it may."""
        now, said = monotonic(), self._said[worker]
        said[0] = now
        if ready:
            said[1] = now
        if alive:
            said[2] = now

    def prompt(self, worker: int) -> bool:
        """Whether its loop turns."""
        return self._within(worker, 0, _PROMPT)

    @property
    def ready(self) -> bool:
        """Whether all of them are."""
        return all(self._within(worker, 1, _READY) for worker in range(len(self._said)))

    @property
    def alive(self) -> bool:
        """Whether all of them are."""
        return all(self._within(worker, 2, _ALIVE) for worker in range(len(self._said)))

    def _within(self, worker: int, what: int, seconds: float) -> bool:
        return monotonic() - self._said[worker][what] < seconds


@dataclass(frozen=True)
class Place:
    """One worker's place on the board."""

    board: Board
    number: int
