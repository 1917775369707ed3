"""What becomes of a container when native code that reads a model takes its process down.

The libraries of XGBoost, LightGBM and CatBoost trust the files they read: of damaged ones (bytes changed, or the end
cut off) 2 to 50 of 100 end the process with a signal, and some never end. That must be a sentence, not a mystery.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from upright.api.artifact import REFUSED, Refusal
from upright.runtime.environment import folder_of
from upright.runtime.outcome import report

TRIAL_SECONDS = 900
"""For loading a model and trying it out: what takes longer most likely never ends."""

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE)
"""Others (SIGILL, SIGBUS, SIGKILL) are the node's or the volume's doing: there another try may help."""

_TOO_LONG = signal.SIGALRM


def stand_by(refuse: Callable[[str, str], None]) -> None:
    """Go on in a child process. What is left behind waits for it and ends as it does; where it cannot, `refuse` is
    called with a reason and a sentence why.

    To be called while the process has one thread.
    """
    if not (child := os.fork()):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
    if os.getpid() != 1:  # that of a container is sent it when there is time left to finish
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if -code in _CRASHES:
        name = signal.Signals(-code).name
        refuse(
            "CorruptModel",
            f"The model cannot be used: the library that reads it crashed ({name}), as it does when a file is damaged. "
            "Save it again",
        )
    if -code == _TOO_LONG:
        refuse(
            "TooSlow",
            f"The model was not loaded and tried out within {TRIAL_SECONDS // 60} minutes: make it smaller, or its "
            "reference data",
        )
    sys.exit(code if code >= 0 else 128 - code)


def report_refusal(reason: str, message: str) -> NoReturn:
    """What a container tells, with what was measured, which is known whatever becomes of the model."""
    from upright.runtime.output import metrics_in  # not before the fork, which wants one thread

    report(Refusal(reason=reason, message=message, metrics=metrics_in(folder_of(os.environ, "UPRIGHT_OUTPUT"))))
    sys.exit(REFUSED)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The kernel ends the process when the block takes longer: nobody else can end what hangs in native code."""
    before = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
