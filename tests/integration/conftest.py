"""Integration tests run against a control plane without kubelets."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import MANUAL
from tests.conftest import fresh_namespace


@pytest.fixture
def namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace; a Job's pods in it succeed at once."""
    with fresh_namespace(control_plane) as name:
        yield name


@pytest.fixture
def manual_namespace(control_plane: Cluster) -> Iterator[str]:
    """A fresh namespace; a Job's pods in it run until the test patches their status."""
    with fresh_namespace(control_plane, MANUAL) as name:
        yield name
