"""The formats that operator and pods exchange: the order and the outcome of a run, the manifest of an artifact.

An artifact is a folder whose `manifest.json` names every other file with its digest; the artifact's own digest is that
of the manifest in canonical JSON, so whoever checks the digest has checked everything.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import accumulate, takewhile
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
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
_Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64", "BYTES"
]
ModelFormat = Literal["skops", "joblib"]


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
    """What `data` leaves for `publish`."""

    data: tuple[Source, ...] = ()
    code: Source | None = None


class Tensor(_Format):
    """One input or output of a model, in the words of the Open Inference Protocol.

    `shape` is [-1] (one value a row) or [-1, n] (n values a row). Without `type`, values of any type are passed on.
    `missing` says that the reference data lacked values here, so that the model must cope with it.
    """

    name: str = Field(min_length=1)
    type: Datatype | None = None
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
    environment: tuple[str, ...] = ()


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
    signature: Signature | None = None
    truncated: tuple[Literal["framework", "code", "metrics", "data", "signature"], ...] = ()
    """What is not here or lost its tail because the message had no room; the manifest has all but code and data."""


class Refusal(_Format):
    """The termination message of a container that did not do its work: a word for programs, a sentence for people."""

    reason: str
    message: str


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


def termination_message(outcome: PublishReport | Refusal, limit: int = TERMINATION_LIMIT) -> str:
    """The outcome as text of at most `limit` bytes in UTF-8, read back by `read_report` or as a Refusal.

    The kubelet shares 12 KiB among all containers of a pod, those that a webhook has added included, and cuts what is
    longer. So a report is written in lines of JSON, what matters most first, and each line says in `truncated` what is
    not complete up to its end: wherever the text is cut, what is left is true. What does not fit within `limit` is left
    out in the same order: ends of the signature, of the data, of the metrics, then code and framework. A refusal loses
    the end of its message. Raises ReportTooLongError when not even the first line fits.
    """
    return _report_text(outcome, limit) if isinstance(outcome, PublishReport) else _refusal_text(outcome, limit)


def read_report(message: str) -> PublishReport:
    """The report in a termination message, or in the whole lines of one that was cut.

    Raises ValueError (a ValidationError is one) when what is needed to make a version is not there.
    """
    told: dict[str, Any] = {}
    for line in message.split("\n"):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(document, dict):
            break
        told |= document
    return PublishReport.model_validate(told)


class ReportTooLongError(Exception):
    """A pod has so many containers that none of them can say what it did."""


def _report_text(report: PublishReport, limit: int) -> str:
    document = report.model_dump(mode="json", by_alias=True, exclude_none=True)
    names = [name for name in _SHORTENED if document.get(name)]
    essential = {name: document[name] for name in ("uri", "digest", "sizeBytes", "format")}
    text, missing = _line(essential, names), names
    if len(text.encode()) > limit:
        raise ReportTooLongError(
            f"a termination message of {limit} bytes cannot hold uri and digest of an artifact: "
            "the pod has too many containers"
        )
    for name in names:
        rest = [other for other in missing if other != name]
        room = limit - len(text.encode()) - 1
        if len((line := _line({name: document[name]}, rest)).encode()) <= room:
            text, missing = f"{text}\n{line}", rest
        elif shorter := _shortened(name, document[name], missing, room):
            text = f"{text}\n{shorter}"
    return text


_SHORTENED: tuple[Literal["framework", "code", "metrics", "data", "signature"], ...] = (
    "framework",
    "code",
    "metrics",
    "data",
    "signature",
)
"""What may not fit into a termination message, what is missed most first."""


def _line(fields: Mapping[str, Any], truncated: Sequence[str]) -> str:
    return canonical_json({**fields, "truncated": list(truncated)}).decode()


def _shortened(name: str, value: Any, truncated: Sequence[str], room: int) -> str | None:
    """The field with as many of its first entries as there is room for; None when that is none."""
    match name:
        case "data":
            kept = _fitting(value, room - len(_line({name: []}, truncated).encode()))
            return _line({name: value[:kept]}, truncated) if kept else None
        case "metrics":
            entries = [{key: number} for key, number in value.items()]
            kept = _fitting(entries, room - len(_line({name: {}}, truncated).encode()))
            return _line({name: dict(list(value.items())[:kept])}, truncated) if kept else None
        case "signature":
            bare = {**value, "inputs": []}
            kept = _fitting(value["inputs"], room - len(_line({name: bare}, truncated).encode()))
            return _line({name: {**bare, "inputs": value["inputs"][:kept]}}, truncated) if kept else None
        case _:
            return None


def _fitting(entries: Sequence[Any], room: int) -> int:
    """How many of the first entries fit into `room` bytes, each with a comma."""
    used = accumulate(len(canonical_json(entry)) + 1 for entry in entries)
    return sum(1 for _ in takewhile(lambda bytes_: bytes_ <= room, used))


def _refusal_text(refusal: Refusal, limit: int) -> str:
    text = canonical_json(refusal.model_dump())
    limit = min(limit, _REFUSAL_BYTES)
    if len(text) <= limit:
        return text.decode()
    room = limit - len(canonical_json(Refusal(reason=refusal.reason, message="…").model_dump()))
    used = accumulate(len(canonical_json(character)) - 2 for character in refusal.message[: max(room, 0)])
    kept = sum(1 for _ in takewhile(lambda bytes_: bytes_ <= room, used))
    return canonical_json(Refusal(reason=refusal.reason, message=refusal.message[:kept] + "…").model_dump()).decode()
