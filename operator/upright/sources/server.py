"""What a Prometheus server answers to a query: raw series, or a sentence that says why there are none.

What answers may be a proxy, another store that speaks the same API, or nothing of the kind: its answer is bounded in
bytes where that is asked for, no redirect is followed, and what may be only a part is refused.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import aiohttp
from pydantic_core import from_json

Labels: TypeAlias = tuple[tuple[str, str], ...]

_REFUSES = {401: "does not know who asks", 403: "refuses who asks"}


class PrometheusError(Exception):
    """The server could not be asked, or refused the query; the text says what it was asked and what it answered."""


class Found(NamedTuple):
    """One series."""

    labels: Labels
    values: Sequence[tuple[float, float]]
    """Times in Unix seconds and finite values, as they came."""


async def ask(
    session: aiohttp.ClientSession, who: str, asked: str, path: str, form: Mapping[str, str], most: int | None = None
) -> tuple[Any, int]:
    """What `data` of an answer holds, and how many bytes that took.

    Args:
        session: with the server's address, the time that an answer may take, and whatever the server is to be sent.
        who: the server, as it is named in sentences.
        asked: the same of the question.
        path: of the API, such as api/v1/query, below the address.
        form: what is asked. What has a `query` is sent as a form, since selectors may be longer than an address.
        most: bytes that the answer may have.

    Raises:
        PrometheusError: the server does not answer, or not with that.
    """
    text = b""
    sent: Any = {"method": "POST", "data": form} if "query" in form else {"method": "GET", "params": form}
    try:
        async with session.request(url=path, allow_redirects=False, **sent) as response:
            status = response.status
            async for part in response.content.iter_any():
                text += part
                if most is not None and len(text) > most:
                    raise PrometheusError(
                        f"{who} answered {asked!r} with more than {most // 1024} KiB. Select fewer series"
                    )
    except TimeoutError as late:
        raise PrometheusError(f"{who} does not answer within {session.timeout.total:g}s") from late
    except (aiohttp.ClientError, OSError) as problem:
        raise PrometheusError(f"{who} does not answer: {problem}") from problem
    if status in _REFUSES:
        raise PrometheusError(f"{who} {_REFUSES[status]} (status {status}): its token is not right")
    if 300 <= status < 400:
        raise PrometheusError(f"{who} answered with a redirect (status {status}), which is followed nowhere")
    try:
        answer = await asyncio.to_thread(from_json, text)
    except ValueError as problem:
        said = f"status {status} and " if status != 200 else ""
        begins = text[:100].decode(errors="replace")
        raise PrometheusError(f"{who} answered {asked!r} with {said}something else than JSON: {begins!r}") from problem
    if isinstance(answer, dict) and answer.get("status") == "error":
        raise PrometheusError(f"{who} refused {asked!r}: {str(answer.get('error'))[:300]}")
    if isinstance(answer, dict) and (answer.get("isPartial") or answer.get("warnings")):
        warned = answer.get("warnings") or "isPartial is true"
        raise PrometheusError(
            f"{who} may have answered {asked!r} in part only: {str(warned)[:200]}. Ask again when all of its stores "
            "answer"
        )
    try:
        return answer["data"], len(text)
    except (LookupError, TypeError) as problem:
        raise _strange(who, asked, answer) from problem


def matrix(who: str, asked: str, data: Any) -> list[Found]:
    """The series of an answer. Raises PrometheusError when it is none of series of counters."""
    found = []
    try:
        for one in data["result"]:
            if "histograms" in one:
                named = str(one["metric"])[:200]
                raise PrometheusError(
                    f"{who} has native histograms for {asked!r}, where counters were expected: {named}. Select "
                    "counters, or buckets (le)"
                )
            labels = tuple(sorted((name, _text(value)) for name, value in one["metric"].items()))
            values = [(float(at), float(value)) for at, value in one["values"]]
            found.append(Found(labels, [(at, value) for at, value in values if math.isfinite(value)]))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as problem:
        raise _strange(who, asked, data) from problem
    return found


def _strange(who: str, asked: str, answer: Any) -> PrometheusError:
    return PrometheusError(f"{who} answered {asked!r} in another way than Prometheus: {str(answer)[:100]!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a label is {value!r}, which is no text")
    return value
