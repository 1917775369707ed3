"""What all pods that Upright makes have in common."""

from collections.abc import Mapping, Sequence
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
