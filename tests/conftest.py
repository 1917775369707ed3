"""Clusters for tests: `cluster` runs real pods; `control_plane` is quicker to have, and only plays them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from uuid import uuid4

import pytest

from tests.cluster import providers
from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import control_plane as a_control_plane
from tests.cluster.shell import ClusterError, wait_until


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A whole cluster. One that ran before stays; a new one goes with the session, unless KEEP=1."""
    with or_skipped():
        provider = providers.choose()
        ran_before = provider.running()
        whole = provider.up(print)
    yield whole
    if not ran_before and os.environ.get("KEEP") != "1":
        provider.down(print)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A real API server, controller manager and scheduler, with nodes and pods that are only played."""
    with ExitStack() as running:
        with or_skipped():
            plane = running.enter_context(a_control_plane(print))
        yield plane


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skip with the reason where no cluster can be had; fail where one is required."""
    try:
        yield
    except ClusterError as error:
        if os.environ.get("UPRIGHT_REQUIRE_CLUSTER") == "1" or os.environ.get("CI") == "true":
            pytest.fail(f"a cluster is required here, and cannot be had: {error}", pytrace=False)
        pytest.skip(f"no cluster: {error}")


@contextmanager
def fresh_namespace(cluster: Cluster, prefix: str = "test-") -> Iterator[str]:
    """A namespace of a new name. It is deleted afterwards, but nobody waits for that: it takes five seconds."""
    cluster.recycle_volumes()
    name = prefix + uuid4().hex[:8]
    cluster.kubectl("create", "namespace", name)
    wait_until(
        lambda: cluster.kubectl("get", "serviceaccount", "default", f"--namespace={name}", check=False).returncode == 0,
        30,
        lambda: f"namespace {name} got no ServiceAccount",
    )
    try:
        yield name
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")
