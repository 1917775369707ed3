"""A model that does not come back while a file is there: what hangs in the tests hangs until they say otherwise."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


class _Gate:
    """Lets rows with 99 pass only once it is open."""

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        while rows.max() == 99 and self.gate.exists():
            time.sleep(0.01)
        return rows


def gated_by(gate: Path) -> Any:
    """A model that answers each row of one number with its own; made of parts of scikit-learn, so that four may ask it
    at once.
    """
    model = make_pipeline(FunctionTransformer(_Gate(gate)), LinearRegression()).fit(np.eye(2)[:, :1], [1.0, 0.0])
    model[-1].coef_, model[-1].intercept_, model[0].n_features_in_ = np.array([1.0]), 0.0, 1
    return model


class Slow:
    """Answers after half a second, but what it is tried out with at once; of others' making, and so asked by one at a
    time.
    """

    n_features_in_ = 1

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        time.sleep(0.5 if rows.max() == 1 else 0)
        return np.asarray(rows[:, 0])
