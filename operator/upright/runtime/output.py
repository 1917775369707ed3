"""What a training program wrote: read with care, for it is somebody's program and its output anything at all."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import category

from pydantic import ValidationError

from upright.api.artifact import CARD, ModelFormat, Signature
from upright.runtime import modules
from upright.runtime.environment import Limits, this_user
from upright.runtime.folder import NotAFileError, open_file
from upright.runtime.formats import FORMATS
from upright.runtime.outcome import FailedError, RefusedError

_UNSUPPORTED = {"model": "model folders"}
_METRICS = 64
_METRIC_NAME = 63
_SMALL_FILE_BYTES = 1024**2


@dataclass(frozen=True)
class Output:
    """The content of UPRIGHT_OUTPUT but the reference data, which is read as the model knows its columns."""

    model: Path
    format: ModelFormat
    metrics: dict[str, float]
    unknown: tuple[str, ...]
    """The names of metrics that are no number: one that is undefined does not lose the model."""
    signature: Signature | None
    card: bytes | None
    modules: tuple[Path, ...]
    """Of the user's own, which the model needs; they are yet to be read."""


def read_output(folder: Path, limits: Limits) -> Output:
    """Read everything but the model itself. Raises RefusedError, or FailedError for what cannot be read at all."""
    with reading():
        model, model_format = _model_in(folder, limits)
        card = _small_file(folder, CARD)
        metrics, unknown = _metrics(_small_file(folder, "metrics.json"))
        return Output(
            model=model,
            format=model_format,
            metrics=metrics,
            unknown=unknown,
            signature=_signature(_small_file(folder, "signature.json")),
            card=card,
            modules=_modules(folder),
        )


@contextmanager
def reading() -> Iterator[None]:
    """Whatever keeps a file of the output from being read is a RefusedError or FailedError."""
    try:
        yield
    except NotAFileError as error:
        raise RefusedError("NotAFile", f"The training program wrote something else than files: {error}") from None
    except OSError as error:
        raise FailedError(
            "OutputUnreadable", f"The output of the training program cannot be read by {this_user()}: {error}"
        ) from error


def inside(folder: Path, name: str) -> Path:
    """The file that a name stands for. A link may point within the folder only. Raises RefusedError."""
    try:
        path = (folder / name).resolve()
    except RuntimeError:  # what Python says of links in a circle
        raise RefusedError("OutputEscapes", f"{name} is a link that leads to itself: write a file") from None
    if not path.is_relative_to(folder.resolve()):
        raise RefusedError(
            "OutputEscapes", f"{name} is a link to {path}, which is outside the output folder: write a copy"
        )
    return path


def metrics_in(folder: Path) -> dict[str, float]:
    """What was measured. Raises RefusedError, FailedError."""
    with reading():
        return _metrics(_small_file(folder, "metrics.json"))[0]


def _model_in(folder: Path, limits: Limits) -> tuple[Path, ModelFormat]:
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for name, what in _UNSUPPORTED.items():
        if name in names:
            raise RefusedError(
                "FormatNotAllowed",
                f"The training program wrote {name}; this version of Upright does not take {what}: save the model with "
                "skops.io.dump as model.skops",
            )
    files = {file: each for each in FORMATS.values() for file in each.files}
    models = [name for name in files if name in names]
    if len(models) != 1:
        wrote = ", ".join(names[:10]) or "nothing"
        raise RefusedError(
            "NoModel" if not models else "SeveralModels",
            f"The training program must write exactly one model ({', '.join(files)}) to its output folder, "
            f"{folder}; it wrote {wrote}",
        )
    path = inside(folder, models[0])
    if not path.is_file():
        raise RefusedError("CorruptModel", f"The model {models[0]} is not a file")
    if not 0 < (size := path.stat().st_size) <= limits.artifact_bytes:
        raise RefusedError(
            "CorruptModel" if size == 0 else "TooLarge",
            f"The model {models[0]} has {size} bytes; between 1 and {limits.artifact_bytes} are allowed",
        )
    return folder / models[0], files[models[0]].name


def _modules(folder: Path) -> tuple[Path, ...]:
    place = inside(folder, modules.FOLDER)
    if not place.exists():
        return ()
    if not place.is_dir():
        raise RefusedError(
            "BadModule", f"{modules.FOLDER} must be a folder of modules such as features.py; it is something else"
        )
    names = sorted(path.name for path in place.iterdir() if path.name != "__pycache__")
    for name in names:
        inside(folder, f"{modules.FOLDER}/{name}")
    return tuple(place / name for name in names)


def _small_file(folder: Path, name: str) -> bytes | None:
    path = inside(folder, name)
    if not path.exists():
        return None
    with open_file(path) as file:
        content = file.read(_SMALL_FILE_BYTES + 1)
    if len(content) > _SMALL_FILE_BYTES:
        raise RefusedError("TooLarge", f"{name} is larger than {_SMALL_FILE_BYTES} bytes")
    return content


def _metrics(content: bytes | None) -> tuple[dict[str, float], tuple[str, ...]]:
    """Those that are finite numbers, and the names of those that are not known: null, NaN, infinite."""
    if content is None:
        return {}, ()
    try:
        metrics: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError("BadMetrics", f"metrics.json is not JSON: {error}") from None
    if not isinstance(metrics, dict):
        raise RefusedError("BadMetrics", 'metrics.json must be an object of numbers such as {"accuracy": 0.97}')
    if len(metrics) > _METRICS:
        raise RefusedError("BadMetrics", f"metrics.json has {len(metrics)} metrics; at most {_METRICS} are kept")
    for name, value in metrics.items():
        if not 0 < len(name) <= _METRIC_NAME or any(category(letter) in {"Cc", "Cs"} for letter in name):
            raise RefusedError(
                "BadMetrics",
                f"A metric's name in metrics.json must have 1 to {_METRIC_NAME} characters, none of which controls or "
                f"is half of one: {name[:80]!r}",
            )
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise RefusedError(
                "BadMetrics", f"The metric {name!r} in metrics.json must be a number; it is {str(value)[:80]!r}"
            )
    known = {name: float(value) for name, value in metrics.items() if _is_finite(value)}
    return known, tuple(name for name in metrics if name not in known)


def _is_finite(value: float | None) -> bool:
    try:
        return value is not None and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _signature(content: bytes | None) -> Signature | None:
    if content is None:
        return None
    try:
        return Signature.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "it"
        raise RefusedError("BadSignature", f"signature.json: {field}: {first['msg']}") from None
