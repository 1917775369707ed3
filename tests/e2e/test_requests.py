"""What a served model answers to requests that make no sense, and that it goes on answering those that do."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import httpx
import pytest

from tests.cluster.cluster import kubectl_program
from tests.installed import Workspace

PREDICT = "/v1/models/iris:predict"
INFER = "/v2/models/iris/infer"
FLOWERS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
MEGABYTE = 1024**2


@pytest.fixture(scope="module")
def client(iris: Workspace) -> Iterator[httpx.Client]:
    with service(iris, "iris") as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@contextmanager
def service(place: Workspace, name: str) -> Iterator[str]:
    """Where a Service answers on this machine, wherever the cluster is."""
    command = [kubectl_program(), f"--kubeconfig={place.cluster.kubeconfig}", f"--namespace={place.namespace}"]
    with subprocess.Popen(
        [*command, "port-forward", f"service/{name}", ":80"], stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdout is not None
        try:
            said = forwarding.stdout.readline()  # Forwarding from 127.0.0.1:PORT -> 3000
            assert "127.0.0.1:" in said, said
            yield f"http://127.0.0.1:{said.split('127.0.0.1:')[1].split()[0]}"
        finally:
            forwarding.kill()


def instances(rows: Any) -> bytes:
    return json.dumps({"instances": rows}).encode()


def tensor(**fields: Any) -> bytes:
    whole = {"name": "flowers", "datatype": "FP64", "shape": [2, 4], "data": list(chain.from_iterable(FLOWERS))}
    return json.dumps({"inputs": [whole | fields]}).encode()


def is_healthy(client: httpx.Client) -> None:
    """It predicts by both protocols what it should."""
    answer = client.post(PREDICT, content=instances(FLOWERS))
    assert (answer.status_code, answer.json()) == (200, {"predictions": [1, 1]})
    answer = client.post(INFER, content=tensor())
    assert (answer.status_code, answer.json()["outputs"][0]["data"]) == (200, [1, 1])


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        pytest.param(PREDICT, b"sepal=6.8", 400, "must be JSON", id="a form"),
        pytest.param(PREDICT, b"\xff\xfe\x00", 400, "must be JSON", id="no text"),
        pytest.param(PREDICT, b"", 400, "must be JSON", id="nothing"),
        pytest.param(PREDICT, b"[1, 2]", 400, "must be a JSON object", id="a list"),
        pytest.param(PREDICT, b'{"rows": []}', 400, "must have the field instances", id="a field of another name"),
        pytest.param(PREDICT, instances([[1.0, 2.0]]), 400, "must have 4 values", id="rows of the wrong length"),
        pytest.param(PREDICT, instances([["a", "b", "c", "d"]]), 400, "must be a number", id="words for numbers"),
        pytest.param(PREDICT, instances([[[1.0] * 4]]), 400, "instances[0]", id="rows too deep"),
        pytest.param(PREDICT, b'{"instances": [[NaN, 1, 1, 1]]}', 400, "null", id="not a number"),
        pytest.param(INFER, tensor(shape=[4, 2]), 400, "inputs[0].shape must be [rows, 4]", id="V2, wrong shape"),
        pytest.param(INFER, tensor(shape=[9, 4]), 400, "must have 36 values", id="V2, too few values"),
        pytest.param(INFER, tensor(datatype="FLOAT"), 400, "datatype must be one of", id="V2, unknown datatype"),
        pytest.param(INFER, b'{"inputs": 1}', 400, "inputs must be a list", id="V2, no tensors"),
        pytest.param(PREDICT, instances("x" * 20 * MEGABYTE), 413, "at most 8388608 bytes", id="20 MB"),
        pytest.param(INFER, b"\0" * 20 * MEGABYTE, 413, "at most 8388608 bytes", id="V2, 20 MB"),
        pytest.param(PREDICT, b'{"instances": ' + b"[" * 100_000, 400, "must be JSON", id="100,000 brackets"),
        pytest.param(
            PREDICT,
            b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            400,
            "must be JSON",
            id="100,000 closed brackets",
        ),
        pytest.param(INFER, b'{"inputs": ' + b"[" * 100_000, 400, "must be JSON", id="V2, 100,000 brackets"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_a_sentence(
    client: httpx.Client, path: str, body: bytes, status: int, said: str
) -> None:
    answer = client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text[:500]
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]
    assert len(answer.json()["error"]) < 500
    is_healthy(client)


def test_after_all_of_them_no_pod_has_restarted_and_none_counts_as_the_model_s_fault(
    iris: Workspace, client: httpx.Client
) -> None:
    client.post(PREDICT, content=b"no JSON")
    (pod,) = iris.items("pods", "upright.dev/deployment=iris")
    (container,) = pod["status"]["containerStatuses"]
    assert (container["ready"], container["restartCount"]) == (True, 0)
    counted = [line for line in client.get("/metrics").text.splitlines() if line.startswith("upright_requests_total")]
    by_code = {line.split('code="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in counted}
    assert by_code["4xx"] >= 1
    assert by_code["5xx"] == 0
