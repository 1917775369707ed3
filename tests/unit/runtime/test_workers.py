"""Several processes in one pod: connections, probes, and how they end."""

import json
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import httpx
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.neighbors import RadiusNeighborsClassifier

from tests.unit.runtime.pod import a_matrix_model, a_pod
from tests.unit.runtime.pooled import Pooled
from tests.unit.runtime.server import Server, a_store_with, serving, start
from tests.unit.runtime.test_hanging import HANGING, PROMPT, await_that, gated, predict_url
from tests.unit.runtime.test_serve import NO_NEIGHBORS
from upright.runtime import board as boards
from upright.runtime.board import Board
from upright.sources.page import Said, counters

ROWS = {"instances": [[6, 2, 1, 1]]}


def workers(server: Server) -> Sequence[int]:
    """The processes that serve."""
    first = server.process.pid
    return [int(child) for child in Path(f"/proc/{first}/task/{first}/children").read_text().split()]


def sockets(process: int) -> int:
    return sum(1 for file in Path(f"/proc/{process}/fd").iterdir() if str(file.readlink()).startswith("socket:"))


def termination(root: Path) -> dict[str, str]:
    message: dict[str, str] = json.loads((root / "termination-log").read_text())
    return message


def test_connections_that_come_at_once_are_shared_evenly_and_their_requests_counted_together(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    with (
        serving(pod, {**a_store_with(pod, a_matrix_model()), "UPRIGHT_WORKERS": "2"}) as server,
        ExitStack() as kept,
        ThreadPoolExecutor(8) as together,
    ):
        before = [sockets(worker) for worker in workers(server)]
        clients = [kept.enter_context(httpx.Client()) for _ in range(8)]

        answers = list(together.map(lambda client: client.post(predict_url(server), json=ROWS), clients))

        assert [answer.json() for answer in answers] == [{"predictions": [1]}] * 8
        assert [sockets(worker) - held for worker, held in zip(workers(server), before, strict=True)] == [4, 4]
        assert {sum_of_counts(client, server) for client in clients} == {8.0}, "every worker tells the sum"


def test_what_the_model_says_in_each_worker_is_counted_together(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    model = RadiusNeighborsClassifier().fit([[0.0], [1.0]], [0, 1])
    with serving(pod, {**a_store_with(pod, model), "UPRIGHT_WORKERS": "2"}) as server, ExitStack() as kept:
        for _ in range(8):
            client = kept.enter_context(httpx.Client())
            assert client.post(predict_url(server), json={"instances": [[99]]}).status_code == 500
        found = counters(server.client.get("/metrics").content)
    assert found.messages == {Said("ValueError", NO_NEIGHBORS, "1 row of 1 feature"): 8}
    assert found.reasons == {"ValueError": 8}


def sum_of_counts(client: httpx.Client, server: Server) -> float:
    page = client.get(f"{server.client.base_url}/metrics").raise_for_status().text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("upright_requests_total{"))


def test_a_worker_that_dies_ends_the_container_once_the_others_have_answered(tmp_path: Path) -> None:
    with gated(tmp_path, "60", UPRIGHT_WORKERS="2") as (server, gate), ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(httpx.post, predict_url(server), json=HANGING, timeout=60) for _ in range(2)]
        await_that(lambda: server.metric("upright_requests_in_progress") == 2)

        os.kill(workers(server)[0], signal.SIGSEGV)
        await_that(lambda: len(workers(server)) == 1)
        await_that(lambda: any(one.done() for one in asked))
        gate.unlink()

        failed = [one.exception() for one in asked]
        assert sorted(error is None for error in failed) == [False, True], "one was cut, the other is answered"
        assert server.process.wait(timeout=20) == 1
    assert termination(tmp_path) == {
        "reason": "WorkerEnded",
        "message": "A worker of the server was ended by SIGSEGV: what it was asked had no answer",
    }


def test_a_worker_that_stands_still_is_given_nothing_is_seen_by_the_probes_and_killed_in_the_end(
    tmp_path: Path,
) -> None:
    with gated(tmp_path, "1", UPRIGHT_WORKERS="2") as (server, _):
        os.kill(workers(server)[0], signal.SIGSTOP)
        await_that(lambda: probed(server, "/readyz") == 503)

        answers = [httpx.post(predict_url(server), json=PROMPT).status_code for _ in range(6)]

        assert answers == [200] * 6
        assert probed(server, "/livez") == 200, "for a while"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=20) == 0


def probed(server: Server, path: str) -> int | None:
    """As the kubelet does it: with a connection of its own. None: there is no answer."""
    try:
        return httpx.get(f"{server.client.base_url}{path}", timeout=2).status_code
    except httpx.TimeoutException:
        return None


def test_all_workers_must_be_ready_and_alive_and_what_one_says_is_believed_for_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(boards, "monotonic", lambda: now)
    board = Board(2)
    board.tell(0, ready=True, alive=True)
    assert not board.ready, "the other has yet to start"
    board.tell(1, ready=False, alive=True)
    assert (board.ready, board.alive) == (False, True)
    board.tell(1, ready=True, alive=True)
    assert (board.ready, board.alive, board.prompt(1)) == (True, True, True)

    now += 5
    board.tell(0, ready=True, alive=True)

    assert (board.ready, board.alive) == (False, True)
    assert (board.prompt(0), board.prompt(1)) == (True, False)
    now += 6
    board.tell(0, ready=True, alive=True)
    assert not board.alive


def test_when_stopped_under_load_no_worker_loses_a_request(tmp_path: Path) -> None:
    """Of a model that predicts in OpenMP's threads, which a process that has used them does not leave to its forks."""
    pod, begun = a_pod(tmp_path), [Event() for _ in range(6)]
    rows = [[i % 7, i % 5, i % 3, 1.0] for i in range(60)]
    model = HistGradientBoostingClassifier(max_iter=2).fit(rows, [int(a > b) for a, b, *_ in rows])
    with serving(pod, {**a_store_with(pod, model), "UPRIGHT_WORKERS": "2"}) as server:

        def until_sent_away(client: int) -> int:
            answered = 0
            with httpx.Client() as kept:
                while True:
                    answer = kept.post(predict_url(server), json=ROWS, timeout=20).raise_for_status()
                    answered += 1
                    begun[client].set()
                    if answer.headers.get("connection") == "close":
                        return answered

        with ThreadPoolExecutor(len(begun)) as clients:
            asked = [clients.submit(until_sent_away, client) for client in range(len(begun))]
            assert all(event.wait(20) for event in begun)
            server.process.send_signal(signal.SIGTERM)
            assert all(one.result() > 0 for one in asked)
        late = httpx.post(predict_url(server), json=ROWS).raise_for_status()
        assert late.headers["connection"] == "close", "who comes in the first moments is answered, too"
        assert server.process.wait(timeout=20) == 0
    assert "Traceback" not in server.log.read_text()


def test_what_cannot_be_loaded_is_said_as_one_process_says_it(tmp_path: Path) -> None:
    pod = a_pod(tmp_path)
    environment = {**a_store_with(pod, a_matrix_model()), "UPRIGHT_WORKERS": "2"}
    with (tmp_path / "serve.log").open("wb") as log:
        status = start({**environment, "UPRIGHT_ARTIFACT": str(tmp_path / "gone")}, log).wait(timeout=60)

    assert status == 3
    assert termination(tmp_path) == {
        "reason": "Missing",
        "message": f"The artifact of churn-7 is not in the store: there is no manifest.json in {tmp_path / 'gone'}",
    }


def test_a_model_that_starts_threads_when_it_is_loaded_is_loaded_by_each_worker(tmp_path: Path) -> None:
    with gated(tmp_path, "5", Pooled(), UPRIGHT_WORKERS="2") as (server, _):
        answers = [httpx.post(predict_url(server), json=PROMPT).json() for _ in range(4)]

    assert answers == [{"predictions": [1]}] * 4, "a fork has none of the threads, and would wait for them"
