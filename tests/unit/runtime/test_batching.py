"""Requests that come within a moment are answered together, each with what is its own."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic_core import to_json
from sklearn.ensemble import RandomForestClassifier

from tests.unit.runtime.pod import a_pod
from tests.unit.runtime.server import a_store_with, serving
from upright.api.artifact import Signature, Tensor
from upright.runtime.asked import Answer, Asked, Question, answers
from upright.runtime.batch import BadInputError, Batch, batch_of_rows
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
        if (rows == 14).any():
            raise SystemExit(14)
        doubled: NDArray[Any] = rows[:, 0] * 2
        return doubled

    def decision_function(self, rows: NDArray[Any]) -> NDArray[Any]:
        return -rows[:, 0]


def numbers(*given: Any, outputs: Sequence[str] = ("prediction",)) -> Question:
    def question() -> Asked:
        return Asked(batch_of_rows([[one] for one in given], MATRIX), outputs, as_lists)

    return question


def as_lists(found: Sequence[NDArray[Any]]) -> Answer:
    return Answer(to_json([one.tolist() for one in found]), 1)


def answered(model: Counted, *questions: Question, most: int = 64) -> list[Any]:
    found = answers(questions, Predictor(model, MATRIX), most)
    return [one.content.decode() if isinstance(one, Answer) else type(one) for one in found]


def test_what_comes_together_is_one_call_and_each_gets_its_own_answer() -> None:
    model = Counted()

    assert answered(model, numbers(1), numbers(2, 3), numbers(4)) == ["[[2.0]]", "[[4.0,6.0]]", "[[8.0]]"]
    assert model.asked == [4]


def test_the_model_is_called_anew_for_more_rows_than_it_is_asked_at_once() -> None:
    model = Counted()

    answered(model, *map(numbers, range(5)), most=2)

    assert model.asked == [2, 2, 1]


def test_what_fails_fails_alone_and_not_by_a_call_for_each() -> None:
    model = Counted()

    found = answered(model, *map(numbers, range(16)), numbers("x"))

    assert found[13:] == [ModelError, ModelError, "[[30.0]]", BadInputError]
    assert found[:13] == [f"[[{2.0 * one}]]" for one in range(13)]
    assert len(model.asked) == 11, "halves of halves, of sixteen"


def test_each_gets_the_outputs_that_it_asks_for() -> None:
    model = Counted()
    both = numbers(1, outputs=["decision_function", "prediction"])

    assert answered(model, both, numbers(2)) == ["[[-1.0],[2.0]]", "[[4.0]]"]
    assert model.asked == [2]


def test_columns_of_different_types_are_not_made_one() -> None:
    whole = Batch({"x": np.array([[3]], dtype=np.int64)}, 1, ())
    model = Counted()

    assert answered(model, numbers(0.5), lambda: Asked(whole, ["prediction"], as_lists)) == ["[[1.0]]", "[[6]]"]
    assert model.asked == [1, 1]


class Line:
    """What has been answered together, and what keeps the next from being."""

    def __init__(self, *, most: int = 64, wait: float = 0.02, waiting: int = 64) -> None:
        self.calls = list[list[int]]()
        self.gate = threading.Event()
        self.gate.set()
        self.batching = Batching[int, int](self._answer, PredictionThreads(1, waiting), most, wait)

    def _answer(self, questions: Sequence[int]) -> Sequence[int | Exception]:
        self.calls.append(list(questions))
        self.gate.wait()
        return [-one if one else ZeroDivisionError() for one in questions]

    def ask(self, question: int, timeout: float = 60) -> asyncio.Task[int]:
        return asyncio.create_task(self.batching.run(question, timeout))


async def test_one_call_is_made_after_a_moment_or_when_enough_have_come() -> None:
    line = Line()
    assert await asyncio.gather(*map(line.ask, (1, 2, 3))) == [-1, -2, -3]
    assert line.calls == [[1, 2, 3]]

    full = Line(most=2, wait=60)
    assert await asyncio.gather(*map(full.ask, (1, 2, 3, 4))) == [-1, -2, -3, -4]
    assert full.calls == [[1, 2], [3, 4]]


async def test_what_is_wrong_with_one_is_told_to_one() -> None:
    line = Line()
    good, bad = line.ask(1), line.ask(0)

    assert await good == -1
    with pytest.raises(ZeroDivisionError):
        await bad


async def test_what_nobody_waits_for_when_its_turn_comes_is_not_asked() -> None:
    line = Line(wait=0.001)
    line.gate.clear()
    first = line.ask(1)
    while not line.calls:  # noqa: ASYNC110 - a thread says so
        await asyncio.sleep(0.001)
    gone, late, patient = line.ask(2), line.ask(3, timeout=0.01), line.ask(4)
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(TimeoutError):
        await late

    line.gate.set()

    assert [await first, await patient] == [-1, -4]
    assert line.calls == [[1], [4]]


async def test_what_waits_is_bounded() -> None:
    line = Line(wait=60, waiting=1, most=9)
    line.gate.clear()
    first = line.ask(1)  # as many as may wait are enough for a call
    while not line.calls:  # noqa: ASYNC110 - a thread says so
        await asyncio.sleep(0.001)
    second = line.ask(2)
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await line.ask(3)

    line.gate.set()
    assert [await first, await second] == [-1, -2]


def test_a_pod_answers_many_clients_with_few_calls(tmp_path: Path) -> None:
    rows = [[float(n % 7), float(n % 3)] for n in range(90)]
    forest = RandomForestClassifier(5, random_state=1).fit(rows, [int(a > b) for a, b in rows])
    pod = a_pod(tmp_path)
    batched = {"UPRIGHT_BATCH_ROWS": "16", "UPRIGHT_BATCH_WAIT": "0.05"}
    with serving(pod, {**a_store_with(pod, forest), **batched}) as server, ThreadPoolExecutor(16) as clients:
        url = f"{server.client.base_url}/v1/models/churn:predict"
        asked = [clients.submit(httpx.post, url, json={"instances": [row]}) for row in rows]
        given = [answer.result().json()["predictions"] for answer in asked]
        wrong = server.predict({"instances": [["x"]]})

        assert given == [[one] for one in forest.predict(rows).tolist()]
        assert wrong.status_code == 400
        assert server.metric("upright_predictions_total") == len(rows)
        assert server.metric("upright_requests_total", code="2xx") == len(rows)
