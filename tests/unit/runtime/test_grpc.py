"""The Open Inference Protocol over gRPC, asked by the clients that people have."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor import Descriptor
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from sklearn.neighbors import RadiusNeighborsClassifier
from tritonclient.grpc import service_pb2 as protocol

from tests.unit.runtime.pod import a_pipeline, a_pod, reference_csv
from tests.unit.runtime.server import Server, a_free_port, a_store_with, serving
from tests.unit.runtime.test_hanging import await_that, counted, gated, in_progress, statuses
from tests.unit.runtime.test_serve import NO_NEIGHBORS
from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import BadInputError
from upright.runtime.grpc.messages import MESSAGES
from upright.runtime.grpc.tensors import request_of

ROW = {"plan": "basic", "tenure": 3, "income": 1000.5, "paperless": True}
Serving = tuple[Server, str]
"""And where it listens for gRPC."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Named columns of several types."""
    model, port = a_pipeline(), a_free_port()
    pod = a_pod(tmp_path_factory.mktemp("grpc"))
    environment = a_store_with(pod, model, reference_csv=reference_csv(model))
    with serving(pod, {**environment, "UPRIGHT_GRPC_PORT": str(port)}) as server:
        yield server, f"127.0.0.1:{port}"


@pytest.fixture
def client(served: Serving) -> Iterator[Any]:
    with triton.InferenceServerClient(served[1]) as found:
        yield found


def columns(**instead: Any) -> list[Any]:
    """ROW as Triton's client sends it."""
    given = {
        "plan": np.array([b"basic"], dtype=object),
        "tenure": np.array([3]),
        "income": np.array([1000.5]),
        "paperless": np.array([True]),
        **instead,
    }
    tensors = []
    for name, values in given.items():
        tensor = triton.InferInput(name, list(values.shape), triton.np_to_triton_dtype(values.dtype))
        tensors.append(tensor.set_data_from_numpy(values))
    return tensors


def typed(**instead: Mapping[str, Any]) -> Any:
    """ROW with typed contents, as KServe's client sends it; `instead`: other fields of a column."""
    contents = {
        "plan": {"datatype": "BYTES", "contents": {"bytes_contents": [b"basic"]}},
        "tenure": {"datatype": "INT32", "contents": {"int_contents": [3]}},
        "income": {"datatype": "FP32", "contents": {"fp32_contents": [1000.5]}},
        "paperless": {"datatype": "BOOL", "contents": {"bool_contents": [True]}},
    }
    inputs = [{"name": name, "shape": [1], **contents[name], **instead.get(name, {})} for name in contents]
    return protocol.ModelInferRequest(model_name="churn", inputs=inputs)


def infer(address: str, request: Any, timeout: float | None = 30) -> tuple[Any, Mapping[str, str]]:
    """The answer to a message, or to bytes, and the trailing metadata."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        content = request if isinstance(request, bytes) else request.SerializeToString()
        answer, done = call.with_call(content, timeout=timeout)
        return protocol.ModelInferResponse.FromString(answer), dict(done.trailing_metadata())


def refusal(address: str, request: Any, timeout: float | None = 30) -> tuple[grpc.StatusCode, str, Mapping[str, str]]:
    """The code, the sentence and the trailing metadata."""
    with pytest.raises(grpc.RpcError) as refused:
        infer(address, request, timeout)
    error: Any = refused.value
    return error.code(), error.details(), dict(error.trailing_metadata())


def answered_over_http(server: Server, *rows: Any) -> Any:
    return server.predict({"instances": list(rows or [ROW])}).json()["predictions"]


def test_a_client_of_triton_s_works_with_its_defaults(served: Serving, client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn")
    assert client.is_model_ready("churn", "churn-7")
    assert client.get_server_metadata().name == "upright"

    answer = client.infer("churn", columns(), request_id="7")

    assert answer.as_numpy("prediction").tolist() == answered_over_http(served[0])
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", "churn", "churn-7")


def test_the_metadata_are_those_of_http(served: Serving, client: Any) -> None:
    over_http = served[0].client.get("/v2/models/churn").json()

    metadata = client.get_model_metadata("churn", as_json=True)

    for tensor in (*metadata["inputs"], *metadata["outputs"]):
        tensor["shape"] = [int(size) for size in tensor["shape"]]
    for tensor in (*over_http["inputs"], *over_http["outputs"]):
        tensor.pop("classes", None)  # the protocol has no place for these
        tensor.pop("missing", None)
    assert metadata == over_http


def test_outputs_are_given_that_are_asked_for(served: Serving, client: Any) -> None:
    wanted = [triton.InferRequestedOutput("predict_proba"), triton.InferRequestedOutput("prediction")]

    answer = client.infer("churn", columns(), model_version="churn-7", outputs=wanted)

    asked = {"instances": [ROW], "method": "predict_proba"}
    assert answer.as_numpy("predict_proba").tolist() == served[0].predict(asked).json()["predictions"]
    assert answer.as_numpy("prediction").tolist() == answered_over_http(served[0])


def test_who_sends_typed_contents_gets_such_and_the_version(served: Serving) -> None:
    server, address = served

    answer, metadata = infer(address, typed())

    assert list(answer.outputs[0].contents.int64_contents) == answered_over_http(server)
    assert not answer.raw_output_contents
    assert metadata["upright-model-version"] == "churn-7"


def test_what_is_not_a_number_is_missing(served: Serving, client: Any) -> None:
    server, address = served
    expected = answered_over_http(server, {**ROW, "income": None})

    raw = client.infer("churn", columns(income=np.array([np.nan], dtype=np.float16)))
    answer, _ = infer(address, typed(income={"contents": {"fp32_contents": [np.nan]}}))

    assert raw.as_numpy("prediction").tolist() == list(answer.outputs[0].contents.int64_contents) == expected


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tenure": {"datatype": "FLOAT"}}, "inputs[1].datatype must be one of BOOL, BYTES, FP16"),
        (
            {"tenure": {"datatype": "BYTES"}},
            "inputs[1].contents must have values of BYTES in bytes_contents, not in int",
        ),
        ({"tenure": {"datatype": "FP16"}}, "inputs[1] must have its values in raw_input_contents, as all of FP16"),
        ({"tenure": {"shape": [0]}}, "inputs[1].shape must be a list of positive whole numbers"),
        ({"tenure": {"shape": []}}, "inputs[1].shape must be a list of positive whole numbers; it is []"),
        ({"tenure": {"shape": [2**62] * 3}}, "inputs[1].shape must have at most 8 sizes of at most 2147483647"),
        ({"tenure": {"shape": [2**31 - 1] * 8}}, "values; at most 4194304 are taken"),
        ({"tenure": {"shape": [1] * 9}}, "inputs[1].shape must have at most 8 sizes"),
        (
            {"tenure": {"contents": {}}},
            "inputs[1].contents.int_contents must have 1 values, as shape [1] says; it has 0",
        ),
        ({"tenure": {"name": "age"}}, "inputs has an unknown tensor 'age'; the model takes income, paperless, plan"),
        ({"income": {"contents": {"fp32_contents": [np.inf]}}}, "must be a number between -3.403e+38 and 3.403e+38"),
        ({"plan": {"contents": {"bytes_contents": [b"\xff"]}}}, "inputs[0].contents.bytes_contents must be UTF-8"),
    ],
)
def test_what_the_model_does_not_take_is_a_client_s_mistake(
    served: Serving, change: Mapping[str, Any], sentence: str
) -> None:
    mistaken, failed = (counted(served[0], code) for code in ("4xx", "5xx"))

    code, said, metadata = refusal(served[1], typed(**change))

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in said
    assert metadata["upright-model-version"] == "churn-7"
    assert (counted(served[0], "4xx"), counted(served[0], "5xx")) == (mistaken + 1, failed)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ([b""], "raw_input_contents must have the values of each of the 4 inputs, or be empty; it has 1 items"),
        (
            [b"\5\0\0\0basic", b"12", b"1234", b"\1"],
            "raw_input_contents[1] must have 4 bytes, 1 values of INT32; it has 2",
        ),
        ([b"\5\0\0\0basi", b"1234", b"1234", b"\1"], "raw_input_contents[0] must have 1 texts as bytes"),
    ],
)
def test_raw_contents_that_are_not_as_the_inputs_say_are_a_client_s_mistake(
    served: Serving, raw: list[bytes], sentence: str
) -> None:
    request = typed()
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend(raw)

    assert sentence in refusal(served[1], request)[1]


def test_raw_contents_hold_no_more_values_than_json_has_room_for() -> None:
    signature, rows = Signature(inputs=(Tensor(name="x", type="INT8", shape=(-1, 1)),)), 4 * 1024**2 + 1
    request = MESSAGES["ModelInferRequest"](raw_input_contents=[bytes(rows)])
    request.inputs.add(name="x", datatype="INT8", shape=[rows, 1])

    with pytest.raises(BadInputError, match=r"inputs\[0\].shape is of 4194305 values; at most 4194304 are taken"):
        request_of(request, signature, ["prediction"])


def test_values_are_given_once(served: Serving) -> None:
    request = typed()
    request.raw_input_contents.extend([b""] * 4)

    _, said, _ = refusal(served[1], request)

    assert said == "inputs[0].contents must be left out where raw_input_contents are given"


@pytest.mark.parametrize(("model", "version"), [("other", ""), ("churn", "churn-8"), ("", "")])
def test_another_model_or_version_is_not_here(served: Serving, client: Any, model: str, version: str) -> None:
    request = typed()
    request.model_name, request.model_version = model, version
    before = counted(served[0], "4xx")

    code, said, _ = refusal(served[1], request)

    assert code == grpc.StatusCode.NOT_FOUND
    assert "here; this pod serves version churn-7 of model churn" in said
    assert counted(served[0], "4xx") == before + 1, "as over HTTP: a version that is no longer where clients ask"
    for ask in (client.is_model_ready, client.get_model_metadata):
        with pytest.raises(triton.InferenceServerException, match="NOT_FOUND"):
            ask(model, version)


def test_health_and_reflection_are_the_standard_ones(served: Serving) -> None:
    with grpc.insecure_channel(served[1]) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        assert check(HealthCheckRequest()).status == HealthCheckResponse.SERVING
        assert check(HealthCheckRequest(service="inference.GRPCInferenceService")).status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, match="there is no service 'other' here"):
            check(HealthCheckRequest(service="other"))
        watch = channel.unary_stream(
            "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        watching = watch(HealthCheckRequest())
        assert next(watching).status == HealthCheckResponse.SERVING
        watching.cancel()
        told = ProtoReflectionDescriptorDatabase(channel)
        assert set(told.get_services()) >= {"inference.GRPCInferenceService", "grpc.health.v1.Health"}
        assert "ModelInferRequest" in [
            one.name for one in told.FindFileContainingSymbol("inference.InferParameter").message_type
        ]


@pytest.mark.parametrize("name", [name for name in MESSAGES if not name.startswith("ModelInferResponse")])
def test_messages_are_what_other_servers_clients_take_them_for(name: str) -> None:
    outer, _, nested = name.partition(".")
    theirs: Descriptor = protocol.DESCRIPTOR.message_types_by_name[outer]
    ours = MESSAGES[name].DESCRIPTOR

    assert fields(ours) == fields(theirs.nested_types_by_name[nested] if nested else theirs)


def fields(message: Descriptor) -> set[tuple[Any, ...]]:
    return {
        (field.name, field.number, field.type, field.is_repeated, field.message_type and field.message_type.full_name)
        for field in message.fields
    }


def test_what_hangs_is_answered_counted_and_seen_in_health(tmp_path: Path) -> None:
    port = a_free_port()
    address = f"127.0.0.1:{port}"
    with gated(tmp_path, "0.5", UPRIGHT_GRPC_PORT=str(port)) as (server, gate):
        code, said, metadata = refusal(address, number(99))

        assert (code, said) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "the model has not answered this request within 0.5 seconds",
        )
        assert metadata["upright-model-version"] == "churn-7"
        assert (counted(server, "5xx"), in_progress(server)) == (1, 0)
        assert server.metric("upright_failures_total", reason="Timeout") == 1
        for _ in range(3):
            refusal(address, number(99))
        await_that(lambda: statuses(server, ("/readyz",)) == {503})
        with triton.InferenceServerClient(address) as client:
            assert not client.is_server_ready()
            assert not client.is_model_ready("churn")
            assert client.is_server_live()
            gate.unlink()
            await_that(client.is_server_ready)


def test_what_finds_no_place_in_line_is_told_when_to_come_again_whichever_way_it_comes(tmp_path: Path) -> None:
    port = a_free_port()
    with (
        gated(tmp_path, "60", UPRIGHT_QUEUE="1", UPRIGHT_GRPC_PORT=str(port)) as (server, gate),
        ThreadPoolExecutor(5) as clients,
    ):
        asked = [clients.submit(infer, f"127.0.0.1:{port}", number(99), 60) for _ in range(4)]
        await_that(lambda: in_progress(server) == 4)
        asked.append(clients.submit(infer, f"127.0.0.1:{port}", number(1), 60))
        await_that(lambda: in_progress(server) == 5)

        code, said, metadata = refusal(f"127.0.0.1:{port}", number(1))

        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert said == "the model has 1 waiting already, as many as may (serving.queue); try again later"
        assert metadata["grpc-retry-pushback-ms"] == "1000"
        assert server.predict({"instances": [[1]]}).status_code == 503
        gate.unlink()
        assert [one.result()[0].outputs[0].contents.fp64_contents[0] for one in asked] == [99] * 4 + [1]
        assert [counted(server, code) for code in ("2xx", "4xx", "5xx", "overload")] == [5, 0, 0, 2]


def test_a_client_that_goes_away_while_the_model_works_counts_as_it_was_answered(tmp_path: Path) -> None:
    port = a_free_port()
    with gated(tmp_path, "60", UPRIGHT_GRPC_PORT=str(port)) as (server, gate):
        code, _, _ = refusal(f"127.0.0.1:{port}", number(99), timeout=0.5)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        await_that(lambda: in_progress(server) == 1)

        gate.unlink()

        await_that(lambda: counted(server, "2xx") == 1)
        assert (counted(server, "5xx"), in_progress(server)) == (0, 0)


def number(value: float) -> Any:
    """What the gated model takes; with 99 it hangs."""
    contents = {"fp64_contents": [value]}
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 1], "contents": contents}
    return protocol.ModelInferRequest(model_name="churn", inputs=[tensor])


def test_the_model_s_error_is_told_and_counted_as_one(tmp_path: Path) -> None:
    pod, port = a_pod(tmp_path), a_free_port()
    environment = a_store_with(pod, RadiusNeighborsClassifier().fit([[0.0], [1.0]], [0, 1]))
    tensor = {"name": "input-0", "shape": [1, 1], "datatype": "FP64", "contents": {"fp64_contents": [99.0]}}
    with serving(pod, {**environment, "UPRIGHT_GRPC_PORT": str(port)}) as server:
        code, said, _ = refusal(f"127.0.0.1:{port}", protocol.ModelInferRequest(model_name="churn", inputs=[tensor]))

        assert code == grpc.StatusCode.INTERNAL
        assert said.startswith("the model failed on this request: ValueError: No neighbors found")
        assert counted(server, "5xx") == 1
        assert server.metric("upright_failure_messages_total", message=NO_NEIGHBORS, example="1 row of 1 feature") == 1


@pytest.mark.parametrize("name", ["classification", "shared_memory_region"])
@pytest.mark.parametrize("of", ["inputs", "outputs"])
def test_what_would_change_what_values_mean_is_refused_as_over_http(served: Serving, of: str, name: str) -> None:
    request = typed()
    if of == "outputs":
        request.outputs.add(name="prediction")
    getattr(request, of)[0].parameters[name].string_param = "2"

    code, said, _ = refusal(served[1], request)

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert said.startswith(f"{of}[0].parameters.{name} is not taken")
