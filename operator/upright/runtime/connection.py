"""How long a connection may be half used: a request that does not come to its end, or an answer that is not read, would
be kept for ever.

h11 bounds the headers of a request, and what may follow its body, at 64 KiB; httptools, which is faster, takes as many
as come.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 60.0
"""Seconds that a client may take to send a request's headers, or to read `LEAST` more of an answer."""

LEAST = 64 * 1024
"""Bytes of an answer that a client reads within PATIENCE, unless less is left."""


class Connection(H11Protocol):
    """uvicorn's connection, which ends when nothing comes of it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._coming: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._coming = self.loop.call_later(PATIENCE, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_coming()
        elif self._coming is None and not self.transport.is_closing():
            self._coming = self.loop.call_later(PATIENCE, self.transport.abort)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _await_reader(self) -> None:
        self._unread = self.loop.call_later(PATIENCE, self._has_read, self.transport.get_write_buffer_size())

    def _has_read(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() > unread - LEAST:
            self.transport.abort()
        else:
            self._await_reader()

    def _cancel_coming(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _cancel_timers(self) -> None:
        self._cancel_coming()
        if self._unread is not None:
            self._unread.cancel()
