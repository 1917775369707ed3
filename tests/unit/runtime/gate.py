"""A model that does not come back while a file is there: what hangs in the tests hangs until they say otherwise."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Gated:
    """Answers each row of one number with its own; with 99 only once the gate is open."""

    n_features_in_ = 1

    def __init__(self, gate: Path) -> None:
        self.gate = gate

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        while rows.max() == 99 and self.gate.exists():
            time.sleep(0.01)
        return np.asarray(rows[:, 0])


class Slow:
    """Answers after half a second, but what it is tried out with at once."""

    n_features_in_ = 1

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        time.sleep(0.5 if rows.max() == 1 else 0)
        return np.asarray(rows[:, 0])
