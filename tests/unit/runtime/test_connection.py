"""A connection takes no more memory and time than a request needs, whatever a stranger sends, or leaves unread."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from tests.unit.runtime.server import a_free_port
from upright.runtime import connection
from upright.runtime.connection import Connection

LARGE = b"x" * 32 * 1024**2


waits, done = asyncio.Event(), asyncio.Event()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers what is asked for at /large with more than the system keeps for a client, at /some with a bit of it, at
    /echo with what came, and at /wait when it may.
    """
    body = {"/large": LARGE, "/some": LARGE[: 1024**2]}.get(scope["path"], b"small")
    if scope["path"] == "/wait":
        waits.set()
        await done.wait()
    if scope["path"] == "/echo":
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        body += b" with " + b",".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def a_server() -> AsyncIterator[int]:
    async with a_running_server() as (port, _):
        yield port


@asynccontextmanager
async def a_running_server(buffer: int | None = None, idle: int = 5) -> AsyncIterator[tuple[int, uvicorn.Server]]:
    port = a_free_port()
    config = uvicorn.Config(
        app, port=port, http=Connection, ws="none", lifespan="off", log_config=None, timeout_keep_alive=idle
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", port)) as listener:
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - it has nothing to wait for
            await asyncio.sleep(0.01)
        yield port, server
        server.should_exit = True
        server.force_exit = True
        await serving


async def answer_to(port: int, *parts: bytes) -> bytes:
    """What comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return b""
    finally:
        writer.close()


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"GET / HTTP/1.1\r\n", b"x-header: y\r\n"),
        (b"GET / HTTP/1.1\r\nx: ", b"y"),
        (b"GET /", b"z"),
        (CHUNKED, b"x-trailer: y\r\n"),
    ],
    ids=["headers", "a header", "a URL", "trailers"],
)
async def test_headers_without_end_end_the_connection(start: bytes, endless: bytes) -> None:
    async with a_server() as port:
        await answer_to(port, start, *[endless * 1024] * 1024)

        assert b"small" in await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n")


async def test_many_headers_are_refused_with_a_sentence() -> None:
    async with a_server() as port:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nconnection: close\r\n"

        assert b"small" in await answer_to(port, head + b"x: y\r\n" * 126 + b"\r\n")
        assert b"A request may have 128 headers." in await answer_to(port, head + b"x: y\r\n" * 127 + b"\r\n")


async def test_headers_that_come_at_once_have_no_more_room() -> None:
    async with a_server() as port:
        head = b"GET / HTTP/1.1\r\nHost: x\r\nconnection: close\r\nx: "

        assert b"small" in await answer_to(port, head + b"y" * 60_000 + b"\r\n\r\n")
        assert b"may have 65536 bytes" in await answer_to(port, head + b"y" * 70_000 + b"\r\n\r\n")


async def test_what_follows_a_body_is_none_of_its_headers() -> None:
    async with a_server() as port:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        answer = await answer_to(port, head + b"4\r\nbody\r\n0\r\nevil: yes\r\n\r\n")

        assert answer.endswith(b"body with host,transfer-encoding,connection")


async def test_a_body_that_nobody_has_read_is_let_go_of_with_its_answer() -> None:
    async with a_running_server() as (port, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
        await reader.readuntil(b"small")

        [kept] = server.server_state.connections
        assert isinstance(kept, Connection)
        assert not kept.cycle.body
        writer.close()


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "body", [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"]
)
async def test_an_offer_to_speak_another_protocol_is_passed_over(body: bytes, size: int) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    one = b"POST /echo HTTP/1.1\r\nHost: x\r\n" + offer + body
    none = b"GET / HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n"
    sent = one + none + one + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with a_server() as port:
        answer = await answer_to(port, *[sent[start : start + size] for start in range(0, len(sent), size)])

        assert answer.count(b"body with host,") == 2
        assert answer.count(b"small") == 2


async def test_a_connection_that_is_kept_ends_with_an_answer_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTION_SECONDS", 0.2)
    async with a_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers = list[bytes]()
        while not answers or b"connection: close" not in answers[-1]:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answers.append(await reader.readuntil(b"small"))
        *kept, last = answers

        assert kept, "it is kept for a while"
        assert not [answer for answer in kept if b"connection:" in answer]
        assert last.startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(reader.read(), 5) == b"", "nothing follows"
        writer.close()


async def test_a_client_that_is_still_sending_sees_its_answer_before_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECTION_SECONDS", 0.0)
    async with a_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n\r\n" % len(LARGE))
        early = await reader.readuntil(b"small")
        writer.write(LARGE)
        await asyncio.wait_for(writer.drain(), 30)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        last = await reader.readuntil(b"small")

        assert b"connection: close" not in early
        assert b"connection: close" in last
        writer.close()


async def test_connections_on_which_nothing_is_asked_make_way_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECTIONS", 3)
    waits.clear()
    done.clear()
    async with a_server() as port:
        asked, asking = await asyncio.open_connection("127.0.0.1", port)
        asking.write(b"GET /wait HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n")
        await asyncio.wait_for(waits.wait(), 30)
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]

        assert b"small" in await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n")
        for reader, _ in idle[:4]:
            with suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 30) == b"", "it has ended"
        done.set()
        assert b"small" in await asyncio.wait_for(asked.read(), 30)
        for _, writer in idle:
            writer.close()
        asking.close()


async def test_of_a_connection_that_was_reset_nothing_is_left() -> None:
    async with a_running_server(idle=620) as (port, server):
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"small" in await asyncio.wait_for(reader.readuntil(b"small"), 30)
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        async with asyncio.timeout(30):
            while server.server_state.connections or alive():  # noqa: ASYNC110 - it has nothing to wait for
                await asyncio.sleep(0.01)


def alive() -> list[Connection]:
    gc.collect()
    return [each for each in gc.get_objects() if isinstance(each, Connection) and each.transport.is_closing()]


async def test_nobody_is_further_ahead_of_the_answers_than_64_requests() -> None:
    async with a_server() as port:
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET / HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n"

        assert (await answer_to(port, request * 64 + last)).count(b"small") == 65
        assert b"64 requests ahead" in await answer_to(port, request * 66)


async def test_what_is_ahead_of_the_answers_is_not_read_before_its_turn() -> None:
    done.clear()
    async with a_running_server() as (port, server):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        first = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 32 + b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(first + b"POST /echo HTTP/1.1\r\nHost: x\r\ncontent-length: %d\r\n\r\n" % len(LARGE) + LARGE)
        await asyncio.wait_for(waits.wait(), 30)
        (kept,) = server.server_state.connections

        assert len(kept.cycle.body) <= 1024**2  # type: ignore[union-attr]
        done.set()
        await asyncio.wait_for(writer.drain(), 30)
        writer.close()


async def test_many_requests_on_one_connection_are_not_taken_for_one() -> None:
    async with a_server() as port:
        request = b"GET / HTTP/1.1\r\nHost: x\r\nx: " + b"y" * 8_000 + b"\r\n"
        answer = await answer_to(port, (request + b"\r\n") * 20 + request + b"connection: close\r\n\r\n")

        assert answer.count(b"HTTP/1.1 200 OK") == 21


async def test_a_client_has_only_so_long_to_send_headers_and_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    async with a_server() as port:
        assert await answer_to(port) == b""
        assert await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n") == b""
        for rest in (b"GET / HT", b"\r\n"):
            kept = await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rest)
            assert kept.count(b"small") == 1, "the second time, too"
        unread = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        assert b"small" in await answer_to(port, unread, b"b"), "nor a body that nobody waits for"
        assert b"small" in await answer_to(port, unread + b"b"), "nor if it comes before the answer"
        assert b"small" in await answer_to(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")

        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1)  # it reads nothing meanwhile
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(len(LARGE)), 30)
        writer.close()


async def test_a_client_that_leaves_the_last_bytes_of_an_answer_unread_has_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    async with a_running_server(4096) as (port, server):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /some HTTP/1.1\r\nHost: x\r\nconnection: close\r\n\r\n")
            client.setblocking(False)
            while not any(  # noqa: ASYNC110 - it has nothing to wait for
                each.transport.get_write_buffer_size() for each in server.server_state.connections
            ):
                await asyncio.sleep(0.01)
            (kept,) = server.server_state.connections
            while kept.transport.get_write_buffer_size() > 12 * 1024:  # below that no event tells that it reads
                await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65536), 30)
            async with asyncio.timeout(30):
                while server.server_state.connections:  # noqa: ASYNC110 - it has nothing to wait for
                    await asyncio.sleep(0.01)


async def test_an_answer_before_the_end_of_a_request_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    async with a_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 4\r\n\r\nbo")
            assert await reader.readuntil(b"small")
            writer.write(b"dy")
            await asyncio.sleep(0.5)  # longer than it may be under way
        writer.close()


async def test_a_client_that_reads_on_may_take_as_long_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    async with a_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(16):
            await asyncio.wait_for(reader.readexactly(len(LARGE) // 16), 30)
            await asyncio.sleep(0.05)  # for four times as long as it may do nothing
        writer.close()
