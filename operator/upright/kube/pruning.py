"""What does the API server not keep of what is recorded? It drops fields that the CustomResourceDefinition lacks."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from upright.contract import Manifest, ResourceType

logger = logging.getLogger(__name__)


class Pruned:
    """Fields of statuses that the API server was seen to drop, one of each kind."""

    def __init__(self) -> None:
        self._fields: dict[ResourceType, str] = {}

    @property
    def trouble(self) -> str:
        """What is wrong, in a sentence for each kind; empty when nothing is known to be."""
        return " ".join(f"{_said(each, field)}." for each, field in self._fields.items())

    def compare(self, type: ResourceType, sent: Mapping[str, Any], answer: Manifest) -> None:
        """Compare a status with what the API server has kept of it, as it answers."""
        kept = set(_fields(answer.get("status"), "status"))
        if self._fields.get(type) in kept:
            del self._fields[type]
            logger.info("%s: well again", type)
        lost = next((field for field in _fields(sent, "status") if field not in kept), None)
        if lost is not None and type not in self._fields:
            self._fields[type] = lost
            logger.warning("%s", _said(type, lost))


def _said(type: ResourceType, field: str) -> str:
    return (
        f"the CustomResourceDefinition {type} is older than this Upright, and the API server drops {field}: upgrade it "
        "with the chart of this version"
    )


def _fields(value: Any, path: str) -> Iterator[str]:
    """The paths of all fields that are set, without places in lists."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if inner is not None:
                yield f"{path}.{name}"
                yield from _fields(inner, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _fields(inner, path)
