"""The clients that people have: Triton's as it is, KServe's by what it sends, and both with compressed bodies."""

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.unit.runtime.pod import a_pipeline, a_pod, reference_csv
from tests.unit.runtime.server import Server, a_store_with, serving
from upright.runtime.compression import WORTH

ROWS = [
    {"plan": "basic", "tenure": 3, "income": 1000.5, "paperless": True},
    {"plan": "premium", "tenure": 40, "income": None, "paperless": False},
]
MANY = 1000
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pod, model = a_pod(tmp_path_factory.mktemp("clients")), a_pipeline()
    with serving(pod, a_store_with(pod, model, reference_csv=reference_csv(model))) as found:
        yield found


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    url = server.client.base_url
    with triton.InferenceServerClient(f"{url.host}:{url.port}") as found:
        yield found


def columns(times: int = 1, **datatypes: str) -> list[Any]:
    """The rows so many times, as Triton's client sends them. `datatypes`: others than those of the signature."""
    kinds = {"plan": "BYTES", "tenure": "INT64", "income": "FP32", "paperless": "BOOL", **datatypes}
    found = []
    for name, kind in kinds.items():
        values = [row[name] if row[name] is not None else np.nan for row in ROWS] * times
        array = np.array(values, dtype=triton.triton_to_np_dtype(kind))
        found.append(triton.InferInput(name, list(array.shape), kind))
        found[-1].set_data_from_numpy(array)
    return found


def predictions(server: Server) -> list[int]:
    found: list[int] = server.predict({"instances": ROWS}).json()["predictions"]
    return found


def infer(server: Server, document: Any, tail: bytes = b"", **headers: str) -> httpx.Response:
    head = document if isinstance(document, bytes) else json.dumps(document).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post("/v2/models/churn/infer", content=head + tail, headers=named)


def tensors() -> list[dict[str, Any]]:
    kinds = {"plan": "BYTES", "tenure": "INT64", "income": "FP64", "paperless": "BOOL"}
    return [{"name": n, "shape": [2], "datatype": kinds[n], "data": [row[n] for row in ROWS]} for n in kinds]


# Triton


@pytest.mark.parametrize("request_encoding", ["gzip", "deflate", None])
@pytest.mark.parametrize("answer_encoding", ["gzip", "deflate", None])
def test_a_client_of_triton_s_compresses_what_it_sends_and_gets(
    server: Server, client: Any, request_encoding: str | None, answer_encoding: str | None
) -> None:
    answer = client.infer(
        "churn",
        columns(MANY),
        outputs=[triton.InferRequestedOutput("predict_proba"), triton.InferRequestedOutput("prediction")],
        request_compression_algorithm=request_encoding,
        response_compression_algorithm=answer_encoding,
    )

    assert answer.as_numpy("prediction").tolist() == predictions(server) * MANY
    assert answer.as_numpy("predict_proba").shape == (2 * MANY, 2)


def test_triton_s_client_learns_what_the_pod_serves(server: Server, client: Any) -> None:
    ready = {"name": "churn", "version": "churn-7", "state": "READY", "reason": ""}

    assert client.get_model_repository_index() == [ready]
    assert client.get_server_metadata()["name"] == "upright"
    assert [tensor["name"] for tensor in client.get_model_metadata("churn")["inputs"]] == list(ROWS[0])
    assert client.is_model_ready("churn", "churn-7")
    assert not client.is_model_ready("churn", "churn-6")
    for ask in (client.get_model_config, client.load_model, client.get_inference_statistics):
        with pytest.raises(InferenceServerException, match="this pod serves version churn-7 of model churn"):
            ask("churn")


@pytest.mark.parametrize(
    ("body", "names"),
    [(b"", ["churn"]), (b"{}", ["churn"]), (b'{"ready": true}', ["churn"]), (b'{"ready": false}', ["churn"])],
)
def test_the_repository_index_lists_the_model(server: Server, body: bytes, names: list[str]) -> None:
    asked = server.client.post("/v2/repository/index", content=body)

    assert [model["name"] for model in asked.json()] == names
    assert server.client.get("/v2/repository/index").json() == asked.json()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"ready": 1}', "ready must be true or false; it is the number 1"),
        (b"[", "the body must be JSON"),
        (b"[]", "the body must be a JSON object; it is a list of 0"),
        (b" " * 5000, 'the body must be empty or {"ready": true}; it has 5000 bytes'),
    ],
)
def test_another_question_to_the_index_is_refused(server: Server, body: bytes, sentence: str) -> None:
    refused = server.client.post("/v2/repository/index", content=body)

    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


@pytest.mark.parametrize("kind", ["FP16", "FP32", "FP64", "INT8", "UINT8", "INT32", "UINT64"])
def test_numbers_may_be_of_any_width(server: Server, client: Any, kind: str) -> None:
    answer = client.infer("churn", columns(tenure=kind, income="FP16"))

    assert answer.as_numpy("prediction").tolist() == predictions(server)


@pytest.mark.parametrize("name", ["predict_proba", "prediction"])
def test_the_classification_that_triton_has_is_refused_and_not_left_out(client: Any, name: str) -> None:
    with pytest.raises(InferenceServerException, match=r"outputs\[0\].parameters.classification is not taken: ask for"):
        client.infer("churn", columns(), outputs=[triton.InferRequestedOutput(name, class_count=2)])


def test_shared_memory_is_refused(client: Any) -> None:
    inputs = columns()
    inputs[0].set_shared_memory("region", 10)

    with pytest.raises(
        InferenceServerException, match=r"inputs\[0\].parameters.shared_memory_region is not taken: send"
    ):
        client.infer("churn", inputs)


def test_parameters_that_are_not_known_are_of_no_account(server: Server, client: Any) -> None:
    answer = client.infer("churn", columns(), sequence_id=7, priority=1, timeout=5, parameters={"who": "me"})

    assert answer.as_numpy("prediction").tolist() == predictions(server)


@pytest.mark.parametrize("where", ["parameters", "inputs[0].parameters", "outputs[0].parameters"])
def test_parameters_are_an_object(server: Server, where: str) -> None:
    asked: dict[str, Any] = {"inputs": tensors(), "outputs": [{"name": "prediction"}]}
    for place in (asked, asked["inputs"][0], asked["outputs"][0]):
        place["parameters"] = {}
    assert infer(server, asked).status_code == 200
    (asked if where == "parameters" else asked[where.partition("[")[0]][0])["parameters"] = [1]

    refused = infer(server, asked)

    assert refused.status_code == 400
    assert refused.json()["error"] == f"{where} must be an object; it is a list of 1"


# Compression


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_compressed_body_is_answered_as_another(server: Server, encoding: str) -> None:
    body = COMPRESS[encoding](json.dumps({"inputs": tensors()}).encode())

    answer = infer(server, body, content_encoding=encoding)

    assert answer.json()["outputs"][0]["data"] == predictions(server)


def test_the_length_of_the_json_is_that_of_the_body_before_it_was_compressed(server: Server) -> None:
    given = tensors()
    given[1] = {"name": "tenure", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": given}).encode()
    body = gzip.compress(head + struct.pack("<qq", 3, 40))

    answer = infer(server, body, content_encoding="gzip", inference_header_content_length=str(len(head)))

    assert answer.json()["outputs"][0]["data"] == predictions(server)


def test_what_a_client_sends_compressed_wrongly_is_its_own_mistake(server: Server) -> None:
    before = server.metric("upright_requests_total", code="4xx"), server.metric("upright_requests_total", code="5xx")
    stream = zlib.compressobj()
    bomb = stream.compress(b'{"instances": [' + b" " * 16 * 1024**2) + stream.flush()

    statuses = [
        infer(server, bomb, content_encoding="deflate").status_code,
        infer(server, b"{}", content_encoding="br").status_code,
        infer(server, gzip.compress(b"{}"), content_encoding="gzip, gzip").status_code,
        infer(server, b"{}", content_encoding="gzip").status_code,
    ]

    assert statuses == [413, 415, 415, 400]
    after = server.metric("upright_requests_total", code="4xx"), server.metric("upright_requests_total", code="5xx")
    assert after == (before[0] + 4, before[1])


def test_answers_are_compressed_where_they_are_asked_for_so_and_long(server: Server) -> None:
    def asked(rows: int, wanted: str) -> httpx.Response:
        body = json.dumps({"instances": ROWS * rows, "method": "predict_proba"}).encode()
        return server.client.post("/v1/models/churn:predict", content=body, headers={"accept-encoding": wanted})

    packed, plain, short = asked(MANY, "gzip"), asked(MANY, "identity"), asked(1, "gzip")

    assert [answer.headers.get("content-encoding") for answer in (packed, plain, short)] == ["gzip", None, None]
    assert [answer.headers["vary"] for answer in (packed, plain, short)] == ["accept-encoding"] * 3
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < WORTH < int(plain.headers["content-length"])


# KServe. Its client needs an older pandas than the project has, so that what it sends was written down (0.21).

KSERVE_TENSORS = [
    {"name": "plan", "shape": [2], "datatype": "BYTES", "data": ["basic", "premium"]},
    {"name": "tenure", "shape": [2], "datatype": "INT64", "data": [3, 40]},
    {"name": "income", "shape": [2], "datatype": "FP32", "data": [1000.5, None]},
    {"name": "paperless", "shape": [2], "datatype": "BOOL", "data": [True, False]},
]


def test_kserve_s_client_finds_server_and_model(server: Server) -> None:
    assert server.client.get("/").json()["status"].lower() == "alive"
    assert server.client.get("/v1/models/churn").json()["ready"] is True
    assert server.client.get("/v2/health/live").json()["live"] is True
    assert server.client.get("/v2/health/ready").json()["ready"] is True
    assert server.client.get("/v2/models/churn/ready").is_success
    assert not server.client.get("/v2/models/other/ready").is_success


def test_what_kserve_s_client_sends_as_json_is_answered(server: Server) -> None:
    asked = {
        "id": "7",
        "model_name": "churn",
        "inputs": [{**tensor, "parameters": {"content_type": "np"}} for tensor in KSERVE_TENSORS],
        "outputs": [{"name": "predict_proba", "parameters": {"binary_data": False}}, {"name": "prediction"}],
        "parameters": {"from": "here"},
    }

    answer = infer(server, asked, content_type="application/json").json()

    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "churn", "churn-7")
    assert [output["name"] for output in answer["outputs"]] == ["predict_proba", "prediction"]
    assert answer["outputs"][1]["data"] == predictions(server)


def test_what_kserve_s_client_sends_as_bytes_is_answered(server: Server) -> None:
    sizes = {"plan": 20, "tenure": 16, "income": 8, "paperless": 2}
    asked = {
        "model_name": "churn",
        "inputs": [
            {
                **{name: value for name, value in tensor.items() if name != "data"},
                "parameters": {"content_type": "np", "binary_data_size": sizes[str(tensor["name"])]},
            }
            for tensor in KSERVE_TENSORS
        ],
        "outputs": [{"name": "predict_proba", "parameters": {"binary_data": True}}, {"name": "prediction"}],
    }
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (b"basic", b"premium"))
    head = json.dumps(asked, separators=(",", ":")).encode()

    answer = infer(
        server,
        head,
        texts + struct.pack("<qqff??", 3, 40, 1000.5, float("nan"), True, False),
        inference_header_content_length=str(len(head)),
        content_type="application/octet-stream",
    )

    told = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 32}
    assert told["outputs"][1]["data"] == predictions(server)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            {"inputs": {"plan": ["basic"]}},
            'send rows, {"instances": [ROW, ...]}, each a list of its values or an object',
        ),
        ({"inputs": [["basic", 3, 1.5, True]]}, "inputs by columns are not taken here"),
        (
            {"instances": [{"plan": "basic"}]},
            "instances[0] lacks the feature 'tenure', 'paperless'; the model takes plan, tenure",
        ),
        ({"instances": [{**ROWS[0], "age": 3}]}, "instances[0] has an unknown feature 'age'"),
        ({"instances": [["basic", 3]]}, "instances[0] must have 4 values, one a feature; it has 2"),
        ({"rows": []}, "the body must have the field instances"),
    ],
)
def test_v1_says_what_to_send_instead(server: Server, body: Any, sentence: str) -> None:
    refused = server.predict(body)

    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


def test_the_model_is_described_at_docs(server: Server) -> None:
    page, openapi = server.client.get("/docs"), server.client.get("/openapi.json").json()

    assert "paperless" in page.text
    example = openapi["paths"]["/v1/models/churn:predict"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert server.predict(example).status_code == 200
    example = openapi["paths"]["/v2/models/churn/infer"]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    assert server.infer(example).status_code == 200


def test_an_id_that_is_long_is_not_sent_back(server: Server) -> None:
    assert infer(server, {"id": "x" * 1024, "inputs": tensors()}).json()["id"] == "x" * 1024

    response = infer(server, {"id": "x" * 1025, "inputs": tensors()})

    assert response.status_code == 400
    assert response.json()["error"] == "id must have at most 1024 characters, for it is sent back; it has 1025"
