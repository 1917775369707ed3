"""Looks at pods that answer over HTTP: raw increases, none without both versions, no trust in pods or clocks."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import pytest
from aiohttp import web

from tests.unit.builders import NOW, a_pod, after
from upright.analysis import Counts, Look
from upright.analysis.counters import GAP, STRANGE, TORN
from upright.contract import Key, Manifest
from upright.sources.pods import SILENT, PodLooks, counters

INTERVAL = timedelta(seconds=5)


class APod:
    """A server with the counters of a serving pod."""

    def __init__(self, name: str, port: int) -> None:
        self.counters: dict[str, float] | None = {"2xx": 0, "4xx": 0, "5xx": 0}
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
    looks, again = await source.since(Key("shop", "churn"), "rollout", arms, ["errors"], INTERVAL, recorded, now)
    assert timedelta(0) <= again <= INTERVAL
    return looks


def counts(looks: Sequence[Look]) -> list[object]:
    return [look.measurements.get("errors") for look in looks]


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


async def test_without_one_of_the_versions_there_are_no_counts_but_a_reason(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    stable.counters = None
    [taken] = await look(source, [canary], [stable], 5)
    assert (taken.measurements, taken.left_out) == ({}, {"stable": SILENT})


async def test_a_pod_that_is_not_ready_need_not_answer(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    canary.counters = None
    canary.manifest["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    await look(source, [canary], [stable], 0)
    assert not await look(source, [canary], [stable], 5)


async def test_what_both_versions_counted_waits_for_a_look_that_can_be_taken(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    await look(source, [canary], [stable], 5)
    canary.counters, stable.counters = {"2xx": 7, "5xx": 1}, None
    assert not (await look(source, [canary], [stable], 10))[-1].measurements
    canary.counters, stable.counters = {"2xx": 14, "5xx": 1}, {"2xx": 140, "5xx": 2}
    taken = await look(source, [canary], [stable], 15)
    assert counts(taken)[-1] == Counts(canary=(15, 1), stable=(142, 2))


async def test_what_the_stable_version_counted_before_there_was_a_canary_is_not_compared_with_it(
    pods: dict[str, APod],
) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    for number in range(4):
        stable.counters = {"2xx": 100 * number}
        await look(source, [], [stable], 5 * number)
    stable.counters, canary.counters = {"2xx": 310, "5xx": 5}, {"2xx": 1, "5xx": 1}
    assert counts(await look(source, [canary], [stable], 20)) == [Counts(canary=(2, 1), stable=(15, 5))]


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


async def test_a_pod_that_answers_again_soon_counts_since_its_last_answer(pods: dict[str, APod]) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    another.counters = None
    await look(source, [canary], [stable, another], 5)
    another.counters = {"2xx": 6, "5xx": 2}
    taken = await look(source, [canary], [stable, another], 10)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(8, 2))


async def test_a_pod_that_was_silent_for_long_begins_again(pods: dict[str, APod]) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    another.counters = None
    for number in range(1, 10):
        await look(source, [canary], [stable, another], 5 * number)
    another.counters = {"2xx": 600, "5xx": 200}
    taken = await look(source, [canary], [stable, another], 50)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(0, 0))
    assert taken[-1].left_out == {"another": GAP}
    another.counters = {"2xx": 607, "5xx": 201}
    taken = await look(source, [canary], [stable, another], 55)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(8, 1))
    assert taken[-1].left_out == {}


@pytest.mark.parametrize(
    ("reported", "why"),
    [
        ({"2xx": 100, "5xx": 1}, TORN),
        ({"2xx": math.nan, "5xx": 5}, STRANGE),
        ({"2xx": 100, "5xx": math.inf}, STRANGE),
        ({"2xx": -1, "5xx": 5}, STRANGE),
        (None, SILENT),
    ],
)
async def test_a_pod_that_misreports_is_left_out_and_named_and_is_well_again_when_its_counters_are(
    pods: dict[str, APod], reported: dict[str, float] | None, why: str
) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    another.counters = {"2xx": 10, "5xx": 5}
    await look(source, [canary], [stable, another], 0)
    another.counters, stable.counters = reported, {"2xx": 9, "5xx": 1}
    taken = await look(source, [canary], [stable, another], 5)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(10, 1))
    assert taken[-1].left_out == {"another": why}
    another.counters = {"2xx": 110, "5xx": 5}
    taken = await look(source, [canary], [stable, another], 10)
    # torn counters are where to begin again, what is no number tells nothing
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(14, 4) if why == TORN else (100, 0))
    assert taken[-1].left_out == {}


async def test_new_pods_and_those_that_are_not_yet_or_no_longer_to_answer_are_nothing_to_tell(
    pods: dict[str, APod],
) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    pending, ending = APod("pending", 1), APod("ending", 1)
    pending.manifest["status"]["phase"] = "Pending"
    ending.manifest["metadata"]["deletionTimestamp"] = NOW.isoformat()
    await look(source, [canary], [stable], 0)
    [taken] = await look(source, [canary, pending], [stable, another, ending], 5)
    assert taken.left_out == {}


async def test_a_candidate_whose_first_numbers_make_no_sense_still_counts_from_its_start(pods: dict[str, APod]) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable], 0)
    another.counters = {"2xx": math.nan}
    await look(source, [canary, another], [stable], 5)
    another.counters = {"2xx": 4, "5xx": 3}
    taken = await look(source, [canary, another], [stable], 10)
    assert counts(taken)[-1] == Counts(canary=(7, 3), stable=(0, 0))


async def test_the_order_of_pods_changes_nothing(pods: dict[str, APod]) -> None:
    canary, stable, another = pods["canary"], pods["stable"], pods["another"]
    silent = [APod("silent-1", 1), APod("silent-2", 1)]
    one, other = PodLooks(), PodLooks()
    for number in range(3):
        stable.counters, another.counters = {"2xx": 10 * number}, {"2xx": 10 * number, "5xx": 5 - number}
        first = await look(one, [canary], [stable, another, *silent], 5 * number)
        second = await look(other, [canary], [*reversed(silent), another, stable], 5 * number)
    assert first == second
    assert list(first[-1].left_out) == list(second[-1].left_out) == ["another", "silent-1", "silent-2"]


async def test_after_an_hour_without_looks_one_is_skipped(pods: dict[str, APod]) -> None:
    """The operator slept, or the clock was put forward: it is the same to see."""
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    canary.counters = {"2xx": 500, "5xx": 400}
    [skipped] = await look(source, [canary], [stable], 3600)
    assert (skipped.measurements, skipped.left_out) == ({}, {"canary": GAP, "stable": GAP})
    canary.counters = {"2xx": 504, "5xx": 401}
    [_, taken] = await look(source, [canary], [stable], 3605)
    assert counts([taken]) == [Counts(canary=(5, 1), stable=(0, 0))]


async def test_looks_go_on_when_the_clock_is_put_back(pods: dict[str, APod]) -> None:
    source, canary, stable = PodLooks(), pods["canary"], pods["stable"]
    for number, seconds in enumerate((0, 5, -3600, -3595, 20)):
        canary.counters = {"2xx": 10 * number}
        taken = await look(source, [canary], [stable], seconds)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(0, 0))] * 4
    assert [one.time - NOW.timestamp() for one in taken] == [5, 10, 15, 20]


async def test_looks_go_on_after_the_recorded_one_when_the_clock_is_put_back_during_a_restart(
    pods: dict[str, APod],
) -> None:
    source, canary, stable, recorded = PodLooks(), pods["canary"], pods["stable"], NOW.timestamp()
    for number in range(3):
        canary.counters = {"2xx": 10 * number}
        taken = await look(source, [canary], [stable], 5 * number - 3600, recorded)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(0, 0))] * 2
    assert recorded < taken[0].time < taken[1].time


def test_a_page_without_our_counter_says_nothing() -> None:
    assert counters("# TYPE other counter\nother_total 3\n") is None


async def test_a_page_that_is_no_metrics_is_no_answer(pods: dict[str, APod]) -> None:
    source, canary, stable, another = PodLooks(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    another.counters = {'2xx", ="': 1}
    [taken] = await look(source, [canary], [stable, another], 5)
    assert taken.left_out == {"another": SILENT}


def test_a_count_below_zero_does_not_hide_in_a_sum() -> None:
    page = "# TYPE upright_requests_total counter\n" + "".join(
        f'upright_requests_total{{code="2xx",model="{model}"}} {count}\n' for model, count in (("a", -1), ("b", 5))
    )
    assert math.isnan((counters(page) or (0, 0))[0])
