"""Clusters with IPv4 alone, with IPv6 alone, and with both."""

import errno
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.runtime.pod import a_matrix_model, a_pod
from tests.unit.runtime.server import a_free_port, a_store_with, serving
from upright.runtime.outcome import FailedError
from upright.runtime.serve import bound


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_pod_answers_on_both_families(tmp_path: Path, workers: str) -> None:
    pod = a_pod(tmp_path)
    with serving(pod, {**a_store_with(pod, a_matrix_model()), "UPRIGHT_WORKERS": workers}) as server:
        for host in ("127.0.0.1", "[::1]"):
            url = f"http://{host}:{server.client.base_url.port}"
            asked = httpx.post(f"{url}/v1/models/churn:predict", json={"instances": [[6, 2, 1, 1]]})
            assert asked.json() == {"predictions": [1]}
            assert httpx.get(f"{url}/readyz").status_code == 200
            assert "upright_requests_total" in httpx.get(f"{url}/metrics").text


@pytest.mark.parametrize("fails", ["socket", "bind"])
def test_without_ipv6_a_pod_answers_on_ipv4(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without IPv6 has no such socket; one where it is turned off has no such address."""

    class WithoutIPv6(socket.socket):
        def __init__(self, family: int = -1, *more: Any, **named: Any) -> None:
            if fails == "socket" and family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *more, **named)

        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", WithoutIPv6)

    with bound(a_free_port()) as listener:
        assert listener.family == socket.AF_INET


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(FailedError, match=f"cannot listen on port {port}: Address already in use"):
            bound(port)


def test_answers_are_sent_at_once() -> None:
    """Of a socket whose protocol is not named asyncio does not turn Nagle's algorithm off: 40 ms for each answer."""
    with bound(a_free_port()) as listener:
        assert listener.proto == socket.IPPROTO_TCP
