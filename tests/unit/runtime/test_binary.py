"""Tensors as bytes behind the JSON, and the client that sends and asks for them by default."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient import http as triton

from tests.unit.runtime.pod import a_pipeline, a_pod, reference_csv
from tests.unit.runtime.server import Server, a_store_with, serving
from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import BadInputError
from upright.runtime.protocol import parse_infer

ROW = {"plan": "basic", "tenure": 3, "income": 1000.5, "paperless": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pod, model = a_pod(tmp_path_factory.mktemp("binary")), a_pipeline()
    with serving(pod, a_store_with(pod, model, reference_csv=reference_csv(model))) as found:
        yield found


def columns(**changed: Any) -> list[Any]:
    arrays = {
        "plan": np.array(["basic", "premium"], dtype=object),
        "tenure": np.array([3, 40], dtype=np.int64),
        "income": np.array([1000.5, 20.25], dtype=np.float32),
        "paperless": np.array([True, False]),
        **changed,
    }
    kinds = {"O": "BYTES", "i": "INT64", "f": "FP32", "b": "BOOL"}
    found = []
    for name, array in arrays.items():
        found.append(triton.InferInput(name, list(array.shape), kinds[array.dtype.kind]))
        found[-1].set_data_from_numpy(array)
    return found


def rows_answered(server: Server) -> list[int]:
    rows = [ROW, {"plan": "premium", "tenure": 40, "income": 20.25, "paperless": False}]
    answer: list[int] = server.predict({"instances": rows}).json()["predictions"]
    return answer


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    url = server.client.base_url
    with triton.InferenceServerClient(f"{url.host}:{url.port}") as found:
        yield found


def test_a_client_of_triton_s_works_with_its_defaults(server: Server, client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]

    answer = client.infer("churn", columns(), request_id="7")

    assert answer.as_numpy("prediction").tolist() == rows_answered(server)
    assert answer.get_response()["id"] == "7"


def test_outputs_are_bytes_or_json_as_each_is_asked_for(server: Server, client: Any) -> None:
    wanted = [
        triton.InferRequestedOutput("predict_proba", binary_data=True),
        triton.InferRequestedOutput("prediction", binary_data=False),
    ]

    answer = client.infer("churn", columns(), model_version="churn-7", outputs=wanted)

    asked = {"instances": [ROW], "method": "predict_proba"}
    assert answer.as_numpy("predict_proba")[0].tolist() == server.predict(asked).json()["predictions"][0]
    assert answer.as_numpy("prediction").tolist() == rows_answered(server)


def test_what_is_not_a_number_is_missing(server: Server, client: Any) -> None:
    nan = np.array([np.nan, 20.25], dtype=np.float32)
    rows = [{**ROW, "income": None}, {"plan": "premium", "tenure": 40, "income": 20.25, "paperless": False}]

    answer = client.infer("churn", columns(income=nan))

    assert answer.as_numpy("prediction").tolist() == server.predict({"instances": rows}).json()["predictions"]


@pytest.mark.parametrize(
    ("name", "size", "tail", "sentence"),
    [
        ("tenure", 8, b"", "binary_data_size must be a number of the 0 bytes that are left behind the JSON"),
        ("tenure", 4, b"1234", "binary_data_size must be 8, 1 values of INT64; it is 4"),
        ("tenure", 8, b"123456789", "1 bytes behind the JSON belong to no tensor of inputs"),
        ("tenure", "8", b"12345678", "it is the string '8'"),
        ("tenure", -1, b"12345678", "it is the number -1"),
        ("plan", 5, b"basic", "must have 1 texts as bytes, each with its length in four bytes before it"),
        ("plan", 9, struct.pack("<I", 5) + b"basi", "are left behind the JSON"),
        ("plan", 9, struct.pack("<I", 6) + b"basic", "must have 1 texts as bytes"),
        ("plan", 5, struct.pack("<I", 1) + b"\xff", "must be UTF-8"),
    ],
)
def test_bytes_that_are_not_as_they_are_said_to_be_are_a_client_s_mistake(
    server: Server, name: str, size: Any, tail: bytes, sentence: str
) -> None:
    datatypes = {"plan": "BYTES", "tenure": "INT64", "income": "FP64", "paperless": "BOOL"}
    tensors = [
        {
            "name": one,
            "shape": [1],
            "datatype": datatypes[one],
            **({"parameters": {"binary_data_size": size}} if one == name else {"data": [ROW[one]]}),
        }
        for one in ROW
    ]
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}

    refused = server.client.post("/v2/models/churn/infer", content=head + tail, headers=headers)

    assert refused.status_code == 400
    assert sentence in refused.json()["error"]


@pytest.mark.parametrize("names", [["input-0"], ["a", "b"]])
def test_bytes_hold_no_more_values_than_json_has_room_for(names: list[str]) -> None:
    rows = 4 * 1024**2 // len(names) + 1
    wide = {"shape": [rows, 1] if len(names) == 1 else [rows], "datatype": "INT8"}
    head = json.dumps({"inputs": [{"name": one, **wide, "parameters": {"binary_data_size": rows}} for one in names]})
    inputs = tuple(Tensor(name=one, type="INT8", shape=(-1, 1) if len(names) == 1 else (-1,)) for one in names)

    with pytest.raises(BadInputError, match=r"values.*; at most 4194304 are taken: send fewer rows"):
        parse_infer(head.encode() + bytes(rows * len(names)), Signature(inputs=inputs), ["prediction"], str(len(head)))


@pytest.mark.parametrize("header", ["x", "-1", "99999", "1" * 40])
def test_a_header_that_is_no_length_of_the_body_is_refused(server: Server, header: str) -> None:
    refused = server.client.post(
        "/v2/models/churn/infer", content=b"{}", headers={"Inference-Header-Content-Length": header}
    )

    assert refused.status_code == 400
    assert "inference-header-content-length must be a number of the body's 2 bytes" in refused.json()["error"]
