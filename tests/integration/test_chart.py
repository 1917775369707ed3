"""The chart: what it installs, what it refuses, and that its permissions are what the operator needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import Cluster
from tests.integration.operator_process import operator, until

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "upright"


def rendered(cluster: Cluster, *words: str) -> list[dict[str, Any]]:
    text = cluster.helm("template", "upright", CHART, *words).stdout
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def test_the_crds_are_those_that_were_generated_and_stay_on_uninstall(control_plane: Cluster) -> None:
    crds = of_kind(rendered(control_plane), "CustomResourceDefinition")
    assert [crd["metadata"].pop("annotations") for crd in crds] == [{"helm.sh/resource-policy": "keep"}] * 4
    generated = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(crds, key=lambda crd: str(crd["metadata"]["name"])) == generated


def test_the_crds_can_be_left_to_somebody_else(control_plane: Cluster) -> None:
    assert not of_kind(rendered(control_plane, "--set=crds.install=false"), "CustomResourceDefinition")


def test_named_namespaces_get_roles_and_nothing_is_granted_elsewhere(control_plane: Cluster) -> None:
    manifests = rendered(control_plane, "--set=namespaces={shop,market}")
    roles = {role["metadata"].get("namespace"): role for role in of_kind(manifests, "Role")}
    assert {"shop", "market"} < set(roles)
    assert not of_kind(manifests, "ClusterRoleBinding")


def test_no_permission_is_a_wildcard_and_none_reads_secrets(control_plane: Cluster) -> None:
    (role,) = [r for r in of_kind(rendered(control_plane), "ClusterRole") if r["metadata"]["name"] == "upright"]
    for rule in role["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "secrets" not in rule["resources"]


@pytest.mark.parametrize("fixed", [True, False])
def test_where_the_namespace_assigns_ids_the_operator_names_none_of_its_own(
    control_plane: Cluster, *, fixed: bool
) -> None:
    (made,) = of_kind(rendered(control_plane, f"--set=podSecurity.fixedIds={str(fixed).lower()}"), "Deployment")
    (operator,) = made["spec"]["template"]["spec"]["containers"]
    assert {"name": "UPRIGHT_FIXED_IDS", "value": str(fixed).lower()} in operator["env"]
    guard = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    ids = {"runAsUser": 65532, "runAsGroup": 65532} if fixed else {}
    assert made["spec"]["template"]["spec"]["securityContext"] == guard | ids


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("replicas=many", "/replicas"),
        ("defaultStore=models", "/defaultStore"),
        ("allowedFormats={pickle}", "/allowedFormats/0"),
        ("trustedTypes={shop.features.*}", "/trustedTypes/0"),
        ("allowModules=maybe", "/allowModules"),
        ("podSecurity.fixedIds=maybe", "/podSecurity/fixedIds"),
        ("prometheus.servers.default.url=prometheus:9090", "/prometheus/servers/default/url"),
        ("prometheus.servers.Default.url=http://prometheus:9090", "Default"),
        ("prometheus.servers.default.token=secret", "/prometheus/servers/default"),
        ("log.level=LOUD", "/log/level"),
        ("replica=2", "replica"),
    ],
)
def test_a_wrong_value_is_refused_by_name(control_plane: Cluster, setting: str, named: str) -> None:
    ran = control_plane.helm("template", "upright", CHART, f"--set={setting}", check=False)
    assert ran.returncode != 0
    assert named in ran.stderr


def an_object(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "upright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def a_version(name: str) -> dict[str, Any]:
    artifact = {"uri": "pvc://models/churn", "digest": "sha256:" + "ab" * 32, "format": "skops"}
    return an_object("ModelVersion", name, {"model": "churn", "artifact": artifact})


def in_use(control_plane: Cluster, namespace: str) -> None:
    """Of the Deployment churn churn-1 is stable, churn-2 the candidate, and churn-4 stands in; churn-3 is nothing."""
    versions = [a_version(f"churn-{number}") for number in (1, 2, 3, 4)]
    deployment = an_object("Deployment", "churn", {"modelVersion": "churn-2"})
    for manifest in (*versions, deployment):
        control_plane.kubectl("create", f"--namespace={namespace}", "--filename=-", input=json.dumps(manifest))
    arms = {
        place: {"modelVersion": version, "revision": "a", "since": "2026-11-22T12:00:00Z"}
        for place, version in (("stable", "churn-1"), ("candidate", "churn-2"), ("standIn", "churn-4"))
    }
    patch = json.dumps({"status": arms})
    control_plane.kubectl(
        "patch", "mdep", "churn", f"--namespace={namespace}", "--subresource=status", "--type=merge", "-p", patch
    )


@pytest.fixture
def policy(control_plane: Cluster, namespace: str) -> Iterator[Cluster]:
    """The chart without a running operator, and the Deployment churn, which serves churn-1 and brings out churn-2."""
    control_plane.helm(
        "upgrade", "--install", "upright", CHART, f"--namespace={namespace}", "--take-ownership", "--set=replicas=0"
    )
    try:
        in_use(control_plane, namespace)
        until(lambda: delete_version(control_plane, namespace, "churn-1", "--dry-run=server"), "the policy is in force")
        yield control_plane
    finally:
        control_plane.helm("uninstall", "upright", f"--namespace={namespace}")


def delete_version(cluster: Cluster, namespace: str, name: str, *words: str) -> str:
    """Returns what was said when it was refused, and nothing otherwise."""
    done = cluster.kubectl("delete", "mv", name, f"--namespace={namespace}", *words, check=False)
    return done.stderr if done.returncode else ""


def test_a_version_that_serves_is_not_deleted_before_somebody_else_does(policy: Cluster, namespace: str) -> None:
    said = delete_version(policy, namespace, "churn-1")
    assert "ModelVersion churn-1 is in use: it is the stable version of Deployment churn." in said
    assert f"kubectl delete mdep churn -n {namespace}" in said
    assert "it is the candidate of Deployment churn" in delete_version(policy, namespace, "churn-2")
    stands_in = delete_version(policy, namespace, "churn-4")
    assert "it is the version that stands in for the stable one of Deployment churn" in stands_in
    assert not delete_version(policy, namespace, "churn-3"), "nobody serves it"
    policy.kubectl("delete", "mdep", "churn", f"--namespace={namespace}")
    until(lambda: not delete_version(policy, namespace, "churn-1"), "the API server's own watch has told it")
    assert not delete_version(policy, namespace, "churn-2")


def test_a_namespace_goes_with_the_versions_that_serve_in_it(policy: Cluster, namespace: str) -> None:
    doomed = f"{namespace}-doomed"
    policy.kubectl("create", "namespace", doomed)
    in_use(policy, doomed)
    until(lambda: delete_version(policy, doomed, "churn-1", "--dry-run=server"), "the policy knows of it")
    policy.kubectl("delete", "namespace", doomed, "--wait=false")
    policy.kubectl("wait", "--for=delete", f"namespace/{doomed}", "--timeout=60s")


def test_versions_are_guarded_only_where_the_operator_looks_after_them(control_plane: Cluster) -> None:
    bindings = of_kind(rendered(control_plane, "--set=namespaces={shop,market}"), "ValidatingAdmissionPolicyBinding")
    assert len(bindings) == 2
    for binding in bindings:
        [named] = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert named["values"] == ["shop", "market"]
    for binding in of_kind(rendered(control_plane), "ValidatingAdmissionPolicyBinding"):
        assert "matchResources" not in binding["spec"]


def test_parameters_have_names_that_variables_can_have_but_those_that_exist_may_stay(
    control_plane: Cluster, namespace: str
) -> None:
    def create(name: str, parameters: dict[str, Any], *words: str) -> str:
        job = an_object("TrainingJob", name, {"train": {"command": ["true"]}, "parameters": parameters})
        there = f"--namespace={namespace}"
        done = control_plane.kubectl("apply", there, "--filename=-", *words, input=json.dumps(job), check=False)
        return done.stderr if done.returncode else ""

    assert not create("old", {"de-pth": 4})
    control_plane.helm(
        "upgrade", "--install", "upright", CHART, f"--namespace={namespace}", "--take-ownership", "--set=replicas=0"
    )
    try:
        until(lambda: create("new", {"de-pth": 4}, "--dry-run=server"), "the policy is in force")
        said = create("new", {"depth": 4, "de-pth": {"any": [1]}, "2nd": 1})
        for name in ('"de-pth"', '"2nd"', "which cannot be environment variables: use letters"):
            assert name in said
        many = create("new", {f"{n}-th": n for n in range(500)})
        assert " ..., which cannot be environment variables: use letters" in many
        assert not create("new", {"depth": 4, "_Any1": {"thing": [1]}})
        assert not create("old", {"de-pth": 9}), "it was there before"
        assert '"2nd"' in create("old", {"de-pth": 9, "2nd": 1})
    finally:
        control_plane.helm("uninstall", "upright", f"--namespace={namespace}")


def test_the_operator_needs_no_more_than_the_chart_grants(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    """With the chart's own ServiceAccount: no request is forbidden, and it works."""
    assert control_plane.audit_log is not None
    begin = control_plane.audit_log.stat().st_size
    control_plane.helm(
        "upgrade", "--install", "upright", CHART, f"--namespace={namespace}", "--take-ownership", "--set=replicas=0"
    )
    try:
        token = control_plane.kubectl("create", "token", "upright", f"--namespace={namespace}").stdout.strip()
        config = json.loads(control_plane.kubectl("config", "view", "--raw", "--minify", "--output=json").stdout)
        config["users"][0]["user"] = {"token": token}
        kubeconfig = tmp_path / "kubeconfig.json"
        kubeconfig.write_text(json.dumps(config))
        environment = {"KUBECONFIG": str(kubeconfig), "UPRIGHT_LEASE_NAME": "upright", "UPRIGHT_NAMESPACES": ""}
        with operator(control_plane, namespace, tmp_path, "op", module="upright", environment=environment) as running:
            until(running.leads, "it leads")
            manifests = [
                {"kind": "TrainingJob", "spec": {"train": {"command": ["train"]}, "output": {"store": "pvc://models"}}},
                {"kind": "Deployment", "spec": {"modelVersion": "churn-1"}},
            ]
            for manifest in manifests:
                whole = {"apiVersion": "upright.dev/v1alpha1", "metadata": {"name": "churn"}, **manifest}
                control_plane.kubectl("apply", f"--namespace={namespace}", "--filename=-", input=json.dumps(whole))
            running.settled()
            assert running.writes()
        assert forbidden(control_plane.audit_log, begin, f"system:serviceaccount:{namespace}:upright") == []
    finally:
        control_plane.helm("uninstall", "upright", f"--namespace={namespace}")


def forbidden(log: Path, begin: int, user: str) -> list[str]:
    """What the API server has refused a user since then. In a namespace that is being deleted, as those of other tests
    are, nobody can make anything: that is no lack of rights.
    """
    with log.open() as lines:
        lines.seek(begin)
        events = [json.loads(line) for line in lines if user in line and line.endswith("\n")]
    return [
        said
        for event in events
        if event["user"]["username"] == user and event.get("responseStatus", {}).get("code") == 403
        if "being terminated" not in (said := event["responseStatus"].get("message", str(event)))
    ]
