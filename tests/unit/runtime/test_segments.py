"""Requests are counted by the groups of users of which they have rows."""

import asyncio
import json
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.runtime.pod import a_matrix_model, a_pipeline, a_pod, reference_csv
from tests.unit.runtime.server import Server, a_free_port, a_store_with, serving, start
from tests.unit.runtime.test_grpc import ROW, columns, infer, typed
from tests.unit.runtime.test_hanging import predict_url
from tests.unit.runtime.test_workers import termination
from upright.api.artifact import Signature, Tensor
from upright.api.serving import SEGMENT_REQUESTS
from upright.runtime import measurements
from upright.runtime.answering import Answering
from upright.runtime.artifact import ServedModel
from upright.runtime.asked import Answer, Question, answers
from upright.runtime.batching import Batching
from upright.runtime.groups import Groups
from upright.runtime.measurements import Measurements
from upright.runtime.outcome import RefusedError
from upright.runtime.predictor import Predictor
from upright.runtime.segments import segments_of
from upright.runtime.service import application
from upright.runtime.threads import PredictionThreads

PLAN = {"name": "plan", "feature": "plan", "values": ["basic", "premium"]}
TENURE = {"name": "age", "feature": "tenure", "values": ["under 12", "12 to 36", "36 or more"], "edges": [12, 36]}
LOST = {"name": "shop", "feature": "shop", "values": ["berlin"]}


def said(*segments: Mapping[str, Any]) -> dict[str, str]:
    return {"UPRIGHT_SEGMENTS": json.dumps(segments)}


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("[", "it: Invalid JSON: EOF while parsing a list at line 1 column 1"),
        ("{}", "it: Input should be a valid array"),
        ("null", "it: Input should be a valid array"),
        (said({**PLAN, "value": 1}), "0.value: Extra inputs are not permitted"),
        (said({**PLAN, "values": []}), "0.values: Tuple should have at least 1 item after validation, not 0"),
        (said({**PLAN, "values": [1]}), "0.values.0: Input should be a valid string"),
        (said({**PLAN, "values": [*"abcdefghijk"]}), "0.values: Tuple should have at most 10 items"),
        (said({**TENURE, "edges": [12]}), "0: Value error, there must be one value more than edges"),
        (said({**TENURE, "edges": [12, 12]}), "0: Value error, edges must rise"),
        (said(PLAN, PLAN), "it: Value error, names must differ"),
        (said(*({**PLAN, "name": str(n)} for n in range(9))), "it: Tuple should have at most 8 items"),
    ],
)
def test_what_describes_no_segments_is_refused(written: Any, wrong: str) -> None:
    environment = {"UPRIGHT_SEGMENTS": written} if isinstance(written, str) else written

    with pytest.raises(RefusedError) as refused:
        segments_of(environment)

    sentence = f"The environment variable UPRIGHT_SEGMENTS does not describe segments: {wrong}"
    assert str(refused.value).startswith(sentence)


def test_a_server_that_is_told_no_segments_but_something_else_ends_with_that_sentence(tmp_path: Path) -> None:
    environment = {"UPRIGHT_SEGMENTS": "plan", "UPRIGHT_TERMINATION_LOG": str(tmp_path / "termination-log")}
    with (tmp_path / "serve.log").open("wb") as log:
        assert start(environment, log).wait(timeout=60) == 3

    assert termination(tmp_path)["reason"] == "InvalidEnvironment"
    assert "UPRIGHT_SEGMENTS does not describe segments" in termination(tmp_path)["message"]


Counts = Mapping[tuple[str, str, str], float]
"""By segment, value and outcome."""


def counts(page: str) -> Counts:
    return {
        (sample.labels["segment"], sample.labels["value"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == SEGMENT_REQUESTS and sample.labels["version"] == "churn-7"
    }


def more(server: Server, before: Counts) -> Counts:
    """What has been counted since."""
    after = counts(server.client.get("/metrics").text)
    assert after.keys() == before.keys()
    return {key: value - before[key] for key, value in after.items() if value != before[key]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Named columns of several types, and where it listens for gRPC."""
    model, port, pod = a_pipeline(), a_free_port(), a_pod(tmp_path_factory.mktemp("segments"))
    environment = a_store_with(pod, model, reference_csv=reference_csv(model)) | said(PLAN, LOST, TENURE)
    with serving(pod, {**environment, "UPRIGHT_GRPC_PORT": str(port)}) as server:
        yield server, f"127.0.0.1:{port}"


def as_tensors(rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    datatypes = {"plan": "BYTES", "tenure": "INT64", "income": "FP64", "paperless": "BOOL"}
    return [
        {"name": name, "shape": [len(rows)], "datatype": kind, "data": [row[name] for row in rows]}
        for name, kind in datatypes.items()
    ]


def as_bytes(rows: Sequence[Mapping[str, Any]]) -> tuple[bytes, dict[str, str]]:
    """Each column behind the JSON, and the header that says so."""
    texts = [row["plan"].encode() for row in rows]
    tails = {
        "plan": b"".join(struct.pack("<I", len(text)) + text for text in texts),
        "tenure": np.array([row["tenure"] for row in rows], "<i8").tobytes(),
        "income": np.array([row["income"] for row in rows], "<f8").tobytes(),
        "paperless": np.array([row["paperless"] for row in rows], "?").tobytes(),
    }
    inputs = [
        {**{key: value for key, value in one.items() if key != "data"}, "parameters": {"binary_data_size": len(tail)}}
        for one, tail in zip(as_tensors(rows), tails.values(), strict=True)
    ]
    head = json.dumps({"inputs": inputs}).encode()
    return b"".join((head, *tails.values())), {"inference-header-content-length": str(len(head))}


ROWS = [ROW, {**ROW, "plan": "prepaid", "tenure": 40}, {**ROW, "tenure": 5}]


def test_all_groups_are_there_from_the_start_but_those_of_a_feature_that_is_not(tmp_path: Path) -> None:
    pod, model = a_pod(tmp_path), a_pipeline()
    environment = a_store_with(pod, model, reference_csv=reference_csv(model)) | said(PLAN, LOST, TENURE)
    with serving(pod, environment) as server:
        found = counts(server.client.get("/metrics").text)

    groups = [("plan", one) for one in ("basic", "premium", "other")]
    groups += [("age", one) for one in ("under 12", "12 to 36", "36 or more", "other")]
    assert found == {(*group, outcome): 0 for group in groups for outcome in ("answered", "failed")}
    assert server.log.read_text().count("Nothing is counted by the segment shop: the model has no feature 'shop'") == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda server: server.predict({"instances": ROWS}),
        lambda server: server.predict({"instances": [[*row.values()] for row in ROWS]}),
        lambda server: server.infer({"inputs": as_tensors(ROWS)}),
        lambda server: server.client.post(
            "/v2/models/churn/versions/churn-7/infer",
            content=as_bytes(ROWS)[0],
            headers=as_bytes(ROWS)[1],
        ),
    ],
    ids=["objects", "lists", "tensors", "bytes"],
)
def test_a_request_over_http_counts_once_in_each_group_of_its_rows(
    served: tuple[Server, str], ask: Callable[[Server], httpx.Response]
) -> None:
    server, _ = served
    before = counts(server.client.get("/metrics").text)

    assert ask(server).status_code == 200

    assert more(server, before) == {
        ("plan", "basic", "answered"): 1,
        ("plan", "other", "answered"): 1,
        ("age", "under 12", "answered"): 1,
        ("age", "36 or more", "answered"): 1,
    }


def test_a_request_over_grpc_counts_in_its_groups(served: tuple[Server, str]) -> None:
    import tritonclient.grpc as triton

    server, address = served
    before = counts(server.client.get("/metrics").text)
    with triton.InferenceServerClient(address) as client:
        client.infer("churn", columns(plan=np.array([b"premium"], dtype=object)))
    infer(address, typed(tenure={"contents": {"int_contents": [12]}}))

    assert more(server, before) == {
        ("plan", "premium", "answered"): 1,
        ("plan", "basic", "answered"): 1,
        ("age", "under 12", "answered"): 1,
        ("age", "12 to 36", "answered"): 1,
    }


def test_what_is_refused_counts_in_no_group(served: tuple[Server, str]) -> None:
    server, _ = served
    before = counts(server.client.get("/metrics").text)

    assert server.predict({"instances": [{**ROW, "plan": "esim"}]}).status_code == 400
    assert server.predict({"instances": [{**ROW, "tenure": "x"}]}).status_code == 400
    assert server.client.post("/v1/models/other:predict", json={"instances": [ROW]}).status_code == 404

    assert more(server, before) == {}


def test_all_workers_of_a_pod_are_counted_together_and_told_once_what_is_not(tmp_path: Path) -> None:
    pod, model = a_pod(tmp_path), a_pipeline()
    environment = a_store_with(pod, model, reference_csv=reference_csv(model)) | said(PLAN, LOST)
    with serving(pod, {**environment, "UPRIGHT_WORKERS": "2"}) as server, ExitStack() as kept:
        assert set(counts(server.client.get("/metrics").text).values()) == {0}
        for number in range(6):
            client = kept.enter_context(httpx.Client())
            rows = [{**ROW, "plan": "basic" if number % 3 else "premium"}]
            assert client.post(predict_url(server), json={"instances": rows}).status_code == 200
        found = counts(server.client.get("/metrics").text)

    assert {key: value for key, value in found.items() if value} == {
        ("plan", "basic", "answered"): 4,
        ("plan", "premium", "answered"): 2,
    }
    assert server.log.read_text().count("Nothing is counted by the segment shop") == 1


def test_the_groups_of_a_model_without_names_are_none(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    with serving(pod, a_store_with(pod, a_matrix_model()) | said(PLAN)) as server:
        assert server.predict({"instances": [[6, 2, 1, 1]]}).status_code == 200
        assert counts(server.client.get("/metrics").text) == {}


SIGNATURE = Signature(inputs=(Tensor(name="plan", type="BYTES"), Tensor(name="tenure", type="FP64")))


class Model:
    """Fails on a tenure of 13, and waits while the gate is closed on one of 99."""

    def __init__(self) -> None:
        self.gate = Event()
        self.begun = Counter[float]()

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        tenures = rows[:, 1].astype(float)
        self.begun.update(tenures.tolist())
        if (tenures == 13).any():
            raise ValueError("an unlucky number")
        if (tenures == 99).any():
            self.gate.wait(60)
        return tenures


class Pod:
    """A pod in this process."""

    def __init__(self, registry: CollectorRegistry, client: httpx.AsyncClient, answering: Answering, model: Model):
        self._registry = registry
        self._client = client
        self.answering = answering
        self.model = model

    async def predict(self, *rows: tuple[str, float]) -> int:
        """The status of the answer."""
        body = {"instances": [list(row) for row in rows]}
        return (await self._client.post("/v1/models/churn:predict", json=body)).status_code

    @property
    def counted(self) -> Mapping[tuple[str, str], float]:
        """By plan and outcome."""
        found = counts(generate_latest(self._registry).decode())
        return {(value, outcome): count for (_, value, outcome), count in found.items() if count}

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - the model is in a thread
                await asyncio.sleep(0.001)


Start = Callable[..., Any]


@pytest.fixture
def a_pod_with(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a pod that counts by PLAN."""

    @asynccontextmanager
    async def started(*, waiting: int = 8, seconds: float = 60, batching: bool = False) -> AsyncIterator[Pod]:
        registry, model = CollectorRegistry(), Model()
        for kind in ("Counter", "Gauge", "Histogram"):
            made = getattr(measurements, kind)
            monkeypatch.setattr(measurements, kind, lambda *of, made=made, **how: made(*of, **how, registry=registry))
        predictor = Predictor(model, SIGNATURE)
        measured = Measurements("churn", "churn-7", Groups(segments_of(said(PLAN)), SIGNATURE))
        working, joint = PredictionThreads(1, waiting), None
        if batching:
            joint = Batching[Question, Answer](
                lambda asked, wanted: answers(asked, predictor, 64, wanted), working, 4, 60
            )
        served = ServedModel("churn", "churn-7", "sklearn", predictor, None)
        answering = Answering(served, working, seconds, measured, joint)
        transport = httpx.ASGITransport(application(answering, registry))
        async with httpx.AsyncClient(transport=transport, base_url="http://pod") as client:
            yield Pod(registry, client, answering, model)
        model.gate.set()

    return started


async def test_what_the_model_fails_on_counts_as_failed_in_its_groups(a_pod_with: Start) -> None:
    async with a_pod_with() as pod:
        assert await pod.predict(("basic", 1), ("flex", 2)) == 200
        assert await pod.predict(("basic", 13), ("premium", 2)) == 500

        assert pod.counted == {
            ("basic", "answered"): 1,
            ("other", "answered"): 1,
            ("basic", "failed"): 1,
            ("premium", "failed"): 1,
        }


async def test_requests_that_are_answered_together_count_each_for_itself(a_pod_with: Start) -> None:
    async with a_pod_with(batching=True) as pod:
        asked = [("basic", 1), ("basic", 13), ("premium", 3), ("flex", 4)]

        assert await asyncio.gather(*map(pod.predict, asked)) == [200, 500, 200, 200]

        assert pod.model.begun[1] == 3, "in one call, in a half of it, and alone"
        assert pod.counted == {
            ("basic", "answered"): 1,
            ("basic", "failed"): 1,
            ("premium", "answered"): 1,
            ("other", "answered"): 1,
        }


async def test_what_is_not_answered_in_time_counts_as_failed_also_where_no_thread_has_read_it(
    a_pod_with: Start,
) -> None:
    async with a_pod_with(seconds=0.5) as pod:
        hanging = asyncio.create_task(pod.predict(("basic", 99)))
        await pod.until(lambda: pod.model.begun[99] == 1)
        assert await hanging == 504
        assert pod.counted == {("basic", "failed"): 1}

        assert await pod.predict(("premium", 1)) == 504

        assert pod.model.begun[1] == 0
        assert pod.counted == {("basic", "failed"): 1, ("premium", "failed"): 1}
        pod.model.gate.set()
        await pod.until(lambda: pod.answering.threads.stuck_for() == 0)
        assert await pod.predict(("premium", 1)) == 200


async def test_what_fails_unread_fails_also_if_it_is_no_request_and_counts_in_no_group(a_pod_with: Start) -> None:
    async with a_pod_with(seconds=0.5) as pod:
        assert await pod.predict(("basic", 99)) == 504

        assert await pod.predict() == 504

        assert pod.counted == {("basic", "failed"): 1}


async def test_what_finds_no_room_counts_in_no_group(a_pod_with: Start) -> None:
    async with a_pod_with(waiting=1) as pod:
        asked = [asyncio.create_task(pod.predict(("basic", 99)))]
        await pod.until(lambda: pod.model.begun[99] == 1)
        asked.append(asyncio.create_task(pod.predict(("basic", 1))))
        await pod.until(lambda: pod.answering.measured.in_progress._value.get() == 2)

        assert await pod.predict(("premium", 2)) == 503

        pod.model.gate.set()
        assert await asyncio.gather(*asked) == [200, 200]
        assert pod.counted == {("basic", "answered"): 2}
