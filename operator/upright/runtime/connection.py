"""How a connection is read and written: neither takes more memory, nor more time, than a request needs.

httptools reads several times as fast as h11 does, and bounds nothing of what a stranger sends: that is done here.
"""

import asyncio
import json
import random
import resource
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from upright.api.serving import CONNECTION_SECONDS, VERSION_HEADER
from upright.runtime.response import TRANSPORT

HEAD = 64 * 1024
"""Bytes of a request that are no part of its body, beside as many as its body has: its line and headers, what stands
between the chunks of a body, and what follows it. A read may hold 256 KiB more."""

HEADERS = 128
"""Headers of a request."""

AHEAD = 64
"""Requests of a connection that may wait for the one before them, and that a single read may hold."""

CONNECTIONS = 4096
"""At once, and no more than half of the files that the process may have open."""

PATIENCE = 60.0
"""Seconds that a client may take to send a request's headers, or to read `LEAST` more of an answer."""

LEAST = 64 * 1024
"""Bytes of an answer that a client reads within PATIENCE, unless less is left."""

_FRAMING = (b"content-length", b"transfer-encoding")


class _TooMuchError(Exception):
    """What is refused while it is parsed."""


class _Flow(FlowControl):
    """Nothing more is read while requests wait for the one before them."""

    def __init__(self, transport: asyncio.Transport, waiting: "deque[Any]") -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """uvicorn's connection with bounds of its own, which ends when nothing comes of it."""

    def __init__(self, *arguments: Any, version: str = "", **named: Any) -> None:
        """`version`: which one refuses what never comes to the application."""
        super().__init__(*arguments, **named)
        self._version = version
        self._room = HEAD
        """Bytes that may still come before the message ends, but for those of its body."""
        self._under_way = False
        """Whether a message has begun and not ended."""
        self._again = False
        """Whether the parser is told of a message for the second time."""
        self._since = self._old = 0.0
        """When it was made, and from when on a request is its last, in the loop's time."""
        self._coming: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self._coming = self.loop.call_later(PATIENCE, transport.abort)
        self._since = self.loop.time()
        self._old = self._since + CONNECTION_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311 - not all at once
        if len(self.connections) > min(CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2):
            self._end_an_idle_one()

    def _end_an_idle_one(self) -> None:
        """The oldest on which no request waits for its answer; this one, where there is no other."""
        idle = (each for each in self.connections if isinstance(each, Connection) and each._is_idle)
        min(idle, key=lambda each: each._since).transport.abort()

    @property
    def _is_idle(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.transport.get_write_buffer_size() and not self.transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        self._unset_keepalive_if_required()  # of one that was reset uvicorn leaves a timer, which keeps it all
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._room -= len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            refused = error.__context__
            self.send_400_response(str(refused) if isinstance(refused, _TooMuchError) else "This is not HTTP/1.1.")
        else:
            if self._room < 0:
                self.send_400_response(f"A request may have {HEAD} bytes beside its body.")
        self._await_rest()

    def _await_rest(self) -> None:
        """What has begun must come to its end; what is answered while it comes is no exception."""
        if self.transport.is_closing():
            return
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._under_way:
            if self._coming is None:
                self._coming = self.loop.call_later(PATIENCE, self.transport.abort)
            return
        self._cancel_coming()
        if answered:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """As all errors are told."""
        content = json.dumps({"error": msg}).encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n%b: %b\r\n\r\n%b"
            % (len(content), VERSION_HEADER.encode(), self._version.encode(), content)
        )
        self.transport.close()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_offer(data[offer.args[0] :])

    def _pass_over_offer(self, rest: bytes) -> None:
        """A client may offer to speak another protocol, as Java's does by default, and is answered in this one.

        The parser takes the message to be over and all that follows for the other protocol, so that a new one has to be
        told what kind of body it is that comes.
        """
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        self.parser = httptools.HttpRequestParser(self)
        self._again = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
        self._feed(rest)

    def on_message_begin(self) -> None:
        if not self._again:
            self._under_way = True
            super().on_message_begin()
            self.scope["extensions"] = {TRANSPORT: self.transport}  # type: ignore[dict-item]

    def on_url(self, url: bytes) -> None:
        if not self._again:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._again or (self.cycle is not None and self.cycle.scope is self.scope):
            return  # what follows a body would be taken for headers by whoever reads these meanwhile
        if len(self.headers) == HEADERS:
            raise _TooMuchError(f"A request may have {HEADERS} headers.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._again:
            self._again = False
            return
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD:
            raise _TooMuchError(f"The line and the headers of a request may have {HEAD} bytes.")
        if len(self.pipeline) == AHEAD:
            raise _TooMuchError(f"A connection may be {AHEAD} requests ahead of the answers.")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._room += 2 * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._room = HEAD
        self._under_way = False
        # Not before: who is still sending when the connection ends may not see the answer.
        if self.loop.time() > self._old and not self.cycle.response_started:
            self.cycle.keep_alive = False  # which the answer says
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.cycle.response_complete:
            self.cycle.body = bytearray()  # which nobody has read, and would stay for as long as the connection
        super().on_response_complete()
        self._await_reader()
        if self._under_way:  # the next request, or what was not waited for of this one, has begun to come already
            self._await_rest()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._await_reader()

    def _await_reader(self) -> None:
        """From now on, what is left of an answer has to be read."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if left := self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(PATIENCE, self._has_read, left)

    def _has_read(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() > max(unread - LEAST, 0):
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
