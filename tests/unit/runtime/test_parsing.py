"""What bodies become while they are parsed: no more than one large one at a time, and nothing of what is refused."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from upright.runtime.batch import BadInputError
from upright.runtime.body import SMALL
from upright.runtime.parsing import parsed

TEN_SECONDS = 10


class Tree:
    """What a body has become."""


def test_a_refusal_keeps_nothing_of_what_is_refused() -> None:
    trees = list[weakref.ref[Tree]]()

    def parse(_: bytes) -> None:
        tree = Tree()
        trees.append(weakref.ref(tree))
        try:
            int("no number")
        except ValueError:
            raise BadInputError("a sentence") from None

    with pytest.raises(BadInputError, match="a sentence") as refused:
        parsed(b"x" * 2 * SMALL, parse)

    assert refused.value
    assert [tree() for tree in trees] == [None]


def test_large_bodies_are_parsed_one_by_one_and_small_ones_meanwhile() -> None:
    begun, gate, order = threading.Event(), threading.Event(), list[str]()

    def first(_: bytes) -> None:
        begun.set()
        assert gate.wait(TEN_SECONDS)
        order.append("first")

    with ThreadPoolExecutor() as threads:
        one = threads.submit(parsed, b"x" * (SMALL + 1), first)
        assert begun.wait(TEN_SECONDS)
        another = threads.submit(parsed, b"x" * (SMALL + 1), lambda _: order.append("second"))
        threads.submit(parsed, b"x", lambda _: order.append("small")).result(TEN_SECONDS)
        gate.set()
        one.result(TEN_SECONDS)
        another.result(TEN_SECONDS)

    assert order == ["small", "first", "second"]
