"""Logging in: which proxies count, what is said of one that does not let us through, and which certificates do."""

import ssl

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from tests.unit.kube.fakes import TOYS
from upright.kube import connection
from upright.kube.client import Client
from upright.kube.errors import UnreachableError
from upright.metrics import Metrics


@pytest.fixture(autouse=True)
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("server", "excepted", "heeds"),
    [
        ("https://10.96.0.1:443", "", True),
        ("https://10.96.0.1:443", ".svc,.cluster.local, 10.96.0.0/12", False),
        ("https://10.96.0.1:443", "10.96.3.4/12", False),
        ("https://10.96.0.1:443", "192.168.0.0/16,fd00::/8,*", True),  # aiohttp reads the rest itself
        ("https://[fd00::1]:443", "fd00::/8", False),
        ("https://api.example:6443", "10.0.0.0/8,example", True),
    ],
)
async def test_networks_that_proxies_are_not_for_are_those_of_the_client_and_of_the_watches(
    monkeypatch: pytest.MonkeyPatch, server: str, excepted: str, heeds: bool
) -> None:
    monkeypatch.setenv("NO_PROXY", excepted)

    async def load(client_configuration: Configuration) -> None:
        client_configuration.host = server

    monkeypatch.setattr(config, "load_kube_config", load)
    configuration = await connection.login()
    assert configuration.client_session_kwargs == {"trust_env": heeds}
    async with connection.session(configuration, []) as session:
        assert session.trust_env is heeds


async def test_a_proxy_that_does_not_let_us_through_is_named() -> None:
    async def login() -> Configuration:
        return Configuration(host="https://10.96.0.1:443")

    client = Client(login, Metrics().requests)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9 .* the proxy of HTTPS_PROXY: .* in NO_PROXY"):
        await client.get(TOYS, "shop", "bear")
    await client.close()


async def test_a_certificate_that_kubectl_takes_is_taken_whatever_python_asks_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = ssl.create_default_context

    def strict(*words: object, **how: object) -> ssl.SSLContext:
        context = usual(*words, **how)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python does by itself since 3.13
        return context

    async def load(client_configuration: Configuration) -> None:
        client_configuration.host = "https://10.96.0.1:443"

    monkeypatch.setattr(ssl, "create_default_context", strict)
    monkeypatch.setattr(config, "load_kube_config", load)
    context = RESTClientObject(await connection.login()).ssl_context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
