"""Answers over HTTP, of which large ones take room until their clients have read them."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from upright.runtime.body import SMALL
from upright.runtime.unread import Unread

TRANSPORT = "upright.transport"
"""The extension of ASGI by which an answer knows how much of it is left, and can end the connection."""


def response(unread: Unread, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of 200. `kind`: its media type."""
    if len(content) <= SMALL:
        return Response(content, headers=headers, media_type=kind)
    return _Kept(unread, content, kind, headers)


class _Kept(Response):
    """An answer that takes room until its client has read it, or is gone."""

    def __init__(self, unread: Unread, content: bytes, kind: str, headers: Mapping[str, str] | None) -> None:
        super().__init__(content, headers=headers, media_type=kind)
        self._unread = unread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport, size = scope.get("extensions", {}).get(TRANSPORT), len(self.body)
        if transport is None:  # another server has the connection, as in a Bento
            await super().__call__(scope, receive, send)
            return
        written = False

        def left() -> int:  # what is before it on the connection is not it
            return min(size, transport.get_write_buffer_size()) if written else size

        with self._unread.kept(size, left, transport.abort):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.body, "more_body": True})
            written = True
            await send({"type": "http.response.body", "body": b""})  # which waits for what was sent before
