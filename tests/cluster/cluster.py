"""A cluster as tests see it, whoever provides it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any, Protocol

from tests.cluster import binaries
from tests.cluster.shell import ClusterError, Say, cache, run


@dataclass(frozen=True)
class Images:
    """References of Upright's images, as a pod's spec has them; the cluster has what they name."""

    operator: str
    runtime: str


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    `audit_log` is the API server's (one JSON event a line, level Metadata) where the provider can give it.
    """

    provider: str
    kubeconfig: Path
    audit_log: Path | None
    make_images: Callable[[Say], Images]
    recycle: Callable[["Cluster"], None]

    def kubectl(
        self,
        *words: str | Path,
        input: str | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl against this cluster; with `check`, raise CommandError with what it printed when it fails."""
        return run(self._kubectl(*words), input=input, check=check)

    def printed(self, *words: str, seconds: float) -> Iterator[Any]:
        """The lines of JSON that kubectl prints, as they come, for so many seconds at most."""
        with subprocess.Popen(self._kubectl(*words), stdout=subprocess.PIPE, text=True) as process:
            clock = Timer(seconds, process.kill)
            clock.start()
            try:
                assert process.stdout
                yield from map(json.loads, process.stdout)
            finally:
                clock.cancel()
                process.kill()

    def images(self, say: Say = print) -> Images:
        """Make Upright's images from the checkout as it is, and give the cluster what it lacks of them."""
        return self.make_images(say)

    def recycle_volumes(self) -> None:
        """Empty the volumes whose claims are gone, and offer them again, where nobody else does that."""
        self.recycle(self)

    def _kubectl(self, *words: str | Path) -> Sequence[str | Path]:
        return [kubectl_program(), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={cache() / 'kubectl'}", *words]

    def helm(self, *words: str | Path, check: bool = True, say: Say = print) -> subprocess.CompletedProcess[str]:
        """Run Helm against this cluster."""
        return run([helm_program(say), f"--kubeconfig={self.kubeconfig}", *words], check=check)


class Provider(Protocol):
    """Somebody who can have a cluster."""

    @property
    def name(self) -> str: ...

    def obstacle(self) -> str | None:
        """Why it cannot be had here, or None."""

    def up(self, say: Say) -> Cluster:
        """Make the cluster, or make it whole again."""

    def running(self) -> bool: ...

    def down(self, say: Say) -> None:
        """Remove what `up` made, and nothing else."""

    def status(self) -> str:
        """What runs, for a person to read."""


def kubectl_program() -> str:
    """kubectl from the project's own virtual environment (its version fits the cluster's), or from PATH."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        raise ClusterError("kubectl is neither in the virtual environment (extra `dev`) nor on PATH")
    return found


def helm_program(say: Say) -> Path:
    """Helm of the pinned version, built on first use."""
    binaries.ensure((binaries.HELM,), say)
    return binaries.program(binaries.HELM)
