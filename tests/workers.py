"""How the tests share a machine: which of them run side by side, and what all worker processes have in common.

`make test` runs several workers, because a test of real pods mostly waits. Each file is one worker's. They are handed
out in the order of `Stage`, so that what takes longest begins first, and what computes fills the gaps.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import IO, TypeVar

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.cluster.shell import exclusively

Shared = TypeVar("Shared")
TESTS = Path(__file__).parent
_ALONE = "tests/e2e/alone/"


class Stage(IntEnum):
    """When a test runs."""

    BESIDE = 0
    """Beside others on the one cluster, in namespaces of its own."""
    PLAYED = 1
    """On a control plane of the worker's own."""
    ALONE = 2
    """Alone on the cluster, when all others of it are done: it kills or replaces the operator, or looks back."""
    APART = 3
    """Needs nothing of that cluster."""

    @classmethod
    def of(cls, test: str) -> "Stage":
        """By the test's place: its node's name, which begins with its path."""
        if test.startswith(_ALONE):
            return cls.ALONE
        if test.startswith("tests/e2e/"):
            return cls.BESIDE
        return cls.PLAYED if test.startswith("tests/integration/") else cls.APART


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Hands out whole files in the order of the stages; those of the stage ALONE together, to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return _ALONE if Stage.of(nodeid) is Stage.ALONE else nodeid.partition("::")[0]


class Turns:
    """A lock that each worker holds, with the others, until it has no test left for the cluster they share.

    Files are handed out in order: whoever begins one of a later stage gets none of an earlier one any more. So the
    tests of the stage ALONE wait for all that are before them, and for nothing else. The kernel lets the lock go when a
    worker dies.
    """

    def __init__(self, folder: Path) -> None:
        self._lock: IO[str] = (folder / "turns").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._stage = Stage.BESIDE

    def end(self) -> None:
        """Let the others go on: no test is left for this worker."""
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    def take(self, stage: Stage) -> None:
        """Wait until a test of this stage may run."""
        if stage is self._stage:
            return
        self._stage = stage
        fcntl.flock(self._lock, fcntl.LOCK_EX if stage is Stage.ALONE else fcntl.LOCK_UN)
        if stage is Stage.APART:
            os.nice(10)  # a cluster that waits for the processor misses its deadlines; a computation is only later


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that is this session's, and the same for all its workers."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def one_for_all(
    folder: Path, name: str, make: Callable[[], Shared], remove: Callable[[Shared], None]
) -> Iterator[Shared]:
    """Something that all workers use: the first makes it, the last removes it. What it is must be JSON.

    `folder` is the session's. Whoever comes while it is being made waits; when its making fails, the next one tries.
    """
    made = folder / f"{name}.json"
    with (folder / f"{name}.users").open("w") as users:
        with exclusively(folder / f"{name}.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not made.exists():
                made.write_text(json.dumps(make()))
            shared: Shared = json.loads(made.read_text())
        yield shared
        with exclusively(folder / f"{name}.lock"):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # others use it still
            made.unlink()
            remove(shared)
