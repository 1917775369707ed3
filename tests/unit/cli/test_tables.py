"""Recordings as other tools write them: names in capitals, and folders of parts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.builders import COLUMNS, Row, a_csv, rows_of_errors
from upright.cli.problems import Unusable
from upright.cli.reading import read

ROWS = rows_of_errors(0.1, looks=20, history=10)


def counts(path: Path) -> list[tuple[object, ...]]:
    """What was recorded, in an order of its own."""
    found = read(path).metrics["errors"]
    return sorted(
        zip(found.times.tolist(), found.canary.tolist(), found.pods.tolist(), found.counts.tolist(), strict=True)
    )


def text(rows: list[Row], columns: tuple[str, ...] = COLUMNS) -> str:
    return "\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\n"


def parquet(path: Path, rows: list[Row]) -> None:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS) if name not in ("le", "count")}
    pq.write_table(pa.table(columns), path)


def a_folder(tmp_path: Path, **files: str) -> Path:
    (folder := tmp_path / "looks").mkdir()
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def test_names_in_capitals_are_the_same_names(tmp_path: Path) -> None:
    plain, capitals = a_csv(tmp_path, ROWS), tmp_path / "LOOKS.CSV"
    capitals.write_text(text(ROWS, tuple(name.upper() for name in COLUMNS)))

    assert counts(capitals) == counts(plain)


def test_a_name_in_capitals_and_small_letters_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "looks.csv").write_text("time,arm,metric,total,bad,BAD\n0,canary,errors,1,0,1\n")

    with pytest.raises(Unusable, match="the column bad stands twice"):
        read(tmp_path / "looks.csv")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_folder_of_parts_is_one_table(tmp_path: Path, kind: str) -> None:
    plain = a_csv(tmp_path, ROWS)
    folder = a_folder(tmp_path, _SUCCESS="", **{f"__part-0__{kind}__crc": "x", f"part-2__{kind}": ""})
    for part, rows in enumerate((ROWS[:33], ROWS[33:])):
        path = folder / f"part-0000{part}-a.snappy.{kind}"
        path.write_text(text(rows)) if kind == "csv" else parquet(path, rows)

    assert counts(folder) == counts(plain)


def test_a_row_of_a_part_is_told_with_its_part(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, a__csv=text(ROWS), b__csv=text([(900, "canary", "errors", 1, 2, "", "", "p")]))

    with pytest.raises(Unusable, match=r"looks, b.csv, row 2, column bad: expected at most total \(1\), found '2'"):
        read(folder)


def test_a_part_that_is_there_twice_is_refused_and_not_counted_twice(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, a__csv=text(ROWS), b__csv=text(ROWS[5:]))

    with pytest.raises(Unusable, match=r"looks, b.csv, row 2: the same time, arm, metric and pod stand twice"):
        read(folder)


def test_a_part_may_have_no_rows_but_not_all(tmp_path: Path) -> None:
    folder = a_folder(tmp_path, a__csv=text([]), b__csv=text(ROWS))
    assert counts(folder) == counts(a_csv(tmp_path, ROWS))
    (folder / "b.csv").write_text(text([]))
    with pytest.raises(Unusable, match="looks: expected at least one row below"):
        read(folder)


def test_what_else_lies_in_a_folder_is_refused(tmp_path: Path) -> None:
    folder = a_folder(tmp_path)
    with pytest.raises(Unusable, match=r"looks: expected files that end in .csv or .parquet in the folder, found none"):
        read(folder)
    (folder / "a.csv.gz").write_bytes(b"x")
    with pytest.raises(Unusable, match=r"a.csv.gz: expected a file that ends in .csv or .parquet, a folder of such"):
        read(folder)
    (folder / "arm=canary").mkdir()
    with pytest.raises(
        Unusable, match=r"arm=canary: expected only files in .*looks, found a folder; write the table wit"
    ):
        read(folder)
