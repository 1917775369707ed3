"""The API client against a small server that answers as told."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration
from prometheus_client import CollectorRegistry, Counter

from tests.unit.kube.fakes import SERVICES, TOYS, a_service, a_toy
from upright.api import names
from upright.contract import Reference, ResourceType
from upright.kube.client import NEWEST, Client
from upright.kube.errors import (
    ConflictError,
    ForbiddenError,
    NotLeaderError,
    RefusedError,
    TerminatingError,
    UnknownError,
    UnreachableError,
    refusal,
)
from upright.kube.fence import bounded
from upright.kube.objects import yaml_of

Answer = tuple[int, Any, dict[str, str]]


@dataclass
class Api:
    """Answers with what stands in line, and remembers what it was asked."""

    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    logins: int = 0
    arrived: set[str] = field(default_factory=set)

    async def receive(self, request: web.Request) -> web.Response:
        self.arrived.add(request.path.rsplit("/", 1)[1])
        return await self.answer(request)

    async def answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.texts.append(text)
        self.asked.append((request.method, str(request.rel_url), json.loads(text) if text else None))
        status, body, headers = self.answers.pop(0)
        if isinstance(body, str):
            return web.Response(status=status, text=body, headers=headers)
        return web.json_response(body, status=status, headers=headers)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def requests() -> Counter:
    return Counter("requests", "", ("verb", "resource", "code"), registry=CollectorRegistry())


@pytest.fixture
async def connect(api: Api, requests: Counter) -> AsyncIterator[Callable[..., Client]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.receive)
    server = TestServer(app)
    await server.start_server()
    clients: list[Client] = []

    async def login() -> Configuration:
        api.logins += 1
        return Configuration(host=f"http://127.0.0.1:{server.port}")

    def connected(fence: Callable[[], float] = lambda: math.inf, longest_wait: float = math.inf) -> Client:
        clients.append(Client(login, requests, fence, longest_wait))
        return clients[-1]

    yield connected
    for client in clients:
        await client.close()
    await server.close()


async def until(question: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not question():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how many seconds each wait of the client would have been: it waits for none of them."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        if delay:
            seconds.append(delay)

    monkeypatch.setattr("upright.kube.client.asyncio.sleep", sleep)
    return seconds


async def test_an_object_that_is_not_there_is_none(api: Api, connect: Callable[..., Client]) -> None:
    api.answers = [(404, {"kind": "Status", "message": "not found"}, {})]
    assert await connect().get(TOYS, "shop", "bear") is None
    assert api.asked == [("GET", "/apis/upright.test/v1/namespaces/shop/toys/bear", None)]


async def test_who_does_not_know_the_resource_says_nothing_of_an_object(
    api: Api, connect: Callable[..., Client]
) -> None:
    api.answers = [(404, "404 page not found", {})] * 2
    with pytest.raises(UnknownError):
        await connect().get(TOYS, "shop", "bear")
    with pytest.raises(UnknownError):
        await connect().delete(Reference(TOYS, "shop", "bear", "uid-bear"))


async def test_a_list_is_read_page_by_page_and_its_objects_say_what_they_are(
    api: Api, connect: Callable[..., Client]
) -> None:
    page = {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "more", "resourceVersion": "7"}}
    last = {"items": [{"metadata": {"name": "b"}}], "metadata": {"resourceVersion": "8"}}
    api.answers = [(200, page, {}), (200, last, {})]
    pages = connect().pages(SERVICES, "", "managed-by=upright")
    page_of_one = await anext(pages)
    [first] = page_of_one.items
    assert (first["metadata"]["name"], first["apiVersion"], first["kind"]) == ("a", "v1", "Service")
    assert page_of_one.version == 7
    assert len(api.asked) == 1, "the next page is asked for when this one has been used"
    page_of_one = await anext(pages)
    assert ([one["metadata"]["name"] for one in page_of_one.items], page_of_one.version) == (["b"], 8)
    assert [page async for page in pages] == []
    assert "/api/v1/services?" in api.asked[0][1]
    assert "continue=more" in api.asked[1][1]


async def test_a_page_that_is_too_large_is_asked_for_anew_with_fewer_objects(
    api: Api, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upright.kube.client.PAGE_WEIGHT", 1000)
    large = {"items": [{"metadata": {"name": "x" * 1000}}], "metadata": {"resourceVersion": "7"}}
    small = {"items": [{"metadata": {"name": "a"}}], "metadata": {"resourceVersion": "7", "continue": "more"}}
    last = {"items": [{"metadata": {"name": "b"}}], "metadata": {"resourceVersion": "7"}}
    api.answers = [(200, large, {}), (200, large, {}), (200, small, {}), (200, small, {}), (200, last, {})]
    pages = [page async for page in connect().pages(SERVICES, "")]
    assert [len(page.items) for page in pages] == [1, 1, 1]
    limits = [int(re.findall(r"limit=(\d+)", path)[0]) for _, path, _ in api.asked]
    assert limits == [200, 25, 3, 6, 12], "ever more behind what is large"


@pytest.mark.parametrize("content", ["x" * 1000, [[]] * 100], ids=["bytes", "parts"])
async def test_of_an_object_that_is_too_large_for_a_page_of_its_own_it_is_known_which_it_is(
    api: Api, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, content: Any
) -> None:
    monkeypatch.setattr("upright.kube.client.PAGE_WEIGHT", 1000)
    metadata = {"name": "giant", "namespace": "shop", "uid": "u"}
    item = {"metadata": metadata, "spec": content}
    giant = {"items": [item], "metadata": {"resourceVersion": "7", "continue": "more"}}
    last = {"items": [{"metadata": {"name": "b"}}], "metadata": {"resourceVersion": "7"}}
    api.answers = [(200, giant, {}), (200, giant, {}), (200, giant, {}), (200, last, {})]
    first, second = [page async for page in connect().pages(SERVICES, "", size=2)]
    assert (first.items, second.unread) == ((), ())
    identity = {"name": "giant", "namespace": "shop", "uid": "u"}
    assert first.unread == [{"apiVersion": "v1", "kind": "Service", "metadata": identity}]
    assert [one["metadata"]["name"] for one in second.items] == ["b"]


async def test_of_the_newest_warnings_about_an_object_the_beginning_of_what_they_say_is_kept(
    api: Api, connect: Callable[..., Client]
) -> None:
    """Anybody may tell thousands, of a megabyte each."""

    def said(text: str, second: int, uid: str = "u", **more: Any) -> dict[str, Any]:
        made = {"creationTimestamp": f"2026-11-22T12:00:{second:02}Z", "annotations": {"x": "y"}}
        about = {"kind": "Job", "uid": uid}
        return {"metadata": made, "involvedObject": about, "reason": text, "message": text, **more}

    late = said("last", 0, lastTimestamp="2026-11-22T12:01:00Z", source={"host": "x"})
    flood = [said("x" * 5000, second) for second in range(59)]
    page = {"items": [late, *flood, said("another's", 0, "v"), said("of nobody", 0, "w")]}
    api.answers = [(200, {**page, "metadata": {"resourceVersion": "7"}}, {})]
    found = await connect().warnings("shop", {"u", "v"})
    about = {uid: [one for one in found if one["involvedObject"] == {"uid": uid}] for uid in "uvw"}
    assert {uid: len(told) for uid, told in about.items()} == {"u": NEWEST, "v": 1, "w": 0}
    assert {len(one[text]) for one in about["u"][:-1] for text in ("reason", "message")} == {1024}
    assert about["u"][-2]["lastTimestamp"] == "2026-11-22T12:00:58Z"
    text = {"reason": "last", "message": "last", "lastTimestamp": "2026-11-22T12:01:00Z"}
    assert about["u"][-1] == {"involvedObject": {"uid": "u"}, **text}


async def test_metadata_are_for_strangers_to_size_and_their_pages_are_bounded_too(
    api: Api, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upright.kube.client.PAGE_WEIGHT", 1000)
    giant = {"metadata": {"name": "giant", "uid": "u", "labels": {"x" * 1000: ""}}}
    page = {"items": [giant, giant], "metadata": {"resourceVersion": "7"}}
    alone = {"items": [giant], "metadata": {"resourceVersion": "7"}}
    api.answers = [(200, page, {}), (200, alone, {}), (200, alone, {})]
    found = [page async for page in connect().pages(SERVICES, "", metadata=True, size=2)]
    identity = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "giant", "uid": "u"}}
    assert [(page.items, page.unread) for page in found] == [([identity], ())]


async def test_a_status_is_replaced_as_a_whole_and_only_in_the_version_that_was_read(
    api: Api, connect: Callable[..., Client]
) -> None:
    api.answers = [(200, a_toy(version=6), {})]
    await connect().patch_status(TOYS, a_toy(version=5), {"phase": "Running"})
    _, path, patch = api.asked[0]
    assert path.startswith("/apis/upright.test/v1/namespaces/shop/toys/bear/status")
    assert patch == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "5"},
        {"op": "add", "path": "/status", "value": {"phase": "Running"}},
    ]


async def test_missing_permission_says_which_verb_on_which_resource_where(
    api: Api, connect: Callable[..., Client]
) -> None:
    api.answers = [(403, {"message": 'services is forbidden: User "op" cannot create resource "services"'}, {})]
    with pytest.raises(ForbiddenError) as caught:
        await connect().create(SERVICES, a_service("s"))
    for part in ("may not create services in namespace shop", "grant the verb 'create' on 'services'", 'User "op"'):
        assert part in str(caught.value)
    assert caught.value.lasting


@pytest.mark.parametrize(
    ("type", "message", "field"),
    [
        (names.JOBS, 'strict decoding error: unknown field "spec.template.spec.nodeselector"', "spec.train.pod"),
        (names.APPS_DEPLOYMENTS, 'churn is invalid: spec.template.spec.volumes[0].name: "X"', "spec.serving.pod"),
        (names.APPS_DEPLOYMENTS, "churn is invalid: spec.selector: field is immutable", ""),
        (SERVICES, "spec.template.spec.nodeselector", ""),
    ],
)
def test_what_is_wrong_in_a_pod_is_said_to_come_of_the_field_that_asks_for_it(
    type: ResourceType, message: str, field: str
) -> None:
    said = str(refusal("create", type, "shop", "churn", "", 422, {"message": message}))
    where = f": that comes of {field}, and is tried again by itself when it is corrected there" if field else ""
    assert said.endswith(f": {message}{where} (HTTP 422)")


@pytest.mark.parametrize(
    "said",
    [
        "exceeded quota: small",
        'services "s" is forbidden: ValidatingAdmissionPolicy "run-as" denied request: runAsUser must be above 100',
        'admission webhook "teams" denied the request: User workloads need the label cost-centre',
    ],
)
async def test_a_quota_or_a_policy_is_not_taken_for_missing_permission(
    api: Api, connect: Callable[..., Client], said: str
) -> None:
    api.answers = [(403, {"message": said}, {})]
    with pytest.raises(RefusedError, match=re.escape(said)) as caught:
        await connect().create(SERVICES, a_service("s"))
    assert not isinstance(caught.value, ForbiddenError)
    assert caught.value.lasting


async def test_a_namespace_that_is_being_deleted_is_not_taken_for_missing_permission(
    api: Api, connect: Callable[..., Client]
) -> None:
    causes = [{"reason": "NamespaceTerminating", "message": "namespace shop is being terminated"}]
    api.answers = [(403, {"message": "services is forbidden", "details": {"causes": causes}}, {})]
    with pytest.raises(TerminatingError) as caught:
        await connect().create(SERVICES, a_service("s"))
    assert not caught.value.lasting


async def test_what_is_applied_has_its_characters_beyond_the_first_plane_as_yaml_knows_them(
    api: Api, connect: Callable[..., Client]
) -> None:
    rocket = {**a_service("s"), "data": {"owner": "\U0001f680"}}
    api.answers = [(200, rocket, {}), (201, rocket, {})]
    await connect().apply(SERVICES, rocket, force=True)
    await connect().create(names.CONTROLLER_REVISIONS, rocket)
    assert api.texts == [yaml_of(rocket)] * 2


async def test_the_whole_client_waits_when_the_api_server_says_so(
    api: Api, connect: Callable[..., Client], waits: list[float]
) -> None:
    client = connect()
    api.answers = [(200, a_toy(), {}), (429, {"message": "busy"}, {"Retry-After": "7"}), (200, a_toy(), {})]
    await client.get(TOYS, "shop", "bear")
    assert await client.get(TOYS, "shop", "bear") is not None
    assert waits == [pytest.approx(7, abs=0.5)]
    api.answers = [(200, a_toy(), {})]
    await client.get(TOYS, "shop", "doll")
    assert len(waits) == 2, "another request waits as well"


async def test_what_is_refused_for_one_object_holds_up_no_other_request(
    api: Api, connect: Callable[..., Client], waits: list[float]
) -> None:
    message = 'admission webhook "policy.example.com" denied the request: too many'
    denied = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    api.answers = [
        (429, denied | {"code": 429, "details": {"retryAfterSeconds": 30}}, {"Retry-After": "30"}),
        (200, a_toy(), {}),
    ]
    client = connect()
    with pytest.raises(RefusedError, match="denied the request") as caught:
        await client.create(SERVICES, a_service("s"))
    assert not caught.value.lasting, "it is tried again, ever more rarely"
    await client.get(TOYS, "shop", "bear")
    assert waits == []


async def test_it_waits_no_longer_than_whoever_asks_can(
    api: Api, connect: Callable[..., Client], waits: list[float]
) -> None:
    api.answers = [(429, "Too many requests, please try again later.", {"Retry-After": "8"}), (200, a_toy(), {})]
    await connect(longest_wait=2.0).get(TOYS, "shop", "bear")
    assert waits == [pytest.approx(2, abs=0.5)]


async def test_nothing_is_written_without_the_lease(api: Api, connect: Callable[..., Client]) -> None:
    with pytest.raises(NotLeaderError):
        await connect(fence=lambda: 0.0).create(SERVICES, a_service("s"))
    assert not api.asked
    api.answers = [(200, a_toy(), {})]
    assert await connect(fence=lambda: 0.0).get(TOYS, "shop", "bear") is not None, "reading is free"


async def test_a_write_does_not_outlast_the_lease(api: Api, connect: Callable[..., Client]) -> None:
    api.answers = [(200, a_toy(), {})]
    client = connect(fence=lambda: 0.000_001)
    with pytest.raises(UnreachableError, match="no answer within"):
        await client.create(SERVICES, a_service("s"))


async def test_a_write_waits_for_two_webhooks_that_are_away_as_long_as_the_lease_is_renewed(
    api: Api, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = list[tuple[float, float]]()

    def noted(most: float, fence: Callable[[], float]) -> AbstractAsyncContextManager[object]:
        waits.append((most, fence()))
        return bounded(most, fence)

    monkeypatch.setattr("upright.kube.client.bounded", noted)
    client = connect(fence=lambda: 13.0)
    api.answers = [(200, a_toy(), {})] * 3
    await client.create(TOYS, a_toy())
    await client.patch_status(TOYS, a_toy(), {})
    assert waits == [(25.0, 13.0)] * 2
    await client.get(TOYS, "shop", "bear")
    assert len(waits) == 2, "no webhook holds up a question"


async def test_a_token_that_is_no_longer_taken_is_fetched_anew(api: Api, connect: Callable[..., Client]) -> None:
    api.answers = [(401, {"message": "Unauthorized"}, {}), (200, a_toy(), {})]
    assert await connect().get(TOYS, "shop", "bear") is not None
    assert api.logins == 2


async def test_a_token_that_is_never_taken_is_not_fetched_for_ever(api: Api, connect: Callable[..., Client]) -> None:
    api.answers = [(401, {"message": "Unauthorized"}, {})] * 2
    with pytest.raises(RefusedError, match="Unauthorized") as caught:
        await connect().get(TOYS, "shop", "bear")
    assert api.logins == 2
    assert not caught.value.lasting, "it is no fault of the object"


async def test_a_refusal_that_comes_late_disturbs_no_other_request(api: Api, connect: Callable[..., Client]) -> None:
    """Three requests on an old token: one is answered, one refused, and a third refused when all have moved on."""
    held = {name: asyncio.Event() for name in ("slow", "late", "later")}
    refused = {"early", "late"}

    async def answer(request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[1]
        if name in held:
            await held[name].wait()
        if name in refused:
            refused.discard(name)
            return web.json_response({"message": "Unauthorized"}, status=401)
        return web.json_response(a_toy(name))

    api.answer = answer  # type: ignore[method-assign]
    client = connect()
    slow, late = (asyncio.create_task(client.get(TOYS, "shop", name)) for name in ("slow", "late"))
    await until(lambda: api.arrived == {"slow", "late"})
    assert await client.get(TOYS, "shop", "early") == a_toy("early")
    later = asyncio.create_task(client.get(TOYS, "shop", "later"))
    await until(lambda: "later" in api.arrived)
    for name in ("late", "slow", "later"):
        held[name].set()
    assert [await task for task in (slow, late, later)] == [a_toy("slow"), a_toy("late"), a_toy("later")]
    assert api.logins == 2, "the late refusal is of a token that is no longer used"


@pytest.mark.parametrize("asked", ["315360000", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "-1", "nan", "inf", ""])
async def test_nobody_can_make_it_wait_for_long(
    api: Api, connect: Callable[..., Client], waits: list[float], asked: str
) -> None:
    api.answers = [(429, {"message": "busy"}, {"Retry-After": asked}), (200, a_toy(), {})]
    assert await connect().get(TOYS, "shop", "bear") is not None
    assert 0.5 < max(waits) <= 30


async def test_what_is_no_json_is_quoted(api: Api, connect: Callable[..., Client]) -> None:
    api.answers = [(502, "<html>Bad Gateway</html>", {})]
    with pytest.raises(RefusedError, match=r"Bad Gateway.*HTTP 502"):
        await connect().get(TOYS, "shop", "bear")


@pytest.mark.parametrize("page", ["<html>Welcome</html>", "[]", '"yes"', ""])
async def test_what_answers_for_the_api_server_is_not_believed(
    api: Api, connect: Callable[..., Client], page: str
) -> None:
    api.answers = [(200, page, {})] * 2
    client = connect()
    with pytest.raises(UnreachableError, match="what answers is no API server"):
        await client.get(TOYS, "shop", "bear")
    with pytest.raises(UnreachableError, match="what answers is no API server"):
        await anext(client.pages(TOYS, "shop"))


async def test_every_request_is_counted(api: Api, connect: Callable[..., Client], requests: Counter) -> None:
    api.answers = [(409, {"message": "changed"}, {})]
    with pytest.raises(ConflictError):
        await connect().patch_status(TOYS, a_toy(), {})
    labels = {"verb": "patch", "resource": "toys.upright.test/status", "code": "409"}
    assert requests.labels(**labels)._value.get() == 1


async def test_a_server_that_is_away_is_named_as_such(requests: Counter) -> None:
    async def login() -> Configuration:
        return Configuration(host="http://127.0.0.1:9")

    client = Client(login, requests)
    with pytest.raises(UnreachableError, match=r"cannot get toys\.upright\.test shop/bear"):
        await client.get(TOYS, "shop", "bear")
    await client.close()


async def test_of_a_workload_that_is_scaled_nothing_else_is_written(api: Api, connect: Callable[..., Client]) -> None:
    scaled = {"kind": "Scale", "metadata": {"name": "bear"}}
    api.answers = [(200, scaled, {})]
    await connect().scale(Reference(TOYS, "shop", "bear", "uid-bear"), 3)
    [(method, path, body)] = api.asked
    assert (method, path.partition("?")[0]) == ("PATCH", "/apis/upright.test/v1/namespaces/shop/toys/bear/scale")
    assert body == [
        {"op": "test", "path": "/metadata/uid", "value": "uid-bear"},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
    ]
