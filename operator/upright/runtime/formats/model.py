"""Models of other libraries than scikit-learn, in its words: what is asked of every model can be asked of these."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Tensor
from upright.runtime.batch import BadInputError

Ask = Callable[[Any], NDArray[Any]]
"""From a DataFrame, if the features have names, or an array of shape (rows, features), to one answer a row."""


class Model:
    """As scikit-learn has it, an attribute that does not apply is not there."""

    def __init__(
        self,
        predict: Ask,
        features: int,
        names: Sequence[str] = (),
        predict_proba: Ask | None = None,
        classes: NDArray[Any] | None = None,
        *,
        supposed: bool = False,
    ) -> None:
        """`supposed`: that what it has for probabilities are some nobody has said: answers show it."""
        self.predict = predict
        self.n_features_in_ = features
        self.supposed = supposed
        if names:
            self.feature_names_in_ = np.array(names, dtype=object)
        if predict_proba is not None:
            self.predict_proba = predict_proba
        if classes is not None:
            self.classes_ = classes


def classifier(probabilities: Ask, features: int, names: Sequence[str]) -> Model:
    """A model that gives the probability of the second class of two, shape (rows,), or of each, (rows, classes), and
    knows classes by their numbers only: the more probable is the prediction, of two equal ones the first.
    """

    def predict_proba(rows: Any) -> NDArray[Any]:
        given = probabilities(rows)
        return np.column_stack([1 - given, given]) if given.ndim == 1 else given

    def predict(rows: Any) -> NDArray[Any]:
        numbers: NDArray[Any] = predict_proba(rows).argmax(axis=1)
        return numbers

    return Model(predict, features, names, predict_proba)


def unnamed(features: int) -> tuple[Tensor, ...]:
    """The inputs of a model whose features have no names: numbers, any of which may be missing."""
    return (Tensor(name="input-0", type="FP64", shape=(-1, features), missing=True),)


def typed(rows: Any, categories: Mapping[str, Sequence[Any]], *, strict: bool = False) -> Any:
    """Columns as gradient boosting takes them: those of known categories as such, and all others as numbers.

    Raises BadInputError for an unknown category if `strict`; without, it counts as missing.
    """
    if isinstance(rows, np.ndarray):
        return rows.astype(np.float64) if rows.dtype == object else rows
    import pandas as pd

    columns = {}
    for name, column in rows.items():
        if name in categories:
            unknown = ~column.isin(categories[name]) & column.notna()
            columns[name] = pd.Categorical(column.mask(unknown), categories=categories[name])
            if strict and unknown.any():
                row = int(np.argmax(unknown))
                known = ", ".join(map(str, categories[name][:20]))
                raise BadInputError(
                    f"row {row}: {name} must be a category that the model knows ({known}); it is "
                    f"{str(column.iloc[row])[:64]!r}"
                )
        else:
            columns[name] = column.astype("float64")
    return pd.DataFrame(columns)


def type_of(categories: Sequence[Any]) -> Any:
    """The type in which a client sends one of the categories; None where they are of several."""
    kinds = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
    found = {kinds.get(type(category)) for category in categories}
    return found.pop() if len(found) == 1 else None


def threads() -> int:
    """How many threads one call may use.

    One, unless OMP_NUM_THREADS says otherwise. Calls run beside each other already, and where a container may use less
    than the node has, threads that wait for each other cost far more than they bring: two for two rows took 90 ms
    instead of 0.3 on two busy processors.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isascii() and wanted.isdigit() and 0 < len(wanted) < 4 and int(wanted) else 1
