"""What a format of models is, and what can be wrong with a model's file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upright.api.artifact import ModelFormat, Tensor
from upright.runtime.environment import Limits
from upright.runtime.outcome import LoadError


class UnreadableModelError(LoadError):
    """The file does not hold a model that this container can load."""


class UntrustedTypesError(LoadError):
    """The file wants to make objects of types that are not known to be harmless."""


class FormatNotAllowedError(LoadError):
    """The operator's configuration does not allow models of this format to be loaded."""


class ImageLacksError(LoadError):
    """Nothing in the container reads models of the format."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that takes rows and predicts, and what its file says of it."""

    estimator: Any
    version: str | None
    """The version of its framework that it was made with; None: the file does not say."""
    inputs: tuple[Tensor, ...] | None = None
    """What it takes; None: only the estimator itself can tell."""
    lost: str = ""
    """Where in it something is not as it was saved; empty if nothing is known to be. It answers as it was read."""


@dataclass(frozen=True)
class Format:
    """One way to store a model as a file."""

    name: ModelFormat
    files: tuple[str, ...]
    """What the file may be called, in a program's output and in an artifact."""
    framework: str
    """What the model is of; the version that is told with it is that of the file, or else of the package here."""
    packages: tuple[str, ...]
    """The packages that read it, as they are called where packages are installed from: the first that is there does."""
    runs_code: bool
    """Whether reading a file can run whatever its writer wants."""
    load: Callable[[Path, Limits], LoadedModel]
    """Raises UnreadableModelError, UntrustedTypesError."""
