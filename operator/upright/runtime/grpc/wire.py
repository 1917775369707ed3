"""How many fields a message has, seen before it is parsed: an empty tensor of two bytes takes a hundred in memory, and
while protobuf parses nothing else runs.
"""

from google.protobuf.message import DecodeError

MOST_FIELDS = 2**18
"""Fields of a request and of its tensors; a tensor has five, and its values are not counted."""

_TENSORS = (5, 6)
"""Inputs and outputs."""
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


class TooManyFieldsError(Exception):
    """There are more than MOST_FIELDS."""


def check_fields(message: bytes) -> None:
    """A ModelInferRequest, its inputs and outputs. Raises TooManyFieldsError, or DecodeError for no protobuf."""
    fields, ends, at = 0, [len(message)], 0
    while ends:
        if at == ends[-1]:
            ends.pop()
            continue
        tag, at = _varint(message, at)
        fields += 1
        if fields > MOST_FIELDS:
            raise TooManyFieldsError
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind in {_FIXED32, _FIXED64}:
            at += 4 if kind == _FIXED32 else 8
        elif kind == _DELIMITED:
            length, at = _varint(message, at)
            if at + length > ends[-1]:
                raise DecodeError
            if tag >> 3 in _TENSORS and len(ends) == 1:
                ends.append(at + length)
            else:
                at += length
        else:
            raise DecodeError
        if at > ends[-1]:
            raise DecodeError


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """The number there, and what follows it."""
    value = 0
    for place, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise DecodeError
