"""Refusing up front what a model is known to refuse: so it is the client's mistake, and no error of the model is.

Nothing is concluded from an error that a model raises: a version that fails at what it was fitted on has failed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Signature
from upright.runtime.batch import BadInputError, Batch, described, is_date, is_matrix
from upright.runtime.columns import SINGLE
from upright.runtime.learnt import Kind, Learnt
from upright.runtime.normalized import excess

Check = Callable[[Batch], None]
"""Raises BadInputError."""

_LISTED = 10


def checks_of(signature: Signature, learnt: Sequence[Learnt]) -> Sequence[Check]:
    """What is to be looked at before a batch is shown to the model; nothing where each value may come."""
    gapless, checks = list[_Column](), list[Check]()
    for column, known in _columns(signature, learnt):
        if known.missing is False:
            gapless.append(column)
        if column.typeless and known.kind in _KINDS:
            checks.append(_refusing_other_types(column, known.kind))
        if column.text or column.typeless:
            checks.append(_refusing_texts(column))
        if known.known:
            checks.append(_refusing_strangers(column, known.known))
        if known.least is not None and not column.text:
            checks.append(_refusing_numbers(column, np.less, known.least, "at least"))
        if known.above is not None and not column.text:
            checks.append(_refusing_numbers(column, np.less_equal, known.above, "above"))
        if known.singular is not None and not column.text:
            checks.append(_refusing_numbers(column, np.equal, known.singular, "other than"))
    return [_refusing_gaps(gapless), *checks] if gapless else checks


@dataclass(frozen=True)
class _Column:
    """Where in a batch a feature is, and what to call it. Features of a matrix that are alike are one."""

    key: str
    name: str
    index: int | None = None
    width: int = 1
    date: bool = False
    typeless: bool = False
    single: bool = False
    text: bool = False
    """As reference data or signature.json say, whatever the model was fitted on: it will fail on it itself."""

    def of(self, batch: Batch) -> NDArray[Any]:
        """As exact as the model gets them."""
        array: NDArray[Any] = batch.columns[self.key]
        array = array.reshape(-1) if self.index is None else array[:, self.index]
        return array.astype(np.float32) if self.single else array

    def values(self, batch: Batch) -> list[Any]:
        """As Python has them: times as `datetime`."""
        array = self.of(batch)
        values: list[Any] = (array.astype("datetime64[us]") if self.date else array).tolist()
        return values

    def numbers(self, batch: Batch) -> NDArray[np.float64]:
        """NaN for null. Raises BadInputError for a text."""
        array = self.of(batch)
        if array.dtype == object:
            for position, value in enumerate(array.tolist()):
                if isinstance(value, str):
                    said = f"{self.where(position)} must be a number for this model; it is {described(value)}"
                    raise BadInputError(said, "WrongType", self.name)
        return array.astype(np.float64)

    def said(self, value: Any) -> str:
        """As a client writes it: 0.1 has more digits as a double of single precision."""
        if hasattr(value, "isoformat"):
            return str(value.isoformat())
        return str(np.float32(value)) if self.single else repr(value)

    def where(self, position: int) -> str:
        """What to call one of the values."""
        row, feature = divmod(position, self.width)
        return f"row {row}: {self.name}" + (f"[{feature}]" if self.width > 1 else "")


def _columns(signature: Signature, learnt: Sequence[Learnt]) -> Iterator[tuple[_Column, Learnt]]:
    if not is_matrix(signature):
        for tensor, known in zip(signature.inputs, learnt, strict=True):
            yield (
                _Column(
                    tensor.name,
                    tensor.name,
                    date=is_date(tensor),
                    typeless=tensor.type is None,
                    single=tensor.dtype in SINGLE,
                    text=tensor.type == "BYTES",
                ),
                known,
            )
        return
    (tensor,) = signature.inputs
    name, single, text = tensor.name, tensor.dtype in SINGLE, tensor.type == "BYTES"
    if len(set(learnt)) == 1:
        yield _Column(name, name, width=len(learnt), single=single, text=text), learnt[0]
    else:
        for index, known in enumerate(learnt):
            yield _Column(name, f"{name}[{index}]", index, single=single, text=text), known


_KINDS: dict[Kind | None, tuple[frozenset[type], str]] = {
    "number": (frozenset({int, float, bool}), "a number"),
    "text": (frozenset({str}), "a string"),
    "boolean": (frozenset({bool}), "true or false"),
}


def _refusing_gaps(columns: Sequence[_Column]) -> Check:
    def check(batch: Batch) -> None:
        if not batch.unexpectedly_missing:
            return
        for column in columns:
            if column.key in batch.unexpectedly_missing:
                position = next((at for at, value in enumerate(column.values(batch)) if _lacks(value)), None)
                if position is not None:
                    raise BadInputError(
                        f"{column.where(position)} must have a value, for the model needs one; it is null",
                        "MissingValue",
                        column.name,
                    )

    return check


def _refusing_other_types(column: _Column, kind: Kind | None) -> Check:
    allowed, wanted = _KINDS[kind]

    def check(batch: Batch) -> None:
        values = column.values(batch)
        if not set(map(type, values)) <= allowed | {type(None)}:
            at = next(at for at, value in enumerate(values) if value is not None and type(value) not in allowed)
            raise BadInputError(
                f"{column.where(at)} must be {wanted}, as the model was fitted on; it is {described(values[at])}",
                "WrongType",
                column.name,
            )

    return check


def _refusing_texts(column: _Column) -> Check:
    def check(batch: Batch) -> None:
        for position, value in enumerate(column.of(batch).tolist()):
            if isinstance(value, str) and (more := excess(value)):
                raise BadInputError(f"{column.where(position)} has {more}", "BadRequest", column.name)

    return check


def _refusing_strangers(column: _Column, known: frozenset[Any]) -> Check:
    listed = sorted(map(column.said, known))
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    told = ", ".join(each[:64] for each in listed[:_LISTED]) + more

    def check(batch: Batch) -> None:
        values = column.values(batch)
        if not (strange := set(values) - known) or all(map(_lacks, strange)):
            return
        at = next(at for at, value in enumerate(values) if value not in known and not _lacks(value))
        raise BadInputError(
            f"{column.where(at)} must be one of the values that the model was fitted on, {told}; it is "
            f"{column.said(values[at])[:64]}",
            "UnknownValue",
            column.name,
        )

    return check


def _refusing_numbers(column: _Column, refuses: np.ufunc, limit: float, must_be: str) -> Check:
    def check(batch: Batch) -> None:
        with np.errstate(invalid="ignore"):
            refused = refuses(column.numbers(batch), limit)
        if refused.any():
            said = f"{column.where(int(refused.argmax()))} must be {must_be} {limit:g} for this model"
            raise BadInputError(said, "UnknownValue", column.name)

    return check


def _lacks(value: Any) -> bool:
    return value is None or bool(value != value)
