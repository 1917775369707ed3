"""Where an object of ours is not as it is wanted, and the parts of it in which nothing else may be. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from upright.contract import Manifest, ResourceType
from upright.kube.objects import differences, meta, part, surplus, without_surplus

_EXACT: Mapping[str, Sequence[str]] = {
    "Service": (
        "/spec/selector",
        "/spec/ports",
        "/spec/publishNotReadyAddresses",
        "/spec/trafficDistribution",
        "/spec/externalIPs",
    )
}
"""By kind, the parts of what we apply where nothing else may be: server-side apply leaves what others have added. What
we do not set is not to be there: of a Service, what gives requests to other pods than all that are ready, each alike.
"""


def changes(type: ResourceType, live: Manifest, wanted: Manifest) -> list[str]:
    """What others have made of an object, in words. It may have more owners than ours."""
    owners = without_surplus(part(live, "/metadata/ownerReferences"), part(wanted, "/metadata/ownerReferences"))
    live = {**live, "metadata": {**meta(live), "ownerReferences": owners}}
    return [*(f"another {path}" for path in differences(live, wanted)), *added(type, live, wanted)]


def added(type: ResourceType, live: Manifest, wanted: Manifest) -> list[str]:
    """What others have put where nothing else may be, in words."""
    return [f"{path} added" for pointer in _EXACT.get(type.kind, ()) for path in _surplus(live, wanted, pointer)]


def exactly(type: ResourceType, live: Manifest, wanted: Manifest) -> Mapping[str, Any]:
    """By pointer, the parts that must be exact and have more than is wanted, as they should be."""
    return {
        pointer: without_surplus(part(live, pointer), right) or right if (right := part(wanted, pointer)) else None
        for pointer in _EXACT.get(type.kind, ())
        if any(_surplus(live, wanted, pointer))
    }


def _surplus(live: Manifest, wanted: Manifest, pointer: str) -> Iterable[str]:
    found, right, path = part(live, pointer), part(wanted, pointer), pointer.strip("/").replace("/", ".")
    if right is None:
        return [path] if found else []
    return surplus(found, right, path)
