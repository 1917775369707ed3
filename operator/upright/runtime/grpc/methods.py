"""What the methods of the Open Inference Protocol do."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import upright
from upright.api.artifact import Tensor
from upright.api.serving import VERSION_HEADER
from upright.runtime.answering import Answering, UnansweredError
from upright.runtime.asked import Asked
from upright.runtime.batch import BadInputError
from upright.runtime.body import SMALL, Body
from upright.runtime.grpc import tensors
from upright.runtime.grpc.messages import MESSAGES, METHODS, PACKAGE, SERVICE
from upright.runtime.grpc.reading import LATER
from upright.runtime.measurements import BUSY, GONE, CountedRequest
from upright.runtime.parsing import parsed
from upright.runtime.unread import UNREAD, Unread

_OK, _MISTAKEN, _ELSEWHERE, _FAILED, _LATE = 200, 400, 404, 500, 504
_CODES = {
    _MISTAKEN: grpc.StatusCode.INVALID_ARGUMENT,
    _ELSEWHERE: grpc.StatusCode.NOT_FOUND,
    GONE: grpc.StatusCode.CANCELLED,
    _FAILED: grpc.StatusCode.INTERNAL,
    BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    _LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What is said over gRPC instead of a status of HTTP, by which requests are counted."""

logger = logging.getLogger("upright.serve")


@dataclass(frozen=True)
class _Outcome:
    """How a request for predictions has ended."""

    status: int
    content: bytes = b""
    sentence: str = ""
    unread: ExitStack = field(default_factory=ExitStack)
    """Holds the answer's room."""


class _NotHereError(BadInputError):
    """Another model, or another version than the one that this pod serves."""


class Methods:
    """The methods, of one model."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._served = answering.served
        self._version = (VERSION_HEADER, answering.served.version)
        self._under_way = set[asyncio.Task[_Outcome]]()
        self._unread = Unread(UNREAD)

    def handler(self) -> Any:
        """For grpc.aio.Server.add_generic_rpc_handlers."""
        told: Mapping[str, Callable[[Any], Any]] = {
            "ServerLive": lambda _: {"live": self._answering.alive},
            "ServerReady": lambda _: {"ready": self._answering.ready},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: {"name": "upright", "version": upright.__version__},
            "ModelMetadata": self._model_metadata,
        }
        assert {*told, "ModelInfer"} == {*METHODS}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._telling(tell, MESSAGES[f"{name}Response"]),
                MESSAGES[f"{name}Request"].FromString,
                MESSAGES[f"{name}Response"].SerializeToString,
            )
            for name, tell in told.items()
        }
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._model_infer)
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", handlers)

    def _telling(self, tell: Callable[[Any], Any], response: Any) -> Callable[[Any, Any], Awaitable[Any]]:
        async def method(request: Any, context: Any) -> Any:
            context.set_trailing_metadata((self._version,))
            try:
                return response(**tell(request))
            except _NotHereError as error:
                await context.abort(grpc.StatusCode.NOT_FOUND, str(error))

        return method

    def _model_ready(self, request: Any) -> Mapping[str, Any]:
        self._check_served(request.name, request.version)
        return {"ready": self._answering.ready}

    def _model_metadata(self, request: Any) -> Mapping[str, Any]:
        self._check_served(request.name, request.version)
        served, signature = self._served, self._served.predictor.signature
        return {
            "name": served.model,
            "versions": [served.version],
            "platform": served.platform,
            "inputs": [_metadata(tensor) for tensor in signature.inputs],
            "outputs": [_metadata(tensor) for tensor in signature.outputs],
        }

    def _check_served(self, model: str, version: str) -> None:
        served = self._served
        if model != served.model or version not in {"", served.version}:
            asked = f"model {model[:64]!r}" if not version else f"version {version[:64]!r} of model {model[:64]!r}"
            raise _NotHereError(
                f"there is no {asked} here; this pod serves version {served.version} of model {served.model}"
            )

    async def _model_infer(self, message: bytes, context: Any) -> bytes:
        """When the client goes, the call is cancelled and the message let go of at once. Its place in line is kept:
        that a model answers nothing shows even where no client waits long enough to be told so.
        """
        with Body(self._answering.room) as body:
            answering = asyncio.create_task(self._outcome(body, message))
            del message
            self._under_way.add(answering)
            answering.add_done_callback(self._under_way.discard)
            try:
                outcome = await asyncio.shield(answering)
            except asyncio.CancelledError:
                answering.add_done_callback(_never_sent)
                raise
        if outcome.status == _OK:
            context.add_done_callback(lambda _: outcome.unread.close())
            context.set_trailing_metadata((self._version,))
            return outcome.content
        trailing = (self._version, LATER) if outcome.status == BUSY else (self._version,)
        await context.abort(_CODES[outcome.status], outcome.sentence, trailing)
        raise AssertionError("unreachable: abort raises")

    async def _outcome(self, body: Body, message: bytes) -> _Outcome:
        request = CountedRequest(self._answering.measured)
        request.enter()
        outcome = _Outcome(_FAILED, sentence="the server failed on this request; its log says why")

        def question() -> Asked:
            asked = parsed(body.take(), self._asked)
            request.has(asked.batch)
            return asked

        try:
            body.hold(message)
            del message
            answered = await self._answering.answer(question)
            unread = ExitStack()
            if len(answered.content) > SMALL:
                unread.enter_context(self._unread.kept(len(answered.content)))
            outcome = _Outcome(_OK, answered.content, unread=unread)
        except _NotHereError as error:
            outcome = _Outcome(_ELSEWHERE, sentence=str(error))
        except BadInputError as error:
            outcome = _Outcome(_MISTAKEN, sentence=str(error))
        except UnansweredError as error:
            outcome = _Outcome(error.status, sentence=str(error))
        except HTTPException as error:
            outcome = _Outcome(error.status_code, sentence=error.detail)
        except ClientDisconnect:
            outcome = _Outcome(GONE, sentence="the client went away")
        except Exception:
            logger.exception("A request has failed")
        finally:
            request.answered(outcome.status)
        return outcome

    def _asked(self, message: bytes) -> Asked:
        served, request = self._served, tensors.read(message)
        self._check_served(request.model_name, request.model_version)
        asked = tensors.request_of(request, served.predictor.signature, served.outputs)
        named = {"model_name": served.model, "model_version": served.version}
        return Asked(asked.batch, list(asked.outputs), lambda found: tensors.answer_of(named, found, asked))


def _never_sent(answering: asyncio.Task[_Outcome]) -> None:
    if not answering.cancelled():
        answering.result().unread.close()


def _metadata(tensor: Tensor) -> Mapping[str, Any]:
    """The protocol has no place for whether a value may be missing."""
    return {"name": tensor.name, "datatype": tensor.type or "", "shape": tensor.shape}
