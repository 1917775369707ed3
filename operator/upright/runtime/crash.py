"""What becomes of a container when native code that reads a model takes its process down.

The libraries of XGBoost, LightGBM and CatBoost trust the files they read: of damaged ones (bytes changed, or the end
cut off) 2 to 50 of 100 end the process with a signal, and some never end. That must be a sentence, not a mystery.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from upright.api.artifact import REFUSED, Refusal
from upright.runtime.outcome import report

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_TOO_LONG = signal.SIGALRM


def stand_by() -> None:
    """Go on in a child process. What is left behind waits for it, ends as it does, and tells how if it cannot.

    To be called while the process has one thread.
    """
    if not (child := os.fork()):
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if -code in _CRASHES:
        name = signal.Signals(-code).name
        said = f"the library that reads it crashed ({name}), as it does when a file is damaged"
    elif -code == _TOO_LONG:
        said = "it was not loaded and tried in time"
    else:
        sys.exit(code if code >= 0 else 128 - code)
    report(Refusal(reason="CorruptModel", message=f"The model cannot be used: {said}. Save it again"))
    sys.exit(REFUSED)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """End the process when the block takes longer: what hangs in native code cannot be interrupted otherwise."""
    limit = threading.Timer(seconds, os.kill, (os.getpid(), _TOO_LONG))
    limit.daemon = True
    limit.start()
    try:
        yield
    finally:
        limit.cancel()
