"""For how long a request may be under way."""

import asyncio
import math

import pytest

from upright.kube.fence import bounded


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upright.kube.fence.AGAIN", 0.001)


class Fence:
    """Allows what stands in line, the last for ever; `asked` is set when it was asked for that."""

    def __init__(self, *allowed: float) -> None:
        self._allowed = list(allowed)
        self.asked = asyncio.Event()

    def __call__(self) -> float:
        if len(self._allowed) > 1:
            return self._allowed.pop(0)
        self.asked.set()
        return self._allowed[0]


@pytest.mark.parametrize(
    ("most", "allowed", "left"),
    [
        (60.0, (1000.0,), 60.0),
        (math.inf, (1000.0, 1000.0, 2000.0), 2000.0),
        (1500.0, (1000.0, 1000.0, 2000.0), 1500.0),
        (math.inf, (1000.0, 500.0), 1000.0),
        (math.inf, (1000.0, 0.0), 1000.0),
        (math.inf, (math.inf,), math.inf),
    ],
    ids=["at most", "renewed", "renewed, at most", "renewed no more", "lost", "no fence"],
)
async def test_it_may_go_on_for_as_long_as_the_fence_has_allowed_by_now(
    most: float, allowed: tuple[float, ...], left: float
) -> None:
    fence = Fence(*allowed)
    began = asyncio.get_running_loop().time()
    async with bounded(most, fence) as patience:
        await fence.asked.wait()
        assert patience.when() == (math.inf if left == math.inf else pytest.approx(began + left, abs=30))


async def test_what_is_allowed_no_longer_ends() -> None:
    fence = Fence(0.01, 0.0)
    with pytest.raises(TimeoutError):
        async with bounded(math.inf, fence):
            await asyncio.Event().wait()


async def test_the_fence_is_asked_no_more_when_all_is_done() -> None:
    fence = Fence(1000.0)
    async with bounded(60.0, fence):
        await fence.asked.wait()
        fence.asked.clear()
        await fence.asked.wait()
    fence.asked.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fence.asked.wait(), 0.05)
