"""Messages while they come in: only a few of those that take long at once, and none for ever; and nobody has all calls.

HTTP/2 lets a client send 64 KiB of a message before it is read. A small one is there by then; only while it is read may
more of a large one come, all of which is kept until its end.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from upright.api.serving import VERSION_HEADER
from upright.runtime.body import BODY_LIMIT, ROOM

PATIENCE = 10.0
"""Seconds that a message may take from when it is read to its last byte."""

_PROMPT = 0.1
"""Seconds within which most messages are there: they need no place, and so nobody who sends slowly, or nothing, keeps
them out. What may come in within them is what a network carries, 125 MB at 10 Gbit/s."""

_SLOW = ROOM // BODY_LIMIT
"""Messages that may take longer at once: nobody knows the size of one before its end."""


_STREAMS = 8
"""Calls at once in which a client may send one message after the other, as reflection has them. Between two messages
nothing comes for long, and so they take no places among the slow from requests."""

CALLS = 1024
"""That are here at once, however far they have come. Each holds at most 64 KiB until it is read."""

_SHARE = CALLS // 2
"""Calls of one address: a client that reads no answers has so many, for as long as its connections last."""

LATER = ("grpc-retry-pushback-ms", "1000")
"""Trailing metadata of an answer to what finds no room: how long clients that try again by themselves are to wait."""


class BoundedReading(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpc has no types
    """Reads the messages for all methods, whoever wrote them."""

    def __init__(self, version: str) -> None:
        self._version = (VERSION_HEADER, version)
        self._slow = 0
        self._streams = 0
        self._calls = Counter[str]()

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
            await self._count(context)
            return await method(await self._only(context, parsed), context)  # kept by nobody but the method

        async def each(_: Any, context: Any) -> AsyncIterator[Any]:
            await self._count(context)
            if self._streams == _STREAMS:
                await self._refuse(context, f"{_STREAMS} such calls are here already, as many as may; try again later")
            self._streams += 1
            try:
                async for answer in method(self._all(context, parsed), context):
                    yield answer
            finally:
                self._streams -= 1

        return make(each if handler.request_streaming else one, response_serializer=handler.response_serializer)

    async def _count(self, context: Any) -> None:
        """The call, until its answer has been read, or nobody is left to read it."""
        address = context.peer().rpartition(":")[0]
        if self._calls[address] >= _SHARE:
            await self._refuse(context, f"{_SHARE} calls of your address are here already; try again later")
        self._calls[address] += 1
        context.add_done_callback(lambda _: self._discount(address))

    def _discount(self, address: str) -> None:
        self._calls[address] -= 1
        if not self._calls[address]:
            del self._calls[address]

    async def _refuse(self, context: Any, why: str) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why, (self._version, LATER))

    async def _all(self, context: Any, parsed: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        while (message := await self._next(context, parsed, slow=False)) is not grpc.aio.EOF:
            yield message

    async def _only(self, context: Any, parsed: Callable[[bytes], Any]) -> Any:
        message = await self._next(context, parsed, slow=True)
        if message is grpc.aio.EOF:
            await self._mistaken(context, "a call must have a message; it has none")
        return message

    async def _next(self, context: Any, parsed: Callable[[bytes], Any], *, slow: bool) -> Any:
        message = await self._read(context, slow=slow)
        try:
            return message if message is grpc.aio.EOF else parsed(message)
        except DecodeError:
            await self._mistaken(context, "the message is none that this method takes")

    async def _mistaken(self, context: Any, why: str) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, why, (self._version,))

    async def _read(self, context: Any, *, slow: bool) -> Any:
        """`slow`: whether it needs a place when it takes long."""
        reading = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait({reading}, timeout=_PROMPT)
            if reading.done():
                return reading.result()
            if slow and self._slow == _SLOW:
                await self._refuse(
                    context,
                    f"{_SLOW} messages that take longer than {_PROMPT:g} s are coming in already, as many as may; try "
                    "again later",
                )
            self._slow += slow
            try:
                async with asyncio.timeout(PATIENCE - _PROMPT):
                    return await reading
            except TimeoutError:
                late = f"the message has not come within {PATIENCE:g} seconds"
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, late, (self._version,))
            finally:
                self._slow -= slow
        finally:
            reading.cancel()
