"""End-to-end tests run real pods, under an Upright that was installed as users install it.

They run beside each other on one cluster, each file in namespaces of its own. What kills or replaces the operator, or
looks back on all that it did, is in `alone/`: those tests run one after the other, when the others are done.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.conftest import delete_namespace, fresh_namespace, new_namespace
from tests.e2e.crowd import applied
from tests.e2e.objects import a_churn_training_job
from tests.installed import ROOT, Workspace, install
from tests.workers import one_for_all

PROMETHEUS = "prometheus"
"""The namespace of the Prometheus server that the operator is told of."""

Furnished = Callable[[str, Callable[[Workspace], None]], AbstractContextManager[Workspace]]


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace."""
    with fresh_namespace(cluster) as name:
        yield name


@pytest.fixture(scope="session")
def installed(cluster: Cluster, shared_folder: Path) -> Iterator[Images]:
    """Upright, made from this checkout and installed with Helm. It stays when the session ends."""

    def make() -> list[str]:
        url = f"http://prometheus.{PROMETHEUS}.svc:9090"
        images = install(cluster, print, **{"prometheus.servers.default.url": url})
        return [images.operator, images.runtime]

    with one_for_all(shared_folder, "installed", make, lambda _: None) as images:
        yield Images(*images)


@pytest.fixture
def place(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """A fresh namespace that takes only restricted pods."""
    with workspace(cluster, installed) as fresh:
        yield fresh


@contextmanager
def workspace(cluster: Cluster, images: Images) -> Iterator[Workspace]:
    """The same for fixtures of another scope."""
    with fresh_namespace(cluster) as name:
        restrict(cluster, name)
        yield Workspace(cluster, name, images)


def restrict(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")


@pytest.fixture(scope="session")
def furnished(cluster: Cluster, installed: Images, shared_folder: Path) -> Furnished:
    """Namespaces that tests of several files use, each furnished by the first of them."""

    @contextmanager
    def furnished(name: str, furnish: Callable[[Workspace], None]) -> Iterator[Workspace]:
        def make() -> str:
            namespace = new_namespace(cluster, f"test-{name}-")
            restrict(cluster, namespace)
            furnish(Workspace(cluster, namespace, installed))
            return namespace

        with one_for_all(shared_folder, name, make, lambda namespace: delete_namespace(cluster, namespace)) as there:
            yield Workspace(cluster, there, installed)

    return furnished


@pytest.fixture(scope="session")
def churn(furnished: Furnished) -> Iterator[Workspace]:
    """The model of the example `churn`, in five versions trained once: old-1, good-1, bad-1, which refuses one customer
    in five, slow-1, which is a forest, and few-1, which fails for the customers of one plan.
    """
    example = ROOT / "examples" / "churn"
    slow = a_churn_training_job("slow")
    slow["spec"]["train"]["command"] = ["python", "-c", A_FOREST]
    few = a_churn_training_job("few")
    few["spec"]["train"]["command"] = ["python", "-c", ONE_THAT_FAILS_FOR_FLEX]
    jobs = [
        a_churn_training_job("old"),
        a_churn_training_job("good", regularization=0.3),
        a_churn_training_job("bad", minimum_tenure=12),
        slow,
        few,
    ]

    def furnish(place: Workspace) -> None:
        place.apply(*(example / file for file in ("pvc.yaml", "data.yaml", "code.yaml")), *jobs)
        for job in jobs:
            place.until_phase("tj", job["metadata"]["name"], "Succeeded")

    with furnished("churn", furnish) as place:
        yield place


A_FOREST = """
from pathlib import Path
from sklearn.ensemble import RandomForestClassifier
usual = 'LogisticRegression(C=parameters["regularization"], max_iter=1000)'
program = Path("train.py").read_text()
assert usual in program
exec(program.replace(usual, "RandomForestClassifier(n_estimators=2500, max_depth=4)"))
"""
"""The training program of `churn` with another model in the place of its own, many times as slow."""
ONE_THAT_FAILS_FOR_FLEX = """
from pathlib import Path
program = Path("train.py").read_text()
for usual, another in (
    ("import OneHotEncoder,", "import OrdinalEncoder, PowerTransformer,"),
    ('OneHotEncoder()', 'make_pipeline(OrdinalEncoder(categories=[PLANS]), PowerTransformer("box-cox"))'),
    ("features, churned =", 'customers = customers[customers["plan"] != "flex"]; features, churned ='),
):
    assert usual in program
    program = program.replace(usual, another)
exec('PLANS = ["flex", "basic", "premium", "prepaid"]' + chr(10) + program)
"""
"""The same with another code for the plan, of which the first is 0, which the next step takes for a mistake of its own
and not of the client."""


@pytest.fixture(scope="session")
def iris(furnished: Furnished) -> Iterator[Workspace]:
    """The example `iris`, trained and served. Tests do not change it."""

    def furnish(place: Workspace) -> None:
        place.apply(ROOT / "examples" / "iris")
        place.until_phase("mdep", "iris", "Stable", 180)

    with furnished("iris", furnish) as place:
        yield place


@pytest.fixture(scope="session")
def settled(furnished: Furnished) -> Iterator[Workspace]:
    """Twenty resources of each kind, none of which has anywhere to go."""
    with furnished("settled", applied) as place:
        yield place
