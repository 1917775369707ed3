"""Patience for Kopf's watches: a request is sent until it is answered, and what stands in its way is known.

In Kopf a watch ends, and all others with it, when its resource is gone for a moment (a CustomResourceDefinition that is
replaced) or a server fails for longer than a minute, and `Retry-After` makes it sleep for as long as anybody says. A
watch has nothing better to do than to try again: this middleware stands between Kopf and its connections.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping, Set
from functools import partial
from typing import cast

import aiohttp
from kubernetes.aio.client import Configuration
from yarl import URL

from upright.contract import ResourceType
from upright.kube.client import path_of
from upright.kube.connection import LONGEST_WAIT, authorization, seconds_to_wait
from upright.kube.errors import ApiError, refusal
from upright.kube.nesting import Lines, parsed
from upright.kube.places import Place

FIRST_DELAY = 0.5
ANSWER_TIMEOUT = 60.0
"""Seconds until an answer begins. That of a watch does at once, even if nothing happens."""
REFUSAL_TIMEOUT = 5.0
LONGEST_REFUSAL = 64 * 1024
"""Seconds and bytes for the words of a refusal: those of the API server are few."""
FAILED_PAUSE = 5.0
"""Seconds until a watch that has failed after it had begun is begun anew, and then until it is believed to work."""
UNHEARD_OF = 300.0
"""A watch is begun anew every four minutes. One that has asked for nothing for so long may be none any more."""
BLIND = 60.0
"""Seconds of trouble after which what is known of a place is too old to decide anything by."""
DISTRUST = 30.0
"""Seconds for which whoever answers may be another: one of several API servers, whose certificate is being renewed."""
NOTHING = {"fieldSelector": "metadata.name=what-is-there-is-listed-by-ourselves"}
"""Of a list, only the version from which on to watch is of use. Kopf has a task for each object of a list at once: with
30,000 objects that took a gigabyte."""

logger = logging.getLogger(__name__)


class Signs:
    """Signs of life of the watches. They are written where the watches run, and read by the probes."""

    def __init__(self, places: Iterable[Place], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._troubles = dict.fromkeys(places, "")
        self._of = defaultdict[str, list[Place]](list)
        for place in self._troubles:
            self._of[place.namespace].append(place)
        self._troubled_since = dict[Place, float]()
        self._listed_at = dict[Place, float]()
        self._unlisted = set[Place]()
        self._asked = dict[Place, float]()
        self._distrusted = dict[Place, tuple[float, float]]()
        """From the first to the last time that whatever answers was not who it should be."""

    @property
    def distrusted(self) -> str:
        """Why the API server has not been trusted for long; empty while it is. Kopf's session never learns better."""
        times = tuple(self._distrusted.items())  # at once: it is written where the watches run
        lasting = (place for place, (first, last) in times if last - first > DISTRUST)
        return next((self._troubles[place].rstrip(".") for place in lasting), "")

    @property
    def troubles(self) -> Mapping[Place, str]:
        """What keeps a watch from telling of changes, in a sentence; nothing of those that do."""
        silent = {place: f"nothing has been heard of the watch of {place}." for place in self.silent(UNHEARD_OF)}
        return silent | {place: trouble for place, trouble in self._troubles.items() if trouble}

    def blind(self, types: Container[ResourceType], namespace: str) -> bool:
        """Whether what is known of one of these types in a namespace is too old to decide anything by. It is asked in
        each turn, and looks at the watches of this namespace alone.
        """
        places = (*self._of.get("", ()), *self._of.get(namespace, ()))
        return any(place.type in types and self._is_unseen(place) for place in places)

    def unseen(self) -> Set[Place]:
        """Of which places that is so."""
        return {place for place in self._troubles if self._is_unseen(place)}

    def _is_unseen(self, place: Place) -> bool:
        now = self._monotonic()
        since, asked = self._troubled_since.get(place, now), self._asked.get(place, now)
        return now - since > BLIND or place in self._unlisted or now - asked > UNHEARD_OF

    def listed(self, type: ResourceType, namespace: str) -> None:
        """All that there is in a place is known."""
        for place in self._troubles:
            if (place.type, place.namespace) == (type, namespace):
                self._listed_at[place] = self._monotonic()
                self._unlisted.discard(place)

    def begin(self) -> None:
        """From now on each watch is expected to be heard of."""
        self._asked = dict.fromkeys(self._troubles, self._monotonic())

    def asks(self, place: Place) -> None:
        self._asked[place] = self._monotonic()

    def well(self, place: Place) -> bool:
        """Its watch works. Returns whether it did not for so long that one must list what was missed."""
        if self._troubles[place]:
            logger.warning("watching again: %s", place)
        self._troubles[place] = ""
        self._distrusted.pop(place, None)
        now = self._monotonic()
        if now - self._troubled_since.pop(place, now) > BLIND and now - self._listed_at.get(place, -BLIND) > BLIND:
            self._unlisted.add(place)
        return place in self._unlisted

    def troubled(self, place: Place, trouble: str, *, distrusts: bool = False) -> None:
        """Its watch tells of no changes; `distrusts`: since whatever answers there is not who it should be."""
        if trouble != self._troubles[place]:
            logger.warning("not watching: %s", trouble)
        self._troubles[place] = trouble
        now = self._monotonic()
        self._troubled_since.setdefault(place, now)
        first, _ = self._distrusted.pop(place, (now, now))
        if distrusts:
            self._distrusted[place] = first, now

    def silent(self, longest: float) -> list[Place]:
        """Watches that have not been heard of for longer than `longest` seconds."""
        return [place for place, asked in self._asked.items() if self._monotonic() - asked > longest]


class Patience:
    """A middleware of aiohttp, for requests that only read."""

    def __init__(
        self,
        places: Iterable[Place],
        signs: Signs,
        login: Callable[[], Awaitable[Configuration]],
        listed: Callable[[Place], None],
        server: str,
    ) -> None:
        root = URL(server).path.rstrip("/")  # that of a proxy which serves several clusters
        self._places = {root + path_of(place.type, place.namespace): place for place in places}
        self._signs = signs
        self._login = login
        self._listed = listed
        self._configuration: Configuration | None = None
        self._unproven: dict[Place, asyncio.TimerHandle | None] = {}
        """Places of which the last watch has failed, with when the new one is believed to work."""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """The answer that says something about what was asked, be it that it cannot be had."""
        place = self._places.get(request.url.path)
        listing = place is not None and "watch" not in request.url.query
        if listing:
            request.url = request.url.update_query(NOTHING)
        for delay in delays():
            trouble, wait, distrusts = "", delay, False
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    if self._configuration is None:
                        self._configuration = await self._login()
                    request.headers.update(await authorization(self._configuration))
                    if place is not None:
                        self._signs.asks(place)
                    response = await handler(request)
            except (TimeoutError, OSError, aiohttp.ClientError, ApiError) as error:
                if place is None:
                    raise
                trouble = f"cannot watch {place}: {error or 'no answer'}."
                distrusts = isinstance(error, aiohttp.ClientConnectorCertificateError)
            else:
                if not _to_be_repeated(response.status, place):
                    break
                async with response:
                    if response.status == 401:
                        self._configuration = None
                    wait = max(delay, seconds_to_wait(response.status, response.headers.get("Retry-After")) or 0.0)
                    trouble = await _refusal(response, place)
            if place is not None:
                self._signs.troubled(place, trouble, distrusts=distrusts)
            await asyncio.sleep(wait)
        if place is not None and response.ok:
            if not listing and place in self._unproven:
                self._doubt(place)
                self._unproven[place] = asyncio.get_running_loop().call_later(FAILED_PAUSE, self._works_again, place)
            elif self._signs.well(place) or listing:
                self._listed(place)
            if not listing:
                lines = Lines(response.content, partial(self._failed, place))
                response.content = cast(aiohttp.StreamReader, lines)
        return response

    async def _failed(self, place: Place, why: str) -> None:
        """A watch that had begun has failed. It ends after a while, and Kopf begins it anew where it was."""
        self._doubt(place)
        self._signs.troubled(place, f"cannot watch {place}: {why}.")
        await asyncio.sleep(FAILED_PAUSE)

    def _doubt(self, place: Place) -> None:
        """Its watch has yet to prove, from now on, that it works."""
        if (proof := self._unproven.get(place)) is not None:
            proof.cancel()
        self._unproven[place] = None

    def _works_again(self, place: Place) -> None:
        """It has lasted; what may have been missed is listed."""
        del self._unproven[place]
        self._signs.well(place)
        self._listed(place)


def delays() -> Iterator[float]:
    """Seconds to wait before each next attempt: longer and longer, up to a bound, each with jitter."""
    for attempt in itertools.count():
        yield min(FIRST_DELAY * 2.0 ** min(attempt, 16), LONGEST_WAIT) * random.uniform(0.5, 1.0)  # noqa: S311


def _to_be_repeated(status: int, place: Place | None) -> bool:
    """Kopf asks about resources, too, and a 404 is an answer to that."""
    return status in (401, 403, 408, 429) or status >= 500 or (status == 404 and place is not None)


async def _refusal(response: aiohttp.ClientResponse, place: Place | None) -> str:
    """Why it was refused, in a sentence; empty of what is no watch. Whatever a proxy says instead, and however."""
    if place is None:
        return ""
    content = b""
    with contextlib.suppress(TimeoutError, OSError, aiohttp.ClientError):  # then the status has to do
        async with asyncio.timeout(REFUSAL_TIMEOUT):
            async for part in response.content.iter_any():
                content += part
                if len(content) > LONGEST_REFUSAL:
                    break
    text = content.decode(errors="replace")
    try:
        answer = parsed(content)
    except ValueError:
        answer = None
    said = answer if isinstance(answer, dict) else {"message": text[:200]}
    return f"{refusal('watch', place.type, place.namespace, '', '', response.status, said)}."
