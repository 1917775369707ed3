"""Between messages of the Open Inference Protocol and what a model takes and gives.

Pure, as protocol.py is, with whose sentences it refuses.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from upright.api.artifact import Signature
from upright.runtime.asked import Answer
from upright.runtime.batch import BadInputError, datatype_of
from upright.runtime.binary import as_bytes, as_text, missing_where_nan, size_of, texts_of, values_of
from upright.runtime.grpc.messages import MESSAGES
from upright.runtime.grpc.wire import MOST_FIELDS, TooManyFieldsError, check_fields
from upright.runtime.protocol import (
    Given,
    InferRequest,
    check_given,
    check_parameters,
    checked_tensor,
    infer_request,
    wanted_outputs,
)

_CONTENTS: Mapping[str, tuple[str, Any]] = {
    "BOOL": ("bool_contents", np.bool_),
    "INT8": ("int_contents", np.int32),
    "INT16": ("int_contents", np.int32),
    "INT32": ("int_contents", np.int32),
    "INT64": ("int64_contents", np.int64),
    "UINT8": ("uint_contents", np.uint32),
    "UINT16": ("uint_contents", np.uint32),
    "UINT32": ("uint_contents", np.uint32),
    "UINT64": ("uint64_contents", np.uint64),
    "FP32": ("fp32_contents", np.float32),
    "FP64": ("fp64_contents", np.float64),
    "BYTES": ("bytes_contents", None),
}
"""Where values of a datatype are, and NumPy's type of those."""


def read(message: bytes) -> Any:
    """A ModelInferRequest. Raises BadInputError."""
    try:
        check_fields(message)
        return MESSAGES["ModelInferRequest"].FromString(message)
    except TooManyFieldsError:
        raise BadInputError(
            f"the message has more than {MOST_FIELDS} fields; send fewer tensors, each with more values"
        ) from None
    except DecodeError:
        raise BadInputError("the message must be an inference.ModelInferRequest, in the encoding of protobuf") from None


def request_of(message: Any, signature: Signature, outputs: Sequence[str]) -> InferRequest:
    """What a ModelInferRequest asks for; who asks for no output by name gets the first. Raises BadInputError."""
    if not message.inputs:
        raise BadInputError("inputs must be a list of at least one tensor; it is a list of 0")
    raw, tensors = message.raw_input_contents, message.inputs
    check_parameters(message.parameters, "")
    for field, those in (("inputs", tensors), ("outputs", message.outputs)):
        for index, one in enumerate(those):
            check_parameters(one.parameters, f"{field}[{index}].")
    if raw and len(raw) != len(tensors):
        raise BadInputError(
            f"raw_input_contents must have the values of each of the {len(tensors)} inputs, or be empty; it has "
            f"{len(raw)} items"
        )
    wanted = wanted_outputs([{"name": output.name} for output in message.outputs], outputs, as_bytes=bool(raw))
    given = [_given(tensor, index, raw[index] if raw else None) for index, tensor in enumerate(tensors)]
    return infer_request(given, signature, message.id or None, wanted)


def answer_of(named: Mapping[str, str], answers: Sequence[NDArray[Any]], asked: InferRequest) -> Answer:
    """A ModelInferResponse, with raw contents for who has sent such. Raises BadInputError where it is too large."""
    check_given(answers)
    response = MESSAGES["ModelInferResponse"](**named, id=asked.id or "")
    for answer, (name, binary) in zip(answers, asked.outputs.items(), strict=True):
        datatype = datatype_of(answer.dtype)
        tensor = response.outputs.add(name=name, datatype=datatype, shape=answer.shape)
        if binary:
            response.raw_output_contents.append(as_bytes(answer))
        else:
            values = texts_of(answer) if datatype == "BYTES" else answer.reshape(-1).tolist()
            getattr(tensor.contents, _CONTENTS[datatype][0]).extend(values)
    return Answer(response.SerializeToString(), asked.batch.rows)


def _given(tensor: Any, index: int, raw: bytes | None) -> Given:
    where = f"inputs[{index}]"
    datatype, shape = checked_tensor(tensor.datatype, list(tensor.shape), where)
    count = prod(shape)
    values = _typed(tensor, count, where) if raw is None else _raw(tensor, count, raw, index)
    return Given(where, tensor.name, datatype, tuple(shape), values)


def _raw(tensor: Any, count: int, raw: bytes, index: int) -> list[Any]:
    where = f"raw_input_contents[{index}]"
    if tensor.HasField("contents"):
        raise BadInputError(f"inputs[{index}].contents must be left out where raw_input_contents are given")
    if (needed := size_of(tensor.datatype, count)) not in {None, len(raw)}:
        raise BadInputError(f"{where} must have {needed} bytes, {count} values of {tensor.datatype}; it has {len(raw)}")
    return values_of(memoryview(raw), tensor.datatype, count, where)


def _typed(tensor: Any, count: int, where: str) -> list[Any]:
    if tensor.datatype not in _CONTENTS:
        raise BadInputError(f"{where} must have its values in raw_input_contents, as all of {tensor.datatype}")
    field, dtype = _CONTENTS[tensor.datatype]
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise BadInputError(
                f"{where}.contents must have values of {tensor.datatype} in {field}, not in {other.name}"
            )
    values = getattr(tensor.contents, field)
    if len(values) != count:
        shape = ", ".join(map(str, tensor.shape))
        raise BadInputError(
            f"{where}.contents.{field} must have {count} values, as shape [{shape}] says; it has {len(values)}"
        )
    if dtype is None:
        return [as_text(value, f"{where}.contents.{field}") for value in values]
    return missing_where_nan(np.array(values, dtype))
