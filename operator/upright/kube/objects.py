"""Reading Kubernetes objects as JSON, and comparing them. Pure."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from upright.api import names
from upright.contract import Key, Manifest, Reference, ResourceType

MANAGED_BY = names.MANAGED_BY
OURS = "upright"
PREFIX = "upright.dev/"

_ESCAPED = re.compile("[\x7f-\uffff]")

_MEANT = ("uid", "generation", "labels", "annotations", "deletionTimestamp")
"""What tells, in an object's metadata, that it is wanted otherwise than before."""


def meta(manifest: Manifest) -> Mapping[str, Any]:
    found: Mapping[str, Any] = manifest.get("metadata") or {}
    return found


def name_of(manifest: Manifest) -> str:
    return str(meta(manifest).get("name", ""))


def namespace_of(manifest: Manifest) -> str:
    return str(meta(manifest).get("namespace", ""))


def key_of(manifest: Manifest) -> Key:
    named = meta(manifest)
    return Key(str(named.get("namespace", "")), str(named.get("name", "")))


def uid_of(manifest: Manifest) -> str:
    return str(meta(manifest).get("uid", ""))


def labels_of(manifest: Manifest) -> Mapping[str, str]:
    return meta(manifest).get("labels") or {}


def version_of(manifest: Manifest) -> int:
    """The resourceVersion; since Kubernetes 1.35 two of the same resource may be compared as numbers."""
    return int(meta(manifest).get("resourceVersion") or 0)


def is_meant_otherwise(versions: Sequence[Manifest]) -> bool:
    """Whether, of an object's old and new version, more than the status differs; so it is of one that has no other."""
    if len(versions) < 2:
        return True
    old, new = map(meta, versions)
    return any(old.get(field) != new.get(field) for field in _MEANT)


def controller_uid(manifest: Manifest) -> str:
    return str((names.controller_of(manifest) or {}).get("uid", ""))


def reference(type: ResourceType, manifest: Manifest) -> Reference:
    return Reference(type, namespace_of(manifest), name_of(manifest), uid_of(manifest))


def type_of(manifest: Manifest, known: Sequence[ResourceType]) -> ResourceType:
    """The resource of a manifest, among those that a kind has named. A kind that plans another is a mistake of ours."""
    wanted = (manifest.get("apiVersion"), manifest.get("kind"))
    for candidate in known:
        if (candidate.api_version, candidate.kind) == wanted:
            return candidate
    raise LookupError(f"a plan holds {wanted[1]} of {wanted[0]}, which is neither watched nor applied by its kind")


class Whose(Enum):
    """To whom an object of a wanted name belongs."""

    OURS = "controlled by the owner that wants it, whatever its labels say"
    NOBODYS = "made by us and controlled by nobody: left behind by its owner, or restored without it. It is taken up"
    LEFT = "controlled by a namesake of the owner that is no more: the garbage collector will take it"
    FOREIGN = "anything else: never touched"


def whose(existing: Manifest, wanted: Manifest) -> Whose:
    """To whom an object belongs that has the name and type of a wanted one."""
    controller, owner = names.controller_of(existing), names.controller_of(wanted)
    if controller is None:
        return (
            Whose.NOBODYS if labels_of(existing).get(MANAGED_BY) == OURS and _agree(existing, wanted) else Whose.FOREIGN
        )
    if owner is None:
        return Whose.FOREIGN
    if controller.get("uid") == owner.get("uid"):
        return Whose.OURS
    return Whose.LEFT if _named(controller) == _named(owner) else Whose.FOREIGN


def _named(owner: Mapping[str, Any]) -> tuple[str, ...]:
    return str(owner.get("apiVersion")).partition("/")[0], str(owner.get("kind")), str(owner.get("name"))


def our_labels(manifest: Manifest) -> Mapping[str, str]:
    """The labels that say which object it is among those that we make."""
    return {label: value for label, value in labels_of(manifest).items() if label.startswith(PREFIX)}


def lost_labels(existing: Manifest, wanted: Manifest) -> Mapping[str, str]:
    """Of the labels by which an object of ours is found and watched, those that somebody has changed, as they were."""
    ours = {MANAGED_BY: labels_of(wanted).get(MANAGED_BY), **our_labels(wanted)}
    return {label: value for label, value in ours.items() if value and labels_of(existing).get(label) != value}


def _agree(existing: Manifest, wanted: Manifest) -> bool:
    found = our_labels(existing)
    return all(found.get(label) == value for label, value in our_labels(wanted).items())


def holder_of(manifest: Manifest) -> str:
    """Whose an object is, for people: its controller, the tool that manages it, or the field manager that wrote it."""
    if owner := names.controller_of(manifest):
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


def differences(actual: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """Where `actual` does not contain what is wanted: paths such as spec.selector.app."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        for name, value in wanted.items():
            yield from differences(actual.get(name), value, f"{path}.{name}".lstrip("."))
    elif not contains(actual, wanted):
        yield path


def without_surplus(actual: Any, wanted: Any) -> Any:
    """`actual` without the fields, or the items of a list, that are not wanted."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        return {name: value for name, value in actual.items() if name in wanted}
    if isinstance(wanted, Sequence) and isinstance(actual, Sequence) and not isinstance(wanted, str):
        return [item for item in actual if any(contains(item, one) for one in wanted)]
    return actual


def surplus(actual: Any, wanted: Any, path: str) -> Iterator[str]:
    """What `actual` has that is not wanted: paths such as spec.selector.team or spec.ports[1]."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        yield from (f"{path}.{name}" for name in actual if name not in wanted)
    elif isinstance(wanted, Sequence) and isinstance(actual, Sequence) and not isinstance(wanted, str):
        for number, item in enumerate(actual):
            if not any(contains(item, one) for one in wanted):
                yield f"{path}[{number}]"


def part(manifest: Manifest, pointer: str) -> Any:
    """What stands at a JSON pointer; None when there is nothing."""
    found: Any = manifest
    for name in pointer.strip("/").split("/"):
        name = name.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, Sequence) and not isinstance(found, str) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def plain(value: Any) -> Any:
    """Mappings and sequences as the dicts and lists that become JSON, without fields that are None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def yaml_of(value: Any) -> str:
    """As JSON that is YAML, too, whose escapes name no characters beyond U+FFFF, and which ends lines at U+0085 and
    U+2028 where these are not escaped.
    """
    text = json.dumps(plain(value), ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
