"""End-to-end tests run real pods, under an Upright that was installed as users install it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.conftest import fresh_namespace
from tests.e2e.objects import a_churn_training_job
from tests.installed import ROOT, Workspace, install


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those last that look back on what the others have done."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


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


@pytest.fixture(scope="session")
def churn(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """The model of the example `churn`, in three versions trained once: old-1, good-1, and bad-1, which fails for one
    customer in five.
    """
    example = ROOT / "examples" / "churn"
    jobs = [
        a_churn_training_job("old"),
        a_churn_training_job("good", regularization=0.3),
        a_churn_training_job("bad", minimum_tenure=12),
    ]
    with workspace(cluster, installed) as place:
        place.apply(*(example / file for file in ("pvc.yaml", "data.yaml", "code.yaml")), *jobs)
        for job in jobs:
            place.until_phase("tj", job["metadata"]["name"], "Succeeded")
        yield place


@pytest.fixture(scope="session")
def iris(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """The example `iris`, trained and served. Tests do not change it."""
    with workspace(cluster, installed) as place:
        place.apply(ROOT / "examples" / "iris")
        place.until_phase("mdep", "iris", "Stable", 180)
        yield place
