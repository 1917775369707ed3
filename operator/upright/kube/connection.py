"""Logging in to the API server, once for our client and for the watches."""

import contextlib
import ipaddress
import os
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from upright.kube.errors import ApiError

LONGEST_WAIT = 30.0
"""Seconds to wait at most before asking again, whatever `Retry-After` says: a broken proxy may say ten years."""


async def login() -> Configuration:
    """How to reach the API server: from the pod's ServiceAccount, else from the kubeconfig that kubectl would use."""
    configuration = Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise ApiError(
            f"cannot log in to a cluster: {error}. Run inside a pod with a ServiceAccount, or name a kubeconfig "
            f"in the environment variable KUBECONFIG (`kubectl config view` shows the one in use)."
        ) from error
    # Clusters' own certificates often lack what X.509 recommends and Python asks for since 3.13; kubectl does not ask.
    configuration.disable_strict_ssl_verification = True
    # No limit: each watch holds a connection for as long as it lasts, and other requests are bounded by who sends them.
    configuration.connection_pool_maxsize = 0
    configuration.client_session_kwargs = {"trust_env": _heeds_proxies(configuration.host)}
    return configuration


def session(configuration: Configuration, middlewares: Sequence[aiohttp.ClientMiddlewareType]) -> aiohttp.ClientSession:
    """A session for Kopf's watches, to which a middleware adds who we are."""
    connector = aiohttp.TCPConnector(limit=0, ssl=RESTClientObject(configuration).ssl_context)
    heeds = _heeds_proxies(configuration.host)
    return aiohttp.ClientSession(connector=connector, trust_env=heeds, middlewares=middlewares)


def _heeds_proxies(server: str) -> bool:
    """Whether the environment's proxies count for this URL. aiohttp reads names and addresses in NO_PROXY; networks,
    which is how clusters name their own addresses there, it does not.
    """
    try:
        address = ipaddress.ip_address(urlsplit(server).hostname or "")
    except ValueError:
        return True  # it has a name
    return not any(address in network for network in _unproxied())


def _unproxied() -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for part in getproxies_environment().get("no", "").split(","):
        with contextlib.suppress(ValueError):
            yield ipaddress.ip_network(part.strip(), strict=False)


def cause(error: Exception, silence: str) -> str:
    """Why a request got no answer; `silence`: what to say where nothing was heard in time."""
    if isinstance(error, TimeoutError):
        return silence
    said = str(error) or repr(error)
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        said = f"{said}. That is the proxy of HTTPS_PROXY: name the API server's address or network in NO_PROXY"
    return said


async def authorization(configuration: Configuration) -> dict[str, str]:
    """The header that says who we are; none where a certificate does."""
    token = await configuration.get_api_key_with_prefix("BearerToken")
    return {"Authorization": token} if token else {}


def seconds_to_wait(status: int, retry_after: str | None) -> float | None:
    """For how long the API server wants no request after this answer; None when it does not ask for that."""
    if status != 429 and not (status == 503 and retry_after is not None):
        return None
    asked = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
    return min(max(1.0, asked), LONGEST_WAIT)
