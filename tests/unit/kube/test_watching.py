"""The watches, Kopf's and those of metadata alone, against a small API server that fails as told."""

import asyncio
import contextlib
import itertools
import re
import ssl
from collections.abc import AsyncIterator, Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kopf
import pytest
from aiohttp import web
from kopf._core.reactor.inventory import ResourceMemories
from prometheus_client import CollectorRegistry, Counter

from tests.cluster.credentials import Authority
from tests.unit.kube.api_server import DEEP, ApiServer, Fault, refused
from tests.unit.kube.fakes import SERVICES, TOYS, Clock, a_service, a_toy
from upright.contract import Manifest, ResourceType
from upright.kube import connection, patience, watching
from upright.kube.client import Client
from upright.kube.errors import UnreachableError
from upright.kube.metadata import watch_metadata
from upright.kube.objects import name_of
from upright.kube.patience import Signs
from upright.kube.places import Place, sentences
from upright.kube.watching import WatchesEndedError, watch

CONFIG_MAPS = ResourceType("", "v1", "configmaps", "ConfigMap")


@dataclass
class Told:
    """What the watches have told."""

    events: list[tuple[str, str]] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    listed_again: list[Place] = field(default_factory=list)

    def seen(self, type: ResourceType, manifest: Manifest, as_of: int = 0) -> None:
        self.events.append(("seen", name_of(manifest)))
        self.manifests.append(manifest)

    def gone(self, type: ResourceType, manifest: Manifest) -> None:
        self.events.append(("gone", name_of(manifest)))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(connection, "LONGEST_WAIT", 0.1)
    monkeypatch.setattr(patience, "ANSWER_TIMEOUT", 1.0)
    monkeypatch.setattr(patience, "DISTRUST", 0.5)
    monkeypatch.setattr(watching, "LOOK", 0.05)


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with ApiServer((TOYS, SERVICES, CONFIG_MAPS)).running() as server:
        yield server


@pytest.fixture
def told() -> Told:
    return Told()


async def until(question: Callable[[], Any], what: str, running: "asyncio.Task[None] | None" = None) -> None:
    async with asyncio.timeout(20):
        while not question():
            if running is not None and running.done():
                running.result()
            await asyncio.sleep(0.01)


PLACES = (Place(TOYS, ""), Place(SERVICES, "", "app.kubernetes.io/managed-by=upright"))


@contextlib.asynccontextmanager
async def watched(
    api: ApiServer, told: Told, places: tuple[Place, ...] = PLACES
) -> AsyncIterator[tuple["asyncio.Task[None]", Signs]]:
    signs = Signs(places)
    signs.begin()
    namespaces = [place.namespace for place in places if place.namespace]
    task = asyncio.create_task(
        watch(
            places,
            list(dict.fromkeys(namespaces)),
            signs,
            login=api.login,
            seen=told.seen,
            gone=told.gone,
            began=told.listed_again.append,
            identity="test",
        )
    )
    try:
        await until(lambda: api.watches() == len(places), "all watches have begun", task)
        yield task, signs
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_happens_is_told_and_kopf_is_given_nothing_of_what_was_there_before(
    api: ApiServer, told: Told
) -> None:
    api.put(TOYS, a_toy("before"))
    async with watched(api, told):
        api.put(TOYS, a_toy("bear"))
        api.delete(TOYS, "shop", "bear")
        await until(lambda: len(told.events) == 2, "all is told")
    assert told.events == [("seen", "bear"), ("gone", "bear")]
    assert set(told.listed_again) == set(PLACES), "which is ours to list"


async def test_kopf_remembers_no_object(api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    memories = list[ResourceMemories]()
    plain = ResourceMemories.__init__

    def noted(self: ResourceMemories) -> None:
        plain(self)
        memories.append(self)

    monkeypatch.setattr(ResourceMemories, "__init__", noted)
    async with watched(api, told):
        api.put(TOYS, a_toy())
        await until(lambda: told.events, "it is told")
        assert [list(each.iter_all_memories()) for each in memories] == [[]]


async def test_what_strangers_write_into_an_object_does_not_hide_it_and_makes_kopf_write_nothing(
    api: ApiServer, told: Told
) -> None:
    strange: dict[str, dict[str, Any]] = {
        "annotated": {"annotations": {"kopf.zalando.org/last-handled-configuration": "x"}},
        "held": {"finalizers": ["kopf.upright.dev/unused", "kopf.zalando.org/KopfFinalizerMarker"]},
    }
    async with watched(api, told) as (task, _):
        for name, metadata in strange.items():
            toy = a_toy(name)
            api.put(TOYS, {**toy, "metadata": {**toy["metadata"], **metadata}})
        api.put(TOYS, {**a_toy("deep"), "spec": DEEP})
        api.put(TOYS, a_toy("last"))
        await until(lambda: len(told.events) == 4, "all are told", task)
    assert {name for _, name in told.events} == {"annotated", "held", "deep", "last"}
    assert {request.method for request in api.asked} == {"GET"}


def test_nobody_can_guess_the_finalizer_that_kopf_would_take_away() -> None:
    settings = [kopf.OperatorSettings(), kopf.OperatorSettings()]
    for each in settings:
        watching._configure(each, PLACES)
    assert len({each.persistence.finalizer for each in settings}) == 2


def only(path: str, answer: Callable[[], web.StreamResponse]) -> Fault:
    return lambda request: answer() if re.search(path, request.path_qs) else None


FAULTS: dict[str, Callable[[], web.StreamResponse]] = {
    "the resource is gone": lambda: refused(404, "the server could not find the requested resource"),
    "the permission is taken away": lambda: refused(403, 'toys is forbidden: User "op" cannot watch resource "toys"'),
    "the token is taken no more": lambda: refused(401, "Unauthorized"),
    "the server fails": lambda: refused(500, "etcd is away"),
    "the server is overloaded": lambda: refused(503, "try later", {"Retry-After": "1"}),
    "a broken proxy says to come back in ten years": lambda: refused(429, "busy", {"Retry-After": "315360000"}),
    "a broken proxy says to come back on a date": lambda: refused(
        429, "b", {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}
    ),
    "a proxy answers for the server": lambda: web.Response(status=502, text="<html>Bad Gateway</html>"),
    "a proxy answers in another encoding": lambda: web.Response(
        status=503, body="Dienst nicht verfügbar".encode("latin1")
    ),
    "a proxy answers with much": lambda: web.Response(status=503, body=b"x" * 2**20),
    "a proxy answers with what is no object": lambda: web.Response(status=503, body=b"[" * 5000 + b"]" * 5000),
    "an answer breaks off": lambda: web.Response(status=500, text="half", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_watch_that_cannot_go_on_says_so_and_goes_on_when_it_can(
    api: ApiServer, told: Told, fault: str
) -> None:
    async with watched(api, told) as (task, signs):
        api.fault = only("/toys", FAULTS[fault])
        api.cut()
        await until(lambda: "toys.upright.test" in sentences(signs.troubles), "it says so", task)
        assert "services" not in sentences(signs.troubles)
        api.put(SERVICES, a_service("meanwhile"))
        await until(lambda: ("seen", "meanwhile") in told.events, "other watches go on", task)
        api.put(TOYS, a_toy("missed"))
        api.fault = lambda _: None
        await until(lambda: ("seen", "missed") in told.events, "nothing is lost", task)
        assert sentences(signs.troubles) == ""


async def test_an_api_server_behind_a_path_is_watched_as_any_other(api: ApiServer, told: Told) -> None:
    api.prefix = "/k8s/clusters/c-m-1"
    api.put(TOYS, a_toy("before"))
    async with watched(api, told) as (task, signs):
        assert set(told.listed_again) == set(PLACES), "each watch has given a sign of life"
        api.fault = only("/toys", FAULTS["the resource is gone"])
        api.cut()
        await until(lambda: "toys.upright.test" in sentences(signs.troubles), "a 404 does not end it", task)
        api.fault = lambda _: None
        api.put(TOYS, a_toy())
        await until(lambda: ("seen", "bear") in told.events, "it goes on", task)
    assert ("seen", "before") not in told.events, "Kopf is given nothing of what is listed by ourselves"


async def test_a_new_token_is_fetched_when_the_old_one_is_taken_no_more(api: ApiServer, told: Told) -> None:
    async with watched(api, told) as (task, _):
        logins, api.token = api.logins, "new"
        api.cut()
        api.put(TOYS, a_toy())
        await until(lambda: ("seen", "bear") in told.events, "it goes on", task)
        assert api.logins > logins


async def test_a_server_that_does_not_answer_is_asked_again(api: ApiServer, told: Told) -> None:
    async with watched(api, told) as (task, signs):
        api.hangs = lambda request: "/toys" in request.path
        api.cut()
        api.put(TOYS, a_toy())
        await until(lambda: "toys.upright.test" in sentences(signs.troubles), "it says so", task)
        api.hangs = lambda _: False
        await until(lambda: ("seen", "bear") in told.events, "it goes on", task)


async def test_a_list_of_ours_follows_each_of_kopfs_which_tells_nothing_of_what_vanished_before(
    api: ApiServer, told: Told
) -> None:
    async with watched(api, told) as (task, _):
        assert set(told.listed_again) == set(PLACES)
        told.listed_again.clear()
        api.forget()
        await until(lambda: set(told.listed_again) == set(PLACES), "after a 410, too", task)


async def failing(api: ApiServer, code: int, task: asyncio.Task[None], signs: Signs) -> None:
    """From now on the watch fails after it has begun, and that is known."""
    api.failing[TOYS] = code
    api.cut()
    await until(lambda: "etcd: no leader" in sentences(signs.troubles), "it says so", task)


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_a_watch_that_fails_after_it_has_begun_ends_no_other(
    api: ApiServer, told: Told, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FAILED_PAUSE", 0.1)
    async with watched(api, told) as (task, signs):
        await failing(api, code, task, signs)
        told.listed_again.clear()
        for _ in range(5):
            api.cut()
            await asyncio.sleep(0.02)
            assert signs.troubles, "it works for a moment each time"
        api.failing.clear()
        api.put(TOYS, a_toy())
        await until(lambda: ("seen", "bear") in told.events, "it goes on", task)
        await until(lambda: not signs.troubles, "it has lasted", task)
        await until(lambda: told.listed_again == [PLACES[0]], "what may have been missed", task)


async def test_a_watch_that_has_failed_and_is_cut_again_and_again_is_believed_once(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "FAILED_PAUSE", 0.1)
    errors = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with watched(api, told) as (task, signs):
        await failing(api, 503, task, signs)
        api.failing.clear()
        for _ in range(5):
            api.cut()
            await asyncio.sleep(0.05)
        await until(lambda: not signs.troubles, "it has lasted", task)
        await asyncio.sleep(0.2)  # past what the watches before it would have said
    assert errors == []


async def test_a_watch_that_dies_is_told(api: ApiServer, told: Told) -> None:
    async with watched(api, told) as (task, _):
        api.fault = only("/toys.*watch", lambda: refused(400, "what is a watch?"))
        api.cut()
        with pytest.raises(WatchesEndedError):
            async with asyncio.timeout(20):
                await task


async def test_a_watch_that_falls_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    signs = Signs(PLACES, clock.monotonic)
    signs.begin()
    clock.forward(watching.WATCH_SECONDS)
    assert signs.silent(watching.WATCH_SECONDS) == [], "a watch is begun anew so often"
    clock.forward(watching.WATCH_SECONDS)
    signs.asks(PLACES[1])
    assert sentences(signs.troubles) == "nothing has been heard of the watch of toys.upright.test in all namespaces."
    clock.forward(1)
    with pytest.raises(WatchesEndedError, match=r"nothing has been heard of the watch of toys\.upright\.test"):
        await watching._until(asyncio.Event(), signs)


def test_one_certificate_ends_nobody_and_certificates_for_half_a_minute_do() -> None:
    clock, (toys, _) = Clock(), PLACES
    signs = Signs(PLACES, clock.monotonic)

    def distrusted() -> str:
        return signs.distrusted

    signs.troubled(toys, "connection refused")
    clock.forward(40)
    signs.troubled(toys, "CERTIFICATE_VERIFY_FAILED", distrusts=True)
    assert not distrusted(), "for 40 s there was nobody to distrust"
    clock.forward(31)
    assert not distrusted(), "who answers meanwhile may be trusted"
    signs.troubled(toys, "connection refused")
    signs.troubled(toys, "CERTIFICATE_VERIFY_FAILED.", distrusts=True)
    clock.forward(31)
    signs.troubled(toys, "CERTIFICATE_VERIFY_FAILED.", distrusts=True)
    assert distrusted() == "CERTIFICATE_VERIFY_FAILED"
    signs.well(toys)
    assert not distrusted()


def test_what_a_watch_in_trouble_should_tell_of_is_too_old_to_decide_by_until_all_is_listed() -> None:
    clock, (toys, services) = Clock(), (Place(TOYS, "shop"), Place(SERVICES, ""))
    signs = Signs((toys, services), clock.monotonic)

    def blind() -> list[tuple[str, str]]:
        asked = [(each, namespace) for each in (TOYS, SERVICES) for namespace in ("shop", "farm")]
        return [(each.plural, namespace) for each, namespace in asked if signs.blind([each], namespace)]

    signs.troubled(toys, "it is cut")
    clock.forward(40)
    signs.troubled(toys, "it is refused")
    signs.troubled(services, "it is refused")
    clock.forward(30)
    signs.troubled(toys, "it is cut again")
    assert blind() == [("toys", "shop")], "it has been in trouble for more than a minute, whatever the trouble was"
    clock.forward(3600)
    assert blind() == [("toys", "shop"), ("services", "shop"), ("services", "farm")]
    assert signs.well(toys)
    assert signs.well(services)
    clock.forward(3600)
    assert len(blind()) == 3, "what has happened meanwhile is not known yet"
    signs.listed(TOYS, "farm")
    signs.listed(SERVICES, "")
    assert blind() == [("toys", "shop")]
    signs.listed(TOYS, "shop")
    assert blind() == []
    signs.troubled(toys, "it is cut")
    clock.forward(30)
    assert not signs.well(toys), "half a minute is told by the watch itself"
    assert blind() == []


def test_a_watch_of_which_nothing_has_been_heard_tells_nothing() -> None:
    clock, toys = Clock(), Place(TOYS, "shop")
    signs = Signs((toys,), clock.monotonic)
    signs.begin()
    clock.forward(patience.UNHEARD_OF + 1)
    assert signs.blind([TOYS], "shop")
    signs.asks(toys)
    assert not signs.blind([TOYS], "shop")


def test_of_many_namespaces_a_turn_asks_for_the_watches_of_its_own_alone() -> None:
    looks = list[None]()

    def monotonic() -> float:
        looks.append(None)
        return 0.0

    signs = Signs([Place(each, f"team-{n}") for each in (TOYS, SERVICES) for n in range(100)], monotonic)
    signs.begin()
    looks.clear()
    assert not signs.blind([TOYS, SERVICES], "team-7")
    assert len(looks) <= 2


async def test_what_was_missed_for_long_is_listed_before_anything_is_decided(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BLIND", 0.1)
    async with watched(api, told) as (task, signs):
        told.listed_again.clear()
        api.fault = only("/toys", FAULTS["the server fails"])
        api.cut()
        await until(lambda: signs.blind([TOYS], "shop"), "it is noticed", task)
        assert not signs.blind([SERVICES], "shop")
        api.fault = lambda _: None
        await until(lambda: told.listed_again == [PLACES[0]], "a list is asked for", task)
        assert signs.blind([TOYS], "shop")
        signs.listed(TOYS, "")
        assert not signs.blind([TOYS], "shop")


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_stops_in_each_state(api: ApiServer, told: Told, fault: str) -> None:
    async with watched(api, told) as (task, signs):
        api.fault = only("/toys", FAULTS[fault])
        api.cut()
        await until(lambda: sentences(signs.troubles), "it is in trouble", task)
        async with asyncio.timeout(2 * watching.STOPPING):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await until(lambda: api.watches() == 0, "nothing is left behind")


async def test_thirty_namespaces_have_thirty_times_the_watches(api: ApiServer, told: Told) -> None:
    places = tuple(Place(each, f"team-{n}") for each in (TOYS, SERVICES) for n in range(30))
    async with watched(api, told, places) as (task, _):
        last = a_toy()
        last["metadata"]["namespace"] = "team-29"
        api.put(TOYS, last)
        await until(lambda: told.events == [("seen", "bear")], "the last is heard, too", task)


@contextlib.asynccontextmanager
async def metadata_watched(api: ApiServer, told: Told, namespace: str = "") -> AsyncIterator[Signs]:
    place = Place(CONFIG_MAPS, namespace, metadata=True)
    signs = Signs([place])
    client = Client(api.login, Counter("r", "", ("verb", "resource", "code"), registry=CollectorRegistry()))

    def listed(type: ResourceType, namespace: str, there: Container[str], version: int) -> None:
        signs.listed(type, namespace)

    task = asyncio.create_task(watch_metadata(client, [place], signs, seen=told.seen, gone=told.gone, listed=listed))
    try:
        await until(lambda: api.watches(), "the watch has begun", task)
        yield signs
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


def a_config_map(name: str, namespace: str = "shop") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"team": "a"}, "annotations": {"last": "x" * 1000}}
    return {"metadata": metadata, "data": {"train.py": "print()" * 1000}}


async def test_of_metadata_only_which_object_it_is_and_that_it_goes_is_told(api: ApiServer, told: Told) -> None:
    api.put(CONFIG_MAPS, a_config_map("before"))
    async with metadata_watched(api, told):
        api.put(CONFIG_MAPS, a_config_map("code"))
        going = a_config_map("code")
        going["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
        api.put(CONFIG_MAPS, going)
        api.delete(CONFIG_MAPS, "shop", "code")
        await until(lambda: len(told.events) == 4, "all is told")
    assert told.events == [("seen", "before"), ("seen", "code"), ("seen", "code"), ("gone", "code")]
    assert [one["metadata"].get("deletionTimestamp") for one in told.manifests[1:3]] == [None, "2026-11-22T12:00:00Z"]
    identity = {"namespace": "shop", "name": "code", "uid": "uid-code", "resourceVersion": "12"}
    assert told.manifests[1] == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": identity}
    accepted = {request.headers["Accept"].split(";")[1] for request in api.asked}
    assert accepted == {"as=PartialObjectMetadata", "as=PartialObjectMetadataList"}


async def test_metadata_is_watched_in_the_namespaces_that_are_looked_after(api: ApiServer, told: Told) -> None:
    async with metadata_watched(api, told, "shop"):
        api.put(CONFIG_MAPS, a_config_map("code", "elsewhere"))
        api.put(CONFIG_MAPS, a_config_map("code"))
        await until(lambda: told.events, "it is told")
    assert [manifest["metadata"]["namespace"] for manifest in told.manifests] == ["shop"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_metadata_watch_that_cannot_go_on_says_so_and_goes_on_where_it_was(
    api: ApiServer, told: Told, fault: str
) -> None:
    async with metadata_watched(api, told) as signs:
        api.fault = only("/configmaps", FAULTS[fault])
        api.cut()
        await until(lambda: "configmaps" in sentences(signs.troubles), "it says so")
        api.put(CONFIG_MAPS, a_config_map("code"))
        api.delete(CONFIG_MAPS, "shop", "code")
        api.fault = lambda _: None
        await until(lambda: told.events == [("seen", "code"), ("gone", "code")], "nothing is lost")
        assert sentences(signs.troubles) == ""
    assert sum("watch" not in request.query for request in api.asked) == 1, "it did not have to list again"


async def test_a_metadata_watch_that_could_not_go_on_for_long_is_blind_until_it_has_listed(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BLIND", 0.1)
    async with metadata_watched(api, told) as signs:
        api.fault = only("/configmaps", FAULTS["the permission is taken away"])
        api.cut()
        await until(lambda: signs.blind([CONFIG_MAPS], "shop"), "it is noticed")
        api.put(CONFIG_MAPS, a_config_map("code"))
        api.asked.clear()
        api.fault = lambda _: None
        await until(lambda: not signs.blind([CONFIG_MAPS], "shop"), "it is over")
        assert told.events == [("seen", "code")], "what was missed is known by then"
        assert any("watch" not in request.query for request in api.asked)


async def test_a_metadata_watch_that_cannot_go_on_where_it_was_lists_again(api: ApiServer, told: Told) -> None:
    async with metadata_watched(api, told):
        api.put(CONFIG_MAPS, a_config_map("code"))
        await until(lambda: told.events, "it is told")
        api.forget()
        await until(lambda: told.events == [("seen", "code"), ("seen", "code")], "it has listed again")


async def test_a_metadata_watch_that_falls_silent_is_begun_anew(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upright.kube.client.SILENCE", 0.2)
    async with metadata_watched(api, told) as signs:
        api.put(CONFIG_MAPS, a_config_map("code"))
        await until(
            lambda: sentences(signs.troubles) == "cannot watch configmaps: nothing heard for 0 s.", "it is missed"
        )
        api.put(CONFIG_MAPS, a_config_map("more"))
        await until(lambda: ("seen", "more") in told.events, "and goes on")


async def test_a_metadata_watch_in_which_nothing_happens_is_not_taken_for_a_hung_request(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upright.kube.client.REQUEST_TIMEOUT", 0.2)
    async with metadata_watched(api, told) as signs:
        await asyncio.sleep(0.5)
        assert not sentences(signs.troubles)


async def test_an_object_that_is_too_large_for_a_metadata_watch_ends_nothing(api: ApiServer, told: Told) -> None:
    async with metadata_watched(api, told) as signs:
        large = a_config_map("large")
        large["metadata"]["ownerReferences"] = [{"name": "<" * 5 * 2**20}]
        api.put(CONFIG_MAPS, large)
        await until(lambda: ("seen", "large") in told.events, "a list tells of it")
        api.put(CONFIG_MAPS, a_config_map("code"))
        await until(lambda: ("seen", "code") in told.events, "and the watch goes on")
        await until(lambda: not signs.troubles, "all is well")


async def test_what_is_too_large_for_a_metadata_watch_and_changes_all_the_time_has_all_listed_ever_more_rarely(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, first = list[None](), 0

    def delays() -> Iterator[float]:
        begun.append(None)
        return itertools.repeat(0.001)

    monkeypatch.setattr("upright.kube.metadata.delays", delays)
    large = a_config_map("large")
    large["metadata"]["ownerReferences"] = [{"name": "<" * 5 * 2**20}]
    async with metadata_watched(api, told):
        for number in range(3):
            api.put(CONFIG_MAPS, a_config_map(f"small-{number}"))
            await until(lambda: ("seen", f"small-{number}") in told.events, "an event comes")  # noqa: B023
            api.put(CONFIG_MAPS, large)
            await until(lambda: told.events.count(("seen", "large")) > number, "a list tells of it")  # noqa: B023
            first = first or len(begun)
    assert len(begun) == first, "the waits go on growing"
    assert caplog.text.count("is too large for its changes to be watched") == 1


async def test_whatever_a_metadata_watch_raises_is_tried_again(
    api: ApiServer, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, broken = Client.watch_metadata, [True]

    async def watch_once_broken(*arguments: Any) -> None:
        if broken.pop() if broken else False:
            raise KeyError("of strangers' bytes")
        await plain(*arguments)

    monkeypatch.setattr(Client, "watch_metadata", watch_once_broken)
    async with metadata_watched(api, told):
        api.put(CONFIG_MAPS, a_config_map("code"))
        await until(lambda: ("seen", "code") in told.events, "it goes on")


async def test_a_cluster_with_another_authority_is_asked_with_it_and_watched_by_whoever_begins_anew(
    told: Told, tmp_path: Path
) -> None:
    """Its certificate is another from one connection to the next, as when an API server reads it anew."""
    old, new = (Authority.create(tmp_path / name) for name in ("old", "new"))
    shows, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "ca.crt"

    def become(authority: Authority) -> None:
        authority.server("api", "kube-apiserver", ["127.0.0.1"])
        shows.load_cert_chain(authority.directory / "api.crt", authority.directory / "api.key")
        trusted.write_bytes((authority.directory / "ca.crt").read_bytes())

    become(old)
    async with ApiServer((TOYS, SERVICES), tls=shows, authority=trusted).running() as api:
        client = Client(api.login, Counter("r", "", ("verb", "resource", "code"), registry=CollectorRegistry()))
        api.put(TOYS, a_toy())
        async with watched(api, told) as (task, _):
            assert await client.get(TOYS, "shop", "bear") is not None
            become(new)
            before, answered = len(api.asked), asyncio.Event()
            api.hangs = lambda request: request.path.endswith("bear") and not answered.is_set()
            under_way = asyncio.create_task(client.get(TOYS, "shop", "bear"))  # on a connection that is there
            await until(lambda: len(api.asked) > before, "it is asked")
            with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(TOYS, "shop", "bear")  # on another
            answered.set()
            assert await under_way is not None
            assert await client.get(TOYS, "shop", "bear") is not None
            assert not task.done(), "what is watched already goes on"
            api.forget()
            with pytest.raises(WatchesEndedError, match=r"cannot watch .* CERTIFICATE_VERIFY_FAILED"):
                await task
        async with watched(api, told) as (task, _):
            api.put(TOYS, a_toy("new"))
            await until(lambda: ("seen", "new") in told.events, "what happens is told", task)
        await client.close()
