"""Models that do not come back: what clients, probes and the operator see of them."""

import asyncio
import json
import signal
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import httpx
import joblib
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import ClientDisconnect, Request

from tests.unit.runtime.gate import Slow, gated_by
from tests.unit.runtime.pod import a_pod
from tests.unit.runtime.server import Server, serving
from upright.runtime.publish import publish
from upright.runtime.threads import OverloadedError, PredictionThreads

HANGING, PROMPT = {"instances": [[99]]}, {"instances": [[1]]}
READINESS = ("/readyz", "/v2/health/ready", "/v2/models/churn/ready", "/v2/models/churn/versions/churn-7/ready")
LIVENESS = ("/livez", "/healthz", "/v2/health/live")


@contextmanager
def gated(root: Path, timeout: str, model: Any = None, **environment: str) -> Iterator[tuple[Server, Path]]:
    """A server, and the file whose removal lets its model go on, if it is that of the gate."""
    pod, gate = a_pod(root), root / "gate"
    gate.touch()
    joblib.dump(model or gated_by(gate), pod.output / "model.joblib")
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    report = publish(pod.variables)
    served = {
        "UPRIGHT_ARTIFACT": str(pod.store / report.uri.removeprefix("pvc://models/")),
        "UPRIGHT_DIGEST": report.digest,
        "UPRIGHT_MODEL": "churn",
        "UPRIGHT_MODEL_VERSION": "churn-7",
        "UPRIGHT_ALLOWED_FORMATS": "joblib",
        "UPRIGHT_TERMINATION_LOG": str(root / "termination-log"),
        "UPRIGHT_TIMEOUT": timeout,
    }
    with serving(pod, {**served, **environment}) as server:
        yield server, gate


def await_that(condition: Callable[[], bool]) -> None:
    end = monotonic() + 60
    while not condition():
        assert monotonic() < end
        sleep(0.02)


def statuses(server: Server, paths: tuple[str, ...]) -> set[int]:
    return {server.client.get(path).status_code for path in paths}


def in_progress(server: Server) -> float:
    return server.metric("upright_requests_in_progress", model="churn", version="churn-7")


def counted(server: Server, code: str) -> float:
    return server.metric("upright_requests_total", code=code)


def test_what_hangs_is_answered_and_counted_and_seen_in_readiness_while_no_thread_is_free(tmp_path: Path) -> None:
    with gated(tmp_path, "0.5") as (server, gate):
        response = server.predict(HANGING)

        assert response.status_code == 504
        assert response.json() == {"error": "the model has not answered this request within 0.5 seconds"}
        assert response.headers["upright-model-version"] == "churn-7"
        assert (counted(server, "2xx"), counted(server, "5xx"), in_progress(server)) == (0, 1, 0)
        assert server.predict(HANGING).status_code == 504
        assert statuses(server, READINESS) == {200}, "the first has hung for twice the timeout, and is alone in that"
        assert server.predict(PROMPT).json() == {"predictions": [1]}, "other requests are answered all the same"

        assert [server.predict(HANGING).status_code for _ in range(2)] == [504] * 2
        await_that(lambda: statuses(server, READINESS) == {503})
        assert statuses(server, LIVENESS) == {200}
        gate.unlink()
        await_that(lambda: statuses(server, READINESS) == {200})


def test_a_pod_whose_model_hangs_for_good_blocks_nobody_is_restarted_and_ends_when_told_to(tmp_path: Path) -> None:
    with gated(tmp_path, "0.3") as (server, _):
        with ThreadPoolExecutor(12) as clients:
            answers = list(clients.map(lambda _: httpx.post(predict_url(server), json=HANGING).status_code, range(12)))

        assert answers == [504] * 12
        assert server.predict(PROMPT).status_code == 504, "no thread is free, and the answer comes nevertheless"
        await_that(lambda: statuses(server, LIVENESS) == {503})
        assert (counted(server, "5xx"), in_progress(server)) == (13, 0)
        assert server.metric("upright_failures_total", reason="Timeout") == 13
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=20)


def predict_url(server: Server) -> str:
    return f"{server.client.base_url}/v1/models/churn:predict"


def test_what_went_in_and_has_not_come_out_is_told(tmp_path: Path) -> None:
    with gated(tmp_path, "60") as (server, gate):
        assert in_progress(server) == 0
        with ThreadPoolExecutor(6) as clients:
            asked = [clients.submit(httpx.post, predict_url(server), json=HANGING, timeout=60) for _ in range(6)]
            await_that(lambda: in_progress(server) == 6)
            assert statuses(server, (*READINESS, *LIVENESS)) == {200}, "they may just take long"
            gate.unlink()
            assert [answer.result().status_code for answer in asked] == [200] * 6
        assert (counted(server, "2xx"), in_progress(server)) == (6, 0)


def test_a_client_that_goes_away_while_the_model_works_counts_as_it_was_answered(tmp_path: Path) -> None:
    with gated(tmp_path, "60") as (server, gate):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(predict_url(server), json=HANGING, timeout=0.5)
        await_that(lambda: in_progress(server) == 1)

        gate.unlink()

        await_that(lambda: counted(server, "2xx") == 1)
        assert (counted(server, "5xx"), counted(server, "4xx"), in_progress(server)) == (0, 0, 0)


@contextmanager
def all_threads_hang(server: Server) -> Iterator[list[Future[httpx.Response]]]:
    """Requests that take all of the server's threads until its gate opens."""
    with ThreadPoolExecutor(4) as clients:
        asked = [clients.submit(httpx.post, predict_url(server), json=HANGING, timeout=60) for _ in range(4)]
        await_that(lambda: in_progress(server) == 4)
        yield asked


def test_a_client_that_goes_away_before_its_turn_counts_nothing_and_is_nothing_to_the_model(tmp_path: Path) -> None:
    with gated(tmp_path, "60") as (server, gate):
        with all_threads_hang(server) as asked:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(predict_url(server), json={"instances": [[5]] * 1000}, timeout=0.5)
            await_that(lambda: in_progress(server) == 5)
            gate.unlink()
            assert [answer.result().status_code for answer in asked] == [200] * 4

        await_that(lambda: in_progress(server) == 0)
        assert [counted(server, code) for code in ("2xx", "4xx", "5xx")] == [4, 0, 0]
        assert server.metric("upright_predictions_total") == 4
        assert "Traceback" not in server.log.read_text()


def test_what_finds_no_place_in_line_is_told_to_come_later_and_is_no_error_of_the_model(tmp_path: Path) -> None:
    with gated(tmp_path, "60", UPRIGHT_QUEUE="1") as (server, gate), ThreadPoolExecutor(1) as client:
        with all_threads_hang(server):
            waiting = client.submit(httpx.post, predict_url(server), json=PROMPT, timeout=60)
            await_that(lambda: in_progress(server) == 5)

            refused = server.predict(PROMPT)

            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json() == {
                "error": "the model has 1 waiting already, as many as may (serving.queue); try again later"
            }
            gate.unlink()
        assert waiting.result().status_code == 200
        assert [counted(server, code) for code in ("2xx", "4xx", "5xx", "overload")] == [5, 0, 0, 1]
        assert server.metric("upright_request_duration_seconds_count") == 5


@pytest.mark.parametrize("batching", [{}, {"UPRIGHT_BATCH_ROWS": "1"}], ids=["alone", "batching"])
def test_what_waits_for_its_turn_in_vain_behind_a_model_that_is_slow_and_well_is_no_error(
    batching: dict[str, str], tmp_path: Path
) -> None:
    """Each call takes a third of the timeout, and four run at once: of 24 requests at least half have no turn."""
    with gated(tmp_path, "1.5", Slow(), **batching) as (server, _), ThreadPoolExecutor(24) as clients:
        given = list(clients.map(server.predict, [PROMPT] * 24))
        waited = [one for one in given if one.status_code != 200]
        assert {one.status_code for one in waited} == {503}
        assert waited[0].json()["error"] == (
            "the model has had others to answer for 1.5 seconds (serving.timeout); try again later"
        )
        assert waited[0].headers["retry-after"] == "1"
        assert (counted(server, "overload"), counted(server, "5xx")) == (len(waited), 0)


def test_a_client_that_goes_away_before_a_turn_that_does_not_come_in_time_counts_as_an_error(tmp_path: Path) -> None:
    with gated(tmp_path, "2") as (server, _):
        with all_threads_hang(server) as asked:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(predict_url(server), json=PROMPT, timeout=0.1)
            assert [answer.result().status_code for answer in asked] == [504] * 4

        await_that(lambda: counted(server, "5xx") == 5)


def test_a_request_that_is_not_whole_is_no_request_of_a_model_s(tmp_path: Path) -> None:
    with gated(tmp_path, "0.5") as (server, _):
        address = (str(server.client.base_url.host), int(server.client.base_url.port or 0))
        with socket.create_connection(address) as client:
            client.sendall(b"POST /v1/models/churn:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            server.predict(PROMPT)
            assert in_progress(server) == 0
        with socket.create_connection(address) as client:
            body = json.dumps(PROMPT).encode()
            head = b"POST /v1/models/churn:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            client.sendall(head + body[:5])
            sleep(1)  # longer than the timeout: how slowly a client sends says nothing of the model
            client.sendall(body[5:])
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")

        assert (counted(server, "2xx"), counted(server, "4xx"), counted(server, "5xx")) == (2, 0, 0)
        assert server.metric("upright_request_duration_seconds_sum") < 0.9


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_timeout_that_is_none_is_refused(timeout: str, tmp_path: Path) -> None:
    from upright.runtime.outcome import RefusedError
    from upright.runtime.serve import serve

    with pytest.raises(RefusedError, match="UPRIGHT_TIMEOUT must be a positive number of seconds; it is "):
        serve({"UPRIGHT_TIMEOUT": timeout})


async def test_what_waits_for_a_thread_is_bounded_and_what_nobody_waits_for_is_never_done() -> None:
    threads, gate, done = PredictionThreads(1, waiting=2), threading.Event(), list[Any]()
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    first = asyncio.create_task(threads.run(lambda: loop.call_soon_threadsafe(begun.set) and gate.wait()))
    await begun.wait()
    waiting = [asyncio.create_task(threads.run(lambda: done.append(1), 0.05)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await threads.run(lambda: done.append(1))
    assert [type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == [OverloadedError] * 2

    gate.set()
    assert await first
    assert await threads.run(lambda: 7, 60) == 7
    assert done == []
    assert threads.stuck_for() == 0


class Large:
    """What a request brings along."""


@pytest.mark.parametrize("end", [OverloadedError, asyncio.CancelledError])
async def test_what_nobody_waits_for_is_kept_by_nobody_wherever_it_stands_in_line(end: type[BaseException]) -> None:
    threads, gate = PredictionThreads(1, waiting=3), threading.Event()
    kept = list[weakref.ref[Large]]()

    def asked(timeout: float) -> asyncio.Task[bool]:
        large = Large()
        kept.append(weakref.ref(large))
        return asyncio.create_task(threads.run(lambda: bool(large) and gate.wait(), timeout))

    working = asked(60)
    await until(lambda: threads.stuck_for() > 0)
    first, given_up, last = asked(60), asked(0.01 if end is OverloadedError else 60), asked(60)
    await asyncio.sleep(0)
    if end is asyncio.CancelledError:
        given_up.cancel()
    with pytest.raises(end):
        await given_up
    del given_up

    assert [each() is not None for each in kept] == [True, True, False, True]
    another = asked(60)
    await asyncio.sleep(0)
    gate.set()
    assert all(await asyncio.gather(working, first, last, another)), "its place is free again"


async def test_the_body_of_a_client_that_is_gone_is_let_go_at_once_and_the_model_never_sees_it() -> None:
    from upright.runtime.answering import Answering
    from upright.runtime.measurements import CountedRequest
    from upright.runtime.service import Beside, _Routes
    from upright.runtime.traffic import COUNTED

    threads, gate, gone = PredictionThreads(1, waiting=2), threading.Event(), asyncio.Event()
    served: Any = SimpleNamespace(model="churn", version="churn-7", predictor=SimpleNamespace(signature=None))
    nothing_is_measured: Any = None
    answering = Answering(served, threads, 60, nothing_is_measured)
    routes = _Routes(answering, CollectorRegistry(), Beside())
    coming = iter([{"type": "http.request", "body": b"x" * 1000, "more_body": False}])

    async def receive() -> Any:
        for message in coming:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    working = asyncio.create_task(threads.run(gate.wait))
    await until(lambda: threads.stuck_for() > 0)
    scope = {"type": "http", "method": "POST", "headers": [], COUNTED: CountedRequest(nothing_is_measured)}
    asked = asyncio.create_task(routes._predict(Request(scope, receive)))
    await until(lambda: answering.room.taken == 1000)

    gone.set()

    await until(lambda: answering.room.taken == 0)
    assert not asked.done(), "its place in line is kept"
    gate.set()
    assert await working
    with pytest.raises(ClientDisconnect):
        await asked


async def test_a_call_that_takes_long_says_nothing_of_the_model_while_others_could_come_back() -> None:
    threads, gates, begun = PredictionThreads(2, waiting=9), [threading.Event() for _ in range(2)], threading.Event()

    def first() -> bool:
        begun.set()
        return gates[0].wait()

    slow = [asyncio.create_task(threads.run(first))]
    await until(begun.is_set)
    assert threads.stuck_for() == 0, "whether anybody else asks or not"
    assert await threads.run(lambda: 1) == 1
    assert threads.stuck_for() == 0
    slow.append(asyncio.create_task(threads.run(gates[1].wait)))
    await until(lambda: threads.stuck_for() > 0)
    gates[0].set()
    await until(lambda: threads.stuck_for() == 0)
    gates[1].set()
    await asyncio.gather(*slow)


async def test_what_a_call_raises_is_its_caller_s() -> None:
    threads = PredictionThreads(1, waiting=1)

    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(lambda: 1) == 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - threads say so
            await asyncio.sleep(0.01)
