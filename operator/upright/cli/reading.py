"""Files of recorded metrics: one row for each time, version, metric (and pod, and bucket), in any order.

Columns: `time, arm, metric` and, by what was counted, `total, bad` (counts), `le, count` (histograms) or `number, sum,
sumsq` (values, for their mean); all kinds may stand in one file. `time` is the end of the interval (seconds, or ISO
8601), `arm` is canary or stable, the rest is what was added in the interval. An optional column `pod` lets the backtest
split the stable version by pod.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from upright.analysis.looks import Bools, Floats, Ints
from upright.cli.problems import Unusable
from upright.cli.recording import Kind, Recorded, Recording

A_TIME = "seconds or ISO 8601 such as 2026-11-22T22:15:00Z (not milliseconds)"
_LATEST = 1e11  # seconds, in the year 5138: what is more are milliseconds
_ROUNDING = 1e-6  # of programs that print six digits
_FEW = 0.05


def read(path: Path) -> Recording:
    """Read a CSV or Parquet file.

    Raises:
        Unusable: there is no such file, it is of another kind, or a row makes no sense.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise Unusable(f"{path}: expected a file that ends in .csv or .parquet, or the URL of a Prometheus server")
    try:
        data = path.read_bytes()
    except FileNotFoundError as problem:
        raise Unusable(f"{path}: there is no such file") from problem
    except OSError as problem:
        raise Unusable(f"{path}: {problem.strerror}") from problem
    return _recording(_csv(path, data) if path.suffix == ".csv" else _parquet(path, data))


def parsed_time(text: str) -> float:
    """Seconds, from seconds or ISO 8601; a time without zone is UTC. Raises ValueError for anything else."""
    if _is_iso(text):
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    seconds = float(text)
    if not abs(seconds) < _LATEST:
        raise ValueError(text)
    return seconds


def _is_iso(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


@dataclass(frozen=True)
class _Column:
    """The different values of a column as text, and for each row which it is; empty text where there is nothing.

    A value that stands in many rows is looked at once: the 326,400 rows of forty pods' two hours have some hundreds.
    """

    texts: Sequence[str]
    places: Ints

    @property
    def given(self) -> Bools:
        """Which rows have a value."""
        return np.array([text != "" for text in self.texts])[self.places]


@dataclass(frozen=True)
class _Rows:
    """The rows of a file; `numbers` are those by which the user finds them."""

    path: Path
    columns: Mapping[str, _Column]
    numbers: Callable[[], Sequence[int]]

    def words(self, name: str) -> tuple[NDArray[np.str_], Ints]:
        """The words of a column, rising, and for each row which it is."""
        words, which = np.unique(self.columns[name].texts, return_inverse=True)
        return words, which[self.columns[name].places]

    def parsed(self, name: str, parse: Callable[[str], float], expected: str) -> Floats:
        """Each row's number; NaN where there is nothing."""
        column = self.columns[name]
        values = np.full(len(column.texts), math.nan)
        for place, text in enumerate(column.texts):
            if text:
                try:
                    values[place] = parse(text)
                except ValueError:
                    self.refuse(column.places == place, name, expected)
        return values[column.places]

    def refuse(self, wrong: Bools, name: str, expected: str) -> None:
        """Raise Unusable for the first of the wrong rows, if there is one."""
        if wrong.any():
            row = int(wrong.argmax())
            text = self.columns[name].texts[self.columns[name].places[row]]
            raise self.unusable(row, f", column {name}: expected {expected}, found {repr(text) if text else 'nothing'}")

    def unusable(self, row: int, problem: str) -> Unusable:
        """What is wrong with a row, with its place."""
        return Unusable(f"{self.path}, row {self.numbers()[row]}{problem}")


def _csv(path: Path, data: bytes) -> _Rows:
    try:
        data.decode()
    except UnicodeDecodeError as problem:
        row = data.count(b"\n", 0, problem.start) + 1
        raise Unusable(
            f"{path}, row {row}: expected text in UTF-8, found the byte 0x{data[problem.start]:02x}"
        ) from problem
    # The names are read like values, so that every column is one of text. One thread, so that a torn row is numbered.
    reading = csv.ReadOptions(use_threads=False, autogenerate_column_names=True)
    as_text = csv.ConvertOptions(strings_can_be_null=False)
    try:
        table = csv.read_csv(pa.BufferReader(data), read_options=reading, convert_options=as_text)
    except pa.ArrowException as problem:
        raise Unusable(f"{path}: {problem}") from problem
    names = [str(column[0].as_py()) for column in table.columns]
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise Unusable(f"{path}: expected commas between the columns, found {names[0]!r}")

    def numbers() -> list[int]:
        return [number for number, line in enumerate(data.splitlines(), start=1) if line][1:]

    return _Rows(path, _columns(path, table.slice(1), names), numbers)


def _parquet(path: Path, data: bytes) -> _Rows:
    try:
        table = parquet.read_table(pa.BufferReader(data))
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
        raise Unusable(f"{path}: not a Parquet file: {problem}") from problem
    return _Rows(path, _columns(path, table, names), lambda: range(1, table.num_rows + 1))


def _columns(path: Path, table: Any, given: Sequence[str]) -> dict[str, _Column]:
    names = [name.strip() for name in given]
    needed = ("time", "arm", "metric")
    if not (set(needed) <= set(names) and any(set(kind.value) <= set(names) for kind in Kind)):
        raise Unusable(
            f"{path}: expected the columns time, arm, metric, and total, bad (counts), le, count (histograms) or "
            f"number, sum, sumsq (means), found {', '.join(names) or 'none'}"
        )
    columns = {}
    for name in (*needed, "pod", *(part for kind in Kind for part in kind.value)):
        if names.count(name) > 1:
            raise Unusable(f"{path}: the column {name} stands twice")
        if name in names:
            try:
                columns[name] = _column(table.column(names.index(name)).combine_chunks())
            except (pa.ArrowException, OverflowError, ValueError) as problem:  # a text or a date that Python has not
                raise Unusable(f"{path}, column {name}: expected numbers or text: {problem}") from problem
        else:
            columns[name] = _Column([""], np.zeros(table.num_rows, dtype=np.int64))
    if not table.num_rows:
        raise Unusable(f"{path}: expected at least one row below the names of the columns")
    return columns


def _column(values: Any) -> _Column:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", values.type.tz), safe=False)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    encoded = values.dictionary_encode(null_encoding="encode")
    texts = ["" if value is None else str(value).strip() for value in encoded.dictionary.to_pylist()]
    places = np.from_dlpack(encoded.indices).astype(np.int64)  # to_numpy would import pandas
    return _Column(["" if text.lower() == "nan" else text for text in texts], places)


@dataclass(frozen=True)
class _Values:
    """What the rows say; the first axis of every array but `pods` is the row."""

    times: Floats
    canary: Bools
    pods: NDArray[np.str_]  # all of them
    pod: Ints  # place in pods
    kinds: Ints  # place in Kind
    numbers: Mapping[str, Floats]  # by column, NaN where there is nothing


def _recording(rows: _Rows) -> Recording:
    arms, arm = rows.words("arm")
    rows.refuse(~np.isin(arms, ("canary", "stable"))[arm], "arm", "canary or stable")
    metrics, metric = rows.words("metric")
    rows.refuse((metrics == "")[metric], "metric", "a word")
    pods, pod = rows.words("pod")
    kinds = _kinds(rows)
    values = _Values(_times(rows), (arms == "canary")[arm], pods, pod, kinds, _numbers(rows, kinds))
    found = ((str(name), np.flatnonzero(metric == place)) for place, name in enumerate(metrics))
    return Recording({name: _recorded(rows, values, chosen) for name, chosen in found if chosen.size})


def _times(rows: _Rows) -> Floats:
    times = rows.parsed("time", parsed_time, A_TIME)
    rows.refuse(np.isnan(times), "time", A_TIME)
    column = rows.columns["time"]
    iso = np.array([_is_iso(text) for text in column.texts])[column.places]
    rows.refuse(iso != iso[0], "time", "ISO 8601 as in the first row" if iso[0] else "seconds as in the first row")
    return times


def _kinds(rows: _Rows) -> Ints:
    """The place in Kind of what each row has values for."""
    given = np.array([np.any([rows.columns[name].given for name in kind.value], axis=0) for kind in Kind])
    kinds: Ints = given.argmax(axis=0)
    if not given.any(axis=0).all():
        wanted = ", or ".join(str(kind) for kind in Kind)
        raise rows.unusable(int(given.any(axis=0).argmin()), f": expected values for {wanted}, found none")
    several = given.sum(axis=0) > 1
    if several.any():
        row = int(several.argmax())
        beside = " as well as ".join(str(kind) for kind, there in zip(Kind, given[:, row], strict=True) if there)
        raise rows.unusable(row, f": expected values of one kind, found some for {beside}")
    return kinds


def _numbers(rows: _Rows, kinds: Ints) -> dict[str, Floats]:
    numbers = {}
    for place, kind in enumerate(Kind):
        own = kinds == place
        for name in kind.value:
            found = numbers[name] = rows.parsed(name, float, "a number")
            rows.refuse(own & np.isnan(found), name, "a number")
            if name == "le":
                rows.refuse(own & (found == -math.inf), name, "a number or +Inf")
            elif name == "sum":
                rows.refuse(own & np.isinf(found), name, "a finite number")
            else:
                of = "a sum of squares" if name == "sumsq" else "a count"
                rows.refuse(own & ~((found >= 0) & (found < math.inf)), name, f"{of} of at least 0")
    excess = numbers["bad"] > numbers["total"]
    rows.refuse(excess, "bad", f"at most total ({numbers['total'][excess.argmax()]:g})")
    number, total, squares = (numbers[name] for name in Kind.MOMENTS.value)
    rows.refuse((number == 0) & (total != 0), "sum", "0, because number is 0")
    with np.errstate(over="ignore"):
        least = total * (total / np.maximum(number, np.finfo(np.float64).tiny))
    few = squares < least * (1 - _ROUNDING)
    rows.refuse(few, "sumsq", f"at least sum * sum / number ({least[few.argmax()]:.6g}), below which no values have it")
    numbers["sumsq"] = np.maximum(squares, least)  # the analysis forgives less rounding
    return numbers


def _recorded(rows: _Rows, values: _Values, chosen: Ints) -> Recorded:
    """One metric, from its rows."""
    kinds = values.kinds[chosen]
    if (kinds != kinds[0]).any():
        other = int((kinds != kinds[0]).argmax())
        one, another = (list(Kind)[kinds[place]] for place in (0, other))
        raise rows.unusable(
            chosen[other],
            f": expected {one} as for the same metric in row {rows.numbers()[chosen[0]]}, found {another}",
        )
    kind = list(Kind)[kinds[0]]
    _, time = np.unique(values.times[chosen], return_inverse=True)
    keys = (2 * time + values.canary[chosen]) * len(values.pods) + values.pod[chosen]
    _, first, cell = np.unique(keys, return_index=True, return_inverse=True)
    of = chosen[first]  # a row of each cell
    edges: tuple[float, ...] = ()
    cumulative = False
    if kind is Kind.HISTOGRAM:
        counts, edges, cumulative = _histograms(rows, values, chosen, cell)
    else:
        counts = np.stack([values.numbers[name][of] for name in kind.value], axis=-1)
        if len(of) < len(chosen):
            again = np.setdiff1d(chosen, of)[0]
            raise rows.unusable(again, ": the same time, arm, metric and pod stand twice")
    pods = values.pods[values.pod[of]]
    return Recorded(kind, edges, values.times[of], values.canary[of], pods, counts, cumulative)


def _histograms(rows: _Rows, values: _Values, chosen: Ints, cell: Ints) -> tuple[Floats, tuple[float, ...], bool]:
    """The counts per bucket of each cell, the edges between the buckets, and whether the counts were cumulative."""
    edges, bucket = np.unique(values.numbers["le"][chosen], return_inverse=True)
    counts = np.full((cell.max() + 1, len(edges)), math.nan)
    counts[cell, bucket] = values.numbers["count"][chosen]
    _, first = np.unique(cell * len(edges) + bucket, return_index=True)
    if len(first) < len(chosen):
        again = np.setdiff1d(np.arange(len(chosen)), first)[0]
        edge = edges[bucket[again]]
        raise rows.unusable(
            chosen[again], f", column le: the bucket {edge:g} stands twice for the same time, arm, metric and pod"
        )
    if np.isnan(counts).any():
        place, missing = np.argwhere(np.isnan(counts))[0]
        raise rows.unusable(
            chosen[(cell == place).argmax()],
            f", column le: expected all buckets of the metric for its time, arm and pod, "
            f"found none with le {edges[missing]:g}; one that counted nothing has count 0",
        )
    counts, cumulative = _per_bucket(rows, counts, chosen, cell)
    if math.isinf(edges[-1]):
        return counts, tuple(edges[:-1].tolist()), cumulative
    return np.pad(counts, ((0, 0), (0, 1))), tuple(edges.tolist()), cumulative


def _per_bucket(rows: _Rows, counts: Floats, chosen: Ints, cell: Ints) -> tuple[Floats, bool]:
    """Counts per bucket; those that nowhere fall with `le` are cumulative, as Prometheus has them."""
    added = np.diff(counts, axis=1, prepend=0.0)
    falls = (added < -1e-9 * counts.max(axis=1, keepdims=True)).any(axis=1)  # not by a rounding
    if not falls.any():
        return np.maximum(added, 0.0), True
    if falls.sum() < _FEW * counts.any(axis=1).sum():
        raise rows.unusable(
            chosen[(cell == falls.argmax()).argmax()],
            f", column count: expected counts that rise with le, as {100 * (~falls).mean():.4g} % of this metric's do, "
            "found some that fall at this time. Cumulative counts must never fall; if these are counts per bucket, of "
            "which nearly all are in the last, write them cumulatively.",
        )
    return counts, False
