"""Threads in which a model predicts.

A thread cannot be interrupted: a call that does not come back keeps its thread for good. So there is a fixed number of
threads, what waits for one is bounded, and the pod's health follows from how long none has been free. They are daemons:
the process ends when it is told to, whatever hangs in them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Thread
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")

_SOON = 0.002
"""Seconds after which another thread helps. Threads that take calls of less in turns, as Python lets them, are no
faster than one that takes them one after the other, and the first of them takes as long as the last."""


class OverloadedError(Exception):
    """More calls come than threads take: the message ends a sentence that begins with the model."""


@dataclass
class Turn:
    """Of a call: when it has come, if it has, and got on last; and whether nobody waits for it any more."""

    began: float | None = None
    got_on: float = 0.0
    over: bool = False

    def wanted(self) -> bool:
        """Whether somebody still waits for it, which has got on by a part."""
        self.got_on = monotonic()
        return not self.over

    def came_late(self, timeout: float) -> bool:
        """Of a call that is not over after so many seconds: whether it has waited for longer than it has taken. Then
        others have kept the model from it, and it says nothing of the model.
        """
        return self.began is None or monotonic() - self.began < timeout / 2


class PredictionThreads:
    """A fixed number of threads for calls that block."""

    def __init__(self, threads: int, waiting: int) -> None:
        """`waiting`: calls that may wait until a thread is free."""
        self.waiting = waiting
        self._line = Condition()
        # Those that wait, in the order in which they came, by where their answers go.
        self._calls = OrderedDict[asyncio.Future[Any], tuple[Callable[[], Any], Turn]]()
        self._under_way: list[Turn | None] = [None] * threads
        self._help: asyncio.TimerHandle | None = None
        for number in range(threads):
            Thread(target=self._work, args=(number,), name=f"predict-{number}", daemon=True).start()

    async def run(
        self,
        call: Callable[[], T],
        timeout: float | None = None,  # noqa: ASYNC109 - of the queue too
        turn: Turn | None = None,
    ) -> T:
        """What the call returns. Raises what it raises, TimeoutError when that takes more than `timeout` seconds, and
        OverloadedError when there is no room to wait, or its turn has come too late, if at all.

        A call that has not begun by then, or before its caller was cancelled, is never made, and kept no longer. One
        that goes on may look at its `turn`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        turn = turn or Turn()
        with self._line:
            # Those for which a thread is free do not wait: it will have them in a moment.
            if len(self._calls) - (idle := self._under_way.count(None)) >= self.waiting:
                raise OverloadedError(full(self.waiting))
            self._calls[answer] = call, turn
            if idle == len(self._under_way):
                self._line.notify()
        if idle < len(self._under_way) and self._help is None:
            self._help = loop.call_later(_SOON, self._help_out)
        del call  # or the traceback of a timeout keeps it
        # What interrupts whatever a task waits for, as asyncio.timeout does, costs several times as much.
        late = None if timeout is None else loop.call_later(timeout, _give_up, answer, turn, timeout)
        try:
            return await answer
        finally:
            turn.over = True
            if late is not None:
                late.cancel()
            with self._line:
                self._calls.pop(answer, None)

    def _help_out(self) -> None:
        self._help = None
        with self._line:
            if self._calls:
                self._line.notify()
                self._help = asyncio.get_running_loop().call_later(_SOON, self._help_out)

    def stuck_for(self) -> float:
        """Seconds for which every thread has had a call that neither comes back nor gets on; 0 while one is free. As
        long as others can be answered, a call that takes long is its caller's trouble alone.
        """
        got_on = [turn.got_on for turn in self._under_way if turn is not None]
        return monotonic() - max(got_on) if len(got_on) == len(self._under_way) else 0.0

    def _work(self, number: int) -> None:
        while True:
            with self._line:
                while not self._calls:
                    self._line.wait()
                answer, (call, turn) = self._calls.popitem(last=False)
                turn.began = turn.got_on = monotonic()
                self._under_way[number] = turn
            try:
                settled: tuple[Any, BaseException | None] = call(), None
            except BaseException as error:  # noqa: BLE001 - it is the caller's to know
                settled = None, error
            self._under_way[number] = None
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waits
                answer.get_loop().call_soon_threadsafe(_settle, answer, *settled)
            del answer, call, turn, settled  # a waiting thread holds nobody's request


def full(waiting: int) -> str:
    """Why there is no room to wait."""
    return f"has {waiting} waiting already, as many as may (serving.queue)"


def too_late(timeout: float) -> str:
    """Why one that has waited is answered nothing."""
    return f"has had others to answer for {timeout:g} seconds (serving.timeout)"


def _give_up(answer: "asyncio.Future[Any]", turn: Turn, timeout: float) -> None:
    _settle(answer, None, OverloadedError(too_late(timeout)) if turn.came_late(timeout) else TimeoutError())


def _settle(answer: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if answer.done():  # nobody waits for it any more
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
