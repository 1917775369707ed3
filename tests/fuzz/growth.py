"""Whether the time that something takes grows with its input, and not with the square of it."""

import time
from collections.abc import Callable
from typing import TypeVar

Input = TypeVar("Input")

TWICE_THE_SIZE = 2.5
"""How many times as long it may take; the square would be 4."""
_DOUBLINGS = 3
_TRIES = 7


def is_linear(of_size: Callable[[int], Input], run: Callable[[Input], object], largest: int) -> bool:
    """Whether `run` takes at most 2.5 times as long for each doubling of its input; several at once tell more than one.

    The machine may be busy: it counts the processor's time of this thread, the least of several tries.
    """
    small, large = of_size(largest // 2**_DOUBLINGS), of_size(largest)
    tries = [(_seconds(run, small), _seconds(run, large)) for _ in range(_TRIES)]
    of_small, of_large = min(one for one, _ in tries), min(other for _, other in tries)
    return bool(of_large <= TWICE_THE_SIZE**_DOUBLINGS * of_small)


def _seconds(run: Callable[[Input], object], of: Input) -> float:
    began = time.thread_time()
    run(of)
    return time.thread_time() - began
