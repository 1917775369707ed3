"""What surrounds the application: the counts that a rollout is judged by, and which version answered."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from time import perf_counter
from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from starlette.applications import Starlette

from upright.api.serving import (
    ANSWERED,
    FAILED,
    FAILURES,
    IN_PROGRESS,
    MISTAKEN,
    OVERLOADED,
    PREDICTIONS,
    REQUEST_DURATION,
    REQUESTS,
    VERSION_HEADER,
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BUSY = 503
"""The status of an answer to a request for which there is no room."""

GONE = 499
"""The status of an answer for which no client is left."""

_NOBODYS = (408, GONE)
"""Statuses that say nothing of a version: the client sent too slowly, or went away before its turn."""

_PREDICTION = re.compile(r"/v1/models/.+:predict|/v2/models/.+/infer")
"""Where predictions are asked for, of whatever model and version: a version that no longer answers where clients ask
refuses them as much as one that does not take what they send."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Measurements:
    """The metrics of one model version, from zero."""

    def __init__(self, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        requests = Counter(REQUESTS, "Requests for predictions by status class.", [*labels, "code"])
        self._requests = {
            code: requests.labels(**labels, code=code) for code in (ANSWERED, MISTAKEN, FAILED, OVERLOADED)
        }
        failures = Counter(FAILURES, "Requests for predictions that failed, by what went wrong.", [*labels, "reason"])
        self._failures = partial(failures.labels, model, version)
        self._durations = Histogram(
            REQUEST_DURATION, "Seconds until a request for predictions was answered.", [*labels], buckets=_BUCKETS
        ).labels(**labels)
        self.in_progress = Gauge(
            IN_PROGRESS, "Requests for predictions without an answer yet.", [*labels], multiprocess_mode="livesum"
        ).labels(**labels)
        self.predictions = Counter(PREDICTIONS, "Rows that were predicted.", [*labels]).labels(**labels)

    def failed(self, reason: str) -> None:
        """What is answered with 5xx has gone wrong so."""
        self._failures(reason).inc()

    def count(self, status: int, seconds: float) -> None:
        """One request has been answered. What was refused says nothing of how long the model takes."""
        if status in _NOBODYS:
            return
        code = OVERLOADED if status == BUSY else FAILED if status >= 500 else MISTAKEN if status >= 400 else ANSWERED
        self._requests[code].inc()
        if code in {ANSWERED, FAILED}:
            self._durations.observe(seconds)


class _Request:
    """One request for predictions: in progress from its last byte to the first of its answer.

    So a client that sends or reads slowly is not taken for a model that does, and one that goes away before the model
    has begun counts nothing, unless its turn did not come in time. One that goes away later counts as it was answered:
    the model's part was done, and an error would make clients' impatience the version's fault.
    """

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._entered: float | None = None
        self._ended = False

    def received(self, message: Message) -> None:
        """The server passes on a part of the request, or that the client is gone."""
        if self._entered is not None or self._ended or message["type"] == "http.disconnect":
            return
        if not message.get("more_body", False):
            self._entered = perf_counter()
            self._measured.in_progress.inc()

    def answered(self, status: int) -> None:
        """The answer begins."""
        if self._ended:
            return
        seconds = 0.0 if self._entered is None else perf_counter() - self._entered
        self.end()
        self._measured.count(status, seconds)

    def end(self) -> None:
        """Nothing more will come of it, answered or not."""
        if self._entered is not None and not self._ended:
            self._measured.in_progress.dec()
        self._ended = True


class Traffic:
    """ASGI application around another: counts requests for predictions, names the version, and sends clients elsewhere
    while the pod is about to stop.
    """

    def __init__(self, app: Starlette, version: str, measured: Measurements, draining: Callable[[], bool]) -> None:
        self._app = app
        self.lifespan = app.router.lifespan_context
        self._version = (VERSION_HEADER.encode(), version.encode())
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
                message = {**message, "headers": [*message.get("headers", ()), self._version, *closing]}
            await send(message)

        return send_with_version

    async def _counted(self, scope: Message, receive: Receive, send: Send) -> None:
        request = _Request(self._measured)

        async def receive_and_note() -> Message:
            message = await receive()
            request.received(message)
            return message

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.answered(message["status"])
            await send(message)

        try:
            await self._app(scope, receive_and_note, send_and_note)
        except Exception:
            request.answered(500)
            raise
        finally:
            request.end()
