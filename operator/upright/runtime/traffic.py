"""What surrounds the HTTP application: requests for predictions are counted, and answers name their version."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette

from upright.api.serving import VERSION_HEADER
from upright.runtime.measurements import CountedRequest, Measurements

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COUNTED = "upright.request"
"""Where the scope of a request for predictions has the CountedRequest."""

_PREDICTION = re.compile(r"(?s:/v1/models/.+:predict|/v2/models/.+/infer)\n?")  # a last newline is none to Starlette
"""Where predictions are asked for, of whatever model and version: a version that no longer answers where clients ask
refuses them as much as one that does not take what they send."""


class Traffic:
    """ASGI application around another: counts requests for predictions, names the version, and sends clients elsewhere
    while the pod is about to stop.
    """

    def __init__(self, app: Starlette, version: str, measured: Measurements, draining: Callable[[], bool]) -> None:
        self._app = app
        self.lifespan = app.router.lifespan_context
        self.version = version
        self._named_version = (VERSION_HEADER.encode(), version.encode())
        self._measured = measured
        self._draining = draining

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "POST" and _PREDICTION.fullmatch(scope["path"]):
            await self._counted(scope, receive, self._named(send))
        else:
            await self._app(scope, receive, self._named(send))

    def _named(self, send: Send) -> Send:
        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                closing = [(b"connection", b"close")] if self._draining() else []
                message = {**message, "headers": [*message.get("headers", ()), self._named_version, *closing]}
            await send(message)

        return send_with_version

    async def _counted(self, scope: Message, receive: Receive, send: Send) -> None:
        request = CountedRequest(self._measured)

        async def receive_and_note() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                request.enter()
            return message

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.answered(message["status"])
            await send(message)

        try:
            await self._app({**scope, COUNTED: request}, receive_and_note, send_and_note)
        except Exception:
            request.answered(500)
            raise
        finally:
            request.end()
