"""The rows of files that other tools write, as text: CSV and Parquet, one file or a folder of parts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from upright.analysis.looks import Bools, Floats, Ints
from upright.cli.problems import Unusable
from upright.cli.recording import Kind

_NEEDED = ("time", "arm", "metric")
_KNOWN = (*_NEEDED, "pod", *(part for kind in Kind for part in kind.value))


@dataclass(frozen=True)
class Column:
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
class Rows:
    """The rows of a file or folder; `places` says where the user finds each."""

    path: Path
    columns: Mapping[str, Column]
    places: Callable[[], Sequence[str]]

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
        return Unusable(f"{self.path}, {self.places()[row]}{problem}")


def rows_of(path: Path) -> Rows:
    """The rows of a file that ends in .csv or .parquet, or of all such files in a folder, as of one.

    Raises Unusable for what is neither, cannot be read, has other columns or no rows.
    """
    rows = _joined(path, _parts(path)) if path.is_dir() else _file(path)
    if not len(rows.columns["time"].places):
        raise Unusable(f"{path}: expected at least one row below the names of the columns")
    return rows


def _file(path: Path) -> Rows:
    read = {".csv": _csv, ".parquet": _parquet}.get(path.suffix.lower())
    if read is None:
        raise Unusable(
            f"{path}: expected a file that ends in .csv or .parquet, a folder of such files, or the URL of a "
            "Prometheus server"
        )
    return read(path, _content(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as problem:
        raise Unusable(f"{path}: there is no such file") from problem
    except OSError as problem:
        raise Unusable(f"{path}: {problem.strerror}") from problem


def _parts(folder: Path) -> Sequence[Path]:
    """The files of a folder but those that tools leave for themselves, such as _SUCCESS, and parts without a byte."""
    try:
        found = sorted(path for path in folder.iterdir() if not path.name.startswith(("_", ".")))
        if folders := [path for path in found if path.is_dir()]:
            raise Unusable(
                f"{folders[0]}: expected only files in {folder}, found a folder; write the table without partitions"
            )
        parts = [path for path in found if path.stat().st_size]
    except OSError as problem:
        raise Unusable(f"{folder}: {problem.strerror}") from problem
    if not parts:
        raise Unusable(f"{folder}: expected files that end in .csv or .parquet in the folder, found none")
    return parts


def _joined(folder: Path, parts: Sequence[Path]) -> Rows:
    rows = [_file(part) for part in parts]

    def places() -> list[str]:
        return [f"{part.name}, {place}" for part, each in zip(parts, rows, strict=True) for place in each.places()]

    columns = {}
    for name in _KNOWN:
        own = [each.columns[name] for each in rows]
        begins = np.cumsum([0, *(len(column.texts) for column in own)])
        columns[name] = Column(
            [text for column in own for text in column.texts],
            np.concatenate([column.places + begin for column, begin in zip(own, begins, strict=False)]),
        )
    return Rows(folder, columns, places)


def _csv(path: Path, data: bytes) -> Rows:
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

    def places() -> list[str]:
        return [f"row {number}" for number, line in enumerate(data.splitlines(), start=1) if line][1:]

    return Rows(path, _columns(path, table.slice(1), names), places)


def _parquet(path: Path, data: bytes) -> Rows:
    try:
        table = parquet.read_table(pa.BufferReader(data))
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as problem:
        raise Unusable(f"{path}: not a Parquet file: {problem}") from problem
    return Rows(path, _columns(path, table, names), lambda: [f"row {row}" for row in range(1, table.num_rows + 1)])


def _columns(path: Path, table: Any, given: Sequence[str]) -> dict[str, Column]:
    """Those that are known, in whatever letters their names are."""
    names = [name.strip().lower() for name in given]
    if not (set(_NEEDED) <= set(names) and any(set(kind.value) <= set(names) for kind in Kind)):
        raise Unusable(
            f"{path}: expected the columns time, arm, metric, and total, bad (counts), le, count (histograms) or "
            f"number, sum, sumsq (means), found {', '.join(name.strip() for name in given) or 'none'}"
        )
    columns = {}
    for name in _KNOWN:
        if names.count(name) > 1:
            raise Unusable(f"{path}: the column {name} stands twice")
        if name in names:
            try:
                columns[name] = _column(table.column(names.index(name)).combine_chunks())
            except (pa.ArrowException, OverflowError, ValueError) as problem:  # a text or a date that Python has not
                raise Unusable(f"{path}, column {name}: expected numbers or text: {problem}") from problem
        else:
            columns[name] = Column([""], np.zeros(table.num_rows, dtype=np.int64))
    return columns


def _column(values: Any) -> Column:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", values.type.tz), safe=False)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    encoded = values.dictionary_encode(null_encoding="encode")
    texts = ["" if value is None else str(value).strip() for value in encoded.dictionary.to_pylist()]
    places = np.from_dlpack(encoded.indices).astype(np.int64)  # to_numpy would import pandas
    return Column(["" if text.lower() == "nan" else text for text in texts], places)
