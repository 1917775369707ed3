"""A model that starts a thread when it is loaded, and predicts in it, as some libraries do."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Pooled:
    """Answers each row of one number with its own."""

    n_features_in_ = 1

    def __getstate__(self) -> dict[str, Any]:
        return {"threads": 1}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._pool = ThreadPoolExecutor(state["threads"])
        self._pool.submit(int).result()

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self._pool.submit(lambda: np.asarray(rows[:, 0])).result()
