"""What has failed while a plan was carried out: which of it ends the turn, and what it is said to be."""

from collections.abc import Iterator
from contextlib import contextmanager

from upright.kube.errors import (
    ApiError,
    ConflictError,
    ContestedError,
    LeavingError,
    NameTakenError,
    NotFoundError,
    NotLeaderError,
    TerminatingError,
)


class Failures:
    """What has failed of acts, of which one does not keep the next from being tried."""

    def __init__(self) -> None:
        self._found: list[Exception] = []
        self.leads = False
        """Whether something that leads requests could not be changed, so that it may lead to what is to be deleted."""

    @contextmanager
    def of(self, *, leads: bool = False, outdated: bool = False) -> Iterator[None]:
        """Keep what an act raises, unless there is no use in going on; by a plan that may be `outdated` there is none
        after a conflict.
        """
        try:
            yield
        except (NotLeaderError, TerminatingError):
            raise
        except Exception as error:  # raised when the others have been tried
            if outdated and isinstance(error, ConflictError):
                raise
            self._found.append(error)
            self.leads |= leads and not isinstance(error, NameTakenError | LeavingError | ContestedError)

    def worst(self) -> Exception | None:
        """What is to be raised of it: what may be gone after another look, then what has to be told."""
        return min(self._found, key=_urgency, default=None)


def _urgency(error: Exception) -> int:
    if isinstance(error, ConflictError | NotFoundError):
        return 0
    if not isinstance(error, ApiError):
        return 1
    return 2 if error.lasting else 4 if isinstance(error, LeavingError) else 3
