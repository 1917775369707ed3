"""Requests that come within a moment are answered together, each with what is its own."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic_core import to_json
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression

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


def answered(
    model: Any, *questions: Question, most: int = 64, wanted: Callable[[int], bool] = lambda _: True
) -> list[Any]:
    found = dict[int, Answer | Exception]()
    for given in answers(questions, Predictor(model, MATRIX), most, wanted):
        found |= given
    return [one.content.decode() if isinstance(one, Answer) else type(one) for _, one in sorted(found.items())]


def test_what_comes_together_is_one_call_and_each_gets_its_own_answer() -> None:
    model = Counted()

    assert answered(model, numbers(1), numbers(2, 3), numbers(4)) == ["[[2.0]]", "[[4.0,6.0]]", "[[8.0]]"]
    assert model.asked == [4]


def test_no_more_are_taken_than_have_the_rows_of_one_call() -> None:
    model, questions = Counted(), iter([*map(numbers, range(5))])

    assert len(list(answers(questions, Predictor(model, MATRIX), 2, lambda _: True))) == 3

    assert model.asked == [2]
    assert len(list(questions)) == 3


def test_a_large_one_is_a_call_of_its_own_after_those_before_it() -> None:
    model = Counted()

    found = answered(model, numbers(1), numbers("x"), numbers(2, 3, 4), numbers(5), most=2)

    assert found == ["[[2.0]]", BadInputError, "[[4.0,6.0,8.0]]"]
    assert model.asked == [1, 3]


def test_what_nobody_waits_for_any_more_is_not_asked_of_the_model() -> None:
    model = Counted()

    answered(model, numbers(1), numbers(2), numbers(3, 4), most=3, wanted=lambda number: number == 0)

    assert model.asked == [1]


def test_what_fails_fails_alone_and_not_by_a_call_for_each() -> None:
    model = Counted()

    found = answered(model, *map(numbers, range(16)), numbers("x"))

    assert found[13:] == [ModelError, ModelError, "[[30.0]]", BadInputError]
    assert found[:13] == [f"[[{2.0 * one}]]" for one in range(13)]
    assert len(model.asked) == 11, "halves of halves, of sixteen"


def test_what_the_model_is_known_to_refuse_costs_no_call() -> None:
    model, asked = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]), list[int]()
    line = model.predict

    def predict(rows: NDArray[Any]) -> Any:
        asked.append(len(rows))
        return line(rows).round(9)

    model.predict = predict

    found = answered(model, *map(numbers, range(1, 16)), numbers(None), numbers(16))

    assert found == [*(f"[[{2.0 * one}]]" for one in range(1, 16)), BadInputError, "[[32.0]]"]
    assert asked == [16]
    large = answers([numbers(None, 1, 2), numbers(3)], Predictor(model, MATRIX), 2, lambda _: True)
    assert len(next(iter(large))) == 1, "nobody waits for many of these"
    assert [*large] == [{}, {}], "it had its turn"


def test_what_lacks_a_value_that_the_model_may_need_fails_without_those_that_lack_none() -> None:
    class Gapless(Counted):
        def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
            found = super().predict(rows)
            if np.isnan(rows).any():
                raise ValueError("a gap")
            return found

    model = Gapless()

    found = answered(model, *map(numbers, range(9)), numbers(None), *map(numbers, range(9, 12)))

    assert found == [*(f"[[{2.0 * one}]]" for one in range(9)), BadInputError, "[[18.0]]", "[[20.0]]", "[[22.0]]"]
    assert model.asked == [12, 1]


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

    def _answer(
        self, questions: Iterable[int], wanted: Callable[[int], bool]
    ) -> Iterator[Mapping[int, int | Exception]]:
        """Ten are taken alone, and all after a nine fail."""
        taken = list[int]()
        for one in questions:
            taken.append(one)
            if one == 10:
                break
        self.calls.append(taken)
        yield {}
        self.gate.wait()
        for number, one in enumerate(taken):
            yield {number: -one if one else ZeroDivisionError()}
            if one == 9:
                raise MemoryError

    def ask(self, question: int, timeout: float = 60) -> asyncio.Task[int]:
        return asyncio.create_task(self.batching.run(question, timeout))


async def test_one_call_is_made_after_a_moment_or_when_enough_have_come() -> None:
    line = Line()
    assert await asyncio.gather(*map(line.ask, (1, 2, 3))) == [-1, -2, -3]
    assert line.calls == [[1, 2, 3]]

    full = Line(most=2, wait=60)
    assert await asyncio.gather(*map(full.ask, (1, 2, 3, 4))) == [-1, -2, -3, -4]
    assert full.calls == [[1, 2], [3, 4]]


async def test_who_came_first_does_not_wait_while_all_that_came_later_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("upright.runtime.batching.TAKING_SECONDS", 0.0)
    line = Line()

    assert await asyncio.gather(*map(line.ask, (1, 2, 3))) == [-1, -2, -3]

    assert line.calls == [[1], [2], [3]]


async def test_what_is_wrong_with_one_is_told_to_one() -> None:
    line = Line()
    good, bad = line.ask(1), line.ask(0)

    assert await good == -1
    with pytest.raises(ZeroDivisionError):
        await bad


async def test_each_is_answered_as_soon_as_it_can_be_and_the_others_when_the_rest_fails() -> None:
    line = Line()

    found = await asyncio.gather(*map(line.ask, (1, 9, 3)), return_exceptions=True)

    assert found[:2] == [-1, -9]
    assert isinstance(found[2], MemoryError)


async def test_who_has_waited_long_enough_waits_no_longer_when_a_turn_leaves_some() -> None:
    line = Line(wait=0.4)

    asked = [line.ask(10) for _ in range(10)]

    async with asyncio.timeout(2):
        await asyncio.gather(*asked)
    assert line.calls == [[10]] * 10


async def test_a_large_one_makes_no_others_wait_that_fit_another_turn() -> None:
    """Here the model never comes back from the large one."""
    gate, model = threading.Event(), Counted()

    class Slow(Counted):
        def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
            if len(rows) > 2:
                gate.wait()
            return model.predict(rows)

    predictor = Predictor(Slow(), MATRIX)
    batching = Batching[Question, Answer](
        lambda questions, wanted: answers(questions, predictor, 2, wanted), PredictionThreads(2, 64), 2, 0.001
    )
    asked = [numbers(1), numbers(2, 3, 4), numbers(5), numbers(6)]
    first, large, *others = (asyncio.create_task(batching.run(one, 60)) for one in asked)

    async with asyncio.timeout(20):
        assert [(await one).content for one in (first, *others)] == [b"[[2.0]]", b"[[10.0]]", b"[[12.0]]"]
    assert not large.done()
    gate.set()
    assert (await large).content == b"[[4.0,6.0,8.0]]"


async def test_what_nobody_waits_for_when_its_turn_comes_is_not_asked() -> None:
    line = Line(wait=0.001)
    line.gate.clear()
    first = line.ask(1)
    while not line.calls:  # noqa: ASYNC110 - a thread says so
        await asyncio.sleep(0.001)
    gone, late, patient = line.ask(2), line.ask(3, timeout=0.01), line.ask(4)
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(OverloadedError):
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


async def test_what_fails_late_does_not_take_the_turn_of_those_after_it() -> None:
    threads, begun = PredictionThreads(4, 64), list[int]()
    fails, goes_on = threading.Event(), threading.Event()

    def answer(questions: Iterable[str], _: Callable[[int], bool]) -> Iterator[Mapping[int, str | Exception]]:
        begun.append(len(begun))
        if len(begun) == 1:
            next(iter(questions))
            yield {}
            fails.wait(10)
            raise ValueError("late")
        goes_on.wait(10)
        yield dict(enumerate(questions))

    async def until(turns: int) -> None:
        while len(begun) < turns:
            await threads.run(lambda: None)

    batching = Batching[str, str](answer, threads, 64, 0.0)
    first = asyncio.create_task(batching.run("a", 10))
    await until(1)
    second = asyncio.create_task(batching.run("b", 10))
    await until(2)
    fails.set()
    with pytest.raises(ValueError, match="late"):
        await first
    await threads.run(lambda: None)  # its turn comes after that of a third call
    goes_on.set()

    assert await second == "b"
    assert len(begun) == 2
