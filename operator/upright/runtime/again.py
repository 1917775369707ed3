"""Trying again in place: what a run has trained is lost with its pod, and a store may be well again in a moment."""

import sys
from collections.abc import Callable
from typing import TypeVar

from upright.runtime.outcome import FailedError, report

_Done = TypeVar("_Done")
_FIRST, _LONGEST = 2, 300
"""Seconds until the next try: twice as many after each."""


def until_done(attempt: Callable[[], _Done], wait: Callable[[float], None]) -> _Done:
    """What an attempt gives, once one does not raise FailedError; `wait` lets so many seconds go by.

    Each failure is reported, so that whatever ends the container meanwhile (the run's deadline does) leaves the reason.
    """
    pause = _FIRST
    while True:
        try:
            return attempt()
        except FailedError as error:
            report(error.refusal)
        print(f"trying again in {pause} s, and so on until the run's deadline", file=sys.stderr, flush=True)
        wait(pause)
        pause = min(2 * pause, _LONGEST)
