"""What the probes say."""

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from upright.kube.http import Health, PortError, serving


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
