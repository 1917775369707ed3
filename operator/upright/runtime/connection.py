"""How a connection is read and written: neither takes more memory, nor more time, than a request needs."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 64 * 1024
"""Bytes of a request's line and headers, about: httptools keeps as many as come."""

PATIENCE = 60.0
"""Seconds that a client may take to send a request's headers, or to read `LEAST` more of an answer."""

LEAST = 64 * 1024
"""Bytes of an answer that a client reads within PATIENCE, unless less is left."""


class Connection(HttpToolsProtocol):
    """uvicorn's connection with bounds of its own: what nobody counts must not fill the pod."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head = 0
        """Bytes of the headers that are coming."""
        self._due: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_there()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        coming = self._due is not None
        super().data_received(data)
        if coming and self._due is not None:
            self._head += len(data)
            if self._head > HEAD:
                self.send_400_response(f"The headers of a request may have {HEAD} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_is_there()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _await_reader(self) -> None:
        self._stalled = self.loop.call_later(PATIENCE, self._has_read, self.transport.get_write_buffer_size())

    def _has_read(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() > unread - LEAST:
            self.transport.abort()
        else:
            self._await_reader()

    def _await_head(self) -> None:
        if self._due is None:
            self._head = 0
            self._due = self.loop.call_later(PATIENCE, self.transport.abort)

    def _head_is_there(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
