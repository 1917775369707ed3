"""Reading Kubernetes objects as JSON, and comparing them. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from upright.contract import Key, Manifest, Reference, ResourceType

MANAGED_BY = "app.kubernetes.io/managed-by"
OURS = "upright"
PREFIX = "upright.dev/"
APPLIED = "upright.dev/applied"
"""Annotation on what we apply: a digest of the manifest, so that a restart knows what was applied before."""


def meta(manifest: Manifest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = manifest.get("metadata") or {}
    return found


def name_of(manifest: Manifest) -> str:
    return str(meta(manifest).get("name", ""))


def namespace_of(manifest: Manifest) -> str:
    return str(meta(manifest).get("namespace", ""))


def key_of(manifest: Manifest) -> Key:
    return Key(namespace_of(manifest), name_of(manifest))


def uid_of(manifest: Manifest) -> str:
    return str(meta(manifest).get("uid", ""))


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    return meta(manifest).get("labels") or {}


def version_of(manifest: Manifest) -> int:
    """The resourceVersion; since Kubernetes 1.35 two of the same resource may be compared as numbers."""
    return int(meta(manifest).get("resourceVersion") or 0)


def is_being_deleted(manifest: Manifest) -> bool:
    return bool(meta(manifest).get("deletionTimestamp"))


def controller_of(manifest: Manifest) -> Mapping[str, Any] | None:
    """The owner reference of the object's controller."""
    owners: Sequence[Mapping[str, Any]] = meta(manifest).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def controller_uid(manifest: Manifest) -> str:
    return str((controller_of(manifest) or {}).get("uid", ""))


def reference(type: ResourceType, manifest: Manifest) -> Reference:
    return Reference(type, namespace_of(manifest), name_of(manifest), uid_of(manifest))


def type_of(manifest: Manifest, known: Sequence[ResourceType]) -> ResourceType:
    """The resource of a manifest, among those that a kind has named. A kind that plans another is a mistake of ours."""
    wanted = (manifest.get("apiVersion"), manifest.get("kind"))
    for candidate in known:
        if (candidate.api_version, candidate.kind) == wanted:
            return candidate
    raise LookupError(f"a plan holds {wanted[1]} of {wanted[0]}, which is neither watched nor applied by its kind")


def without_managed_fields(manifest: Manifest) -> Manifest:
    """The manifest without the bookkeeping that makes up half of its size and that nobody here reads."""
    metadata = {name: value for name, value in meta(manifest).items() if name != "managedFields"}
    return {**manifest, "metadata": metadata}


def holder_of(manifest: Manifest) -> str:
    """Whose an object is, for people: its controller, the tool that manages it, or the field manager that wrote it."""
    if owner := controller_of(manifest):
        return f"{owner.get('kind')} {owner.get('name')}"
    if tool := labels_of(manifest).get(MANAGED_BY):
        return f"{tool} (label {MANAGED_BY})"
    writers = [
        entry.get("manager") for entry in meta(manifest).get("managedFields") or () if not entry.get("subresource")
    ]
    return f"{writers[0]} (field manager)" if writers else "somebody else"


def digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, default=dict).encode()).hexdigest()[:16]


def contains(actual: Any, wanted: Any) -> bool:
    """Whether everything in `wanted` is so in `actual`, which may have more: what the API server has filled in."""
    if isinstance(wanted, Mapping):
        if not isinstance(actual, Mapping):
            return not wanted and actual is None
        return all(contains(actual.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not isinstance(actual, Sequence) or isinstance(actual, str):
            return not wanted and actual is None
        return len(actual) == len(wanted) and all(map(contains, actual, wanted))
    return bool(actual == wanted)


def plain(value: Any) -> Any:
    """Mappings and sequences as the dicts and lists that become JSON, without fields that are None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value
