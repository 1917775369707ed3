"""Models as joblib pickles them: reading one can run any code."""

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


JOBLIB = Format("joblib", "model.joblib", framework="scikit-learn", runs_code=True, load=load)
