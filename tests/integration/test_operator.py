"""The operator itself where something that it needs is missing: its kinds, or a permission. Neither needs a restart."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import control_plane as a_control_plane
from tests.conftest import fresh_namespace, or_skipped
from tests.integration.operator_process import Operator, operator, until

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "crds"
KINDS = ("trainingjobs", "modelversions", "deployments", "comparisons")


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """A control plane that has never heard of Upright."""
    with ExitStack() as running:
        with or_skipped():
            plane = running.enter_context(a_control_plane(print))
        yield plane


def a_training_job() -> dict[str, Any]:
    return {
        "apiVersion": "upright.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "churn"},
        "spec": {"train": {"command": ["train"]}, "output": {"store": "pvc://models"}},
    }


def a_deployment(name: str = "churn") -> dict[str, Any]:
    return {
        "apiVersion": "upright.dev/v1alpha1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"modelVersion": "churn-1"},
    }


def apply(cluster: Cluster, namespace: str, *manifests: dict[str, Any]) -> None:
    for manifest in manifests:
        cluster.kubectl("apply", f"--namespace={namespace}", "--filename=-", input=json.dumps(manifest))


def status(cluster: Cluster, namespace: str, kind: str) -> dict[str, Any]:
    found = json.loads(cluster.kubectl("get", kind, "churn", f"--namespace={namespace}", "--output=json").stdout)
    return dict(found.get("status", {}))


def condition(cluster: Cluster, namespace: str, kind: str, type: str) -> dict[str, Any]:
    conditions = status(cluster, namespace, kind).get("conditions", [])
    return next((one for one in conditions if one["type"] == type), {})


def test_without_its_kinds_the_operator_says_so_and_begins_when_they_come(bare: Cluster, tmp_path: Path) -> None:
    with (
        fresh_namespace(bare) as namespace,
        operator(bare, namespace, tmp_path, "early", module="upright") as early,
    ):
        until(lambda: early.get("/readyz")[0] == 503, "it is not ready")
        for kind in KINDS:
            missing = f"the cluster does not know {kind}.upright.dev in version v1alpha1"
            until(partial(names, early, missing), f"/readyz names {kind}")
            assert missing in early.log
        assert early.get("/healthz")[0] == 200, "a restart would not help"
        bare.kubectl("apply", "--filename", CRDS)
        until(early.leads, "it goes on by itself", 30)
        assert early.get("/readyz")[0] == 200
        apply(bare, namespace, a_deployment())
        until(lambda: status(bare, namespace, "mdep").get("phase") == "Pending", "it works")
        assert "Traceback" not in early.log


def names(running: Operator, missing: str) -> bool:
    return missing in running.get("/readyz")[1]


def test_objects_made_without_an_operator_wait_for_it(bare: Cluster, tmp_path: Path) -> None:
    bare.kubectl("apply", "--filename", CRDS)
    bare.kubectl("wait", "--for=condition=Established", "--filename", CRDS, "--timeout=30s")
    with fresh_namespace(bare) as namespace:
        apply(bare, namespace, a_training_job(), a_deployment())
        assert "churn" in bare.kubectl("get", "mlops", f"--namespace={namespace}").stdout
        with operator(bare, namespace, tmp_path, "late", module="upright") as late:
            until(late.leads, "it leads")
            until(lambda: condition(bare, namespace, "tj", "Reconciling"), "it has seen the TrainingJob")
            until(lambda: condition(bare, namespace, "mdep", "Ready"), "it has seen the Deployment")
        assert "ModelVersion churn-1 does not exist" in condition(bare, namespace, "mdep", "Ready")["message"]


def test_a_namespace_that_goes_with_all_that_is_in_it_is_nothing_to_complain_of(bare: Cluster, tmp_path: Path) -> None:
    bare.kubectl("apply", "--filename", CRDS)
    bare.kubectl("create", "namespace", "doomed")
    elsewhere = {"UPRIGHT_LEASE_NAMESPACE": "default"}
    with operator(bare, "doomed", tmp_path, "op", module="upright", environment=elsewhere) as running:
        until(running.leads, "it leads")
        apply(bare, "doomed", a_deployment())
        services = ("get", "services", "--namespace=doomed", "--output=name")
        until(lambda: len(bare.kubectl(*services).stdout.split()) == 3, "it has its three Services")
        bare.kubectl("delete", "namespace", "doomed", "--wait=false")
        # Kubernetes waits for some seconds before it deletes what is in a namespace: be quicker with the Services.
        bare.kubectl("delete", "services", "--all", "--namespace=doomed")
        until(lambda: ("patch", "services", "403") in running.requests(), "it wants to make them again, and may not")
        bare.kubectl("wait", "--for=delete", "namespace/doomed", "--timeout=60s")
        assert "WARNING" not in running.log


def test_a_missing_permission_is_told_at_the_object_and_missed_no_longer_than_it_is_missing(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    """The chart's own ServiceAccount, without the permission to create Jobs."""
    chart = ROOT / "charts" / "upright"
    control_plane.helm(
        "upgrade", "--install", "upright", chart, f"--namespace={namespace}", "--take-ownership", "--set=replicas=0"
    )
    try:
        rules = json.loads(control_plane.kubectl("get", "clusterrole", "upright", "--output=json").stdout)["rules"]
        without = [
            {**rule, "verbs": [verb for verb in rule["verbs"] if rule["resources"] != ["jobs"] or verb != "create"]}
            for rule in rules
        ]
        assert without != rules
        grant(control_plane, without)
        apply(control_plane, namespace, a_claim("models"))
        environment = {
            "KUBECONFIG": as_service_account(control_plane, namespace, tmp_path),
            "UPRIGHT_LEASE_NAME": "upright",
            "UPRIGHT_NAMESPACES": "",
        }
        with operator(control_plane, namespace, tmp_path, "op", module="upright", environment=environment) as running:
            until(running.leads, "it leads")
            apply(control_plane, namespace, a_training_job(), a_deployment())

            def refused() -> bool:
                return condition(control_plane, namespace, "tj", "Stalled").get("reason") == "Forbidden"

            until(refused, "it says so")
            remedy = f"may not create jobs.batch in namespace {namespace}: grant the verb 'create' on 'jobs.batch'"
            assert remedy in condition(control_plane, namespace, "tj", "Stalled")["message"]
            assert remedy in control_plane.kubectl("events", f"--namespace={namespace}").stdout
            until(lambda: remedy in running.log, "the log says so, too")
            until(lambda: condition(control_plane, namespace, "mdep", "Ready"), "other objects are not disturbed")
            grant(control_plane, rules)
            jobs = ("get", "jobs", f"--namespace={namespace}", "--output=name")
            until(lambda: control_plane.kubectl(*jobs).stdout.split() == ["job.batch/churn-1"], "it goes on", 60)
            until(lambda: not refused(), "and complains no more")
    finally:
        control_plane.helm("uninstall", "upright", f"--namespace={namespace}")


def grant(cluster: Cluster, rules: list[dict[str, Any]]) -> None:
    cluster.kubectl("patch", "clusterrole", "upright", "--type=merge", "--patch", json.dumps({"rules": rules}))


def a_claim(name: str) -> dict[str, Any]:
    resources = {"requests": {"storage": "1Gi"}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources},
    }


def as_service_account(cluster: Cluster, namespace: str, folder: Path) -> str:
    """A kubeconfig of the chart's ServiceAccount."""
    token = cluster.kubectl("create", "token", "upright", f"--namespace={namespace}").stdout.strip()
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json").stdout)
    config["users"][0]["user"] = {"token": token}
    path = folder / "kubeconfig.json"
    path.write_text(json.dumps(config))
    return str(path)
