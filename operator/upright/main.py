"""The operator as a process: settings, login, leader election, watches, and an end without loose ends."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from prometheus_client import disable_created_metrics
from pythonjsonlogger.json import JsonFormatter

from upright import __version__
from upright.contract import Kind, ResourceType
from upright.controller import Controller
from upright.kinds import kinds
from upright.kube.client import Client
from upright.kube.connection import login
from upright.kube.events import Recorder
from upright.kube.http import Health, PortError, serving
from upright.kube.lease import Lease, LeaseTimes
from upright.kube.listing import Lister
from upright.kube.metadata import watch_metadata
from upright.kube.patience import Signs
from upright.kube.places import Place, everywhere, one_each, places, sentences
from upright.kube.pruning import Pruned
from upright.kube.store import Stores
from upright.kube.watched import Watched
from upright.kube.watching import WatchesEndedError, watch
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
    gc.freeze()  # or each large object that is read has all modules looked through for garbage
    try:
        sys.exit(asyncio.run(run(settings, kinds(settings))))
    except PortError as error:
        sys.exit(_refusal(error))


async def run(settings: Settings, kinds: Sequence[Kind[Any]], times: LeaseTimes | None = None) -> int:
    """Run the operator for these kinds; returns the exit code of the process."""
    stop = _stop_at_signals()
    metrics = Metrics()
    wanted = places(kinds, settings.namespaces)
    signs = Signs(wanted)

    def unseen() -> Set[Place]:
        return {*signs.unseen(), *(place for place in wanted if place.namespace in lister.unserved)}

    watched = Watched(wanted, unseen, _utc_now)
    times = times or LeaseTimes()
    # Its own connections: a renewal never waits for other requests, nor for longer than until the next one is due.
    lease_client = Client(login, metrics.requests, longest_wait=times.retry_period)
    lease = Lease(
        lease_client,
        settings.lease_namespace,
        settings.lease_name,
        settings.identity,
        times=times,
        watched=watched,
        monotonic=time.monotonic,
        clock=_utc_now,
    )
    client = Client(login, metrics.requests, fence=lease.remaining)
    stores = Stores(kinds, client, _utc_now, watched.since)
    recorder = Recorder(client, settings.identity, time.monotonic, _utc_now)
    controller = Controller(kinds, stores, client, recorder, metrics, signs.blind)

    def listed(type: ResourceType, namespace: str, there: Container[str], version: int) -> None:
        controller.listed(type, namespace, there, version)
        signs.listed(type, namespace)

    lister = Lister(client, wanted, controller.seen, listed, controller.serve)
    health = _health(wanted, lister, signs, client.pruned)
    metrics.leader.set_function(lambda: float(lease.held))

    def watching() -> list[Coroutine[Any, Any, None]]:
        seen, gone = controller.seen, controller.gone
        whole, partial = ([each for each in wanted if each.metadata is metadata] for metadata in (False, True))
        began, identity = lister.again, settings.identity
        kopf = watch(
            whole, settings.namespaces, signs, login=login, seen=seen, gone=gone, began=began, identity=identity
        )
        partly = watch_metadata(client, partial, signs, seen=seen, gone=gone, listed=listed) if partial else None
        return [kopf, *([partly] if partly else [])]

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        stack.push_async_callback(lease_client.close)
        await stack.enter_async_context(serving(metrics.registry, settings.metrics_port, health))
        logger.info("Upright %s; metrics and probes on port %d", __version__, settings.metrics_port)
        stack.push_async_callback(lease.release)
        if not await _unless(stop, _become_leader(lister, lease)):
            return 0
        logger.info("leading as %s", settings.identity)
        return await _lead(_work(lister, controller, signs, watched, watching), lease, health, stop)


def _health(places: Sequence[Place], lister: Lister, signs: Signs, pruned: Pruned) -> Health:
    """What the probes say: what is wrong in some namespaces only, or with what is recorded, does not make the process
    unready.
    """

    def troubles() -> Mapping[Place, str]:
        return {**signs.troubles, **lister.troubles}

    def missing() -> str:
        return sentences(troubles()) if everywhere(troubles(), places) else ""

    def besides() -> str:
        elsewhere = f"not in every namespace: {sentences(one_each(troubles()))}" if troubles() else ""
        said = " ".join(filter(None, (pruned.trouble, elsewhere)))
        return f"ok, but {said}" if said else ""

    return Health(missing, besides)


async def _become_leader(lister: Lister, lease: Lease) -> None:
    """A process that waits for the Lease is ready, too: it could begin, and a rolling update waits for it."""
    await lister.until_possible()
    await lease.acquire()


async def _lead(work: Coroutine[Any, Any, None], lease: Lease, health: Health, stop: asyncio.Event) -> int:
    """Work until told to stop, or until something without which there is no use in going on has ended."""
    async with _tasks(lease.keep(), _wait(stop)) as (keeping, stopping), _tasks(work) as (working,):
        await asyncio.wait((keeping, stopping, working), return_when=asyncio.FIRST_COMPLETED)
        if stopping.done():
            logger.info("stopping")
            return 0
        error = None if keeping.done() else working.exception()
        reason = f"the Lease is lost: {lease.lost}" if keeping.done() else error or "the work has ended"
        health.ended = f"{reason}. This process ends, and is to be started again"
        logger.error("%s", health.ended, exc_info=None if isinstance(error, WatchesEndedError) else error)
        return 1


async def _work(
    lister: Lister,
    controller: Controller,
    signs: Signs,
    watched: Watched,
    watching: Callable[[], Sequence[Coroutine[Any, Any, None]]],
) -> None:
    """Work until cancelled, or until some part of it fails. What has been begun then is carried out."""
    await lister.until_complete()
    signs.begin()
    controller.start(lister.unserved)
    try:
        async with _tasks(controller.failed(), lister.now_and_then(), watched.keep(), *watching()) as parts:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
    finally:
        await controller.stop(GRACE)


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
    """An event that SIGTERM and SIGINT set."""
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


def _refusal(error: Exception) -> int:
    sys.stderr.write(f"upright: {error}\n")
    return 2


def _utc_now() -> datetime:
    return datetime.now(UTC)
