"""What a store keeps of an object: what some kind reads, and no more. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, TypeAlias

from upright.api import names
from upright.api.names import short_hash
from upright.contract import Manifest
from upright.kube.objects import labels_of, meta


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
_TIMES = ("generation", "creationTimestamp", "deletionTimestamp")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The whole object once more, as kubectl notes it for itself."""


MOST_LABELS = 128
"""Of an object with more, only those are kept that we give: users may add 64, and what bears a label of ours may be a
stranger's, with thousands.
"""
MOST_NOTES = 64 * 1024
"""Characters of the annotations of an object with more of which only those are kept that anybody reads, likewise."""
LARGEST = 1024**2
"""Of what `weight` says. A larger object is of no use to anybody, and taking it in would hold up all others."""
DEEPEST = 100
"""So many levels may an object nest: whatever goes through it step by step would come to Python's end at some 1,000."""
UNUSABLE = "unusable"
"""In what is kept of an object that is too large or too deep: a sentence that says so."""


def weight(value: Any) -> tuple[int, int]:
    """About how many bytes an object takes as JSON in UTF-8, and 16 more for each part; and how many levels it nests.
    Neither is counted far beyond LARGEST and DEEPEST.
    """
    found, depth, level = 0, 0, [value]
    while level and found <= LARGEST and depth <= DEEPEST:
        parts, level, inner = level, [], False
        for part in parts:
            found += 16
            if isinstance(part, str):
                found += len(part) if part.isascii() else len(part.encode(errors="replace"))
            elif isinstance(part, Mapping):
                inner = True
                level.extend(part)
                level.extend(part.values())
            elif isinstance(part, Sequence):
                inner = True
                level.extend(part)
            if found > LARGEST:
                break
        depth += inner
    return found, depth


def _unusable(value: Any) -> str:
    """Why an object, or a part of it, is not taken in, in a sentence; empty when it is."""
    size, depth = weight(value)
    if size <= LARGEST and depth <= DEEPEST:
        return ""
    excess = f"takes more than {LARGEST // 1024} KiB" if size > LARGEST else f"nests more than {DEEPEST} levels deep"
    return f"The object {excess}, so nothing is done for it: put that into a ConfigMap or a volume, and name it here."


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
    """What is kept of an object beside who it is; None: everything. Of one of which that is too large or too deep only
    which it is, whose it is, and what it says of itself.
    """
    name = {"apiVersion": manifest.get("apiVersion"), "kind": manifest.get("kind")}
    rest = {field: value for field, value in manifest.items() if field not in ("apiVersion", "kind", "metadata")}
    whole = {
        **name,
        "metadata": _identity(manifest, _METADATA),
        **_reduced(rest, Whole.CONTENT if fields is None else fields),
    }
    if not (why := _unusable(whole)):
        return whole
    status = manifest.get("status")
    found = {"status": status} if isinstance(status, Mapping) and not _unusable(status) else {}
    return {**name, "metadata": {**_identity(manifest, (*_NAME, *_TIMES)), **_ours(manifest)}, **found, UNUSABLE: why}


def _ours(manifest: Manifest) -> Mapping[str, Any]:
    """The labels that we gave it, and its controller."""
    labels = _our_labels(manifest)
    controller = names.controller_of(manifest)
    return {"labels": labels, **({"ownerReferences": [controller]} if controller else {})}


def _our_labels(manifest: Manifest) -> dict[str, str]:
    return {name: value for name, value in labels_of(manifest).items() if name in names.LABELS}


def kept_with_writers(manifest: Manifest) -> Manifest:
    """The whole of an object, and who has written it, when: one entry for each writer, without what they wrote."""
    whole = kept(manifest, None)
    writers = [
        {name: entry[name] for name in ("manager", "operation", "time") if name in entry}
        for entry in meta(manifest).get("managedFields") or ()
        if not entry.get("subresource")
    ]
    return {**whole, "metadata": {**whole["metadata"], "managedFields": writers}} if writers else whole


def bare(manifest: Manifest) -> Manifest:
    """The object without its labels and annotations, which are for strangers to size."""
    rest = {name: value for name, value in meta(manifest).items() if name not in ("labels", "annotations")}
    return {**manifest, "metadata": rest}


def kept_name(manifest: Manifest) -> Manifest:
    """Which object it is, in which version, and whether it is being deleted."""
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": _identity(manifest, (*_NAME, "deletionTimestamp")),
    }


def _identity(manifest: Manifest, fields: Sequence[str]) -> dict[str, Any]:
    found = {name: value for name in fields if (value := meta(manifest).get(name)) is not None}
    if len(found.get("labels", ())) > MOST_LABELS:
        found["labels"] = _our_labels(manifest)
    if "annotations" in found:
        found["annotations"] = _notes(manifest.get("kind"), found["annotations"])
    return found


def _notes(kind: object, annotations: Mapping[str, str]) -> dict[str, str]:
    kept = {name: text for name, text in annotations.items() if name != _LAST_APPLIED}
    if sum(len(name) + len(text) for name, text in kept.items()) <= MOST_NOTES:
        return kept
    return {
        name: text
        for name, text in kept.items()
        if name in names.ANNOTATIONS and (len(text) <= _LONGEST_NOTE or (name, kind) == (names.RUN_RECORD, "Job"))
    }


_LONGEST_NOTE = 4 * 1024


def _reduced(value: Any, fields: Shape | Whole) -> Any:
    if isinstance(fields, Whole):
        return value if fields is Whole.CONTENT else short_hash(value)
    if isinstance(value, Mapping):
        return {name: _reduced(value[name], inner) for name, inner in fields.items() if name in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_reduced(item, fields) for item in value]
    return value
