"""Requests that come within a moment are answered by one call of the model, each with what is its own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from tests.unit.runtime.pod import a_pod
from tests.unit.runtime.server import a_store_with, serving
from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import Batch, batch_of_rows
from upright.runtime.batching import Batching
from upright.runtime.predictor import ModelError, Predictor
from upright.runtime.threads import OverloadedError, PredictionThreads

MATRIX = Signature(inputs=(Tensor(name="x", type="FP64", shape=(-1, 1)),))


class Counted:
    """Answers each number's double, and remembers with how many rows it was asked; fails on 13."""

    def __init__(self) -> None:
        self.asked = list[int]()

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        self.asked.append(len(rows))
        if (rows == 13).any():
            raise ValueError("an unlucky number")
        doubled: NDArray[Any] = rows[:, 0] * 2
        return doubled


def batching(model: Counted, *, rows: int = 64, wait: float = 0.05, waiting: int = 64) -> Batching:
    return Batching(Predictor(model, MATRIX).predict, PredictionThreads(2, waiting), rows, wait)


def a_batch(*numbers: float) -> Batch:
    return batch_of_rows([[number] for number in numbers], MATRIX)


async def asked(together: Batching, *batches: Batch) -> list[Any]:
    answers = await asyncio.gather(*(together.predict(batch, 60) for batch in batches), return_exceptions=True)
    return [answer if isinstance(answer, BaseException) else answer.tolist() for answer in answers]


async def test_requests_that_come_together_are_one_call_and_each_gets_its_own_answer() -> None:
    model = Counted()

    assert await asked(batching(model), a_batch(1), a_batch(2, 3), a_batch(4)) == [[2], [4, 6], [8]]
    assert model.asked == [4]


async def test_a_request_does_not_wait_for_others_when_enough_rows_have_come() -> None:
    model = Counted()
    together = batching(model, rows=3, wait=60)

    assert await asked(together, a_batch(1), a_batch(2), a_batch(3)) == [[2], [4], [6]]
    assert await asked(together, a_batch(1, 2, 3)) == [[2, 4, 6]]
    assert model.asked == [3, 3]


async def test_what_the_model_fails_on_fails_alone() -> None:
    good, bad, other = await asked(batching(Counted()), a_batch(1), a_batch(13), a_batch(2))

    assert (good, other) == ([2], [4])
    assert isinstance(bad, ModelError)


async def test_columns_of_different_types_are_not_made_one() -> None:
    whole = Batch({"x": np.array([[3]], dtype=np.int64)}, 1, ())
    model = Counted()

    assert await asked(batching(model), a_batch(0.5), whole) == [[1], [6]]
    assert model.asked == [1, 1]


async def test_what_waits_is_bounded_in_time_and_number() -> None:
    together = batching(Counted(), wait=60, waiting=1)
    waiting = asyncio.create_task(together.predict(a_batch(1), 0.05))
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await together.predict(a_batch(2), 60)
    with pytest.raises(TimeoutError):
        await waiting

    waiting = asyncio.create_task(together.predict(a_batch(1), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_pod_answers_many_clients_with_few_calls(tmp_path: Path) -> None:
    rows = [[float(n % 7), float(n % 3)] for n in range(90)]
    forest = RandomForestClassifier(5, random_state=1).fit(rows, [int(a > b) for a, b in rows])
    pod = a_pod(tmp_path)
    batched = {"UPRIGHT_BATCH_ROWS": "16", "UPRIGHT_BATCH_WAIT": "0.05"}
    with serving(pod, {**a_store_with(pod, forest), **batched}) as server, ThreadPoolExecutor(16) as clients:
        url = f"{server.client.base_url}/v1/models/churn:predict"
        asked = [clients.submit(httpx.post, url, json={"instances": [row]}) for row in rows]
        answers = [answer.result().json()["predictions"] for answer in asked]
        wrong = server.predict({"instances": [["x"]]})

        assert answers == [[answer] for answer in forest.predict(rows).tolist()]
        assert wrong.status_code == 400
        assert server.metric("upright_predictions_total") == len(rows)
        assert server.metric("upright_requests_total", code="2xx") == len(rows)
