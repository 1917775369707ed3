"""The formats that operator and pods exchange: the order and the outcome of a run, the manifest of an artifact.

An artifact is a folder whose `manifest.json` names every other file with its digest; the artifact's own digest is that
of the manifest in canonical JSON, so whoever checks the digest has checked everything.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MANIFEST = "manifest.json"
PROFILE = "profile.json"
CARD = "card.md"

TERMINATION_LIMIT = 4096
"""Bytes that the kubelet keeps of a container's termination message."""

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
    """The termination message of a `publish` that succeeded."""

    uri: str
    digest: Digest
    size_bytes: int
    format: ModelFormat
    framework: Framework
    metrics: dict[str, float] = {}
    signature: Signature | None = None
    data: tuple[Source, ...] = ()
    code: Source | None = None
    truncated: tuple[Literal["signature", "metrics", "data"], ...] = ()
    """What had to lose its tail to fit into the message; the manifest has the first two whole."""


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


def termination_message(outcome: PublishReport | Refusal) -> str:
    """The outcome as JSON of at most TERMINATION_LIMIT bytes.

    A report that is too long loses the ends of its signature, then of its metrics, then of its data, and says so in
    `truncated`; a refusal that is too long loses the end of its message.
    """
    if isinstance(outcome, Refusal):
        return _fit_refusal(outcome)
    for report in _ever_shorter(outcome):
        if _fits(text := _dump(report)):
            return text
    raise ValueError("not even a publish report without signature, metrics and data fits into a termination message")


def _ever_shorter(report: PublishReport) -> Iterator[PublishReport]:
    yield report
    if report.signature:
        for count in reversed(range(len(report.signature.inputs))):
            kept = report.signature.model_copy(update={"inputs": report.signature.inputs[:count]}) if count else None
            shorter = report.model_copy(update={"signature": kept, "truncated": ("signature",)})
            yield shorter
        report = shorter
    for count in reversed(range(len(report.metrics))):
        kept_metrics = dict(list(report.metrics.items())[:count])
        yield report.model_copy(update={"metrics": kept_metrics, "truncated": ("signature", "metrics")})
    report = report.model_copy(update={"metrics": {}})
    for count in reversed(range(len(report.data))):
        truncated = ("signature", "metrics", "data")
        yield report.model_copy(update={"data": report.data[:count], "truncated": truncated})


def _fit_refusal(refusal: Refusal) -> str:
    message = refusal.message
    while not _fits(text := _dump(Refusal(reason=refusal.reason, message=message))):
        message = message[: len(message) * 3 // 4] + "…"
    return text


def _dump(outcome: PublishReport | Refusal) -> str:
    return canonical_json(outcome.model_dump(mode="json", by_alias=True, exclude_none=True)).decode()


def _fits(text: str) -> bool:
    return len(text.encode()) <= TERMINATION_LIMIT
