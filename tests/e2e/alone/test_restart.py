"""An operator that starts has nothing to write where everything is as it should be."""

from collections import Counter
from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.shell import wait_until
from tests.e2e.crowd import COUNT, mine, trail, until_quiet
from tests.installed import SYSTEM, Workspace


def test_a_restart_of_the_operator_writes_nothing(settled: Workspace) -> None:
    begun = trail(settled)
    before = operators(settled)
    settled.cluster.kubectl("delete", "-n", SYSTEM, *before)
    wait_until(lambda: planned(settled, before), 90, lambda: "the new operator has not planned every object", every=0.5)
    until_quiet(settled)
    assert mine(settled, begun.writes()) == []


def operators(place: Workspace) -> list[str]:
    selector = "--selector=app.kubernetes.io/name=upright"
    return place.cluster.kubectl("get", "pods", "-n", SYSTEM, selector, "--output=name").stdout.split()


def planned(place: Workspace, before: Sequence[str]) -> bool:
    """Whether an operator other than those has had a turn with as many objects of each kind as there are."""
    for pod in set(operators(place)) - set(before):
        path = f"/api/v1/namespaces/{SYSTEM}/pods/{pod.removeprefix('pod/')}:8080/proxy/metrics"
        text = place.cluster.kubectl("get", "--raw", path, check=False).stdout
        turns: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "upright_reconcile_total":
                    turns[sample.labels["kind"]] += int(sample.value)
        if all(turns[kind] >= COUNT for kind in ("TrainingJob", "ModelVersion", "Deployment")):
            return True
    return False
