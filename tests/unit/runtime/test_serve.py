import json
import os
import pickle
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import joblib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.unit.runtime.pod import Pod, a_matrix_model, a_pipeline, a_pod, customers, reference_csv
from tests.unit.runtime.server import Server, a_free_port, a_store_with, of_store, serving, start
from tests.unit.runtime.test_hanging import await_that, counted
from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import BadInputError
from upright.runtime.protocol import parse_infer, parse_predict
from upright.runtime.unread import UNREAD

DATATYPES = {"plan": "BYTES", "tenure": "INT64", "income": "FP64", "paperless": "BOOL"}
ROW = {"plan": "basic", "tenure": 3, "income": 1000.5, "paperless": True}
LIST = ["basic", 3, 1000.5, True]
MATRIX_ROWS = [[6, 2, 1, 1], [1, 4, 1, 1]]


NO_NEIGHBORS = (
    "No neighbors found for test samples array(…), you can try using larger radius, giving a label for outliers, or "
    "considering removing them from your dataset."
)
"""What a model says that has none, without the numbers of its rows."""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves named columns of several types; the model was never shown the plan `esim`."""
    model = a_pipeline()
    pod = a_pod(tmp_path_factory.mktemp("pipeline"))
    with serving(pod, a_store_with(pod, model, reference_csv=reference_csv(model))) as server:
        yield server


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves four features without names."""
    pod = a_pod(tmp_path_factory.mktemp("matrix"))
    with serving(pod, a_store_with(pod, a_matrix_model())) as server:
        yield server


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves a model that raises where it has no neighbours, which nothing tells beforehand."""
    pod = a_pod(tmp_path_factory.mktemp("neighbours"))
    with serving(pod, a_store_with(pod, RadiusNeighborsClassifier().fit([[0.0], [1.0]], [0, 1]))) as server:
        yield server


def test_v1_answers_rows_as_lists(matrix: Server) -> None:
    response = matrix.predict({"instances": MATRIX_ROWS})

    assert response.status_code == 200
    assert response.json() == {"predictions": [1, 0]}
    assert response.headers["upright-model-version"] == "churn-7"


def test_v1_answers_rows_as_objects_and_as_lists_alike(pipeline: Server) -> None:
    by_name = pipeline.predict({"instances": [ROW, {**ROW, "tenure": 30}]})
    by_position = pipeline.predict({"instances": [LIST, [LIST[0], 30, *LIST[2:]]]})

    assert by_name.status_code == 200
    assert by_name.json() == by_position.json()


def test_v2_answers_one_tensor_of_all_features(matrix: Server) -> None:
    tensor = {"name": "anything", "shape": [2, 4], "datatype": "FP32", "data": [x for row in MATRIX_ROWS for x in row]}

    flat = matrix.infer({"id": "42", "inputs": [tensor]})
    nested = matrix.infer({"id": "42", "inputs": [{**tensor, "data": MATRIX_ROWS}]})

    assert (
        flat.json()
        == nested.json()
        == {
            "model_name": "churn",
            "model_version": "churn-7",
            "id": "42",
            "outputs": [{"name": "prediction", "datatype": "INT64", "shape": [2], "data": [1, 0]}],
        }
    )


def test_v2_answers_a_tensor_a_column(pipeline: Server) -> None:
    inputs = [
        {"name": "paperless", "shape": [1], "datatype": "BOOL", "data": [True]},
        {"name": "plan", "shape": [1, 1], "datatype": "BYTES", "data": [["basic"]]},
        {"name": "tenure", "shape": [1], "datatype": "INT32", "data": [3]},
        {"name": "income", "shape": [1], "datatype": "FP64", "data": [1000.5]},
    ]

    response = pipeline.client.post("/v2/models/churn/versions/churn-7/infer", json={"inputs": inputs})

    assert response.status_code == 200
    assert response.json()["outputs"][0]["data"] == pipeline.predict({"instances": [ROW]}).json()["predictions"]
    assert "id" not in response.json()


def test_what_the_reference_data_lacked_may_be_missing(pipeline: Server) -> None:
    without = {name: value for name, value in ROW.items() if name != "income"}

    assert pipeline.predict({"instances": [{**ROW, "income": None}, without]}).status_code == 200


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/models", {"models": ["churn"]}),
        ("/v1/models/churn", {"name": "churn", "ready": True}),
        ("/v2", {"name": "upright", "version": "0.1.0", "extensions": ["binary_tensor_data"]}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/churn/ready", {"name": "churn", "ready": True}),
        ("/v2/models/churn/versions/churn-7/ready", {"name": "churn", "ready": True}),
    ],
)
def test_metadata(pipeline: Server, path: str, document: dict[str, Any]) -> None:
    response = pipeline.client.get(path)

    assert (response.status_code, response.json()) == (200, document)


@pytest.mark.parametrize("path", ["/v2/models/churn", "/v2/models/churn/versions/churn-7"])
def test_v2_tells_inputs_and_outputs(pipeline: Server, path: str) -> None:
    document = pipeline.client.get(path).json()

    assert document["versions"] == ["churn-7"]
    assert document["inputs"][1] == {"name": "tenure", "datatype": "INT64", "shape": [-1]}
    assert document["outputs"] == [
        {"name": "prediction", "datatype": "INT64", "shape": [-1]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2], "classes": [0, 1]},
    ]


def test_a_classifier_gives_probabilities_to_who_asks_for_them(pipeline: Server) -> None:
    rows = [ROW, {**ROW, "plan": "premium"}]
    classes = pipeline.predict({"instances": rows}).json()["predictions"]

    asked = pipeline.predict({"instances": rows, "method": "predict_proba"}).json()["predictions"]

    assert [sum(row) for row in asked] == [pytest.approx(1), pytest.approx(1)]
    assert [row.index(max(row)) for row in asked] == classes
    assert pipeline.predict({"instances": rows, "method": "predict"}).json()["predictions"] == classes

    tensors = [{"name": name, "shape": [1], "datatype": DATATYPES[name], "data": [ROW[name]]} for name in ROW]
    wanted = [{"name": "predict_proba"}, {"name": "prediction"}]
    first, second = pipeline.infer({"inputs": tensors, "outputs": wanted}).json()["outputs"]
    assert (first["name"], first["shape"], first["data"]) == ("predict_proba", [1, 2], asked[0])
    assert (second["name"], second["data"]) == ("prediction", classes[:1])

    for method, it_is in (("transform", "the string 'transform'"), ([], "a list of 0"), ({}, "an object")):
        refused = pipeline.predict({"instances": rows, "method": method})
        assert refused.status_code == 400
        assert refused.json()["error"] == f"method must be one of predict, predict_proba; it is {it_is}"

    misspelt = pipeline.predict({"instances": rows, "methods": "predict_proba"})
    assert misspelt.status_code == 400
    assert misspelt.json()["error"] == (
        "the method predict_proba is asked for by the field 'methods'; the field that names it is method"
    )
    for of_no_account in ({"signature_name": "predict"}, {"signature_name": "serving_default"}):
        assert pipeline.predict({"instances": rows, **of_no_account}).json()["predictions"] == classes


def test_what_is_asked_for_at_once_is_bounded_by_what_is_given() -> None:
    """Each row of a few bytes asks for as many probabilities as there are classes."""
    wide = Signature(
        inputs=(Tensor(name="x", type="FP64"),),
        outputs=(Tensor(name="prediction"), Tensor(name="predict_proba", shape=(-1, 64))),
    )
    names = [tensor.name for tensor in wide.outputs]
    body = json.dumps({"instances": [[0]] * 17_000}).encode()

    assert parse_predict(body, wide, names).output == "prediction"
    with pytest.raises(BadInputError, match="asks for 1088000 values, of 17000 rows; at most 1048576 are given"):
        parse_predict(body[:-1] + b', "method": "predict_proba"}', wide, names)


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_probes_answer(pipeline: Server, path: str) -> None:
    assert pipeline.client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the body must be JSON"),
        (b"instances=1", "the body must be JSON"),
        (b"\xff\xfe", "the body must be JSON"),
        (b"[" * 100_000, "the body must be JSON: recursion limit exceeded"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion limit exceeded"),
        (b'{"instances": [["basic", 3, NaN, true]]}', "write null where there is no value"),
        (b'{"instances": [["basic", 3, 1e999, true]]}', "must be a number between"),
        (
            b'{"instances": [["basic", ' + b"9" * 400 + b", 1, true]]}",
            "instances[0][1] (tenure) must be a number between",
        ),
        ([1], "the body must be a JSON object; it is a list of 1"),
        ({}, "the body must have the field instances"),
        ({"rows": [LIST]}, "it has 'rows'"),
        ({"instances": 3}, "instances must be a list of at least one row; it is the number 3"),
        ({"instances": []}, "instances must be a list of at least one row"),
        ({"instances": [LIST, 7]}, "instances[1] must be a list of 4 values, as the first row; it is the number 7"),
        ({"instances": [ROW, LIST]}, "instances[1] must be an object of features by name, as the first row"),
        ({"instances": [LIST, LIST[:2]]}, "instances[1] must have 4 values, one a feature; it has 2"),
        ({"instances": [["basic", "3", 1.0, True]]}, "instances[0][1] (tenure) must be a number; it is the string '3'"),
        ({"instances": [{**ROW, "plan": 3}]}, "instances[0].plan must be a string; it is the number 3"),
        ({"instances": [{**ROW, "tenure": True}]}, "instances[0].tenure must be a number; it is true"),
        ({"instances": [{**ROW, "paperless": 1}]}, "instances[0].paperless must be true or false; it is the number 1"),
        ({"instances": [{**ROW, "tenure": [1]}]}, "instances[0].tenure must be a number; it is a list of 1"),
        ({"instances": [{**ROW, "age": 3}]}, "instances[0] has an unknown feature 'age'; the model takes plan, tenure"),
        ({"instances": [ROW, {"plan": "basic"}]}, "instances[1] lacks the feature 'tenure', 'paperless'"),
    ],
)
def test_a_bad_v1_request_is_told_what_is_wrong(pipeline: Server, body: Any, sentence: str) -> None:
    response = pipeline.predict(body)

    assert response.status_code == 400
    assert sentence in response.json()["error"]


TENSOR = {"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": MATRIX_ROWS}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "inputs must be a list of at least one tensor; it is null"),
        ({"instances": MATRIX_ROWS}, "instances are not taken here: send them to /v1/models/MODEL:predict, or send"),
        ({"inputs": [3]}, "inputs[0] must be an object with name, shape, datatype and data"),
        ({"inputs": [TENSOR], "id": 3}, "id must be a string; it is the number 3"),
        ({"inputs": [{**TENSOR, "name": None}]}, "inputs[0].name must be a string"),
        ({"inputs": [{**TENSOR, "datatype": "FLOAT"}]}, "inputs[0].datatype must be one of BOOL, BYTES"),
        ({"inputs": [{**TENSOR, "datatype": "BYTES"}]}, "inputs[0].datatype must be FP64 for input-0; it is BYTES"),
        ({"inputs": [{**TENSOR, "shape": [2, -4]}]}, "shape must be a list of positive whole numbers; it is [2, -4]"),
        (
            {"inputs": [{**TENSOR, "shape": "x"}]},
            "shape must be a list of positive whole numbers; it is the string 'x'",
        ),
        ({"inputs": [{**TENSOR, "shape": [4, 2], "data": [0] * 8}]}, "inputs[0].shape must be [rows, 4]; it is [4, 2]"),
        ({"inputs": [{**TENSOR, "shape": [8], "data": [0] * 8}]}, "inputs[0].shape must be [rows, 4]; it is [8]"),
        ({"inputs": [{**TENSOR, "shape": [10**9, 4]}]}, "inputs[0].shape is of 4000000000 values; at most 4194304"),
        ({"inputs": [{**TENSOR, "data": [[1, 2, 3, 4], [1]]}]}, "must be flat, or nested as shape [2, 4] says"),
        ({"inputs": [{**TENSOR, "data": None}]}, "inputs[0].data must be a list; it is null"),
        ({"inputs": [{**TENSOR, "data": ["a"] * 8}]}, "inputs[0].data, value 0 must be a number; it is the string 'a'"),
        (
            {"inputs": [{**TENSOR, "data": [None] * 8}]},
            "input-0[0] must have a value, for the model needs one",
        ),
        ({"inputs": [TENSOR, TENSOR]}, "inputs must have different names"),
        ({"inputs": [TENSOR, {**TENSOR, "name": "b"}]}, "inputs must be one tensor of shape [rows, 4]; 2 are given"),
        ({"inputs": [TENSOR], "outputs": [{"name": "logits"}]}, "outputs[0].name must be one of prediction"),
    ],
)
def test_a_bad_v2_request_is_told_what_is_wrong(matrix: Server, body: Any, sentence: str) -> None:
    response = matrix.infer(body)

    assert response.status_code == 400
    assert sentence in response.json()["error"]


def test_a_body_that_is_too_large_is_refused(matrix: Server) -> None:
    response = matrix.predict(b'{"instances": [' + b" " * 20_000_000 + b"]}")

    assert response.status_code == 413
    assert response.json() == {"error": "the body must have at most 8388608 bytes; send fewer rows at once"}


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/v1/models/churn:predict", "POST"),
        ("PUT", "/v2", "GET or HEAD"),
        ("DELETE", "/v2/models/churn", "GET or HEAD"),
    ],
)
def test_the_wrong_method_is_refused_with_the_right_one(matrix: Server, method: str, path: str, right: str) -> None:
    response = matrix.client.request(method, path)

    assert response.status_code == 405
    assert response.json() == {"error": f"{path} is asked with {right}; this request has {method}"}


@pytest.mark.parametrize("path", ["/v1/models/churn", "/v2/models/churn"])
def test_who_asks_half_an_address_for_predictions_is_told_the_whole(matrix: Server, path: str) -> None:
    response = matrix.client.post(path, json={"instances": MATRIX_ROWS})

    assert response.status_code == 405
    assert response.json()["error"] == (
        f"{path} is asked with GET or HEAD; this request has POST; predictions are asked for at POST "
        "/v1/models/churn:predict and POST /v2/models/churn/infer"
    )


def test_another_model_is_not_found_and_the_answer_says_what_is_here(matrix: Server) -> None:
    for path in (
        "/v1/models/iris:predict",
        "/v1/models/churn:predict/",
        "/v2/models/churn/versions/churn-8/infer",
        "/v3",
        "/docs.json",
    ):
        response = matrix.client.post(path, json={})

        assert response.status_code == 404
        assert f"there is nothing at {path}; this pod serves version churn-7 of model churn" in response.json()["error"]


def test_a_model_that_raises_is_an_error_of_the_model_and_no_traceback(neighbours: Server) -> None:
    response = neighbours.predict({"instances": [[99]]})

    assert response.status_code == 500
    assert response.json()["error"].startswith(
        "the model failed on this request: ValueError: No neighbors found for test samples"
    )
    assert "Traceback" not in neighbours.log.read_text()
    assert neighbours.metric("upright_failures_total", model="churn", version="churn-7", reason="ValueError") >= 1
    said = {"reason": "ValueError", "example": "1 row of 1 feature", "message": NO_NEIGHBORS}
    assert neighbours.metric("upright_failure_messages_total", model="churn", version="churn-7", **said) >= 1


def test_what_the_model_is_known_to_refuse_is_no_error_of_it(pipeline: Server) -> None:
    response = pipeline.predict({"instances": [{**ROW, "plan": "esim"}]})

    assert response.status_code == 400
    assert response.json()["error"] == (
        "row 0: plan must be one of the values that the model was fitted on, 'basic', 'premium', 'prepaid'; "
        "it is 'esim'"
    )


@pytest.mark.parametrize(
    ("body", "reason", "feature"),
    [
        ({"instances": [{**ROW, "plan": "esim"}]}, "UnknownValue", "plan"),
        ({"instances": [{**ROW, "plan": 3}]}, "WrongType", "plan"),
        ({"instances": [{name: value for name, value in ROW.items() if name != "plan"}]}, "MissingFeature", "plan"),
        ({"instances": [{**ROW, "secret of a client": 3}]}, "UnknownFeature", ""),
        ({"instances": 3}, "BadRequest", ""),
    ],
)
def test_refusals_are_counted_by_why_and_never_in_a_clients_words(
    pipeline: Server, body: dict[str, Any], reason: str, feature: str
) -> None:
    def counted() -> float:
        return pipeline.metric("upright_refusals_total", reason=reason, feature=feature)

    before = counted()
    assert pipeline.predict(body).status_code == 400
    assert counted() == before + 1
    page = pipeline.client.get("/metrics").text
    assert "secret" not in page
    assert "esim" not in page


def test_requests_count_by_whose_mistake_they_were(neighbours: Server) -> None:
    def counted() -> list[float]:
        classes = [
            neighbours.metric("upright_requests_total", model="churn", version="churn-7", code=c)
            for c in ("2xx", "4xx", "5xx")
        ]
        return [
            *classes,
            neighbours.metric("upright_request_duration_seconds_count"),
            neighbours.metric("upright_predictions_total"),
        ]

    before = counted()
    for rows in ([[0]], [[0], [1]], [], [[99]]):
        neighbours.predict({"instances": rows})
    for path in ("/readyz", "/v1/models", "/v1/models/other:predict"):
        neighbours.client.get(path)

    assert [after - was for after, was in zip(counted(), before, strict=True)] == [2, 1, 1, 3, 3]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models/churn:predict", 400),
        ("/v2/models/churn/versions/churn-7/infer", 400),
        ("/v2/models/churn/versions/churn-8/infer", 404),
        ("/v2/models/iris/infer", 404),
        ("/v1/models/iris:predict", 404),
    ],
)
def test_whatever_is_refused_where_clients_ask_for_predictions_counts(matrix: Server, path: str, status: int) -> None:
    """A version that does not answer where the earlier one did has every client refused."""
    before = matrix.metric("upright_requests_total", code="4xx")

    assert matrix.client.post(path, json={}).status_code == status

    assert matrix.metric("upright_requests_total", code="4xx") == before + 1


def test_a_body_that_is_too_large_counts_as_refused(matrix: Server) -> None:
    before = matrix.metric("upright_requests_total", code="4xx")

    matrix.predict(b" " * 9_000_000)

    assert matrix.metric("upright_requests_total", code="4xx") == before + 1


@pytest.mark.parametrize(
    "shape",
    [
        "[" + ", ".join(["9223372036854775807"] * 300) + "]",
        "[" + ", ".join(["999999999999999999"] * 300_000) + "]",
        "[" + "9" * 4000 + "]",
        "[4294967296]",
        "[" + ", ".join(["1"] * 100_000) + "]",
        "[" + ", ".join(["1"] * 100_000) + ', "what is beyond is not looked at"]',
    ],
)
def test_a_shape_without_end_is_a_client_s_mistake_and_costs_nothing(matrix: Server, shape: str) -> None:
    tensor = f'{{"name": "x", "shape": {shape}, "datatype": "FP32", "data": [1]}}'

    response = matrix.client.post("/v2/models/churn/infer", content=f'{{"inputs": [{tensor}]}}')

    assert response.status_code == 400
    assert "inputs[0].shape must have at most 8 sizes of at most 2147483647" in response.json()["error"]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "1e39"])
def test_a_number_that_no_model_takes_is_a_client_s_mistake_whatever_the_column(number: str) -> None:
    signature = Signature(inputs=(Tensor(name="plan"), Tensor(name="tenure")))

    with pytest.raises(BadInputError, match=r"instances\[0\]\[1\] \(tenure\) must be a (whole )?number|out of range"):
        parse_predict(f'{{"instances": [["basic", {number}]]}}'.encode(), signature, ["prediction"])


def test_rows_that_leave_everything_out_are_bounded() -> None:
    """A body of 8 MiB holds millions of them, and each stands for as many values as the model has features."""
    signature = Signature(inputs=tuple(Tensor(name=f"f{i}", type="FP64", missing=True) for i in range(500)))
    column = {"name": "f0", "shape": [100_000], "datatype": "FP64", "data": [0] * 100_000}

    with pytest.raises(BadInputError, match="50000000 values with those that are missing; at most 4194304 are taken"):
        parse_predict(json.dumps({"instances": [{}] * 100_000}).encode(), signature, ["prediction"])
    with pytest.raises(BadInputError, match="send fewer rows at once"):
        parse_infer(json.dumps({"inputs": [column]}).encode(), signature, ["prediction"])


@pytest.mark.parametrize(
    "header",
    [
        b"traceparent: \xff\xfe",
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"baggage: \xff=\xfe;;;",
        b"user-agent: \xff\xfe",
        b"content-type: \xff; charset=\xff",
        b"cookie: \xff",
        b"x-forwarded-for: \xff, [::1",
        b"x-forwarded-proto: \xff",
        b"x-forwarded-host: \xff",
        b"x-request-id: \xff",
        b"content-encoding: gzip",
        b"accept: \xff",
        b"inference-header-content-length: x",
        b"host: [::1",
    ],
)
@pytest.mark.parametrize("path", [b"/v1/models/churn:predict", b"/v2/models/churn/infer"])
def test_no_header_is_taken_for_an_error_of_a_healthy_model(matrix: Server, path: bytes, header: bytes) -> None:
    body = json.dumps({"instances": MATRIX_ROWS, "inputs": [{**TENSOR, "data": MATRIX_ROWS}]}).encode()
    failed = matrix.metric("upright_requests_total", code="5xx")
    host = b"" if header.startswith(b"host") else b"Host: x\r\n"
    address = (str(matrix.client.base_url.host), int(matrix.client.base_url.port or 0))

    with socket.create_connection(address) as client:
        client.sendall(b"POST %b HTTP/1.1\r\n%b%b\r\nContent-Length: %d\r\n\r\n" % (path, host, header, len(body)))
        client.sendall(body)
        answer = client.recv(4096)

    assert answer.split(b" ", 2)[1] in {b"200", b"400"}
    assert matrix.metric("upright_requests_total", code="5xx") == failed


def test_unknown_paths_share_one_label(matrix: Server) -> None:
    matrix.client.get("/unknown/0")
    before = len(matrix.client.get("/metrics").text.splitlines())

    for number in range(50):
        matrix.client.get(f"/unknown/{number}/../{number * 7919}?x={number}")
        matrix.client.post(f"/v1/models/m{number}:predict", json={})

    assert len(matrix.client.get("/metrics").text.splitlines()) <= before + 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["basic", 10**400]),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from([*ROW, "name", "shape", "data", "x"]), inner)
    ),
    max_leaves=12,
)
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none()
ALMOST_ROW = st.fixed_dictionaries(
    {
        "plan": st.sampled_from(["basic", "prepaid"]) | JSON.filter(lambda value: not isinstance(value, str)),
        "tenure": NUMBER | JSON,
        "income": NUMBER | JSON,
        "paperless": st.booleans() | JSON,
    }
)
ALMOST_TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from(list(ROW)) | JSON,
        "shape": st.lists(st.integers(-1, 4), max_size=3) | JSON,
        "datatype": st.sampled_from(["FP32", "INT64", "BOOL"]) | JSON,
        "data": st.lists(NUMBER, max_size=8) | JSON,
    }
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(document=JSON | st.fixed_dictionaries({"instances": st.lists(ALMOST_ROW, max_size=3) | JSON}))
def test_no_v1_request_is_taken_for_an_error_of_a_healthy_model(pipeline: Server, document: Any) -> None:
    response = pipeline.predict(document)

    assert response.status_code in {200, 400}
    assert set(response.json()) == ({"predictions"} if response.status_code == 200 else {"error"})


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(document=JSON | st.fixed_dictionaries({"inputs": st.lists(ALMOST_TENSOR, max_size=5) | JSON}))
def test_no_v2_request_is_taken_for_an_error_of_a_healthy_model(matrix: Server, document: Any) -> None:
    response = matrix.infer(document)

    assert response.status_code in {200, 400}
    assert ("error" in response.json()) == (response.status_code == 400)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_are_taken_for_an_error_of_a_healthy_model(matrix: Server, body: bytes) -> None:
    assert matrix.predict(body).status_code == 400


def test_a_client_that_goes_away_in_the_middle_disturbs_nobody(matrix: Server) -> None:
    failed = matrix.metric("upright_requests_total", code="5xx")
    address = (str(matrix.client.base_url.host), int(matrix.client.base_url.port or 0))

    for _ in range(5):
        with socket.create_connection(address) as connection:
            connection.sendall(b"POST /v1/models/churn:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")

    assert matrix.predict({"instances": MATRIX_ROWS}).status_code == 200
    assert matrix.metric("upright_requests_total", code="5xx") == failed
    assert matrix.metric("upright_requests_in_progress") == 0
    assert "Traceback" not in matrix.log.read_text()


def test_when_stopped_a_pod_is_unready_first_and_finishes_what_it_has_begun(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    with serving(pod, a_store_with(pod, a_matrix_model())) as server:
        url = server.client.base_url
        under_way = HTTPConnection(str(url.host), url.port)
        under_way.putrequest("POST", "/v1/models/churn:predict")
        body = json.dumps({"instances": MATRIX_ROWS}).encode()
        under_way.putheader("Content-Length", str(len(body)))
        under_way.endheaders(body[:5])

        server.process.send_signal(signal.SIGTERM)
        while (probe := server.client.get("/readyz")).status_code == 200:
            pass
        late = httpx.post(f"{url}/v1/models/churn:predict", json={"instances": MATRIX_ROWS})

        assert probe.status_code == 503
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        finish = threading.Timer(2.5, under_way.send, [body[5:]])
        finish.start()
        assert under_way.getresponse().status == 200
        server.process.wait(timeout=20)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_who_is_told_to_stop_while_the_model_is_loaded_ends(tmp_path: Path, workers: str) -> None:
    """By a handler of its own: the kernel keeps from process 1 of a container what it has no handler for."""
    pod, begun = a_pod(tmp_path), tmp_path / "begun"
    (pod.output / "model.pkl").write_bytes(pickle.dumps(_Slow()))
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    environment = {**of_store(pod), **pod.environment, "UPRIGHT_WORKERS": workers, "SLOW": str(begun)}
    with (tmp_path / "serve.log").open("wb") as output:
        process = start({**environment, "UPRIGHT_PORT": str(a_free_port())}, output)

        await_that(begun.exists)
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=20) == 0
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_pickle_that_keeps_names_of_columns_as_pandas_has_them_is_served(tmp_path: Path, workers: str) -> None:
    pod, rows = a_pod(tmp_path), customers()[["tenure"]]
    columns = ColumnTransformer([("numbers", StandardScaler(), rows.columns)])  # texts of pyarrow's, where it is there
    model = make_pipeline(columns, LogisticRegression()).fit(rows, customers()["label"])
    joblib.dump(model, pod.output / "model.joblib")
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"

    environment = {**of_store(pod), **pod.environment, "UPRIGHT_WORKERS": workers}
    with serving(pod, environment) as server:
        answer = server.predict({"instances": rows.head(5).to_dict("records")})

    assert answer.json() == {"predictions": model.predict(rows.head(5)).tolist()}


class _Slow:
    """A model that a process whose environment has SLOW, a file that tells that it has begun, never ends loading."""

    def __reduce__(self) -> Any:
        return (_slowly, (a_matrix_model(),))


def _slowly(model: Any) -> Any:
    if begun := os.environ.get("SLOW"):
        Path(begun).touch()
        threading.Event().wait(3600)
    return model


def refused(pod: Pod, environment: dict[str, str]) -> tuple[int, dict[str, str]]:
    with (pod.root / "serve.log").open("wb") as output:
        status = start(environment, output).wait(timeout=60)
    assert "Traceback" not in (pod.root / "serve.log").read_text()
    return status, json.loads((pod.root / "termination-log").read_text())


@pytest.mark.parametrize("file", ["manifest.json", "model.skops", "card.md"])
def test_a_file_changed_by_hand_is_never_served(tmp_path: Path, file: str) -> None:
    pod = a_pod(tmp_path)
    environment = a_store_with(pod, a_matrix_model(), card_md="# Churn")
    path = Path(environment["UPRIGHT_ARTIFACT"]) / file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b" ")

    status, message = refused(pod, environment)

    assert (status, message["reason"]) == (3, "Corrupt")
    assert file in message["message"]


def test_a_file_replaced_by_a_link_is_never_followed(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    environment = a_store_with(pod, a_matrix_model())
    path = Path(environment["UPRIGHT_ARTIFACT"]) / "model.skops"
    elsewhere = path.rename(tmp_path / "elsewhere.skops")
    path.symlink_to(elsewhere)

    status, message = refused(pod, environment)

    assert (status, message["reason"]) == (3, "Corrupt")
    assert "symbolic link" in message["message"]


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"no HTTP\r\n\r\n"])
def test_what_never_comes_to_the_application_is_answered_by_the_version_as_well(matrix: Server, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", matrix.client.base_url.port or 0), timeout=10) as client:
        client.sendall(sent)
        answer = client.recv(2**16)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"\r\nupright-model-version: churn-7\r\n" in answer


def test_an_artifact_that_is_gone_is_missing(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    environment = a_store_with(pod, a_matrix_model())

    status, message = refused(pod, {**environment, "UPRIGHT_ARTIFACT": str(tmp_path / "gone")})

    assert (status, message["reason"]) == (3, "Missing")
    assert message["message"] == (
        f"The artifact of churn-7 is not in the store: there is no manifest.json in {tmp_path / 'gone'}"
    )


def test_a_format_that_is_no_longer_allowed_is_not_loaded(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    environment = a_store_with(pod, a_matrix_model())

    status, message = refused(pod, {**environment, "UPRIGHT_ALLOWED_FORMATS": "joblib"})

    assert (status, message["reason"]) == (3, "FormatNotAllowed")


def test_answers_that_nobody_reads_take_no_more_room_than_there_is_and_make_way(tmp_path: Path) -> None:
    rows, texts = 1000, [f"{number:04}" * 4000 for number in range(2)]
    pod = a_pod(tmp_path)
    model = DummyClassifier(strategy="constant", constant=texts[0]).fit([[0.0], [1.0]], texts)
    body = json.dumps({"instances": [[0.0]] * rows}).encode()  # answered with 16 MB
    head = f"POST /v1/models/churn:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(pod, a_store_with(pod, model)) as server, ExitStack() as unread:
        clients = [
            unread.enter_context(socket.create_connection(("127.0.0.1", server.client.base_url.port or 0)))
            for _ in range(12)
        ]
        for client in clients:
            client.sendall(head.encode() + body)
        await_that(lambda: counted(server, "2xx") + counted(server, "overload") == 12)

        assert server.predict({"instances": [[0.0]]}).status_code == 200, "who asks for little is answered"
        large = b'{"instances": [[0.0]]' + b" " * 100_000 + b"}"
        assert server.predict(large).status_code == 200, "what others send has room of its own"
        await_that(lambda: server.predict(body).status_code == 200)  # a second later
        size = rows * len(texts[0])
        assert sum(has_all_of(client, size) for client in clients) <= UNREAD // size, "no more were there at any time"


def has_all_of(client: socket.socket, size: int) -> bool:
    """Whether an answer of so many bytes was there for a client to its end."""
    received = bytearray()
    client.settimeout(30)
    with suppress(ConnectionResetError):
        while len(received) < size and not received.startswith(b"HTTP/1.1 503") and (part := client.recv(2**20)):
            received += part
    return len(received) >= size


def test_a_pod_has_as_many_files_open_as_it_may(tmp_path: Path) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2048))

    pod = a_pod(tmp_path)
    with (
        serving(pod, a_store_with(pod, a_matrix_model()), preexec_fn=few) as server,
        ExitStack() as idle,
    ):
        clients = [
            idle.enter_context(socket.create_connection(("127.0.0.1", server.client.base_url.port or 0)))
            for _ in range(300)
        ]
        for client in (clients[-1], clients[0]):
            client.settimeout(10)
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")
