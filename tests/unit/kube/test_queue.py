"""The queue of keys."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upright.contract import Key
from upright.kube.queue import LONGEST_DELAY, LONGEST_REST, Queue

BEAR, DOLL = Key("shop", "bear"), Key("shop", "doll")


class Work:
    """Counts the turns of each key; a turn of a key in `held` lasts until it is let go."""

    def __init__(self) -> None:
        self.turns: list[Key] = []
        self.at_once: dict[Key, int] = {}
        self.most_at_once = 0
        self.held = asyncio.Event()
        self.held.set()
        self._turned = asyncio.Condition()

    async def __call__(self, key: Key) -> None:
        self.at_once[key] = self.at_once.get(key, 0) + 1
        self.most_at_once = max(self.most_at_once, self.at_once[key])
        async with self._turned:
            self.turns.append(key)
            self._turned.notify_all()
        await self.held.wait()
        self.at_once[key] -= 1

    async def until(self, turns: int) -> None:
        async with asyncio.timeout(5), self._turned:
            await self._turned.wait_for(lambda: len(self.turns) >= turns)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_key_that_is_added_often_has_one_turn() -> None:
    queue, work = Queue(2), Work()
    for _ in range(5):
        queue.add(BEAR)
    assert queue.depth == 1
    queue.start(work)
    await work.until(1)
    await settle()
    assert work.turns == [BEAR]
    await queue.stop(1)


async def test_a_key_that_is_added_during_its_turn_has_another_one_after_it() -> None:
    queue, work = Queue(3), Work()
    work.held.clear()
    queue.start(work)
    queue.add(BEAR)
    await work.until(1)
    queue.add(BEAR)
    queue.add(BEAR)
    await settle()
    assert work.turns == [BEAR]
    assert queue.depth == 1
    work.held.set()
    await work.until(2)
    await settle()
    assert work.turns == [BEAR, BEAR]
    assert work.most_at_once == 1
    await queue.stop(1)


async def test_others_have_their_turn_in_the_loop_while_a_long_line_waits_for_nothing() -> None:
    queue, turns = Queue(2), list[Key]()

    async def settled(key: Key) -> None:
        turns.append(key)

    for number in range(1000):
        queue.add(Key("shop", str(number)))
    queue.start(settled)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(turns) < 10
    await queue.stop(1)


async def test_no_two_turns_begin_in_the_same_round_of_the_loop_however_many_workers_there_are() -> None:
    """Sixteen that reckon for half a second each would take the Lease from us."""
    queue, rounds, begun, all_begun = Queue(16), 0, list[int](), asyncio.Event()

    async def reckoning(_: Key) -> None:
        begun.append(rounds)
        if len(begun) == 20:
            all_begun.set()

    async def going_round() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    for number in range(20):
        queue.add(Key(f"team-{number}", "bear"))
    queue.start(reckoning)
    other = asyncio.create_task(going_round())
    async with asyncio.timeout(5):
        await all_begun.wait()
    other.cancel()
    assert len(set(begun)) == 20
    await queue.stop(1)


async def test_a_slow_key_does_not_hold_up_others() -> None:
    queue, work = Queue(4), Work()
    work.held.clear()
    queue.start(work)
    queue.add(BEAR)
    await work.until(1)
    queue.add(DOLL)
    await work.until(2)
    assert work.turns == [BEAR, DOLL]
    work.held.set()
    await queue.stop(1)


async def test_slow_keys_of_one_namespace_leave_workers_to_all_others_and_have_their_turns_later() -> None:
    queue, work = Queue(4), Work()
    work.held.clear()
    queue.start(work)
    slow = [Key("rogue", f"slow-{number}") for number in range(10)]
    for key in slow:
        queue.add(key)
    await work.until(2)
    queue.add(BEAR)
    await work.until(3)
    await settle()
    assert work.turns == [*slow[:2], BEAR]
    assert queue.depth == 8
    queue.add(slow[5])
    work.held.set()
    await work.until(11)
    await settle()
    assert work.turns == [*slow[:2], BEAR, *slow[2:]], "each once"
    assert (queue.depth, len(queue._places), len(queue._aside)) == (0, 0, 0)
    await queue.stop(1)


async def test_news_of_what_had_its_turn_does_not_overtake_those_that_have_had_none() -> None:
    queue, turns, done = Queue(4), list[Key](), list[Key]()
    crowd, all_had_one = [Key("shop", f"doll-{number}") for number in range(20)], asyncio.Event()

    async def working(key: Key) -> None:
        turns.append(key)
        if len(turns) == len(crowd):
            all_had_one.set()
        await asyncio.sleep(0)
        for before in done[:3]:
            queue.add(before)
        done.append(key)

    for key in crowd:
        queue.add(key)
    queue.start(working)
    async with asyncio.timeout(5):
        await all_had_one.wait()
    assert turns[: len(crowd)] == crowd
    await queue.stop(1)


async def test_a_key_comes_up_again_at_the_earliest_time_that_was_asked_for() -> None:
    queue, work = Queue(1), Work()
    queue.start(work)
    queue.add_later(BEAR, 300)
    queue.add_later(BEAR, 0.01)
    queue.add_later(BEAR, 300)
    await work.until(1)
    await settle()
    assert work.turns == [BEAR]
    await queue.stop(1)


async def test_a_turn_makes_the_time_asked_for_before_it_void() -> None:
    queue, work = Queue(1), Work()
    queue.start(work)
    queue.add_later(BEAR, 0.02)
    queue.add(BEAR)
    await work.until(1)
    await asyncio.sleep(0.05)  # past the alarm: there must be none
    assert work.turns == [BEAR]
    await queue.stop(1)


@given(jitter=st.floats(0, 1), failures=st.integers(1, 40))
def test_failures_in_a_row_wait_longer_from_1_second_to_5_minutes(jitter: float, failures: int) -> None:
    async def delays() -> list[float]:
        queue = Queue(1, jitter=lambda: jitter)
        found = [queue.back_off(BEAR) for _ in range(failures)]
        await queue.stop(0)
        return found

    found = asyncio.run(delays())
    assert found == sorted(found)
    assert all(1 <= delay <= LONGEST_DELAY for delay in found)
    assert found[0] <= 2


async def test_a_success_makes_the_next_failure_the_first() -> None:
    queue = Queue(1, jitter=lambda: 1.0)
    first, second = queue.back_off(BEAR), queue.back_off(BEAR)
    queue.succeeded(BEAR)
    assert (first, second, queue.back_off(BEAR)) == (2, 4, 2)
    await queue.stop(0)


class Failing:
    """Fails each turn; `meanwhile` is done during the turn."""

    def __init__(self, queue: Queue, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.turns = 0
        self._queue = queue
        self._meanwhile = meanwhile

    async def __call__(self, key: Key) -> None:
        self.turns += 1
        self._meanwhile()
        self._queue.back_off(key)


async def test_news_does_not_end_the_rest_of_what_has_failed() -> None:
    """Its own writes are news, too: 8,315 turns in 3 s."""
    queue = Queue(1, jitter=lambda: 0.0)
    work = Failing(queue, lambda: queue.add(BEAR))
    queue.start(work)
    queue.add(BEAR)
    for _ in range(20):
        await settle()
        queue.add(BEAR)
    assert work.turns == 1
    await queue.stop(1)


async def test_what_has_failed_gets_a_turn_at_once_when_it_is_changed_itself_even_during_its_turn() -> None:
    queue = Queue(1, jitter=lambda: 0.0)
    changes = iter([True])
    work = Failing(queue, lambda: queue.add(BEAR, rested=True) if next(changes, False) else queue.add(BEAR))
    queue.start(work)
    queue.add(BEAR)
    await settle()
    assert work.turns == 2
    queue.add(BEAR, rested=True)
    await settle()
    assert work.turns == 3
    await queue.stop(1)


async def test_news_shortens_a_long_wait_to_the_longest_rest() -> None:
    queue = Queue(1, jitter=lambda: 1.0)
    for _ in range(12):
        queue._silence(BEAR)  # as its turn does
        assert queue.back_off(BEAR) <= LONGEST_DELAY
    queue.add(BEAR)
    left = queue._alarms[BEAR].when() - asyncio.get_running_loop().time()
    assert LONGEST_REST - 1 < left <= LONGEST_REST
    await queue.stop(0)


async def test_stopping_lets_the_turn_end_and_begins_no_other() -> None:
    queue, work = Queue(1), Work()
    work.held.clear()
    queue.start(work)
    queue.add(BEAR)
    queue.add(DOLL)
    await work.until(1)
    stopping = asyncio.create_task(queue.stop(5))
    await settle()
    assert not stopping.done()
    work.held.set()
    await stopping
    assert work.turns == [BEAR]
    assert work.at_once == {BEAR: 0}


async def test_stopping_does_not_wait_longer_than_it_may() -> None:
    queue, work = Queue(1), Work()
    work.held.clear()
    queue.start(work)
    queue.add(BEAR)
    await work.until(1)
    async with asyncio.timeout(2):
        await queue.stop(0.01)


async def test_a_worker_that_fails_is_not_a_secret() -> None:
    async def fail(_: Key) -> None:
        raise RuntimeError("a mistake")

    work: Callable[[Key], Awaitable[None]] = fail
    queue = Queue(2)
    queue.start(work)
    queue.add(BEAR)
    with pytest.raises(RuntimeError, match="a mistake"):
        await queue.join()
    await queue.stop(1)
