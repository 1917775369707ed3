"""A model together with what it takes: the one place where `predict` is called."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Signature
from upright.runtime.batch import BadInputError, Batch, datatype_of, is_matrix, width_of
from upright.runtime.columns import array_of, frame_of, nulls_as, plain
from upright.runtime.knowledge import Check, checks_of
from upright.runtime.learnt import NOTHING, Learnt, learn
from upright.runtime.texts import features_of, takes_texts

PREDICTION = "prediction"
"""The output that `predict` gives, unless the signature has another name for it."""
FURTHER = ("predict_proba", "decision_function")
"""Outputs that bear the names of the methods that give them."""


class AbandonedError(Exception):
    """Nobody waits for the answer any more."""


class ModelError(Exception):
    """The model failed on rows that are as its signature says, or answered what cannot be passed on. `batch`: these."""

    def __init__(self, message: str, batch: Batch | None = None) -> None:
        super().__init__(message)
        self.batch = batch

    @property
    def for_want_of_memory(self) -> bool:
        """Whether it may not where there is more memory."""
        return isinstance(self.__cause__, MemoryError)

    @property
    def for_the_kind_of_rows(self) -> bool:
        """Whether it wanted an attribute of the rows that an array, or a DataFrame, does not have."""
        asked = getattr(self.__cause__, "obj", None)
        return isinstance(asked, np.ndarray) or _package(asked) == "pandas"

    @property
    def whatever_the_rows(self) -> bool:
        """Whether no row could make it good: it is of the kind of rows or of answers, of what scikit-learn looks for in
        an estimator that another version of it has made, or of its program.
        """
        asked = getattr(self.__cause__, "obj", None)
        return (
            self.__cause__ is None or self.for_the_kind_of_rows or self.for_its_program or _package(asked) == "sklearn"
        )

    @property
    def for_its_program(self) -> bool:
        """Whether a step of one's own wanted what is not there: a package, a file, a name."""
        cause = self.__cause__
        if isinstance(cause, FileNotFoundError):
            return bool(cause.filename)  # a model may open files that it is given, and be tried out with no name
        return isinstance(cause, ImportError) or type(cause) is NameError


def _package(value: Any) -> str:
    return type(value).__module__.partition(".")[0]


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

    def classes_of(self, output: str) -> list[Any] | None:
        """The classes whose columns an output has, in order; None where it has none, or those of pairs of classes."""
        classes = self.classes
        if output not in FURTHER or classes is None:
            return None
        shape = next((tensor.shape for tensor in self.signature.outputs if tensor.name == output), ())
        width = shape[1] if len(shape) > 1 else -1
        if width not in (-1, len(classes)):
            return None
        # of three classes there are as many pairs, and without a width it cannot be told otherwise
        could_be_pairs = output == "decision_function" and (width == -1 or len(classes) == 3)
        return None if could_be_pairs and _scores_pairs(self.estimator) else classes

    @cached_property
    def named(self) -> bool:
        """Whether it was fitted on a DataFrame, and gets one."""
        return bool(features_of(self.estimator).names)

    @cached_property
    def learnt(self) -> Sequence[Learnt]:
        """What the model tells of each feature."""
        found = learn(self.estimator)
        width = width_of(self.signature)
        return found if len(found) == width else (NOTHING,) * width

    @cached_property
    def _nulls(self) -> Sequence[float | None]:
        return [known.null for known in self.learnt]

    @cached_property
    def _checks(self) -> Sequence[Check]:
        return checks_of(self.signature, self.learnt)

    def check(self, batch: Batch) -> None:
        """Raises BadInputError for a value that the model is known to refuse, without asking it."""
        for check in self._checks:
            check(batch)

    def has(self, output: str) -> bool:
        """Whether the model has the method that gives the output. Not each that has it can be asked."""
        return callable(getattr(self.estimator, output, None))

    def predict(self, batch: Batch, output: str = PREDICTION) -> NDArray[Any]:
        """As `ask`, of a batch that has not been checked. Raises BadInputError, ModelError."""
        self.check(batch)
        return self.ask(batch, output)

    def ask(self, batch: Batch, output: str = PREDICTION, wanted: Callable[[], bool] = lambda: True) -> NDArray[Any]:
        """One prediction a row: an array of shape (rows,) or (rows, values), of numbers or of strings.

        It is asked for a part at a time where there is much, and so has no more than a part beside what it knows.

        Raises BadInputError for a value that the model says that it refuses, and when it fails for want of one of which
        nothing says that it may lack; otherwise ModelError. AbandonedError where it is not `wanted` before a part.
        """
        parts = list[NDArray[Any]]()
        for part in batch.parts():
            if not wanted():
                raise AbandonedError
            parts.append(self._asked(part, batch, output))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _asked(self, batch: Batch, whole: Batch, output: str) -> NDArray[Any]:
        try:
            answer = getattr(self.estimator, output if output in FURTHER else "predict")
            predictions = dense(answer(self.features(batch.copy())))
        except BadInputError:
            raise
        except BaseException as error:  # a panic in native code is no Exception, nor is sys.exit
            # the part without a gap, too: what lacks in another has changed the type of the whole column
            if batch.unexpectedly_missing and not isinstance(error, MemoryError):
                names = batch.unexpectedly_missing
                raise BadInputError(
                    f"the model needs a value of {', '.join(names)} in every row; row {whole.first_gap()} has null",
                    "MissingValue",
                    names[0],
                ) from error
            raise ModelError(f"{type(error).__name__}: {error}", batch) from error
        if predictions.ndim not in {1, 2} or len(predictions) != batch.rows:
            raise ModelError(f"{output}: the model answered shape {predictions.shape} to {batch.rows} rows", batch)
        if predictions.dtype.kind not in "biufUO":
            raise ModelError(f"{output}: the model answered values of type {predictions.dtype}", batch)
        if predictions.dtype.kind == "f" and datatype_of(predictions.dtype) == "BYTES":  # half, or more than double
            return predictions.astype(np.float64)
        return predictions

    @cached_property
    def takes_texts(self) -> bool:
        """Whether it takes a list of texts, and no table."""
        return [(tensor.type, tensor.shape) for tensor in self.signature.inputs] == [("BYTES", (-1,))] and takes_texts(
            self.estimator
        )

    def features(self, batch: Batch) -> Any:
        """What the model gets: a DataFrame if it was fitted on one, else an array of shape (rows, features), or of
        (rows,) if it takes texts.
        """
        if is_matrix(self.signature):
            values = plain(next(iter(batch.columns.values())), self.signature.inputs[0])
            if values.dtype != object:
                return values
            return np.column_stack([nulls_as(*of) for of in zip(values.T, self._nulls, strict=True)])
        if self.named:
            return frame_of(batch.columns, self.signature, self.learnt)
        if self.takes_texts:
            return next(iter(batch.columns.values()))
        return array_of(batch.columns, self.signature, self.learnt)


_HOLDING = ("best_estimator_", "steps", "final_estimator_", "estimator_")
"""Where an estimator of scikit-learn has the one whose scores it hands on."""


def _scores_pairs(estimator: Any) -> bool:
    if not any(one.__module__.startswith("sklearn.") for one in type(estimator).__mro__):
        return False
    if hasattr(estimator, "estimator_weights_"):
        return False  # AdaBoost, which has its scores from what the held ones predict
    inner = next((held for name in _HOLDING if (held := getattr(estimator, name, None)) is not None), None)
    if isinstance(inner, list):  # steps; one's own class may call anything so
        inner = inner[-1][1] if inner and isinstance(inner[-1], tuple | list) and len(inner[-1]) == 2 else None
    if inner is not None:
        return _scores_pairs(inner)
    return getattr(estimator, "decision_function_shape", "") == "ovo"


def dense(answer: Any) -> NDArray[Any]:
    """What a model answers as an array, also where it was fitted on labels in a sparse matrix, and answers such."""
    return np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer)
