"""Which groups of users the rows of a request are of, each told by what they have of one feature of the model."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import BadInputError, Batch, batch_of_columns, is_matrix, listed
from upright.runtime.columns import SINGLE
from upright.runtime.segments import Group, Segment

_Told = Callable[[NDArray[Any]], set[Group]]
"""The groups that the rows of a column are of."""

_FEW = 16
"""Rows of which numbers are looked up one by one: NumPy takes longer to begin."""

_FLAGS = {True: "true", False: "false"}


class Groups:
    """Those of all segments of which a model has the feature. `untold`: a sentence for each other segment."""

    def __init__(self, segments: Sequence[Segment], signature: Signature) -> None:
        inputs = {} if is_matrix(signature) else {tensor.name: tensor for tensor in signature.inputs}
        told = [segment for segment in segments if segment.feature in inputs]
        has = f"it has {listed([*inputs])}" if inputs else "its features have no names"
        self.untold: Sequence[str] = [
            f"Nothing is counted by the segment {segment.name}: the model has no feature {segment.feature!r}; {has}"
            for segment in segments
            if segment.feature not in inputs
        ]
        self.all: Sequence[Group] = [group for segment in told for group in segment.groups]
        self._told = [(segment.feature, _told_by(segment, inputs[segment.feature])) for segment in told]

    def of(self, batch: Batch) -> Sequence[Group]:
        """The groups that rows are of, each once."""
        return [group for feature, told in self._told for group in told(batch.columns[feature])]


def _told_by(segment: Segment, tensor: Tensor) -> _Told:
    if segment.edges is None:
        return _by_values(segment, tensor)
    return _by_edges(segment.groups, segment.edges, tensor)


def _by_values(segment: Segment, tensor: Tensor) -> _Told:
    of_value = {
        key: group
        for value, group in zip(segment.values, segment.groups[:-1], strict=True)
        for key in _keys(value, tensor)
    }
    group, other = of_value.get, segment.groups[-1]
    return lambda column: {group(value, other) for value in _values(column, tensor)}


def _by_edges(groups: Sequence[Group], edges: Sequence[float], tensor: Tensor) -> _Told:
    other = groups[-1]
    if tensor.type in {"BOOL", "BYTES"}:
        return lambda _: {other}
    precision = np.float32 if _is_single(tensor) else np.float64
    bounds = np.array([*edges, inf], precision)  # nothing that is sent is infinite; NaN comes after that
    rising: list[float] = bounds.tolist()

    def told(column: NDArray[Any]) -> set[Group]:
        if len(column) <= _FEW:
            return {groups[bisect_right(rising, one)] if _is_number(one) else other for one in _values(column, tensor)}
        if tensor.type is None:
            column = np.array([one if _is_number(one) else nan for one in column.tolist()])
        places = bounds.searchsorted(np.asarray(column, precision), "right")
        return {groups[place] for place in np.flatnonzero(np.bincount(places)).tolist()}

    return told


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and value == value


def _keys(value: str, tensor: Tensor) -> Sequence[Any]:
    """What a column has where a request has the value that is written so; nothing, if it cannot have it."""
    if tensor.type == "BYTES":
        return _as_in_a_request(value, tensor)
    try:
        written = from_json(value, allow_inf_nan=False)
    except ValueError:
        written = None
    if tensor.type is not None:
        return _as_in_a_request(written, tensor)
    return [value, written] if type(written) in {int, float} else [value]


def _as_in_a_request(value: Any, tensor: Tensor) -> Sequence[Any]:
    if value is None:
        return []
    try:
        batch = batch_of_columns({tensor.name: [value]}, 1, Signature(inputs=(tensor,)))
    except BadInputError:
        return []
    return _values(batch.columns[tensor.name], tensor)


def _values(column: NDArray[Any], tensor: Tensor) -> Sequence[Any]:
    """The values of a column as they are told apart: 0.1 is one number of single precision, however it has come, and
    true is no 1 where a feature may have both.
    """
    values: list[Any] = (column.astype(np.float32) if _is_single(tensor) else column).tolist()
    if tensor.type is None:
        return [_FLAGS[value] if isinstance(value, bool) else value for value in values]
    return values


def _is_single(tensor: Tensor) -> bool:
    return tensor.type == "FP32" or tensor.dtype in SINGLE
