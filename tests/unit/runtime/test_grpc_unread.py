"""Answers and calls over gRPC whose clients do not go on: some for each address, and no more memory than there is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from tests.unit.runtime.server import a_free_port
from tests.unit.runtime.test_grpc_strangers import Call, echoing
from tests.unit.runtime.test_hanging import until
from upright.runtime.asked import Answer
from upright.runtime.body import Room
from upright.runtime.grpc import methods, reading
from upright.runtime.grpc.reading import BoundedReading
from upright.runtime.grpc.server import listening

INFER = "/inference.GRPCInferenceService/ModelInfer"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LARGE = b"x" * 10**6


class Answering:
    """Gives everybody a large answer, and counts."""

    def __init__(self) -> None:
        self.served = SimpleNamespace(model="churn", version="churn-7")
        self.timeout, self.draining, self.stopping = 30, False, asyncio.Event()
        self.room = Room(1000)
        self.counted = list[int]()
        in_progress = SimpleNamespace(inc=lambda: None, dec=lambda: None)
        self.measured = SimpleNamespace(in_progress=in_progress, count=lambda status, *_: self.counted.append(status))

    async def answer(self, _: Any) -> Answer:
        return Answer(LARGE, 1)


@asynccontextmanager
async def a_server(answering: Any) -> AsyncIterator[grpc.aio.Channel]:
    port = a_free_port()
    options = [("grpc.http2.bdp_probe", 0), ("grpc.max_receive_message_length", -1)]
    async with (
        listening(answering, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel,
    ):
        yield channel


async def test_answers_that_nobody_reads_take_no_more_room_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "UNREAD", 2 * len(LARGE))
    answering = Answering()
    async with a_server(answering) as channel:
        unread = [channel.unary_stream(INFER)(b"") for _ in range(2)]
        await until(lambda: answering.counted == [200, 200])

        refused = channel.unary_unary(INFER)(b"")
        assert await refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(await refused.trailing_metadata()) == {
            "upright-model-version": "churn-7",
            "grpc-retry-pushback-ms": "1000",
        }
        assert answering.counted[2:] == [503]

        assert [len(answer) async for answer in unread[0]] == [len(LARGE)]
        assert await channel.unary_unary(INFER)(b"") == LARGE, "what has been read takes no room"
        unread[1].cancel()
        for _ in range(3):
            assert await channel.unary_unary(INFER)(b"") == LARGE


async def test_what_is_answered_when_the_client_is_gone_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "UNREAD", len(LARGE))
    answering, gate, asked = Answering(), asyncio.Event(), asyncio.Event()

    async def answer(_: Any) -> Answer:
        asked.set()
        await gate.wait()
        return Answer(LARGE, 1)

    monkeypatch.setattr(answering, "answer", answer)
    async with a_server(answering) as channel:
        gone = channel.unary_unary(INFER)(b"")
        await asked.wait()
        gone.cancel()
        await asyncio.sleep(0.1)  # until the server knows
        gate.set()
        await until(lambda: answering.counted == [200])

        assert await channel.unary_unary(INFER)(b"") == LARGE


async def test_one_address_has_not_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_SHARE", 2)
    method = await echoing(BoundedReading("churn-7"))

    def call(address: str) -> Call:
        made = Call(address)
        made.message.set_result(b"x")
        return made

    first, second = call("ipv4:10.0.0.1:1"), call("ipv4:10.0.0.1:2")
    for each in (first, second, call("ipv4:10.0.0.2:1"), call("ipv6:%5B::1%5D:1")):
        assert await method(None, each) == b"x"
    with pytest.raises(grpc.aio.AbortError) as refused:
        await method(None, call("ipv4:10.0.0.1:3"))
    assert refused.value.args[:2] == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "2 calls of your address are here already; try again later",
    )

    first.end()
    assert await method(None, call("ipv4:10.0.0.1:4")) == b"x"


async def test_streams_of_reflection_leave_room_for_requests() -> None:
    over = asyncio.Event()

    async def nothing() -> AsyncIterator[bytes]:
        await over.wait()
        for never in list[bytes]():
            yield never

    async with a_server(Answering()) as channel:
        streams = [channel.stream_stream(REFLECT)(nothing()) for _ in range(16)]
        said = Counter[str]()
        for each in asyncio.as_completed([each.details() for each in streams]):
            said[await each] += 1
            if said.total() == 8:
                over.set()

    assert said == {"": 8, "8 such calls are here already, as many as may; try again later": 8}
