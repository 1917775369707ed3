"""Prometheus servers, as a source of measurements: what they have scraped of a Deployment's versions.

The platform names the servers, so that who may make a Deployment chooses no address; and every selector is told the
Deployment's namespace, so that nobody is shown a neighbour's series.
"""

import asyncio
import math
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp

from upright.contract import Key
from upright.pods.reading import Pod
from upright.rollout.measuring import LONGEST, ArmName, Asked, longest_gap
from upright.settings import PrometheusServer
from upright.sources.arms import Arms, arms_of
from upright.sources.places import Places
from upright.sources.selectors import Selector
from upright.sources.series import Shown
from upright.sources.server import Found, PrometheusError, ask, matrix
from upright.sources.wanted import wanted

CONNECTIONS, EACH = 16, 1
"""How many may be open at once over all Deployments, and for one."""
MOST_BYTES = 2 * 1024 * 1024
"""Of all answers for one look."""
KNOWN_FOR, UNKNOWN_FOR = timedelta(minutes=10), timedelta(minutes=1)
MOST_KNOWN = 1024
"""Types of families are asked for again after as long, and so many are kept."""

_GAUGES = frozenset({"gauge", "info", "stateset", "gaugehistogram"})
_SUFFIXES = ("_total", "_bucket", "_count", "_sum")
"""OpenMetrics declares a family without them."""


@dataclass(frozen=True)
class Scrape:
    """What a server shows of both versions."""

    trouble: str = ""
    """Why it shows nothing, and what to do, in sentences."""
    arms: Mapping[ArmName, Mapping[str, Mapping[str, Shown]]] = field(default_factory=dict)
    """By arm, by metric, by target."""


class Servers:
    """Asks the servers that the settings name."""

    def __init__(self, servers: Mapping[str, PrometheusServer], longest: timedelta = LONGEST) -> None:
        self._servers = servers
        self._longest = longest
        self._places = Places(CONNECTIONS, EACH)
        self._types: dict[tuple[str, str, str], tuple[float, str]] = {}
        """By server, namespace and family, when it was asked, and the type."""

    async def read(self, key: Key, pods: Sequence[Pod], asked: Asked) -> Scrape:  # noqa: ARG002 - it knows them by name
        """What the server that a Deployment names shows of it. It is asked one question after the other."""
        assert asked.prometheus is not None
        name = asked.prometheus.server
        if name not in self._servers:
            there = (
                f"those that there are: {', '.join(sorted(self._servers))}" if self._servers else "none is there yet"
            )
            return Scrape(
                f"There is no Prometheus server {name!r}. Name one in spec.monitoring.prometheus.server ({there}), or "
                "let whoever runs Upright add it to prometheus.servers of the chart."
            )
        if asked.prometheus.version_label is None and not any(asked.pods.values()):
            return Scrape(arms={arm: {} for arm in asked.pods})
        arms = arms_of(asked)
        if isinstance(arms, str):
            return Scrape(arms)
        server, who, seconds = self._servers[name], f"Prometheus server {name!r}", self._longest.total_seconds()
        try:
            async with self._places.one(key), asyncio.timeout(seconds), self._session(server) as session:
                namespace = f'{server.namespace_label}="{key.namespace}"'
                asking = _Asking(session, name, who, namespace, arms.matcher, longest_gap(asked.interval))
                return await self._scrape(asking, asked, arms)
        except TimeoutError:
            why = f"{who} does not answer within {seconds:g}s"
        except (PrometheusError, OSError) as problem:
            why = str(problem)
        return Scrape(f"{why}. See to the server, and to what prometheus.servers of the chart says of it.")

    def _session(self, server: PrometheusServer) -> aiohttp.ClientSession:
        """Raises OSError when a file of the platform's cannot be read."""
        headers = {"User-Agent": "upright"}
        if server.token_file:
            headers["Authorization"] = f"Bearer {server.token_file.read_text().strip()}"
        trusted = ssl.create_default_context(cafile=server.ca_file) if server.ca_file else True
        return aiohttp.ClientSession(
            f"{server.url.rstrip('/')}/",
            connector=aiohttp.TCPConnector(ssl=trusted),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._longest.total_seconds()),
        )

    async def _scrape(self, asking: "_Asking", asked: Asked, arms: Arms) -> Scrape:
        by_arm: dict[ArmName, dict[str, Mapping[str, Shown]]] = {arm: {} for arm in asked.pods}
        for metric, selected in wanted(asked).selected.items():
            total = await asking.series(selected.total)
            bad = await asking.series(selected.bad) if selected.bad else ()
            types = {
                selector.name: await self._type(asking, selector.name)
                for selector in (selected.total, selected.bad)
                if selector is not None and total  # what was scraped before has a type by then
            }
            gauge = next((name for name, kind in types.items() if kind in _GAUGES), None)
            families = {selected.total.name, *(name for name, kind in types.items() if kind)}
            known = bool(bad) or selected.bad is None or selected.bad.name in families
            shown = await asyncio.to_thread(arms.shown, selected, total, bad, knows_bad=known)
            for arm, found in shown.items():
                if gauge is not None:
                    why = f"the server says that {gauge} is a {types[gauge]}, where a counter was expected"
                    found = {target: Shown(one.at, why) for target, one in found.items()}
                by_arm[arm][metric] = found
        return Scrape(arms=by_arm)

    async def _type(self, asking: "_Asking", name: str) -> str:
        """The type of a family; empty where that is not known, as in other stores that speak the same API."""
        place, now = (asking.server, asking.namespace, name), time.monotonic()
        at, kind = self._types.get(place, (-math.inf, ""))
        if now - at > (KNOWN_FOR if kind else UNKNOWN_FOR).total_seconds():
            base = next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)
            kind = await asking.type(name) or (await asking.type(base) if base != name else "")
            if len(self._types) >= MOST_KNOWN:
                self._types.clear()
            self._types[place] = (now, kind)
        return kind


class _Asking:
    """Asks one server for one look at one Deployment."""

    def __init__(
        self, session: aiohttp.ClientSession, server: str, who: str, namespace: str, arms: str, seconds: float
    ) -> None:
        self._session = session
        self.server = server
        self._who = who
        self.namespace = namespace
        """As a matcher."""
        self._within = f"{namespace},{arms}"
        self._seconds = math.ceil(seconds)
        self._found: dict[str, Sequence[Found]] = {}
        self._left = MOST_BYTES

    async def series(self, selector: Selector) -> Sequence[Found]:
        """Those of the Deployment that a selector means, with what was scraped of them lately."""
        query = f"{selector.also(self._within)}[{self._seconds}s]"
        if query not in self._found:
            form = {"query": query}
            data, size = await ask(self._session, self._who, selector.text, "api/v1/query", form, self._left)
            self._left -= size
            self._found[query] = await asyncio.to_thread(matrix, self._who, selector.text, data)
        return self._found[query]

    async def type(self, name: str) -> str:
        """What targets of the namespace call a family, a gauge only where all do; empty when none of that name is known
        there, or no types at all.
        """
        form = {"metric": name, "match_target": f"{{{self.namespace}}}"}
        try:
            data, _ = await ask(self._session, self._who, name, "api/v1/targets/metadata", form, MOST_BYTES)
            types = sorted({str(one["type"]) for one in data}, key=lambda kind: (kind in _GAUGES, kind))
        except (PrometheusError, LookupError, TypeError):  # a store without types answers by an error, or with nothing
            return ""
        return types[0] if types else ""
