"""PersistentVolumes of a local cluster: `local` ones, which unlike hostPath honour fsGroup.

There is no provisioner: the volumes are made beforehand, and whoever is done with a claim calls `recycle`.
"""

import json
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.node import Node
from tests.cluster.shell import locked

COUNT = 24
TINY = 4
TINY_SIZE = "8Mi"
_ROOT = "/var/lib/volumes"
_NAMES = [f"local-{number}" for number in range(COUNT)]
_TINY_NAMES = [f"tiny-{number}" for number in range(TINY)]


def mount(node: Node) -> None:
    """Make the volumes' directories; the tiny ones are file systems of their own, so that they can be full."""
    node.run("mkdir", "-p", *(f"{_ROOT}/{name}" for name in (*_NAMES, *_TINY_NAMES)))
    for name in _TINY_NAMES:
        node.run(
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={TINY_SIZE.removesuffix('i').lower()},mode=755",
            "tiny",
            f"{_ROOT}/{name}",
        )


def manifests(node: Node) -> list[dict[str, Any]]:
    """The storage classes `local` (the default, 1Gi each) and `tiny` (8Mi each), and their volumes."""
    return [
        _storage_class("local", default=True),
        _storage_class("tiny", default=False),
        *(_volume(node, name, "local", "1Gi") for name in _NAMES),
        *(_volume(node, name, "tiny", TINY_SIZE) for name in _TINY_NAMES),
    ]


def recycle(node: Node, cluster: Cluster) -> None:
    """Empty the volumes whose claims are gone, and offer them again."""
    with locked(f"volumes-{node.index}", print):
        _recycle(node, cluster)


def _recycle(node: Node, cluster: Cluster) -> None:
    kubectl = cluster.kubectl
    volumes = json.loads(kubectl("get", "persistentvolumes", "--output=json").stdout)["items"]
    released = {volume["metadata"]["name"] for volume in volumes if volume["status"].get("phase") == "Released"}
    if not released:
        return
    for name in released:
        node.run("find", f"{_ROOT}/{name}", "-mindepth", "1", "-delete")
        node.run("chown", "0:0", f"{_ROOT}/{name}")
        node.run("chmod", "755", f"{_ROOT}/{name}")
    kubectl("delete", "persistentvolumes", *released)
    again = [item for item in manifests(node) if item["metadata"]["name"] in released]
    kubectl("create", "--filename=-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": again}))


def _storage_class(name: str, *, default: bool) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": str(default).lower()},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(node: Node, name: str, storage_class: str, size: str) -> dict[str, Any]:
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "storageClassName": storage_class,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": f"{_ROOT}/{name}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
