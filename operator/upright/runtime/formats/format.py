"""What a format of models is, and what can be wrong with a model's file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upright.api.artifact import ModelFormat
from upright.runtime.environment import Limits


class UnreadableModelError(Exception):
    """The file does not hold a model that this container can load."""


class UntrustedTypesError(Exception):
    """The file wants to make objects of types that are not known to be harmless."""


class FormatNotAllowedError(Exception):
    """The operator's configuration does not allow models of this format to be loaded."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that takes rows and predicts, and the version of its framework that it was made with (None: the file does
    not say).
    """

    estimator: Any
    version: str | None


@dataclass(frozen=True)
class Format:
    """One way to store a model as a file."""

    name: ModelFormat
    file: str
    """What the file is called, in a program's output and in an artifact."""
    framework: str
    """The package that made the model, as it is called where packages are installed from."""
    runs_code: bool
    """Whether reading a file can run whatever its writer wants."""
    load: Callable[[Path, Limits], LoadedModel]
    """Raises UnreadableModelError, UntrustedTypesError."""
