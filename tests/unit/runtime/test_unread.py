"""Answers that clients have not read yet: who does not read keeps nobody out."""

from contextlib import ExitStack
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from upright.runtime import unread
from upright.runtime.body import SMALL
from upright.runtime.response import TRANSPORT, response
from upright.runtime.unread import Unread


class Client:
    """Has an answer of so many bytes, and reads what it is told to."""

    def __init__(self, size: int = 100) -> None:
        self.size = self.left = size
        self.ended = False

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def held() -> ExitStack:
    return ExitStack()


def given(client: Client, room: Unread, held: ExitStack) -> Client:
    held.enter_context(room.kept(client.size, lambda: client.left, client.end))
    return client


def test_an_answer_takes_room_until_it_is_read(held: ExitStack) -> None:
    room = Unread(200)
    first, _ = given(Client(), room, held), given(Client(), room, held)

    assert (room.taken, first.ended) == (200, False)
    held.close()
    assert room.taken == 0


def test_who_reads_the_least_makes_way(monkeypatch: pytest.MonkeyPatch, held: ExitStack) -> None:
    monkeypatch.setattr(unread, "_SOON", 0.0)
    monkeypatch.setattr(unread, "_SLOW", inf)
    room = Unread(300)
    some, none, most = (given(Client(), room, held) for _ in range(3))
    some.left, most.left = 50, 10

    fourth = given(Client(150), room, held)

    assert [client.ended for client in (some, none, most, fourth)] == [True, True, False, False]
    assert room.taken == 250
    held.close()
    assert room.taken == 0


def test_where_everybody_reads_or_has_just_begun_who_comes_is_refused(
    monkeypatch: pytest.MonkeyPatch, held: ExitStack
) -> None:
    room = Unread(100)
    first = given(Client(), room, held)
    with pytest.raises(HTTPException) as refused:
        given(Client(), room, held)
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})

    monkeypatch.setattr(unread, "_SOON", 0.0)
    monkeypatch.setattr(unread, "_SLOW", 0)
    with pytest.raises(HTTPException):
        given(Client(), room, held)
    assert (first.ended, room.taken) == (False, 100)


def test_an_answer_that_is_larger_than_all_the_room_is_given_where_there_is_no_other(held: ExitStack) -> None:
    assert not given(Client(101), Unread(100), held).ended


@pytest.mark.parametrize(("size", "taken"), [(SMALL, 0), (SMALL + 1, SMALL + 1)])
async def test_whatever_a_large_answer_tells_takes_room_while_it_is_sent(size: int, taken: int) -> None:
    room, seen = Unread(10 * SMALL), list[int]()
    transport = SimpleNamespace(get_write_buffer_size=lambda: 0, abort=lambda: None)

    async def send(_: Any) -> None:
        seen.append(room.taken)

    async def receive() -> Any:
        raise AssertionError

    answer = response(room, b"x" * size, "text/plain")
    await answer({"type": "http", "extensions": {TRANSPORT: transport}}, receive, send)

    assert {*seen} == {taken}
    assert room.taken == 0
