"""JSON that strangers wrote: the API server takes what nests 10,000 levels deep, and no parser of ours would. Pure."""

import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import aiohttp

CUT = 512
"""What nests deeper than so many levels becomes null. An object may have fewer (`keeping.DEEPEST`): one that was cut is
still seen to be too deep. Python's parser gives up at about 1,000."""

_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"(?:[^"\\]++|\\.)*+(?:"|\Z)[^"\[\]{}]*+)*+(?:([\[\]{}])|\Z)', re.DOTALL)
"""The next one that is in no string, and all before it; possessive, so that nothing is gone through twice."""
_LINE = b"\n"
_ERROR = re.compile(rb'\s*\{\s*"type"\s*:\s*"ERROR"')


def parsed(text: bytes) -> Any:
    """The JSON of an answer, cut where it nests too deep to be read. Raises ValueError for what is none."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(cut(text))


def cut(text: bytes) -> bytes:
    """JSON in which nothing nests deeper than CUT levels; what does has become null."""
    if text.count(b"[") + text.count(b"{") <= CUT:
        return text
    parts, depth, kept_to, hidden_from = list[bytes](), 0, 0, 0
    for found in _BRACKET.finditer(text):
        if found[1] is None:
            break
        if found[1] in b"[{":
            depth += 1
            if depth == CUT + 1:
                hidden_from = found.start(1)
        else:
            if depth == CUT + 1:
                parts += [text[kept_to:hidden_from], b"null"]
                kept_to = found.end()
            depth -= 1
    return b"".join([*parts, text[kept_to : hidden_from if depth > CUT else None]])  # it may break off in there


def failure(line: bytes) -> str:
    """Why a watch has failed, as a line of it says; empty of all others, and where it is too old to go on from (410):
    that Kopf answers by listing, and all else by ending every watch.
    """
    if not _ERROR.match(line):
        return ""
    status = parsed(line).get("object")
    if not isinstance(status, dict):
        return "no reason given"
    return "" if status.get("code") == HTTPStatus.GONE else str(status.get("message") or status)


class Lines:
    """The content of a response that is a watch, for one who reads it in chunks: each holds whole lines, cut. It ends
    where the API server says that the watch has failed, once `failed` has been told.
    """

    def __init__(self, content: aiohttp.StreamReader, failed: Callable[[str], Awaitable[None]]) -> None:
        self._content = content
        self._failed = failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        begun = list[bytes]()
        async for chunk in self._content.iter_chunked(size):
            whole, newline, rest = chunk.rpartition(_LINE)
            if newline:
                lines = b"".join([*begun, whole]).split(_LINE)
                begun = []
                told = list(itertools.takewhile(lambda line: not failure(line), lines))
                yield b"".join(cut(line) + _LINE for line in told)
                if len(told) < len(lines):
                    await self._failed(failure(lines[len(told)]))
                    return
            begun.append(rest)
        yield cut(b"".join(begun))
