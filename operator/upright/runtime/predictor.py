"""A model together with what it takes: the one place where `predict` is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Signature
from upright.runtime.batch import BadInputError, Batch, datatype_of, is_matrix

PREDICTION = "prediction"
"""The output that `predict` gives, unless the signature has another name for it."""
FURTHER = ("predict_proba", "decision_function")
"""Outputs that bear the names of the methods that give them."""


class ModelError(Exception):
    """The model failed on rows that are as its signature says, or answered what cannot be passed on."""

    @property
    def for_want_of_memory(self) -> bool:
        """Whether it may not where there is more memory."""
        return isinstance(self.__cause__, MemoryError)


@dataclass(frozen=True)
class Predictor:
    """A model that takes rows."""

    estimator: Any
    signature: Signature

    @property
    def classes(self) -> list[Any] | None:
        """The classes, in the order of the columns of `predict_proba` and `decision_function`; None of a regressor."""
        classes = getattr(self.estimator, "classes_", None)
        return classes.tolist() if isinstance(classes, np.ndarray) else None

    def has(self, output: str) -> bool:
        """Whether the model has the method that gives the output. Not each that has it can be asked."""
        return callable(getattr(self.estimator, output, None))

    def predict(self, batch: Batch, output: str = PREDICTION) -> NDArray[Any]:
        """One prediction a row: an array of shape (rows,) or (rows, values), of numbers or of strings.

        Raises BadInputError when the model fails for want of a value that its training data never lacked, otherwise
        ModelError. Ctrl-C ends it.
        """
        try:
            answer = getattr(self.estimator, output if output in FURTHER else "predict")
            predictions = np.asarray(answer(self._features(batch)))
        except BaseException as error:  # a panic in native code is no Exception, nor is sys.exit
            if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                raise  # signals come there: it is whoever publishes, and not the model
            if batch.unexpectedly_missing and not isinstance(error, MemoryError):
                names = ", ".join(batch.unexpectedly_missing)
                raise BadInputError(f"the model needs a value of {names} in every row; null was given") from error
            raise ModelError(f"{type(error).__name__}: {error}") from error
        if predictions.ndim not in {1, 2} or len(predictions) != batch.rows:
            raise ModelError(f"{output}: the model answered shape {predictions.shape} to {batch.rows} rows")
        if predictions.dtype.kind not in "biufUO":
            raise ModelError(f"{output}: the model answered values of type {predictions.dtype}")
        if predictions.dtype.kind == "f" and datatype_of(predictions.dtype) == "BYTES":  # half, or more than double
            return predictions.astype(np.float64)
        return predictions

    def _features(self, batch: Batch) -> Any:
        if is_matrix(self.signature):
            return next(iter(batch.columns.values()))
        if hasattr(self.estimator, "feature_names_in_"):
            return _frame(batch.columns, self.signature)
        return np.column_stack(list(batch.columns.values()))


def _frame(columns: Mapping[str, Any], signature: Signature) -> Any:
    """The columns as pandas reads them from a CSV file, which is what most models were trained on."""
    import pandas as pd

    series = {}
    for tensor in signature.inputs:
        values = columns[tensor.name]
        if tensor.type is None:
            series[tensor.name] = pd.Series(list(values))
        else:
            series[tensor.name] = pd.Series(values, dtype="str" if tensor.type == "BYTES" else None)
    return pd.DataFrame(series)
