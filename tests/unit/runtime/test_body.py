"""Bodies of requests: what many of them hold together."""

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from upright.runtime import body as bodies
from upright.runtime.body import BODY_LIMIT, SMALL, Body, Room


def a_request(chunks: Iterable[bytes], *, whole: bool = True) -> Request:
    """A request that brings these chunks, and nothing more: without its end the rest never comes."""

    async def messages() -> AsyncIterator[Message]:
        for chunk in chunks:
            yield {"type": "http.request", "body": chunk, "more_body": True}
        if whole:
            yield {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()

    coming = messages()

    async def receive() -> Message:
        return await anext(coming)

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def refused(body: Body, request: Request) -> tuple[int, str]:
    with pytest.raises(HTTPException) as refusal:
        await body.read(request)
    return refusal.value.status_code, refusal.value.detail


async def test_a_body_takes_room_until_it_is_dropped() -> None:
    room = Room(10 * SMALL)
    with Body(room) as body:
        await body.read(a_request([b"ab", b"c"]))
        assert room.taken == 3
        assert body.take() == b"abc"
        assert room.taken == 3, "while it is worked on"
    assert room.taken == 0


async def test_a_body_that_was_dropped_is_nobody_s() -> None:
    room = Room(10 * SMALL)
    with Body(room) as body:
        await body.read(a_request([b"abc"]))
        body.drop()
        assert room.taken == 0
        with pytest.raises(ClientDisconnect):
            body.take()
    assert room.taken == 0


async def test_what_finds_no_room_is_refused_and_small_bodies_always_find_some() -> None:
    room = Room(3 * SMALL)
    large = [b"x" * SMALL] * 2
    with Body(room) as first, Body(room) as second, Body(room) as small, Body(room) as third:
        await first.read(a_request(large))
        unread = iter([*large, b"more"])
        status, sentence = await refused(second, a_request(unread))
        assert (status, sentence.split(" are here already")[0]) == (503, f"{3 * SMALL} bytes of requests")
        assert not [*unread], "a client that is still sending would not see the answer"
        assert room.taken == 2 * SMALL, "what is refused takes none"
        await small.read(a_request([b"x" * SMALL]))
        assert (await refused(third, a_request([*large])))[0] == 503
        first.drop()
        with Body(room) as later:
            await later.read(a_request(large))
            assert later.take() == b"".join(large)
    assert room.taken == 0


async def test_bodies_that_are_still_being_read_take_room_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(3 * SMALL)
    with Body(room) as slow, Body(room) as other:
        reading = asyncio.create_task(slow.read(a_request([b"x" * 3 * SMALL], whole=False)))
        await asyncio.sleep(0)
        assert (await refused(other, a_request([b"x" * 2 * SMALL])))[0] == 503
        reading.cancel()
    monkeypatch.setattr(bodies, "READING", 0.01)
    with Body(room) as slow:
        status, sentence = await refused(slow, a_request([b"x"], whole=False))
    assert (status, sentence) == (408, "the body has not come within 0.01 seconds")
    assert room.taken == 0


async def test_a_body_beyond_the_limit_takes_no_room_while_the_rest_of_it_is_thrown_away() -> None:
    room = Room(100 * BODY_LIMIT)
    with Body(room) as body:
        request = a_request([b"x" * BODY_LIMIT, b"x", b"x" * BODY_LIMIT])
        assert (await refused(body, request))[0] == 413
        assert room.taken == 0


def test_a_body_that_is_there_already_finds_room_or_is_refused() -> None:
    room = Room(100)
    with Body(room) as large, Body(room) as small:
        with pytest.raises(HTTPException, match="100 bytes of requests are here already"):
            large.hold(bytes(SMALL + 1))
        small.hold(b"x")
        assert small.take() == b"x"
    assert room.taken == 0
