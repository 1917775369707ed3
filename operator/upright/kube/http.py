"""/metrics, /healthz and /readyz, on one port, which anything in the cluster may reach.

They are answered in the loop in which all the work is done: what strangers ask for costs little, whatever it is and
however often, and the kubelet is answered first come, first served.
"""

import asyncio
import contextlib
import io
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SHUTDOWN = 1.0
"""Seconds that requests under way have when the process ends."""

FRESH = 1.0
"""Seconds for which a page of metrics is given to everybody who asks."""

SHARE = 20
"""And for so many times as long as it took to be made: with 5,000 Deployments that is half a second, in which the loop
hardly runs.
"""

HEAD = 10.0
"""Seconds within which a connection's request is there, or it is closed."""

CONNECTIONS = 256
"""As many are open at a time. One more closes the oldest, so that a probe, which asks at once, gets its answer however
many others are held open."""

_ACCEPTED = 16
"""Connections that are accepted in one turn of the loop: none is so much older than its request that many newer ones
close it before it is read, and the loop soon has its next turn."""

_QUEUE = 1024
"""Connections that wait in the kernel for being accepted."""

logger = logging.getLogger(__name__)
logger.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
# What is no HTTP gets its 400: it is no news, and a traceback for each would be a way to fill the log.


class PortError(Exception):
    """The port cannot be had."""


@dataclass
class Health:
    """What the probes say."""

    missing: Callable[[], str]
    """What keeps the process from being ready, in a sentence; empty when nothing does."""
    besides: Callable[[], str] = lambda: ""
    """What is wrong of which a process says that it is ready all the same."""
    ended: str = ""
    """Why the process ends and is to be started again, as soon as that is so: should it hang, others see it."""


@contextlib.asynccontextmanager
async def serving(registry: CollectorRegistry, port: int, health: Health) -> AsyncIterator[None]:
    """Serve while the context lasts; raises PortError."""
    page = _Page(registry)

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.method not in {"GET", "HEAD"}:
            response = web.Response(text="only GET and HEAD\n", status=405, headers={"Allow": "GET, HEAD"})
        elif request.path == "/metrics":
            # From a file it is sent in pieces: who does not read does not have the whole page kept.
            content = io.BytesIO(await page.newest())
            response = web.Response(body=content, headers={"Content-Type": CONTENT_TYPE_LATEST})
        elif request.path == "/healthz":
            response = _said(health.ended)
        elif request.path == "/readyz":
            response = _said(health.ended or health.missing(), health.besides())
        else:
            response = web.Response(text="there are /metrics, /healthz and /readyz\n", status=404)
        response.force_close()  # one request each: none is answered out of turn, and none stays idle
        return response

    server = _Server(
        answer, access_log=None, logger=logger, keepalive_timeout=HEAD, lingering_time=0, handler_cancellation=True
    )
    try:
        listening = await asyncio.get_running_loop().create_server(server, port=port, backlog=_ACCEPTED)
    except OSError as error:
        raise PortError(
            f"cannot serve /metrics and the probes on port {port}: {error.strerror}. "
            f"Set UPRIGHT_METRICS_PORT to a free port."
        ) from error
    try:
        for each in listening.sockets:
            with each.dup() as same:  # asyncio has one number for both
                same.listen(_QUEUE)
        yield
    finally:
        listening.close()
        server.pre_shutdown()
        await server.shutdown(SHUTDOWN)


class _Server(web.Server):
    """A server with a bounded number of connections."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        for oldest in self.connections[:-CONNECTIONS]:
            if oldest.transport is not None:
                oldest.transport.abort()


class _Page:
    """The page of metrics: with many objects it takes long, so it is made beside the loop, and for all who ask."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._made: asyncio.Task[bytes] | None = None
        self._until = 0.0

    async def newest(self) -> bytes:
        """The page, not older than FRESH and SHARE say; raises what making it raised."""
        if self._made is None or (self._made.done() and asyncio.get_running_loop().time() >= self._until):
            self._made = asyncio.create_task(self._make())
        return await asyncio.shield(self._made)

    async def _make(self) -> bytes:
        took = 0.0
        try:
            page, took = await asyncio.to_thread(self._generated)
            return page
        finally:
            self._until = asyncio.get_running_loop().time() + max(FRESH, SHARE * took)

    def _generated(self) -> tuple[bytes, float]:
        """The page, and the seconds of a processor that it took."""
        began = time.thread_time()
        return generate_latest(self._registry), time.thread_time() - began


def _said(wrong: str, besides: str = "") -> web.Response:
    return web.Response(text=f"{wrong or besides or 'ok'}\n", status=503 if wrong else 200)
