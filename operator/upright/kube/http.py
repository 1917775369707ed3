"""/metrics, /healthz and /readyz, on one port."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

SHUTDOWN = 1.0
"""Seconds that requests under way have when the process ends."""


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

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.ended)

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.ended or health.missing(), health.besides())

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, port=port).start()
        except OSError as error:
            raise PortError(
                f"cannot serve /metrics and the probes on port {port}: {error.strerror}. "
                f"Set UPRIGHT_METRICS_PORT to a free port."
            ) from error
        yield
    finally:
        await runner.cleanup()


def _answer(wrong: str, besides: str = "") -> web.Response:
    return web.Response(text=f"{wrong or besides or 'ok'}\n", status=503 if wrong else 200)
