"""Models as skops stores them: a schema of types that are made only where they are known to run nothing."""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from upright.runtime.environment import Limits
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError, UntrustedTypesError

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


def load(path: Path, limits: Limits) -> LoadedModel:
    """Raises UntrustedTypesError, UnreadableModelError."""
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


SKOPS = Format(
    "skops", ("model.skops",), framework="scikit-learn", packages=("scikit-learn",), runs_code=False, load=load
)
