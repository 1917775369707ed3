"""Recorded metrics as looks: one row for each time, version, metric (and pod, and bucket).

Columns: `time, arm, metric, total, bad` for counts, `time, arm, metric, le, count` for histograms; both kinds may
stand in one file. `time` is the end of the interval (seconds, or ISO 8601), `arm` is canary or stable, the counts are
what was added in the interval. An optional column `pod` lets the backtest split the stable version by pod.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from upright.analysis import Counts, Histogram, Look
from upright.analysis.looks import Floats, Measurement
from upright.cli.problems import Unusable

ARMS = ("canary", "stable")
WHOLE = ""  # the pod of rows that name none


@dataclass(frozen=True)
class Cell:
    """What one pod counted of one metric in one interval: (total, bad), or a count for each bucket."""

    counts: Floats
    edges: tuple[float, ...] | None


@dataclass(frozen=True)
class Recording:
    """Cells by time, arm, metric and pod. Times rise."""

    times: tuple[float, ...]
    cells: Mapping[tuple[float, str, str, str], Cell]

    def pods(self, arm: str) -> list[str]:
        """The pods of an arm."""
        return sorted({pod for _, of, _, pod in self.cells if of == arm})

    def metrics(self) -> list[str]:
        """The metrics that were recorded."""
        return sorted({metric for _, _, metric, _ in self.cells})

    def looks(self) -> Iterator[Look]:
        """The looks, in order."""
        by_time: dict[float, dict[str, dict[str, list[Cell]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        for (time, arm, metric, _), cell in self.cells.items():
            by_time[time][metric][arm].append(cell)
        for time in self.times:
            measured = {metric: measurement(arms) for metric, arms in by_time[time].items()}
            yield Look(time, {metric: found for metric, found in measured.items() if found is not None})


def measurement(arms: Mapping[str, Sequence[Cell]]) -> Measurement | None:
    """The cells of both arms summed; None when their buckets differ."""
    kinds = {cell.edges for cells in arms.values() for cell in cells}
    if len(kinds) != 1:
        return None
    (edges,) = kinds
    size = 2 if edges is None else len(edges) + 1
    canary, stable = (np.sum([np.zeros(size), *(cell.counts for cell in arms.get(arm, ()))], axis=0) for arm in ARMS)
    if edges is not None:
        return Histogram(canary, stable, edges)
    return Counts((canary[0], canary[1]), (stable[0], stable[1]))


def read(path: Path) -> Recording:
    """Read a CSV or Parquet file.

    Raises:
        Unusable: there is no such file, it is of another kind, or a row makes no sense.
    """
    if not path.is_file():
        raise Unusable(f"{path}: there is no such file")
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            return _recorded(path, list(reader.fieldnames or ()), enumerate(reader, start=2))
    if path.suffix == ".parquet":
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import read_table

        try:
            table = read_table(path)
        except ArrowInvalid as problem:
            raise Unusable(f"{path}: not a Parquet file: {problem}") from problem
        return _recorded(path, table.column_names, enumerate(table.to_pylist(), start=1))
    raise Unusable(f"{path}: expected a file that ends in .csv or .parquet, or the URL of a Prometheus server")


def _recorded(path: Path, columns: Sequence[str], rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Recording:
    missing = [column for column in ("time", "arm", "metric") if column not in columns]
    if missing or not ({"total", "bad"} <= set(columns) or {"le", "count"} <= set(columns)):
        raise Unusable(
            f"{path}: expected the columns time, arm, metric, and total, bad (counts) or le, count (histograms), "
            f"found {', '.join(columns) or 'none'}"
        )
    counts: dict[tuple[float, str, str, str], Floats] = {}
    buckets: dict[tuple[float, str, str, str], dict[float, float]] = defaultdict(dict)
    for number, row in rows:
        where = f"{path}, row {number}"
        arm = _text(row, "arm", where)
        if arm not in ARMS:
            raise Unusable(f"{where}, column arm: expected canary or stable, found {arm!r}")
        key = (_time(row, where), arm, _text(row, "metric", where), str(row.get("pod") or WHOLE))
        if row.get("le") not in (None, ""):
            edge = _number(row, "le", where)
            if edge in buckets[key]:
                raise Unusable(
                    f"{where}, column le: the bucket {edge:g} stands twice for the same time, arm and metric"
                )
            buckets[key][edge] = _count(row, "count", where)
        else:
            if key in counts:
                raise Unusable(f"{where}: the same time, arm, metric and pod stand twice")
            counts[key] = np.array([_count(row, "total", where), _count(row, "bad", where)])
            if counts[key][1] > counts[key][0]:
                raise Unusable(
                    f"{where}, column bad: expected at most total ({counts[key][0]:g}), found {counts[key][1]:g}"
                )
    cells = {key: Cell(value, None) for key, value in counts.items()}
    cells.update(_histograms(buckets))
    if not cells:
        raise Unusable(f"{path}: expected at least one row below the names of the columns")
    return Recording(tuple(sorted({key[0] for key in cells})), cells)


def _histograms(buckets: Mapping[tuple[float, str, str, str], Mapping[float, float]]) -> dict[Any, Cell]:
    """Cells of buckets; counts that nowhere in the file fall with `le` are cumulative, as Prometheus has them."""
    ordered = {key: sorted(row.items()) for key, row in buckets.items()}
    cumulative = all(low <= high for row in ordered.values() for (_, low), (_, high) in pairwise(row))
    cells = {}
    for key, row in ordered.items():
        edges, counts = tuple(edge for edge, _ in row), np.array([count for _, count in row])
        if cumulative:
            counts = np.diff(counts, prepend=0.0)
        if math.isinf(edges[-1]):
            edges = edges[:-1]
        else:
            counts = np.append(counts, 0.0)
        cells[key] = Cell(counts, edges)
    return cells


def _text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row.get(column)
    if value is None or value == "":
        raise Unusable(f"{where}, column {column}: expected a word, found nothing")
    return str(value)


def _time(row: Mapping[str, Any], where: str) -> float:
    value = row.get("time")
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        return parsed_time(str(value))
    except ValueError:
        raise Unusable(
            f"{where}, column time: expected seconds or ISO 8601 such as 2026-11-22T22:15:00Z, found {value!r}"
        ) from None


def parsed_time(text: str) -> float:
    """Seconds, from seconds or ISO 8601; a time without zone is UTC. Raises ValueError for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def _number(row: Mapping[str, Any], column: str, where: str) -> float:
    value = row.get(column)
    try:
        number = float("nan" if value is None else value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise Unusable(f"{where}, column {column}: expected a number, found {value!r}")
    return number


def _count(row: Mapping[str, Any], column: str, where: str) -> float:
    number = _number(row, column, where)
    if not 0 <= number < math.inf:
        raise Unusable(f"{where}, column {column}: expected a count of at least 0, found {row.get(column)!r}")
    return number
