"""Requests' bodies while they come and wait for the model: bounded all together."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

BODY_LIMIT = 8 * 1024**2
"""Bytes of a request's body."""

ROOM = 16 * BODY_LIMIT
"""Bytes of all bodies that a process holds, small ones left out."""

SMALL = 64 * 1024
"""Bytes of a body, or an answer, that always finds room: the server has read as much of each connection in advance
anyway. So a few clients that send or take much, and slowly, turn nobody away who sends little."""

READING = 60.0
"""Seconds that a body may take from its first byte to its last: it takes room away from others."""

LATER = {"Retry-After": "1"}
"""Headers of an answer to what finds no room: by then something else has been answered."""

_DISCARDED = 8 * BODY_LIMIT


class Room:
    """How much room for bodies there is, and is taken, in bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def refusal(self, size: int) -> HTTPException | None:
        """Why what takes so many of the bytes that are taken cannot be kept, if it cannot."""
        if size <= SMALL or self.taken <= self.limit:
            return None
        return HTTPException(
            503,
            f"{self.limit} bytes of requests are here already, and wait for the model; try again later, or with fewer "
            "rows at once",
            LATER,
        )


class Body:
    """A request's body, which takes room until it is dropped, or the context is left."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0
        self._content: bytes | bytearray | None = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.drop()

    async def read(self, request: Request) -> None:
        """Take the body in. Raises HTTPException 408, 413 or 503, or ClientDisconnect.

        What is too large, or finds no room, is read to its end, within reason: a client that is still sending would not
        see the answer.
        """
        size, refusal = 0, None
        try:
            async with asyncio.timeout(READING):
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk, more = message.get("body", b""), message.get("more_body", False)
                    size += len(chunk)
                    if size > _DISCARDED:
                        break
                    if refusal is None:
                        self._add(chunk)
                    if size > BODY_LIMIT:
                        refusal = HTTPException(
                            413, f"the body must have at most {BODY_LIMIT} bytes; send fewer rows at once"
                        )
                        self.drop()
                    elif refusal is None and (refusal := self._room.refusal(self._size)):
                        self.drop()
        except TimeoutError:
            closing = {"Connection": "close"}
            raise HTTPException(408, f"the body has not come within {READING:g} seconds", closing) from None
        if refusal:
            raise refusal

    def hold(self, content: bytes) -> None:
        """Take in a body that is there already. Raises HTTPException 503."""
        self._content = content
        self._take_room(len(content))
        if refusal := self._room.refusal(self._size):
            raise refusal

    def take(self) -> bytes:
        """The body, once, for the thread whose turn it is. Raises ClientDisconnect when it has been dropped."""
        content, self._content = self._content, None
        if content is None:
            raise ClientDisconnect
        return bytes(content)

    def drop(self) -> None:
        """Nobody wants it any more: it takes no room from now on."""
        self._content = None
        self._room.taken -= self._size
        self._size = 0

    def _add(self, chunk: bytes) -> None:
        if self._content is not None:
            self._content += chunk
            self._take_room(len(chunk))

    def _take_room(self, size: int) -> None:
        self._size += size
        self._room.taken += size
