"""Recorded metrics for `upright backtest`: files that users have, and what answers at the URL of a Prometheus."""

import asyncio
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tests.fuzz.growth import is_linear
from upright.cli.problems import Unusable
from upright.cli.reading import read
from upright.cli.recording import Recording
from upright.sources.prometheus import Range, increases, read_series
from upright.sources.server import PrometheusError

COLUMNS = ["time", "arm", "metric", "pod", "total", "bad", "le", "count", "number", "sum", "sumsq"]
CELLS = st.one_of(
    st.sampled_from(["canary", "stable", "errors", "latency", "", "0", "1", "60", "-1", "1e300", "nan", "inf", "-inf"]),
    st.sampled_from(["2026-11-22T22:15:00Z", "2026-11-22", "1e12", "0x10", "1_000", "٣"]),
    st.sampled_from(['"', "'", ";", "\x00", "\ufeff"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=5),
)
HEADERS = st.lists(st.sampled_from(COLUMNS), unique=True).map(lambda more: sorted({"time", "arm", "metric", *more}))


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[Any] = CELLS) -> tuple[list[str], list[list[Any]]]:
    """The names of columns, and rows."""
    header = draw(HEADERS)
    return header, draw(st.lists(st.lists(cells, min_size=len(header), max_size=len(header)), max_size=6))


def reading(name: str, content: bytes) -> Recording | None:
    """The recording, or None when the file is refused in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            return read(path)
        except Unusable:
            return None


@given(st.binary() | st.text().map(str.encode))
def test_bytes_are_a_csv_file_or_refused(content: bytes) -> None:
    reading("m.csv", content)


@given(tables())
def test_a_table_is_read_or_refused(table: tuple[list[str], list[list[str]]]) -> None:
    header, rows = table
    reading("m.csv", "\n".join(",".join(row) for row in [header, *rows]).encode(errors="replace"))


ANYTHING = st.none() | st.integers(-(2**62), 2**62) | st.floats() | st.booleans() | st.dates() | st.datetimes() | CELLS


@given(tables(ANYTHING))
def test_a_parquet_file_of_any_types_is_read_or_refused(table: tuple[list[str], list[list[Any]]]) -> None:
    header, rows = table
    columns = {}
    for place, name in enumerate(header):
        values = [row[place] for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, ValueError, OverflowError):  # of several types
            columns[name] = pa.array([None if value is None else str(value).encode() for value in values])
    reading("m.parquet", as_parquet(columns))


@given(st.binary(), st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), max_size=4))
def test_a_torn_parquet_file_is_read_or_refused(appended: bytes, flips: list[tuple[int, int]]) -> None:
    whole = {"time": [1, 2], "arm": ["canary", "stable"], "metric": ["errors"] * 2, "total": [5, 5], "bad": [0, 1]}
    content = bytearray(as_parquet(whole))
    for place, value in flips:
        content[place % len(content)] = value
    reading("m.parquet", bytes(content) + appended)
    reading("m.parquet", bytes(content[: len(appended)]))


def as_parquet(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out)
    return out.getvalue()


OVER = Range(1000.0, 1060.0, 15.0)
VALUES = st.one_of(
    st.sampled_from(["1", "NaN", "+Inf", "-1", "x", ""]), st.floats(), st.integers(), st.none(), st.lists(st.none())
)
TIMES = st.floats() | st.sampled_from([1000, 1015.0, 1060, 1e300, -1, True, "1000", None])
LABELS = st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers() | st.lists(st.text()), max_size=3)
POINTS = st.lists(st.tuples(TIMES, VALUES).map(list) | st.none(), max_size=5)
SERIES = st.lists(st.fixed_dictionaries({"metric": LABELS | st.none(), "values": POINTS | st.none()}), max_size=4)
FIELDS = st.sampled_from(["data", "result", "status", "error", "values", "metric"])
SCALARS = st.none() | st.booleans() | st.floats() | st.text()
ANSWERS = st.one_of(
    st.binary(),
    st.recursive(SCALARS, lambda one: st.lists(one) | st.dictionaries(FIELDS, one), max_leaves=8).map(json.dumps),
    SERIES.map(lambda series: json.dumps({"status": "success", "data": {"result": series}})),
)


@given(st.lists(ANSWERS, min_size=1, max_size=5))
def test_what_a_server_answers_is_series_or_refused(answers: list[bytes | str]) -> None:
    asyncio.run(asked_of_a_server(answers))


async def asked_of_a_server(answers: Sequence[bytes | str]) -> None:
    """Each answer in turn, from one server: to start one takes longer."""
    left = [one.encode(errors="replace") if isinstance(one, str) else one for one in answers]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=left.pop())

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with TestServer(app) as server:
        while left:
            try:
                increases(await read_series(str(server.make_url("/")), "requests", OVER), OVER)
            except PrometheusError:
                continue


def test_a_deep_answer_is_refused() -> None:
    asyncio.run(asked_of_a_server([b"[" * 100_000, b'{"a":' * 100_000]))


def test_a_long_file_takes_time_like_its_length() -> None:
    def lines(count: int) -> bytes:
        rows = [f"{time},{arm},errors,10,1" for time in range(count) for arm in ("canary", "stable")]
        return "\n".join(["time,arm,metric,total,bad", *rows]).encode()

    assert is_linear(lines, lambda content: reading("m.csv", content), 16_000)
