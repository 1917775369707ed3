"""JSON that nests deeper than can be read."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upright.kube import nesting
from upright.kube.nesting import Lines, cut, parsed

TEXT = st.text(st.sampled_from('a"\\[]{}\n\u1234'), max_size=4)
JSON = st.recursive(
    st.none() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=30,
)


def without_depths(value: Any, levels: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if levels == 0:
        return None
    if isinstance(value, list):
        return [without_depths(item, levels - 1) for item in value]
    return {name: without_depths(item, levels - 1) for name, item in value.items()}


@given(JSON, st.integers(1, 4), st.sampled_from([None, 2]))
def test_what_nests_too_deep_becomes_null_and_all_else_stays(value: Any, levels: int, indent: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nesting, "CUT", levels)
        assert json.loads(cut(json.dumps(value, indent=indent).encode())) == without_depths(value, levels)


def test_the_deepest_that_an_api_server_takes_is_read_as_far_as_it_can_be() -> None:
    deep = b'{"metadata": {"name": "a"}, "spec": ' + b'{"a": [' * 5000 + b"]}" * 5000 + b', "status": 1}'
    found = parsed(deep)
    assert (found["metadata"], found["status"]) == ({"name": "a"}, 1)
    assert isinstance(found["spec"], dict)
    with pytest.raises(ValueError, match="Expecting"):
        parsed(b"[" * 5000)


async def no_failure(why: str) -> None:
    raise AssertionError(why)


class Chunks:
    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


@given(st.lists(JSON, min_size=1, max_size=4), st.integers(1, 7), st.booleans())
async def test_of_a_watch_each_line_is_cut_however_it_comes_in(values: list[Any], size: int, ended: bool) -> None:
    text = b"\n".join(json.dumps(value).encode() for value in values) + b"\n" * ended
    chunks = Chunks([text[at : at + size] for at in range(0, len(text), size)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nesting, "CUT", 2)
        got = [chunk async for chunk in Lines(cast(aiohttp.StreamReader, chunks), no_failure).iter_chunked(size)]
    lines = b"".join(got).splitlines()
    assert [json.loads(line) for line in lines] == [without_depths(value, 2) for value in values]
    assert all(chunk.endswith(b"\n") for chunk in got[:-1]), "a reader may parse each as it comes"


@pytest.mark.parametrize(("code", "ends"), [(410, False), (500, True), (429, True)])
@pytest.mark.parametrize("together", [True, False])
async def test_a_watch_that_fails_ends_with_what_came_before(code: int, ends: bool, together: bool) -> None:
    lines = [
        b'{"type":"ADDED","object":{"kind":"ERROR"}}\n',
        b'{"type": "ERROR", "object": {"code": %d, "message": "etcd: no leader"}}\n' % code,
        b'{"type":"ADDED","object":{}}\n',
    ]
    said = list[str]()

    async def failed(why: str) -> None:
        said.append(why)

    chunks = Chunks([b"".join(lines)] if together else lines)
    got = b"".join([chunk async for chunk in Lines(cast(aiohttp.StreamReader, chunks), failed).iter_chunked(9)])
    assert got.count(b"\n") == (1 if ends else 3)
    assert said == (["etcd: no leader"] if ends else [])
