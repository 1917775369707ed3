"""What a container is told, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from pydantic import ValidationError

from upright.api.artifact import RunSpec
from upright.runtime.outcome import RefusedError

_MAX_ARTIFACT_BYTES = 2 * 1024**3
_ALLOWED_FORMATS = "skops,xgboost,catboost,onnx"
_DIGITS = 18


@dataclass(frozen=True)
class Limits:
    """What may be loaded, and how large it may be in bytes."""

    formats: frozenset[str]
    artifact_bytes: int
    trusted_types: frozenset[str] = frozenset()
    """Names of types that the platform trusts beyond those that are known to be harmless."""
    modules: bool = False
    """Whether modules that go with a model may be imported, which runs whatever is in them."""
    own_modules: frozenset[str] = frozenset()
    """The names of those that have been: what they define is trusted."""


def one_thread_a_call() -> None:
    """To be called before anything is imported that reads it. Calls of a model run beside each other already; threads,
    or processes, within one wait for each other, a hundred times as long as the call takes where the container may use
    less than the node has, and each call takes memory of its own. Who wants more says so.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("JOBLIB_MULTIPROCESSING", "0")
    os.environ.setdefault("SKLEARN_WORKING_MEMORY", "64")  # MiB for distances at a time; 1024 where nothing is set


def run_of(environment: Mapping[str, str]) -> RunSpec:
    """The run that the container works for. Raises RefusedError."""
    try:
        return RunSpec.model_validate_json(environment.get("UPRIGHT_RUN", ""))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors())
        raise RefusedError(
            "InvalidRun", f"The environment variable UPRIGHT_RUN does not describe a run: {wrong}"
        ) from None


def limits_of(environment: Mapping[str, str]) -> Limits:
    """The limits. Raises RefusedError."""
    return Limits(
        formats=_names(environment.get("UPRIGHT_ALLOWED_FORMATS", _ALLOWED_FORMATS)),
        artifact_bytes=number_of(environment, "UPRIGHT_MAX_ARTIFACT_BYTES", _MAX_ARTIFACT_BYTES),
        trusted_types=_names(environment.get("UPRIGHT_TRUSTED_TYPES", "")),
        modules=environment.get("UPRIGHT_ALLOW_MODULES") == "true",
    )


def _names(value: str) -> frozenset[str]:
    return frozenset(name.strip() for name in value.split(",") if name.strip())


def folder_of(environment: Mapping[str, str], name: str) -> Path:
    """The folder that a variable names. Raises RefusedError."""
    if not (value := environment.get(name)):
        raise RefusedError("InvalidEnvironment", f"The environment variable {name} must name a folder; it is not set")
    return Path(value)


def number_of(environment: Mapping[str, str], name: str, default: int) -> int:
    """A positive whole number. Raises RefusedError."""
    value = environment.get(name, str(default))
    if not value.isascii() or not value.isdigit() or len(value) > _DIGITS or int(value) < 1:
        raise RefusedError(
            "InvalidEnvironment",
            f"The environment variable {name} must be a positive whole number; it is {value[:80]!r}",
        )
    return int(value)


def seconds_of(environment: Mapping[str, str], name: str, default: float) -> float:
    """A positive decimal number of seconds. Raises RefusedError."""
    value = environment.get(name, str(default))
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not isfinite(seconds) or seconds <= 0:
        raise RefusedError(
            "InvalidEnvironment",
            f"The environment variable {name} must be a positive number of seconds; it is {value!r}",
        )
    return seconds


def this_user() -> str:
    """Whom the container runs as: namespaces assign ids of their own, and volumes know some ids only."""
    groups = sorted({os.getgid(), *os.getgroups()})
    return f"user {os.getuid()} with group{'s' * (len(groups) > 1)} {', '.join(map(str, groups))}"


def text_of(environment: Mapping[str, str], name: str) -> str:
    """A text that must be given. Raises RefusedError."""
    if not (value := environment.get(name)):
        raise RefusedError("InvalidEnvironment", f"The environment variable {name} is not set")
    return value
