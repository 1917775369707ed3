"""Pods' pages of metrics over HTTP: nothing but a pod's own address is asked, and no answer costs more than others."""

import asyncio
import contextlib
import gzip
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.analysis.builders import a_metric, a_policy
from tests.unit.builders import a_pod
from upright.contract import Key
from upright.pods.reading import Pod, read
from upright.rollout.measuring import Asked
from upright.sources import answers
from upright.sources.page import MAX_BYTES, MAX_LINES, Counters, Scan
from upright.sources.places import Places
from upright.sources.pods import EACH, PodPages, Unread, is_of_a_pod
from upright.sources.sample import PageError

ASKED = Asked("a-b", a_policy(), {}, None)
KEY = Key("shop", "churn")
COUNTERS = b'upright_requests_total{code="2xx"} 7\nupright_requests_in_progress 2\n'
Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]


def of_a_test(_: object) -> bool:
    return True


@asynccontextmanager
async def answering(respond: Respond) -> AsyncIterator[int]:
    """A server on a port of its own."""
    app = web.Application()
    app.router.add_get("/{path:.*}", respond)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    yield site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    await runner.cleanup()


@asynccontextmanager
async def sending(*parts: bytes, endless: bytes = b"", silent: bool = False) -> AsyncIterator[int]:
    """A server that sends just these bytes, whatever it is asked, and then others for ever, or nothing any more."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            while endless:
                writer.write(endless)
                await writer.drain()
                await asyncio.sleep(0.05)
            while silent and await reader.read(1024):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def pod_at(port: int, name: str = "pod", address: str = "127.0.0.1", **spec: Any) -> Pod:
    manifest = a_pod(name, podIP=address)
    container = {"name": "serve", "ports": [{"name": "http", "containerPort": port}]}
    return read({**manifest, "spec": {"containers": [container], **spec}})


async def page_of(*pods: Pod, **how: Any) -> Counters | Unread:
    found = await PodPages(**{"may_ask": of_a_test, **how}).read(KEY, pods, ASKED)
    return found[pods[0].name]


def why(page: Counters | Unread) -> str:
    assert isinstance(page, Unread), page
    return page.why


async def test_a_page_is_read_and_asked_for_with_nothing_that_others_should_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    asked: list[web.Request] = []

    async def respond(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(body=COUNTERS, headers={"Set-Cookie": "a=b"})

    pages = PodPages(may_ask=of_a_test)
    async with answering(respond) as port:
        for _ in range(2):
            assert await pages.read(KEY, [pod_at(port)], ASKED) == {"pod": Counters(7, 0, 0, 2)}
    assert set(asked[1].headers) == {"Host", "Accept", "Accept-Encoding", "User-Agent", "Connection"}
    assert asked[1].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    asked: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=COUNTERS)

    async with answering(secret) as elsewhere:

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"http://127.0.0.1:{elsewhere}/secret"})

        async with answering(redirect) as port:
            page = await page_of(pod_at(port))
    assert why(page) == f"it answers GET /metrics with status {status}, which is followed nowhere"
    assert not asked


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("10.0.0.1", True),
        ("192.168.7.1", True),
        ("240.1.2.3", True),
        ("fd00::1", True),
        ("2001:db8::1", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:169.254.169.254", False),
        ("::ffff:10.0.0.1", True),
    ],
)
def test_what_can_be_the_address_of_a_pod(address: str, is_one: bool) -> None:
    assert is_of_a_pod(ip_address(address)) == is_one


@pytest.mark.parametrize(
    ("address", "spec", "says"),
    [
        ("127.0.0.1", {}, "its address is not one of a pod"),
        ("169.254.169.254", {}, "its address is not one of a pod"),
        ("10.0.0.1", {"hostNetwork": True}, "it uses its node's network, so that its address is not its own"),
        ("metadata.google.internal", {}, "its address is no IP address"),
        ("10.0.0.1/../x", {}, "its address is no IP address"),
        ("", {}, "it has no address"),
    ],
)
async def test_what_is_no_pods_address_is_not_asked(address: str, spec: dict[str, Any], says: str) -> None:
    page = await PodPages().read(KEY, [pod_at(3000, address=address, **spec)], ASKED)
    assert why(page["pod"]) == says


def head(*headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode()


CHUNKED = "Transfer-Encoding: chunked"
BOMB = gzip.compress(COUNTERS + b"#" * 50_000_000)


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        ([head("Content-Encoding: gzip", f"Content-Length: {len(BOMB)}"), BOMB], "is compressed"),
        ([head("Content-Encoding: deflate"), b"x"], "is compressed"),
        ([head("Connection: close"), b"x\n" * MAX_BYTES], "more than"),
        ([head("Connection: close"), b"\n" * (MAX_LINES + 1)], f"more than {MAX_LINES} lines"),
        ([head("Connection: close"), b"x" * 100_000], "a line of more than 16 KiB"),
        ([head(*(f"X-{number}: y" for number in range(10_000))), COUNTERS], "does not answer as an HTTP server"),
        ([head(f"X: {'y' * 100_000}"), COUNTERS], "does not answer as an HTTP server"),
        ([b"SSH-2.0-OpenSSH_9\r\n"], "does not answer as an HTTP server"),
        ([b""], "does not answer as an HTTP server"),
        ([head("Content-Length: 500"), COUNTERS], "does not answer as an HTTP server"),
        ([head("Connection: close"), b"<html>\xff\x00</html>"], "its page of metrics has no upright_requests_total"),
        (
            [head("Connection: close"), b'# TYPE upright_requests counter\nupright_requests{code="5xx"} 9\n'],
            "its page of metrics has no upright_requests_total, but counts upright_requests",
        ),
        (
            [head("Connection: close"), b"# TYPE upright_requests_total histogram\nupright_requests_total_count 9\n"],
            "its page of metrics has no upright_requests_total, but counts upright_requests_total_count",
        ),
        ([head("Connection: close"), b'upright_requests_total{code="\xff"} 1\n'], "that is no UTF-8"),
        (
            [head("Connection: close"), b'upright_requests_total{code="2xx"} 12'],
            "its page of metrics ends within a line",
        ),
        ([b"HTTP/1.0 200\n\n", b'upright_requests_total{code="2xx"} 12'], "its page of metrics ends within a line"),
        (
            [b"HTTP/1.1 103 Early Hints\r\n\r\n", head("Connection: close"), COUNTERS],
            "does not answer as an HTTP server",
        ),
        ([head(*["X: y"] * 5000, "Connection: close"), COUNTERS], "does not answer as an HTTP server"),
        ([head("Content-Length: 5, 6"), COUNTERS], "does not answer as an HTTP server"),
        ([head("Content-Length: -1"), COUNTERS], "does not answer as an HTTP server"),
        ([head("Transfer-Encoding: gzip, chunked"), COUNTERS], "does not answer as an HTTP server"),
        ([head(CHUNKED), b"5\r\n#####6\r\n"], "does not answer as an HTTP server"),
        ([head(CHUNKED), b"5\r\n##"], "does not answer as an HTTP server"),
        ([head(CHUNKED), b"-5\r\n"], "does not answer as an HTTP server"),
        ([head(CHUNKED), b"1;" + b"x" * 4000], "does not answer as an HTTP server"),
        ([head(CHUNKED), b"1\r\n#\r\n" * 30_000], "its answer comes in more than 4096 chunks"),
        ([head(CHUNKED), (b"100000\r\n" + b"#\n" * 2**19 + b"\r\n") * 5], "more than"),
        ([b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"], "it answers GET /metrics with status 503"),
        ([b"HTTP/1.1 204 No\r\n\r\n"], "it answers GET /metrics with status 204"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_cannot_be_used_is_named(sent: list[bytes], says: str) -> None:
    async with sending(*sent) as port:
        page = await page_of(pod_at(port))
    assert says in why(page)


@pytest.mark.parametrize(
    ("parts", "endless"),
    [
        ([], b""),
        ([head("Connection: close")], b"#"),
        ([b"HTTP/1.1 200 OK\r\n"], b"X: y\r\n"),
        ([], b"HTTP/1.1 100 Continue\r\n\r\n"),
        ([head("Transfer-Encoding: chunked")], b"1\r\n#\r\n"),
    ],
    ids=["silent", "drips a page", "drips headers", "goes on for ever", "drips chunks"],
)
async def test_a_pod_has_its_time_from_the_first_packet_to_the_last_byte(parts: list[bytes], endless: bytes) -> None:
    async with sending(*parts, endless=endless, silent=not endless) as port:
        page = await page_of(pod_at(port), patience=timedelta(seconds=0.5))
    assert why(page) in {"it does not answer within 0.5s", "it does not answer as an HTTP server does"}


async def test_a_port_on_which_nobody_listens_is_said_to_be_the_containers(unused_tcp_port: int) -> None:
    page = await page_of(pod_at(unused_tcp_port))
    assert page == Unread(
        "it refuses connections", f"Its container must listen on port {unused_tcp_port} (serving.port)."
    )


async def test_the_remedies_name_the_network_policy_and_the_metric() -> None:
    async with sending(silent=True) as port:
        silent = await page_of(pod_at(port), patience=timedelta(seconds=0.1))
    assert isinstance(silent, Unread)
    assert f"port {port} of the pods: a NetworkPolicy, if there is one, must let its namespace in" in silent.remedy
    async with sending(head("Connection: close"), b"other_total 1\n") as port:
        other = await page_of(pod_at(port))
    assert isinstance(other, Unread)
    assert "An image of one's own must count its answers in upright_requests_total" in other.remedy


async def test_a_page_that_is_not_there_is_asked_for_by_the_field_that_names_it() -> None:
    async with sending(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n") as port:
        page = await page_of(pod_at(port))
    assert page == Unread(
        "it answers GET /metrics with status 404",
        f"Its container must serve its metrics at /metrics (monitoring.pods.path) of port {port}.",
    )


@pytest.mark.parametrize("page", [b"shop_orders_total 1\n", b'upright_requests_total{status="200"} 1\n'])
async def test_of_a_sidecar_that_does_not_count_requests_it_is_said_which_metrics_want_selectors(page: bytes) -> None:
    own = a_metric(type="Ratio", name="refunds", bad="shop_refunds_total", total="shop_orders_total")
    policy = a_policy(a_metric(), a_metric(name="refusals", type="RefusalRate"), own)
    async with sending(head("Connection: close"), page) as port:
        pod, asked = pod_at(3000), replace(ASKED, policy=policy, port=port)
        found = (await PodPages(may_ask=of_a_test).read(KEY, [pod], asked))[pod.name]
    assert isinstance(found, Unread)
    assert "Give errors, refusals selectors of counters that it has" in found.remedy
    assert "to read that of port 3000" in found.remedy
    assert "image" not in found.remedy


async def test_an_ipv6_address_is_asked() -> None:
    async def respond(_: web.Request) -> web.Response:
        return web.Response(body=COUNTERS)

    app = web.Application()
    app.router.add_get("/metrics", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "::1", 0)
    try:
        await site.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    assert await page_of(pod_at(port, address="::1")) == Counters(7, 0, 0, 2)
    await runner.cleanup()


async def test_silent_pods_of_a_deployment_do_not_hide_those_that_answer_beyond_the_time_for_all() -> None:
    async def respond(_: web.Request) -> web.Response:
        return web.Response(body=COUNTERS)

    async with sending(silent=True) as silent, answering(respond) as port:
        pods = [pod_at(port, "answers"), *(pod_at(silent, f"silent-{number}") for number in range(3 * EACH))]
        pages = PodPages(may_ask=of_a_test, patience=timedelta(seconds=0.4), longest=timedelta(seconds=0.6))
        found = await pages.read(KEY, pods, ASKED)
    assert found["answers"] == Counters(7, 0, 0, 2)
    assert {why(page) for name, page in found.items() if name != "answers"} == {
        "it does not answer within 0.4s",
        "the time for reading all pods was over before it was read",
    }


async def test_other_deployments_are_read_while_many_have_silent_pods() -> None:
    async def respond(_: web.Request) -> web.Response:
        return web.Response(body=COUNTERS)

    pages = PodPages(may_ask=of_a_test, patience=timedelta(seconds=2), longest=timedelta(seconds=60))
    async with sending(silent=True) as silent, answering(respond) as port:
        swallowing = [pod_at(silent, f"silent-{number}") for number in range(200)]
        rogues = [asyncio.create_task(pages.read(Key("rogue", f"d-{one}"), swallowing, ASKED)) for one in range(40)]
        await asyncio.sleep(0)
        found = await pages.read(KEY, [pod_at(port, f"pod-{number}") for number in range(30)], ASKED)
        assert all(isinstance(page, Counters) for page in found.values())
        assert not any(rogue.done() for rogue in rogues)
        for rogue in rogues:
            rogue.cancel()
        await asyncio.gather(*rogues, return_exceptions=True)
    assert pages._places._free == 64
    assert not pages._places._held


async def taking(places: Places, key: Key, taken: list[Key], leave: asyncio.Event) -> None:
    async with places.one(key):
        taken.append(key)
        await leave.wait()


async def test_a_place_that_becomes_free_goes_to_the_namespace_and_then_the_deployment_with_fewest() -> None:
    places, taken = Places(total=3, each=3), list[Key]()
    one, another, other = Key("a", "1"), Key("a", "2"), Key("b", "1")
    leave = [asyncio.Event() for _ in range(6)]
    tasks = [
        asyncio.create_task(taking(places, key, taken, event))
        for key, event in zip((one, one, one, one, another, other), leave, strict=True)
    ]
    await asyncio.sleep(0.01)
    assert taken == [one, one, one]
    for number in range(3):
        leave[number].set()
        await asyncio.sleep(0.01)
    assert taken == [one, one, one, other, another, one]
    for event in leave:
        event.set()
    await asyncio.gather(*tasks)


async def test_nobody_has_more_places_than_one_may_have_and_none_is_lost_when_waiting_ends() -> None:
    places, taken = Places(total=3, each=2), list[Key]()
    key, leave = Key("a", "1"), asyncio.Event()
    tasks = [asyncio.create_task(taking(places, key, taken, leave)) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert taken == [key, key]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert places._free == 3
    assert not places._held
    assert not places._held_by_namespace
    async with places.one(Key("b", "1")):
        assert places._free == 2
    assert not places._waiting


async def calls_for(deployments: int, namespaces: int) -> int:
    """Calls of functions until pods of so many Deployments, which all wait at once, have each had a place."""
    places, calls = Places(total=8, each=2), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    async def one(number: int) -> None:
        async with places.one(Key(f"ns-{number % namespaces}", f"d-{number // 4}")):
            await asyncio.sleep(0)

    sys.setprofile(count)
    try:
        await asyncio.gather(*(one(number) for number in range(4 * deployments)))
    finally:
        sys.setprofile(None)
    assert places._free == 8
    assert not places._held
    assert not places._waiting
    assert not places._deployments
    return calls


@pytest.mark.parametrize("namespaces", [1, 7])
def test_what_a_place_costs_does_not_grow_with_those_who_wait(namespaces: int) -> None:
    loop = asyncio.new_event_loop()  # of its own: nothing else is counted
    once, twice = (loop.run_until_complete(calls_for(size, namespaces)) for size in (200, 400))
    loop.close()
    assert twice <= 2.5 * once


@given(st.lists(st.tuples(st.sampled_from("wwlc"), st.sampled_from("ab"), st.integers(0, 2)), max_size=60))
async def test_whoever_has_fewest_is_next_whatever_happens_between(steps: list[tuple[str, str, int]]) -> None:
    places, total, each = Places(total=3, each=2), 3, 2
    tasks: list[tuple[Key, asyncio.Task[None], asyncio.Event, list[Key]]] = []
    for what, namespace, name in steps:
        key = Key(namespace, str(name))
        mine = [one for one in tasks if one[0] == key and not one[1].done()]
        if what == "w":
            taken, leave = list[Key](), asyncio.Event()
            tasks.append((key, asyncio.create_task(taking(places, key, taken, leave)), leave, taken))
        elif what == "l" and mine:
            mine[0][2].set()
        elif what == "c" and mine:
            mine[-1][1].cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        alive = [one for one in tasks if not one[1].done()]
        held = [one[0] for one in alive if one[3]]
        waiting = {one[0] for one in alive if not one[3]}
        assert len(held) <= total
        assert all(held.count(key) <= each for key in held)
        assert len(held) == total or all(held.count(key) == each for key in waiting)  # no place is left unused
        assert places._free == total - len(held)
    for _, task, _, _ in tasks:
        task.cancel()
    await asyncio.gather(*(task for _, task, _, _ in tasks), return_exceptions=True)
    assert places._free == total
    assert not any((places._held, places._held_by_namespace, places._waiting, places._deployments))


def in_chunks(*sizes: int) -> bytes:
    """The page of COUNTERS in chunks of these sizes, and the rest in one."""
    left, sent = COUNTERS, b""
    for size in (*sizes, len(COUNTERS)):
        piece, left = left[:size], left[size:]
        if piece:
            sent += b"%X;why=not\r\n%b\r\n" % (len(piece), piece)
    return sent + b"0\r\nX-Trailer: y\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        [head(), COUNTERS],
        [head(f"content-length:{len(COUNTERS)}  "), COUNTERS, b"and more"],
        [b"HTTP/1.0 200\n\n", COUNTERS],
        [head("transfer-encoding: Chunked"), in_chunks()],
        [head(CHUNKED, "Content-Length: 3"), in_chunks(1, 2, 3), b"and more"],
        [head(CHUNKED), in_chunks(10).replace(b"\r\n", b"\n")],
    ],
)
async def test_a_page_is_read_however_it_is_framed_and_wherever_it_is_cut(sent: list[bytes]) -> None:
    whole = b"".join(sent)
    for parts in ([whole], [whole[:40], whole[40:]], [whole[at : at + 1] for at in range(len(whole))]):
        reader = answers.Reader()
        scan = Scan()

        async def feed(reader: answers.Reader = reader, parts: list[bytes] = parts) -> None:
            for part in parts:
                reader.feed_data(part)
                await asyncio.sleep(0)
            reader.feed_eof()

        feeding = asyncio.create_task(feed())
        _, headers = await answers.head(reader)
        await answers.body(reader, headers, MAX_BYTES, scan.pieces)
        assert scan.counters() == Counters(7, 0, 0, 2)
        await feeding
    async with sending(*sent) as port:
        assert await page_of(pod_at(port)) == Counters(7, 0, 0, 2)


@given(st.binary(max_size=200), st.sampled_from([b"", head(), head(CHUNKED), head("Content-Length: 20")]))
async def test_whatever_is_sent_is_read_or_refused(sent: bytes, first: bytes) -> None:
    reader = answers.Reader()
    reader.feed_data(first + sent)
    reader.feed_eof()
    with contextlib.suppress(answers.AnswerError, PageError):
        _, headers = await answers.head(reader)
        await answers.body(reader, headers, MAX_BYTES, Scan().pieces)


ENDLESS = {
    "answers of 1xx": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\n", b"a" * 1000),
    "a status line": (b"", b"a" * 1000),
    "chunks": (head(CHUNKED), b"1\r\n#\r\n"),
    "a chunk's extension": (head(CHUNKED) + b"1;", b"x" * 1000),
    "trailers": (head(CHUNKED) + b"0\r\n", b"a: b\r\n"),
    "a page": (head(), b"#\n"),
    "a page of a large length": (head(f"Content-Length: {10**15}"), b"#" * 100 + b"\n"),
}


@pytest.mark.parametrize("what", ENDLESS)
async def test_a_pod_that_sends_for_ever_is_left_after_a_bounded_number_of_bytes(what: str) -> None:
    first, again = ENDLESS[what]
    block = again * (2**16 // len(again))
    sent = 0
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            while True:
                writer.write(block)
                await writer.drain()
                sent += len(block)
        except ConnectionError:
            over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    page = await page_of(pod_at(server.sockets[0].getsockname()[1]), patience=timedelta(seconds=60))
    assert isinstance(page, Unread)
    assert "does not answer within" not in page.why
    await over.wait()
    server.close()
    assert sent < 4 * MAX_BYTES  # with what was in the kernel's buffers
