"""The HTTP service: one application that serves whatever model the mounted artifact holds."""

import asyncio
import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from upright.runtime.artifact import ServedModel
from upright.runtime.asked import Answer, Asked, Question, answer, answers
from upright.runtime.batch import BadInputError, batch_of_rows
from upright.runtime.batching import Batching
from upright.runtime.binary import HEADER
from upright.runtime.body import LATER, ROOM, Body, Room
from upright.runtime.load import Load
from upright.runtime.predictor import FURTHER, ModelError, Predictor
from upright.runtime.protocol import infer_answer, parse_infer, parse_predict, predict_answer, tensor_metadata
from upright.runtime.threads import OverloadedError, PredictionThreads
from upright.runtime.traffic import BUSY, GONE, Measurements, Traffic

DRAIN_SECONDS = 2.0
"""From the signal to stop until connections are refused: by then no client should be sent here any more."""

_PREDICTING_THREADS = 4

_HOPELESS = 10
"""Timeouts. A pod that has had no thread free for one gets no requests; the model may be slow, and then it is served
again. After so many only a new process helps, and liveness has the kubelet make one."""

logger = logging.getLogger("upright.serve")


@dataclass
class _State:
    """What changes while a pod serves."""

    threads: PredictionThreads
    timeout: float
    """Seconds within which a request for predictions is answered, if not by the model then by an error."""

    warm: bool = False
    draining: bool = False

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here: the model has answered once, and can answer more."""
        return self.warm and not self.draining and self.threads.stuck_for() < self.timeout

    @property
    def alive(self) -> bool:
        """Whether this process is of any use still."""
        return self.threads.stuck_for() < _HOPELESS * self.timeout


def application(served: ServedModel, load: Load, registry: CollectorRegistry) -> Traffic:
    """The whole HTTP application of a serving pod. `registry`: what `/metrics` tells."""
    state = _State(PredictionThreads(_PREDICTING_THREADS, load.waiting), load.timeout)
    measured = Measurements(served.model, served.version)
    routes = _Routes(served, state, measured, registry, _batching(served.predictor, state.threads, load))
    inner = Starlette(
        routes=routes.table(),
        lifespan=routes.lifespan,
        exception_handlers={
            404: routes.unknown,
            HTTPException: _refused,
            BadInputError: _bad_input,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )
    return Traffic(inner, served.version, measured, lambda: state.draining)


def _batching(predictor: Predictor, threads: PredictionThreads, load: Load) -> Batching[Question, Answer] | None:
    if (most := load.batch_rows) is None:
        return None
    return Batching(
        lambda questions, wanted: answers(questions, predictor, most, wanted), threads, most, load.batch_wait
    )


class _Routes:
    """The model's routes."""

    def __init__(
        self,
        served: ServedModel,
        state: _State,
        measured: Measurements,
        registry: CollectorRegistry,
        batching: Batching[Question, Answer] | None = None,
    ) -> None:
        self._served = served
        self._state = state
        self._measured = measured
        self._registry = registry
        self._batching = batching
        self._room = Room(ROOM)
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
            Route("/metrics", self._metrics),
            Route("/v1/models", self._v1_list),
            Route(self._v1, self._v1_model),
            *(Route(model, self._v2_model) for model in (self._v2, self._versioned)),
            *(Route(f"{model}/ready", self._v2_model_ready) for model in (self._v2, self._versioned)),
            Route("/v2", self._v2_server),
            Route("/v2/health/live", self._live),
            Route("/v2/health/ready", self._ready),
        ]

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Warm the model up, then serve; when asked to stop, be unready for a while before refusing connections."""
        stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()

        def drain(number: int, frame: FrameType | None) -> None:
            if not self._state.draining and callable(stop):
                self._state.draining = True
                loop.call_soon_threadsafe(loop.call_later, DRAIN_SECONDS, stop, number, frame)

        signal.signal(signal.SIGTERM, drain)
        warming = asyncio.create_task(self._warm_up())
        await asyncio.wait({warming}, timeout=self._state.timeout)
        if warming.done():
            warming.result()
        else:
            logger.error("Not ready: the model has not answered the example in its manifest yet")
        gc.collect()
        gc.freeze()  # what the model is made of is there for good: to look for garbage in it stops all for 0.1 s
        yield
        warming.cancel()

    async def _warm_up(self) -> None:
        example, predictor = self._served.example, self._served.predictor
        if example is None:
            logger.warning("The artifact holds no example that the model answers: ready without a trial")
        else:
            try:
                batch = batch_of_rows([list(example)], predictor.signature)
                await self._state.threads.run(lambda: predictor.predict(batch))
            except (ModelError, BadInputError) as error:
                logger.error("Never ready: the model does not answer the example in its manifest: %s", error)  # noqa: TRY400
                return
        self._state.warm = True

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
        """All that takes long with a large request is done beside the loop, in which probes are answered.

        When the client goes, the body goes with it at once. Its place in line is kept: that a model answers nothing
        shows even where no client waits long enough to be told so.
        """
        try:
            with Body(self._room) as body:
                await body.read(request)
                async with _dropped_when_gone(request, body):
                    answered = await self._answered(lambda: parse(body.take()))
        except ModelError as error:
            logger.error("The model failed on a request: %s", error)  # noqa: TRY400 - the sentence is the model's
            self._measured.failed(type(error.__cause__ or error).__name__)
            return _json({"error": f"the model failed on this request: {str(error)[:500]}"}, 500)
        except TimeoutError:
            waited = f"{self._state.timeout:g} seconds"
            logger.error("The model has not answered a request within %s", waited)  # noqa: TRY400
            self._measured.failed("Timeout")
            return _json({"error": f"the model has not answered this request within {waited}"}, 504)
        except OverloadedError:
            if self._state.threads.stuck_for() >= self._state.timeout:  # it is not that too much comes: nothing goes
                self._measured.failed("Timeout")
                return _json({"error": "the model has answered nothing for too long"}, 504)
            waiting = self._state.threads.waiting
            raise HTTPException(
                BUSY, f"the model has {waiting} waiting already, as many as may (serving.queue); try again later", LATER
            ) from None
        self._measured.predictions.inc(answered.rows)
        if answered.head is None:
            return Response(answered.content, media_type="application/json")
        return Response(answered.content, headers={HEADER: str(answered.head)}, media_type="application/octet-stream")

    async def _answered(self, question: Question) -> Answer:
        threads, timeout = self._state.threads, self._state.timeout
        if self._batching is not None:
            return await self._batching.run(question, timeout)
        return await threads.run(lambda: answer(question, self._served.predictor), timeout)

    async def _alive(self, _: Request) -> Response:
        return Response(status_code=200 if self._state.alive else 503)

    async def _serves(self, _: Request) -> Response:
        return Response(status_code=200 if self._state.ready else 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _v1_list(self, _: Request) -> Response:
        return _json({"models": [self._served.model]})

    async def _v1_model(self, _: Request) -> Response:
        return _json({"name": self._served.model, "ready": self._state.ready})

    async def _v2_server(self, _: Request) -> Response:
        return _json({"name": "upright", "version": upright.__version__, "extensions": ["binary_tensor_data"]})

    async def _live(self, _: Request) -> Response:
        return _json({"live": self._state.alive}, 200 if self._state.alive else 503)

    async def _ready(self, _: Request) -> Response:
        return _json({"ready": self._state.ready}, 200 if self._state.ready else 503)

    async def _v2_model_ready(self, _: Request) -> Response:
        return _json({"name": self._served.model, "ready": self._state.ready}, 200 if self._state.ready else 503)

    async def _v2_model(self, _: Request) -> Response:
        served = self._served
        return _json(
            {
                "name": served.model,
                "versions": [served.version],
                "platform": served.platform,
                "inputs": [tensor_metadata(tensor) for tensor in served.predictor.signature.inputs],
                "outputs": [self._output(tensor) for tensor in served.predictor.signature.outputs],
            }
        )

    def _output(self, tensor: Tensor) -> Mapping[str, Any]:
        classes = self._served.predictor.classes if tensor.name in FURTHER else None
        return {**tensor_metadata(tensor), **({"classes": classes} if classes else {})}

    async def unknown(self, request: Request, _: Exception) -> Response:
        """The answer where there is nothing."""
        return _json(
            {
                "error": f"there is nothing at {request.scope['path'][:200]}; this pod serves version "
                f"{self._served.version} of model {self._served.model} at POST {self._v1}:predict and POST "
                f"{self._v2}/infer"
            },
            404,
        )


@asynccontextmanager
async def _dropped_when_gone(request: Request, body: Body) -> AsyncIterator[None]:
    """While the context lasts the body is dropped as soon as the client is gone."""

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        body.drop()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def _json(document: Mapping[str, Any], status: int = 200) -> Response:
    return Response(to_json(document), status, media_type="application/json")


async def _refused(_: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    headers = error.headers if isinstance(error, HTTPException) else None
    response = _json({"error": detail}, status)
    response.headers.update(headers or {})
    return response


async def _bad_input(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _gone(_: Request, __: Exception) -> Response:
    return _json({"error": "the client went away"}, GONE)


async def _failed(_: Request, __: Exception) -> Response:
    return _json({"error": "the server failed on this request; its log says why"}, 500)
