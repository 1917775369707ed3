"""A real Prometheus server on the cluster, which scrapes the pods of a Deployment."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cluster import host
from tests.cluster.cluster import Cluster
from tests.e2e.conftest import PROMETHEUS
from tests.installed import Object, Workspace


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
