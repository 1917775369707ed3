"""At rest the operator is silent: it renews its Lease and writes nothing else, neither by itself nor when it starts."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.audit import AuditTrail, Write
from tests.cluster.cluster import Cluster, Images
from tests.cluster.shell import wait_until
from tests.e2e.conftest import workspace
from tests.installed import ROOT, SYSTEM, NotInTimeError, Object, Workspace

COUNT = 20
"""Of each kind."""
SECONDS = float(os.environ.get("UPRIGHT_STEADY_SECONDS", "120"))
"""How long nothing may be written."""
DIGEST = "sha256:" + 64 * "0"


def resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "upright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def training_job(name: str, **spec: Any) -> Object:
    given = {"train": {"command": ["python", "train.py"]}, "output": {"store": "pvc://models"}}
    return resource("TrainingJob", name, given | spec)


def version(name: str) -> Object:
    artifact = {"uri": f"pvc://models/{name}", "digest": DIGEST, "format": "skops"}
    return resource("ModelVersion", name, {"model": "other", "artifact": artifact})


def deployment(name: str, **spec: Any) -> Object:
    return resource("Deployment", name, spec)


def crowd() -> list[Object]:
    """With the iris example (one of each kind, trained and serving), twenty of each kind, in all sorts of states."""
    lacking = {"code": {"uri": "configmap://not-there"}}
    wrong = {"parameters": {"not-a-name": 1}}
    failing = {"train": {"command": ["python", "-c", "raise SystemExit(3)"]}, "retries": 0}
    return [
        training_job("lacking", **lacking),
        training_job("wrong", **wrong),
        training_job("failing", **failing),
        *(training_job(f"suspended-{number}", suspend=True) for number in range(COUNT - 4)),
        *(version(f"other-{number}") for number in range(COUNT - 1)),
        deployment("second", modelVersion="iris-1"),
        deployment("corrupt", modelVersion="other-0"),
        deployment("follower", latest={"model": "nobody"}),
        deployment("paused", modelVersion="iris-1", paused=True),
        *(deployment(f"to-zero-{number}", modelVersion="other-1", replicas=0) for number in range(5)),
        *(deployment(f"waiting-{number}", modelVersion=f"missing-{number}") for number in range(COUNT - 10)),
    ]


@pytest.fixture(scope="module")
def settled(cluster: Cluster, installed: Images) -> Iterator[Workspace]:
    """Twenty resources of each kind, none of which has anywhere to go."""
    with workspace(cluster, installed) as place:
        place.apply(ROOT / "examples" / "iris")
        place.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(crowd()))
        place.until_phase("mdep", "iris", "Stable", 180)
        place.until_phase("mdep", "second", "Stable")
        place.until_phase("mdep", "corrupt", "Failed")
        place.until_phase("tj", "failing", "Failed")
        assert [len(place.items(kind)) for kind in ("tj", "mv", "mdep")] == [COUNT] * 3
        until_quiet(place)
        yield place


def trail(place: Workspace) -> AuditTrail:
    if place.cluster.audit_log is None:
        reason = f"the provider {place.cluster.provider} shows no audit log"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    return AuditTrail.from_now(place.cluster.audit_log)


def mine(place: Workspace, writes: Sequence[Write]) -> list[str]:
    """Those in this namespace: others may use the cluster, too."""
    return [str(write) for write in writes if write.namespace == place.namespace]


def until_quiet(place: Workspace, seconds: float = 60) -> None:
    """Wait until nothing has been written for ten seconds."""
    end = time.monotonic() + seconds
    while True:
        begun = trail(place)
        time.sleep(10)
        written = mine(place, begun.writes())
        if not written:
            return
        if time.monotonic() > end:
            raise NotInTimeError(f"the operator goes on writing: {written}")


@pytest.mark.timeout(SECONDS + 300)
def test_nothing_is_written_while_nothing_happens(settled: Workspace) -> None:
    begun = trail(settled)
    time.sleep(SECONDS)  # the absence of something takes time to see
    assert mine(settled, begun.writes()) == []
    assert begun.renewals() > SECONDS / 4, "the log shows what the operator writes: its Lease, every two seconds"


def test_a_restart_of_the_operator_writes_nothing(settled: Workspace) -> None:
    begun = trail(settled)
    before = operators(settled)
    settled.cluster.kubectl("delete", "-n", SYSTEM, *before)
    wait_until(lambda: planned(settled, before), 90, lambda: "the new operator has not planned every object")
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
