"""Several processes that serve one port, and end together.

The first one listens, and gives each connection to the next worker in turn: where all accept for themselves, those that
come at once may all be taken by one, and stay with it for as long as they are kept. What a worker is given, it has by
the time it is told to end: it hears so by the end of its channel.

No worker is replaced. A process of which a part has died has lost requests, as one that serves alone has when it dies:
the others answer what they have begun, the container ends, and the kubelet counts it and starts it anew.
"""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import cycle
from typing import NoReturn

import uvicorn

from upright.runtime.board import Board
from upright.runtime.outcome import FailedError, RefusedError

_BACKLOG = 2048
_SOON = 0.05
"""Seconds until another try, where no worker takes a connection or the system has no room for one."""

Work = Callable[[int, socket.socket], None]
"""Serves as the worker of a number, with the connections that come through a channel."""

logger = logging.getLogger("upright.serve")


def serve_together(work: Work, board: Board, listener: socket.socket, workers: int, drain: float, end: float) -> None:
    """Fork the workers, and serve until told to stop.

    `drain`: seconds from the signal to stop until connections are refused. `end`: those after which a worker that has
    not ended is killed. Raises FailedError when a worker ends unasked.
    """
    ours, theirs = zip(*(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(workers)), strict=True)
    channels = dict[int, socket.socket]()
    for number, channel in enumerate(ours):
        if not (pid := os.fork()):
            for other in (listener, *ours, *(each for each in theirs if each is not theirs[number])):
                other.close()
            _work(work, number, theirs[number])
        channels[pid] = channel
    for channel in theirs:
        channel.close()
    asyncio.run(_Supervisor(channels, board, listener).run(drain, end))


def _work(work: Work, number: int, channel: socket.socket) -> NoReturn:
    """What is the first process's to clean up is left alone."""
    status = 1
    try:
        work(number, channel)
        status = 0
    except (FailedError, RefusedError) as error:
        logger.error("%s", error)  # noqa: TRY400 - it is a sentence
    except BaseException:
        logger.exception("A worker fails")
    finally:
        logging.shutdown()
        os._exit(status)


class _Supervisor:
    """The first process: it has the id 1 in its container, so that it is also the parent of whoever has lost theirs."""

    def __init__(self, channels: Mapping[int, socket.socket], board: Board, listener: socket.socket) -> None:
        self._channels = channels
        self._board = board
        self._listener = listener
        self._left = set(channels)
        self._none_left = asyncio.Event()
        self._stopping = asyncio.Event()
        self._loss: str | None = None

    async def run(self, drain: float, end: float) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._reap()  # those that ended before
        giving = asyncio.create_task(self._give_connections())
        await self._stopping.wait()
        self._send(signal.SIGTERM)
        await self._all_end_within(drain)
        giving.cancel()
        for each in (self._listener, *self._channels.values()):
            each.close()
        if not await self._all_end_within(end):
            logger.error("%d workers have not ended %g s after they were told to: killed", len(self._left), end)
            self._send(signal.SIGKILL)
            await self._none_left.wait()
        if self._loss:
            raise FailedError("WorkerEnded", self._loss)

    async def _all_end_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._none_left.wait(), seconds)
        return self._none_left.is_set()

    def _send(self, number: signal.Signals) -> None:
        for pid in self._left:
            os.kill(pid, number)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._ended(*ended)

    def _ended(self, pid: int, status: int) -> None:
        if pid not in self._left:
            return
        self._left.remove(pid)
        if not self._left:
            self._none_left.set()
        if not self._stopping.is_set():
            self._loss = (
                f"A worker of the server {_how(os.waitstatus_to_exitcode(status))}: what it was asked had no answer"
            )
            logger.error("%s", self._loss)
            self._stopping.set()

    async def _give_connections(self) -> None:
        """Once every worker serves: until then nobody waits for them."""
        loop = asyncio.get_running_loop()
        for channel in self._channels.values():
            channel.setblocking(False)
            await loop.sock_recv(channel, 1)
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        turns = cycle(enumerate(self._channels.values()))
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:
                logger.exception("No connection can be taken")
                await asyncio.sleep(_SOON)
                continue
            with connection:
                while not self._given(connection, [next(turns) for _ in self._channels]):  # noqa: ASYNC110
                    await asyncio.sleep(_SOON)  # a worker that has room again tells nobody
                next(turns)

    def _given(self, connection: socket.socket, turns: list[tuple[int, socket.socket]]) -> bool:
        for _, channel in sorted(turns, key=lambda turn: not self._board.prompt(turn[0])):
            with suppress(OSError):  # it has much to take, or has ended
                socket.send_fds(channel, [b"c"], [connection.fileno()])
                return True
        return False


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}, and its log says why"
    why = " (as the kernel does when memory is short: see serving.resources)" if status == -signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-status).name}{why}"


async def serve_given(server: uvicorn.Server, channel: socket.socket) -> None:
    """Serve what comes through a channel, until that ends."""
    taking = asyncio.create_task(_take(server, channel))
    await server.serve(sockets=[])
    taking.cancel()


async def _take(server: uvicorn.Server, channel: socket.socket) -> None:
    loop, config = asyncio.get_running_loop(), server.config
    while not server.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(_SOON)
    under_way = set[asyncio.Task[object]]()

    def take() -> None:
        message, received, *_ = socket.recv_fds(channel, 1, 1)
        if not message:
            loop.remove_reader(channel)
            server.should_exit = True
        for connection in received:
            made = loop.create_task(
                loop.connect_accepted_socket(
                    lambda: config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn calls it
                        config=config, server_state=server.server_state, app_state=server.lifespan.state
                    ),
                    socket.socket(fileno=connection),
                )
            )
            under_way.add(made)
            made.add_done_callback(under_way.discard)

    channel.setblocking(False)
    loop.add_reader(channel, take)
    await loop.sock_sendall(channel, b"s")
    await asyncio.Event().wait()
