"""For how long a request may be under way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

AGAIN = 1.0
"""Seconds from one question of the fence to the next."""


@contextlib.asynccontextmanager
async def bounded(most: float, fence: Callable[[], float]) -> AsyncIterator[asyncio.Timeout]:
    """Ends what is done within it after `most` seconds, and no later than the fence allows, with a TimeoutError.

    `fence` returns how many seconds from now are allowed. It is asked again and again: while the Lease is renewed,
    there are ever more. None that it has allowed are taken back.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + most

    def allowed() -> float:
        return min(end, loop.time() + fence())

    async with asyncio.timeout_at(allowed()) as patience:
        asking: asyncio.TimerHandle

        def ask() -> None:
            nonlocal asking
            if not patience.expired():
                patience.reschedule(max(patience.when() or 0.0, allowed()))
                asking = loop.call_later(AGAIN, ask)

        asking = loop.call_later(AGAIN, ask)
        try:
            yield patience
        finally:
            asking.cancel()
