"""/metrics, /healthz and /readyz, on one port."""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


@contextlib.asynccontextmanager
async def serving(registry: CollectorRegistry, port: int, not_ready: Callable[[], str]) -> AsyncIterator[None]:
    """Serve while the context lasts. `not_ready` says what is still missing, or nothing."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        missing = not_ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", healthz), web.get("/readyz", readyz)])
    # No connection outlives its request: Kopf, when it stops, waits for every task that it finds, and each is one.
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
