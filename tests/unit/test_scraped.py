"""A rollout that is measured by Prometheus: a real server that scrapes the pages of a test, and servers that answer
otherwise.
"""

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.cluster import host
from tests.conftest import or_skipped
from tests.unit.analysis.builders import a_metric, a_policy
from tests.unit.builders import NOW, a_pod, after
from upright.analysis import Counts, Look
from upright.api.deployment import Prometheus
from upright.contract import Key
from upright.pods.reading import read
from upright.rollout.measuring import ArmName, Asked, longest_gap
from upright.settings import PrometheusServer
from upright.sources.scraped import DISAGREES, Scraped
from upright.sources.selectors import selected
from upright.sources.series import Shown, shown
from upright.sources.server import Found
from upright.sources.servers import Scrape, Servers
from upright.sources.tally import Tally

KEY = Key("shop", "churn")
REFUNDS = a_metric("Ratio", "refunds", bad='shop_refunds_total{kind="full"}', total="shop_orders_total")
LATENCY = a_metric("Latency", "latency")
VERSIONS: Mapping[ArmName, str] = {"canary": "churn-2", "stable": "churn-1"}


def asking(
    *metrics: dict[str, Any],
    interval: float = 1,
    restarts: int = 0,
    created: datetime | None = None,
    prometheus: Prometheus | None = None,
) -> Asked:
    """About canary-0, whose container was started again so often, stable-0 and stable-1."""
    serve = {"name": "serve", "ready": True, "state": {"running": {}}}
    often = {"canary-0": restarts, "stable-0": 0, "stable-1": 0}
    pods = {name: a_pod(name, containerStatuses=[{**serve, "restartCount": n}]) for name, n in often.items()}
    for pod in pods.values():
        pod["metadata"]["creationTimestamp"] = (created or datetime.now(UTC)).isoformat()
    canary, *stable = map(read, pods.values())
    policy = a_policy(*(metrics or (REFUNDS,)), interval=timedelta(seconds=interval))
    arms: Any = {"canary": [canary], "stable": stable}
    return Asked("a-b", policy, arms, None, prometheus=prometheus or Prometheus(), versions=VERSIONS)


class Shop:
    """An exporter, and a Prometheus server that scrapes each of its pages under labels of its own."""

    def __init__(self, folder: Path, labels: Mapping[str, Mapping[str, str]]) -> None:
        self.folder = folder
        self.labels = labels
        self.pages: dict[str, str] = dict.fromkeys(labels, "")
        self.url = ""

    async def page(self, request: web.Request) -> web.Response:
        return web.Response(text=self.pages[request.path.strip("/")])

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        with or_skipped():
            host.install_packages(print, {"prometheus": "prometheus"})
        app = web.Application()
        app.router.add_get("/{page}", self.page)
        async with TestServer(app) as exporter:
            where = f"{exporter.host}:{exporter.port}"
            (self.folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": list(self.jobs(where))}))
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            process = await asyncio.create_subprocess_exec(
                *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
                f"--web.listen-address={address}",
                cwd=self.folder,
                stderr=subprocess.PIPE,
            )
            assert process.stderr
            try:
                while b"Server is ready" not in (line := await process.stderr.readline()):
                    assert line, "prometheus did not start"
                self.url = f"http://{address}"
                yield
            finally:
                process.terminate()
                await process.communicate()

    def jobs(self, where: str) -> Sequence[dict[str, Any]]:
        return [
            {
                "job_name": page,
                "metrics_path": f"/{page}",
                "scrape_interval": "1s",
                "scrape_timeout": "1s",
                "static_configs": [{"targets": [where], "labels": labels}],
                "relabel_configs": [{"target_label": "instance", "replacement": page}],
                "honor_labels": True,
            }
            for page, labels in self.labels.items()
        ]


async def has_scraped(url: str, asked: Asked) -> None:
    """Whoever looks sooner sees some of the pods begin, of which what they showed first may not be counted."""
    servers = Servers({"default": PrometheusServer(url=url)})
    async with asyncio.timeout(60):
        while True:
            arms = (await servers.read(KEY, (), asked)).arms
            of_each = [
                {pod.name: of.get(pod.name) for pod in asked.pods[arm]} for arm in arms for of in arms[arm].values()
            ]
            if all(shown and shown.at is not None for of in of_each for shown in of.values()):
                return
            await asyncio.sleep(0.1)


class Watching:
    """Looks at a server again and again."""

    def __init__(self, url: str, asked: Asked) -> None:
        self.servers = Servers({"default": PrometheusServer(url=url)})
        self.asked = asked
        self.scraped = Scraped(asked)

    async def until(self, holds: Callable[[Scraped], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds(self.scraped):
                scrape = await self.servers.read(KEY, (), self.asked)
                self.scraped.take(self.asked, scrape, datetime.now(UTC))
                await asyncio.sleep(0.1)

    def counted(self, metric: str) -> tuple[float, ...]:
        """Events and bad events of the canary, and of the stable version, in all looks."""
        found = [look.measurements[metric] for look in self.scraped.looks if metric in look.measurements]
        pairs = [(one.canary or (0, 0), one.stable or (0, 0)) for one in found if isinstance(one, Counts)]
        return tuple(map(sum, zip(*((*canary, *stable) for canary, stable in pairs), strict=True))) or (0,) * 4


def orders(orders: float, refunds: float | None = 0, **labels: str) -> str:
    own = "".join(f',{name}="{value}"' for name, value in labels.items())
    bad = "" if refunds is None else f'shop_refunds_total{{kind="full"{own}}} {refunds}\n'
    return (
        "# TYPE shop_orders_total counter\n# TYPE shop_refunds_total counter\n"
        f'shop_orders_total{{shop="a"{own}}} {orders}\n{bad}shop_refunds_total{{kind="part"{own}}} 99\n'
    )


async def test_a_real_server_tells_of_each_pod_and_of_no_neighbours(tmp_path: Path) -> None:
    labels = {pod: {"namespace": "shop", "pod": pod} for pod in ("canary-0", "stable-0", "stable-1")}
    shop = Shop(tmp_path, labels | {"other": {"namespace": "other", "pod": "canary-0"}})
    shop.pages = {pod: orders(10 if pod == "canary-0" else 1000, 0) for pod in labels} | {"other": orders(1, 1)}
    async with shop.open():
        await has_scraped(shop.url, asking())
        watching = Watching(
            shop.url, asking(created=datetime.now(UTC) + timedelta(minutes=1))
        )  # it begins with the looks
        await watching.until(lambda one: len(one._taken) == 3)
        shop.pages = {"canary-0": orders(110, 30), "stable-0": orders(1450, 5), "stable-1": orders(1450, 4)}
        shop.pages["other"] = orders(1e6, 1e6)
        await watching.until(lambda _: watching.counted("refunds")[2] >= 900)
        looks = len(watching.scraped.looks)
        await watching.until(lambda one: len(one.looks) > looks + 1)
    assert watching.counted("refunds") == (110, 30, 900, 9)
    assert not watching.scraped.unmeasured
    assert watching.scraped.arms["canary"].requests == 110


async def test_a_real_server_tells_versions_apart_by_a_label_of_counters_of_others(tmp_path: Path) -> None:
    """The shop counts orders by the version of the model that it has asked. Its errors make series as they come."""
    shop = Shop(tmp_path, {"shop-1": {"namespace": "shop"}})
    shop.pages["shop-1"] = orders(1000, 10, model="churn-1")
    async with shop.open():
        watching = Watching(shop.url, asking(prometheus=Prometheus(version_label="model")))
        await watching.until(lambda one: len(one._taken) == 2)
        new, old = orders(100, 30, model="churn-2"), orders(1900, 19, model="churn-1")
        shop.pages["shop-1"] = old + "".join(line for line in new.splitlines(keepends=True) if not line.startswith("#"))
        await watching.until(lambda _: watching.counted("refunds")[2] >= 900)
    assert watching.counted("refunds") == (100, 30, 900, 9)


async def test_a_real_server_tells_of_durations_and_of_what_is_no_counter(tmp_path: Path) -> None:
    labels = {pod: {"namespace": "shop", "pod": pod} for pod in ("canary-0", "stable-0", "stable-1")}
    shop = Shop(tmp_path, labels)

    def page(fast: int, slow: int) -> str:
        name = "upright_request_duration_seconds"
        buckets = {"0.1": fast, "0.5": fast + slow, "+Inf": fast + slow}
        lines = [f'{name}_bucket{{le="{edge}"}} {count}\n' for edge, count in buckets.items()]
        return f"# TYPE {name} histogram\n" + "".join(lines) + "# TYPE shop_orders_total gauge\nshop_orders_total 5\n"

    shop.pages = dict.fromkeys(labels, page(0, 0))
    async with shop.open():
        await has_scraped(shop.url, asking(LATENCY))
        watching = Watching(shop.url, asking(LATENCY, REFUNDS))
        await watching.until(lambda one: len(one._taken) == 3)
        shop.pages = dict.fromkeys(labels, page(90, 10))

        def slow() -> float:
            found: Any = [look.measurements["latency"] for look in watching.scraped.looks]
            return float(sum(one.canary[1] for one in found))

        await watching.until(lambda _: slow() >= 10)
    assert slow() == 10
    assert "the server says that shop_orders_total is a gauge" in watching.scraped.unmeasured["refunds"]
    assert watching.scraped.arms["canary"].requests is None, "of others nobody knows"


@asynccontextmanager
async def answering(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        if answer is HANGS:
            await asyncio.Event().wait()
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


def HANGS(_: web.Request) -> web.StreamResponse:  # noqa: N802 - a marker
    raise AssertionError


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (HANGS, "Prometheus server 'default' does not answer within 0.3s. See to the server"),
        (
            lambda _: web.Response(status=503, text="starting"),
            "with status 503 and something else than JSON: 'starting'",
        ),
        (
            lambda _: web.Response(status=401),
            "does not know who asks (status 401): its token is not right",
        ),
        (lambda _: web.Response(status=302, headers={"Location": "/secret"}), "with a redirect (status 302)"),
        (lambda _: web.Response(text="<html>"), "something else than JSON: '<html>'"),
        (
            lambda _: web.json_response({"status": "error", "error": "bad"}),
            "refused 'shop_orders_total': bad",
        ),
        (lambda _: web.Response(text="x" * 5_000_000), "with more than 2048 KiB. Select fewer series"),
        (lambda _: web.json_response({"status": "success", "data": {"result": 7}}), "in another way than Prometheus"),
    ],
)
async def test_what_keeps_a_server_from_telling_is_said(
    answer: Callable[[web.Request], web.StreamResponse], says: str
) -> None:
    async with answering(answer) as url:
        seconds = 0.3 if answer is HANGS else 60
        servers = Servers({"default": PrometheusServer(url=url)}, longest=timedelta(seconds=seconds))
        scrape = await servers.read(KEY, (), asked := asking())
    assert says in scrape.trouble
    scraped = Scraped(asked)
    assert scraped.take(asked, scrape, NOW)
    assert [(one.state, one.message) for one in scraped.arms.values()] == [("Unreadable", scrape.trouble)] * 2


async def test_a_server_that_is_away_or_that_nobody_has_named_is_said(tmp_path: Path) -> None:
    away = Servers({"default": PrometheusServer(url="http://127.0.0.1:9")})
    assert "'default' does not answer: Cannot connect" in (await away.read(KEY, (), asking())).trouble
    other = asking(prometheus=Prometheus(server="mine"))
    assert "There is no Prometheus server 'mine'. Name one" in (await away.read(KEY, (), other)).trouble
    assert "(none is there yet)" in (await Servers({}).read(KEY, (), other)).trouble
    token = PrometheusServer(url="http://127.0.0.1:9", token_file=tmp_path / "token")
    assert "token" in (await Servers({"default": token}).read(KEY, (), asking())).trouble


async def test_a_server_is_asked_with_its_token_for_series_of_one_namespace(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    asked: list[tuple[str | None, str]] = []

    async def handle(request: web.Request) -> web.Response:
        form = await request.post()
        asked.append((request.headers.get("Authorization"), str(form.get("query", ""))))
        return web.json_response({"status": "success", "data": {"result": []}})

    app = web.Application()
    app.router.add_route("*", "/prom/{path:.*}", handle)
    async with TestServer(app) as server:
        url = f"{server.make_url('/prom')}"
        named = PrometheusServer(url=url, token_file=tmp_path / "token", namespace_label="kube_namespace")
        escaping = a_metric("Ratio", "r", bad='b{namespace="other"}', total='t{kube_namespace="other"}')
        await Servers({"default": named}).read(KEY, (), asking(escaping))
    assert {token for token, _ in asked} == {"Bearer secret"}
    queries = [query for _, query in asked if query]
    within = 'kube_namespace="shop",pod=~"canary-0|stable-0|stable-1"'
    assert queries == [f't{{kube_namespace="other", {within}}}[20s]', f'b{{namespace="other", {within}}}[20s]']


class Server:
    """What a server shows, without one."""

    def __init__(self, *metrics: dict[str, Any], version_label: str | None = None) -> None:
        self.metrics = metrics
        self.prometheus = Prometheus(version_label=version_label)
        self.asked = self._asked(0)
        self.scraped = Scraped(self.asked)
        self.seconds = 0.0
        self.at: dict[str, float] = {}

    def _asked(self, restarts: int) -> Asked:
        created = after(seconds=15)  # and ready, as the first look is taken
        return asking(*self.metrics, interval=15, restarts=restarts, created=created, prometheus=self.prometheus)

    def show(self, restarts: int = 0, /, **shown: tuple[float, float] | None) -> Sequence[Look]:
        """The looks after 15 s more, in which these targets were scraped and showed so many orders and refunds."""
        self.seconds += 15
        names = {"canary": "canary-0", "one": "stable-0", "other": "stable-1"}
        arms: dict[ArmName, dict[str, dict[str, Shown]]] = {"canary": {"refunds": {}}, "stable": {"refunds": {}}}
        for name, counts in shown.items():
            if counts is not None:
                self.at[name] = self.seconds
            arm: ArmName = "canary" if name == "canary" else "stable"
            self.last = {**getattr(self, "last", {}), **({name: counts} if counts else {})}
            arms[arm]["refunds"][names[name]] = Shown(self.at[name], Tally(*self.last[name]))
        self.asked = self._asked(restarts)
        self.scraped.take(self.asked, Scrape(arms=arms), after(seconds=self.seconds))
        return self.scraped.looks


def test_a_look_waits_until_each_pod_has_been_scraped_again_and_is_told_after_the_next() -> None:
    server = Server()
    server.show(canary=(10, 0), one=(100, 1), other=(100, 1))
    assert server.scraped.watching
    server.show(canary=(20, 1), one=(200, 2), other=None)
    server.show(canary=(30, 2), one=(300, 3), other=(300, 3))
    assert server.show(canary=(40, 2), one=None, other=(400, 4)) == []
    [look] = server.show(canary=(50, 3), one=(500, 5), other=(500, 5))
    assert look.measurements["refunds"] == Counts(canary=(30, 2), stable=(400, 4))
    assert not server.scraped.watching


def test_a_pod_that_is_scraped_before_the_others_is_compared_from_their_first_scrape_on() -> None:
    server = Server()
    server.show(canary=(10, 0))
    server.show(canary=(20, 1), one=(100, 1), other=(100, 1))
    server.show(canary=(50, 3), one=(500, 3), other=(500, 3))
    [look] = server.show(canary=(60, 3), one=(600, 3), other=(600, 3))
    assert look.measurements["refunds"] == Counts(canary=(30, 2), stable=(800, 4))


def test_a_pod_that_is_scraped_late_is_compared_from_its_first_scrape_on() -> None:
    """What it counted before, it counted in another time than the others."""
    server = Server()
    for number in range(1, 4):
        server.show(one=(100 * number, number), other=(100 * number, number))
    server.show(canary=(30, 20), one=(400, 4), other=(400, 4))
    for number in range(5, 7):
        server.show(canary=(10 * number, 20), one=(100 * number, number), other=(100 * number, number))
    [look] = [one for one in server.scraped.looks if one.measurements]
    assert look.measurements["refunds"] == Counts(canary=(20, 0), stable=(200, 2))


@pytest.mark.parametrize(
    ("every", "shows", "behind"),
    [
        (1, 6, 30),  # as it is asked
        (1, 1, 30),
        (3, 13, 4 * 45 - 30),
        (3, 3, 4 * 30 - 30),  # by then nothing was scraped again for two intervals
        (50, 8, 4 * longest_gap(timedelta(seconds=15)) - 30),  # what is left out by then is not waited for
    ],
)
def test_a_look_is_told_as_late_as_scrapes_take(every: int, shows: int, behind: float) -> None:
    server = Server()
    for number in range(shows):
        counts = (10.0 * number, 0.0)
        server.show(canary=counts, one=counts, other=None if number % every else counts)
    assert server.scraped.behind == timedelta(seconds=behind)


def test_scrapes_that_come_faster_again_end_that() -> None:
    server = Server()
    for number in range(13):
        counts = (10.0 * number, 0.0)
        server.show(canary=counts, one=counts, other=None if number in {3, 4, 5} else counts)
    assert server.scraped.behind == timedelta(seconds=30)


def test_halves_of_the_stable_targets_come_with_the_look_that_is_told() -> None:
    server = Server()
    for number in range(1, 4):
        server.show(canary=(10 * number, 0), one=(100 * number, number), other=(200 * number, 3 * number))
    [look] = server.scraped.looks
    assert look.measurements["refunds"] == Counts(canary=(20, 0), stable=(300, 4))
    assert look.halves == {"refunds": Counts(canary=(100, 1), stable=(200, 3))}


def test_a_pod_that_is_not_scraped_any_more_holds_up_nothing_and_is_named() -> None:
    server = Server()
    for number in range(3):
        server.show(canary=(10 * number, 0), one=(100 * number, 1), other=(100 * number, 1))
    for number in range(3, 12):
        server.show(canary=(10 * number, 0), one=(100 * number, 1), other=None)
    [*_, look] = server.scraped.looks
    assert look.measurements["refunds"] == Counts(canary=(10, 0), stable=(100, 0))
    assert not server.scraped.unmeasured
    for _ in range(7):
        server.show(canary=None, one=None, other=None)
    [arm, _] = server.scraped.arms.values()
    assert (arm.state, server.scraped.unmeasured["refunds"][:60]) == (
        "Unreadable",
        "Metric refunds cannot be measured in canary-0: the server ha",
    )
    assert "more seldom than four times monitoring.interval" in arm.message


def test_a_counter_begins_again_with_a_container_and_not_where_servers_disagree() -> None:
    server = Server()
    for number in range(1, 4):
        server.show(canary=(100 * number, number), one=(1000 * number, number), other=(1000 * number, number))
    server.show(1, canary=(40, 2), one=(4000, 4), other=(2999, 3))
    server.show(1, canary=(140, 3), one=(5000, 5), other=(5000, 5))
    _, _, look, again, *_ = server.show(1, canary=(240, 4), one=(6000, 6), other=(6000, 6))
    assert look.measurements["refunds"] == Counts(canary=(40, 2), stable=(1000, 1))
    assert look.left_out == {"stable-1": f"refunds: {DISAGREES}"}
    assert (again.measurements["refunds"], again.left_out) == (Counts(canary=(100, 1), stable=(1000, 1)), {})


def test_while_the_stable_versions_own_rate_changes_its_highest_about_a_look_is_compared() -> None:
    """An outage of both, of which the candidate's scrape shows the beginning before the other."""
    server = Server()
    for number in range(1, 5):
        server.show(canary=(100 * number, number), one=(1000 * number, 10 * number), other=(1000 * number, 10 * number))
    server.show(canary=(500, 90), one=(5000, 50), other=(5000, 50))
    server.show(canary=(600, 190), one=(6000, 950), other=(6000, 1000))
    looks = server.show(canary=(700, 290), one=(7000, 1950), other=(7000, 2000))
    found = [look.measurements["refunds"] for look in looks[-3:]]
    assert [(one.canary, one.stable) for one in found if isinstance(one, Counts)] == [
        ((100, 1), (2000, 20)),
        ((100, 86), (2000, 1850)),
        ((100, 100), (2000, 2000)),
    ]
    assert [bool(look.halves) for look in looks[-3:]] == [True, False, False]


async def test_without_pods_no_server_is_asked() -> None:
    asked = asking()
    nobody = replace(asked, pods={"canary": [], "stable": []})
    away = Servers({"default": PrometheusServer(url="http://127.0.0.1:9")})
    scrape = await away.read(KEY, (), nobody)
    scraped = Scraped(nobody)
    scraped.take(nobody, scrape, NOW)
    assert (scrape.trouble, [arm.state for arm in scraped.arms.values()]) == ("", ["Unknown", "Unknown"])


def test_nothing_is_remembered_of_pods_that_are_gone() -> None:
    server = Server()
    for number in range(1, 4):
        server.show(canary=(number, 0), one=(number, 0), other=(number, 0))
    server.show(canary=(4, 0), one=(4, 0))
    assert "stable-1" not in {*server.scraped._scraped, *server.scraped._taken, *server.scraped._shown}


def test_all_events_and_the_bad_ones_are_those_of_one_scrape() -> None:
    """A pod may be scraped between the two questions."""

    def series(name: str, *values: tuple[float, float], **labels: str) -> Found:
        return Found(tuple(sorted({"__name__": name, "pod": "canary-0", **labels}.items())), values)

    selects = selected(a_policy(REFUNDS).metrics[0])
    assert selects
    total = [series("shop_orders_total", (0, 100.0), (15, 200.0))]
    bad = [
        series("shop_refunds_total", (0, 1.0), (15, 2.0), (30, 90.0)),
        series("shop_refunds_total", (30, 5.0), new="1"),
    ]
    found = shown(selects, total, bad, lambda labels: labels["pod"], knows_bad=True)
    assert found == {"canary-0": Shown(15, Tally(200.0, 2.0))}
