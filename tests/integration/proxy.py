"""A proxy before a real API server that answers, delays and cuts requests as told."""

import asyncio
import base64
import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tests.cluster.cluster import Cluster


@dataclass(frozen=True)
class Fault:
    """What becomes of a request."""

    status: int = 0
    """Answered so, and never sent on; 0: sent on."""
    retry_after: str = ""
    message: str = "a fault was injected"
    seconds: float = 0.0
    """Held back for so long before anything else."""
    lost: bool = False
    """Carried out, but the connection breaks before the answer."""
    stale: bool = False
    """A list is answered as it was answered the first time."""
    broken: bool = False
    """The connection breaks at once."""
    cut: float = 0.0
    """A watch breaks after so many seconds; 0: it does not."""


PASS = Fault()


@dataclass
class Proxy:
    """`fault` decides about each request; it runs in the proxy's thread."""

    server: str
    trust: ssl.SSLContext
    fault: Callable[[web.Request], Fault] = lambda _: PASS
    port: int = 0
    refused: "Counter[int]" = field(default_factory=Counter)
    lost: "Counter[str]" = field(default_factory=Counter)
    """How many answers to a write on a path were lost."""
    written: list[tuple[str, str]] = field(default_factory=list)
    """The path of each write that was carried out, and the object and version that came of it."""
    _first: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _watches: list[web.Request] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop | None = None

    def cut_watches(self) -> None:
        """Break the connections of all watches."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for request in list(self._watches):
            _break(request)

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=2**26)
        connector = aiohttp.TCPConnector(limit=0, ssl=self.trust)
        async with aiohttp.ClientSession(self.server, connector=connector, auto_decompress=False) as upstream:

            async def answer(request: web.Request) -> web.StreamResponse:
                return await self._answer(upstream, request)

            app.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            self.port = int(runner.addresses[0][1])
            started.set()
            await stop.wait()
            await runner.cleanup()

    async def _answer(self, upstream: aiohttp.ClientSession, request: web.Request) -> web.StreamResponse:
        fault = self.fault(request)
        await asyncio.sleep(fault.seconds)
        if fault.broken:
            _break(request)
            return web.Response()
        if fault.status:
            self.refused[fault.status] += 1
            status = {"kind": "Status", "apiVersion": "v1", "code": fault.status, "message": fault.message}
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            if fault.status == 429:  # in plain text, as what is too much for an API server
                return web.Response(status=429, text=fault.message, headers=headers)
            return web.json_response(status, status=fault.status, headers=headers)
        if fault.stale and request.path_qs in self._first:
            code, body = self._first[request.path_qs]
            return web.Response(status=code, body=body, content_type="application/json")
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Accept-Encoding")}
        timeout = aiohttp.ClientTimeout(total=None)
        async with upstream.request(
            request.method, request.rel_url, headers=headers, data=await request.read() or None, timeout=timeout
        ) as response:
            if "watch" in request.query:
                return await self._watch(request, response, fault.cut)
            body = await response.read()
            if request.method in ("PATCH", "POST") and response.status in (200, 201):
                metadata = json.loads(body)["metadata"]
                self.written.append((request.path, f"{metadata['uid']} {metadata['resourceVersion']}"))
            if fault.lost:
                self.lost[request.path] += 1
                _break(request)
            if request.method == "GET" and response.status == 200:
                self._first.setdefault(request.path_qs, (response.status, body))
            kept = {
                name: response.headers[name] for name in ("Content-Type", "Retry-After") if name in response.headers
            }
            return web.Response(status=response.status, body=body, headers=kept)

    async def _watch(
        self, request: web.Request, response: aiohttp.ClientResponse, seconds: float
    ) -> web.StreamResponse:
        stream = web.StreamResponse(status=response.status)
        stream.content_type = response.content_type
        await stream.prepare(request)
        self._watches.append(request)
        try:
            async with asyncio.timeout(seconds or None):
                async for chunk in response.content.iter_any():
                    await stream.write(chunk)
        except (TimeoutError, ConnectionError, aiohttp.ClientError):
            _break(request)
        finally:
            self._watches.remove(request)
        return stream


@contextlib.contextmanager
def proxied(cluster: Cluster, folder: Path, token: str) -> Iterator[tuple[Proxy, Path]]:
    """A proxy before the API server, and a kubeconfig that leads to it with this token."""
    config: dict[str, Any] = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json").stdout)
    described = config["clusters"][0]["cluster"]
    proxy = Proxy(described["server"], _trust(described))
    started, stop = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.serve(started, stop)), daemon=True)
    thread.start()
    assert started.wait(10)
    config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{proxy.port}"}
    config["users"][0]["user"] = {"token": token}
    path = folder / "proxied.json"
    path.write_text(json.dumps(config))
    try:
        yield proxy, path
    finally:
        assert proxy._loop is not None
        proxy._loop.call_soon_threadsafe(stop.set)
        thread.join()


def a_token(cluster: Cluster, namespace: str, name: str) -> str:
    """Of a new ServiceAccount that may do everything; its Lease it may have by a permission of its own."""
    account, where = f"--serviceaccount={namespace}:{name}", f"--namespace={namespace}"
    cluster.kubectl("create", "serviceaccount", name, where)
    cluster.kubectl("create", "clusterrolebinding", f"{namespace}-{name}", "--clusterrole=cluster-admin", account)
    cluster.kubectl("create", "role", name, "--verb=get,create,update", "--resource=leases", where)
    cluster.kubectl("create", "rolebinding", name, f"--role={name}", account, where)
    return cluster.kubectl("create", "token", name, where).stdout.strip()


def _trust(described: dict[str, Any]) -> ssl.SSLContext:
    if "certificate-authority-data" in described:
        return ssl.create_default_context(cadata=base64.b64decode(described["certificate-authority-data"]).decode())
    return ssl.create_default_context(cafile=described["certificate-authority"])


def _break(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
