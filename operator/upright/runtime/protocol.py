"""The two protocols that a served model speaks: KServe V1 and the Open Inference Protocol V2 (REST, JSON).

Pure: from bytes to batches, from arrays to JSON values. A client's mistake is a BadInputError whose message names the
field, what was expected and what was given.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from upright.api.artifact import Signature, Tensor
from upright.runtime.asked import Answer
from upright.runtime.batch import (
    MOST_VALUES,
    BadInputError,
    Batch,
    batch_of_columns,
    batch_of_flat,
    batch_of_rows,
    check_size,
    datatype_of,
    described,
    is_matrix,
    listed,
    width_of,
)
from upright.runtime.binary import Tail, as_bytes, head_of, plain
from upright.runtime.predictor import FURTHER

_NUMBERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64"})
_DATATYPES = _NUMBERS | {"BOOL", "BYTES"}
_NOT_TAKEN = {
    "shared_memory_region": "send the values, and take them from the answer",
    "classification": "ask for the output predict_proba, whose classes are in the metadata",
}
"""Parameters that Triton knows, and what to do without them."""

MOST_ANSWERED = 2**20
"""Values of one answer: as JSON they take a hundred times the memory of the rows that ask for them."""
_MOST_TEXT = 16 * MOST_ANSWERED
"""Characters of the texts in it, such as names of classes."""

_ID = 1024
_DIMENSIONS = 8
_SIZE = 2**31 - 1
"""Largest size in a shape: without one, the product of a shape's sizes takes as long as a stranger likes."""


@dataclass(frozen=True)
class InferRequest:
    """A request of the Open Inference Protocol."""

    batch: Batch
    id: str | None
    outputs: Mapping[str, bool]
    """What is asked for by name, and whether as bytes."""


@dataclass(frozen=True)
class PredictRequest:
    """A request of KServe's V1 protocol."""

    batch: Batch
    output: str


@dataclass(frozen=True)
class Given:
    """A tensor of a request: flat values in row order."""

    where: str
    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]


def parse_predict(body: bytes, signature: Signature, outputs: Sequence[str]) -> PredictRequest:
    """The rows of a V1 request, and the method that is to answer: `{"instances": [ROW, ...], "method": ...}`; without
    one, what gives the first of `outputs`. Raises BadInputError.
    """
    document = json_object(body)
    if "instances" not in document and "inputs" in document:
        raise BadInputError(
            'inputs by columns are not taken here: send rows, {"instances": [ROW, ...]}, each a list of its values or '
            "an object of them by name, or send tensors to /v2/models/MODEL/infer"
        )
    if "instances" not in document:
        raise BadInputError(
            f'the body must have the field instances: {{"instances": [ROW, ...]}}; it has {_names(document) or "none"}'
        )
    method = document.get("method")
    methods = {output if output in FURTHER else "predict": output for output in outputs}
    if method is not None and (not isinstance(method, str) or method not in methods):
        raise BadInputError(f"method must be one of {', '.join(methods)}; it is {described(method)}")
    output = methods[method] if method is not None else outputs[0]
    for name, value in document.items():  # what else is not known is of no account
        if name != "method" and isinstance(value, str) and methods.get(value, output) != output:
            raise BadInputError(
                f"the method {value} is asked for by the field {name[:32]!r}; the field that names it is method"
            )
    batch = batch_of_rows(document["instances"], signature)
    _check_answer(batch.rows, signature, [output])
    return PredictRequest(batch, output)


def parse_infer(body: bytes, signature: Signature, outputs: Sequence[str], header: str | None = None) -> InferRequest:
    """The tensors of a V2 request; who asks for no output by name gets the first. `header`: how many bytes of the body
    are JSON, as the request says. Raises BadInputError.
    """
    head, tail = head_of(header, body)
    document = json_object(head)
    identity = document.get("id")
    if not isinstance(identity, str | None):
        raise BadInputError(f"id must be a string; it is {described(identity)}")
    as_bytes = _flag(_parameters(document, ""), "parameters.binary_data_output")
    wanted = wanted_outputs(document.get("outputs"), outputs, as_bytes=as_bytes)
    given = document.get("inputs")
    if given is None and "instances" in document:
        raise BadInputError(
            "instances are not taken here: send them to /v1/models/MODEL:predict, or send tensors here, "
            '{"inputs": [{"name": ..., "shape": [...], "datatype": ..., "data": [...]}, ...]}'
        )
    if not isinstance(given, list) or not given:
        raise BadInputError(f"inputs must be a list of at least one tensor; it is {described(given)}")
    tensors = [_tensor(value, f"inputs[{index}]", tail) for index, value in enumerate(given)]
    tail.check_end()
    return infer_request(tensors, signature, identity, wanted)


def infer_request(
    tensors: Sequence[Given], signature: Signature, identity: str | None, wanted: Mapping[str, bool]
) -> InferRequest:
    """What tensors ask for, however they have come. Raises BadInputError."""
    if identity is not None and len(identity) > _ID:
        raise BadInputError(f"id must have at most {_ID} characters, for it is sent back; it has {len(identity)}")
    batch = _batch(tensors, signature)
    _check_answer(batch.rows, signature, wanted)
    return InferRequest(batch, identity, wanted)


def wanted_outputs(wanted: Any, outputs: Sequence[str], *, as_bytes: bool) -> Mapping[str, bool]:
    """The outputs that a request names, or the first of those there are. Raises BadInputError."""
    if wanted is None or wanted == []:
        return {outputs[0]: as_bytes}
    if not isinstance(wanted, list):
        raise BadInputError(f"outputs must be a list of objects with a name; it is {described(wanted)}")
    found = dict[str, bool]()
    for index, output in enumerate(wanted):
        where = f"outputs[{index}]."
        name = output.get("name") if isinstance(output, dict) else None
        if not isinstance(name, str) or name not in outputs:
            raise BadInputError(f"{where}name must be one of {', '.join(outputs)}; it is {described(name)}")
        if name in found:
            raise BadInputError("outputs must have different names; one is asked for twice")
        found[name] = _flag(_parameters(output, where), f"{where}parameters.binary_data", otherwise=as_bytes)
    return found


def checked_tensor(datatype: Any, shape: Any, where: str) -> tuple[str, list[int]]:
    """A datatype that is known, and a shape of no more values than are taken. Raises BadInputError."""
    if not isinstance(datatype, str) or datatype not in _DATATYPES:
        raise BadInputError(
            f"{where}.datatype must be one of {', '.join(sorted(_DATATYPES))}; it is {described(datatype)}"
        )
    sizes = shape[:_DIMENSIONS] if isinstance(shape, list) else ()  # there may be millions
    if not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise BadInputError(f"{where}.shape must be a list of positive whole numbers; it is {_shape_text(shape)}")
    if len(shape) > _DIMENSIONS or max(sizes) > _SIZE:
        raise BadInputError(
            f"{where}.shape must have at most {_DIMENSIONS} sizes of at most {_SIZE}; it has {len(shape)}, "
            f"{described(max(sizes))} for one"
        )
    if prod(shape) > MOST_VALUES:
        raise BadInputError(
            f"{where}.shape is of {prod(shape)} values; at most {MOST_VALUES} are taken: send fewer rows at once"
        )
    return datatype, shape


def predict_answer(answers: Sequence[NDArray[Any]], asked: PredictRequest) -> Answer:
    """The answer to a V1 request: one prediction a row. Raises BadInputError where it is too large."""
    check_given(answers)
    return Answer(_json({"predictions": answers[0].tolist()}), asked.batch.rows)


def infer_answer(named: Mapping[str, Any], answers: Sequence[NDArray[Any]], asked: InferRequest) -> Answer:
    """The answer to a V2 request: tensors with flat data, or with bytes behind the JSON. Raises BadInputError, too."""
    check_given(answers)
    tensors, tail = list[dict[str, Any]](), list[bytes]()
    for answer, (name, binary) in zip(answers, asked.outputs.items(), strict=True):
        tensor = {"name": name, "datatype": datatype_of(answer.dtype), "shape": list(answer.shape)}
        if binary:
            tail.append(as_bytes(answer))
            tensors.append({**tensor, "parameters": {"binary_data_size": len(tail[-1])}})
        else:
            tensors.append({**tensor, "data": answer.reshape(-1).tolist()})
    identified = {"id": asked.id} if asked.id is not None else {}
    head = _json({**named, **identified, "outputs": tensors})
    return Answer(b"".join((head, *tail)), asked.batch.rows, len(head) if tail else None)


def tensor_metadata(tensor: Tensor) -> dict[str, Any]:
    """An input or output as V2 metadata describe it; a datatype that is not known is left out, and `missing` is there
    where a value may be null, or left out.
    """
    datatype = {"datatype": tensor.type} if tensor.type else {}
    missing = {"missing": True} if tensor.missing else {}
    return {"name": tensor.name, **datatype, "shape": list(tensor.shape), **missing}


def json_object(body: bytes) -> Mapping[str, Any]:
    """A body that must be an object. Raises BadInputError."""
    try:
        document = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        hint = "; write null where there is no value" if b"NaN" in body or b"Infinity" in body else ""
        raise BadInputError(f"the body must be JSON: {error}{hint}") from None
    if not isinstance(document, dict):
        raise BadInputError(f"the body must be a JSON object; it is {described(document)}")
    return document


def _check_answer(rows: int, signature: Signature, outputs: Iterable[str]) -> None:
    """One whose width is not known has a value a row at least."""
    widths = {tensor.name: prod(max(1, size) for size in tensor.shape[1:]) for tensor in signature.outputs}
    _check_values(rows * sum(widths.get(output, 1) for output in outputs), rows)


def check_given(answers: Sequence[NDArray[Any]]) -> None:
    """Raises BadInputError for more than is given at once."""
    _check_values(sum(answer.size for answer in answers), len(answers[0]))
    texts = (answer for answer in answers if answer.dtype.kind in "UO")
    found = sum(len(one) for answer in texts for one in answer.flat if isinstance(one, str | bytes))
    if found > _MOST_TEXT:
        raise BadInputError(
            f"the request asks for {found} characters, of {len(answers[0])} rows; at most {_MOST_TEXT} are given at "
            "once: send fewer rows"
        )


def _check_values(values: int, rows: int) -> None:
    if values > MOST_ANSWERED:
        raise BadInputError(
            f"the request asks for {values} values, of {rows} rows; at most {MOST_ANSWERED} are given at once: send "
            "fewer rows"
        )


def _parameters(of: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """What is not known is of no account, as with Triton, but what changes where values are, or what they mean."""
    parameters = of.get("parameters")
    if not isinstance(parameters, dict | None):
        raise BadInputError(f"{where}parameters must be an object; it is {described(parameters)}")
    check_parameters(parameters or {}, where)
    return parameters or {}


def check_parameters(names: Collection[str], where: str) -> None:
    """Raises BadInputError for what would change where values are, or what they mean."""
    for name, instead in _NOT_TAKEN.items():
        if name in names:
            raise BadInputError(f"{where}parameters.{name} is not taken: {instead}")


def _flag(parameters: Mapping[str, Any], field: str, *, otherwise: bool = False) -> bool:
    flag = parameters.get(field.rpartition(".")[2], otherwise)
    if type(flag) is not bool:
        raise BadInputError(f"{field} must be true or false; it is {described(flag)}")
    return flag


def _tensor(value: Any, where: str, tail: Tail) -> Given:
    if not isinstance(value, dict):
        raise BadInputError(f"{where} must be an object with name, shape, datatype and data; it is {described(value)}")
    name = value.get("name")
    if not isinstance(name, str):
        raise BadInputError(f"{where}.name must be a string; it is {described(name)}")
    datatype, shape = checked_tensor(value.get("datatype"), value.get("shape"), where)
    parameters = _parameters(value, f"{where}.")
    if "binary_data_size" in parameters:
        if "data" in value:
            raise BadInputError(f"{where} must have either data or parameters.binary_data_size; it has both")
        values = tail.take(parameters["binary_data_size"], datatype, prod(shape), where)
    else:
        values = _flat(value.get("data"), shape, f"{where}.data")
    return Given(where, name, datatype, tuple(shape), values)


def _flat(data: Any, shape: Sequence[int], where: str) -> list[Any]:
    says = f"as shape {_shape_text(shape)} says"
    if not isinstance(data, list):
        raise BadInputError(f"{where} must be a list; it is {described(data)}")
    values: list[Any] = data
    if values and isinstance(values[0], list):
        for size in shape[1:]:
            for row in values:
                if type(row) is not list or len(row) != size:
                    raise BadInputError(f"{where} must be flat, or nested {says}; it holds {described(row)}")
            values = [value for row in values for value in row]
    if len(values) != prod(shape):
        raise BadInputError(f"{where} must have {prod(shape)} values, {says}; it has {len(values)}")
    return values


def _batch(tensors: Sequence[Given], signature: Signature) -> Batch:
    named = {tensor.name: tensor for tensor in tensors}
    if len(named) != len(tensors):
        raise BadInputError("inputs must have different names; one is given twice")
    width = width_of(signature)
    if len(tensors) == 1 and (is_matrix(signature) or tensors[0].name not in {t.name for t in signature.inputs}):
        return _single(tensors[0], width, signature)
    known = {tensor.name for tensor in signature.inputs}
    if is_matrix(signature):
        raise BadInputError(f"inputs must be one tensor of shape [rows, {width}]; {len(tensors)} are given")
    if unknown := named.keys() - known:
        raise BadInputError(
            f"inputs has an unknown tensor {min(unknown)[:64]!r}; the model takes {listed(sorted(known))}"
        )
    rows = tensors[0].shape[0]
    check_size(rows, signature)
    columns = {}
    for wanted in signature.inputs:
        if given := named.get(wanted.name):
            _check_column(given, wanted, rows)
            columns[f"{given.where}.data[{{row}}] ({given.name})"] = given.values
        elif wanted.missing:
            columns[wanted.name] = [None] * rows
        else:
            raise BadInputError(f"inputs lacks the tensor {wanted.name!r}", "MissingFeature", wanted.name)
    return batch_of_columns(columns, rows, signature)


def _single(given: Given, width: int, signature: Signature) -> Batch:
    """All features in one tensor of shape [rows, features]."""
    if len(given.shape) != 2 or given.shape[1] != width:
        raise BadInputError(
            f"{given.where}.shape must be [rows, {width}]"
            + ("" if is_matrix(signature) else ", or one tensor a feature must be given, by name")
            + f"; it is {_shape_text(given.shape)}"
        )
    for wanted in signature.inputs:
        _check_datatype(given, wanted)
    return batch_of_flat(given.values, given.shape[0], signature, f"{given.where}.data")


def _check_column(given: Given, wanted: Tensor, rows: int) -> None:
    if given.shape not in {(rows,), (rows, 1)}:
        raise BadInputError(
            f"{given.where}.shape must be [{rows}] as of the first tensor; it is {_shape_text(given.shape)}"
        )
    _check_datatype(given, wanted)


def _check_datatype(given: Given, wanted: Tensor) -> None:
    numbers = given.datatype in _NUMBERS and wanted.type in _NUMBERS
    flags = given.datatype == "BOOL" and wanted.dtype == "number"
    if wanted.type is not None and not numbers and not flags and given.datatype != wanted.type:
        said = f"{given.where}.datatype must be {wanted.type} for {wanted.name}; it is {given.datatype}"
        raise BadInputError(said, "WrongType", wanted.name)


def _json(document: Mapping[str, Any]) -> bytes:
    """With null where a number is not finite."""
    return to_json(document, inf_nan_mode="null", fallback=plain)


def _names(document: Mapping[str, Any]) -> str:
    return ", ".join(repr(name[:32]) for name in list(document)[:5])


def _shape_text(shape: Any) -> str:
    if isinstance(shape, list | tuple):
        return "[" + ", ".join(described(size).removeprefix("the number ") for size in shape[:8]) + "]"
    return described(shape)
