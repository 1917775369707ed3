"""Kopf watches, in a thread of its own, and hands over what it sees.

Kopf expects to own its process: it takes the signals, cancels whatever tasks it finds when it stops, and after the
failure of one watch it may wait for ever for the others. In a thread none of that touches the rest of the operator,
and when it has ended, or gives no sign of life, the process can end without it.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast
from uuid import uuid4

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from kubernetes.aio.client import Configuration

from upright.contract import ResourceType
from upright.kube.connection import session
from upright.kube.listing import Told
from upright.kube.patience import Patience, Signs
from upright.kube.places import Place

WATCH_SECONDS = 240
"""After which the API server ends a watch; it is begun anew where it has ended."""
LOOK = 5.0
"""Seconds between two looks at the signs of life."""
STOPPING = 3.0
"""Seconds that Kopf has to end when it is told to. It only reads, so nothing is lost when it does not."""

logger = logging.getLogger(__name__)


class WatchesEndedError(Exception):
    """Nothing would be noticed any more."""


async def watch(
    places: Sequence[Place],
    namespaces: Sequence[str],
    signs: Signs,
    *,
    login: Callable[[], Awaitable[Configuration]],
    seen: Told,
    gone: Told,
    began: Callable[[Place], None],
    identity: str,
) -> None:
    """Watch until cancelled; raises WatchesEndedError. `began` is told of each list with which Kopf begins a watch."""
    home, kopfs = asyncio.get_running_loop(), asyncio.new_event_loop()
    stop, ended = asyncio.Event(), asyncio.Event()  # one for Kopf's loop, one for ours

    def tell(callback: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the process has ended meanwhile
            home.call_soon_threadsafe(callback, *arguments)

    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        _configure(settings, places)

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        configuration = await login()
        patience = Patience(places, signs, login, lambda place: tell(began, place), configuration.host)
        return kopf.AiohttpSession(server=configuration.host, aiohttp_session=session(configuration, [patience]))

    @kopf.on.cleanup(registry=registry)
    async def clean_up(**_: Any) -> None:
        tell(ended.set)  # it may never come to its end, but from here on it does not watch

    for watched in dict.fromkeys(place.type for place in places):
        _deliver(registry, watched, lambda *event: tell(seen, *event), lambda *event: tell(gone, *event))

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: kopfs) as runner:
            try:
                runner.run(
                    kopf.operator(
                        registry=registry,
                        standalone=True,
                        clusterwide=not namespaces,
                        namespaces=namespaces,
                        stop_flag=stop,
                        identity=cast(Any, identity),  # else it asks for the user's name, and a pod's user has none
                        memories=_Forgetful(),
                    )
                )
            except Exception:
                if not stop.is_set():
                    logger.exception("Kopf has failed")
            finally:
                tell(ended.set)

    _quieten()
    threading.Thread(target=run, name="watches", daemon=True).start()
    try:
        await _until(ended, signs)
    finally:
        logging.getLogger("kopf").setLevel(logging.CRITICAL)  # requests fail under way, as they may now
        with contextlib.suppress(RuntimeError):  # it has ended already
            kopfs.call_soon_threadsafe(stop.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOPPING):
                await ended.wait()


class _Nothing(kopf.DiffBaseStorage):
    """Compares nothing, for handlers that we do not have. By default Kopf copies and compares each version of each
    object, with what anybody may have written into an annotation of its.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _Forgetful(ResourceMemories):
    """Remembers nothing of objects: by default 2 KiB of each, until it is deleted, for handlers that we do not have."""

    async def recall(self, raw_body: Any, **how: Any) -> ResourceMemory:
        return await super().recall(raw_body, **{**how, "ephemeral": True})


async def _until(ended: asyncio.Event, signs: Signs) -> None:
    """Raise WatchesEndedError once the watches have ended, whether Kopf says so or they have fallen silent."""
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await ended.wait()
        if dead := signs.silent(2 * WATCH_SECONDS):
            raise WatchesEndedError(f"nothing has been heard of the watch of {dead[0]} for too long")
        if signs.distrusted:  # the cluster may have another authority now: whoever begins anew reads which
            raise WatchesEndedError(signs.distrusted)
    raise WatchesEndedError("Kopf has ended; its last lines say why")


def _deliver(registry: kopf.OperatorRegistry, type: ResourceType, seen: Told, gone: Told) -> None:
    @kopf.on.event(group=type.group, version=type.version, plural=type.plural, registry=registry, id=str(type))
    async def deliver(event: kopf.RawEvent, **_: Any) -> None:
        (gone if event["type"] == "DELETED" else seen)(type, event["object"])


def _configure(settings: kopf.OperatorSettings, places: Sequence[Place]) -> None:
    # Kopf removes its finalizer where no handler of its own needs it, for ever where that is refused: nobody can guess
    # this one, and put it on anything.
    settings.persistence.finalizer = f"kopf.upright.dev/{uuid4()}"
    settings.persistence.diffbase_storage = _Nothing()
    settings.posting.enabled = False
    # An idle worker keeps its place for so long; there may be thousands of objects and only one event of each.
    settings.queueing.idle_timeout = 0.05
    # What exists has been listed before the watches begin: no need to read CustomResourceDefinitions and Namespaces.
    settings.scanning.disabled = True
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = WATCH_SECONDS
    for place in places:
        if place.selector:
            where = (place.type.group, place.type.version, place.type.plural)
            settings.watching.label_selectors[where] = place.selector


def _quieten() -> None:
    if not logger.isEnabledFor(logging.DEBUG):
        logging.getLogger("kopf").setLevel(logging.WARNING)  # it has a line for each event of each object
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # that it does not take the signals
