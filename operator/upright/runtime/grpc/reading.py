"""Messages while they come in: only a few of those that take long at once, and none for ever.

HTTP/2 lets a client send 64 KiB of a message before it is read. A small one is there by then; only while it is read may
more of a large one come, all of which is kept until its end.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from upright.runtime.body import BODY_LIMIT, ROOM

PATIENCE = 10.0
"""Seconds that a message may take from when it is read to its last byte."""

_PROMPT = 0.1
"""Seconds within which most messages are there: they need no place, and so nobody who sends slowly, or nothing, keeps
them out. What may come in within them is what a network carries, 125 MB at 10 Gbit/s."""

_SLOW = ROOM // BODY_LIMIT
"""Messages that may take longer at once: nobody knows the size of one before its end."""


class BoundedReading(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpc has no types
    """Reads the messages for all methods, whoever wrote them."""

    def __init__(self) -> None:
        self._slow = 0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], call: Any) -> Any:
        """The method of a call, as one that does not read for itself."""
        handler = await continuation(call)
        if handler is None:
            return None
        if handler.request_streaming:
            method, make = handler.stream_stream, grpc.stream_stream_rpc_method_handler
        elif handler.response_streaming:
            method, make = handler.unary_stream, grpc.stream_stream_rpc_method_handler
        else:
            method, make = handler.unary_unary, grpc.stream_unary_rpc_method_handler
        parsed = handler.request_deserializer or bytes

        async def one(_: Any, context: Any) -> Any:
            return await method(await self._only(context, parsed), context)  # kept by nobody but the method

        async def each(_: Any, context: Any) -> AsyncIterator[Any]:
            async for answer in method(self._all(context, parsed), context):
                yield answer

        return make(each if handler.request_streaming else one, response_serializer=handler.response_serializer)

    async def _all(self, context: Any, parsed: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        while (message := await self._next(context, parsed)) is not grpc.aio.EOF:
            yield message

    async def _only(self, context: Any, parsed: Callable[[bytes], Any]) -> Any:
        message = await self._next(context, parsed)
        if message is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a call must have a message; it has none")
        return message

    async def _next(self, context: Any, parsed: Callable[[bytes], Any]) -> Any:
        message = await self._read(context)
        try:
            return message if message is grpc.aio.EOF else parsed(message)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is none that this method takes")

    async def _read(self, context: Any) -> Any:
        reading = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait({reading}, timeout=_PROMPT)
            if reading.done():
                return reading.result()
            if self._slow == _SLOW:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{_SLOW} messages that take longer than {_PROMPT:g} s are coming in already, as many as may; try "
                    "again later",
                )
            self._slow += 1
            try:
                async with asyncio.timeout(PATIENCE - _PROMPT):
                    return await reading
            except TimeoutError:
                await context.abort(
                    grpc.StatusCode.DEADLINE_EXCEEDED, f"the message has not come within {PATIENCE:g} seconds"
                )
            finally:
                self._slow -= 1
        finally:
            reading.cancel()
