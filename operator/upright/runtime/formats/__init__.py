"""Reading a model's file. This is where attacks come in: what may run code on loading is refused unless allowed.

A format is a file of this folder; FORMATS is their registry.
"""

from pathlib import Path

from upright.api.artifact import ModelFormat
from upright.runtime.environment import Limits
from upright.runtime.formats.format import (
    Format,
    FormatNotAllowedError,
    LoadedModel,
    UnreadableModelError,
    UntrustedTypesError,
)
from upright.runtime.formats.joblib import JOBLIB
from upright.runtime.formats.skops import SKOPS

__all__ = (
    "FORMATS",
    "Format",
    "FormatNotAllowedError",
    "LoadedModel",
    "UnreadableModelError",
    "UntrustedTypesError",
    "load",
)

FORMATS: dict[ModelFormat, Format] = {each.name: each for each in (SKOPS, JOBLIB)}


def load(path: Path, name: ModelFormat, limits: Limits) -> LoadedModel:
    """Load a model that takes rows and predicts.

    Raises FormatNotAllowedError, UntrustedTypesError, UnreadableModelError.
    """
    _check_allowed(FORMATS[name], limits)
    loaded = FORMATS[name].load(path, limits)
    if not callable(getattr(loaded.estimator, "predict", None)):
        raise UnreadableModelError(
            f"{path.name} holds a {type(loaded.estimator).__name__}, which has no method predict"
        )
    return loaded


def _check_allowed(wanted: Format, limits: Limits) -> None:
    if wanted.name not in limits.formats:
        reason = "loading it can run any code" if wanted.runs_code else "it is not on the list"
        allowed = ", ".join(sorted(limits.formats)) or "none"
        raise FormatNotAllowedError(
            f"models in format {wanted.name} are not allowed here, because {reason}; allowed: {allowed}. "
            "Save the model with skops.io.dump as model.skops"
        )
