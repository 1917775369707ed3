"""Bodies of requests that come compressed, and answers to clients that take them so: gzip and deflate, as HTTP has them
(RFC 9110, section 8.4.1).

All of it takes time that grows with the body, and belongs beside the loop.
"""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from starlette.exceptions import HTTPException
from starlette.requests import Request

from upright.runtime.asked import Answer, Encoding
from upright.runtime.batch import BadInputError

WORTH = 8 * 1024
"""Bytes of an answer from which on it is compressed: less is sent sooner as it is, and nearly every client asks."""

_NAMES: dict[str, Encoding | None] = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "identity": None}
_FORMATS: dict[Encoding, int] = {"gzip": 31, "deflate": 15}
"""What zlib calls them; deflate has zlib's header, as RFC 9110 says."""
_FASTEST = 1


def encoding_of(request: Request) -> Encoding | None:
    """How the body is encoded. Raises HTTPException 415."""
    named = _listed(_header(request, b"content-encoding"))
    if len(named) > 1 or any(name not in _NAMES for name in named):
        raise HTTPException(
            415,
            "the header content-encoding must be gzip or deflate, one of them and once; it is "
            f"{', '.join(named)[:64]!r}",
            {"Accept-Encoding": "gzip, deflate"},
        )
    return _NAMES[named[0]] if named else None


def accepted_of(request: Request) -> Encoding | None:
    """How the client wants its answer encoded, by the weights that it gives."""
    return _preferred(_header(request, b"accept-encoding"))


def inflated(content: bytes, encoding: Encoding | None, most: int) -> bytes:
    """The content as it was before it was compressed. No more than `most` bytes are made of it, and one to tell.

    Raises HTTPException 413 for more, BadInputError for what is not so encoded.
    """
    if encoding is None:
        return content
    stream = zlib.decompressobj(_FORMATS[encoding])
    try:
        found = stream.decompress(content, most + 1)
    except zlib.error as error:
        raise BadInputError(f"the body must be {encoding}, as content-encoding says: {error}") from None
    if len(found) > most:
        raise HTTPException(413, f"the body must have at most {most} bytes when it is decompressed; send fewer rows")
    if not stream.eof:
        raise BadInputError(f"the body must be {encoding}, as content-encoding says: its end is missing")
    if stream.unused_data:
        raise BadInputError(
            f"the body must be one stream of {encoding}; {len(stream.unused_data)} bytes come behind it"
        )
    return found


def deflated(answer: Answer, encoding: Encoding | None) -> Answer:
    """The answer compressed, if its client takes it so and that makes less of it."""
    if encoding is None or len(answer.content) < WORTH:
        return answer
    stream = zlib.compressobj(_FASTEST, wbits=_FORMATS[encoding])
    made = stream.compress(answer.content) + stream.flush()
    return replace(answer, content=made, encoding=encoding) if len(made) < len(answer.content) else answer


def _header(request: Request, wanted: bytes) -> bytes:
    """A header as it came: to ask Starlette for it costs as much as all else here."""
    return b",".join([value for name, value in request.scope["headers"] if name == wanted])


@lru_cache(maxsize=32)  # nearly all clients send the same
def _preferred(header: bytes) -> Encoding | None:
    weights = dict[str, float]()
    for entry in _listed(header):
        name, _, parameter = entry.partition(";")
        weights[name.strip()] = _weight(parameter)
    known: Sequence[Encoding] = ("gzip", "deflate")
    best = max(known, key=lambda name: weights.get(name, weights.get("*", 0.0)))
    weight = weights.get(best, weights.get("*", 0.0))
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def _listed(header: bytes) -> Sequence[str]:
    return [name for entry in header.decode("latin-1").lower().split(",") if (name := entry.strip())]


def _weight(text: str) -> float:
    """The quality of `q=0.5`; 1 where there is none. What is no number is not wanted."""
    name, _, number = text.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(number)
    except ValueError:
        return 0.0
