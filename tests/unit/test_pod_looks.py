"""Looks at pods that answer over HTTP: raw increases, none without both versions, no trust in pods or clocks."""

import math
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from tests.unit.analysis.builders import EXACT, a_metric, a_policy
from tests.unit.builders import NOW, a_pod, after
from tests.unit.rollout.world import LONG_AGO, both, condition, in_canary, measured, observed, then
from upright.analysis import Counts, Look
from upright.analysis.counters import GAP, STRANGE
from upright.api import names
from upright.contract import Key, Manifest
from upright.pods.reading import Pod, read
from upright.rollout.measuring import ArmName, Asked, Frequent, Measurement
from upright.rollout.plan import plan
from upright.rollout.verdict import analyse
from upright.sources.comparison import MOST_RECENT, WATCHED, Comparison
from upright.sources.complaints import Complaints
from upright.sources.page import MOST_REASONS, Counters, Said
from upright.sources.pods import PodPages, Unread
from upright.sources.remembered import Remembered
from upright.sources.starts import Begun
from upright.sources.tally import Tally
from upright.sources.unmeasured import IN_PARTS
from upright.sources.unmeasured import TORN as BACKWARDS
from upright.sources.unrecorded import MOST_LOOKS

INTERVAL = timedelta(seconds=5)
KEY = Key("shop", "churn")
AT_FIRST = after(seconds=5)
UNAVAILABLE = "it answers GET /metrics with status 503"


class APod:
    """A server with the counters of a serving pod."""

    def __init__(self, name: str, port: int) -> None:
        self.counters: dict[str, float] | None = {"2xx": 0, "4xx": 0, "5xx": 0}
        self.reasons: dict[str, float] = {}
        self.messages: dict[tuple[str, str, str], float] = {}
        """By reason, message and example."""
        self.refusals: dict[str, float] = {}
        """By reason and, behind a colon, feature."""
        pod = a_pod(name, podIP="127.0.0.1", labels={names.VERIFIES: "true"})
        pod["metadata"]["creationTimestamp"] = NOW.isoformat()  # before the first look
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
        lines += [
            f'upright_failures_total{{model="m",reason="{reason}",version="v"}} {count}'
            for reason, count in self.reasons.items()
        ]
        lines += [
            f'upright_failure_messages_total{{reason="{reason}",message="{message}",example="{example}"}} {count}'
            for (reason, message, example), count in self.messages.items()
        ]
        lines += [
            'upright_refusals_total{{feature="{1}",model="m",reason="{0}",version="v"}} {2}'.format(
                *why.split(":"), count
            )
            for why, count in self.refusals.items()
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


class Looking:
    """Takes looks when it is told to."""

    def __init__(self) -> None:
        self.pages = PodPages(may_ask=lambda _: True)
        self.comparison: Comparison | None = None


async def look(
    source: Looking,
    canary: Sequence[APod],
    stable: Sequence[APod],
    seconds: float,
    recorded: float | None = None,
    *,
    resumed: bool = False,
) -> Sequence[Look]:
    asked = Asked(
        comparison="rollout",
        policy=a_policy(interval=INTERVAL),
        pods={"canary": [read(pod.manifest) for pod in canary], "stable": [read(pod.manifest) for pod in stable]},
        after=recorded,
        resumed=resumed or recorded is not None,
    )
    comparison = source.comparison = source.comparison or Comparison(asked)
    comparison.recorded(recorded)
    pages = await source.pages.read(KEY, comparison.to_read(asked), asked)
    comparison.take(asked, pages, after(seconds=seconds))
    return tuple(comparison.looks)


async def arms_of(pods: dict[str, APod], code: str) -> Mapping[ArmName, Measurement]:
    """What a look says of both versions, of whose requests 5 of 13 ended so in each pod."""
    source = Looking()
    for pod in pods.values():
        pod.counters = {"2xx": 8, code: 5}
    await look(source, [pods["canary"], pods["another"]], [pods["stable"]], 0)
    assert source.comparison
    return source.comparison.arms


def counts(looks: Sequence[Look]) -> list[object]:
    return [look.measurements.get("errors") for look in looks]


async def test_a_look_is_what_was_added_since_the_last_one(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    stable.counters = {"2xx": 1000, "5xx": 10}
    assert not await look(source, [], [stable], 0)
    stable.counters = {"2xx": 1090, "5xx": 11}
    canary.counters = {"2xx": 8, "4xx": 2, "overload": 3, "5xx": 2}
    taken = await look(source, [canary], [stable], 5)
    assert counts(taken) == [Counts(canary=(10, 2), stable=(91, 1), refused=(5, 0))]


async def test_halves_of_the_stable_pods_come_with_a_look_that_is_compared(pods: dict[str, APod]) -> None:
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [], [stable, another], 0)
    stable.counters, another.counters = {"2xx": 90, "5xx": 1}, {"2xx": 80, "5xx": 3}
    canary.counters = {"2xx": 8, "5xx": 2}
    (taken,) = await look(source, [canary], [stable, another], 5)
    assert taken.measurements["errors"] == Counts(canary=(10, 2), stable=(174, 4))
    assert taken.halves["errors"] == Counts(canary=(83, 3), stable=(91, 1))  # in the order of their names


@pytest.mark.parametrize(
    ("first", "second", "failing"),
    [
        ({"ValueError": 3, "Timeout": 2}, {"Timeout": 2}, "Timeout"),
        ({"ValueError": 3, "Timeout": 2}, {}, "ValueError"),
        ({}, {}, ""),
        ({"Ask <b>me</b>": 9, "x" * 65: 9, "KeyError": -1}, {"Fine": 1}, "Fine"),  # whatever a pod says is not told
        ({f"E{n}": 1 for n in range(40)}, {"E39": 50}, "E39"),
    ],
)
async def test_with_what_most_failed_is_said_of_an_arm(
    pods: dict[str, APod], first: dict[str, float], second: dict[str, float], failing: str
) -> None:
    pods["canary"].reasons, pods["another"].reasons = first, second
    arms = await arms_of(pods, "5xx")
    assert what(arms["canary"].failing) == failing
    assert arms["stable"].failing is None


def what(found: Frequent | None) -> str:
    return found.what if found else ""


NAN, FEE = ("ValueError", "Input contains NaN.", "1 row of 4 features"), ("KeyError", "'fee'", "2 rows of 4 features")


@pytest.mark.parametrize(
    ("first", "second", "reasons", "failing"),
    [
        ({NAN: 3, FEE: 2}, {}, {"ValueError": 3, "KeyError": 2}, Frequent("ValueError", 3, 10, *NAN[1:])),
        ({NAN: 3, FEE: 2}, {FEE: 2}, {"ValueError": 3, "KeyError": 4}, Frequent("KeyError", 4, 10, *FEE[1:])),
        # another worker of a pod has another example
        ({FEE: 2, (*FEE[:2], "9 rows"): 2, NAN: 3}, {}, {}, Frequent("KeyError", 4, 10, *FEE[1:])),
        # of most nothing more is said than with what they failed
        ({NAN: 3}, {}, {"ValueError": 4, "Timeout": 6}, Frequent("Timeout", 6, 10)),
        ({NAN: 3}, {}, {"ValueError": 9}, Frequent("ValueError", 6, 10)),
        ({NAN: 3}, {}, {"ValueError": 5}, Frequent("ValueError", 3, 10, *NAN[1:])),
        # more than failed: a page is made while it counts
        ({NAN: 12}, {}, {"ValueError": 12}, Frequent("ValueError", 12, 12, *NAN[1:])),
        # whatever a pod says is not told
        ({("KeyError", "<!channel> look", ""): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        ({("KeyError", "fine", "<b>"): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        ({("KeyError", "see https://evil.example", ""): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        ({("KeyError", "fine", "e" * 76): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        ({("KeyError", "m" * 301, ""): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        ({("KeyError", "\u202eleft", ""): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        ({("Ask me", "now", ""): 9, ("E", "\x1b[31m", ""): 9, NAN: 1}, {}, {}, Frequent("ValueError", 1, 10, *NAN[1:])),
        (
            {("E", "one", ""): math.inf, ("E", "two", ""): math.nan, NAN: 1},
            {},
            {},
            Frequent("ValueError", 1, 10, *NAN[1:]),
        ),
    ],
)
async def test_what_the_model_said_is_told_with_how_many_failed_so(
    pods: dict[str, APod],
    first: dict[tuple[str, str, str], float],
    second: dict[tuple[str, str, str], float],
    reasons: dict[str, float],
    failing: Frequent,
) -> None:
    pods["canary"].messages, pods["another"].messages = first, second
    pods["canary"].reasons = reasons
    assert (await arms_of(pods, "5xx"))["canary"].failing == failing


async def test_what_was_said_before_the_comparison_is_not_told(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    canary.counters, canary.reasons, canary.messages = {"2xx": 0, "5xx": 90}, {"KeyError": 90}, {FEE: 90}
    canary.refusals = {"WrongType:age": 40}
    await look(source, [canary], [stable], 0, resumed=True)
    assert source.comparison
    assert source.comparison.arms["canary"].failing is None
    assert source.comparison.arms["canary"].refusing is None
    canary.counters = {"2xx": 8, "4xx": 4, "5xx": 94}
    canary.reasons, canary.messages = {"KeyError": 91, "ValueError": 3}, {FEE: 91, NAN: 3}
    canary.refusals = {"WrongType:age": 41, "UnknownValue:plan": 3}
    await look(source, [canary], [stable], 5)
    seen = source.comparison.arms["canary"]
    assert (seen.failing, seen.refusing) == (
        Frequent("ValueError", 3, 4, *NAN[1:]),
        Frequent("UnknownValue of plan", 3, 4),
    )
    assert source.comparison.arms["stable"].failing is None


async def test_pods_that_make_up_messages_fill_no_memory() -> None:
    complaints, before = Complaints(), Counters(0, 0, 0)
    for number in range(100):
        made_up = {Said("E", f"{number} {other}", ""): 1.0 + number for other in range(32)}
        complaints.add(before, Counters(0, 0, 32, messages=made_up, reasons={f"E{number}": 32.0}))
    assert len(complaints._messages) == len(complaints._reasons) == MOST_REASONS


@pytest.mark.parametrize(
    ("first", "second", "refusing"),
    [
        ({"WrongType:age": 3, "UnknownValue:country": 2}, {"UnknownValue:country": 2}, "UnknownValue of country"),
        ({"BadRequest:": 3, "UnknownValue:unité d'œuvre": 2}, {}, "BadRequest"),
        ({"UnknownValue:days since": 3}, {}, "UnknownValue of days since"),
        ({"UnknownValue:<b>": 3, "Ask me:country": 9}, {}, "UnknownValue"),  # whatever a pod says is not told
        ({f"E:f{n}": 1 for n in range(40)}, {"E:f39": 50}, "E of f39"),
        ({**{f"E:f{n}": 1 for n in range(40)}, "E:last": 2}, {}, "E of last"),
        ({}, {}, ""),
    ],
)
async def test_why_most_were_refused_is_said_of_an_arm(
    pods: dict[str, APod], first: dict[str, float], second: dict[str, float], refusing: str
) -> None:
    pods["canary"].refusals, pods["another"].refusals = first, second
    arms = await arms_of(pods, "4xx")
    assert what(arms["canary"].refusing) == refusing
    assert arms["canary"].refusing is None or arms["canary"].refusing.of >= 10
    assert arms["stable"].refusing is None


async def test_looks_are_handed_out_until_they_are_recorded(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    for number in range(4):
        taken = await look(source, [canary], [stable], 5 * number)
    assert len(taken) == 3
    assert source.comparison
    source.comparison.recorded(taken[1].time)
    assert tuple(source.comparison.looks) == taken[2:]


async def test_without_one_of_the_versions_there_are_no_counts_but_a_reason(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    stable.counters = None
    [taken] = await look(source, [canary], [stable], 5)
    assert (taken.measurements, taken.left_out) == ({}, {"stable": UNAVAILABLE})


async def test_a_pod_that_is_not_ready_need_not_answer(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    canary.counters = None
    canary.manifest["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    await look(source, [canary], [stable], 0)
    assert not await look(source, [canary], [stable], 5)


async def test_what_both_versions_counted_waits_for_a_look_that_can_be_taken(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
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
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    for number in range(4):
        stable.counters = {"2xx": 100 * number}
        await look(source, [], [stable], 5 * number)
    stable.counters, canary.counters = {"2xx": 310, "5xx": 5}, {"2xx": 1, "5xx": 1}
    canary.manifest["metadata"]["creationTimestamp"] = after(seconds=17).isoformat()
    assert counts(await look(source, [canary], [stable], 20)) == [Counts(canary=(2, 1), stable=(15, 5))]


async def test_what_a_new_canary_counted_waits_for_the_first_look(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    canary.counters = {"2xx": 5, "5xx": 5}
    assert not await look(source, [canary], [stable], 0)
    stable.counters = {"2xx": 9}
    taken = await look(source, [canary], [stable], 5)
    assert counts(taken) == [Counts(canary=(10, 5), stable=(9, 0))]


async def test_after_a_restart_of_the_operator_nothing_counts_twice(pods: dict[str, APod]) -> None:
    canary, stable = pods["canary"], pods["stable"]
    canary.counters = {"2xx": 500, "5xx": 50}
    source = Looking()
    assert not await look(source, [canary], [stable], 0, recorded=NOW.timestamp() - 5)
    canary.counters, stable.counters = {"2xx": 510, "5xx": 50}, {"2xx": 9}
    taken = await look(source, [canary], [stable], 5, recorded=NOW.timestamp() - 5)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(9, 0))]


async def test_what_was_counted_before_a_restart_counts_for_nobody_when_the_clock_is_behind_what_is_recorded(
    pods: dict[str, APod],
) -> None:
    canary, stable = pods["canary"], pods["stable"]
    canary.counters = {"2xx": 500, "5xx": 50}
    source = Looking()
    assert not await look(source, [canary], [stable], -300, resumed=True)
    canary.counters, stable.counters = {"2xx": 510, "5xx": 50}, {"2xx": 9}
    taken = await look(source, [canary], [stable], -295, resumed=True)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(9, 0))]


async def test_pods_of_a_version_are_summed_and_one_that_does_not_answer_is_left_out(pods: dict[str, APod]) -> None:
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    stable.counters, another.counters, canary.counters = {"2xx": 3, "5xx": 1}, {"2xx": 4, "5xx": 0}, {"2xx": 2}
    taken = await look(source, [canary], [stable, another], 5)
    assert counts(taken)[-1] == Counts(canary=(2, 0), stable=(8, 1))
    stable.counters, another.counters, canary.counters = {"2xx": 9, "5xx": 1}, None, {"2xx": 4}
    taken = await look(source, [canary], [stable, another], 10)
    assert counts(taken)[-1] == Counts(canary=(2, 0), stable=(6, 0))


async def test_all_counts_of_a_look_are_of_the_same_time(pods: dict[str, APod]) -> None:
    """A pod that was not read at the last one would bring more than the others: of an outage that all share, too."""
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    another.counters = None
    await look(source, [canary], [stable, another], 5)
    another.counters, canary.counters, stable.counters = {"2xx": 6, "5xx": 2}, {"2xx": 3}, {"2xx": 4}
    taken = await look(source, [canary], [stable, another], 10)
    assert counts(taken)[-1] == Counts(canary=(3, 0), stable=(4, 0))
    another.counters, canary.counters, stable.counters = {"2xx": 8, "5xx": 3}, {"2xx": 6}, {"2xx": 8}
    taken = await look(source, [canary], [stable, another], 15)
    assert counts(taken)[-1] == Counts(canary=(3, 0), stable=(7, 1))


@pytest.mark.parametrize("ready", [True, False])
async def test_while_the_only_pod_of_a_version_is_not_read_the_others_counts_wait(
    pods: dict[str, APod], *, ready: bool
) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    for number in range(2):
        canary.counters, stable.counters = {"2xx": 10 * number}, {"2xx": 100 * number}
        await look(source, [canary], [stable], 5 * number)
    canary.counters, stable.counters = None, {"2xx": 130, "5xx": 70}
    conditions = canary.manifest["status"]["conditions"]
    canary.manifest["status"]["conditions"] = conditions if ready else [{"type": "Ready", "status": "False"}]
    await look(source, [canary], [stable], 10)
    canary.counters, stable.counters = {"2xx": 23, "5xx": 7}, {"2xx": 230, "5xx": 70}
    canary.manifest["status"]["conditions"] = conditions
    taken = await look(source, [canary], [stable], 15)
    assert counts(taken)[-1] == Counts(canary=(20, 7), stable=(200, 70))


async def test_a_pod_that_was_silent_for_long_begins_again(pods: dict[str, APod]) -> None:
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    another.counters = None
    for number in range(1, 10):
        await look(source, [canary], [stable, another], 5 * number)
    another.counters = {"2xx": 600, "5xx": 200}
    taken = await look(source, [canary], [stable, another], 50)
    assert counts(taken)[-1] == Counts(canary=(0, 0), stable=(0, 0))
    assert taken[-1].left_out == {"another": GAP}
    another.counters, canary.counters = {"2xx": 607, "5xx": 201}, {"2xx": 3}
    taken = await look(source, [canary], [stable, another], 55)
    assert counts(taken)[-1] == Counts(canary=(3, 0), stable=(8, 1))
    assert taken[-1].left_out == {}


@pytest.mark.parametrize(
    ("reported", "why"),
    [
        ({"2xx": math.nan, "5xx": 5}, STRANGE),
        ({"2xx": 100, "5xx": math.inf}, STRANGE),
        ({"2xx": -1, "5xx": 5}, STRANGE),
        (None, UNAVAILABLE),
    ],
)
async def test_a_pod_that_misreports_is_left_out_and_named_and_is_well_again_when_its_counters_are(
    pods: dict[str, APod], reported: dict[str, float] | None, why: str
) -> None:
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    another.counters = {"2xx": 10, "5xx": 5}
    await look(source, [canary], [stable, another], 0)
    another.counters, stable.counters, canary.counters = reported, {"2xx": 9, "5xx": 1}, {"2xx": 3}
    taken = await look(source, [canary], [stable, another], 5)
    assert counts(taken)[-1] == Counts(canary=(3, 0), stable=(10, 1))
    assert taken[-1].left_out == {"another": why}
    another.counters, stable.counters, canary.counters = {"2xx": 110, "5xx": 5}, {"2xx": 19, "5xx": 1}, {"2xx": 6}
    await look(source, [canary], [stable, another], 10)
    another.counters, canary.counters = {"2xx": 210, "5xx": 5}, {"2xx": 9}
    taken = await look(source, [canary], [stable, another], 15)
    assert counts(taken)[-1] == Counts(canary=(3, 0), stable=(100, 0))
    assert taken[-1].left_out == {}


async def test_new_pods_and_those_that_are_not_yet_or_no_longer_to_answer_are_nothing_to_tell(
    pods: dict[str, APod],
) -> None:
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    pending, ending = APod("pending", 1), APod("ending", 1)
    pending.manifest["status"]["phase"] = "Pending"
    ending.manifest["metadata"]["deletionTimestamp"] = NOW.isoformat()
    await look(source, [canary], [stable], 0)
    [taken] = await look(source, [canary, pending], [stable, another, ending], 5)
    assert taken.left_out == {}


async def test_a_new_pod_that_cannot_be_read_while_others_are_compared_counts_from_when_it_can(
    pods: dict[str, APod],
) -> None:
    """It would bring what it has counted in another time: of an outage that both versions share, too."""
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable], 0)
    shown: Sequence[dict[str, float]] = ({"2xx": math.nan}, {"2xx": 4, "5xx": 3}, {"2xx": 8, "5xx": 6})
    for number, counters in enumerate(shown, 1):
        canary.counters, stable.counters, another.counters = {"2xx": number}, {"2xx": 3 * number}, counters
        taken = await look(source, [canary, another], [stable], 5 * number)
    assert counts(taken) == [
        Counts(canary=(1, 0), stable=(3, 0)),
        Counts(canary=(1, 0), stable=(3, 0)),
        Counts(canary=(8, 3), stable=(3, 0)),
    ]


async def test_the_order_of_pods_changes_nothing(pods: dict[str, APod]) -> None:
    canary, stable, another = pods["canary"], pods["stable"], pods["another"]
    silent = [APod("silent-1", 1), APod("silent-2", 1)]
    one, other = Looking(), Looking()
    for number in range(3):
        canary.counters = stable.counters = {"2xx": 10 * number}
        another.counters = {"2xx": 10 * number, "5xx": 5 - number}
        first = await look(one, [canary], [stable, another, *silent], 5 * number)
        second = await look(other, [canary], [*reversed(silent), another, stable], 5 * number)
    assert first == second
    assert list(first[-1].left_out) == list(second[-1].left_out) == ["another", "silent-1", "silent-2"]


async def test_after_an_hour_without_looks_one_is_skipped(pods: dict[str, APod]) -> None:
    """The operator slept, or the clock was put forward: it is the same to see."""
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    await look(source, [canary], [stable], 0)
    canary.counters = {"2xx": 500, "5xx": 400}
    [skipped] = await look(source, [canary], [stable], 3600)
    assert (skipped.measurements, skipped.left_out) == ({}, {"canary": GAP, "stable": GAP})
    canary.counters = {"2xx": 504, "5xx": 401}
    [_, taken] = await look(source, [canary], [stable], 3605)
    assert counts([taken]) == [Counts(canary=(5, 1), stable=(0, 0))]


async def test_looks_go_on_when_the_clock_is_put_back_a_little(pods: dict[str, APod]) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    for number, seconds in enumerate((0, 5, -50, -45, 20)):
        canary.counters = stable.counters = {"2xx": 10 * number}
        taken = await look(source, [canary], [stable], seconds)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(10, 0))] * 4
    assert [one.time - NOW.timestamp() for one in taken] == [5, 10, 15, 20]


@pytest.mark.parametrize("ahead", [3600, 365 * 86400])
async def test_after_a_clock_that_was_ahead_looks_are_of_now_and_one_is_skipped(
    pods: dict[str, APod], ahead: int
) -> None:
    source, canary, stable = Looking(), pods["canary"], pods["stable"]
    for number, seconds in enumerate((0, 5, ahead, ahead + 5, 20, 25)):
        canary.counters = stable.counters = {"2xx": 10 * number}
        taken = await look(source, [canary], [stable], seconds)
    assert [one.time - NOW.timestamp() for one in taken] == [5, 20, 25]
    assert counts(taken) == [Counts(canary=(10, 0), stable=(10, 0)), None, Counts(canary=(10, 0), stable=(10, 0))]
    assert source.comparison
    assert source.comparison.arms["canary"].recent == 20, "what was recent then is so no longer"


async def test_looks_go_on_after_the_recorded_one_when_the_clock_is_put_back_during_a_restart(
    pods: dict[str, APod],
) -> None:
    source, canary, stable, recorded = Looking(), pods["canary"], pods["stable"], NOW.timestamp()
    for number in range(3):
        canary.counters = stable.counters = {"2xx": 10 * number}
        taken = await look(source, [canary], [stable], 5 * number - 30, recorded)
    assert counts(taken) == [Counts(canary=(10, 0), stable=(10, 0))] * 2
    assert recorded < taken[0].time < taken[1].time


async def test_a_page_that_is_no_metrics_is_no_answer(pods: dict[str, APod]) -> None:
    source, canary, stable, another = Looking(), pods["canary"], pods["stable"], pods["another"]
    await look(source, [canary], [stable, another], 0)
    another.counters = {'2xx", ="': 1}
    [taken] = await look(source, [canary], [stable, another], 5)
    assert "is not of Prometheus' text format" in taken.left_out["another"]


class ACount:
    """A comparison that is told what pods count, without pods."""

    def __init__(
        self,
        *,
        recorded: float | None = None,
        metrics: Sequence[dict[str, Any]] = (a_metric(), a_metric("RefusalRate", "refusals")),
        timeout: timedelta = timedelta(seconds=30),
        created: datetime = NOW,
        ready_since: datetime = AT_FIRST,
    ) -> None:
        """`created`, `ready_since`: all pods; as the first look is taken."""
        self.created, self.ready_since = created, ready_since
        self.recorded = recorded
        self.timeout = timeout
        self.metrics = metrics
        self.comparison = Comparison(self._asked({}, frozenset()))
        self.seconds = 0.0

    def _asked(
        self,
        pages: Mapping[ArmName, Mapping[str, object]],
        unready: frozenset[str],
        restarts: int = 0,
        started: datetime | None = None,
    ) -> Asked:
        running = {"startedAt": started.isoformat()} if started else {}
        anew = {"restartCount": restarts, "state": {"running": running}}
        serve = {"name": "serve", "image": "i", "imageID": "i"}
        of: Mapping[ArmName, Any] = {"canary": anew, "stable": {"restartCount": 0, "state": {"running": {}}}}
        return Asked(
            comparison="rollout",
            policy=a_policy(*self.metrics, interval=INTERVAL),
            pods={
                arm: [
                    self._pod(name, name not in unready, containerStatuses=[{**serve, **of[arm]}]) for name in members
                ]
                for arm, members in pages.items()
            },
            after=self.recorded,
            timeout=self.timeout,
            resumed=self.recorded is not None,
        )

    def _pod(self, name: str, ready: bool, **status: Any) -> Pod:
        pod = read(a_pod(name, ready=ready, **status))
        return replace(pod, created=self.created, ready_since=self.ready_since if ready else None)

    def take(
        self,
        canary: Mapping[str, Counters | Unread],
        stable: Mapping[str, Counters | Unread],
        unready: frozenset[str] = frozenset(),
        restarts: int = 0,
        started: datetime | None = None,
    ) -> bool:
        """`restarts`, `started`: of each canary pod's container, as its status tells."""
        asked = self._asked({"canary": canary, "stable": stable}, unready, restarts, started)
        self.seconds += 5
        return self.comparison.take(asked, {**canary, **stable}, after(seconds=self.seconds))

    def state(self, arm: ArmName = "canary") -> Measurement:
        return self.comparison.arms[arm]


SILENT = Unread("it does not answer within 2s", "Let it be reached.")
HEALTHY = Counters(10, 0, 0)


def test_both_metrics_are_measured_from_the_same_counters_and_what_is_not_counted_is_not() -> None:
    count = ACount(metrics=[a_metric(), a_metric("RefusalRate", "refusals"), a_metric("Latency", "latency")])
    for canary, stable in (((0, 0, 0), (0, 0, 0)), ((7, 2, 1), (90, 5, 3))):
        pages = (Counters(*one, tallies={"latency": "its page of metrics has none"}) for one in (canary, stable))
        count.take({"c": next(pages)}, {"s": next(pages)})
    assert "its page of metrics has none" in count.comparison.unmeasured["latency"]
    assert dict(count.comparison.looks[-1].measurements) == {
        "errors": Counts(canary=(8, 1), stable=(93, 3), refused=(2, 5)),
        "refusals": Counts(canary=(10, 2), stable=(98, 5)),
    }


@pytest.mark.parametrize(
    ("then", "restarts", "why", "counted"),
    [
        (Counters(4, 1, 0), 1, None, (4, 0)),  # started anew
        (Counters(12, 10, 0), 1, None, (12, 0)),  # likewise, and it has overtaken what it was
        (Counters(5, 20, 10), 1, None, (15, 10)),
        (Counters(4, 1, 0), 0, BACKWARDS.why, None),  # another process of the same container
        (Counters(5, 20, 10), 0, BACKWARDS.why, None),
        (Counters(12, 10, 0), 0, None, (2, 0)),
    ],
)
def test_counters_begin_again_only_with_their_container(
    then: Counters, restarts: int, why: str | None, counted: tuple[int, int] | None
) -> None:
    count = ACount()
    for requests in (5, 10):
        count.take({"c": Counters(10, 10, 0)}, {"s": Counters(requests, 0, 0)})
    count.take({"c": then}, {"s": Counters(20, 0, 0)}, restarts=restarts)
    look = count.comparison.looks[-1]
    assert look.left_out == ({"c": why} if why else {})
    errors = look.measurements.get("errors")
    assert (errors.canary if isinstance(errors, Counts) else None) == counted


@pytest.mark.parametrize(
    ("before", "then", "counted"),
    [
        (Counters(95, 0, 5), Counters(80, 0, 40), (120, 40)),
        (Counters(98, 0, 2), Counters(103, 0, 7), (110, 7)),
        (Counters(955, 0, 45), Counters(955, 0, 60), (1015, 60)),
    ],
)
@pytest.mark.parametrize("started", [None, after(seconds=11)])
def test_what_a_container_counted_that_has_overtaken_the_one_before_it_is_all_counted(
    before: Counters, then: Counters, counted: tuple[int, int], started: datetime | None
) -> None:
    count = ACount()
    for requests in (900, 1800):
        count.take({"c": before}, {"s": Counters(requests, 0, 0)}, started=started and LONG_AGO)
    count.take({"c": then}, {"s": Counters(2700, 0, 0)}, restarts=1, started=started)
    [*_, taken] = count.comparison.looks
    assert (taken.measurements["errors"], taken.left_out) == (Counts(canary=counted, stable=(900, 0)), {})


def test_what_a_container_counted_before_its_start_was_told_counts_once_at_most() -> None:
    count = ACount()
    for number, served in enumerate(
        (10, 10, 30)
    ):  # it was started anew before the last look, and had overtaken by then
        count.take({"c": Counters(served, 0, 0)}, {"s": Counters(100 * number, 0, 0)}, started=LONG_AGO)
    for served in (40, 45):
        count.take({"c": Counters(served, 0, 0)}, {"s": Counters(900, 0, 0)}, restarts=1, started=after(seconds=12))
    errors = [look.measurements["errors"] for look in count.comparison.looks[-2:]]
    assert [one.canary for one in errors if isinstance(one, Counts)] == [(20, 0), (5, 0)]


def test_a_restart_that_is_told_late_costs_a_look_and_no_evidence() -> None:
    """Our own runtime: whatever the counters show by then, all of it was counted since."""
    count = ACount()
    for _ in range(2):
        count.take({"c": Counters(10, 0, 0)}, {"s": Counters(100, 0, 0)})
    count.take({"c": Counters(3, 0, 1)}, {"s": Counters(130, 0, 0)})
    assert (count.comparison.looks[-1].measurements, count.state().state) == ({}, "Unknown")
    count.take({"c": Counters(20, 0, 2)}, {"s": Counters(160, 0, 0)}, restarts=1)
    [*_, taken] = count.comparison.looks
    assert taken.measurements["errors"] == Counts(canary=(22, 2), stable=(60, 0))
    assert (taken.left_out, count.state().requests) == ({}, 32)


def test_a_pod_of_several_processes_is_left_out_and_told_until_it_is_started_anew() -> None:
    count, workers = ACount(), (Counters(10, 0, 0), Counters(50, 0, 5))
    for number in range(20):
        count.take({"c": workers[number % 2], "d": HEALTHY}, {"s": HEALTHY})
        assert count.state().state == ("Counted" if number < 2 else "NoRequests")
    [*_, taken] = count.comparison.looks
    assert taken.measurements["errors"] == Counts(canary=(0, 0), stable=(0, 0))
    assert taken.left_out == {"c": BACKWARDS.why}
    states = []
    for number in range(16):
        count.take({"d": workers[number % 2]}, {"s": HEALTHY})
        states.append(count.state().state)
    # it may have been started anew, until for a minute nobody has told so
    assert states == ["NoRequests", "Counted", *["Unknown"] * 12, "Unreadable", "Unreadable"]
    assert count.state().message == f"Pod d (10.0.0.1:3000) cannot be measured: {BACKWARDS.why}. {BACKWARDS.remedy}"
    for answered in (3, 5, 7):
        count.take({"d": Counters(answered, 0, 0)}, {"s": Counters(7 + answered, 0, 0)}, restarts=1)
    assert count.state().state == "Counted"
    assert count.comparison.looks[-1].measurements["errors"] == Counts(canary=(2, 0), stable=(2, 0))


@pytest.mark.parametrize("whole", [False, True])
def test_a_pod_that_counts_in_parts_cannot_be_measured_where_the_boundary_is_exact(*, whole: bool) -> None:
    count = ACount(metrics=[a_metric(**EXACT)] if whole else [a_metric()])
    for number in range(12):  # a statsd exporter counts a sample of 40 % up: every second sum is whole
        page = Counters(2.5 * number, 0, 2.5 * number)
        count.take({"c": page}, {"s": Counters(number, 0, 0)})
        assert (count.state().state == "Unreadable") == (whole and number > 0)
    used = [look for look in count.comparison.looks if look.measurements]
    assert len(used) == (0 if whole else 11)
    if whole:
        said = f"Pod c (10.0.0.1:3000) cannot be measured: {IN_PARTS.why}. {IN_PARTS.remedy}"
        assert count.state().message == said
        assert count.comparison.looks[-1].left_out == {"c": IN_PARTS.why}
    count.take({"d": Counters(3, 0, 0)}, {"s": HEALTHY})
    assert count.state().state == "Counted"


def test_what_one_pod_of_several_counts_in_parts_is_left_out_where_the_boundary_is_exact() -> None:
    count = ACount(metrics=[a_metric(**EXACT)])
    for number in range(3):
        count.take(
            {"c": Counters(10 * number, 0, number), "d": Counters(0.5 + number, 0, 0)}, {"s": Counters(number, 0, 0)}
        )
    assert count.state().state == "Counted"
    [*_, taken] = count.comparison.looks
    assert taken.measurements["errors"] == Counts(canary=(11, 1), stable=(1, 0))


def test_a_version_of_several_processes_is_held_after_the_deadline() -> None:
    count = ACount()
    for number in range(20):
        count.take({"c": Counters((10, 50)[number % 2], 0, 0)}, {"s": HEALTHY})
    before = observed(in_canary(), pods=both(), reading=measured(count.state(), count.state("stable")))
    made = plan(before)
    assert (made.status["phase"], condition(made, "Measured")["status"]) == ("Progressing", "False")
    assert BACKWARDS.why in condition(made, "Measured")["message"]
    assert plan(then(before, made, now=after(minutes=10))).status["phase"] == "Paused"


def test_an_image_of_ones_own_is_only_watched_for_some_looks_after_a_restart_of_the_operator() -> None:
    """The other process may be older than this operator: all its life would be evidence of the second look."""
    count = ACount(recorded=NOW.timestamp())
    for number in range(WATCHED):
        count.take({"c": Counters(10 if number < 4 else 5000, 0, number)}, {"s": HEALTHY})
        assert count.comparison.watching
        assert not count.comparison.looks
    for number in range(WATCHED, WATCHED + 2):
        count.take({"c": Counters(5000 + 3 * (number - WATCHED), 0, number)}, {"s": Counters(10 + number, 0, 0)})
        assert not count.comparison.watching
    [taken, _] = count.comparison.looks
    assert taken.measurements["errors"] == Counts(canary=(1, 1), stable=(8, 0))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_healthy_versions_whose_processes_answer_in_turn_are_not_rolled_back(processes: int) -> None:
    """The other process' whole life was new evidence at every turn: that rolled every second one back."""
    spec = in_canary().spec
    for seed in range(12):
        chance, count = random.Random(seed), ACount()
        pods = {name: [[0, 0] for _ in range(processes)] for name in ("c", "s-1", "s-2", "s-3")}
        for look in range(40):
            for name, workers in pods.items():
                for _ in range(75 if look or name == "c" else 3000):
                    worker = chance.choice(workers)
                    worker[chance.random() < 0.02] += 1
            shown = {name: chance.choice(workers) for name, workers in pods.items()}
            pages = {name: Counters(good, 0, bad) for name, (good, bad) in shown.items()}
            count.take({"c": pages.pop("c")}, pages)
        analysis = analyse(spec, None, count.comparison.looks, None).analysis
        assert analysis.verdict != "Rollback", analysis.message
        assert (BACKWARDS.why in analysis.message) == (processes > 1)


def test_requests_are_counted_and_no_requests_are_said_to_be_none() -> None:
    count = ACount()
    count.take({"c": Counters(0, 0, 0)}, {"s": Counters(1000, 0, 0)})
    assert (count.state().state, count.state("stable").state) == ("NoRequests", "Counted")
    count.take({"c": Counters(0, 4, 0)}, {"s": Counters(1050, 0, 0)})
    assert (count.state(), count.state("stable")) == (
        Measurement("Counted", requests=4, recent=4, expected=50),
        Measurement("Counted", requests=50, recent=50),
    )
    count.take({"c": Counters(0, 4, 0)}, {"s": Counters(1050, 0, 0)})
    assert (count.state().state, count.state().requests, count.state("stable").state) == ("NoRequests", 4, "NoRequests")


def test_after_a_restart_of_the_operator_what_was_counted_before_is_no_request_of_now() -> None:
    count = ACount(recorded=NOW.timestamp())
    count.take({"c": Counters(500, 0, 0)}, {"s": Counters(1000, 0, 0)})
    count.take({"c": Counters(503, 0, 0)}, {"s": Counters(1000, 0, 0)})
    assert count.state().requests == 3


def test_an_arm_of_which_no_pod_can_be_read_is_unreadable_and_says_which_why_and_what_to_do() -> None:
    count = ACount()
    assert count.take({"c-1": SILENT, "c-2": SILENT}, {"s": HEALTHY})
    assert count.state() == Measurement(
        "Unreadable",
        "Pod c-1 (10.0.0.1:3000) cannot be measured: it does not answer within 2s. Nor can the other. "
        "Let it be reached.",
    )
    count.take({"c-1": SILENT, "c-2": HEALTHY}, {"s": HEALTHY})
    assert count.state().state == "Counted"


def test_counters_that_are_no_numbers_cannot_be_read() -> None:
    count = ACount()
    count.take({"c": Counters(math.nan, 0, 0)}, {"s": HEALTHY})
    assert count.state().state == "Unreadable"
    assert STRANGE in count.state().message


def test_pods_that_are_not_ready_yet_are_not_unreadable() -> None:
    count = ACount()
    count.take({"c-1": SILENT, "c-2": SILENT}, {"s": HEALTHY}, unready=frozenset({"c-1", "c-2"}))
    assert count.state().state == "Unknown"
    count.take({"c-1": SILENT, "c-2": SILENT}, {"s": HEALTHY}, unready=frozenset({"c-1"}))
    assert count.state().message.startswith("Pod c-2 ")


@pytest.mark.parametrize(("timeout", "looks"), [(1, 2), (5, 3), (12, 4), (30, 8), (300, 62)], ids=str)
def test_requests_that_go_in_and_do_not_come_out_for_longer_than_one_may_take_are_stuck(
    timeout: float, looks: int
) -> None:
    count = ACount(timeout=timedelta(seconds=timeout))
    count.take({"c": Counters(3, 0, 0, 0)}, {"s": HEALTHY})
    for _ in range(looks - 1):
        count.take({"c": Counters(3, 0, 0, 7)}, {"s": HEALTHY})
        assert count.state().state == "Counted"  # they may still come out
    count.take({"c": Counters(3, 0, 0, 8)}, {"s": HEALTHY})
    assert count.state().state == "Stuck"
    assert count.state().message.startswith(f"8 requests are in pod c, and none has been answered for {5 * looks}s.")
    count.take({"c": Counters(3, 0, 1, 7)}, {"s": HEALTHY})
    assert count.state().state == "Counted"


def test_requests_that_take_as_long_as_they_may_are_never_stuck() -> None:
    """One client, whose every request takes 25 s: it comes in right after a look and goes out right after another."""
    count = ACount(timeout=timedelta(seconds=25))
    for number in range(100):
        done = number // 6
        count.take({"c": Counters(done, 0, 0, 1)}, {"s": Counters(done, 0, 0, 1)})
        assert count.state().state != "Stuck"
        assert count.state("stable").state != "Stuck"


def recent(count: ACount) -> tuple[float, float]:
    return count.state("canary").recent, count.state("stable").recent


def many(name: str, pods: int, requests: float) -> Mapping[str, Counters]:
    return {f"{name}-{number}": Counters(requests, 0, 0) for number in range(pods)}


@pytest.mark.parametrize(("pods", "each"), [(1, 1), (1, 0.25), (4, 1), (19, 2)])
def test_what_is_recent_reaches_back_until_forty_should_have_reached_the_candidate(pods: int, each: float) -> None:
    """However few requests come: a look is taken each five seconds, and the candidate has one pod."""
    count = ACount()
    for number in range(301):
        count.take({"c": Counters(0, 0, 0)}, many("s", pods, int(each * number)))
        expected = int(each * number)
        assert count.state().expected == pytest.approx(min(expected, max(40, 12 * each)))
    count.take({"c": Counters(0, 0, 0)}, many("s", pods, 10_000), unready=frozenset({"c"}))
    for _ in range(100):  # nothing is forgotten because nobody asks
        count.take({"c": Counters(0, 0, 0)}, many("s", pods, 10_000))
    assert count.state().expected == pytest.approx(max(40, 12 * each), rel=0.1)


def test_what_should_have_reached_the_candidate_goes_by_the_pods_that_were_there() -> None:
    """Of twenty pods, one and then eighteen are the candidate's. Each answers ten requests between two looks."""
    count = ACount()
    for number in range(12):
        count.take(many("c", 1, 10 * number), many("s", 19, 10 * number))
    assert recent(count) == (110, 19 * 110)
    assert count.state().expected == pytest.approx(110)
    count.take(many("c", 18, 120), many("s", 2, 120))
    assert count.state().expected == pytest.approx(110 + 20 / 19)
    count.take(many("c", 18, 130), many("s", 2, 130))
    assert count.state().expected == pytest.approx(110 - 10 + 20 / 19 + 180)


def test_looks_in_which_little_is_answered_are_not_kept_without_end() -> None:
    count = ACount()
    for number in range(MOST_RECENT + 50):
        count.take({"c": Counters(number, 0, 0)}, {"s": Counters(0, 0, 0)})
    assert recent(count) == (MOST_RECENT, 0)


@pytest.mark.parametrize(
    ("created", "ready", "unread", "counted"),
    [
        (0, 5, 0, (30, 6)),  # it begins before our eyes: all that it ever answered
        (0, None, 0, (30, 6)),  # likewise: it is not said to be ready yet
        (-20, 0, 0, (10, 2)),  # it had answered before the others were looked at
        (0, 65, 13, (20, 4)),  # it loaded the model for a minute
        (0, 55, 13, (10, 2)),  # likewise, and was not read in looks that compared the others
        (-3600, 0, 0, (10, 2)),  # it was there when the rollout was taken back, or the operator was not
        (0, 0, 13, (10, 2)),  # it answered for a minute, and could not be read
    ],
)
def test_what_a_candidate_answered_before_it_was_looked_at_is_no_evidence(
    created: int, ready: int | None, unread: int, counted: tuple[int, int]
) -> None:
    count = ACount(created=after(seconds=created), ready_since=after(seconds=ready or 0))
    for look in range(unread):
        unready = frozenset({"c"} if 5 * (look + 1) < (ready or 0) else ())
        count.take({"c": SILENT}, {"s": Counters(10 * look, 0, 0)}, unready)
    for look in range(12):  # of an image of one's own, the pods are watched for a while
        unready = frozenset({"c"} if ready is None and look == 0 else ())
        count.take({"c": Counters(16 + 8 * look, 0, 4 + 2 * look)}, {"s": Counters(1000 + 10 * look, 0, 0)}, unready)
    canary = [taken["errors"].canary for one in count.comparison.looks if (taken := one.measurements)]
    assert canary[0] == counted
    assert set(canary[1:]) == {(10, 2)}


REFUNDS = a_metric("Ratio", "refunds", bad="b_total", total="t_total")


@pytest.mark.parametrize("unread", [(), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3), (0, 2)])
@pytest.mark.parametrize("flaps", [False, True])
def test_in_an_outage_that_all_pods_share_none_brings_more_of_it_than_the_others(
    unread: Sequence[int], *, flaps: bool
) -> None:
    """Two pods of each version answer 10 requests a second, of which 4 fail in the first 15 s. One of the candidate's
    cannot be read at first.
    """
    count = ACount(metrics=[a_metric(), REFUNDS], ready_since=NOW)
    for place in range(8):
        seconds = 5 * (place + 1)
        events, bad = 10 * seconds, 4 * min(seconds, 15)
        page = Counters(events - bad, 0, bad, tallies={"refunds": Tally(events, bad)})
        old = Counters(1e5 + events - bad, 0, 10 + bad, tallies={"refunds": Tally(1e5 + events, 10 + bad)})
        silent = flaps and place == 2
        if flaps and place == 3:
            count.ready_since = after(seconds=seconds)
        canary = {"c-1": SILENT if place in unread else page, "c-2": SILENT if silent else page}
        count.take(canary, {"s-1": old, "s-2": old}, frozenset({"c-1", "c-2"} if silent else ()))
    looks: list[Any] = [one for look in count.comparison.looks for one in look.measurements.values()]
    assert len(looks) >= 8
    for one in looks:
        (events, failed), (total, bad) = one.canary, one.stable
        assert failed * total == bad * events, one


def test_requests_that_are_counted_in_parts_do_not_fall_by_as_little_as_they_are_rounded() -> None:
    count = ACount()
    for look in range(3):
        pages = Counters(0.3 + 100 * look, 0, 0.1), Counters(1000.3 + 100 * look, 0, 10.1)
        count.take({"c": pages[0]}, {"s": pages[1]})
        lower = (replace(page, answered=page.answered * (1 - 1e-15)) for page in pages)
        count.take({"c": next(lower)}, {"s": next(lower)})
    assert count.comparison.arms["canary"].state != "Unreadable"
    found: list[Any] = [look.measurements["errors"] for look in count.comparison.looks]
    assert sum(one.canary[0] for one in found) == pytest.approx(200.4)


def test_a_pod_that_is_not_read_once_is_there_all_the_same_when_another_begins_to_count() -> None:
    """Or the warm-up of that one would not begin."""
    count = ACount()
    for place in range(5):
        first = SILENT if place == 3 else Counters(10 * place, 0, 0)
        canary = {"c-1": first, **({"c-2": Counters(10 * (place - 2), 0, 0)} if place >= 3 else {})}
        count.take(canary, {"s": Counters(100 * place, 0, 0)})
    assert [look.pods for look in count.comparison.looks][-2:] == [2, 2]


def test_a_pod_that_begins_late_in_a_time_that_waits_for_looks_does_not_bring_the_end_of_it_alone() -> None:
    """In an outage that begins with it, all that it ever counted would be of that, and of the others a quarter."""
    remembered = Remembered(0)
    remembered._since = 100.0
    remembered.bear({"soon": 115.0, "late": 140.0, "unready": math.inf}, 145.0, 15.0)
    assert remembered.before("soon", 145.0, 60.0) == (130.0, 0)
    assert remembered.before("late", 145.0, 60.0) is remembered.before("unready", 145.0, 60.0) is None


def test_a_pod_whose_node_is_ahead_may_have_counted_since_it_was_first_seen_to_be_ready() -> None:
    count = ACount(ready_since=after(hours=1))
    begun = Begun(asked := count._asked({"canary": {"c": HEALTHY}, "stable": {}}, frozenset()))
    for seconds in (5, 10):
        begun.see(asked, after(seconds=seconds))
    assert begun.since == {"c": after(seconds=5).timestamp()}


def test_what_one_version_counted_waits_for_some_of_the_other() -> None:
    """An exporter that takes over its counts every 10 s, the canary's when the stable version's does not."""
    count = ACount()
    for number in range(9):
        canary, stable = 10 * (number // 2), 100 * ((number + 1) // 2)
        count.take({"c": Counters(canary, 0, canary)}, {"s": Counters(stable, 0, 0)})
    assert counts(count.comparison.looks) == [Counts(canary=(20, 10), stable=(100, 0))] * 4


def test_what_one_version_counted_does_not_wait_for_ever() -> None:
    count = ACount()
    for number in range(9):
        count.take({"c": Counters(0, 0, 0)}, {"s": Counters(100 * number, 0, 0)})
    assert counts(count.comparison.looks) == [Counts(canary=(0, 0), stable=(300, 0))] * 2


def test_counters_without_a_request_are_a_look_to_be_recorded() -> None:
    count = ACount()
    for _ in range(3):
        count.take({"c": Counters(0, 0, 0)}, {"s": Counters(70, 0, 0)})
    assert counts(count.comparison.looks) == [Counts(canary=(0, 0), stable=(0, 0))] * 2


def test_what_was_answered_before_both_versions_could_answer_is_not_recent() -> None:
    count = ACount()
    for number in range(10):  # the candidate's pod starts
        count.take({"c": Counters(0, 0, 0)}, {"s": Counters(100 * number, 0, 0)}, unready=frozenset({"c"}))
        assert recent(count) == (0, 0)
    count.take({"c": Counters(0, 0, 0)}, {"s": Counters(1000, 0, 0)})
    assert recent(count) == (0, 0)  # nobody knows how long before this look it became ready
    count.take({"c": Counters(2, 1, 0)}, {"s": Counters(1040, 0, 5)})
    assert recent(count) == (3, 45)
    assert count.state("stable").requests == 1045


def test_what_was_answered_is_recent_for_a_minute_and_nothing_switches_that_off() -> None:
    count = ACount()
    count.take({"c": Counters(0, 0, 0)}, {"s": Counters(0, 0, 0)})
    for number in range(1, 100):
        count.take({"c": Counters(1, 0, 0)}, {"s": Counters(10 * number, 0, 0)})
        assert recent(count) == (float(number <= 12), 10 * min(number, 12))
    assert len(count.comparison._recent) == 12
    count.take({"c": Counters(1, 0, 0)}, {"s": SILENT})
    assert recent(count) == (0, 110)
    for _ in range(20):
        count.take({"c": Counters(1, 0, 0)}, {"s": SILENT})
    assert recent(count) == (0, 40)
    count.take({"c": Counters(2, 0, 0)}, {"s": Counters(5000, 0, 0)})
    assert recent(count) == (0, 40)


def test_four_looks_are_recent_however_long_they_take() -> None:
    count = ACount()
    for number in range(10):
        count.seconds += 595
        count.take({"c": Counters(number, 0, 0)}, {"s": Counters(10 * number, 0, 0)})
    assert recent(count) == (4, 40)


@pytest.mark.parametrize("in_progress", [None, 0.0, -3.0, math.nan])
def test_without_a_gauge_that_says_so_nothing_is_stuck(in_progress: float | None) -> None:
    count = ACount()
    for _ in range(6):
        count.take({"c": Counters(3, 0, 0, in_progress)}, {"s": HEALTHY})
    assert count.state().state == "NoRequests"


def test_there_is_something_to_say_after_a_look_and_when_a_state_changes_and_else_not() -> None:
    count = ACount()
    assert count.take({}, {"s": HEALTHY})  # the first states
    assert not count.take({}, {"s": Counters(11, 0, 0)})
    assert count.take({}, {"s": Counters(11, 0, 0)})  # counted before, and not now
    assert count.take({"c": Counters(0, 0, 0)}, {"s": Counters(11, 0, 0)})  # a look
    assert count.take({}, {"s": Counters(11, 0, 0)})  # it is gone
    assert not count.take({}, {"s": Counters(11, 0, 0)})


def test_nothing_is_remembered_of_pods_that_are_gone() -> None:
    count = ACount()
    for number in range(500):
        count.take({f"c-{number}": HEALTHY}, {f"s-{number}": HEALTHY, f"t-{number}": SILENT})
    kept = vars(count.comparison) | vars(count.comparison._remembered)
    assert {name for name in ("_shown", "_born", "_read", "_torn", "_silent") if len(kept[name]) > 3} == set()


def test_so_many_looks_wait_to_be_recorded_and_none_is_taken_back() -> None:
    count = ACount()
    for number in range(MOST_LOOKS + 50):
        count.take({"c": Counters(number, 0, 0)}, {"s": Counters(number, 0, 0)})
    waiting = tuple(count.comparison.looks)
    assert len(waiting) == MOST_LOOKS
    assert not count.take({"c": Counters(10**6, 0, 0)}, {"s": Counters(10**6, 0, 0)})
    assert tuple(count.comparison.looks) == waiting
    count.comparison.recorded(waiting[-1].time)
    assert count.take({"c": Counters(10**6 + 5, 0, 0)}, {"s": Counters(10**6 + 7, 0, 0)})
    [taken] = count.comparison.looks  # what was counted in looks that were dropped is no evidence
    assert taken.measurements["errors"] == Counts(canary=(5, 0), stable=(7, 0))


def test_pods_that_answer_are_read_before_those_that_did_not_and_both_arms_by_turns() -> None:
    count = ACount()
    canary: dict[str, Counters | Unread] = {"c-1": SILENT, "c-2": HEALTHY}
    stable: dict[str, Counters | Unread] = {"s-1": HEALTHY, "s-2": SILENT, "s-3": HEALTHY}
    starting = frozenset({"c-1"})
    count.take(canary, stable, unready=starting)
    asked = count._asked({"canary": canary, "stable": stable}, starting)
    assert [pod.name for pod in count.comparison.to_read(asked)] == ["s-1", "c-2", "s-3", "c-1", "s-2"]


def test_a_look_names_as_many_pods_as_the_analysis_keeps() -> None:
    count = ACount()
    count.take({"c": HEALTHY}, {f"s-{number:04}": SILENT for number in range(1000)})
    assert list(count.comparison.looks[-1].left_out) == [f"s-{number:04}" for number in range(5)]


def test_where_nothing_is_recorded_looks_end_and_that_is_said() -> None:
    count = ACount()
    for number in range(MOST_LOOKS + 2):
        count.take({"c": Counters(10.0 * number, 0, 0)}, {"s": Counters(10.0 * number, 0, 0)})
    assert len(count.comparison.looks) == MOST_LOOKS
    assert f"{MOST_LOOKS} looks wait to be recorded" in count.comparison.unmeasured[""]
    count.comparison.recorded(count.comparison.looks[-1].time)
    assert not count.comparison.unmeasured


def test_looks_that_wait_are_dropped_with_the_metrics_that_they_were_taken_for() -> None:
    count = ACount()
    for number in range(3):
        count.take({"c": Counters(10.0 * number, 0, 0)}, {"s": Counters(10.0 * number, 0, 0)})
    asked = count._asked({}, frozenset())
    count.comparison.watch(asked)
    assert count.comparison.looks
    count.comparison.watch(replace(asked, policy=a_policy(a_metric("RefusalRate"), interval=INTERVAL)))
    assert not count.comparison.looks
    count.take({"c": Counters(100.0, 0, 0)}, {"s": Counters(100.0, 0, 0)})  # it had begun before
    assert not count.comparison.looks


def test_a_clock_that_was_put_back_a_little_is_followed_at_its_own_pace() -> None:
    """Looks that come each second are a second apart, or the last of them would be taken for one of a time to come."""
    count = ACount()
    asked = replace(count._asked({}, frozenset()), hurry=timedelta(minutes=1))
    assert asked.shortest == timedelta(seconds=1)
    times = []
    for second in range(100):
        now = after(seconds=second if second < 10 else second - 3)
        count.comparison.take(asked, {}, now)
        times.append(count.comparison._time - now.timestamp())
    assert max(times) <= 4
    assert times[-1] <= times[11]
