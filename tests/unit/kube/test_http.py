"""What the probes say, and what strangers can do to them."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, ExitStack

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from upright.kube import http
from upright.kube.http import Health, PortError, serving

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def port() -> int:
    with socket.create_server(("", 0)) as free:
        return int(free.getsockname()[1])


async def answers(port: int) -> dict[str, tuple[int, str]]:
    found = {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        for path in ("/healthz", "/readyz"):
            async with session.get(path) as answer:
                found[path] = (answer.status, await answer.text())
    return found


async def test_what_is_missing_makes_it_unready_and_what_has_ended_unhealthy(port: int) -> None:
    missing, besides = "", ""
    health = Health(lambda: missing, lambda: besides)
    async with serving(CollectorRegistry(), port, health):
        assert await answers(port) == {"/healthz": (200, "ok\n"), "/readyz": (200, "ok\n")}
        besides = "ok, but not in namespace b"
        assert (await answers(port))["/readyz"] == (200, "ok, but not in namespace b\n")
        missing = "a CRD is missing."
        assert await answers(port) == {"/healthz": (200, "ok\n"), "/readyz": (503, "a CRD is missing.\n")}
        health.ended = "the watches have ended"
        ended = (503, "the watches have ended\n")
        assert await answers(port) == {"/healthz": ended, "/readyz": ended}


async def test_a_port_that_is_taken_is_named_with_the_setting_that_changes_it() -> None:
    with socket.create_server(("", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(PortError, match=rf"on port {port}: .*Set UPRIGHT_METRICS_PORT"):
            async with serving(CollectorRegistry(), port, Health(lambda: "")):
                pass


async def test_a_client_that_never_ends_its_request_does_not_hold_up_the_end(port: int) -> None:
    async with serving(CollectorRegistry(), port, Health(lambda: "")):
        hanging = socket.create_connection(("127.0.0.1", port))
        hanging.sendall(b"GET /metrics HTTP/1.1\r\nHost: me\r\nContent-Length: 5\r\n\r\n")
    hanging.close()


class Pages(Collector):
    """Counts how often it is asked, and answers when the gate is open."""

    def __init__(self, text: str = "How often the page was made.") -> None:
        self.asked = 0
        self.gate = threading.Event()
        self._text = text

    def collect(self) -> Iterable[GaugeMetricFamily]:
        self.asked += 1
        assert self.gate.wait(60)
        yield GaugeMetricFamily("asked", self._text, self.asked)

    @property
    def registry(self) -> CollectorRegistry:
        registry = CollectorRegistry()
        self.gate.set()  # a registry asks for the names of what it registers
        registry.register(self)
        self.gate.clear()
        self.asked = 0
        return registry


async def await_that(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is awaited is anything
            await asyncio.sleep(0.01)


async def asked(port: int, request: bytes) -> Client:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return reader, writer


async def end_of(client: Client) -> bytes:
    """All that comes until the server closes the connection."""
    async with asyncio.timeout(60):
        try:
            return await client[0].read()
        except ConnectionResetError:
            return b""


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: me\r\n\r\n".encode()


async def test_the_probes_answer_while_a_page_is_made_and_all_who_ask_get_the_same_one(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FRESH", 3600)
    pages = Pages()
    async with serving(pages.registry, port, Health(lambda: "")):
        clients = [await asked(port, get("/metrics")) for _ in range(20)]
        await await_that(lambda: pages.asked == 1)
        assert await answers(port) == {"/healthz": (200, "ok\n"), "/readyz": (200, "ok\n")}
        pages.gate.set()
        clients.append(await asked(port, get("/metrics")))
        for client in clients:
            assert b"\nasked 1.0\n" in await end_of(client)


@pytest.mark.parametrize(("share", "pages_made"), [(0, (1, 2)), (1e6, (1, 1))], ids=["at once", "it costs much"])
async def test_a_page_that_is_no_longer_fresh_is_made_again_and_one_that_costs_much_is_so_for_longer(
    port: int, monkeypatch: pytest.MonkeyPatch, share: float, pages_made: tuple[int, ...]
) -> None:
    monkeypatch.setattr(http, "FRESH", 0)
    monkeypatch.setattr(http, "SHARE", share)
    pages = Pages()
    registry = pages.registry
    pages.gate.set()
    async with serving(registry, port, Health(lambda: "")):
        for n in pages_made:
            assert f"\nasked {n}.0\n".encode() in await end_of(await asked(port, get("/metrics")))


async def test_a_page_that_cannot_be_made_is_an_error_until_it_can(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FRESH", 0)

    class Broken(Collector):
        broken = False

        def collect(self) -> Iterable[GaugeMetricFamily]:
            assert not self.broken
            return ()

    registry, collector = CollectorRegistry(), Broken()
    registry.register(collector)
    async with serving(registry, port, Health(lambda: "")):
        collector.broken = True
        assert b" 500 " in await end_of(await asked(port, get("/metrics")))
        collector.broken = False
        assert b" 200 " in await end_of(await asked(port, get("/metrics")))


@pytest.mark.parametrize("held", [b"", b"GET /metrics HTTP/1.1\r\n", get("/metrics")])
async def test_a_probe_gets_through_however_many_connections_are_held_open(port: int, held: bytes) -> None:
    pages = Pages()
    async with serving(pages.registry, port, Health(lambda: "")), AsyncExitStack() as stack:
        stack.callback(pages.gate.set)
        clients = []
        for _ in range(http.CONNECTIONS + 20):
            clients.append(await asked(port, held))
            stack.callback(clients[-1][1].close)
        assert await answers(port) == {"/healthz": (200, "ok\n"), "/readyz": (200, "ok\n")}
        assert [await end_of(oldest) for oldest in clients[:20]] == [b""] * 20
        assert not clients[-1][0].at_eof()


@pytest.mark.parametrize("held", [b"", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nHost: me\r\nX: "])
async def test_a_connection_whose_request_does_not_come_is_closed(
    port: int, held: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD", 0.05)
    async with serving(CollectorRegistry(), port, Health(lambda: "")):
        assert await end_of(await asked(port, held)) == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/healthz") * 2, 200),
        (get("/metrics"), 200),
        (b"HEAD /readyz HTTP/1.1\r\nHost: me\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: me\r\nContent-Length: 5\r\n\r\n", 200),
        (get("/"), 404),
        (b"DELETE /healthz HTTP/1.1\r\nHost: me\r\n\r\n", 405),
    ],
)
async def test_a_connection_is_closed_after_its_answer(port: int, request_: bytes, status: int) -> None:
    async with serving(CollectorRegistry(), port, Health(lambda: "")):
        answer = await end_of(await asked(port, request_))
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert answer.count(b"HTTP/1.1") == 1


async def test_of_a_page_that_is_not_read_only_a_piece_is_kept(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    transports = list[asyncio.Transport]()

    class Seen(http._Server):
        def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
            transports.append(transport)
            super().connection_made(handler, transport)

    monkeypatch.setattr(http, "_Server", Seen)
    pages = Pages("long " * 2**21)
    registry = pages.registry
    pages.gate.set()
    async with serving(registry, port, Health(lambda: "")):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(get("/metrics"))
            await await_that(lambda: bool(transports) and transports[0].get_write_buffer_size() > 0)
            assert transports[0].get_write_buffer_size() < 2**20


async def test_what_is_no_http_fills_no_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(CollectorRegistry(), port, Health(lambda: "")):
        assert b" 400 " in await end_of(await asked(port, b"GET /metrics HTTP/1.1\r\n:\r\n\r\n"))
    assert caplog.records == []


async def test_a_probe_gets_through_a_crowd_that_came_all_at_once(port: int) -> None:
    async with serving(CollectorRegistry(), port, Health(lambda: "")):
        with ExitStack() as stack:  # the loop stands still: all of them wait for being accepted
            probes = []
            for crowd in (http.CONNECTIONS, http.CONNECTIONS, 0):
                probe, *_ = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                    for _ in range(1 + crowd)
                ]
                probe.sendall(get("/healthz"))
                probes.append(probe)
            for probe in probes:
                assert b" 200 OK" in await asyncio.to_thread(probe.recv, 1000)
