"""Looks beside the turns: each Deployment's own, taken when they are due, kept until recorded, and forgotten."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.unit.analysis.builders import a_policy
from tests.unit.builders import NOW, a_pod, after
from upright.api import names
from upright.contract import Key
from upright.pods.reading import Pod, read
from upright.rollout import measuring
from upright.rollout.measuring import Asked, Reading, Source
from upright.sources.comparison import Comparison
from upright.sources.page import Counters
from upright.sources.pods import Unread
from upright.sources.schedule import Schedule

KEY = Key("shop", "churn")
SOON = timedelta(milliseconds=10)
NEVER = timedelta(hours=1)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is awaited is anything
            await asyncio.sleep(0.001)


class ThePods:
    """Counts one request more each time it is read, unless nobody asks; may be told to wait."""

    def __init__(self) -> None:
        self.reads: list[tuple[Key, Sequence[str]]] = []
        self.wait: dict[Key, asyncio.Event] = {}
        self.broken = False
        self.quiet = False

    async def read(self, key: Key, pods: Sequence[Pod], asked: Asked) -> Mapping[str, Counters | Unread]:
        self.reads.append((key, [pod.name for pod in pods]))
        if key in self.wait:
            await self.wait[key].wait()
        if self.broken:
            raise ZeroDivisionError
        return {pod.name: Counters(1.0 if self.quiet else float(len(self.reads)), 0, 0) for pod in pods}


class Watched:
    """A schedule over pods, and who was woken."""

    def __init__(self) -> None:
        self.pods = ThePods()
        self.now = NOW
        self.source = Schedule(self.pods, Comparison, lambda: self.now)
        self.woken: list[Key] = []
        self.source.begin(self.woken.append)

    async def until(self, reads: int) -> None:
        """So many looks have been taken to their end."""
        await until(lambda: len(self.pods.reads) >= reads and not any(kept.look for kept in self.source._kept.values()))


def asked(
    comparison: str = "a-b",
    *,
    interval: timedelta = SOON,
    after: float | None = None,
    pods: Sequence[str] = ("c", "s"),
    hurry: timedelta = timedelta(0),
) -> Asked:
    canary, *stable = [read(a_pod(name, labels={names.VERIFIES: "true"})) for name in pods]
    policy = a_policy().model_copy(update={"interval": interval})  # looks of a real one are at least a second apart
    return Asked(comparison, policy, {"canary": [canary], "stable": stable}, after, hurry=hurry)


def test_it_is_a_source() -> None:
    source: Source = Schedule(ThePods(), Comparison)
    assert source


async def test_reading_never_waits_and_the_first_look_is_taken_at_once() -> None:
    watched = Watched()
    assert not watched.source.read(KEY, asked(interval=NEVER)).arms
    await watched.until(reads=1)
    assert watched.woken == [KEY]
    reading = watched.source.read(KEY, asked(interval=NEVER))
    assert {arm: measured.state for arm, measured in reading.arms.items()} == {"canary": "Counted", "stable": "Counted"}
    await asyncio.sleep(0.05)
    assert len(watched.pods.reads) == 1
    watched.source.forget(KEY)


async def test_looks_go_on_by_themselves_and_each_wakes_until_they_are_recorded() -> None:
    watched = Watched()
    watched.source.read(KEY, asked())
    await watched.until(reads=5)
    looks = watched.source.read(KEY, asked()).looks
    assert len(looks) >= 3
    assert [look.time for look in looks] == sorted({look.time for look in looks})
    assert len(watched.woken) == len(watched.pods.reads)
    left = watched.source.read(KEY, asked(after=looks[1].time)).looks
    assert left[: len(looks) - 2] == looks[2:]
    watched.source.forget(KEY)


@pytest.mark.parametrize(
    ("jump", "watched_since"),
    [
        (timedelta(seconds=10), NOW),
        (timedelta(hours=1), after(hours=1)),  # it stood still, or the clock jumped
        (timedelta(hours=-1), after(hours=-1)),  # it was put back
    ],
)
async def test_nobody_has_watched_in_a_gap_between_two_looks(jump: timedelta, watched_since: datetime) -> None:
    watched = Watched()
    watched.source.read(KEY, asked())
    await watched.until(reads=2)
    assert watched.source.read(KEY, asked()).until == NOW.timestamp()
    watched.now = NOW + jump
    await watched.until(reads=len(watched.pods.reads) + 2)
    reading = watched.source.read(KEY, asked())
    assert (reading.since, reading.until) == (watched_since.timestamp(), watched.now.timestamp())
    assert not reading.is_old(watched.now + timedelta(seconds=16), SOON)
    assert reading.is_old(watched.now + timedelta(seconds=17), SOON)
    watched.source.forget(KEY)


async def test_looks_come_faster_for_as_long_as_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "FASTEST", SOON)
    monkeypatch.setattr(measuring, "OF_A_POD", timedelta(0))
    watched = Watched()
    watched.source.read(KEY, asked(interval=NEVER))
    await watched.until(reads=1)
    watched.source.read(KEY, asked(interval=NEVER, hurry=NEVER))
    await watched.until(reads=4)
    watched.source.read(KEY, asked(interval=NEVER, hurry=10 * SOON))
    reads = len(watched.pods.reads)
    await asyncio.sleep(0.2)
    assert reads < len(watched.pods.reads) <= reads + 12
    ended = len(watched.pods.reads)
    await asyncio.sleep(0.1)
    assert len(watched.pods.reads) == ended
    watched.source.forget(KEY)


async def test_closer_looks_that_find_nothing_new_end_and_begin_again_with_news(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measuring, "FASTEST", SOON / 10)
    monkeypatch.setattr(measuring, "OF_A_POD", timedelta(0))
    monkeypatch.setattr(measuring, "ENOUGH", 1)
    watched = Watched()
    watched.pods.quiet = True
    watched.source.read(KEY, asked(interval=10 * SOON, hurry=NEVER))
    kept = watched.source._kept[KEY]
    assert kept.due - kept.begun == pytest.approx(0.001)
    await until(lambda: kept.due - kept.begun == pytest.approx(0.1))
    watched.pods.quiet = False
    await until(lambda: kept.due - kept.begun == pytest.approx(0.001))
    watched.source.forget(KEY)


async def test_whoever_asks_again_and_again_without_hurry_makes_no_look_come_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a turn does after each look with something new to say."""
    monkeypatch.setattr(measuring, "FASTEST", SOON)
    monkeypatch.setattr(measuring, "OF_A_POD", timedelta(0))
    watched = Watched()
    watched.source.read(KEY, asked(interval=NEVER))
    await watched.until(reads=1)
    for _ in range(10):
        await asyncio.sleep(0.02)
        watched.source.read(KEY, asked(interval=NEVER))
    assert len(watched.pods.reads) == 1
    watched.source.forget(KEY)


def test_what_a_look_costs_bounds_how_fast_looks_come() -> None:
    usual = timedelta(seconds=15)
    shortest = [
        asked(interval=usual, pods=["c", *(f"s{one}" for one in range(pods - 1))]).shortest for pods in (2, 200, 900)
    ]
    assert shortest == [timedelta(seconds=1), timedelta(seconds=5), usual]
    assert asked(interval=SOON).shortest == SOON


async def test_a_shorter_interval_counts_from_the_last_look_and_a_longer_one_as_well() -> None:
    watched = Watched()
    watched.source.read(KEY, asked(interval=NEVER))
    await watched.until(reads=1)
    watched.source.read(KEY, asked(interval=SOON))
    await watched.until(reads=3)
    watched.source.read(KEY, asked(interval=NEVER))
    reads = len(watched.pods.reads)
    await asyncio.sleep(0.05)
    assert len(watched.pods.reads) <= reads + 1
    watched.source.forget(KEY)


async def test_another_comparison_begins_from_nothing_also_in_the_middle_of_a_look() -> None:
    watched = Watched()
    watched.source.read(KEY, asked())
    await watched.until(reads=3)
    watched.pods.wait[KEY] = asyncio.Event()
    reads = len(watched.pods.reads)
    await until(lambda: len(watched.pods.reads) > reads)
    reading = watched.source.read(KEY, asked("a-c", interval=NEVER, pods=("d", "s")))
    assert (reading.looks, reading.arms) == ((), {})
    watched.pods.wait.pop(KEY).set()
    woken = len(watched.woken)
    await watched.until(reads=reads + 2)
    assert watched.pods.reads[-1] == (KEY, ["d", "s"])
    assert len(watched.woken) == woken + 1
    watched.source.forget(KEY)


async def test_a_look_is_taken_of_the_pods_that_are_there_then() -> None:
    watched = Watched()
    watched.source.read(KEY, asked())
    watched.source.read(KEY, asked(pods=("c", "s", "t")))
    await watched.until(reads=1)
    assert watched.pods.reads[0] == (KEY, ["c", "s", "t"])
    watched.source.forget(KEY)


async def test_pods_that_are_slow_hold_up_nobody_elses_looks() -> None:
    watched, other = Watched(), Key("shop", "slow")
    watched.pods.wait[other] = asyncio.Event()
    watched.source.read(other, asked())
    watched.source.read(KEY, asked())
    await until(lambda: watched.woken.count(KEY) >= 4)
    assert [key for key, _ in watched.pods.reads].count(other) == 1
    for key in (KEY, other):
        watched.source.forget(key)


async def test_nothing_is_left_of_what_was_forgotten() -> None:
    before = asyncio.all_tasks()
    watched = Watched()
    idle, looking = Key("shop", "idle"), Key("shop", "looking")
    watched.pods.wait[looking] = asyncio.Event()
    watched.source.read(idle, asked(interval=NEVER))
    watched.source.read(looking, asked())
    await until(lambda: len(watched.pods.reads) == 2 and watched.source._kept[idle].look is None)
    kept = [weakref.ref(kept.comparison) for kept in watched.source._kept.values()]
    for key in (idle, looking, Key("shop", "unknown")):
        watched.source.forget(key)
    await asyncio.sleep(0.01)
    gc.collect()
    assert asyncio.all_tasks() == before
    assert not watched.source._kept
    assert [ref() for ref in kept] == [None, None]
    woken = list(watched.woken)
    await asyncio.sleep(0.05)
    assert watched.woken == woken


async def test_between_looks_there_is_no_task() -> None:
    before = asyncio.all_tasks()
    watched = Watched()
    watched.source.read(KEY, asked(interval=NEVER))
    await watched.until(reads=1)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    watched.source.forget(KEY)


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["back", "forward"])
async def test_a_clock_that_jumps_makes_no_look_late_and_none_early(jump: timedelta) -> None:
    watched = Watched()
    watched.source.read(KEY, asked(interval=NEVER))
    await watched.until(reads=1)
    watched.now += jump
    watched.source.read(KEY, asked(interval=NEVER))
    await asyncio.sleep(0.05)
    assert len(watched.pods.reads) == 1
    watched.source.read(KEY, asked(interval=SOON))
    await watched.until(reads=4)
    times = [look.time for look in watched.source.read(KEY, asked(interval=SOON)).looks]
    assert times == sorted(set(times))
    watched.source.forget(KEY)


async def test_looks_go_on_after_those_that_the_status_contains_although_the_clock_is_behind() -> None:
    watched, recorded = Watched(), after(seconds=30).timestamp()
    watched.source.read(KEY, asked(after=recorded))
    await watched.until(reads=3)
    assert all(look.time > recorded for look in watched.source.read(KEY, asked(after=recorded)).looks)
    assert watched.source.read(KEY, asked(after=recorded)).looks
    watched.source.forget(KEY)


@pytest.mark.parametrize("recorded", [None, NOW.timestamp()], ids=["new", "after a restart of the operator"])
async def test_nothing_is_said_of_either_version_before_the_first_look(recorded: float | None) -> None:
    watched = Watched()
    watched.pods.wait[KEY] = asyncio.Event()
    assert watched.source.read(KEY, asked(after=recorded)) == Reading()
    await until(lambda: bool(watched.pods.reads))
    assert watched.source.read(KEY, asked(after=recorded)) == Reading()
    assert not watched.woken
    watched.pods.wait.pop(KEY).set()
    await until(lambda: bool(watched.woken))
    assert set(watched.source.read(KEY, asked(after=recorded)).arms) == {"canary", "stable"}
    watched.source.forget(KEY)


async def test_a_mistake_of_ours_is_logged_and_ends_no_looks(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched()
    watched.pods.broken = True
    watched.source.read(KEY, asked())
    await watched.until(reads=2)
    assert "shop/churn: a mistake of Upright's own spoiled a look" in caplog.text
    watched.pods.broken = False
    await until(lambda: bool(watched.woken))
    watched.source.forget(KEY)


async def test_counters_of_another_place_are_compared_with_none_of_the_one_before() -> None:
    watched = Watched()
    here = asked()
    there = replace(here, path="/admin/metrics")
    watched.source.read(KEY, here)
    await watched.until(reads=3)
    before = watched.source._kept[KEY].comparison
    watched.source.read(KEY, there)
    after_it = watched.source._kept[KEY].comparison
    assert after_it is not before
    watched.source.read(KEY, there)
    assert watched.source._kept[KEY].comparison is after_it
    assert not watched.source.read(KEY, there).looks
    watched.source.forget(KEY)
