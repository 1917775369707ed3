"""Models as ONNX has them, model.onnx: a graph that says which tensors it takes and gives.

It takes rows: one tensor of shape [N, features], or a tensor of shape [N] or [N, 1] for each column. It gives a label
and its probabilities, or one tensor. Weights in other files are refused: an artifact has one file for its model.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Tensor
from upright.runtime.batch import BadInputError
from upright.runtime.environment import Limits
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError
from upright.runtime.formats.model import Ask, Model, threads

_TYPES: Mapping[str, tuple[Any, Any]] = {
    "tensor(bool)": ("BOOL", np.bool_),
    "tensor(string)": ("BYTES", object),
    "tensor(float16)": ("FP32", np.float16),
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
    **{f"tensor({name})": (name.upper(), np.dtype(name)) for name in ("int8", "int16", "int32", "int64")},
    **{f"tensor({name})": (name.upper(), np.dtype(name)) for name in ("uint8", "uint16", "uint32", "uint64")},
}
"""The type of an element in the words of the Open Inference Protocol and in NumPy's."""
_LABELS = ("tensor(int64)", "tensor(string)")
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_NO_FOLDER = "/nonexistent"


def load(path: Path, _: Limits) -> LoadedModel:
    """Raises UnreadableModelError."""
    session = _session(path)
    inputs = _inputs(path, session.get_inputs())
    matrix = len(inputs[0].shape) == 2
    model = _model(path, session, inputs[0].shape[1] if matrix else len(inputs), [] if matrix else inputs)
    return LoadedModel(model, None, inputs)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, too
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each kind of damage has a class of its own, and they have none in common
        said = str(error)
        if _NO_FOLDER in said or "xternal" in said:
            raise UnreadableModelError(
                f"{path.name} keeps its weights in another file; save it as one file (onnx.save(..., "
                "save_as_external_data=False))"
            ) from error
        raise UnreadableModelError(f"{path.name} is not a model that ONNX Runtime reads: {said[:300]}") from error


def _inputs(path: Path, given: Sequence[Any]) -> tuple[Tensor, ...]:
    for one in given:
        if one.type not in _TYPES or len(one.shape) not in {1, 2} or isinstance(one.shape[0], int):
            raise UnreadableModelError(
                f"{path.name} takes {_told(one)}; it must take any number of rows: tensors of shape [N], [N, 1] or one "
                "of shape [N, features], with a first axis that has no size"
            )
    widths = [1 if len(one.shape) == 1 else one.shape[1] for one in given]
    if len(given) == 1 and isinstance(widths[0], int) and widths[0] > 1:
        return (Tensor(name=given[0].name, type=_TYPES[given[0].type][0], shape=(-1, widths[0])),)
    if not given or any(width != 1 for width in widths):
        raise UnreadableModelError(
            f"{path.name} takes {' and '.join(map(_told, given)) or 'nothing'}; it must take one tensor of shape "
            "[N, features], with the number of features, or one of shape [N, 1] for each column"
        )
    return tuple(Tensor(name=one.name, type=_TYPES[one.type][0]) for one in given)


def _model(path: Path, session: Any, features: int, columns: Sequence[Tensor]) -> Model:
    outputs, names = session.get_outputs(), [tensor.name for tensor in columns]
    if len(outputs) == 2 and outputs[0].type in _LABELS and _is_probabilities(outputs[1]):
        ask_label, ask_each = (_asked(session, one.name) for one in outputs)
        return Model(ask_label, features, names, ask_each, _classes(session, outputs[1]), supposed=True)
    if len(outputs) == 1 and outputs[0].type in _TYPES and len(outputs[0].shape) <= 2:
        return Model(_asked(session, outputs[0].name), features, names)
    raise UnreadableModelError(
        f"{path.name} gives {' and '.join(map(_told, outputs))}; it must give one tensor of shape [N] or [N, values], "
        "or labels of shape [N] and then their probabilities, [N, classes] or a map for each row"
    )


def _is_probabilities(output: Any) -> bool:
    return (output.type in _FLOATS and len(output.shape) == 2) or output.type.startswith("seq(map(")


def _classes(session: Any, probabilities: Any) -> NDArray[Any] | None:
    """The classes, where each row's probabilities are a map that names them, and a row of zeros and empty texts is
    answered: no other row is known.
    """
    if not probabilities.type.startswith("seq("):
        return None
    plain = {one.name: _plain(one) for one in session.get_inputs()}
    with suppress(Exception):  # an encoder may refuse a category that it does not know
        return np.array(list(session.run([probabilities.name], plain)[0][0]))
    return None


def _plain(one: Any) -> NDArray[Any]:
    kind = _TYPES[one.type][1]
    return np.full([1, *one.shape[1:]], "" if kind is object else 0, dtype=kind)


def _asked(session: Any, output: str) -> Ask:
    inputs = session.get_inputs()

    def answer(rows: Any) -> NDArray[Any]:
        columns = [rows] if isinstance(rows, np.ndarray) else [rows[one.name].to_numpy() for one in inputs]
        fed = {one.name: _tensor(one, values) for one, values in zip(inputs, columns, strict=True)}
        given = session.run([output], fed)[0]
        if isinstance(given, list):  # of maps from class to probability
            given = np.array([list(row.values()) for row in given])
        given = given.astype(np.float32) if given.dtype == np.float16 else given
        return given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given  # type: ignore[no-any-return]

    return answer


def _tensor(one: Any, values: NDArray[Any]) -> NDArray[Any]:
    """The values as the graph takes them. Raises BadInputError for what its type cannot hold."""
    wanted = _TYPES[one.type][1]
    values = values.reshape(-1, *one.shape[1:])
    if wanted is object or wanted is np.bool_:
        if any(value is None or value != value for value in values.flat):
            raise BadInputError(f"the model needs a value of {one.name} in every row; null was given")
        return values.astype(wanted)
    numbers = values.astype(np.float64) if values.dtype == object else values
    if np.dtype(wanted).kind in "iu" and numbers.dtype != wanted:
        limits = np.iinfo(wanted)
        # The largest of 64 bits is no double, and the power of two above it is.
        fits = (numbers % 1 == 0) & (numbers >= limits.min) & (numbers < limits.max + 1)
        must_be = f"a whole number between {limits.min} and {limits.max}"
    elif wanted is np.float16:
        most = float(np.finfo(wanted).max)
        fits = ~(np.abs(numbers) > most)
        must_be = f"a number between {-most:g} and {most:g}"
    else:
        return numbers.astype(wanted)
    if not fits.all():
        found = numbers[~fits].flat[0]
        raise BadInputError(f"{one.name} must be {must_be} in every row; it is {'null' if np.isnan(found) else found}")
    return numbers.astype(wanted)


def _told(one: Any) -> str:
    axes = ", ".join(str(axis) if isinstance(axis, int) else "N" for axis in one.shape)
    return f"{one.name}, {one.type} of shape [{axes}]"


ONNX = Format("onnx", ("model.onnx",), framework="onnxruntime", packages=("onnxruntime",), runs_code=False, load=load)
