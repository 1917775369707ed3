"""Reading a model's file. This is where attacks come in: what may run code on loading is refused unless allowed.

A format is a file of this folder; FORMATS is their registry.
"""

from contextlib import suppress
from importlib import metadata
from pathlib import Path

from upright.api.artifact import ArtifactManifest, ModelFormat
from upright.runtime.environment import Limits
from upright.runtime.formats.catboost import CATBOOST
from upright.runtime.formats.format import (
    Format,
    FormatNotAllowedError,
    ImageLacksError,
    LoadedModel,
    UnreadableModelError,
    UntrustedTypesError,
)
from upright.runtime.formats.joblib import JOBLIB
from upright.runtime.formats.lightgbm import LIGHTGBM
from upright.runtime.formats.onnx import ONNX
from upright.runtime.formats.skops import SKOPS
from upright.runtime.formats.xgboost import XGBOOST

__all__ = (
    "FORMATS",
    "Format",
    "FormatNotAllowedError",
    "ImageLacksError",
    "LoadedModel",
    "UnreadableModelError",
    "UntrustedTypesError",
    "load",
)

FORMATS: dict[ModelFormat, Format] = {each.name: each for each in (SKOPS, JOBLIB, XGBOOST, LIGHTGBM, CATBOOST, ONNX)}


def load(path: Path, name: ModelFormat, limits: Limits) -> LoadedModel:
    """Load a model that takes rows and predicts.

    Raises FormatNotAllowedError, ImageLacksError, UntrustedTypesError, UnreadableModelError.
    """
    _check_allowed(FORMATS[name], limits)
    reader(FORMATS[name])
    loaded = FORMATS[name].load(path, limits)
    if not callable(getattr(loaded.estimator, "predict", None)):
        raise UnreadableModelError(
            f"{path.name} holds a {type(loaded.estimator).__name__}, which has no method predict"
        )
    return loaded


def model_in(manifest: ArtifactManifest) -> str:
    """What the model's file is called in an artifact. Raises UnreadableModelError."""
    for entry in manifest.files:
        if entry.path in FORMATS[manifest.format].files:
            return entry.path
    wanted = " or ".join(FORMATS[manifest.format].files)
    raise UnreadableModelError(f"its format is {manifest.format}, and its manifest names no {wanted}")


def reader(wanted: Format) -> tuple[str, str]:
    """The package that reads models of the format here, and its version. Raises ImageLacksError."""
    for package in wanted.packages:
        with suppress(metadata.PackageNotFoundError):
            return package, metadata.version(package)
    raise ImageLacksError(
        f"models in format {wanted.name} are read by {wanted.packages[0]}, which is not installed here; in a cluster "
        f"it is in the image that the chart's runtime.flavours names for {wanted.name}, and a TrainingJob asks for it "
        f"by spec.output.format: {wanted.name}"
    )


def _check_allowed(wanted: Format, limits: Limits) -> None:
    if wanted.name not in limits.formats:
        reason = "loading it can run any code" if wanted.runs_code else "it is not on the list"
        allowed = ", ".join(sorted(limits.formats)) or "none"
        raise FormatNotAllowedError(
            f"models in format {wanted.name} are not allowed here, because {reason}; allowed: {allowed}. "
            "Save the model with skops.io.dump as model.skops, or have the platform allow this format "
            "(allowedFormats of the chart; without a cluster, UPRIGHT_ALLOWED_FORMATS)"
        )
