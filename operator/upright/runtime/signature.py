"""What a model takes and gives: as the training program says, as its reference data shows, as the model tells."""

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import Batch, batch_of_rows, datatype_of
from upright.runtime.predictor import FURTHER, PREDICTION, ModelError, Predictor

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = ("prediction", "label", "score")
"""Columns of the reference data that are not features."""

_TRIED_ROWS = 100


class NoSignatureError(Exception):
    """What the model takes cannot be known, or what is said of it does not hold."""


def infer(estimator: Any, declared: Signature | None, reference: "pd.DataFrame | None") -> Signature:
    """The model's inputs. Raises NoSignatureError."""
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    count = getattr(estimator, "n_features_in_", None)
    if declared:
        return _checked(declared, names, count)
    if reference is not None:
        return Signature(inputs=_inputs_of(reference, names, count))
    if names:
        return Signature(inputs=tuple(Tensor(name=name, type=_untold_type(estimator)) for name in names))
    if isinstance(count, int):
        return Signature(inputs=(Tensor(name="input-0", type="FP64", shape=(-1, count)),))
    raise NoSignatureError(
        "what the model takes cannot be known: write reference.csv (rows of features with their names) or "
        "signature.json next to the model"
    )


def chosen(declared: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The declared outputs as the model gives them, or as they are declared where it could not be asked; one of a name
    of its own is the predictions. Without any, what it gives, its decision function only where it has no probabilities.

    Raises NoSignatureError for one that the model does not give.
    """
    known = {tensor.name: tensor for tensor in given}
    if not declared and FURTHER[0] in known:
        return tuple(tensor for tensor in given if tensor.name != FURTHER[1])
    if not declared or not given:
        return declared or given
    outputs = []
    for tensor in declared:
        found = known.get(tensor.name if tensor.name in FURTHER else PREDICTION)
        if found is None or ("shape" in tensor.model_fields_set and tensor.shape != found.shape):
            gives = ", ".join(f"{name} of shape {list(known[name].shape)}" for name in known)
            raise NoSignatureError(
                f"signature.json declares the output {tensor.name!r} of shape {list(tensor.shape)}, but the model "
                f"gives {gives}"
            )
        outputs.append(found.model_copy(update={"name": tensor.name}))
    return tuple(outputs)


def rows_of(reference: "pd.DataFrame", signature: Signature) -> list[list[Any]]:
    """The first rows of the reference data, as a client would send them."""
    head = reference.head(_TRIED_ROWS)
    if any(tensor.name not in head for tensor in signature.inputs):
        return []
    columns = [head[tensor.name] for tensor in signature.inputs]
    return [list(row) for row in zip(*(_json_values(column) for column in columns), strict=True)]


def try_out(predictor: Predictor, reference: "pd.DataFrame | None") -> tuple[list[Any] | None, tuple[Tensor, ...]]:
    """One row that the model answers, and the outputs as the answer shows them.

    Without reference data it is a row of zeros and empty texts, if the model takes one: they need not make sense to it.
    Raises BadInputError, ModelError when the model fails on its own reference data, or takes what it is given for
    something else than an array or a DataFrame, or has too little memory.
    """
    rows = rows_of(reference, predictor.signature) if reference is not None else []
    if rows:
        return _plainest(rows), _outputs(
            predictor, batch_of_rows(rows, predictor.signature, "row of the reference data")
        )
    if plain := _plain(predictor.signature):
        try:
            return plain, _outputs(predictor, batch_of_rows([plain], predictor.signature))
        except ModelError as error:
            asked = getattr(error.__cause__, "obj", None)  # of what it wanted an attribute that this does not have
            if (
                error.for_want_of_memory
                or isinstance(asked, np.ndarray)
                or type(asked).__module__.partition(".")[0] == "pandas"
            ):
                raise
    return None, ()


def _checked(declared: Signature, names: list[str], count: int | None) -> Signature:
    shapes = [tensor.shape for tensor in declared.inputs]
    matrix = len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][0] == -1 and shapes[0][1] > 0
    if not matrix and set(shapes) != {(-1,)}:
        raise NoSignatureError(
            "signature.json must give either one input of shape [-1, n] or inputs of shape [-1]; it gives "
            + ", ".join(str(list(shape)) for shape in shapes)
        )
    given = [tensor.name for tensor in declared.inputs]
    if names and given != names:
        raise NoSignatureError(
            f"signature.json names the inputs {', '.join(given)}, but the model takes {', '.join(names)}"
        )
    width = shapes[0][1] if matrix else len(given)
    if count not in {None, width}:
        raise NoSignatureError(f"signature.json gives {width} features, but the model takes {count}")
    return declared


def _inputs_of(reference: "pd.DataFrame", names: list[str], count: int | None) -> tuple[Tensor, ...]:
    features = [str(name) for name in reference.columns if name not in ANSWERS]
    if names and (absent := [name for name in names if name not in features]):
        raise NoSignatureError(
            f"the reference data lacks the column {absent[0]!r}, which the model takes; "
            f"its columns are {', '.join(features)}"
        )
    if not names and count is not None and len(features) != count:
        raise NoSignatureError(
            f"the reference data has {len(features)} features ({', '.join(features)}), but the model takes {count}: "
            f"name other columns {', '.join(ANSWERS)} or leave them out"
        )
    return tuple(
        Tensor(name=name, type=_type_of(reference[name]), missing=bool(reference[name].isna().any()))
        for name in names or features
    )


def _type_of(column: "pd.Series[Any]") -> Any:
    return datatype_of(column.dtype) if isinstance(column.dtype, np.dtype) else "BYTES"


def _untold_type(estimator: Any) -> Any:
    """Numbers, unless some part of the model treats columns differently: then nobody can tell from outside."""
    steps = [step for _, step in getattr(estimator, "steps", [])] or [estimator]
    mixed = any(hasattr(step, "transformers_") or hasattr(step, "categories_") for step in steps)
    return None if mixed else "FP64"


def _json_values(column: "pd.Series[Any]") -> list[Any]:
    missing = column.isna()
    values = column.astype(object).where(~missing, None).tolist()
    if _type_of(column) == "BYTES":
        return [value if value is None else str(value) for value in values]
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _plainest(rows: list[list[Any]]) -> list[Any]:
    """The row with the fewest missing values."""
    return min(rows, key=lambda row: row.count(None))


def _plain(signature: Signature) -> list[Any] | None:
    row: list[Any] = []
    for tensor in signature.inputs:
        if tensor.type is None:
            return None
        row += [{"BOOL": False, "BYTES": ""}.get(tensor.type, 0)] * prod(tensor.shape[1:])
    return row


def _outputs(predictor: Predictor, batch: Batch) -> tuple[Tensor, ...]:
    outputs = [_tensor(PREDICTION, predictor.predict(batch))]
    for output in filter(predictor.has, FURTHER):
        try:
            outputs.append(_tensor(output, predictor.predict(batch, output)))
        except ModelError as error:  # it need not answer: a vote whose voters know no probabilities has the method, too
            if error.for_want_of_memory:
                raise
    return tuple(outputs)


def _tensor(name: str, answer: NDArray[Any]) -> Tensor:
    return Tensor(name=name, type=datatype_of(answer.dtype), shape=(-1, *answer.shape[1:]))
