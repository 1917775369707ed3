"""Quantities of Kubernetes (`500m`, `4Gi`) in what users write of containers and pods.

The fields around them are Kubernetes' own, so that only quantities are looked at here. The schema refuses a wrong one
at once; what was stored before it did is refused when it is read, with the same fields named.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, WithJsonSchema

from upright.api.common import Resource

_PATTERN = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""Without a minus: nothing that can be written here may be negative. Nothing in it can be read in two ways, so that no
text takes longer than it is long.
"""
_LONGEST = 64
_PRESERVED: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

QUANTITY: dict[str, Any] = {
    "x-kubernetes-preserve-unknown-fields": True,
    "pattern": _PATTERN,
    "maxLength": _LONGEST,
    "minimum": 0,
}
"""Without a type: `cpu: 0.5` is a number, which `x-kubernetes-int-or-string` would refuse and Kubernetes takes."""
QUANTITIES: dict[str, Any] = {
    "type": "object",
    "maxProperties": 64,
    "nullable": True,
    "additionalProperties": QUANTITY,
}
RESOURCES: dict[str, Any] = {
    **_PRESERVED,
    "properties": {
        kind: {**QUANTITIES, "description": f"The {kind}, by resource: quantities such as 500m, 2 or 4Gi."}
        for kind in ("requests", "limits")
    },
}
EMPTY_DIR: dict[str, Any] = {
    **_PRESERVED,
    "nullable": True,
    "properties": {"sizeLimit": {**QUANTITY, "description": "At most so many bytes: a quantity such as 4Gi."}},
}


def _quantity(value: object) -> object:
    match value:
        case bool():
            pass
        case None:
            return value
        case int() | float() if value >= 0:
            return value
        case str() if len(value) <= _LONGEST and re.fullmatch(_PATTERN, value.strip()):
            return value  # with spaces, too: Kubernetes takes them, and such an object may serve already
    raise ValueError(f"must be a quantity such as 500m, 2 or 4Gi, and is {repr(value)[:_LONGEST]}")


_Quantity = Annotated[Any, BeforeValidator(_quantity)]


class _Shape(Resource):
    """Under the names alone that Kubernetes has: those of Python's are checked by no schema."""

    model_config = ConfigDict(populate_by_name=False)


class _Resources(_Shape):
    requests: dict[str, _Quantity] | None = None
    limits: dict[str, _Quantity] | None = None


class _Container(_Shape):
    resources: _Resources | None = None


class _EmptyDir(_Shape):
    size_limit: _Quantity = None


class _Volume(_Shape):
    empty_dir: _EmptyDir | None = None


class _Pod(_Shape):
    overhead: dict[str, _Quantity] | None = None
    resources: _Resources | None = None
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    volumes: list[_Volume] | None = None


def _checked_as(model: type[Resource]) -> AfterValidator:
    """Names the field of each quantity that is none, and leaves everything as it was written."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        model.model_validate(value)
        return value

    return AfterValidator(check)


POD_QUANTITIES = _checked_as(_Pod)
Resources = Annotated[dict[str, Any], _checked_as(_Resources), WithJsonSchema(RESOURCES)]
"""Requests and limits of a container (core/v1 ResourceRequirements)."""
