"""How a container ends: its exit status, and the termination message that the operator reads."""

import os
import sys
from pathlib import Path

from upright.api.artifact import (
    REFUSED,
    TERMINATION_LIMIT,
    Inputs,
    PublishReport,
    Refusal,
    ReportTooLongError,
    termination_message,
)

_TERMINATION_LOG = "/dev/termination-log"


class LoadError(Exception):
    """A model cannot be loaded here, whatever the reason."""


class RefusedError(Exception):
    """The container's work cannot be done and another try cannot help: exit status REFUSED."""

    exit_status = REFUSED

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason=reason, message=message)


class FailedError(Exception):
    """The container's work could not be done this time: exit status 1."""

    exit_status = 1

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason=reason, message=message)


def report(outcome: PublishReport | Inputs | Refusal) -> None:
    """Write the termination message, and print it: a refusal to standard error, where `kubectl logs` shows it.

    Outside a container there is no termination log; then what is printed must do. Raises RefusedError for a report that
    does not fit into what UPRIGHT_TERMINATION_LIMIT leaves to this container.
    """
    if isinstance(outcome, Refusal):
        print(f"{outcome.reason}: {outcome.message}", file=sys.stderr, flush=True)
    elif isinstance(outcome, PublishReport):
        print(f"published {outcome.uri}", flush=True)
    path = Path(os.environ.get("UPRIGHT_TERMINATION_LOG", _TERMINATION_LOG))
    if "UPRIGHT_TERMINATION_LOG" in os.environ or path.exists():
        path.write_text(_message(outcome), encoding="utf-8")


def _message(outcome: PublishReport | Inputs | Refusal) -> str:
    given = os.environ.get("UPRIGHT_TERMINATION_LIMIT", "")
    limit = (
        min(int(given), TERMINATION_LIMIT)
        if given.isascii() and given.isdigit() and len(given) < 10
        else TERMINATION_LIMIT
    )
    try:
        return termination_message(outcome, limit)
    except ReportTooLongError as error:
        raise RefusedError(
            "ReportTooLong", f"The artifact is in the store, but cannot be reported: {error}; give it fewer"
        ) from error
