"""By which groups of users a container counts requests, as its environment says."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from upright.api.serving import OTHER
from upright.runtime.outcome import RefusedError

_VARIABLE = "UPRIGHT_SEGMENTS"

Group = tuple[str, str]
"""The name of a segment, and of one of its values."""


class Segment(BaseModel):
    """A feature, and the values that are told apart: themselves, or, with edges, the numbers from one edge to the next;
    the first value is below all edges.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str = Field(min_length=1)
    feature: str
    values: Annotated[tuple[str, ...], Field(min_length=1, max_length=10)]
    edges: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _has_a_value_between_edges(self) -> Self:
        if self.edges is not None:
            if len(self.values) != len(self.edges) + 1:
                raise ValueError("there must be one value more than edges")
            if any(low >= high for low, high in pairwise(self.edges)):
                raise ValueError("edges must rise")
        return self

    @property
    def groups(self) -> Sequence[Group]:
        """All groups, OTHER the last."""
        return [(self.name, value) for value in (*self.values, OTHER)]


def _differ(segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    if len({segment.name for segment in segments}) < len(segments):
        raise ValueError("names must differ")
    return segments


_SEGMENTS = TypeAdapter(Annotated[tuple[Segment, ...], Field(max_length=8), AfterValidator(_differ)])


def segments_of(environment: Mapping[str, str]) -> Sequence[Segment]:
    """By what the container counts requests. Raises RefusedError."""
    try:
        segments = _SEGMENTS.validate_json(environment.get(_VARIABLE, "[]"))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors())
        raise RefusedError(
            "InvalidEnvironment", f"The environment variable {_VARIABLE} does not describe segments: {wrong}"
        ) from None
    return segments
