"""Reading a model's file. This is where attacks come in: what may run code on loading is refused unless allowed."""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upright.api.artifact import ModelFormat
from upright.runtime.environment import Limits

FORMATS: dict[str, ModelFormat] = {"model.skops": "skops", "model.joblib": "joblib"}
"""Formats by the name of the model's file."""

_HARMLESS = (
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)
"""Parts of common scikit-learn models that skops does not know. They hold arrays and run nothing on loading."""


class UnreadableModelError(Exception):
    """The file does not hold a model that this container can load."""


class UntrustedTypesError(Exception):
    """The file wants to make objects of types that are not known to be harmless."""


class FormatNotAllowedError(Exception):
    """The operator's configuration does not allow models of this format to be loaded."""


@dataclass(frozen=True)
class LoadedModel:
    """A model, and the version of scikit-learn that it was made with (None: the file does not say)."""

    estimator: Any
    sklearn_version: str | None


def check_format(model_format: str, limits: Limits) -> None:
    """Raises FormatNotAllowedError."""
    if model_format not in limits.formats:
        reason = "loading it can run any code" if model_format == "joblib" else "it is not on the list"
        allowed = ", ".join(sorted(limits.formats)) or "none"
        raise FormatNotAllowedError(
            f"models in format {model_format} are not allowed here, because {reason}; allowed: {allowed}. "
            "Save the model with skops.io.dump as model.skops"
        )


def load(path: Path, model_format: ModelFormat, limits: Limits) -> LoadedModel:
    """Load a model that takes rows and predicts.

    Raises FormatNotAllowedError, UntrustedTypesError, UnreadableModelError.
    """
    check_format(model_format, limits)
    loaded = _load_skops(path, limits) if model_format == "skops" else _load_joblib(path)
    if not callable(getattr(loaded.estimator, "predict", None)):
        raise UnreadableModelError(
            f"{path.name} holds a {type(loaded.estimator).__name__}, which has no method predict"
        )
    return loaded


def _load_skops(path: Path, limits: Limits) -> LoadedModel:
    import skops.io

    try:
        version = _check_archive(path, limits)
        untrusted = sorted(set(skops.io.get_untrusted_types(file=path)) - set(_HARMLESS))
        estimator = None if untrusted else skops.io.load(path, trusted=_HARMLESS)
    except (UnreadableModelError, MemoryError):
        raise
    except zipfile.BadZipFile as error:
        raise UnreadableModelError(f"{path.name} is not a skops file: {error}") from error
    except Exception as error:  # a damaged file makes skops raise almost anything
        raise UnreadableModelError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    if untrusted:
        raise UntrustedTypesError(
            f"{path.name} holds objects of types that are not trusted: {', '.join(untrusted)}. "
            "Build the model from types of scikit-learn, NumPy and SciPy only"
        )
    return LoadedModel(estimator, version)


def _check_archive(path: Path, limits: Limits) -> str | None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > limits.artifact_bytes:
            raise UnreadableModelError(
                f"{path.name} unpacks to {unpacked} bytes; at most {limits.artifact_bytes} are allowed"
            )
        if "schema.json" not in archive.namelist():
            raise UnreadableModelError(f"{path.name} is not a skops file: it has no schema.json")
        try:
            return _sklearn_version(json.loads(archive.read("schema.json")))
        except (zlib.error, RecursionError, ValueError) as error:
            raise UnreadableModelError(f"{path.name} cannot be read: {error}") from error


def _sklearn_version(schema: Any) -> str | None:
    """The version that the outermost estimator was saved with, as skops writes it into its schema."""
    version = schema
    for key in ("content", "content", "_sklearn_version", "content"):
        version = version.get(key) if isinstance(version, dict) else None
    return str(version).strip('"') if isinstance(version, str) else None


def _load_joblib(path: Path) -> LoadedModel:
    import joblib

    try:
        estimator = joblib.load(path)
    except MemoryError:
        raise
    except Exception as error:  # unpickling a damaged file raises almost anything
        raise UnreadableModelError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    return LoadedModel(estimator, None)
