"""The binary tensor extension of the Open Inference Protocol: tensors as bytes behind the JSON of a body.

Numbers are little-endian, a BOOL is a byte, and each of BYTES has its length before it, in four bytes.
"""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_jsonable_python

from upright.runtime.batch import BadInputError, datatype_of, described

HEADER = "inference-header-content-length"
"""Header that says how many bytes of a body are JSON."""

_TYPES = {
    "BOOL": "?",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


class Tail:
    """What comes behind the JSON, tensor after tensor."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    def take(self, size: Any, datatype: str, count: int, where: str) -> list[Any]:
        """The values of the next tensor, of `size` bytes; None for NaN. Raises BadInputError."""
        if type(size) is not int or not 0 <= size <= len(self._content):
            raise BadInputError(
                f"{where}.parameters.binary_data_size must be a number of the {len(self._content)} bytes that are left "
                f"behind the JSON; it is {described(size)}"
            )
        content, self._content = self._content[:size], self._content[size:]
        if (needed := size_of(datatype, count)) not in {None, size}:
            raise BadInputError(
                f"{where}.parameters.binary_data_size must be {needed}, {count} values of {datatype}; it is {size}"
            )
        return values_of(content, datatype, count, where)

    def check_end(self) -> None:
        """Raises BadInputError for what no tensor has asked for."""
        if self._content:
            raise BadInputError(f"{len(self._content)} bytes behind the JSON belong to no tensor of inputs")


def head_of(header: str | None, body: bytes) -> tuple[bytes, Tail]:
    """The JSON of a body, and what comes behind it. Raises BadInputError."""
    if header is None:
        return body, Tail(memoryview(b""))
    if not header.isascii() or not header.isdigit() or len(header) > 18 or int(header) > len(body):
        raise BadInputError(
            f"the header {HEADER} must be a number of the body's {len(body)} bytes; it is {header[:32]!r}"
        )
    return body[: int(header)], Tail(memoryview(body)[int(header) :])


def size_of(datatype: str, count: int) -> int | None:
    """Bytes of so many values; None of BYTES, which have no size of their own."""
    return None if datatype == "BYTES" else count * np.dtype(_TYPES[datatype]).itemsize


def values_of(content: memoryview, datatype: str, count: int, where: str) -> list[Any]:
    """The values of a tensor of the right size; None for NaN. Raises BadInputError."""
    if datatype == "BYTES":
        return _texts(bytes(content), count, where)
    return missing_where_nan(np.frombuffer(content, _TYPES[datatype]))


def missing_where_nan(array: NDArray[Any]) -> list[Any]:
    """The values of a flat array; None for NaN."""
    values: list[Any] = array.tolist()
    if array.dtype.kind == "f" and np.isnan(array).any():
        return [None if value != value else value for value in values]
    return values


def as_text(content: bytes, where: str) -> str:
    """One of BYTES. Raises BadInputError."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{where} must be UTF-8: {error.reason}") from None


def as_bytes(answer: NDArray[Any]) -> bytes:
    """An output's values in row order."""
    if (datatype := datatype_of(answer.dtype)) != "BYTES":
        return answer.astype(_TYPES[datatype]).tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in texts_of(answer))


def texts_of(answer: NDArray[Any]) -> list[bytes]:
    """An output's values as BYTES, in row order; an empty text where JSON has null, since BYTES have none."""
    values = to_jsonable_python(answer.reshape(-1).tolist(), inf_nan_mode="null", fallback=plain)
    return [b"" if value is None else str(value).encode() for value in values]


def plain(value: Any) -> Any:
    """What is sent for a value of a type that JSON does not know. Raises TypeError."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a value of type {type(value).__name__}")


def _texts(content: bytes, count: int, where: str) -> list[Any]:
    ends, at = [0], 0
    while at + 4 <= len(content) and len(ends) <= count:
        at += 4 + int.from_bytes(content[at : at + 4], "little")
        ends.append(at)
    if len(ends) != count + 1 or at != len(content):
        raise BadInputError(f"{where} must have {count} texts as bytes, each with its length in four bytes before it")
    return [as_text(content[begin + 4 : end], where) for begin, end in pairwise(ends)]
