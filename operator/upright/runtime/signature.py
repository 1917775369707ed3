"""What a model takes and gives: as the training program says, as the model tells, as its reference data show."""

from typing import TYPE_CHECKING, Any

import numpy as np

from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import datatype_of, width_of
from upright.runtime.learnt import NOTHING, Learnt, learn
from upright.runtime.predictor import FURTHER, PREDICTION
from upright.runtime.reference import Reference
from upright.runtime.texts import features_of

if TYPE_CHECKING:
    import pandas as pd


class NoSignatureError(Exception):
    """What the model takes cannot be known, or what is said of it does not hold."""


def infer(
    estimator: Any,
    declared: Signature | None,
    reference: Reference | None,
    filed: tuple[Tensor, ...] | None = None,
) -> Signature:
    """The model's inputs; `filed`: as its file tells them. Raises NoSignatureError."""
    names, count, texts = features_of(estimator)
    if declared:
        _check(declared, names, count)
        width, named = width_of(declared), {tensor.name for tensor in declared.inputs}
        if reference is not None and not named <= set(reference.rows) and width != len(reference.features):
            raise NoSignatureError(
                f"signature.json gives {width} features, but the reference data has {len(reference.features)}, and not "
                "all of their names"
            )
        return declared
    if filed:
        return Signature(inputs=_filed(filed, reference))
    learnt = learn(estimator)
    if reference is not None:
        told = learnt if len(learnt) == len(reference.features) else (NOTHING,) * len(reference.features)
        features = zip(reference.features, told, strict=True)
        return Signature(inputs=tuple(_shown(reference.rows[name], name, known) for name, known in features))
    if names:
        told = learnt if len(learnt) == len(names) else (NOTHING,) * len(names)
        return Signature(inputs=tuple(_told(name, known, estimator) for name, known in zip(names, told, strict=True)))
    if texts:
        return Signature(inputs=(Tensor(name="text", type="BYTES"),))
    if isinstance(count, int):
        return Signature(inputs=_unnamed(learnt, estimator))
    raise NoSignatureError(
        "what the model takes cannot be known: write reference.parquet or reference.csv (rows of features with their "
        "names) or signature.json next to the model"
    )


def _filed(inputs: tuple[Tensor, ...], reference: Reference | None) -> tuple[Tensor, ...]:
    """The inputs that a model's own file tells, with what only the reference data can show: names where the file has
    none, which numbers are true and false, and the type of what may be of any: without such data that is text.
    """
    if reference is None:
        return tuple(known if known.type else known.model_copy(update={"type": "BYTES"}) for known in inputs)
    if len(inputs[0].shape) == 2:
        inputs *= inputs[0].shape[1]
    shown = [_shown(reference.rows[name], name, NOTHING) for name in reference.features]
    return tuple(
        seen.model_copy(update={"missing": seen.missing or known.missing})
        if seen.type == "BOOL" or known.type in {None, seen.type}
        else Tensor(name=seen.name, type=known.type, missing=seen.missing or known.missing)
        for seen, known in zip(shown, inputs, strict=True)
    )


def chosen(declared: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The declared outputs as the model gives them, or as they are declared where it could not be asked; one of a name
    of its own is the predictions. Without any, what it gives, its decision function only where it has no probabilities.

    Raises NoSignatureError for one that the model does not give.
    """
    known = {tensor.name: tensor for tensor in given}
    if not declared and FURTHER[0] in known:
        return tuple(tensor for tensor in given if tensor.name != FURTHER[1])
    if not declared or not given:
        return declared or given
    outputs = []
    for tensor in declared:
        found = known.get(tensor.name if tensor.name in FURTHER else PREDICTION)
        if found is None or ("shape" in tensor.model_fields_set and tensor.shape != found.shape):
            gives = ", ".join(f"{name} of shape {list(known[name].shape)}" for name in known)
            raise NoSignatureError(
                f"signature.json declares the output {tensor.name!r} of shape {list(tensor.shape)}, but the model "
                f"gives {gives}"
            )
        outputs.append(found.model_copy(update={"name": tensor.name}))
    return tuple(outputs)


def _check(declared: Signature, names: tuple[str, ...], count: int | None) -> None:
    shapes = [tensor.shape for tensor in declared.inputs]
    matrix = len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][0] == -1 and shapes[0][1] > 0
    if not matrix and set(shapes) != {(-1,)}:
        raise NoSignatureError(
            "signature.json must give either one input of shape [-1, n] or inputs of shape [-1]; it gives "
            + ", ".join(str(list(shape)) for shape in shapes)
        )
    given = tuple(tensor.name for tensor in declared.inputs)
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise NoSignatureError(f"signature.json names two inputs {', '.join(twice)}; each needs a name of its own")
    if names and given != names:
        raise NoSignatureError(
            f"signature.json names the inputs {', '.join(given)}, but the model takes {', '.join(names)}"
        )
    width = shapes[0][1] if matrix else len(given)
    if count not in {None, width}:
        raise NoSignatureError(f"signature.json gives {width} features, but the model takes {count}")
    for tensor in declared.inputs:
        if tensor.dtype is not None and tensor.type not in (fits := _types_of(tensor.dtype)):
            raise NoSignatureError(
                f"signature.json gives the input {tensor.name!r} the dtype {tensor.dtype} and the type {tensor.type}; "
                f"a column of that dtype is of type {' or '.join(map(str, fits))}"
            )


_ANY = ("BOOL", "BYTES", "FP64", "FP32", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT32", "UINT16", "UINT8", None)
_NUMBERS = tuple(one for one in _ANY if one not in {"BOOL", "BYTES", None})


def _types_of(dtype: str) -> tuple[str | None, ...]:
    if dtype in {"object", "category"}:
        return _ANY
    if dtype == "boolean":
        return ("BOOL",)
    if dtype == "string" or dtype.startswith("datetime64"):
        return ("BYTES",)
    return _NUMBERS


def _shown(column: "pd.Series[Any]", name: str, known: Learnt) -> Tensor:
    """An input as the column of the reference data is. Raises NoSignatureError."""
    if column.isna().all():
        shown = _of_kind(name, known)
        return shown.model_copy(update={"missing": True})
    kind, dtype = _types_shown(column, name, known)
    return Tensor(name=name, type=kind, dtype=dtype, missing=bool(column.isna().any()) or known.missing is True)


def _types_shown(column: "pd.Series[Any]", name: str, known: Learnt) -> tuple[Any, str | None]:
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        raise NoSignatureError(
            f"the column {name!r} of the reference data is of pandas' type {dtype}, which no model gets here: make "
            "it one of NumPy's or pandas' own (astype: int64, Int64, float64, boolean, datetime64[us]) before you save"
        )
    if isinstance(dtype, pd.CategoricalDtype):
        categories = pd.Series(dtype.categories)
        return _types_shown(categories, name, known)[0], "category"
    if isinstance(dtype, pd.StringDtype):
        return "BYTES", None if dtype.na_value is np.nan else "string"
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":
        return ("FP32" if dtype.itemsize == 2 and dtype.kind == "f" else datatype_of(dtype)), (
            "float32" if dtype == np.float32 else None
        )
    if pd.api.types.is_datetime64_any_dtype(dtype) and str(dtype).startswith("datetime64"):
        return "BYTES", str(dtype)
    if str(dtype) == "boolean" or (pd.api.types.is_numeric_dtype(dtype) and hasattr(dtype, "numpy_dtype")):
        return datatype_of(dtype.numpy_dtype), str(dtype)  # type: ignore[union-attr]
    held = pd.api.types.infer_dtype(column, skipna=True)
    if isinstance(dtype, np.dtype) and dtype.kind == "O" and held in _OBJECTS:
        if _OBJECTS[held] or set(map(type, column.dropna())) <= {bool, int, float, str}:
            return _OBJECTS[held], "object"
        held = "objects"
    raise NoSignatureError(
        f"the column {name!r} of the reference data holds values ({held}, {dtype}) that no client can send: fit the "
        "model on numbers, text, true and false, or datetime64"
    )


_OBJECTS: dict[str, str | None] = {
    "string": "BYTES",
    "boolean": "BOOL",
    "integer": "INT64",
    "floating": "FP64",
    "mixed-integer-float": "FP64",
    "decimal": "FP64",
    "mixed-integer": None,
    "mixed": None,
}
"""The type of a column of objects, by what pandas says of them; of mixed values it is any."""


def _told(name: str, known: Learnt, estimator: Any) -> Tensor:
    """An input as the model tells of it: numbers, where it is one that tells nothing and treats no column apart."""
    if known == NOTHING and not hasattr(estimator, "steps"):
        return Tensor(name=name, type="FP64")
    return _of_kind(name, known)


def _of_kind(name: str, known: Learnt) -> Tensor:
    missing = known.missing is True
    apart = "object" if known.null is None else None
    match known.kind:
        case "text":
            return Tensor(name=name, type="BYTES", dtype=apart, missing=missing)
        case "boolean":
            return Tensor(name=name, type="BOOL", dtype="object" if missing else None, missing=missing)
        case "date":
            return Tensor(name=name, type="BYTES", dtype=known.dtype, missing=missing)
        case "number" if known.dtype is not None:
            return Tensor(name=name, type="FP32", dtype=known.dtype, missing=missing)
        case "number":
            return Tensor(name=name, type="INT64" if known.whole else "FP64", dtype="number", missing=missing)
        case _:
            return Tensor(name=name, missing=missing)


def _unnamed(learnt: tuple[Learnt, ...], estimator: Any) -> tuple[Tensor, ...]:
    """One input for all features where they are of one type, else one for each."""
    each = [_told(f"input-{index}", known, estimator) for index, known in enumerate(learnt)]
    kinds = {tensor.type for tensor in each}
    if kinds != {"INT64"} and kinds <= {"INT64", "FP64", None}:
        kinds = {"FP64"}  # an array of both has doubles
    if len(kinds - {None}) == 1:
        kind = next(kind for kind in kinds if kind)
        missing = all(tensor.missing for tensor in each)
        dtype = "float32" if all(tensor.dtype == "float32" for tensor in each) else None
        return (Tensor(name="input-0", type=kind, dtype=dtype, shape=(-1, len(each)), missing=missing),)
    return tuple(tensor.model_copy(update={"dtype": None}) for tensor in each)
