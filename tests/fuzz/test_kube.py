"""What answers at the address of the API server: a proxy, a login page, somebody else."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress

from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.aio.client import Configuration
from prometheus_client import CollectorRegistry, Counter

from upright.api import names
from upright.contract import Manifest
from upright.kube.client import Client
from upright.kube.errors import ApiError

STATUSES = st.sampled_from([200, 201, 302, 400, 403, 404, 409, 410, 422, 500, 502, 504])
FIELDS = st.sampled_from(
    ["message", "details", "causes", "reason", "metadata", "kind", "items", "code", "continue", "resourceVersion"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.text()
JSON = st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(FIELDS, one), max_leaves=8)
BODIES = st.binary() | JSON.map(lambda body: json.dumps(body).encode())
SERVICE: Manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "shop"}}


@given(st.lists(st.tuples(STATUSES, BODIES), min_size=1, max_size=5))
def test_an_answer_is_an_object_or_an_error_of_the_api(answers: list[tuple[int, bytes]]) -> None:
    asyncio.run(asked_of_a_server(answers))


def test_a_deep_answer_is_an_error_of_the_api_or_an_object() -> None:
    asyncio.run(asked_of_a_server([(200, b"[" * 100_000), (500, b'{"a":' * 100_000)]))


async def asked_of_a_server(answers: Sequence[tuple[int, bytes]]) -> None:
    """Each answer to each request, from one server: to start one takes longer."""
    left: list[tuple[int, bytes]] = []

    async def answer(_: web.Request) -> web.Response:
        status, body = left.pop() if left else (500, b"")  # a list that has further pages asks again
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:

        async def login() -> Configuration:
            return Configuration(host=str(server.make_url("/")).rstrip("/"))

        requests = Counter("requests", "", ("verb", "resource", "code"), registry=CollectorRegistry())
        client = Client(login, requests)
        try:
            for one in answers:
                for ask in (client.create(names.SERVICES, SERVICE), anext(client.pages(names.SERVICES, "shop"))):
                    left[:] = [one]
                    with suppress(ApiError):
                        await ask
        finally:
            await client.close()
