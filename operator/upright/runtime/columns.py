"""From the typed values of a batch to the columns of pandas that a model was fitted on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import is_date
from upright.runtime.learnt import Learnt

SINGLE = frozenset({"float32", "Float32"})
"""The types of columns of single precision."""


def frame_of(columns: Mapping[str, NDArray[Any]], signature: Signature, learnt: Sequence[Learnt]) -> Any:
    """A DataFrame with the columns as the model was fitted on them."""
    import pandas as pd

    return pd.DataFrame(
        {
            tensor.name: _series(columns[tensor.name], tensor, known.null)
            for tensor, known in zip(signature.inputs, learnt, strict=True)
        },
        copy=False,
    )


def array_of(columns: Mapping[str, NDArray[Any]], signature: Signature, learnt: Sequence[Learnt]) -> NDArray[Any]:
    """An array of shape (rows, features), for a model that was fitted on one."""
    arrays = [plain(columns[tensor.name], tensor) for tensor in signature.inputs]
    if any(array.dtype == object for array in arrays):
        arrays = [nulls_as(array, known.null) for array, known in zip(arrays, learnt, strict=True)]
    return np.column_stack(arrays)


def nulls_as(values: NDArray[Any], null: float | None) -> NDArray[Any]:
    """Objects with what the model takes for a missing value instead of None."""
    if null is None or values.dtype != object:
        return values
    lacks = np.array([value is None for value in values.reshape(-1).tolist()]).reshape(values.shape)
    return np.where(lacks, null, values) if lacks.any() else values


def plain(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """As an array has them: in the model's precision, and no whole number may lack."""
    if tensor.dtype in SINGLE:
        return values.astype(np.float32)
    whole = tensor.dtype is not None and "Int" in tensor.dtype
    return values.astype(np.float64) if whole and values.dtype == object else values


def _series(values: NDArray[Any], tensor: Tensor, null: float | None) -> Any:
    import pandas as pd

    match tensor.dtype:
        case "number" | None:
            return _untold(values, tensor, null)
        case "object":
            return pd.Series(nulls_as(values.astype(object), null), dtype=object)
        case "category":
            return pd.Series(_untold(values, tensor, np.nan)).astype("category")
        case "float32":
            return values.astype(np.float32)
        case _ if is_date(tensor):
            return _times(values, tensor)
        case dtype:
            return pd.array(values, dtype=dtype) if dtype == "string" else pd.Series(values).astype(dtype)  # type: ignore[call-overload]


def _untold(values: NDArray[Any], tensor: Tensor, null: float | None) -> Any:
    """As pandas reads them from a CSV file, which is what most models were fitted on."""
    import pandas as pd

    if tensor.type is None:
        return pd.Series(list(values))
    if tensor.type == "BYTES":
        return pd.Series(values, dtype="str" if null is not None else object)
    return nulls_as(values, null)


def _times(values: NDArray[Any], tensor: Tensor) -> Any:
    import pandas as pd

    zone = str(tensor.dtype).partition(", ")[2].rstrip("]")
    times = pd.DatetimeIndex(values)
    return times.tz_localize("UTC").tz_convert(zone) if zone else times
