"""Answers until their clients have read them: bounded all together, and who does not read makes way for who does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from time import monotonic

from starlette.exceptions import HTTPException

from upright.runtime.body import LATER, ROOM

UNREAD = ROOM // 2
"""Bytes of all answers over HTTP that clients have not read yet, small ones left out, and as many over gRPC."""

_SLOW = 64 * 1024
"""Bytes a second that a client reads at least, when there is no room for others' answers."""

_SOON = 1.0
"""Seconds from an answer's beginning until it is looked how fast it is read."""


@dataclass(eq=False)
class _Reader:
    """Who has been given an answer."""

    size: int
    left: Callable[[], int]
    end: Callable[[], None] | None
    since: float = field(default_factory=monotonic)

    @property
    def rate(self) -> float:
        """Bytes a second that it has read."""
        passed = monotonic() - self.since
        return inf if passed < _SOON or self.end is None else (self.size - self.left()) / passed


class Unread:
    """Answers that are being read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._readers = set[_Reader]()

    @property
    def taken(self) -> int:
        """Bytes of them all."""
        return sum(reader.size for reader in self._readers)

    @contextmanager
    def kept(
        self, size: int, left: Callable[[], int] = lambda: 0, end: Callable[[], None] | None = None
    ) -> Iterator[None]:
        """An answer of so many bytes takes room while the context lasts. `left`: how many are not read yet. `end`: ends
        the connection, when others have no room and nobody reads more slowly; None where it cannot be ended. Raises
        HTTPException 503 where everybody reads.
        """
        while self._readers and self.taken + size > self._limit:
            slowest = min(self._readers, key=lambda reader: reader.rate)
            if slowest.end is None or slowest.rate >= _SLOW:
                raise HTTPException(
                    503,
                    f"{self._limit} bytes of answers are being read already; try again later, or with fewer rows",
                    LATER,
                )
            self._readers.remove(slowest)
            slowest.end()
        reader = _Reader(size, left, end)
        self._readers.add(reader)
        try:
            yield
        finally:
            self._readers.discard(reader)
