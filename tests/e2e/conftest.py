"""End-to-end tests run real pods."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import Cluster
from tests.conftest import fresh_namespace


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace."""
    with fresh_namespace(cluster) as name:
        yield name
