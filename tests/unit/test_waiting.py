"""What events say of what runs wait for: asked for together, and ever more rarely."""

from collections.abc import Container
from datetime import timedelta

import pytest

from tests.unit.builders import NOW, AWorld, after
from upright.contract import Key, Manifest
from upright.training.waiting import Wait, Warnings

PATIENCE = timedelta(seconds=10)


class Slow(AWorld):
    """An API server that takes its time, has something to say of everything, and counts what it is asked."""

    takes = timedelta(0)
    broken = False
    jumps = timedelta(0)
    """By how much the clock is put right while it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def warnings(self, namespace: str, uids: Container[str]) -> list[Manifest] | None:
        about = [f"{namespace}-{number}" for number in range(100) if f"{namespace}-{number}" in uids]
        self.asked.append(len(about))
        self.now += self.takes + self.jumps
        self.jumps = timedelta(0)
        if self.broken:
            return None
        return [{"metadata": {}, "involvedObject": {"uid": uid}, "message": f"{uid} at {self.now}"} for uid in about]


def waits(number: int, namespace: str = "shop") -> dict[str, Wait]:
    def read(events: object) -> str:
        return str([event["message"] for event in events])  # type: ignore[attr-defined]

    return {"run": Wait(f"{namespace}-{number}", NOW, PATIENCE, read)}


async def test_all_runs_of_a_namespace_share_an_answer_and_those_of_another_have_their_own() -> None:
    world, warnings = Slow(), Warnings()
    for number in range(100):  # what does not last is not asked about
        assert not await warnings.read(Key("shop", f"job-{number}"), waits(number), world)
    assert world.asked == []
    world.now = after(seconds=10)
    for number in range(100):
        await warnings.read(Key("shop", f"job-{number}"), waits(number), world)
    assert world.asked == [1], "who comes later is told the next time"
    world.now = after(seconds=20)
    for number in range(100):
        told = await warnings.read(Key("shop", f"job-{number}"), waits(number), world)
        assert told == {"run": f"['shop-{number} at {world.now}']"}
    assert world.asked == [1, 100]
    await warnings.read(Key("bakery", "job"), waits(1, "bakery"), world)
    assert world.asked == [1, 100, 1]


@pytest.mark.parametrize(("takes", "pause"), [(0, 10), (0.1, 10), (3, 60)])
async def test_the_longer_an_answer_takes_the_later_is_the_next(takes: float, pause: float) -> None:
    world, warnings = Slow(), Warnings()
    world.takes = timedelta(seconds=takes)
    for number in range(100):
        world.now = after(seconds=10 + number)
        await warnings.read(Key("shop", f"job-{number}"), waits(number), world)
    assert len(world.asked) == -(-100 // pause)


async def test_a_clock_that_is_put_right_meanwhile_makes_no_answer_slow() -> None:
    world, warnings = Slow(), Warnings()
    world.now, world.jumps = after(seconds=10), timedelta(hours=1)
    await warnings.read(Key("shop", "job-0"), waits(0), world)
    world.now += timedelta(minutes=5)
    await warnings.read(Key("shop", "job-1"), waits(1), world)
    assert len(world.asked) == 2


async def test_what_is_known_outlasts_a_question_that_fails_which_is_not_repeated_at_once() -> None:
    world, warnings, key = Slow(), Warnings(), Key("shop", "job")
    world.now = after(seconds=10)
    known = await warnings.read(key, waits(1), world)
    world.now, world.broken = after(seconds=20), True
    assert await warnings.read(key, waits(1), world) == known
    assert await warnings.read(key, waits(1), world) == known
    assert len(world.asked) == 2


async def test_nothing_is_kept_of_a_namespace_in_which_nobody_waits() -> None:
    world, warnings = Slow(), Warnings()
    world.now = after(seconds=10)
    for number in range(3):
        await warnings.read(Key("shop", f"job-{number}"), waits(number), world)
    await warnings.read(Key("shop", "job-0"), {"run": None}, world)
    for number in (1, 2):
        warnings.forget(Key("shop", f"job-{number}"))
    assert (warnings._waiting, warnings._answers) == ({}, {})
