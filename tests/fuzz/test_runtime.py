"""Bytes of strangers and of training programs: a declared error or an answer, never anything else."""

import gzip
import io
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import skops.io
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tests.unit.runtime.pod import a_matrix_model, a_pipeline
from upright.api.artifact import (
    MANIFEST,
    ArtifactManifest,
    Framework,
    Inputs,
    PublishReport,
    Refusal,
    Signature,
    Tensor,
    canonical_manifest,
    digest,
    read_report,
    termination_message,
)
from upright.api.serving import MESSAGE
from upright.runtime import formats, store
from upright.runtime.batch import BadInputError, batch_of_rows
from upright.runtime.compression import accepted_of, encoding_of, inflated
from upright.runtime.environment import Limits, limits_of, run_of
from upright.runtime.grpc import tensors as grpc_tensors
from upright.runtime.grpc.messages import MESSAGES
from upright.runtime.outcome import FailedError, RefusedError
from upright.runtime.output import read_output
from upright.runtime.protocol import parse_infer, parse_predict
from upright.runtime.reference import read_reference
from upright.runtime.said import without_values

LIMITS = Limits(frozenset({"skops"}), 10_000_000)
MATRIX = Signature(inputs=(Tensor(name="input-0", type="FP64", shape=(-1, 2)),))
TYPED = Signature(
    inputs=(
        Tensor(name="plan", type="BYTES"),
        Tensor(name="tenure", type="INT64"),
        Tensor(name="income", type="FP32", missing=True),
        Tensor(name="paperless", type="BOOL"),
    )
)
UNTYPED = Signature(inputs=(Tensor(name="a"), Tensor(name="b", missing=True)))
SIGNATURES = st.sampled_from([MATRIX, TYPED, UNTYPED])

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

WORDS = [
    "instances", "inputs", "outputs", "name", "shape", "datatype", "data", "id", "missing", "type",
    "plan", "tenure", "income", "paperless", "a", "b", "input-0", "FP64", "INT64", "BYTES", "BOOL", "prediction",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.sampled_from([*WORDS, 10**18, 10**400, -1, 2**63, 1e308])
    | st.text(max_size=8)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*WORDS, 3]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, 10**18]), max_size=10) | JSON,
        "datatype": st.sampled_from(["FP64", "INT64", "BYTES", "BOOL", "FLOAT"]) | JSON,
        "data": st.lists(LEAVES, max_size=8) | JSON,
    }
)


def is_a_sentence(error: Exception) -> None:
    """What somebody will read, and what fits into a termination message."""
    assert 0 < len(str(error)) < 5000
    assert termination_message(Refusal(reason="Reason", message=str(error)))


def is_a_refusal(error: HTTPException, status: int) -> None:
    assert error.status_code == status
    is_a_sentence(ValueError(error.detail))


def as_bytes(document: Any) -> bytes:
    return json.dumps(document).encode()


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that are almost right: some changed, some left out, some put in."""

    def damage(content: bytes, places: list[tuple[int, int, bytes]]) -> bytes:
        for start, length, instead in places:
            at = start % (len(content) + 1)
            content = content[:at] + instead + content[at + length :]
        return content

    places = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.binary(max_size=6)), max_size=5)
    return st.builds(damage, whole, places)


@patient
@given(body=st.binary(max_size=300) | JSON.map(as_bytes) | damaged(JSON.map(as_bytes)), signature=SIGNATURES)
@example(body=b'{"instances":[["basic",1e999,1,true]]}', signature=TYPED)
def test_v1_requests(body: bytes, signature: Signature) -> None:
    try:
        asked = parse_predict(body, signature, ["prediction"])
    except BadInputError as error:
        is_a_sentence(error)
    else:
        assert asked.batch.rows > 0


@patient
@given(rows=st.lists(JSON, max_size=5), signature=SIGNATURES)
def test_v1_rows(rows: list[Any], signature: Signature) -> None:
    test_v1_requests.hypothesis.inner_test(as_bytes({"instances": rows}), signature)  # type: ignore[attr-defined]


@patient
@given(body=st.binary(max_size=300) | JSON.map(as_bytes) | damaged(JSON.map(as_bytes)), signature=SIGNATURES)
def test_v2_requests(body: bytes, signature: Signature) -> None:
    try:
        asked = parse_infer(body, signature, ["prediction"])
    except BadInputError as error:
        is_a_sentence(error)
    else:
        assert asked.batch.rows > 0


@patient
@given(
    tensors=st.lists(TENSORS, max_size=4),
    sizes=st.lists(st.integers(-1, 40) | JSON, min_size=4, max_size=4),
    tail=st.binary(max_size=60),
    header=st.none() | st.integers(-1, 400).map(str) | st.text(max_size=4),
    signature=SIGNATURES,
)
def test_v2_requests_with_bytes_behind_them(
    tensors: list[Any], sizes: list[Any], tail: bytes, header: str | None, signature: Signature
) -> None:
    binary = [
        {**{name: value for name, value in tensor.items() if name != "data"}, "parameters": {"binary_data_size": size}}
        for tensor, size in zip(tensors, sizes, strict=False)
    ]
    head = as_bytes({"inputs": binary})
    try:
        asked = parse_infer(head + tail, signature, ["prediction"], str(len(head)) if header is None else header)
    except BadInputError as error:
        is_a_sentence(error)
    else:
        assert asked.batch.rows > 0


@patient
@given(
    document=st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=5)}, optional={"id": JSON, "outputs": JSON}),
    signature=SIGNATURES,
)
@example(
    document={"inputs": [{"name": "x", "shape": [10**18] * 300, "datatype": "FP64", "data": []}]}, signature=MATRIX
)
def test_v2_tensors(document: Any, signature: Signature) -> None:
    test_v2_requests.hypothesis.inner_test(as_bytes(document), signature)  # type: ignore[attr-defined]


COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
ENCODINGS = st.lists(st.sampled_from(["gzip", "deflate", "identity", "x-gzip", "br", "*", ";q=0", ";q=x", ",", ""]))


@patient
@given(
    body=JSON.map(as_bytes) | st.integers(0, 3000).map(bytes),
    header=ENCODINGS.map("".join) | st.text(st.characters(max_codepoint=255), max_size=8),
    written=st.sampled_from(list(COMPRESS)),
    damage=st.data(),
)
def test_compressed_bodies(body: bytes, header: str, written: str, damage: st.DataObject) -> None:
    request = Request({"type": "http", "headers": [(b"content-encoding", header.encode("latin-1"))]})
    content = damage.draw(damaged(st.just(COMPRESS[written](body))) | st.just(COMPRESS[written](body)))
    try:
        encoding = encoding_of(request)
    except HTTPException as refused:
        is_a_refusal(refused, 415)
        return
    try:
        found = inflated(content, encoding, 2000)
    except HTTPException as refused:
        is_a_refusal(refused, 413)
    except BadInputError as error:
        is_a_sentence(error)
    else:
        assert len(found) <= 2000 or encoding is None


@patient
@given(header=ENCODINGS.map("".join) | st.text(st.characters(max_codepoint=255), max_size=20))
def test_encodings_that_clients_take(header: str) -> None:
    request = Request({"type": "http", "headers": [(b"accept-encoding", header.encode("latin-1"))]})

    assert accepted_of(request) in {"gzip", "deflate", None}


INFER = MESSAGES["ModelInferRequest"]
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "bool_contents": st.lists(st.booleans(), max_size=3),
        "int_contents": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
        "int64_contents": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        "uint64_contents": st.lists(st.integers(0, 2**64 - 1), max_size=3),
        "fp32_contents": st.lists(st.floats(width=32), max_size=3),
        "fp64_contents": st.lists(st.floats(), max_size=3),
        "bytes_contents": st.lists(st.binary(max_size=6), max_size=3),
    },
)
INPUTS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(WORDS),
        "datatype": st.sampled_from(["FP64", "FP16", "INT64", "BYTES", "BOOL", "FLOAT"]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**63 - 1]), max_size=10),
    },
    optional={"contents": CONTENTS},
)
INFER_REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(INPUTS, max_size=5)},
    optional={
        "raw_input_contents": st.lists(st.binary(max_size=20), max_size=5),
        "outputs": st.lists(st.sampled_from([{"name": "prediction"}, {"name": "other"}]), max_size=2),
    },
).map(lambda fields: INFER(**fields).SerializeToString())


@patient
@given(message=st.binary(max_size=300) | INFER_REQUESTS | damaged(INFER_REQUESTS), signature=SIGNATURES)
@example(message=b"\x2a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", signature=MATRIX)
@example(message=b"\x2b" * 100_000, signature=MATRIX)
def test_grpc_requests(message: bytes, signature: Signature) -> None:
    try:
        asked = grpc_tensors.request_of(grpc_tensors.read(message), signature, ["prediction"])
    except BadInputError as error:
        is_a_sentence(error)
    else:
        assert asked.batch.rows > 0


def read_with(name: str, content: bytes) -> None:
    """Read a training program's output that holds this file beside a model."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.skops").write_bytes(b"x")
        (Path(folder) / name).write_bytes(content)
        try:
            output = read_output(Path(folder), LIMITS)
            reference = read_reference(Path(folder), LIMITS, object())
        except (RefusedError, FailedError) as error:
            is_a_sentence(error)
        else:
            assert all(isinstance(value, float) for value in output.metrics.values())
            assert reference is None or len(reference.rows)


SIGNATURE_FILES = st.fixed_dictionaries(
    {"inputs": st.lists(st.fixed_dictionaries({"name": LEAVES}, optional={"type": LEAVES, "shape": JSON})) | JSON}
)


@patient
@given(content=st.binary(max_size=200) | JSON.map(as_bytes) | damaged(SIGNATURE_FILES.map(as_bytes)))
def test_signature_json(content: bytes) -> None:
    read_with("signature.json", content)


@patient
@given(content=st.binary(max_size=200) | damaged((st.dictionaries(st.text(max_size=70), LEAVES) | JSON).map(as_bytes)))
@example(content=b'{"a": ' + b"9" * 5000 + b"}")
@example(content=b"[" * 100_000)
def test_metrics_json(content: bytes) -> None:
    read_with("metrics.json", content)


CELLS = st.lists(st.lists(st.sampled_from(["1", "NA", '"', "a,b", "\x00", "é", "1e999", "", "2026-01-01"]), max_size=5))
TABLES = CELLS.map(lambda rows: "\n".join(",".join(row) for row in rows).encode())


@patient
@given(content=st.binary(max_size=400) | damaged(TABLES))
def test_reference_csv(content: bytes) -> None:
    read_with("reference.csv", content)


@cache
def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "prediction": [True, False, True]}).to_parquet(buffer)
    return buffer.getvalue()


@patient
@given(content=st.binary(max_size=200) | damaged(st.builds(parquet)))
def test_reference_parquet(content: bytes) -> None:
    read_with("reference.parquet", content)


@cache
def a_model(make: Callable[[], Any]) -> bytes:
    content: bytes = skops.io.dumps(make())
    return content


MODELS = st.sampled_from([a_matrix_model, a_pipeline]).map(a_model)


def other_schema(document: Any) -> bytes:
    """A skops file whose description is another one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", json.dumps(document))
    return buffer.getvalue()


@cache
def described() -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(a_model(a_matrix_model))) as archive:
        document: dict[str, Any] = json.loads(archive.read("schema.json"))
        return document


SCHEMAS = JSON | st.dictionaries(st.sampled_from(list(described())), JSON).map(lambda changes: described() | changes)


@patient
@given(content=st.binary(max_size=200) | damaged(MODELS) | SCHEMAS.map(other_schema))
def test_model_files(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        path.write_bytes(content)
        try:
            loaded = formats.load(path, "skops", LIMITS)
        except (formats.UnreadableModelError, formats.UntrustedTypesError) as error:
            is_a_sentence(error)
        else:
            assert callable(loaded.estimator.predict)


def manifest() -> bytes:
    return canonical_manifest(
        ArtifactManifest(
            model="churn",
            format="skops",
            framework=Framework(name="scikit-learn", version="1", python="3"),
            signature=TYPED,
            files=(),
        )
    )


@patient
@given(content=st.binary(max_size=200) | JSON.map(as_bytes) | damaged(st.builds(manifest)))
def test_manifests(content: bytes) -> None:
    """Even of a manifest whose digest is right not everything is believed."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST).write_bytes(content)
        try:
            read = store.read_manifest(Path(folder), digest(content))
        except store.CorruptArtifactError as error:
            is_a_sentence(error)
        else:
            assert all("/" not in entry.path for entry in read.files)


def report() -> bytes:
    return termination_message(
        PublishReport(
            uri="pvc://models/churn/sha256-0",
            digest="sha256:" + "0" * 64,
            size_bytes=7,
            format="skops",
            framework=Framework(name="scikit-learn", version="1", python="3"),
            metrics={"accuracy": 0.9},
            signature=TYPED,
        )
    ).encode()


@patient
@given(
    message=st.text(max_size=300)
    | damaged(JSON.map(as_bytes) | st.builds(report)).map(lambda b: b.decode(errors="replace"))
)
@example(message="9" * 5000)
def test_termination_messages(message: str) -> None:
    for read in (read_report, Inputs.model_validate_json, Refusal.model_validate_json):
        try:
            outcome = read(message)
        except ValidationError:
            continue
        assert outcome.model_dump_json()


@patient
@given(variable=st.text(max_size=300) | JSON.map(json.dumps))
@example(variable="9" * 5000)
def test_the_environment(variable: str) -> None:
    try:
        run_of({"UPRIGHT_RUN": variable})
    except RefusedError as error:
        is_a_sentence(error)
    try:
        limits_of({"UPRIGHT_MAX_ARTIFACT_BYTES": variable})
    except RefusedError as error:
        is_a_sentence(error)


QUOTES = st.sampled_from(
    ["'", '"', "`", "“", "”", "[", "]", "(", "{", "}", "<", ">", "\\", "\0", "\1", " ", "…", "İ", "ß", "½"]
)
SAID = st.lists(QUOTES | st.text(max_size=6) | st.sampled_from(["Smith", "plan", "int", "42"]), max_size=60).map(
    "".join
)


@given(SAID | st.text(max_size=1000), st.text(max_size=80))
@example("'" * 600, "'")
@example("\\" * 600, "\\")
@example("<" * 600, "<")
@example("a." * 400, "a")
def test_whatever_a_model_says_is_told_in_words_or_not_at_all(said: str, value: str) -> None:
    batch = batch_of_rows([[value, 1, None, True]], TYPED)
    for kind in (ValueError, KeyError):
        error = kind(said)
        told = without_values(str(error), error, batch, TYPED)
        assert told == "" or (re.fullmatch(MESSAGE, told) and told.isprintable())
        assert not any(map(str.isnumeric, told))
