"""A model together with what it takes: the one place where `predict` is called."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Signature
from upright.runtime.batch import BadInputError, Batch, is_matrix
from upright.runtime.texts import takes_texts

PREDICTION = "prediction"
"""The output that `predict` gives, unless the signature has another name for it."""
FURTHER = ("predict_proba", "decision_function")
"""Outputs that bear the names of the methods that give them."""


class ModelError(Exception):
    """The model failed on rows that are as its signature says, or answered what cannot be passed on."""


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
        ModelError.
        """
        try:
            answer = getattr(self.estimator, output if output in FURTHER else "predict")
            predictions = np.asarray(answer(self._features(batch)))
        except BaseException as error:  # a panic in native code is no Exception, nor is sys.exit
            if batch.unexpectedly_missing:
                names = ", ".join(batch.unexpectedly_missing)
                raise BadInputError(f"the model needs a value of {names} in every row; null was given") from error
            raise ModelError(f"{type(error).__name__}: {error}") from error
        if predictions.ndim not in {1, 2} or len(predictions) != batch.rows:
            raise ModelError(f"{output}: the model answered shape {predictions.shape} to {batch.rows} rows")
        if predictions.dtype.kind not in "biufUO":
            raise ModelError(f"{output}: the model answered values of type {predictions.dtype}")
        return predictions

    @cached_property
    def _takes_texts(self) -> bool:
        return [(tensor.type, tensor.shape) for tensor in self.signature.inputs] == [("BYTES", (-1,))] and takes_texts(
            self.estimator
        )

    def _features(self, batch: Batch) -> Any:
        if is_matrix(self.signature):
            return next(iter(batch.columns.values()))
        if hasattr(self.estimator, "feature_names_in_"):
            return _frame(batch.columns, self.signature)
        if self._takes_texts:
            return next(iter(batch.columns.values()))
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
