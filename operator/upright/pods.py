"""What all pods that Upright makes have in common, and what can be read from a pod's status."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upright.contract import Manifest

_USER = 65532

POD_SECURITY: Manifest = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
HTTP_PORT = "http"
"""Name of the port on which a serving pod answers, requests for predictions as well as for its metrics."""
NO_CREDENTIALS: Manifest = {"automountServiceAccountToken": False, "enableServiceLinks": False}
"""A user's program has no business with the API server."""


@dataclass(frozen=True)
class Location:
    """A place in a claim or a ConfigMap, as a URI names it."""

    scheme: str
    name: str
    path: str

    @classmethod
    def parse(cls, uri: str) -> "Location":
        """Split `pvc://CLAIM/PATH` or `configmap://NAME/KEY`; the schema has already checked the form."""
        scheme, _, rest = uri.partition("://")
        name, _, path = rest.partition("/")
        return cls(scheme, name, path.rstrip("/"))

    def volume(self, volume_name: str) -> Manifest:
        """The volume of a pod that gives access to it."""
        if self.scheme == "configmap":
            items = {"items": [{"key": self.path, "path": self.path}]} if self.path else {}
            return {"name": volume_name, "configMap": {"name": self.name, **items}}
        return {"name": volume_name, "persistentVolumeClaim": {"claimName": self.name}}

    def mount(self, volume_name: str, at: str, *, read_only: bool) -> Manifest:
        """How a container sees it at a path of its own."""
        below = {"subPath": self.path} if self.scheme == "pvc" and self.path else {}
        return {"name": volume_name, "mountPath": at, "readOnly": read_only, **below}


def environment(values: Mapping[str, str]) -> list[Manifest]:
    """Environment variables of a container."""
    return [{"name": name, "value": value} for name, value in values.items()]


def merge_pod(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """A pod's spec from what the user added and what we set: objects are merged, named items of lists too, other items
    are added, and where both say something ours wins.
    """
    merged = dict(theirs)
    for field, value in ours.items():
        given = theirs.get(field)
        if isinstance(given, Mapping) and isinstance(value, Mapping):
            merged[field] = merge_pod(given, value)
        elif isinstance(given, list) and isinstance(value, list):
            merged[field] = _merge_lists(given, value)
        else:
            merged[field] = value
    return merged


def _merge_lists(theirs: Sequence[Any], ours: Sequence[Any]) -> list[Any]:
    named = {item["name"]: item for item in theirs if isinstance(item, Mapping) and "name" in item}
    merged = []
    for item in ours:
        extra = named.pop(item["name"], None) if isinstance(item, Mapping) and "name" in item else None
        merged.append(merge_pod(extra, item) if extra else item)
    return merged + [item for item in theirs if not isinstance(item, Mapping) or item.get("name", "") in {"", *named}]


def container_statuses(pod: Manifest) -> Iterable[Manifest]:
    """The status of each container in the order in which they run."""
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def termination(pod: Manifest, container: str) -> Manifest | None:
    """How a container ended, last time when it runs again: exitCode, reason, message."""
    for status in container_statuses(pod):
        if status["name"] == container:
            ended: Manifest | None = status.get("state", {}).get("terminated") or status.get("lastState", {}).get(
                "terminated"
            )
            return ended
    return None


def hindrance(pod: Manifest) -> str | None:
    """Why a pod that should be starting is not, in a sentence; None when nothing is known to be in its way."""
    name = pod["metadata"]["name"]
    for status in container_statuses(pod):
        waiting = status.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        if reason in {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}:
            return (
                f"Image {status['image']!r} of container {status['name']!r} in pod {name} cannot be pulled ({reason}): "
                f"{waiting.get('message', 'no reason given')}. Correct the image's name, or make it available"
            )
        if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
            return (
                f"Container {status['name']!r} of pod {name} cannot be started ({reason}): "
                f"{waiting.get('message', 'no reason given')}"
            )
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"Pod {name} has no node to run on: {condition.get('message', condition.get('reason', ''))}"
    return None


def is_ready(pod: Manifest) -> bool:
    """Whether the pod answers and is not going away."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )
