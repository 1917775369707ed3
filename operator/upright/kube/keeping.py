"""What a store keeps of an object: what some kind reads, and no more. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Any, TypeAlias

from upright.api.names import short_hash
from upright.contract import Manifest
from upright.kube.objects import meta


class Whole(Enum):
    """How much is kept of a field that is not gone into."""

    CONTENT = auto()
    DIGEST = auto()


Shape: TypeAlias = Mapping[str, "Shape | Whole"]
"""Which fields of an object are kept."""

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
)
_NAME = ("name", "namespace", "uid", "resourceVersion")
_SHORT = 64
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The whole object once more, as kubectl notes it for itself."""


def shape(paths: Iterable[str], digests: Iterable[str] = ()) -> Shape | None:
    """The shape of these paths, and of those of which a digest will do; None, the whole object, when there is none."""
    found: dict[str, Any] = {}
    for path, how in (*((path, Whole.DIGEST) for path in digests), *((path, Whole.CONTENT) for path in paths)):
        place: Any = found
        *parents, last = path.split(".")
        for name in parents:
            place = place.setdefault(name, {})
            if isinstance(place, Whole):  # the whole of it is kept already
                break
        else:
            place[last] = how
    return found or None


def kept(manifest: Manifest, fields: Shape | None) -> Manifest:
    """What is kept of an object beside who it is; None: everything."""
    rest = {name: value for name, value in manifest.items() if name not in ("apiVersion", "kind", "metadata")}
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": _identity(manifest, _METADATA),
        **_shared(_reduced(rest, Whole.CONTENT if fields is None else fields)),
    }


def kept_with_writers(manifest: Manifest) -> Manifest:
    """The whole of an object, and who has written it, when: one entry for each writer, without what they wrote."""
    whole = kept(manifest, None)
    writers = [
        {name: entry[name] for name in ("manager", "operation", "time") if name in entry}
        for entry in meta(manifest).get("managedFields") or ()
        if not entry.get("subresource")
    ]
    return {**whole, "metadata": {**whole["metadata"], "managedFields": writers}} if writers else whole


def kept_name(manifest: Manifest) -> Manifest:
    """Which object it is, in which version."""
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": _identity(manifest, _NAME),
    }


def _identity(manifest: Manifest, names: Sequence[str]) -> dict[str, Any]:
    found = {name: _shared(value) for name in names if (value := meta(manifest).get(name)) is not None}
    if _LAST_APPLIED in found.get("annotations", ()):
        found["annotations"] = {name: text for name, text in found["annotations"].items() if name != _LAST_APPLIED}
    return found


def _reduced(value: Any, fields: Shape | Whole) -> Any:
    if isinstance(fields, Whole):
        return value if fields is Whole.CONTENT else short_hash(value)
    if isinstance(value, Mapping):
        return {name: _reduced(value[name], inner) for name, inner in fields.items() if name in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_reduced(item, fields) for item in value]
    return value


def _shared(value: Any) -> Any:
    """The same, with one string wherever the same words stand: each answer of the API server brings its own."""
    if isinstance(value, str):
        return _one(value) if len(value) <= _SHORT else value
    if isinstance(value, dict):
        return {_one(name): _shared(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shared(item) for item in value]
    return value


@lru_cache(16384)
def _one(words: str) -> str:
    return words
