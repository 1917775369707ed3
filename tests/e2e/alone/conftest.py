"""What these tests share."""

import os

import pytest

from tests.cluster import providers
from tests.cluster.local import Local


@pytest.fixture(scope="session")
def provider() -> Local:
    """The local cluster, whose parts are ours to stop and to furnish."""
    chosen = providers.choose()
    if not isinstance(chosen, Local):
        assert os.environ.get("CI") != "true"
        pytest.skip(f"only the local cluster is ours to change; this is one of {chosen.name}")
    return chosen
