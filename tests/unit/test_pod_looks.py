"""Looks at pods that answer over HTTP: raw deltas, reset-safe, and none when a version is missing."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest
from aiohttp import web

from tests.unit.builders import NOW, a_pod, after
from upright.analysis import Counts, Look
from upright.contract import Key, Manifest
from upright.sources.pods import PodLooks, Reading, reading

INTERVAL = timedelta(seconds=5)


class APod:
    """A server with the counters of a serving pod."""

    def __init__(self, name: str, port: int) -> None:
        self.counters: dict[str, int] | None = {"2xx": 0, "4xx": 0, "5xx": 0}
        pod = a_pod(name, podIP="127.0.0.1")
        self.manifest: Manifest = {
            **pod,
            "spec": {"containers": [{"ports": [{"name": "http", "containerPort": port}]}]},
        }

    async def metrics(self, _: web.Request) -> web.Response:
        if self.counters is None:
            raise web.HTTPServiceUnavailable
        lines = [
            f'upright_requests_total{{code="{code}",model="m",version="v"}} {count}'
            for code, count in self.counters.items()
        ]
        return web.Response(text="# TYPE upright_requests_total counter\n" + "\n".join(lines) + "\n")


@pytest.fixture
async def pods(unused_tcp_port_factory: Callable[[], int]) -> AsyncIterator[dict[str, APod]]:
    made, runners = {}, []
    for name in ("canary", "stable", "another"):
        port = unused_tcp_port_factory()
        pod = made[name] = APod(name, port)
        app = web.Application()
        app.router.add_get("/metrics", pod.metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        runners.append(runner)
    yield made
    for runner in runners:
        await runner.cleanup()


async def look(
    source: PodLooks, canary: Sequence[APod], stable: Sequence[APod], seconds: float, recorded: float | None = None
) -> Sequence[Look]:
    arms = {"canary": [pod.manifest for pod in canary], "stable": [pod.manifest for pod in stable]}
    now = after(seconds=seconds)
    looks, _ = await source.since(Key("shop", "churn"), "rollout", arms, ["errors"], INTERVAL, recorded, now)
    return looks


def counts(looks: Sequence[Look]) -> list[object]:
    return [look.measurements["errors"] for look in looks]


async def test_a_look_is_what_was_added_since_the_last_one(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    stable.counters = {"2xx": 1000, "5xx": 10}
    assert not await look(source, [], [stable], 0)
    stable.counters = {"2xx": 1090, "5xx": 11}
    canary.counters = {"2xx": 8, "4xx": 5, "5xx": 2}
    taken = await look(source, [canary], [stable], 5)
    assert counts(taken) == [Counts(canary=(10, 2), stable=(91, 1))]


async def test_looks_are_handed_out_until_they_are_recorded(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    for number in range(4):
        taken = await look(source, [canary], [stable], 5 * number)
    assert len(taken) == 3
    assert len(await look(source, [canary], [stable], 16, recorded=taken[1].time)) == 1


async def test_between_two_looks_nothing_is_read(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    first = await look(source, [canary], [stable], 5)
    assert await look(source, [canary], [stable], 9) == first


async def test_without_one_of_the_versions_there_is_no_look(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    stable.counters = None
    assert not await look(source, [canary], [stable], 5)


async def test_what_a_new_canary_counted_waits_for_the_first_look(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    canary.counters = {"2xx": 5, "5xx": 5}
    assert not await look(source, [canary], [stable], 0)
    taken = await look(source, [canary], [stable], 5)
    assert counts(taken) == [Counts(canary=(10, 5), stable=(0, 0))]


async def test_after_a_restart_of_the_operator_nothing_counts_twice(pods: dict[str, APod]) -> None:
    canary, stable = pods["canary"], pods["stable"]
    canary.counters = {"2xx": 500, "5xx": 50}
    source = PodLooks()
    assert not await look(source, [canary], [stable], 0, recorded=NOW.timestamp() - 5)
    canary.counters = {"2xx": 510, "5xx": 50}
    taken = await look(source, [canary], [stable], 5, recorded=NOW.timestamp() - 5)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(0, 0))]


async def test_pods_of_a_version_are_summed_and_one_that_does_not_answer_is_left_out(pods: dict[str, APod]) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    stable.counters, another.counters = {"2xx": 3, "5xx": 1}, {"2xx": 4, "5xx": 0}
    taken = await look(source, [canary], [stable, another], 5)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(8, 1))
    another.counters = None
    taken = await look(source, [canary], [stable, another], 10)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(0, 0))


def test_a_counter_that_went_back_began_anew() -> None:
    assert Reading(7, 1).since(Reading(100, 3)) == Reading(7, 1)


def test_a_page_without_our_counter_says_nothing() -> None:
    assert reading("# TYPE other counter\nother_total 3\n") is None
