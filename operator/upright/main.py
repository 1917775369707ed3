"""The operator as a process: settings, login, leader election, watches, and an end without loose ends."""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import disable_created_metrics
from pythonjsonlogger.json import JsonFormatter

from upright import __version__
from upright.contract import Kind
from upright.controller import Controller
from upright.kinds import kinds
from upright.kube.client import Client
from upright.kube.connection import login
from upright.kube.events import Recorder
from upright.kube.http import serving
from upright.kube.lease import Lease, Terms
from upright.kube.store import Stores
from upright.kube.watching import Lister, selectors, watch
from upright.metrics import Metrics
from upright.settings import Settings, SettingsError, read_settings

GRACE = 5.0
"""Seconds that plans have for being carried out once the process has been told to stop."""

logger = logging.getLogger(__name__)


def main() -> None:
    """Run the operator until SIGTERM or SIGINT. Exits with 0 then, with 2 for wrong settings, else with 1."""
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.exit(_refusal(error))
    log_to_stderr(settings)
    disable_created_metrics()  # type: ignore[no-untyped-call]
    sys.exit(asyncio.run(run(settings, kinds(settings))))


async def run(settings: Settings, kinds: Sequence[Kind[Any]], terms: Terms | None = None) -> int:
    """Run the operator for these kinds; returns the exit code of the process."""
    metrics = Metrics()
    lease_client = Client(login, metrics.requests)  # its own connections: a renewal never waits for other requests
    lease = Lease(
        lease_client,
        settings.lease_namespace,
        settings.lease_name,
        settings.identity,
        terms=terms or Terms(),
        monotonic=time.monotonic,
        clock=_utc_now,
    )
    client = Client(login, metrics.requests, fence=lease.remaining)
    stores = Stores(kinds, client, _utc_now)
    recorder = Recorder(client, settings.identity, time.monotonic, _utc_now)
    controller = Controller(kinds, stores, client, recorder, metrics)
    wanted = selectors(stores.types, [kind.type for kind in kinds])
    lister = Lister(client, wanted, settings.namespaces, controller.listed)
    metrics.leader.set_function(lambda: float(lease.held))

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        stack.push_async_callback(lease_client.close)
        await stack.enter_async_context(serving(metrics.registry, settings.metrics_port, lambda: lister.missing))
        logger.info("Upright %s; metrics and probes on port %d", __version__, settings.metrics_port)
        stop = _stop_at_signals()
        if not await _unless(stop, _become_leader(lister, lease)):
            return 0
        stack.push_async_callback(lease.release)
        logger.info("leading as %s", settings.identity)
        watching = watch(
            wanted,
            settings.namespaces,
            login=login,
            seen=controller.seen,
            gone=controller.gone,
            stop=stop,
            stopping=lambda: controller.stop(GRACE),
            identity=settings.identity,
        )
        return await _lead(watching, lister, lease, controller, stop)


async def _become_leader(lister: Lister, lease: Lease) -> None:
    """A process that waits for the Lease is ready, too: it could begin, and a rolling update waits for it."""
    await lister.until_complete()
    await lease.acquire()
    await lister.until_complete()  # what has changed while another led


async def _lead(
    watching: Coroutine[Any, Any, None], lister: Lister, lease: Lease, controller: Controller, stop: asyncio.Event
) -> int:
    """Work until told to stop, or until something without which there is no use in going on has ended."""
    controller.start()
    async with _tasks(lease.keep(), controller.failed(), lister.now_and_then()) as (keeping, failing, listing):
        watched = asyncio.create_task(watching, name="watches")
        await asyncio.wait((keeping, failing, listing, watched), return_when=asyncio.FIRST_COMPLETED)
        lost = keeping.done()
        broken = [task for task in (failing, listing) if task.done() and task.exception()]
        stop.set()
        try:
            await watched
        except Exception as error:  # noqa: BLE001 - whatever ended the watches, the process ends with it and says so
            logger.error("the watches have ended: %s. Exiting; the next start says what is missing.", error)  # noqa: TRY400
            await controller.stop(GRACE)
            return 1
        for task in broken:
            task.result()
        logger.info("stopped")
        if lost:
            logger.error("the Lease is lost: another process may lead now, so this one ends")
        return 1 if lost or broken else 0


@contextlib.asynccontextmanager
async def _tasks(*work: Coroutine[Any, Any, None]) -> AsyncIterator[Sequence[asyncio.Task[None]]]:
    """Tasks that end with the context."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work unless told to stop; returns whether it was done."""
    async with _tasks(work, _wait(stop)) as (working, stopping):
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return working.done()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _stop_at_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. While Kopf runs, they end Kopf, and with it the rest."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def log_to_stderr(settings: Settings) -> None:
    """Log as the settings want it: lines for people, or JSON."""
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    names = {"asctime": "time", "levelname": "level", "name": "logger"}
    machine = JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=names)
    stderr = logging.StreamHandler()
    stderr.setFormatter(machine if settings.log_format == "json" else plain)
    logging.basicConfig(level=settings.log_level, handlers=[stderr], force=True)


def _refusal(error: SettingsError) -> int:
    sys.stderr.write(f"upright: {error}\n")
    return 2


def _utc_now() -> datetime:
    return datetime.now(UTC)
