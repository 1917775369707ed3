"""From JSON values to what a model's `predict` takes, and back: rows of typed values, whole columns at a time."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Datatype, Signature, Tensor

LARGEST = float(np.finfo(np.float32).max)
"""Largest magnitude of a number: scikit-learn's trees compute in single precision."""

MOST_VALUES = 4 * 1024**2
"""Values of one request: a body of JSON has room for no more, but rows that leave out what may be missing say much in
few, and of numbers as bytes there is room for twice as many."""

_PART = 1000
"""Rows of which a model is asked at once."""
_PART_CHARACTERS = 256 * 1024
"""Characters of texts in them: n-grams take some hundred times as many bytes."""

_DATATYPES: dict[str, Datatype] = {
    "bool": "BOOL",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FP32",  # JSON has no half precision, and few clients have
    "float32": "FP32",
    "float64": "FP64",
}
_ALLOWED: dict[str, tuple[frozenset[type], str]] = {
    "BOOL": (frozenset({bool}), "true or false"),
    "BYTES": (frozenset({str}), "a string"),
    "date": (frozenset({str}), "a date or time in ISO 8601, such as 2026-11-27 or 2026-11-27T14:00:00Z"),
    "number": (frozenset({int, float}), "a number"),
    "flag": (frozenset({bool, int, float}), "a number, true or false"),
    "any": (frozenset({bool, int, float, str}), "a number, a string, true or false"),
}
_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)

_NANOSECONDS = re.compile(r"(?<=\.\d{6})\d+")

_YEARS_OF_NS = (1678, 2261)
"""The whole years that 64 bits of nanoseconds hold."""


Cause = Literal["BadRequest", "UnknownFeature", "MissingFeature", "MissingValue", "WrongType", "UnknownValue"]
"""What is counted of a refusal: nothing of it is the client's text."""


class BadInputError(Exception):
    """The client's mistake: the message names the field, what was expected and what was given. `feature`: the one of
    the model that it is about, if it is one.
    """

    def __init__(self, message: str, cause: Cause = "BadRequest", feature: str = "") -> None:
        super().__init__(message)
        self.cause, self.feature = cause, feature


@dataclass(frozen=True)
class Batch:
    """Rows for a model. One column an input; with a matrix signature one array of shape (rows, features)."""

    columns: Mapping[str, Any]
    rows: int
    unexpectedly_missing: tuple[str, ...]
    """Inputs without a value in some row although nothing says that the model copes with that."""

    def first_gap(self) -> int:
        """The first row that lacks a value of one of these inputs, of which there is one."""
        columns = (self.columns[name].reshape(self.rows, -1) for name in self.unexpectedly_missing)
        return min(int(((one != one) | (one == None)).any(axis=1).argmax()) for one in columns)  # noqa: E711 - of each

    def parts(self) -> Iterator["Batch"]:
        """Its rows in order, so few of them at a time that what a model makes of them is bounded: a distance to each
        row that it was fitted on, or all n-grams of a text.
        """
        if not self._ends:
            yield self
            return
        for start, end in pairwise((0, *self._ends, self.rows)):
            columns = {name: column[start:end] for name, column in self.columns.items()}
            yield replace(self, columns=columns, rows=end - start)

    @cached_property
    def _ends(self) -> Sequence[int]:
        """Where each part but the last ends. One long text does not make the parts of others small."""
        texts = [column for column in self.columns.values() if column.dtype == object]
        if not texts:
            return range(_PART, self.rows, _PART)
        lengths = [[len(value) if isinstance(value, str) else 0 for value in column.flat] for column in texts]
        if self.rows <= min(_PART, _PART_CHARACTERS // max(1, *map(max, lengths))):
            return ()
        of_row = np.concatenate([np.reshape(each, (self.rows, -1)) for each in lengths], axis=1).max(axis=1).tolist()
        ends, start, longest = list[int](), 0, 0
        for row, length in enumerate(of_row):
            longest = max(longest, length)
            if row > start and (row - start >= _PART or (row - start + 1) * longest > _PART_CHARACTERS):
                ends.append(row)
                start, longest = row, length
        return ends

    def copy(self) -> "Batch":
        """For whom works in place, as steps of a pipeline may: the next who is asked gets the same values."""
        return replace(self, columns={name: column.copy() for name, column in self.columns.items()})


def datatype_of(dtype: np.dtype[Any]) -> Datatype:
    """The Open Inference Protocol's name of a NumPy type; BYTES for text and all else."""
    return _DATATYPES.get(dtype.name, "BYTES")


def is_matrix(signature: Signature) -> bool:
    """Whether the model's features have no names: one input of shape [-1, n]."""
    return len(signature.inputs) == 1 and len(signature.inputs[0].shape) == 2


def is_date(tensor: Tensor) -> bool:
    """Whether the model gets times where a client sends text."""
    return tensor.dtype is not None and tensor.dtype.startswith("datetime64")


def width_of(signature: Signature) -> int:
    """How many features the model takes."""
    return signature.inputs[0].shape[1] if is_matrix(signature) else len(signature.inputs)


def batch_of_rows(rows: Sequence[Any], signature: Signature, field: str = "instances") -> Batch:
    """Rows as lists in the order of the features, as objects by the features' names, or of one feature its bare values.

    Raises BadInputError.
    """
    if not isinstance(rows, list) or not rows:
        raise BadInputError(f"{field} must be a list of at least one row; it is {described(rows)}")
    width = width_of(signature)
    if width == 1 and not is_matrix(signature) and not isinstance(rows[0], list | dict):
        # What clients of a model of texts send.
        return batch_of_columns({f"{field}[{{row}}]": rows}, len(rows), signature)
    kind = dict if type(rows[0]) is dict and not is_matrix(signature) else list
    if set(map(type, rows)) != {kind}:
        wanted = "an object of features by name" if kind is dict else f"a list of {width} values"
        index = next(i for i, row in enumerate(rows) if type(row) is not kind)
        same = ", as the first row" if index else ""
        raise BadInputError(f"{field}[{index}] must be {wanted}{same}; it is {described(rows[index])}")
    if kind is dict:
        return _batch_of_objects(rows, signature, field)
    if set(map(len, rows)) != {width}:
        index = next(i for i, row in enumerate(rows) if len(row) != width)
        raise BadInputError(f"{field}[{index}] must have {width} values, one a feature; it has {len(rows[index])}")
    if is_matrix(signature):
        return _batch_of_matrix([value for row in rows for value in row], len(rows), width, signature.inputs[0], field)
    columns = zip(*rows, strict=True)
    names = [f"{field}[{{row}}][{index}] ({tensor.name})" for index, tensor in enumerate(signature.inputs)]
    return batch_of_columns(dict(zip(names, columns, strict=True)), len(rows), signature)


def batch_of_columns(columns: Mapping[str, Sequence[Any]], rows: int, signature: Signature) -> Batch:
    """One sequence of `rows` values an input, in the signature's order; the keys say where each came from, with
    `{row}` for the row's number. Raises BadInputError.
    """
    arrays, missing = {}, []
    for tensor, (where, values) in zip(signature.inputs, columns.items(), strict=True):
        arrays[tensor.name], lacks = _column(values, tensor, where)
        if lacks and not tensor.missing:
            missing.append(tensor.name)
    return Batch(arrays, rows, tuple(missing))


def batch_of_flat(values: Sequence[Any], rows: int, signature: Signature, where: str) -> Batch:
    """All features of all rows in one sequence, row after row. Raises BadInputError."""
    if is_matrix(signature):
        return _batch_of_matrix(values, rows, width_of(signature), signature.inputs[0], where)
    width = len(signature.inputs)
    columns = {f"{where}, row {{row}}, {t.name}": values[i::width] for i, t in enumerate(signature.inputs)}
    return batch_of_columns(columns, rows, signature)


def check_size(rows: int, signature: Signature) -> None:
    """Raises BadInputError for more rows than one request may hold."""
    if (values := rows * width_of(signature)) > MOST_VALUES:
        raise BadInputError(
            f"the request has {rows} rows, or {values} values with those that are missing; at most {MOST_VALUES} are "
            "taken: send fewer rows at once"
        )


def described(value: Any) -> str:
    """A JSON value in a few words, for an error message."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            text = repr(value) if abs(value) < 1e300 else "a huge number"
            return f"the number {text}"
        case str():
            return f"the string {value[:32]!r}" + ("…" if len(value) > 32 else "")
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"


def _batch_of_objects(rows: Sequence[dict[str, Any]], signature: Signature, field: str) -> Batch:
    check_size(len(rows), signature)
    names = [tensor.name for tensor in signature.inputs]
    optional = {tensor.name for tensor in signature.inputs if tensor.missing}
    known, required = set(names), set(names) - optional
    for index, row in enumerate(rows):
        if unknown := row.keys() - known:
            raise BadInputError(
                f"{field}[{index}] has an unknown feature {min(unknown)[:64]!r}; the model takes {listed(names)}",
                "UnknownFeature",
            )
        if absent := required - row.keys():
            lacking = [name for name in names if name in absent]
            raise BadInputError(
                f"{field}[{index}] lacks the feature {listed([*map(repr, lacking)])}; the model takes {listed(names)}",
                "MissingFeature",
                lacking[0],
            )
    columns = {f"{field}[{{row}}].{name}": [row.get(name) for row in rows] for name in names}
    return batch_of_columns(columns, len(rows), signature)


def _batch_of_matrix(values: Sequence[Any], rows: int, width: int, tensor: Tensor, where: str) -> Batch:
    array, lacks = _column(values, _typed(tensor), f"{where}, value {{row}}")
    missing = (tensor.name,) if lacks and not tensor.missing else ()
    return Batch({tensor.name: np.asarray(array).reshape(rows, width)}, rows, missing)


def _typed(tensor: Tensor) -> Tensor:
    return tensor if tensor.type else tensor.model_copy(update={"type": "FP64"})


def _kind(tensor: Tensor) -> str:
    if tensor.type in {"BOOL", "BYTES"}:
        return "date" if is_date(tensor) else tensor.type
    if tensor.type is None:
        return "any"
    return "flag" if tensor.dtype == "number" else "number"


def _column(values: Sequence[Any], tensor: Tensor, where: str) -> tuple[Any, bool]:
    """The values as an array, and whether one is missing. Raises BadInputError."""
    try:
        return _array(values, tensor, where)
    except BadInputError as error:
        error.cause, error.feature = "WrongType", tensor.name
        raise


def _array(values: Sequence[Any], tensor: Tensor, where: str) -> tuple[Any, bool]:
    kind = _kind(tensor)
    allowed, wanted = _ALLOWED[kind]
    found = set(map(type, values))
    lacks = type(None) in found
    if not found <= allowed | {type(None)}:
        row = next(i for i, value in enumerate(values) if value is not None and type(value) not in allowed)
        raise BadInputError(f"{where.replace('{row}', str(row))} must be {wanted}; it is {described(values[row])}")
    if kind in {"number", "flag"}:
        numbers = _numbers(values, tensor.type, whole=found == {int}, where=where)
        if tensor.dtype is not None and "Int" in tensor.dtype:
            return _whole_numbers(values, found, np.iinfo(tensor.dtype.lower()), where), lacks
        return numbers, lacks
    if kind == "date":
        return _dates(values, tensor, where), lacks
    if kind == "any" and not found.isdisjoint({int, float}):
        _check_magnitudes(values, where)
    if kind == "BOOL" and not lacks:
        return np.array(values, dtype=bool), lacks
    return np.array(values, dtype=object), lacks


def _numbers(values: Sequence[Any], datatype: Datatype | None, *, whole: bool, where: str) -> NDArray[Any]:
    try:
        numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        numbers = np.array([min(max(value or 0, -2 * LARGEST), 2 * LARGEST) for value in values], dtype=np.float64)
    too_large = np.abs(numbers) > LARGEST
    if too_large.any():
        raise _too_large(where, int(too_large.argmax()))
    if whole and str(datatype).startswith(("INT", "UINT")):
        exact = _exact(values)
        return numbers if exact.dtype == object else exact
    return numbers


def _exact(values: Sequence[int]) -> NDArray[Any]:
    """In 64 bits; objects where those do not hold them."""
    for dtype in (np.int64, np.uint64):
        with suppress(OverflowError):
            return np.array(values, dtype=dtype)
    return np.array(values, dtype=object)


def _whole_numbers(values: Sequence[Any], found: set[type], limits: Any, where: str) -> NDArray[Any]:
    """What pandas' nullable integers hold: no fraction, and no number beyond their limits.

    Objects where a value lacks: beside NaN they would be doubles, which have no more than 53 bits.
    """
    lacks, fractions = type(None) in found, float in found
    present = [0 if value is None else value for value in values] if lacks else values
    numbers = np.array(present, dtype=object) if fractions else _exact(present)
    strange = (numbers < limits.min) | (numbers > limits.max)
    if fractions:
        strange |= numbers % 1 != 0
    if strange.any():
        row = int(strange.argmax())
        raise BadInputError(
            f"{where.replace('{row}', str(row))} must be a whole number between {limits.min} and {limits.max}; "
            f"it is {described(values[row])}"
        )
    whole = numbers.astype(limits.dtype)
    if not lacks:
        return whole
    objects = whole.astype(object)
    objects[[value is None for value in values]] = None
    return objects


def _dates(values: Sequence[Any], tensor: Tensor, where: str) -> NDArray[Any]:
    """Times in UTC, in the unit that the model has; one without an offset is in UTC already."""
    import pandas as pd

    unit = str(tensor.dtype).partition("[")[2].partition(",")[0].rstrip("]")
    iso = [value if value is not None and _ISO_8601.fullmatch(value) else "" for value in values]
    if unit != "ns":  # one nanosecond would have all read in nanoseconds, which end in 2262
        iso = [_NANOSECONDS.sub("", value) for value in iso]
    read = pd.to_datetime(iso, format="ISO8601", utc=True, errors="coerce")
    strange = read.isna() | ((unit == "ns") & ((read.year < _YEARS_OF_NS[0]) | (read.year > _YEARS_OF_NS[1])))
    strange &= np.array([value is not None for value in values])
    if strange.any():
        row = int(strange.argmax())
        raise BadInputError(
            f"{where.replace('{row}', str(row))} must be {_ALLOWED['date'][1]}; it is {described(values[row])}"
        )
    times: NDArray[Any] = read.tz_localize(None).to_numpy().astype(f"datetime64[{unit}]")
    return times


def _check_magnitudes(values: Sequence[Any], where: str) -> None:
    """Whole numbers stay as they are in an input without a type. Python's hashes of longer ones are alike as often as a
    stranger likes, and a look-up among those compares each with each.
    """
    for row, value in enumerate(values):
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise BadInputError(
                f"{where.replace('{row}', str(row))} must be a whole number of at most 64 bits, or one with an "
                f"exponent, such as 1e25; it is {described(value)[:80]}"
            )
        if type(value) is float and not -LARGEST <= value <= LARGEST:
            raise _too_large(where, row)


def _too_large(where: str, row: int) -> BadInputError:
    return BadInputError(
        f"{where.replace('{row}', str(row))} must be a number between -{LARGEST:.4g} and {LARGEST:.4g}, "
        "or null where there is no value; it is larger"
    )


def listed(names: Sequence[str]) -> str:
    """Names in an error message, the first of them."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
