"""What strangers send over gRPC: bounded in bytes, in number and in time."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest

from tests.fuzz.growth import is_linear
from tests.unit.runtime.pod import a_matrix_model, a_pod
from tests.unit.runtime.server import Server, a_free_port, a_store_with, serving
from tests.unit.runtime.test_grpc import Serving
from tests.unit.runtime.test_grpc_going_out import Service
from tests.unit.runtime.test_hanging import await_that, until
from upright.runtime.batch import BadInputError
from upright.runtime.body import BODY_LIMIT
from upright.runtime.grpc import reading
from upright.runtime.grpc.reading import BoundedReading
from upright.runtime.grpc.server import listening
from upright.runtime.grpc.tensors import read
from upright.runtime.grpc.wire import MOST_FIELDS, check_fields

INFER = "/inference.GRPCInferenceService/ModelInfer"
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    pod, port = a_pod(tmp_path_factory.mktemp("grpc")), a_free_port()
    with serving(pod, {**a_store_with(pod, a_matrix_model()), "UPRIGHT_GRPC_PORT": str(port)}) as server:
        yield server, f"127.0.0.1:{port}"
        assert "Traceback" not in server.log.read_text()


def memory(server: Server) -> int:
    """The most that it has taken, in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def refusal(address: str, method: str, message: bytes, **how: Any) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(message, timeout=30, **how)
    error: Any = refused.value
    return error.code(), error.details()


@pytest.mark.parametrize("method", [INFER, HEALTH])
def test_a_message_that_is_too_large_is_refused_before_it_has_come(served: Serving, method: str) -> None:
    code, said = refusal(served[1], method, b"\0" * (BODY_LIMIT + 1))

    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"larger than max ({BODY_LIMIT + 1} vs. {BODY_LIMIT})" in said


def test_what_becomes_large_when_it_is_unpacked_is_not_unpacked(served: Serving) -> None:
    server, address = served
    before = memory(server)

    code, said = refusal(address, INFER, b"\0" * 100 * 1024**2, compression=grpc.Compression.Gzip)

    assert (code, said) == (grpc.StatusCode.UNIMPLEMENTED, "Compression algorithm 'gzip' is disabled.")
    assert memory(server) < before + 10


@pytest.mark.parametrize("method", [INFER, HEALTH])
@pytest.mark.parametrize("message", [b"\xff", b"\x2a\xff\xff", b"\x0b" * 1000])
def test_what_is_no_protobuf_is_a_client_s_mistake(served: Serving, method: str, message: bytes) -> None:
    code, said = refusal(served[1], method, message)

    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert said.startswith("the message ")


def test_a_call_without_a_message_is_refused(served: Serving) -> None:
    with grpc.insecure_channel(served[1]) as channel, pytest.raises(grpc.RpcError, match="a call must have a message"):
        channel.stream_unary(INFER)(iter(()), timeout=30)


async def test_messages_that_are_not_read_yet_are_not_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PROMPT", 0.0)
    monkeypatch.setattr(reading, "_SLOW", 0)
    service, nothing = (
        Service(a_free_port()),
        SimpleNamespace(
            served=SimpleNamespace(version="churn-7"), timeout=30, draining=False, stopping=asyncio.Event()
        ),
    )
    answering: Any = nothing
    async with (
        listening(answering, service.leads_to),
        service.listening() as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        calls = [channel.unary_unary(INFER)(bytes(BODY_LIMIT - 100)) for _ in range(8)]

        said = {await call.details() for call in calls}

    assert len(said) == 1
    assert said.pop().startswith("0 messages that take longer than 0 s are coming in already")
    assert service.carried < BODY_LIMIT


def test_tensors_without_number_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(BadInputError, match="the message has more than 262144 fields; send fewer tensors"):
        read(b"\x2a\0" * (MOST_FIELDS + 1))
    with pytest.raises(BadInputError, match="more than 262144 fields"):
        read(nested(b"\x22\0" * (MOST_FIELDS + 1)))


def nested(content: bytes) -> bytes:
    """An input that holds these fields."""
    length, size = len(content), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return b"\x2a" + bytes([*size, length]) + content


def test_fields_are_counted_in_linear_time() -> None:
    assert is_linear(lambda size: b"\x2a\2\x0a\0" * size, check_fields, 2**14)


class Call:
    """A call whose message comes when it is told to."""

    def __init__(self, address: str = "ipv4:10.0.0.1:1") -> None:
        self.message = asyncio.get_running_loop().create_future()
        self.address = address
        self.read_begun = False
        self.ended: Callable[[Any], None] | None = None

    def peer(self) -> str:
        return self.address

    def add_done_callback(self, told: Callable[[Any], None]) -> None:
        self.ended = told

    def end(self) -> None:
        assert self.ended
        self.ended(self)

    async def read(self) -> Any:
        self.read_begun = True
        return await self.message

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any) -> None:
        raise grpc.aio.AbortError(code, details, dict(trailing))


async def echoing(bounded: BoundedReading) -> Any:
    """A method that answers what it is sent, read as all are."""

    async def echo(message: bytes, _: Any) -> bytes:
        return message

    async def found(_: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(echo)

    handler = await bounded.intercept_service(found, SimpleNamespace(method="echo"))
    return handler.stream_unary


async def test_messages_that_take_long_keep_out_others_that_do_and_no_prompt_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_PROMPT", 0.02)
    method = await echoing(bounded := BoundedReading("churn-7"))
    silent = [Call() for _ in range(16)]
    answers = [asyncio.create_task(method(None, call)) for call in silent]
    await until(lambda: bounded._slow == 16)

    with pytest.raises(grpc.aio.AbortError) as refused:
        await method(None, Call())
    code, _, trailing = refused.value.args
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailing == {"upright-model-version": "churn-7", "grpc-retry-pushback-ms": "1000"}
    prompt = Call()
    prompt.message.set_result(b"x")
    assert await method(None, prompt) == b"x"

    silent[3].message.set_result(b"3")
    assert await answers[3] == b"3"
    late = Call()
    asyncio.get_running_loop().call_later(0.1, late.message.set_result, b"late")
    assert await method(None, late) == b"late"
    for call in silent:
        if not call.message.done():
            call.message.set_result(b"x")
    await asyncio.gather(*answers)


async def test_a_message_that_does_not_come_holds_its_place_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PATIENCE", 0.05)
    monkeypatch.setattr(reading, "_PROMPT", 0.01)
    method = await echoing(BoundedReading("churn-7"))
    calls = [Call() for _ in range(17)]

    ended = await asyncio.gather(*(method(None, call) for call in calls), return_exceptions=True)

    said = [error.args[:2] for error in ended if isinstance(error, grpc.aio.AbortError)]
    late = (grpc.StatusCode.DEADLINE_EXCEEDED, "the message has not come within 0.05 seconds")
    assert said[:16] == [late] * 16
    assert said[16][0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    last = Call()
    last.message.set_result(b"x")
    assert await method(None, last) == b"x"


def test_fields_of_outputs_are_counted_as_those_of_inputs_are() -> None:
    with pytest.raises(BadInputError, match="more than 262144 fields"):
        read(b"\x32" + nested(b"\x12\0" * (MOST_FIELDS + 1))[1:])


def test_those_who_watch_are_so_many_at_most(served: Serving) -> None:
    _, address = served
    asked = HealthCheckRequest().SerializeToString()
    with grpc.insecure_channel(address) as channel:
        watching = [channel.unary_stream("/grpc.health.v1.Health/Watch")(asked) for _ in range(64)]
        for each in watching:
            next(each)

        with pytest.raises(grpc.RpcError, match="64 watch already") as refused:
            next(channel.unary_stream("/grpc.health.v1.Health/Watch")(asked))
        error: Any = refused.value
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, "by which clients go on without"
        watching[0].cancel()
        await_that(lambda: watched(channel, asked))


def watched(channel: grpc.Channel, asked: bytes) -> bool:
    try:
        return bool(next(channel.unary_stream("/grpc.health.v1.Health/Watch")(asked)))
    except grpc.RpcError:
        return False
