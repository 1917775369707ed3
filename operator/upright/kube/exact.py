"""Where an object of ours is not as it is wanted, and the parts of it in which nothing else may be. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from upright.contract import Manifest, ResourceType
from upright.kube.objects import differences, meta, part, surplus, without_surplus

_EXACT: Mapping[str, Sequence[str]] = {"Service": ("/spec/selector", "/spec/ports")}
"""By kind, the parts of what we apply in which nothing else may be: server-side apply leaves what others have added."""


def changes(type: ResourceType, live: Manifest, wanted: Manifest) -> list[str]:
    """What others have made of an object, in words. It may have more owners than ours."""
    owners = without_surplus(part(live, "/metadata/ownerReferences"), part(wanted, "/metadata/ownerReferences"))
    live = {**live, "metadata": {**meta(live), "ownerReferences": owners}}
    return [*(f"another {path}" for path in differences(live, wanted)), *added(type, live, wanted)]


def added(type: ResourceType, live: Manifest, wanted: Manifest) -> list[str]:
    """What others have put where nothing else may be, in words."""
    return [
        f"{path} added"
        for pointer in _EXACT.get(type.kind, ())
        for path in surplus(part(live, pointer), part(wanted, pointer), pointer.strip("/").replace("/", "."))
    ]


def exactly(type: ResourceType, live: Manifest, wanted: Manifest) -> Mapping[str, Any]:
    """By pointer, the parts that must be exact and have more than is wanted, as they should be."""
    return {
        pointer: without_surplus(part(live, pointer), part(wanted, pointer)) or part(wanted, pointer)
        for pointer in _EXACT.get(type.kind, ())
        if any(surplus(part(live, pointer), part(wanted, pointer), pointer))
    }
