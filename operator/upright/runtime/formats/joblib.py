"""Models as joblib, pickle and cloudpickle write them: reading one can run any code.

joblib reads what all three write. What cloudpickle has written needs that package when it is read.
"""

from pathlib import Path

from upright.runtime.environment import Limits
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError


def load(path: Path, _: Limits) -> LoadedModel:
    """Raises UnreadableModelError."""
    import joblib

    try:
        estimator = joblib.load(path)
    except MemoryError:
        raise
    except Exception as error:  # unpickling a damaged file raises almost anything
        raise UnreadableModelError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    return LoadedModel(estimator, None)


JOBLIB = Format(
    "joblib",
    ("model.joblib", "model.pkl"),
    framework="scikit-learn",
    packages=("scikit-learn",),
    runs_code=True,
    load=load,
)
