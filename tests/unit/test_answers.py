"""What pods send as the head of an answer costs what its length does."""

import asyncio
import time

import pytest

from upright.sources.answers import LONGEST_HEAD, AnswerError, Reader, head


def fed(*lines: bytes) -> Reader:
    reader = Reader()
    reader.feed_data(b"".join(line + b"\r\n" for line in (b"HTTP/1.1 200 OK", *lines, b"")))
    reader.feed_eof()
    return reader


async def test_a_value_stands_without_the_spaces_around_it() -> None:
    _, headers = await head(fed(b"A: \t x \t y \t", b"b:", b"a:z"))
    assert headers == {"a": "x \t y, z", "b": ""}


async def test_spaces_inside_a_value_cost_what_their_number_does() -> None:
    """One pod's would else keep the operator from everybody's objects for seconds."""

    async def seconds(spaces: int) -> float:
        taken = []
        for _ in range(3):
            reader = fed(b"a:x" + b" " * spaces + b"y")
            began = time.process_time()
            await head(reader)
            taken.append(time.process_time() - began)
        return min(taken)

    assert await seconds(15_000) <= 8 * await seconds(3_000) + 0.001  # 25 times, by the square


async def test_what_is_too_large_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(AnswerError, match="have more than"):
        await asyncio.wait_for(head(fed(*[b"a:" + b"x" * (LONGEST_HEAD // 2)] * 3)), 5)
