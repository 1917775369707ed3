"""Logging in to the API server, once for our client and for Kopf's watches."""

import os

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from upright.kube.errors import ApiError

CONNECTIONS = 20


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
    configuration.connection_pool_maxsize = CONNECTIONS
    return configuration


async def session_for_watches(configuration: Configuration) -> aiohttp.ClientSession:
    """A session for Kopf, whose own has no limit to its connections."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=RESTClientObject(configuration).ssl_context)
    token = await configuration.get_api_key_with_prefix("BearerToken")
    headers = {"Authorization": token} if token else {}
    return aiohttp.ClientSession(connector=connector, headers=headers, trust_env=True)
