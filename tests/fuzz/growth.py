"""Whether the time that something takes grows with its input, and not with the square of it."""

import time
from collections.abc import Callable

TWICE_THE_SIZE = 2.5
"""How many times as long it may take; the square would be 4."""
_DOUBLINGS = 3
_TRIES = 5
_LEAST = 0.01


def is_linear(run: Callable[[int], object], size: int) -> bool:
    """Whether `run` takes at most 2.5 times as long for each doubling of the size; several at once, which tells more.

    It counts the processor's time of this thread, the least of several tries: the machine may be busy. A size for which
    that is less than 10 ms is doubled until it is more.
    """
    while (once := _least(run, size)) < _LEAST:
        size *= 2
    return _least(run, size * 2**_DOUBLINGS) <= TWICE_THE_SIZE**_DOUBLINGS * once


def _least(run: Callable[[int], object], size: int) -> float:
    def seconds() -> float:
        began = time.thread_time()
        run(size)
        return time.thread_time() - began

    return min(seconds() for _ in range(_TRIES))
