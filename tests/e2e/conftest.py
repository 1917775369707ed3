"""End-to-end tests run real pods, under an Upright that was installed as users install it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.conftest import fresh_namespace
from tests.installed import Workspace, install


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace."""
    with fresh_namespace(cluster) as name:
        yield name


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Images:
    """Upright, made from this checkout and installed with Helm. It stays when the session ends."""
    return install(cluster, print)


@pytest.fixture
def place(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """A fresh namespace that takes only restricted pods."""
    with workspace(cluster, installed) as fresh:
        yield fresh


@contextmanager
def workspace(cluster: Cluster, images: Images) -> Iterator[Workspace]:
    """The same for fixtures of another scope."""
    with fresh_namespace(cluster) as name:
        cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield Workspace(cluster, name, images)
