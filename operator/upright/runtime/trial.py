"""Trying a model out before it is published: does it answer clients as it answers Python?"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import zip_longest
from math import prod
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from upright.api.artifact import Signature, Tensor
from upright.runtime.asked import Asked, told
from upright.runtime.batch import BadInputError, Batch, batch_of_rows, datatype_of, is_date, is_matrix, listed, width_of
from upright.runtime.learnt import Learnt
from upright.runtime.predictor import FURTHER, PREDICTION, ModelError, Predictor, dense
from upright.runtime.protocol import PredictRequest, parse_predict, predict_answer
from upright.runtime.reference import Reference

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 2000
"""Of the reference data, at even distances: what goes wrong with one row in 500 is found with 98 %."""
_VALUES = 500_000
"""A wide model answers fewer rows, but not fewer than one request has."""
_REQUEST = 100
"""Rows of one request."""
_ALONE = 24
"""Rows that are asked alone, too, as most clients do."""
_SECONDS = 10.0
"""How long they are asked for one output: a slow model answers fewer of them, but not none."""
_FREQUENT, _OFTEN = 20, 0.01
"""So many values of a column are looked for, each in at least that part of the rows."""

_NEAR = {np.dtype(np.float32): 1e-4}
"""How far numbers may be apart, relative to the answer, by its type; else 1e-6. The last digits of a sum depend on how
many rows are computed at once, and nothing else may change: so no two labels may differ at all."""
_NEAR_ALONE, _OF_THE_LARGEST = 1e-3, 1e-5
"""The same where a row is asked alone: of it a product of matrices is summed otherwise, and where large numbers cancel
each other (columns of single precision as they are, a singular kernel) few digits are left."""


_ROUNDING = 1e-3
"""Of probabilities and their sum, in half precision."""


class DifferentAnswerError(Exception):
    """The model answers a client otherwise than it answers Python, and the message says where."""


@dataclass(frozen=True)
class Trial:
    """One row that the model answers, if any is known, and the outputs as its answers show them."""

    example: list[Any] | None
    outputs: tuple[Tensor, ...]
    untried: str = ""
    """Why the model has answered no row, where it has not."""


def try_out(predictor: Predictor, reference: Reference | None) -> Trial:
    """Ask the model for rows of its reference data, in Python and as a client does.

    Without reference data it is asked for one row that is made up, which need not make sense to it. Raises
    DifferentAnswerError, BadInputError, ModelError when the model fails on its own reference data, or in a way that no
    row could make good, or has too little memory.
    """
    if reference is not None:
        sample = _sample(reference, len(reference.features))
        rows = rows_of(sample, predictor.signature, reference)
        outputs = _outputs(predictor, batch_of_rows(rows[:_REQUEST], predictor.signature, "row of the reference data"))
        first = min(range(len(rows)), key=lambda at: rows[at].count(None))
        example = rows[first]
        _compare(predictor, sample, rows, reference, [tensor.name for tensor in outputs], first)
        alone = batch_of_rows([example], predictor.signature)
        for tensor in outputs:  # of one row some graphs lose an axis
            _answered(predictor, alone, tensor.name)
        return Trial(example, outputs)
    typeless = [tensor.name for tensor in predictor.signature.inputs if tensor.type is None]
    plain = _plain(predictor.signature, predictor.learnt)
    try:
        outputs = _outputs(predictor, batch_of_rows([plain], predictor.signature))
    except BadInputError as error:
        why = f"it refuses a row that was made up: {error}"
    except ModelError as error:
        if error.for_its_program or (not typeless and (error.whatever_the_rows or error.for_want_of_memory)):
            raise
        why = f"it fails on a row that was made up: {error}"
    else:
        if not typeless:
            return Trial(plain, outputs)
    if typeless:
        why = f"nothing tells of which type these columns are: {listed(typeless)}"
    return Trial(None, (), why)


def rows_of(sample: "pd.DataFrame", signature: Signature, reference: Reference) -> list[list[Any]]:
    """Rows as a client sends them, a list of values each."""
    tensors = signature.inputs * len(reference.features) if is_matrix(signature) else signature.inputs
    columns = zip(_columns(signature, reference), tensors, strict=True)
    return [list(row) for row in zip(*(_values(sample[name], tensor) for name, tensor in columns), strict=True)]


def _columns(signature: Signature, reference: Reference) -> Sequence[str]:
    """By name, or by position where signature.json has names of its own."""
    names = [tensor.name for tensor in signature.inputs]
    return names if not is_matrix(signature) and set(names) <= set(reference.rows) else reference.features


def _sample(reference: Reference, width: int) -> "pd.DataFrame":
    """Rows at even distances, and the first that lacks a value of each feature: 100 of them."""
    rows = reference.rows
    count = min(len(rows), max(_REQUEST, min(_ROWS, _VALUES // width)))
    lacks = rows[list(reference.features)].isna().to_numpy()
    first = np.unique(lacks.argmax(axis=0)[lacks.any(axis=0)])
    positions = np.union1d(np.linspace(0, len(rows) - 1, count).astype(np.intp), first[:_REQUEST])
    return rows.iloc[positions]


def _values(column: "pd.Series[Any]", tensor: Tensor) -> list[Any]:
    values = column.astype(object).where(~column.isna(), None).tolist()
    return [value if value is None else _value(value, tensor) for value in values]


def _value(value: Any, tensor: Tensor) -> Any:
    if is_date(tensor):
        return value.isoformat()
    if tensor.type == "BYTES":
        return str(value)
    plain = value.item() if isinstance(value, np.generic) else value
    return float(plain) if isinstance(plain, Decimal) else plain


def _compare(
    predictor: Predictor,
    sample: "pd.DataFrame",
    rows: list[list[Any]],
    reference: Reference,
    outputs: Sequence[str],
    first: int,
) -> None:
    """The rows in requests, and some alone, the `first` before all others."""
    table = sample[list(reference.features)]
    alone = _to_ask_alone(table, first)
    for output in outputs:
        here = _in_python(predictor, table, output)
        there = np.concatenate(
            [_answered(predictor, _sent(part, predictor.signature), output) for part in _requests(rows)]
        )
        if (differ := ~_alike(here, there)).any():
            at, by_itself = int(differ.argmax()), ""
            answer, request = there[at], slice(at - at % _REQUEST, at - at % _REQUEST + _REQUEST)
        elif found := _other_alone(predictor, table, rows, alone, output, here):
            (at, answer), by_itself = found, " alone"
            request = slice(at, at + 1)
        else:
            continue
        again = _in_python(predictor, table, output)
        if not _alike(here, again).all():  # it answers by chance
            continue
        why = _among_fewer(predictor, table, request, output, here) or _because(
            predictor, table, rows[at], at, output, here[at]
        )
        raise DifferentAnswerError(
            f"row {table.index[at]} of the reference data (the first is 0) is answered with {output} "
            f"{_said(here[at])} in Python, but {_said(answer)} where a client sends it{by_itself}" + why
        )


def _to_ask_alone(table: "pd.DataFrame", first: int) -> list[int]:
    """Positions of rows at even distances, and of some that together have each gap and each frequent value: where a
    step codes categories by those in its batch, the first is right by chance.
    """
    marks, telling = _marks(table), list[int]()
    while marks.any() and len(telling) < _ALONE // 2:
        telling.append(int(marks.sum(axis=1).argmax()))
        marks = marks[:, ~marks[telling[-1]]]
    spread = np.linspace(0, len(table) - 1, _ALONE).astype(np.intp).tolist()
    mixed = [at for pair in zip_longest(telling, spread) for at in pair if at is not None]
    return list(dict.fromkeys([first, *mixed]))[:_ALONE]


def _marks(table: "pd.DataFrame") -> NDArray[np.bool_]:
    """Of shape (rows, gaps and frequent values of columns): which row has which."""
    import pandas as pd

    marks = [table.isna().to_numpy()]
    for index in range(min(table.shape[1], _REQUEST)):
        with suppress(TypeError):  # lists have no hash
            codes, _ = pd.factorize(table.iloc[:, index])
            counts = np.bincount(codes[codes >= 0])
            most = np.argsort(-counts, kind="stable")[:_FREQUENT]
            marks.append(codes[:, np.newaxis] == most[counts[most] > max(1, len(table) * _OFTEN)])
    return np.column_stack(marks)


def _other_alone(
    predictor: Predictor,
    table: "pd.DataFrame",
    rows: list[list[Any]],
    positions: Sequence[int],
    output: str,
    here: NDArray[Any],
) -> tuple[int, Any] | None:
    """The first of the rows that is answered otherwise where nothing is asked with it, and how. Raises ModelError."""
    begun = monotonic()
    for at in positions:
        try:
            answer = _answered(predictor, _sent([rows[at]], predictor.signature), output)
        except ModelError as error:
            said = f"asked for row {table.index[at]} (the first is 0) alone: {error}"
            raise ModelError(said) from error.__cause__
        if not _alike(here[[at]], answer, here).all():
            return at, answer[0]
        if monotonic() - begun > _SECONDS:
            break
    return None


def _in_python(predictor: Predictor, table: "pd.DataFrame", output: str) -> NDArray[Any]:
    """Raises ModelError."""
    try:
        answer = getattr(predictor.estimator, output if output in FURTHER else "predict")
        if predictor.takes_texts:
            return dense(answer(table.iloc[:, 0].copy()))
        return dense(answer(table.copy() if predictor.named else table.to_numpy(copy=True)))
    except Exception as error:
        raise ModelError(f"{type(error).__name__}: {error}") from error


def _requests(rows: list[list[Any]]) -> Iterator[list[list[Any]]]:
    for begin in range(0, len(rows), _REQUEST):
        yield rows[begin : begin + _REQUEST]


def _sent(rows: list[list[Any]], signature: Signature) -> Batch:
    """Through JSON and back."""
    return parse_predict(to_json({"instances": rows}), signature, [PREDICTION]).batch


def _alike(here: NDArray[Any], there: NDArray[Any], among: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """For each row whether the answers are the same: numbers but for rounding, labels exactly.

    `among`: all answers, where these are to rows asked alone: how a number near zero is rounded depends on the others.
    """
    if here.shape != there.shape:
        return np.zeros(len(here), dtype=np.bool_)
    if here.dtype.kind != "f" or there.dtype.kind not in "fiu":
        try:
            same: NDArray[Any] = np.asarray(here == there, dtype=np.bool_)
        except (TypeError, ValueError):  # of pd.NA, and of arrays, nobody can say
            return np.zeros(len(here), dtype=np.bool_)
    else:
        near = _NEAR.get(here.dtype, 1e-6) if among is None else _NEAR_ALONE
        part = near * 1e-3 if among is None else _OF_THE_LARGEST
        sizes = here if among is None else among
        size = np.abs(sizes[np.isfinite(sizes)]).max(initial=0.0)
        same = np.asarray(np.isclose(there, here, rtol=near, atol=part * size, equal_nan=True))
    return np.asarray(same.reshape(len(here), -1).all(axis=1))


def _among_fewer(predictor: Predictor, table: "pd.DataFrame", request: slice, output: str, here: NDArray[Any]) -> str:
    """Whether Python itself answers otherwise where it is asked for no more rows than a request has."""
    alone = request.stop - request.start == 1
    try:
        there = _in_python(predictor, table.iloc[request], output)
        alike = _alike(here[request], there, here if alone else None).all()
    except ModelError:
        return ""
    if alike:
        return ""
    asked = "one row" if alone else f"{_REQUEST} rows"
    return (
        f", and otherwise in Python, too, where that asks for {asked} at once: the answer to a row depends on "
        "what is asked with it. Compute in fit what is of all rows, and draw without a fixed random_state"
    )


def _because(predictor: Predictor, table: "pd.DataFrame", row: list[Any], at: int, output: str, answer: Any) -> str:
    """Which column makes the difference: the first that does when it alone is as a client sends it."""
    batch = _sent([row], predictor.signature)
    if is_matrix(predictor.signature) or not predictor.named:
        return ""
    sent = predictor.features(batch)
    for name in table.columns:
        one = table.iloc[[at]].reset_index(drop=True)
        before = one[name]
        one[name] = sent[name]
        with suppress(ModelError):
            if _alike(np.asarray([answer]), _in_python(predictor, one, output)).all():
                continue
        return (
            f", because of the column {name!r}: it is {_said(before[0])} of {before.dtype} in Python, and "
            f"{_said(sent[name][0])} of {sent[name].dtype} from a client. Save reference data as the model was fitted "
            f"on them (sdk.save, or reference.parquet), or say in signature.json what {name!r} is"
        )
    return ""


def _said(value: Any) -> str:
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return repr(plain)[:100]


def _plain(signature: Signature, learnt: Sequence[Learnt]) -> list[Any]:
    row: list[Any] = []
    for tensor in signature.inputs:
        plain = None if tensor.missing else _PLAIN.get("date" if is_date(tensor) else str(tensor.type), 0)
        row += [plain] * prod(tensor.shape[1:])
    for index, known in enumerate(learnt[: width_of(signature)]):
        if known.known and known.kind in {"text", "number", "boolean"}:
            row[index] = min(known.known)
    return row


_PLAIN: dict[str, Any] = {"BOOL": False, "BYTES": "", "date": "2000-01-01"}


def _outputs(predictor: Predictor, batch: Batch) -> tuple[Tensor, ...]:
    prediction = _answered(predictor, batch, PREDICTION)
    outputs = [_tensor(PREDICTION, prediction)]
    for output in filter(predictor.has, FURTHER):
        try:
            answer = _answered(predictor, batch, output)
        except ModelError as error:  # it need not answer: a vote whose voters know no probabilities has the method, too
            if error.for_want_of_memory:
                raise
        else:
            if not getattr(predictor.estimator, "supposed", False) or _may_be_probabilities(answer, prediction):
                outputs.append(_tensor(output, answer))
    return tuple(outputs)


def _may_be_probabilities(answer: NDArray[Any], prediction: NDArray[Any]) -> bool:
    """A graph says nothing of what it gives beside a label: distances to clusters, and scores of outliers, too."""
    if answer.ndim != 2 or np.isnan(answer).any():
        return answer.ndim == 2
    several = prediction.ndim == 2  # labels, of which each has a probability of its own
    sums = several or np.abs(answer.sum(axis=1) - 1).max() < _ROUNDING
    return bool(sums and answer.min() >= 0 and answer.max() <= 1 + _ROUNDING)


def _answered(predictor: Predictor, batch: Batch, output: str) -> NDArray[Any]:
    """Raises BadInputError, and ModelError also for an answer that cannot be sent, which no row makes good."""
    answer, request = _beside(lambda: predictor.predict(batch, output)), PredictRequest(batch, output)
    try:
        told(Asked(batch, [output], lambda found: predict_answer(found, request)), [answer])
    except BadInputError:  # it is too long: a client asks for fewer rows at once
        return answer
    except ModelError as error:
        raise ModelError(str(error)) from None
    return answer


def _beside(call: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """In a thread of its own, as in pods: what a program has set for the thread that imported it counts there alone."""
    answer = Future[NDArray[Any]]()

    def ask() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is the caller's to know
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()  # which Ctrl-C need not wait for
    return answer.result()


def _tensor(name: str, answer: NDArray[Any]) -> Tensor:
    return Tensor(name=name, type=datatype_of(answer.dtype), shape=(-1, *answer.shape[1:]))
