"""Micro-batching: requests that come within a moment of each other are answered together.

For models whose calls are dear and hardly dearer with more rows: a forest of 100 trees takes as long for 64 rows as for
one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from upright.runtime.threads import OverloadedError, PredictionThreads

Q = TypeVar("Q")
A = TypeVar("A")


class Batching(Generic[Q, A]):
    """Questions that are answered together, by one call in one of the threads: it takes those that wait when its turn
    has come. What nobody waits for any more is not among them.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        threads: PredictionThreads,
        most: int,
        wait: float,
    ) -> None:
        """A call is made when `most` questions wait, which it takes at most, or `wait` seconds after the first came."""
        self._answer = answer
        self._threads = threads
        self._most = most
        self._wait = wait
        self._line = deque[tuple[asyncio.Future[A], Q]]()
        self._due: asyncio.TimerHandle | None = None
        self._call: asyncio.Task[None] | None = None
        """One that has been asked for, and whose turn has not come."""
        self._calls = set[asyncio.Task[None]]()

    async def run(self, question: Q, timeout: float) -> A:  # noqa: ASYNC109 - of the line too
        """The answer. Raises what is answered instead, OverloadedError, or TimeoutError after `timeout` seconds."""
        if len(self._line) >= self._threads.waiting:
            raise OverloadedError
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        entry = (answer, question)
        self._line.append(entry)
        del question  # or the traceback of a timeout keeps it
        self._ask()
        try:
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            with suppress(ValueError):  # its turn has come
                self._line.remove(entry)

    def _ask(self) -> None:
        if not self._line or self._call is not None:
            return
        if len(self._line) >= min(self._most, self._threads.waiting):
            self._make_call()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(self._wait, self._make_call)

    def _make_call(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._call is None:
            self._call = call = asyncio.create_task(self._make())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)

    async def _make(self) -> None:
        loop, taken = asyncio.get_running_loop(), list[tuple[asyncio.Future[A], Q]]()

        def work() -> Sequence[A | Exception]:
            with suppress(IndexError):
                while len(taken) < self._most:
                    taken.append(self._line.popleft())
            loop.call_soon_threadsafe(self._has_begun)
            return self._answer([question for _, question in taken])

        answers: Sequence[A | Exception]
        try:
            answers = await self._threads.run(work)
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            answers = [error] * len(taken)
            self._has_begun()
        for (future, _), answer in zip(taken, answers, strict=True):
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _has_begun(self) -> None:
        self._call = None
        self._ask()
