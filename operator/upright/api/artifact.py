"""The formats that operator and pods exchange: the order and the outcome of a run, the manifest of an artifact.

An artifact is a folder whose `manifest.json` names every other file with its digest; the artifact's own digest is that
of the manifest in canonical JSON, so whoever checks the digest has checked everything.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, takewhile
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic.alias_generators import to_camel

MANIFEST = "manifest.json"
PROFILE = "profile.json"
CARD = "card.md"

TERMINATION_LIMIT = 4096
"""Bytes that the kubelet keeps of a container's termination message; of a pod with more than three containers, less."""

_REFUSAL_BYTES = 1024
"""Of a refusal: a sentence for people, and short enough for a pod of twelve containers."""

REFUSED = 3
"""Exit status of a container whose work another try cannot help."""


class _Format(BaseModel):
    """camelCase outside, snake_case inside, immutable. Unknown fields are ignored: the writer may be newer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
_Pinned = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+$", max_length=256)]
"""NAME==VERSION: what else pip takes may be fetched from anywhere."""
_Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64", "BYTES"
]
_COLUMN_TYPE = (
    "^(number|float32|object|string|category|boolean|U?Int(8|16|32|64)|Float(32|64)"
    r"|datetime64\[(s|ms|us|ns)(, [A-Za-z0-9_+:/-]+)?\])$"
)
ModelFormat = Literal["skops", "joblib", "xgboost", "lightgbm", "catboost", "onnx"]


class SourceSpec(_Format):
    """An input of a run as the user named it, with an optional pin."""

    name: _Label
    uri: str
    digest: Digest | None = None


class CodeSpec(_Format):
    """The training program as the user named it, with an optional pin."""

    uri: str
    digest: Digest | None = None


class RunSpec(_Format):
    """What `data` and `publish` are told of the run, in the environment variable UPRIGHT_RUN."""

    model: _Label
    run: str
    namespace: str
    data: tuple[SourceSpec, ...] = ()
    code: CodeSpec | None = None
    parameters: dict[str, Any] = {}
    store: str = Field(pattern=r"^pvc://")


class Source(_Format):
    """An input as it was read. The training program is one, named `code`."""

    name: str
    uri: str
    digest: Digest


class Inputs(_Format):
    """What `data` has read: it leaves this for `publish`, and is its termination message."""

    data: tuple[Source, ...] = ()
    code: Source | None = None


class Tensor(_Format):
    """One input or output of a model, in the words of the Open Inference Protocol.

    `shape` is [-1] (one value a row) or [-1, n] (n values a row). Without `type`, values of any type are passed on.
    `missing` says that a request may lack a value: the reference data did, or the model fills it in. `dtype` is the
    column of pandas that the model gets where the type alone does not tell: by default text is `str` and an input
    without type whatever pandas makes of the values; `number` takes true and false, too, as 1 and 0.
    """

    name: str = Field(min_length=1)
    type: Datatype | None = None
    dtype: str | None = Field(None, pattern=_COLUMN_TYPE, max_length=63)
    shape: tuple[int, ...] = (-1,)
    missing: bool = False


class Signature(_Format):
    """A model's inputs, in the order of its features, and its outputs."""

    inputs: tuple[Tensor, ...] = Field(min_length=1)
    outputs: tuple[Tensor, ...] = ()


class Framework(_Format):
    """What a model was made with."""

    name: str
    version: str
    python: str


class FileEntry(_Format):
    """One file of an artifact or of a source; `path` is relative, with slashes; `size` in bytes."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class ArtifactManifest(_Format):
    """What an artifact is. Holds no time and no name of a run: the same content twice is one artifact."""

    schema_version: Literal[1] = 1
    model: _Label
    format: ModelFormat
    framework: Framework
    signature: Signature | None = None
    example: tuple[Any, ...] | None = None
    """One row of inputs, in the order of the signature, that the model was seen to answer."""
    metrics: dict[str, float] = {}
    parameters: dict[str, Any] = {}
    files: tuple[FileEntry, ...]
    environment: tuple[_Pinned, ...] = ()
    """Packages of which the versions decide whether the model loads and what it answers."""


class PublishReport(_Format):
    """What a `publish` that succeeded has to say, in its termination message."""

    uri: str
    digest: Digest
    size_bytes: int
    format: ModelFormat
    framework: Framework | None = None
    code: Source | None = None
    data: tuple[Source, ...] = ()
    metrics: dict[str, float] = {}
    unknown_metrics: tuple[str, ...] = ()
    """Of the program's metrics those that are no number; not here where the message has no room for them."""
    untried: str = ""
    """That the model was not tried out, and why, or that another version has made it; not here where the message has no
    room for it."""
    signature: Signature | None = None
    truncated: tuple[Literal["framework", "code", "metrics", "data", "signature"], ...] = ()
    """What is not here or lost its tail because the message had no room; the manifest has all but code and data."""


class Refusal(_Format):
    """The termination message of a container that did not do its work: a word for programs, a sentence for people."""

    reason: str
    message: str
    metrics: dict[str, FiniteFloat] = {}
    """What the training program measured, although its model becomes no version: as many as there is room for."""


def canonical_json(document: Any) -> bytes:
    """The one way to write a JSON document: sorted keys, no spaces, UTF-8. Raises ValueError for NaN and infinity."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(content: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_of_files(files: Sequence[FileEntry]) -> str:
    """Digest of a folder: of the canonical JSON of its files' paths, digests and sizes, sorted by path."""
    return digest(canonical_json([entry.model_dump() for entry in sorted(files, key=lambda entry: entry.path)]))


def canonical_manifest(manifest: ArtifactManifest) -> bytes:
    """The bytes of manifest.json, whose digest is the artifact's."""
    return canonical_json(manifest.model_dump(mode="json", by_alias=True, exclude_none=True))


def artifact_path(model: str, artifact_digest: str) -> str:
    """Where an artifact lies in its store: `MODEL/sha256-...`."""
    return f"{model}/{artifact_digest.replace(':', '-', 1)}"


def termination_message(outcome: PublishReport | Inputs | Refusal, limit: int = TERMINATION_LIMIT) -> str:
    """The outcome as JSON of at most `limit` bytes in UTF-8, read back by `read_report` or as Inputs or a Refusal.

    The kubelet shares 12 KiB among all containers of a pod, those that a webhook has added included, and cuts what is
    longer. So a report begins with what makes a version, and `read_report` takes what is left of one that was cut. What
    does not fit within `limit` loses its end, what is missed least first: the signature, the data, the metrics, and
    then code and framework; `truncated` says so. Inputs lose their last data, and a refusal the end of its message.
    Raises ReportTooLongError when not even a version can be told.
    """
    if isinstance(outcome, PublishReport):
        return _report_text(outcome, limit)
    return _inputs_text(outcome, limit) if isinstance(outcome, Inputs) else _refusal_text(outcome, limit)


def read_report(message: str) -> PublishReport:
    """The report in a termination message, or in the beginning of one: then all that may be lost is `truncated`.

    Raises ValidationError when what makes a version is not there.
    """
    try:
        told: Any = json.loads(message)
    except (ValueError, RecursionError):
        told = _whole_members(message)
        lost = told.get("truncated")
        told["truncated"] = [
            name for name in _SHORTENED if name not in told or (isinstance(lost, list) and name in lost)
        ]
    return PublishReport.model_validate(told)


def read_refusal(message: str) -> Refusal | None:
    """The refusal in a termination message; None when it is none."""
    try:
        return Refusal.model_validate_json(message)
    except ValidationError:
        return None


class ReportTooLongError(Exception):
    """A pod has so many containers that none of them can say what it did."""


_SHORTENED: tuple[Literal["framework", "code", "metrics", "data", "signature"], ...] = (
    "framework",
    "code",
    "metrics",
    "data",
    "signature",
)
"""What may not fit into a termination message, what is missed most first."""


def _report_text(report: PublishReport, limit: int) -> str:
    document = report.model_dump(mode="json", by_alias=True, exclude_none=True)
    names = [name for name in _SHORTENED if document.get(name)]
    told = {name: document[name] for name in ("uri", "digest", "sizeBytes", "format")}
    if (room := limit - _size({**told, "truncated": names})) < 0:
        raise ReportTooLongError(
            f"a termination message of {limit} bytes cannot hold uri and digest of an artifact: "
            "the pod has too many containers"
        )
    kept: dict[str, Any] = {}
    truncated: list[str] = []
    for name in names:
        value = document[name]
        if (size := _size({name: value})) > room:
            truncated.append(name)
            value = _shortened(name, value, room)
            size = _size({name: value})
        if value and size <= room:
            kept[name] = value
            room -= size
    for remark in ("unknownMetrics", "untried"):
        if (value := document.get(remark)) and (size := _size({remark: value})) <= room:
            kept[remark] = value
            room -= size
    return _text({**told, "truncated": truncated, **kept})


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _size(value: Any) -> int:
    """Bytes of a JSON value. A member of an object takes as many as an object of its own with a comma, less one."""
    return len(canonical_json(value))


def _shortened(name: str, value: Any, room: int) -> Any:
    """A field with as many of its first entries as there is room for; None when that is none."""
    match name:
        case "data":
            return value[: _fitting(value, room - _size({name: []}))]
        case "metrics":
            kept = _fitting([{key: number} for key, number in value.items()], room - _size({name: {}}))
            return dict(list(value.items())[:kept])
        case "signature":
            bare = {**value, "inputs": []}
            kept = _fitting(value["inputs"], room - _size({name: bare}))
            return {**bare, "inputs": value["inputs"][:kept]} if kept else None
        case _:
            return None


def _fitting(entries: Sequence[Any], room: int) -> int:
    """How many of the first entries fit into `room` bytes, each with a comma."""
    used = accumulate(_size(entry) + 1 for entry in entries)
    return sum(1 for _ in takewhile(lambda bytes_: bytes_ <= room, used))


def _whole_members(text: str) -> dict[str, Any]:
    """The members of a JSON object that ends too early, except for the one in which it does."""
    members: dict[str, Any] = {}
    decoder, position = json.JSONDecoder(), 1
    with suppress(ValueError, RecursionError):
        while text.startswith("{"):
            name, position = decoder.raw_decode(text, position)
            value, position = decoder.raw_decode(text, position + len(":"))
            if not isinstance(name, str) or text[position : position + 1] != ",":
                break
            members[name] = value
            position += len(",")
    return members


def _inputs_text(inputs: Inputs, limit: int) -> str:
    for kept in range(len(inputs.data), -1, -1):
        told = inputs.model_copy(update={"data": inputs.data[:kept]})
        text = told.model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) <= limit:
            return text
    return ""


def _refusal_text(refusal: Refusal, limit: int) -> str:
    """With metrics in at most a third of the room, or in what the message leaves."""
    limit = min(limit, _REFUSAL_BYTES)
    bare = {"reason": refusal.reason, "message": refusal.message}
    room = max(limit // 3, limit - _size({**bare, "metrics": {}}))
    metrics = _shortened("metrics", refusal.metrics, room)
    told = {**bare, **({"metrics": metrics} if metrics else {})}
    if _size(told) > limit:
        room = limit - _size({**told, "message": "…"})
        used = accumulate(_size(character) - 2 for character in refusal.message[: max(room, 0)])
        kept = sum(1 for _ in takewhile(lambda bytes_: bytes_ <= room, used))
        told["message"] = refusal.message[:kept] + "…"
    return canonical_json(told).decode()
