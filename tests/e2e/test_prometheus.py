"""A rollout that is measured by a real Prometheus server, which finds and scrapes the pods of the cluster."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import host
from tests.cluster.cluster import Cluster
from tests.e2e.conftest import PROMETHEUS
from tests.e2e.objects import condition, deployed
from tests.installed import Object, Workspace

RATE = 20
SCRAPES = {
    "job_name": "pods",
    "scrape_interval": "2s",
    "scrape_timeout": "2s",
    "kubernetes_sd_configs": [{"role": "pod"}],
    "relabel_configs": [
        {"source_labels": ["__meta_kubernetes_pod_label_upright_dev_deployment"], "regex": ".+", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "http", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ],
}


def server(image: str) -> list[Object]:
    """A server in the namespace that the installed operator knows; its program is that of the machine of the tests."""
    labels, program = {"app": "prometheus"}, "/usr/bin/prometheus"
    role = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    rbac = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus"},
            "data": {"prometheus.yml": json.dumps({"scrape_configs": [SCRAPES]})},
        },
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus"}},
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": "test-prometheus"}, "rules": [role]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "test-prometheus"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "test-prometheus"},
            "subjects": [{"kind": "ServiceAccount", "name": "prometheus", "namespace": PROMETHEUS}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "prometheus"},
            "spec": {"selector": labels, "ports": [{"port": 9090}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "prometheus", "labels": labels},
            "spec": {
                "serviceAccountName": "prometheus",
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "prometheus",
                        "image": image,
                        "command": [
                            program,
                            "--config.file=/etc/prometheus/prometheus.yml",
                            "--storage.tsdb.path=/tmp/data",
                        ],
                        "volumeMounts": [
                            {"name": "program", "mountPath": program, "readOnly": True},
                            {"name": "config", "mountPath": "/etc/prometheus"},
                            {"name": "tmp", "mountPath": "/tmp"},
                        ],
                        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
                    }
                ],
                "volumes": [
                    {"name": "program", "hostPath": {"path": program, "type": "File"}},
                    {"name": "config", "configMap": {"name": "prometheus"}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        },
    ]


@contextmanager
def scraping(cluster: Cluster, place: Workspace) -> Iterator[None]:
    """Prometheus runs while the context lasts. Its namespace stays, since the operator was told of it."""
    host.install_packages(print, {"prometheus": "prometheus"})
    cluster.kubectl("create", "namespace", PROMETHEUS, check=False)
    there = Workspace(cluster, PROMETHEUS, place.images)
    objects = server(place.images.runtime)
    there.apply(*objects)
    try:
        there.kubectl("wait", "pod/prometheus", "--for=condition=Ready", "--timeout=120s")
        yield
    finally:
        for one in objects:
            there.kubectl("delete", one["kind"], one["metadata"]["name"], "--ignore-not-found")


def test_a_bad_version_is_rolled_back_by_what_prometheus_has_scraped(cluster: Cluster, churn: Workspace) -> None:
    by_prometheus = {"source": "Prometheus", "interval": "2s"}
    steps = {"steps": [{"weight": 50, "for": "5m"}]}
    with (
        deployed(churn, "scraped", "old-1", rollout=steps, monitoring=by_prometheus),
        churn.traffic("scraped", rate=RATE) as client,
    ):
        client.until(lambda answers: len(answers) > RATE, "answers of old-1")
        churn.patch("mdep", "scraped", {"spec": {"modelVersion": "bad-1"}})
        blind = churn.until(
            "mdep", "scraped", lambda one: condition(one, "Measured")[0] == "False", "no server to measure it"
        )
        assert "Prometheus server 'default' does not answer" in condition(blind, "Measured")[2]
        with scraping(cluster, churn):
            back = churn.until_phase("mdep", "scraped", "RolledBack")
        [rejection] = back["status"]["rejected"]
        assert (rejection["modelVersion"], rejection["metric"]) == ("bad-1", "errors")
