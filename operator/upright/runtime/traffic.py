"""What surrounds BentoML's application: one label for all unknown paths, and the counts that a rollout is judged by."""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from time import perf_counter
from typing import Any

from prometheus_client import Counter, Histogram

from upright.api.serving import (
    ANSWERED,
    FAILED,
    MISTAKEN,
    PREDICTIONS,
    REQUEST_DURATION,
    REQUESTS,
    VERSION_HEADER,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

UNKNOWN = "/unknown"
"""The path that every unknown path becomes before BentoML labels its metrics with it."""

ASKED = "upright.path"
"""Where an unknown path is kept for the answer."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Measurements:
    """The metrics of one model version, from zero."""

    def __init__(self, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        requests = Counter(REQUESTS, "Requests for predictions by status class.", [*labels, "code"])
        self._requests = {code: requests.labels(**labels, code=code) for code in (ANSWERED, MISTAKEN, FAILED)}
        self._durations = Histogram(
            REQUEST_DURATION, "Seconds until a request for predictions was answered.", [*labels], buckets=_BUCKETS
        ).labels(**labels)
        self.predictions = Counter(PREDICTIONS, "Rows that were predicted.", [*labels]).labels(**labels)

    def count(self, status: int, seconds: float) -> None:
        """One request has been answered. A client's mistake says nothing of how long the model takes."""
        code = FAILED if status >= 500 else MISTAKEN if status >= 400 else ANSWERED
        self._requests[code].inc()
        if code != MISTAKEN:
            self._durations.observe(seconds)


class Traffic:
    """ASGI application around another: hides unknown paths, counts requests for predictions, names the version, and
    sends clients elsewhere while the pod is about to stop.
    """

    def __init__(
        self,
        app: Application,
        known: Collection[str],
        counted: Collection[str],
        version: str,
        measured: Measurements,
        draining: Callable[[], bool],
    ) -> None:
        self._app = app
        self._known = frozenset(known)
        self._counted = frozenset(counted)
        self._version = (VERSION_HEADER.encode(), version.encode())
        self._measured = measured
        self._draining = draining

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] not in self._known:
            scope = {**scope, "path": UNKNOWN, "raw_path": UNKNOWN.encode(), ASKED: scope["path"]}
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        counted = scope["path"] in self._counted and scope["method"] == "POST"
        begun, status = perf_counter(), 0

        async def send_with_version(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                closing = [(b"connection", b"close")] if self._draining() else []
                message = {**message, "headers": [*message.get("headers", ()), self._version, *closing]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_version)
        except Exception:
            status = 500
            raise
        finally:
            if counted and status:
                self._measured.count(status, perf_counter() - begun)
