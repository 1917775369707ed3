"""Clusters for tests: `cluster` runs real pods; `control_plane` is quicker to have, and only plays them.

How tests share them and the machine is in `tests/workers.py`.
"""

import os
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster import providers
from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import control_plane as a_control_plane
from tests.cluster.shell import ClusterError, wait_until
from tests.workers import ByFile, Stage, Turns, one_for_all, session_folder

TURNS = pytest.StashKey[Turns]()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """How tests are handed out to workers."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of their stages; at the end of each those that look back on what the others have done."""
    items.sort(key=lambda item: (Stage.of(item.nodeid), item.get_closest_marker("last") is not None))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have a share in the cluster before any worker runs a test."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        session.config.stash[TURNS] = Turns(Path(session.config.getoption("basetemp")).parent)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for a test's turn. That is before its timeout begins to count."""
    if (turns := item.config.stash.get(TURNS, None)) is not None:
        turns.take(Stage.of(item.nodeid))
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker's process outlives its tests: it ends when all workers are done."""
    if (turns := session.config.stash.get(TURNS, None)) is not None:
        turns.end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each reason how many tests were skipped for it."""
    skipped = terminalreporter.stats.get("skipped", ())
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"SKIPPED [{count}] {reason}")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This session's, and the same for all its workers."""
    return session_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def cluster(shared_folder: Path) -> Iterator[Cluster]:
    """A whole cluster. One that ran before stays; a new one goes with the session, unless KEEP=1."""

    def make() -> bool:
        ran_before = provider.running()
        provider.up(print)
        return ran_before or os.environ.get("KEEP") == "1"

    def remove(stays: bool) -> None:
        if not stays:
            provider.down(print)

    with ExitStack() as sharing:
        with or_skipped():
            provider = providers.choose()
            sharing.enter_context(one_for_all(shared_folder, "cluster", make, remove))
            whole = provider.up(print)
        yield whole


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A real API server, controller manager and scheduler, with nodes and pods that are only played."""
    with ExitStack() as running:
        with or_skipped():
            plane = running.enter_context(a_control_plane(print))
        yield plane


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skip with the reason where something cannot be had; fail where everything is required."""
    try:
        yield
    except ClusterError as error:
        if os.environ.get("UPRIGHT_REQUIRE_CLUSTER") == "1" or os.environ.get("CI") == "true":
            pytest.fail(f"everything is required here, and this cannot be had: {error}", pytrace=False)
        pytest.skip(f"cannot be had: {error}")


@contextmanager
def fresh_namespace(cluster: Cluster, prefix: str = "test-") -> Iterator[str]:
    """A namespace of a new name. It is deleted afterwards, but nobody waits for that: it takes five seconds."""
    name = new_namespace(cluster, prefix)
    try:
        yield name
    finally:
        delete_namespace(cluster, name)


def new_namespace(cluster: Cluster, prefix: str = "test-") -> str:
    """Make a namespace of a new name, and return it once pods can be made in it."""
    cluster.recycle_volumes()
    name = prefix + uuid4().hex[:8]
    cluster.kubectl("create", "namespace", name)
    wait_until(
        lambda: cluster.kubectl("get", "serviceaccount", "default", f"--namespace={name}", check=False).returncode == 0,
        30,
        lambda: f"namespace {name} got no ServiceAccount",
    )
    return name


def delete_namespace(cluster: Cluster, name: str) -> None:
    """Nobody waits until it is gone."""
    cluster.kubectl("delete", "namespace", name, "--wait=false")
