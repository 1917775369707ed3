"""A rollout that is measured by a real Prometheus server, which scrapes the pods."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import host
from tests.cluster.cluster import Cluster
from tests.e2e.conftest import PROMETHEUS
from tests.e2e.objects import condition, deployed
from tests.installed import Object, Workspace

RATE = 20


def scrapes(pods: list[Object]) -> Object:
    """Of each pod, under the labels that discovery in a cluster gives; the server of the tests' machine has none."""
    targets = [
        {
            "targets": [f"{pod['status']['podIP']}:3000"],
            "labels": {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]},
        }
        for pod in pods
    ]
    return {"job_name": "pods", "scrape_interval": "2s", "scrape_timeout": "2s", "static_configs": targets}


def server(image: str, pods: list[Object]) -> list[Object]:
    """A server in the namespace that the installed operator knows; its program is that of the machine of the tests."""
    labels, program, config = {"app": "prometheus"}, "/usr/bin/prometheus", "/etc/prometheus/prometheus.yml"
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "prometheus"},
            "data": {"prometheus.yml": json.dumps({"scrape_configs": [scrapes(pods)]})},
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
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "prometheus",
                        "image": image,
                        "command": [program, f"--config.file={config}", "--storage.tsdb.path=/tmp/data"],
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
def scraping(cluster: Cluster, place: Workspace, deployment: str) -> Iterator[None]:
    """Prometheus runs, and scrapes the pods of a Deployment, while the context lasts. Its namespace stays, since the
    operator was told of it.
    """
    host.install_packages(print, {"prometheus": "prometheus"})
    cluster.kubectl("create", "namespace", PROMETHEUS, check=False)
    there = Workspace(cluster, PROMETHEUS, place.images)
    objects = server(place.images.runtime, place.items("pods", f"upright.dev/deployment={deployment}"))
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
        with scraping(cluster, churn, "scraped"):
            back = churn.until_phase("mdep", "scraped", "RolledBack")
        [rejection] = back["status"]["rejected"]
        assert (rejection["modelVersion"], rejection["metric"]) == ("bad-1", "refusals")
