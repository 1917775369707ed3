"""What a server answers to one GET over a connection of its own, as it arrives and bounded from its first byte.

HTTP/1.1 as far as that takes: no answer before the answer, no trailers, no further request. Libraries for HTTP read
answers of 1xx for as long as there are any, and keep them.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping

LONGEST_HEAD = 16 * 1024
"""Bytes of the status line and all headers."""
MOST_CHUNKS = 4096
"""Of a body; taking one apart costs as much as reading some lines."""
PART = 2 * 1024
"""Bytes that are handed on at once."""
_PIECE = 2 * 1024
"""Bytes that are looked at before others have their turn."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: .*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?")
_LONGEST_LINE = 256
"""Of a chunk's size and its extensions."""


class AnswerError(ValueError):
    """What was sent is no answer of HTTP/1.1, or ends too early."""


class LargeAnswerError(AnswerError):
    """A body is larger than allowed; the text says so, as what is said of a server: "its answer ..."."""


class Reader(asyncio.StreamReader):
    """What arrives, to its last byte: one who answers without reading what it was asked resets the connection."""

    def __init__(self) -> None:
        super().__init__(limit=LONGEST_HEAD)

    def set_exception(self, exc: Exception) -> None:  # noqa: ARG002 - not ours to name
        """The connection is lost: what came before is still an answer, if it is whole."""
        self.feed_eof()


async def head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    """The status and the headers, by their names in small letters; several of one name are joined by commas.

    Raises AnswerError, also for an answer of 1xx: nothing was asked that one could belong to.
    """
    status = _STATUS.fullmatch(line := await _line(reader))
    if status is None:
        raise AnswerError(f"it begins with {line[:80]!r}")
    headers: dict[str, str] = {}
    size = len(line)
    while line := await _line(reader):
        size += len(line) + 2
        if size > LONGEST_HEAD:
            raise AnswerError(f"its headers have more than {LONGEST_HEAD} bytes")
        if (header := _HEADER.fullmatch(line)) is None:
            raise AnswerError(f"header {line[:80]!r}")
        name, value = header[1].decode().lower(), header[2].strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return int(status[1]), headers


async def body(
    reader: asyncio.StreamReader, headers: Mapping[str, str], most: int, take: Callable[[bytes], Iterable[None]]
) -> None:
    """Hand the body on in parts of about PART bytes, however it arrives, and let others have their turn after each
    piece of what is done with one. Raises AnswerError, a LargeAnswerError when it takes more than `most` bytes or too
    many chunks to send it, and what `take` raises.
    """
    chunks = _Chunks() if "transfer-encoding" in headers else None
    if chunks and headers["transfer-encoding"].lower() != "chunked":
        raise AnswerError(f"transfer-encoding {headers['transfer-encoding']!r}")
    length = headers.get("content-length")
    if length is not None and not re.fullmatch("[0-9]{1,18}", length):
        raise AnswerError(f"content-length {length!r}")
    left = int(length) if length is not None and not chunks else None
    sent, part = 0, bytearray()
    while left != 0 and not (chunks and chunks.done):
        received = await reader.read(_PIECE if left is None else min(left, _PIECE))
        if not received:
            if chunks or left:
                raise AnswerError("it ends too early")
            break
        sent += len(received)
        if sent > most:
            raise LargeAnswerError(f"its answer has more than {most // 1024} KiB")
        left = None if left is None else left - len(received)
        part += chunks.decoded(received) if chunks else received
        if len(part) >= PART:  # what comes byte by byte is looked at as seldom as anything else
            await _all(take(bytes(part)))
            part.clear()
        await asyncio.sleep(0)  # reading waits for nothing as long as there is something
    await _all(take(bytes(part)))


async def _all(pieces: Iterable[None]) -> None:
    for _ in pieces:
        await asyncio.sleep(0)


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\n")
    except (asyncio.LimitOverrunError, asyncio.IncompleteReadError) as error:
        raise AnswerError(f"a line does not end: {error}") from None
    if len(line) > LONGEST_HEAD:
        raise AnswerError("a line is too long")
    return line.rstrip(b"\r\n")


class _Chunks:
    """Takes the chunks apart that a body is sent in."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        """Bytes of a chunk that are still to come."""
        self._within = False
        """The line that ends a chunk is still to come."""
        self._rest = b""
        self._count = 0

    def decoded(self, received: bytes) -> bytes:
        """The bytes of the body among those that were received. Raises AnswerError."""
        sent, at, found = self._rest + received, 0, list[bytes]()
        while not self.done:
            if self._left:
                piece = sent[at : at + self._left]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
            end = sent.find(b"\n", at, at + _LONGEST_LINE)
            if self._left or end < 0:
                break
            self._begin(sent[at:end].rstrip(b"\r"))
            at = end + 1
        self._rest = b"" if self.done else sent[at:]
        if len(self._rest) >= _LONGEST_LINE:
            raise AnswerError("a chunk's size is too long")
        return b"".join(found)

    def _begin(self, line: bytes) -> None:
        """A line between two chunks."""
        if self._within:
            if line:
                raise AnswerError("a chunk is longer than it says")
            self._within = False
            return
        size = _SIZE.fullmatch(line)
        self._count += 1
        if size is None:
            raise AnswerError(f"chunk {line[:80]!r}")
        if self._count > MOST_CHUNKS:
            raise LargeAnswerError(f"its answer comes in more than {MOST_CHUNKS} chunks")
        self._left = int(size[1], 16)
        self._within, self.done = True, self._left == 0
