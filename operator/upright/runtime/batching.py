"""Micro-batching: requests that come within a moment of each other are answered by one call of the model.

For models whose calls are dear and hardly dearer with more rows: a forest of 100 trees takes as long for 64 rows as for
one.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.runtime.batch import BadInputError, Batch
from upright.runtime.predictor import ModelError
from upright.runtime.threads import OverloadedError, PredictionThreads

_Answer = NDArray[Any] | Exception
_Predict = Callable[[Batch], NDArray[Any]]


class Batching:
    """A method of a model whose calls wait for each other, for a moment."""

    def __init__(self, predict: _Predict, threads: PredictionThreads, rows: int, wait: float) -> None:
        """One call is made when so many `rows` have come, or `wait` seconds after the first."""
        self._predict = predict
        self._threads = threads
        self._most = rows
        self._wait = wait
        self._held = 0
        self._coming = dict[asyncio.Future[NDArray[Any]], Batch]()
        self._due: asyncio.TimerHandle | None = None
        self._calls = set[asyncio.Task[None]]()

    async def predict(self, batch: Batch, timeout: float) -> NDArray[Any]:  # noqa: ASYNC109 - of the queue too
        """The predictions for these rows. Raises what the method does, OverloadedError when as many requests wait as
        calls may, or TimeoutError after `timeout` seconds.
        """
        if self._held >= self._threads.waiting:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[NDArray[Any]] = loop.create_future()
        self._coming[answer] = batch
        if sum(each.rows for each in self._coming.values()) >= self._most:
            self._call()
        elif self._due is None:
            self._due = loop.call_later(self._wait, self._call)
        self._held += 1
        try:
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            self._held -= 1
            self._coming.pop(answer, None)

    def _call(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        coming, self._coming = self._coming, {}
        if coming:
            call = asyncio.create_task(self._answer(list(coming), list(coming.values())))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _answer(self, asked: "Sequence[asyncio.Future[NDArray[Any]]]", batches: Sequence[Batch]) -> None:
        answers: Sequence[_Answer]
        try:
            answers = await self._threads.run(lambda: _predicted(self._predict, batches))
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            answers = [error] * len(asked)
        for future, answer in zip(asked, answers, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _predicted(predict: _Predict, batches: Sequence[Batch]) -> Sequence[_Answer]:
    """The answer to each: together, or each by itself where the model fails on one of them, or they are not alike."""
    if len(batches) > 1 and (joined := _joined(batches)) is not None:
        with suppress(BadInputError, ModelError):
            ends = np.cumsum([batch.rows for batch in batches])[:-1]
            return np.split(predict(joined), ends)
    return [_alone(predict, batch) for batch in batches]


def _alone(predict: _Predict, batch: Batch) -> _Answer:
    try:
        return predict(batch)
    except (BadInputError, ModelError) as error:
        return error


def _joined(batches: Sequence[Batch]) -> Batch | None:
    """All rows in one; None where a column is of different types, which the model might answer differently."""
    first = batches[0]
    if any(batch.columns[name].dtype != first.columns[name].dtype for batch in batches for name in first.columns):
        return None
    columns = {name: np.concatenate([batch.columns[name] for batch in batches]) for name in first.columns}
    missing = {name: None for batch in batches for name in batch.unexpectedly_missing}
    return Batch(columns, sum(batch.rows for batch in batches), tuple(missing))
