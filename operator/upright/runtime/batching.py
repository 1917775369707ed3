"""Micro-batching: requests that come within a moment of each other are answered together.

For models whose calls are dear and hardly dearer with more rows: a forest of 100 trees takes as long for 64 rows as for
one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

from upright.runtime.threads import OverloadedError, PredictionThreads, Turn, full, too_late

TAKING_SECONDS = 0.1
"""After which a turn takes no more: who came first waits while what came later is taken, and so is parsed."""

Q = TypeVar("Q")
A = TypeVar("A")

Answering = Callable[[Iterable[Q], Callable[[int], bool]], Iterator[Mapping[int, A | Exception]]]
"""Takes as many questions as it likes to answer together before it gives anything, and then gives answers, or what is
answered instead, by the questions' numbers, as soon as it has them. It is told whether the answer to one is still
wanted."""


@dataclass(frozen=True, eq=False)
class _Waiting(Generic[Q, A]):
    """A question, and where its answer goes."""

    answer: asyncio.Future[A]
    question: Q
    due: float
    """When it has waited for others for long enough, by the loop's clock."""
    turn: Turn = field(default_factory=Turn)


class Batching(Generic[Q, A]):
    """Questions that are answered together, in one of the threads, of those that wait when its turn has come. What
    nobody waits for any more is not among them. Each turn is one of its own in the threads' line, so that none waits
    for more than was taken with it.
    """

    def __init__(self, answer: Answering[Q, A], threads: PredictionThreads, most: int, wait: float) -> None:
        """A turn is asked for when `most` questions wait, which it takes at most, or one has for `wait` seconds."""
        self._answer = answer
        self._threads = threads
        self._most = most
        self._wait = wait
        self._line = deque[_Waiting[Q, A]]()
        self._due: asyncio.TimerHandle | None = None
        self._turn: asyncio.Task[None] | None = None
        """One that has been asked for, and has not come."""
        self._turns = set[asyncio.Task[None]]()

    async def run(self, question: Q, timeout: float) -> A:  # noqa: ASYNC109 - of the line too
        """The answer. Raises what is answered instead, TimeoutError when that takes more than `timeout` seconds, and
        OverloadedError when there is no room to wait, or its turn has come too late, if at all.
        """
        if len(self._line) >= self._threads.waiting:
            raise OverloadedError(full(self._threads.waiting))
        loop = asyncio.get_running_loop()
        waiting = _Waiting[Q, A](loop.create_future(), question, loop.time() + self._wait)
        self._line.append(waiting)
        answer = waiting.answer
        del question  # or the traceback of a timeout keeps it
        self._ask()
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            if waiting.turn.came_late(timeout):
                raise OverloadedError(too_late(timeout)) from None
            raise
        finally:
            with suppress(ValueError):  # its turn has come
                self._line.remove(waiting)
            del waiting

    def _ask(self) -> None:
        if self._turn is not None:
            return
        loop = asyncio.get_running_loop()
        with suppress(IndexError):  # none waits
            due = self._line[0].due
            if len(self._line) >= min(self._most, self._threads.waiting) or due <= loop.time():
                self._ask_now()
            elif self._due is None:
                self._due = loop.call_at(due, self._ask_now)

    def _ask_now(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._turn is None:
            self._turn = turn = asyncio.create_task(self._take_turn())
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)

    async def _take_turn(self) -> None:
        loop, taken, turn = asyncio.get_running_loop(), list[asyncio.Future[A]](), Turn()
        this = asyncio.current_task()

        def take() -> Iterator[Q]:
            end = monotonic() + TAKING_SECONDS
            with suppress(IndexError):
                while len(taken) < self._most and (not taken or monotonic() < end):
                    waiting = self._line.popleft()
                    waiting.turn.began = monotonic()
                    taken.append(waiting.answer)
                    yield waiting.question

        def work() -> None:
            given = self._answer(take(), lambda number: turn.wanted() and not taken[number].done())
            for count, found in enumerate(given):
                if count == 0:
                    loop.call_soon_threadsafe(self._has_taken, this)
                loop.call_soon_threadsafe(_settle, [(taken[number], answer) for number, answer in found.items()])

        try:
            await self._threads.run(work, turn=turn)
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            _settle([(answer, error) for answer in taken])
            self._has_taken(this)

    def _has_taken(self, turn: asyncio.Task[None] | None) -> None:
        if self._turn is turn:  # or the next one has been asked for already
            self._turn = None
            self._ask()


def _settle(found: Sequence[tuple[asyncio.Future[A], A | Exception]]) -> None:
    for future, answer in found:
        if future.done():  # nobody waits for it any more
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
