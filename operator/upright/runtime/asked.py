"""What requests ask of the model, and how that is answered: one by one, or several together."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upright.runtime.batch import BadInputError, Batch
from upright.runtime.predictor import AbandonedError, ModelError, Predictor

_Array = NDArray[Any]

Encoding = Literal["gzip", "deflate"]
"""How a body may be compressed."""


@dataclass(frozen=True)
class Answer:
    """What a model answered to so many rows, as it is sent."""

    content: bytes
    rows: int
    head: int | None = None
    """How many bytes of it are JSON, where tensors come behind that as bytes; before it was compressed."""
    encoding: Encoding | None = None


@dataclass(frozen=True)
class Asked:
    """The rows and the outputs that a request asks for, and how it is answered with these, in this order."""

    batch: Batch
    outputs: Sequence[str]
    told: Callable[[Sequence[_Array]], Answer]
    """Raises BadInputError where more is asked for than is given at once."""


Question = Callable[[], Asked]
"""A request that has not been parsed yet."""


def answer(question: Question, predictor: Predictor, wanted: Callable[[], bool] = lambda: True) -> Answer:
    """One by itself. Raises BadInputError, ModelError, and AbandonedError when it is not `wanted` any more."""
    asked = question()
    predictor.check(asked.batch)
    return told(asked, [predictor.ask(asked.batch, output, wanted) for output in asked.outputs])


def answers(
    questions: Iterable[Question], predictor: Predictor, most: int, wanted: Callable[[int], bool]
) -> Iterator[Mapping[int, Answer | Exception]]:
    """What is answered to several, by their numbers. First, to those that cannot be asked, or are known to be refused,
    when as many are taken as have about `most` rows. Then the model is called for the others that are still `wanted`,
    and anew for one that has more rows than that: it would be long, and those before it are answered by then.
    """
    failed, few, many = dict[int, Answer | Exception](), dict[int, Asked](), dict[int, Asked]()
    rows = 0
    for number, question in enumerate(questions):
        try:
            asked = question()
            rows += asked.batch.rows
            predictor.check(asked.batch)  # what is refused among others costs calls for all of them
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            failed[number] = error
        else:
            (few if asked.batch.rows <= most else many)[number] = asked
        if rows >= most:
            break
    yield failed
    for coming in (few, many):
        yield _predicted({number: asked for number, asked in coming.items() if wanted(number)}, predictor, wanted)


def _predicted(
    coming: Mapping[int, Asked], predictor: Predictor, wanted: Callable[[int], bool]
) -> Mapping[int, Answer | Exception]:
    given: dict[int, dict[str, _Array]] = {number: {} for number in coming}
    failed = dict[int, Answer | Exception]()
    # Columns of different types are not made one: the model might answer them differently. What lacks values that the
    # model may need comes together: it may fail for that, and then others would be asked of it again and again.
    alike = dict[Any, list[int]]()
    for number, asked in coming.items():
        types = tuple(map(_type_of, asked.batch.columns.values()))
        for output in asked.outputs:
            alike.setdefault((output, types, bool(asked.batch.unexpectedly_missing)), []).append(number)
    for (output, *_), numbers in alike.items():
        batches = [(coming[number].batch, partial(wanted, number)) for number in numbers]
        for number, one in zip(numbers, _together(batches, predictor, output), strict=True):
            if isinstance(one, Exception):
                failed[number] = one
            else:
                given[number][output] = one
    return {
        number: failed.get(number) or _told_or_why(asked, [given[number][output] for output in asked.outputs])
        for number, asked in coming.items()
    }


def _type_of(column: Any) -> Any:
    """Of a column that may hold values of any type, those which it holds."""
    return frozenset(map(type, column)) if column.dtype == object else column.dtype


def told(asked: Asked, found: Sequence[_Array]) -> Answer:
    """What the model has answered, as it is sent. Raises BadInputError, and ModelError for what cannot be."""
    try:
        return asked.told(found)
    except BadInputError:
        raise
    except Exception as error:  # whatever a model may hide in an array
        raise ModelError(f"it answered what cannot be passed on: {error}", asked.batch) from error


def _told_or_why(asked: Asked, found: Sequence[_Array]) -> Answer | Exception:
    try:
        return told(asked, found)
    except (BadInputError, ModelError) as error:
        return error


def _together(
    batches: Sequence[tuple[Batch, Callable[[], bool]]], predictor: Predictor, output: str
) -> Sequence[_Array | Exception]:
    """The answer to each, as long as any of them is wanted; in halves where the model fails, so that only those fail
    whose fault it is.
    """
    try:
        ends = np.cumsum([batch.rows for batch, _ in batches])[:-1]
        joined = _joined([batch for batch, _ in batches])
        return np.split(predictor.ask(joined, output, lambda: any(wanted() for _, wanted in batches)), ends)
    except AbandonedError as error:
        return [error] * len(batches)
    except (BadInputError, ModelError) as error:
        if len(batches) == 1:
            return [error]
        half = len(batches) // 2
        return [*_together(batches[:half], predictor, output), *_together(batches[half:], predictor, output)]


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    columns = {name: np.concatenate([batch.columns[name] for batch in batches]) for name in batches[0].columns}
    missing = {name: None for batch in batches for name in batch.unexpectedly_missing}
    return Batch(columns, sum(batch.rows for batch in batches), tuple(missing))
