"""Listing and watching. Kopf watches; lists of our own begin each watch and mend, now and then, what a watch missed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import kopf
from kubernetes.aio.client import Configuration

from upright.contract import Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.connection import session_for_watches
from upright.kube.errors import ApiError, NotFoundError
from upright.kube.objects import MANAGED_BY, OURS

RETRY = 5.0
FIRST_RELIST = 30.0
RELIST = 600.0

Listed = Callable[[ResourceType, str, Iterable[Manifest], int], None]

logger = logging.getLogger(__name__)


class Lister:
    """Lists everything that is watched, in one namespace after the other."""

    def __init__(
        self, client: Client, selectors: Mapping[ResourceType, str], namespaces: Sequence[str], listed: Listed
    ) -> None:
        self._client = client
        self._selectors = selectors
        self._namespaces = tuple(namespaces) or ("",)
        self._listed = listed
        self.missing = "nothing has been listed yet"
        """What stands in the way of listing everything, in a sentence; empty once it has been done."""

    async def until_complete(self) -> None:
        """List everything once, waiting for whatever is missing: resources, permissions, the API server itself."""
        while True:
            before, self.missing = self.missing, " ".join(await self._everything())
            if not self.missing:
                return
            if self.missing != before:
                logger.warning("not ready: %s Waiting; nothing needs to be restarted.", self.missing)
            await asyncio.sleep(RETRY)

    async def now_and_then(self) -> None:
        """List again for ever. After a watch had to begin anew, an object that vanished meanwhile gives no event."""
        await asyncio.sleep(FIRST_RELIST)  # what vanished between our list and Kopf's first one
        while True:
            for complaint in await self._everything():
                logger.warning("relisting: %s", complaint)
            await asyncio.sleep(RELIST)

    async def _everything(self) -> list[str]:
        complaints = []
        for listed, selector in self._selectors.items():
            for namespace in self._namespaces:
                try:
                    manifests, version = await self._client.list(listed, namespace, selector)
                except NotFoundError:
                    complaints.append(_crd_missing(listed))
                    break
                except ApiError as error:
                    complaints.append(f"{error}.")
                    break
                self._listed(listed, namespace, manifests, version)
        return complaints


def selectors(watched: Sequence[ResourceType], own: Sequence[ResourceType]) -> dict[ResourceType, str]:
    """Which objects of each resource are of interest: all of our own kinds, and of others those that we made."""
    return {each: "" if each in own else f"{MANAGED_BY}={OURS}" for each in watched}


async def watch(
    selectors: Mapping[ResourceType, str],
    namespaces: Sequence[str],
    *,
    login: Callable[[], Awaitable[Configuration]],
    seen: Callable[[ResourceType, Manifest], None],
    gone: Callable[[ResourceType, Manifest], None],
    stop: asyncio.Event,
    stopping: Callable[[], Awaitable[None]],
    identity: str,
) -> None:
    """Run Kopf until it is told to stop by `stop` or a signal; `stopping` is awaited when it no longer watches."""
    if not logger.isEnabledFor(logging.DEBUG):
        logging.getLogger("kopf").setLevel(logging.WARNING)  # it has a line for each event of each object
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        _configure(settings, selectors)

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        configuration = await login()
        return kopf.AiohttpSession(server=configuration.host, aiohttp_session=await session_for_watches(configuration))

    @kopf.on.cleanup(registry=registry)
    async def clean_up(**_: Any) -> None:
        await stopping()

    for watched in selectors:
        _deliver(registry, watched, seen, gone)

    await kopf.operator(
        registry=registry,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
        identity=cast(Any, identity),  # else it asks for the user's name, and a pod's user has none
    )


def _deliver(
    registry: kopf.OperatorRegistry,
    type: ResourceType,
    seen: Callable[[ResourceType, Manifest], None],
    gone: Callable[[ResourceType, Manifest], None],
) -> None:
    @kopf.on.event(group=type.group, version=type.version, plural=type.plural, registry=registry, id=str(type))
    async def deliver(event: kopf.RawEvent, **_: Any) -> None:
        (gone if event["type"] == "DELETED" else seen)(type, event["object"])


def _configure(settings: kopf.OperatorSettings, selectors: Mapping[ResourceType, str]) -> None:
    # Kopf removes its finalizer where no handler of its own needs it: this one is on nothing.
    settings.persistence.finalizer = "kopf.upright.dev/unused"
    settings.posting.enabled = False
    # An idle worker keeps its place for so long; there may be thousands of objects and only one event of each.
    settings.queueing.idle_timeout = 0.05
    # What exists has been listed before the watches begin: no need to read CustomResourceDefinitions and Namespaces.
    settings.scanning.disabled = True
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    for watched, selector in selectors.items():
        if selector:
            settings.watching.label_selectors[watched.group, watched.version, watched.plural] = selector


def _crd_missing(type: ResourceType) -> str:
    return (
        f"the cluster does not know {type} in version {type.version}: install its CustomResourceDefinition "
        f"(`helm upgrade --install` with the chart does; `kubectl get crd {type}` shows it)."
    )
