"""The operator as a process, against an API server in memory: how it ends, and what it says of itself meanwhile."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.integration.toy import CONFIG_MAPS, SERVICES, TOYS, Observed, Toys
from tests.unit.kube.api_server import ApiServer, refused
from tests.unit.kube.fakes import a_toy
from upright import main
from upright.api.names import EVENTS
from upright.contract import ALWAYS, Manifest, World
from upright.kube import connection, patience, watching
from upright.kube.lease import LEASES, LeaseTimes
from upright.kube.watched import Watched
from upright.settings import Settings


@dataclass
class Running:
    """One operator in this process, and its API server."""

    api: ApiServer
    task: "asyncio.Task[int]"
    port: int

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectionError:
                return 0, ""

    async def until_it_says(self, path: str, status: int, text: str = "") -> None:
        async with asyncio.timeout(20):
            while not ((answer := await self.get(path))[0] == status and text in answer[1]):
                assert not self.task.done(), self.task.result()
                await asyncio.sleep(0.02)

    async def until(self, question: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not question():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    def status(self, name: str) -> Any:
        return self.api.get(TOYS, "shop", name).get("status")

    def holder(self) -> str:
        return str(self.api.get(LEASES, "shop", "upright-operator").get("spec", {}).get("holderIdentity", ""))

    def renewed(self) -> str:
        return str(self.api.get(LEASES, "shop", "upright-operator").get("spec", {}).get("renewTime", ""))

    async def ends(self) -> int:
        async with asyncio.timeout(20):
            return await self.task


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(connection, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(watching, "LOOK", 0.05)
    monkeypatch.setattr("upright.kube.listing.RETRY", 0.05)


@contextlib.asynccontextmanager
async def operator(
    api: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    identity: str = "me",
    namespaces: tuple[str, ...] = ("shop",),
    kind: type[Toys] = Toys,
) -> AsyncIterator[Running]:
    monkeypatch.setattr(main, "login", api.login)
    with socket.create_server(("", 0)) as free:
        port = int(free.getsockname()[1])
    settings = Settings(
        namespaces=namespaces,
        lease_namespace="shop",
        identity=identity,
        metrics_port=port,
        lease_name="upright-operator",
    )
    task = asyncio.create_task(main.run(settings, [kind()], LeaseTimes(3, 2, 0.2)))
    try:
        yield Running(api, task, port)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer((TOYS, SERVICES, CONFIG_MAPS, LEASES, EVENTS)).running() as server:
        yield server


@pytest.fixture
async def running(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    async with operator(api, monkeypatch) as one:
        await one.until(lambda: one.holder() == "me" and api.watches() == 3)
        api.put(TOYS, a_toy())
        await one.until(lambda: one.status("bear"))
        yield one


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def only(path: str, status: int) -> Callable[[Any], Any]:
    return lambda request: refused(status, "no") if re.search(path, request.path_qs) else None


async def test_a_stop_gives_the_lease_back(running: Running) -> None:
    assert await running.get("/readyz") == (200, "ok\n")
    stop()
    assert await running.ends() == 0
    assert running.holder() == ""
    await running.until(lambda: running.api.watches() == 0)


async def test_a_resource_that_is_gone_for_a_while_costs_nothing_but_that_while(running: Running) -> None:
    running.api.fault = only("/toys", 404)
    running.api.cut()
    await running.until_it_says("/readyz", 503, "toys.upright.test")
    assert (await running.get("/healthz"))[0] == 200, "a restart would not help"
    running.api.put(TOYS, a_toy("doll", uid="doll"))
    running.api.fault = lambda _: None
    await running.until(lambda: running.status("doll"))
    await running.until_it_says("/readyz", 200)
    assert running.holder() == "me"


@pytest.mark.parametrize("watched", ["toys", "services"])
async def test_a_watch_that_dies_ends_the_process_which_gives_its_lease_back(running: Running, watched: str) -> None:
    running.api.fault = only(f"/{watched}.*watch", 400)
    running.api.cut()
    assert await running.ends() == 1
    assert running.holder() == ""


async def test_a_mistake_in_what_watches_metadata_is_said_and_ends_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("metadata")

    with monkeypatch.context() as patched:
        patched.setattr("upright.kube.metadata.version_of", broken)
        running.api.put(CONFIG_MAPS, {"metadata": {"name": "code", "namespace": "shop"}})
        await running.until(lambda: "cannot watch configmaps in namespace shop: KeyError('metadata')" in caplog.text)
    await running.until_it_says("/readyz", 200)
    assert running.holder() == "me"


async def test_an_api_server_that_is_gone_costs_the_lease(running: Running) -> None:
    running.api.fault = only("", 500)
    running.api.cut()
    assert await running.ends() == 1


@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500, "hangs"])
async def test_a_stop_ends_it_in_each_state(running: Running, status: Any) -> None:
    if status == "hangs":
        running.api.hangs = lambda _: True
    elif status:
        running.api.fault = only("/(toys|services|configmaps)", status)
    running.api.cut()
    running.api.put(TOYS, a_toy("doll", uid="doll"))
    await asyncio.sleep(0.5)  # into the trouble, before the Lease is lost
    stop()
    assert await running.ends() == 0
    assert running.holder() == ("me" if status == "hangs" else "")


async def test_a_stop_ends_it_while_it_waits_for_what_is_missing(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.fault = only("/toys", 404)
    async with operator(api, monkeypatch) as early:
        await early.until_it_says("/readyz", 503, "install its CustomResourceDefinition")
        stop()
        assert await early.ends() == 0


async def test_a_list_that_takes_longer_than_the_lease_does_not_lose_it(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(api, monkeypatch) as one:
        await one.until(lambda: one.holder() == "me")
        api.hangs = lambda request: "/toys" in request.path
        await asyncio.sleep(4)
        api.hangs = lambda _: False
        api.put(TOYS, a_toy())
        await one.until(lambda: one.status("bear"))
        assert not one.task.done()


def of_team(name: str) -> dict[str, Any]:
    toy = a_toy(name, uid=name)
    toy["metadata"]["namespace"] = "team"
    return toy


@pytest.mark.parametrize("resource", ["", "services", "configmaps"])
async def test_a_namespace_that_is_gone_keeps_no_other_from_being_served(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, resource: str
) -> None:
    """Be it all of it or only one resource that cannot be listed."""
    api.fault = only(f"/namespaces/team/{resource}", 403)
    api.put(TOYS, of_team("theirs"))
    async with operator(api, monkeypatch, namespaces=("team", "shop")) as one:
        api.put(TOYS, a_toy())
        await one.until(lambda: one.status("bear"))
        api.put(TOYS, of_team("later"))
        await one.until_it_says("/readyz", 200, "ok, but not in every namespace: cannot")
        assert "team" in (await one.get("/readyz"))[1]
        api.put(TOYS, a_toy("doll", uid="doll"))
        await one.until(lambda: one.status("doll"))
        assert not any("status" in api.get(TOYS, "team", name) for name in ("theirs", "later")), "half of it is known"
        api.fault = lambda _: None
        await one.until(lambda: all("status" in api.get(TOYS, "team", name) for name in ("theirs", "later")))
        await one.until(lambda: api.watches() == 6)
        assert await one.get("/readyz") == (200, "ok\n")
    said = [each.message for each in caplog.records if each.message.startswith("not served")]
    assert len(said) == 1, "once"


async def test_an_older_custom_resource_definition_is_told_once_and_no_longer_when_it_is_upgraded(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api.drops = {"found"}
    async with operator(api, monkeypatch) as one:
        for name in ("bear", "doll"):
            api.put(TOYS, a_toy(name, uid=name))
        await one.until(lambda: one.status("bear") and one.status("doll") and api.watches() == 3)
        await one.until_it_says(
            "/readyz", 200, f"ok, but the CustomResourceDefinition {TOYS} is older than this Upright"
        )
        api.drops = set()
        api.put(TOYS, a_toy("robot", uid="robot"))
        await one.until_it_says("/readyz", 200, "ok\n")
    said = [each.message for each in caplog.records if "drops status.found" in each.message]
    assert len(said) == 1, "once"


async def test_a_namespace_that_goes_while_it_is_served_does_not_make_the_process_unready(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with operator(api, monkeypatch, namespaces=("team", "shop")) as one:
        await one.until(lambda: api.watches() == 6)
        api.fault = only("/namespaces/team/", 403)
        api.cut()
        await one.until_it_says("/readyz", 200, "ok, but not in every namespace: cannot watch")
        api.put(TOYS, a_toy())
        await one.until(lambda: one.status("bear"))
        api.fault = only("/namespaces/(team|shop)/(toys|services|configmaps)", 403)
        api.cut()
        await one.until_it_says("/readyz", 503, "shop")


async def test_a_process_waits_while_no_namespace_can_be_served(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.fault = only("/toys", 404)
    async with operator(api, monkeypatch, namespaces=("team", "shop")) as one:
        await one.until_it_says("/readyz", 503, "install its CustomResourceDefinition")
        api.fault = lambda _: None
        api.put(TOYS, a_toy())
        await one.until(lambda: one.status("bear") and api.watches() == 6)


async def test_one_429_does_not_cost_the_lease(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LONGEST_WAIT", 30.0)
    refusals = [web.Response(status=429, text="Too many requests.", headers={"Retry-After": "8"})]
    running.api.fault = lambda request: refusals.pop() if refusals and "/leases/" in request.path else None
    renewed = running.renewed()
    await running.until(lambda: not refusals and running.renewed() != renewed)
    assert not running.task.done()


@pytest.mark.parametrize(("away", "was_watched"), [(1, True), (60, True), (3600, False)], ids=str)
async def test_time_in_which_no_operator_was_there_is_known_of_each_object(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, away: float, was_watched: bool
) -> None:
    seen, began = list[datetime](), datetime.now(UTC)

    class Asking(Toys):
        async def observe(self, resource: Manifest, world: World) -> Observed:
            seen.append(world.watched_since(resource["metadata"]["namespace"]))
            return await super().observe(resource, world)

    renewed = (began - timedelta(seconds=away)).isoformat()
    lease = {"metadata": {"name": "upright-operator", "namespace": "shop"}, "spec": {"renewTime": renewed}}
    api.put(LEASES, lease)
    api.put(TOYS, a_toy())
    async with operator(api, monkeypatch, kind=Asking) as running:
        await running.until(lambda: running.status("bear") and api.watches() == 3)
    assert seen
    assert {at == ALWAYS for at in seen} == {was_watched}
    assert was_watched or all(began < at <= datetime.now(UTC) for at in seen)


async def test_what_nothing_has_a_turn_for_is_watched_all_the_same_once_it_is_listed(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = list[set[tuple[str, str]]]()

    class Noting(Watched):
        def note(self) -> datetime:
            at = super().note()
            unseen = (place for place, until in self._until.items() if until != at)
            missing.append({(place.type.plural, place.namespace) for place in unseen})
            return at

    monkeypatch.setattr(main, "Watched", Noting)
    monkeypatch.setattr("upright.kube.watched.BEAT", 0.01)
    api.fault = only("/namespaces/team/", 403)
    async with operator(api, monkeypatch, namespaces=("team", "shop")) as one:
        await one.until(lambda: len(missing) > 2)
        assert missing[-1] == {("toys", "team"), ("services", "team"), ("configmaps", "team")}
        api.fault = lambda _: None
        await one.until(lambda: missing[-1] == set() and api.watches() == 6)
        monkeypatch.setattr(patience, "BLIND", 0.0)
        api.fault = only("/namespaces/shop/toys", 403)
        api.cut()
        await one.until(lambda: missing[-1] == {("toys", "shop")})
        api.fault = lambda _: None
        await one.until(lambda: missing[-1] == set())
