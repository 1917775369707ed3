"""The HTTP service: one application that serves whatever model the mounted artifact holds."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import FrameType
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

import upright
from upright.api.artifact import Tensor
from upright.runtime.answering import Answering, UnansweredError
from upright.runtime.asked import Asked
from upright.runtime.batch import BadInputError
from upright.runtime.binary import HEADER
from upright.runtime.body import BODY_LIMIT, LATER, Body
from upright.runtime.compression import accepted_of, deflated, encoding_of, inflated
from upright.runtime.docs import Documentation
from upright.runtime.measurements import BUSY, GONE
from upright.runtime.parsing import parsed
from upright.runtime.protocol import infer_answer, parse_infer, parse_predict, predict_answer, tensor_metadata
from upright.runtime.repository import index
from upright.runtime.response import response
from upright.runtime.traffic import COUNTED, Traffic

DRAIN_SECONDS = 2.0
"""From the signal to stop until connections are refused: by then no client should be sent here any more."""

_LASTS = 0.02
"""Seconds of waiting for the model after which it is looked whether the client is still there: that costs a task, as
much as parsing a small body, and most requests are answered by then."""

_METHOD = 405

logger = logging.getLogger("upright.serve")


@dataclass(frozen=True)
class Beside:
    """What else is served while the application is."""

    serving: AbstractAsyncContextManager[None] = field(default_factory=nullcontext)
    drain_seconds: float = DRAIN_SECONDS
    """That it needs from the signal to stop; DRAIN_SECONDS at least."""


def application(answering: Answering, registry: CollectorRegistry, beside: Beside | None = None) -> Traffic:
    """The whole HTTP application of a serving process. `registry`: what `/metrics` tells."""
    routes = _Routes(answering, registry, beside or Beside())
    inner = Starlette(
        routes=routes.table(),
        lifespan=routes.lifespan,
        exception_handlers={
            404: routes.unknown,
            HTTPException: routes.refused,
            UnansweredError: _unanswered,
            BadInputError: _bad_input,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    inner.router.redirect_slashes = False  # to an address that this process would have to guess, and without TLS
    return Traffic(inner, answering.served.version, answering.measured, lambda: answering.draining)


class _Routes:
    """The model's routes."""

    def __init__(self, answering: Answering, registry: CollectorRegistry, beside: Beside) -> None:
        self._answering = answering
        self._beside = beside
        self._served = served = answering.served
        self._registry = registry
        self._v1 = f"/v1/models/{served.model}"
        self._v2 = f"/v2/models/{served.model}"
        self._versioned = f"{self._v2}/versions/{served.version}"

    def table(self) -> list[Route]:
        """Every route, those that are asked most first; the paths of other models and versions are unknown."""
        return [
            Route(f"{self._v1}:predict", self._predict, methods=["POST"]),
            *(Route(f"{model}/infer", self._infer, methods=["POST"]) for model in (self._v2, self._versioned)),
            *(Route(path, self._alive) for path in ("/livez", "/healthz")),
            Route("/readyz", self._serves),
            Route("/", self._v1_server),
            Route("/metrics", self._metrics),
            Route("/v1/models", self._v1_list),
            Route(self._v1, self._v1_model),
            *(Route(model, self._v2_model) for model in (self._v2, self._versioned)),
            *(Route(f"{model}/ready", self._v2_model_ready) for model in (self._v2, self._versioned)),
            Route("/v2", self._v2_server),
            Route("/v2/repository/index", self._index, methods=["GET", "POST"]),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
            *Documentation(self._served, self._answering.unread).routes(),
        ]

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Warm the model up, then serve; when asked to stop, be unready for a while before refusing connections."""
        stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def drain(number: int, frame: FrameType | None) -> None:
            if self._answering.draining:
                return
            loop.call_soon_threadsafe(self._answering.stopping.set)
            if callable(stop) and self._answering.place is None:  # whoever forked several ends them
                loop.call_soon_threadsafe(loop.call_later, self._beside.drain_seconds, stop, number, frame)

        signal.signal(signal.SIGTERM, drain)
        warming = asyncio.create_task(self._answering.warm_up())
        await asyncio.wait({warming}, timeout=self._answering.timeout)
        if warming.done():
            warming.result()
        else:
            logger.error("Not ready: the model has not answered the example in its manifest yet")
        gc.collect()
        gc.freeze()  # what the model is made of is there for good: to look for garbage in it stops all for 0.1 s
        place = self._answering.place
        telling = asyncio.create_task(self._answering.tell(place)) if place else None
        async with self._beside.serving:
            yield
        warming.cancel()
        if telling:
            telling.cancel()

    async def _predict(self, request: Request) -> Response:
        def parse(body: bytes) -> Asked:
            asked = parse_predict(body, self._served.predictor.signature, self._served.outputs)
            return Asked(asked.batch, [asked.output], lambda found: predict_answer(found, asked))

        return await self._respond(request, parse)

    async def _infer(self, request: Request) -> Response:
        served, head = self._served, request.headers.get(HEADER)
        named = {"model_name": served.model, "model_version": served.version}

        def parse(body: bytes) -> Asked:
            asked = parse_infer(body, served.predictor.signature, served.outputs, head)
            return Asked(asked.batch, list(asked.outputs), lambda found: infer_answer(named, found, asked))

        return await self._respond(request, parse)

    async def _respond(self, request: Request, parse: Callable[[bytes], Asked]) -> Response:
        """When the client goes, the body goes with it at once. Its place in line is kept: that a model answers nothing
        shows even where no client waits long enough to be told so.
        """
        accepted, counted = accepted_of(request), request.scope[COUNTED]
        with Body(self._answering.room) as body:
            await body.read(request)
            encoding = encoding_of(request)

            def question() -> Asked:
                asked = parsed(inflated(body.take(), encoding, BODY_LIMIT), parse)
                counted.has(asked.batch)
                return replace(asked, told=lambda found: deflated(asked.told(found), accepted))

            with _dropped_when_gone(request, body):
                answered = await self._answering.answer(question)
        headers = {"vary": "accept-encoding"}
        if answered.encoding is not None:
            headers["content-encoding"] = answered.encoding
        kind = "application/json"
        if answered.head is not None:
            headers[HEADER], kind = str(answered.head), "application/octet-stream"
        return response(self._answering.unread, answered.content, kind, headers)

    async def _alive(self, _: Request) -> Response:
        return Response(status_code=200 if self._answering.alive else 503)

    async def _serves(self, _: Request) -> Response:
        return Response(status_code=200 if self._answering.ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return response(self._answering.unread, generate_latest(self._registry), CONTENT_TYPE_LATEST)

    async def _v1_server(self, _: Request) -> Response:
        """What KServe's client asks to know whether a server of V1 is there."""
        alive = self._answering.alive
        return _json({"status": "alive" if alive else "stuck"}, 200 if alive else 503)

    async def _v1_list(self, _: Request) -> Response:
        return _json({"models": [self._served.model]})

    async def _v1_model(self, _: Request) -> Response:
        return _json({"name": self._served.model, "ready": self._answering.ready})

    async def _v2_server(self, _: Request) -> Response:
        return _json({"name": "upright", "version": upright.__version__, "extensions": ["binary_tensor_data"]})

    async def _index(self, request: Request) -> Response:
        with Body(self._answering.room) as body:
            await body.read(request)
            return _json(index(body.take(), self._served.model, self._served.version, self._answering.hindrance))

    async def _live(self, _: Request) -> Response:
        return _json({"live": self._answering.alive}, 200 if self._answering.alive else 503)

    async def _ready(self, _: Request) -> Response:
        return _json({"ready": self._answering.ready}, 200 if self._answering.ready else 503)

    async def _v2_model_ready(self, _: Request) -> Response:
        return _json(
            {"name": self._served.model, "ready": self._answering.ready}, 200 if self._answering.ready else 503
        )

    async def _v2_model(self, _: Request) -> Response:
        content = await asyncio.to_thread(lambda: self._metadata)  # there may be thousands of columns
        return response(self._answering.unread, content, "application/json")

    @cached_property
    def _metadata(self) -> bytes:
        served = self._served
        return to_json(
            {
                "name": served.model,
                "versions": [served.version],
                "platform": served.platform,
                "inputs": [tensor_metadata(tensor) for tensor in served.predictor.signature.inputs],
                "outputs": [self._output(tensor) for tensor in served.predictor.signature.outputs],
            }
        )

    def _output(self, tensor: Tensor) -> Mapping[str, Any]:
        classes = self._served.predictor.classes_of(tensor.name)
        return {**tensor_metadata(tensor), **({"classes": classes} if classes else {})}

    async def unknown(self, request: Request, _: Exception) -> Response:
        """The answer where there is nothing."""
        return _json(
            {
                "error": f"there is nothing at {request.scope['path'][:200]}; this pod serves version "
                f"{self._served.version} of model {self._served.model} at {self._asked_at}"
            },
            404,
        )

    async def refused(self, request: Request, error: Exception) -> Response:
        """The answer to what is asked otherwise than it may be, and to what may be asked of nobody."""
        status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        headers = error.headers if isinstance(error, HTTPException) else None
        if status == _METHOD and headers:
            allowed = " or ".join(sorted(headers["Allow"].split(", ")))
            detail = f"{request.scope['path'][:200]} is asked with {allowed}; this request has {request.method[:20]}"
            if request.method == "POST":
                detail += f"; predictions are asked for at {self._asked_at}"
        response = _json({"error": detail}, status)
        response.headers.update(headers or {})
        return response

    @property
    def _asked_at(self) -> str:
        return f"POST {self._v1}:predict and POST {self._v2}/infer"


@contextmanager
def _dropped_when_gone(request: Request, body: Body) -> Iterator[None]:
    """While the context lasts the body is dropped as soon as the client is gone, or after _LASTS."""
    loop = asyncio.get_running_loop()
    watching: asyncio.TimerHandle | asyncio.Task[None]

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        body.drop()

    def begin() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    watching = loop.call_later(_LASTS, begin)
    try:
        yield
    finally:
        watching.cancel()


def _json(document: Mapping[str, Any] | Sequence[Any], status: int = 200) -> Response:
    return Response(to_json(document), status, media_type="application/json")


async def _unanswered(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, UnansweredError) else 500
    response = _json({"error": str(error)}, status)
    if status == BUSY:
        response.headers.update(LATER)
    return response


async def _bad_input(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _gone(_: Request, __: Exception) -> Response:
    return _json({"error": "the client went away"}, GONE)


async def _failed(_: Request, __: Exception) -> Response:
    """The server ends the connection after what it did not foresee: the client is told, and loses no next request."""
    response = _json({"error": "the server failed on this request; its log says why"}, 500)
    response.headers["connection"] = "close"
    return response
