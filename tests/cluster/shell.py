"""Running commands, saying what goes on, and waiting for conditions: what every part of the harness needs."""

import fcntl
import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Say = Callable[[str], None]


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message says why and, where there is one, shows the end of the log."""


class CommandError(ClusterError):
    """A command ended with another status than 0; the message holds what it printed."""


@dataclass(frozen=True)
class Progress:
    """Prints each line with the seconds since the work began."""

    began: float = field(default_factory=time.monotonic)

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)


def run(
    command: Sequence[str | Path],
    *,
    input: str | None = None,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
    output: int | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    `env` is added to the environment; `before` runs in the new process, before the command; `output` is a file
    descriptor that takes what it prints, which is captured otherwise.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.PIPE if output is None else subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        preexec_fn=before,
    )
    if check and done.returncode != 0:
        raise CommandError(
            f"`{' '.join(words)}` ended with {done.returncode}:\n{done.stdout or ''}{done.stderr or ''}".rstrip()
        )
    return done


def run_logged(
    command: Sequence[str | Path],
    log: Path,
    what: str,
    say: Say,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a long command with its output in `log`; say every minute that it still runs."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        try:
            while True:
                try:
                    process.wait(timeout=60)
                    break
                except subprocess.TimeoutExpired:
                    say(f"  still {what} (log: {log})")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise CommandError(f"{what} failed; the end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = 20) -> str:
    if not log.exists():
        return "(there is no log)"
    return "\n".join("    " + line for line in log.read_text(errors="replace").splitlines()[-lines:])


def wait_until(
    condition: Callable[[], bool], seconds: float, failure: Callable[[], str], *, every: float = 0.05
) -> None:
    """Poll until the condition holds; after that many seconds raise a ClusterError with the failure's text."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(failure())
        time.sleep(every)


def answers(url: str, authority: Path | None = None) -> bool:
    """Does the URL answer 200?"""
    context = ssl.create_default_context(cafile=authority) if authority else None
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cache() -> Path:
    """Where binaries, layers and the state of nodes live between runs: never in the checkout."""
    home = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(home) if home else Path.home() / ".cache") / "upright" / "cluster"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def locked(name: str, say: Say) -> Iterator[None]:
    """Hold the lock of that name; the kernel lets it go when we die, however we die."""
    with exclusively(cache() / f"{name}.lock", say):
        yield


@contextmanager
def exclusively(path: Path, say: Say = print) -> Iterator[None]:
    """Hold the lock that this file is."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting: another process holds {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
