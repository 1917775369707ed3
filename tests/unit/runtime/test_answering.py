"""What a model may answer: it is the same as JSON and as bytes, or the model's error."""

import asyncio
import json
import struct
from dataclasses import replace
from threading import Barrier, BrokenBarrierError
from time import sleep
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import httpx
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from upright.api.artifact import Signature, Tensor
from upright.runtime.answering import Answering, UnansweredError, answering
from upright.runtime.artifact import ServedModel
from upright.runtime.asked import Answer, Asked, Question, answer, answers
from upright.runtime.batch import BadInputError, Batch, batch_of_rows
from upright.runtime.batching import Batching
from upright.runtime.load import Load
from upright.runtime.predictor import ModelError, Predictor
from upright.runtime.protocol import infer_answer, parse_infer, parse_predict, predict_answer
from upright.runtime.service import application
from upright.runtime.threads import PredictionThreads

MATRIX = Signature(inputs=(Tensor(name="x", type="FP64", shape=(-1, 1)),))


class Saying:
    """Answers this."""

    def __init__(self, said: NDArray[Any]) -> None:
        self._said = said

    def predict(self, _: NDArray[Any]) -> NDArray[Any]:
        return self._said


def infer(rows: int, *, binary: bool, signature: Signature = MATRIX) -> Asked:
    tensor = {"name": "x", "shape": [rows, 1], "datatype": "FP64", "data": [0] * rows}
    body = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": binary}})
    asked = parse_infer(body.encode(), signature, ["prediction"])
    return Asked(asked.batch, list(asked.outputs), lambda found: infer_answer({}, found, asked))


def predict(rows: int) -> Asked:
    asked = parse_predict(json.dumps({"instances": [[0]] * rows}).encode(), MATRIX, ["prediction"])
    return Asked(asked.batch, [asked.output], lambda found: predict_answer(found, asked))


def as_json(said: NDArray[Any]) -> list[Any]:
    predictor = Predictor(Saying(said), MATRIX)
    v2, v1 = (
        json.loads(answer(lambda: asked, predictor).content, parse_constant=pytest.fail)  # noqa: B023
        for asked in (infer(len(said), binary=False), predict(len(said)))
    )
    assert v2["outputs"][0]["data"] == v1["predictions"]
    return list(v1["predictions"])


def as_texts(said: NDArray[Any]) -> list[bytes]:
    given = answer(lambda: infer(len(said), binary=True), Predictor(Saying(said), MATRIX))
    tail, found = given.content[given.head :], []
    while tail:
        (length,) = struct.unpack("<I", tail[:4])
        found.append(tail[4 : 4 + length])
        tail = tail[4 + length :]
    return found


@pytest.mark.parametrize(
    ("said", "values", "texts"),
    [
        (np.array(["a", None], dtype=object), ["a", None], [b"a", b""]),
        (np.array(["a", np.nan], dtype=object), ["a", None], [b"a", b""]),
        (np.array([1.5, np.inf], dtype=object), [1.5, None], [b"1.5", b""]),
        (np.array([np.int64(1), np.str_("b")], dtype=object), [1, "b"], [b"1", b"b"]),
        (np.array([b"a", True], dtype=object), ["a", True], [b"a", b"True"]),
        (
            np.array([pd.Timestamp("2026-01-01")], dtype=object),
            ["2026-01-01T00:00:00"],
            [b"2026-01-01T00:00:00"],
        ),
    ],
)
def test_values_of_any_type_are_alike_as_json_and_as_bytes(said: Any, values: list[Any], texts: list[bytes]) -> None:
    assert as_json(said) == values
    assert as_texts(said) == texts


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_numbers_of_any_length_are_numbers(dtype: Any) -> None:
    said = np.array([1, np.nan, -np.inf], dtype=dtype)
    given = answer(lambda: infer(3, binary=True), Predictor(Saying(said), MATRIX))

    (tensor,) = json.loads(given.content[: given.head])["outputs"]
    sent = np.frombuffer(given.content[given.head :], {"FP32": "<f4", "FP64": "<f8"}[tensor["datatype"]])
    assert as_json(said) == [1, None, None]
    np.testing.assert_array_equal(sent, [1, np.nan, -np.inf])


@pytest.mark.parametrize(
    "said", [np.array(["\udc80"]), np.array([b"\xff"], dtype=object), np.array([object()], dtype=object)]
)
@pytest.mark.parametrize(
    "asked", [predict(1), infer(1, binary=False), infer(1, binary=True)], ids=["v1", "v2", "bytes"]
)
def test_what_cannot_be_sent_is_an_error_of_the_model_with_its_reason(said: Any, asked: Asked) -> None:
    predictor = Predictor(Saying(said), MATRIX)

    with pytest.raises(ModelError, match="it answered what cannot be passed on") as raised:
        answer(lambda: asked, predictor)
    _, (batched), _ = answers([lambda: asked], predictor, 64, lambda _: True)

    assert raised.value.__cause__ is not None
    assert str(batched[0]) == str(raised.value)


@pytest.mark.parametrize(
    "asked", [predict(2), infer(2, binary=False), infer(2, binary=True)], ids=["v1", "v2", "bytes"]
)
@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (np.zeros((2, 2**20)), "asks for 2097152 values, of 2 rows; at most 1048576 are given"),
        (np.array(["a" * 2**23, "b" * 2**23 + "c"]), "asks for 16777217 characters, of 2 rows; at most 16777216 are"),
        (np.array([None, b"b" * 2**24 + b"c"], dtype=object), "asks for 16777217 characters, of 2 rows"),
    ],
)
def test_an_answer_is_bounded_by_what_the_model_gives_where_nobody_knew_before(
    asked: Asked, said: Any, sentence: str
) -> None:
    predictor = Predictor(Saying(said), MATRIX)

    with pytest.raises(BadInputError, match=sentence):
        answer(lambda: asked, predictor)
    _, batched, _ = answers([lambda: asked], predictor, 64, lambda _: True)

    assert isinstance(batched[0], BadInputError)


def test_an_output_of_an_unknown_width_has_a_value_a_row_at_least() -> None:
    unknown = MATRIX.model_copy(update={"outputs": (Tensor(name="prediction", type="FP64", shape=(-1, -1)),)})

    with pytest.raises(BadInputError, match="asks for 1048577 values, of 1048577 rows"):
        infer(2**20 + 1, binary=False, signature=unknown)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {"outputs": [{"name": "prediction", "parameters": {"classification": 3}}]},
            "outputs[0].parameters.classification is not taken: ask for the output predict_proba",
        ),
        ({"outputs": [{"name": "prediction"}] * 2}, "outputs must have different names; one is asked for twice"),
        (
            {
                "inputs": [
                    {"name": "x", "shape": [1], "datatype": "FP64", "data": [1], "parameters": {"binary_data_size": 8}}
                ]
            },
            "inputs[0] must have either data or parameters.binary_data_size; it has both",
        ),
    ],
)
def test_what_would_be_passed_over_is_refused(body: Any, sentence: str) -> None:
    good = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [1]}]}

    with pytest.raises(BadInputError) as refused:
        parse_infer(json.dumps({**good, **body}).encode(), MATRIX, ["prediction", "predict_proba"])

    assert sentence in str(refused.value)


async def test_what_a_model_quotes_of_what_it_was_given_is_cut_in_answer_and_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def question() -> Asked:
        raise ModelError("x" * 10_000)

    nothing: Any = SimpleNamespace(predictor=None, failed=lambda _: None)
    answering = Answering(nothing, PredictionThreads(1, waiting=1), 60, nothing)

    with pytest.raises(UnansweredError) as failed:
        await answering.answer(question)

    assert str(failed.value).count("x") == 500
    assert caplog.text.count("x") == 500


class Meeting:
    """A model that answers 1 to those who meet in it, and 0 who has it alone."""

    def __init__(self) -> None:
        self._meet = Barrier(2)

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        try:
            self._meet.wait(0.2)
        except BrokenBarrierError:
            return np.zeros(len(rows))
        return np.ones(len(rows))


async def test_a_model_whose_calls_spoil_each_other_has_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upright.runtime.answering.Measurements", MagicMock())  # of a process there is one
    served = ServedModel("churn", "churn-1", "sklearn", Predictor(Meeting(), MATRIX), None, alone=True)
    one_by_one = answering(served, Load())
    beside = replace(one_by_one, threads=PredictionThreads(2, waiting=2))

    async def both(asked: Answering) -> list[Any]:
        told = await asyncio.gather(*(asked.answer(lambda: predict(1)) for _ in range(2)))
        return [json.loads(one.content)["predictions"] for one in told]

    assert await both(beside) == [[1], [1]]
    assert await both(one_by_one) == [[0], [0]]


class Slow:
    """Takes its time for each call, and keeps of how many rows it was asked."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.asked: list[int] = []
        self._seconds = seconds

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        self.asked.append(len(rows))
        sleep(self._seconds)
        return np.zeros(len(rows))


def slow(model: Slow, threads: PredictionThreads, timeout: float, *, batching: bool) -> Answering:
    predictor = Predictor(model, MATRIX)
    joint: Batching[Question, Answer] | None = None
    if batching:
        joint = Batching(lambda asked, wanted: answers(asked, predictor, 64, wanted), threads, 64, 0.0)
    served = ServedModel("churn", "churn-1", "sklearn", predictor, None)
    return Answering(served, threads, timeout, MagicMock(), joint)


@pytest.mark.parametrize("batching", [False, True])
async def test_who_waits_in_vain_for_a_long_request_that_gets_on_has_no_error_of_the_model(*, batching: bool) -> None:
    model = Slow()
    asked = slow(model, PredictionThreads(1, waiting=4), timeout=60, batching=batching)
    long = asyncio.create_task(asked.answer(lambda: predict(60_000)))
    while not model.asked:  # noqa: ASYNC110
        await asyncio.sleep(0.001)

    asked.timeout = 1
    with pytest.raises(UnansweredError, match="has had others to answer for 1 seconds") as late:
        await asked.answer(lambda: predict(1))

    assert late.value.status == 503
    assert asked.threads.stuck_for() < asked.timeout
    assert not long.done()
    await long


@pytest.mark.parametrize("batching", [False, True])
async def test_the_rest_of_a_request_that_nobody_waits_for_is_not_asked(*, batching: bool) -> None:
    model = Slow()
    asked = slow(model, PredictionThreads(1, waiting=4), timeout=1, batching=batching)

    with pytest.raises(UnansweredError, match="within 1 seconds"):
        await asked.answer(lambda: predict(40_000))
    asked.timeout = 60
    await asked.answer(lambda: predict(1))

    assert model.asked[-1] == 1
    assert len(model.asked) < 40


async def test_no_further_output_is_asked_for_whom_nobody_waits_for() -> None:
    model = Slow(1.5)
    asked = slow(model, PredictionThreads(1, waiting=4), timeout=1, batching=False)
    with pytest.raises(UnansweredError):
        await asked.answer(lambda: replace(predict(1), outputs=("prediction", "prediction", "prediction")))
    asked.timeout = 60
    await asked.answer(lambda: predict(2))

    assert model.asked == [1, 2]


async def test_the_client_is_told_that_the_connection_ends_behind_what_nobody_foresaw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(_: Predictor, __: Batch) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(Predictor, "check", check)
    served = ServedModel("churn", "churn-1", "sklearn", Predictor(Saying(np.zeros(1)), MATRIX), None)
    app = application(Answering(served, PredictionThreads(1, waiting=1), 60, MagicMock()), REGISTRY)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
        failed = await client.post("/v1/models/churn:predict", json={"instances": [[1]]})

    assert failed.status_code == 500
    assert "its log says why" in failed.json()["error"]
    assert failed.headers["connection"] == "close"


class NeedingAll:
    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        raise ValueError("Input contains NaN")


@pytest.mark.parametrize(
    ("inputs", "rows"),
    [
        ([{"name": "x", "type": "FP64", "shape": [-1, 2]}], [[1, 2], [1, None], [None, 2]]),
        ([{"name": "x"}, {"name": "y"}], [["a", 2], ["a", None], [None, 2]]),
        ([{"name": "x", "type": "FP64"}, {"name": "y", "type": "BYTES"}], [[1, "a"], [1, None], [None, "a"]]),
        ([{"name": "x", "type": "BOOL"}, {"name": "y", "type": "FP64"}], [[True, 2], [True, None], [None, 2]]),
    ],
)
def test_the_row_that_lacks_what_the_model_needs_is_told(inputs: Any, rows: Any) -> None:
    signature = Signature.model_validate({"inputs": inputs})
    predictor = Predictor(NeedingAll(), signature)

    with pytest.raises(BadInputError, match="in every row; row 1 has null"):
        predictor.ask(batch_of_rows(rows, signature))


class Halving:
    """Works in place, as a step with `copy=False` does."""

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        rows /= 2
        return np.array(rows[:, 0])

    predict_proba = predict


def test_a_model_that_works_in_place_changes_no_other_output_of_the_request() -> None:
    predictor = Predictor(Halving(), MATRIX)
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP64", "data": [8]}
    wanted = [{"name": "prediction"}, {"name": "predict_proba"}]
    body = json.dumps({"inputs": [tensor], "outputs": wanted}).encode()

    def question() -> Asked:
        asked = parse_infer(body, MATRIX, ["prediction", "predict_proba"])
        return Asked(asked.batch, list(asked.outputs), lambda found: infer_answer({}, found, asked))

    together = [found for part in answers([question] * 2, predictor, 8, lambda _: True) for found in part.values()]
    for given in (answer(question, predictor), *together):
        assert isinstance(given, Answer)
        assert [one["data"] for one in json.loads(given.content)["outputs"]] == [[4.0], [4.0]]
