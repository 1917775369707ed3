"""What the chart grants the operator, against what it asked of the API server in all tests before this one."""

import json

import pytest

from tests.audit import OPERATOR
from tests.cluster.cluster import Cluster
from tests.installed import Workspace

Permission = tuple[str, str, str]
"""API group, resource (with its subresource), verb."""

RARE: dict[Permission, str] = {
    ("batch", "jobs", "get"): "when a run's name is taken, to see by whom",
    ("batch", "jobs", "delete"): "of runs whose time to live is over, a day later",
    ("", "persistentvolumeclaims", "get"): "when a watch has not told of a claim yet",
    ("batch", "jobs", "patch"): "to own again a Job that was orphaned",
    ("", "events", "patch"): "when the same is told again",
    ("", "events", "list"): "while a Job gets no pod, to see why",
    ("upright.dev", "trainingjobs/finalizers", "update"): "where OwnerReferencesPermissionEnforcement asks for it",
    ("upright.dev", "deployments/finalizers", "update"): "where OwnerReferencesPermissionEnforcement asks for it",
    ("", "services", "create"): "the API server asks for it when an apply makes an object",
    ("", "services", "delete"): "of Services that a plan no longer has",
    ("apps", "deployments", "get"): "when a name is taken, to see by whom",
    ("upright.dev", "trainingjobs", "get"): "after a conflict",
    ("upright.dev", "modelversions", "get"): "after a conflict",
    ("upright.dev", "deployments", "get"): "after a conflict",
    ("upright.dev", "comparisons", "get"): "after a conflict",
}
"""What a session need not use, and when it is used."""


def granted(cluster: Cluster) -> set[Permission]:
    rules = json.loads(cluster.kubectl("get", "clusterrole", "upright", "-o", "json").stdout)["rules"]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(cluster: Cluster) -> set[Permission]:
    assert cluster.audit_log is not None
    asked = set()
    with cluster.audit_log.open() as log:
        for line in log:
            if OPERATOR not in line or not line.endswith("\n"):
                continue
            event = json.loads(line)
            target = event.get("objectRef", {})
            if event["user"]["username"] == OPERATOR and "resource" in target:
                resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
                asked.add((target.get("apiGroup", ""), resource, event["verb"]))
    return asked


@pytest.mark.last
def test_no_permission_is_granted_that_the_operator_does_not_use(place: Workspace) -> None:
    if place.cluster.audit_log is None:
        pytest.skip(f"the provider {place.cluster.provider} gives no audit log")
    assert granted(place.cluster) - used(place.cluster) - RARE.keys() == set()
    assert RARE.keys() <= granted(place.cluster)
