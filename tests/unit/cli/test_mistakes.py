"""What a user may give upright backtest by mistake: a sentence, exit status 2, and never a traceback."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.cli.builders import A_DEPLOYMENT, a_policy_file
from upright.cli import backtest as command
from upright.cli.main import main
from upright.sources.prometheus import Range, read_series
from upright.sources.server import PrometheusError

HEADER = "time,arm,metric,total,bad\n"
TWO_LOOKS = HEADER + "".join(f"{time},{arm},errors,100,1\n" for time in (0, 15) for arm in ("canary", "stable"))
BUCKETS = "time,arm,metric,le,count\n"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def backtest(looks: str | bytes, *more: str, policy: str | None = None, type: str = "ErrorRate") -> int:
    Path("looks.csv").write_bytes(looks.encode() if isinstance(looks, str) else looks)
    if policy is None:
        a_policy_file(Path(), {"name": "errors", "type": type})
    else:
        Path("policy.yaml").write_text(policy)
    return main(["backtest", "--policy", "policy.yaml", "--looks", "looks.csv", *more])


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        ("", "looks.csv: Empty CSV file"),
        (HEADER, "expected at least one row below the names of the columns"),
        (TWO_LOOKS.replace(",", ";"), "expected commas between the columns, found 'time;arm;metric;total;bad'"),
        ("0,canary,errors,100,1\n", "expected the columns time, arm, metric, and total, bad"),
        (HEADER.replace("total", "bad"), "expected the columns time, arm, metric, and total, bad"),
        (HEADER.replace("\n", ",bad\n") + "0,canary,errors,1,1,1\n", "the column bad stands twice"),
        (TWO_LOOKS.encode() + b"30,canary,f\xe9hler,1,1\n", "row 6: expected text in UTF-8, found the byte 0xe9"),
        (TWO_LOOKS.encode("utf-16"), "row 1: expected text in UTF-8"),
        (TWO_LOOKS + "30,canary,errors,100\n", "Row #6: Expected 5 columns, got 4"),
        (TWO_LOOKS + "\n\n30,canary,errors,100,x\n", "row 8, column bad: expected a number, found 'x'"),
        (TWO_LOOKS + "30,canary,errors,,\n", "row 6: expected values for total and bad, or le and count, or number"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(
    capsys: pytest.CaptureFixture[str], looks: str | bytes, says: str
) -> None:
    assert backtest(looks) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        (
            TWO_LOOKS.replace("15,", "2026-11-22T10:00:15Z,"),
            "row 4, column time: expected seconds as in the first row, found '2026-11-22T10:00:15Z'",
        ),
        (TWO_LOOKS.replace("15,", "1790000000000,"), "(not milliseconds), found '1790000000000'"),
        (TWO_LOOKS.replace("15,", "nan,"), "row 4, column time: expected seconds or ISO 8601"),
        (
            TWO_LOOKS.replace(",canary", ".031,canary").replace(",stable", ".22,stable"),
            "the canary's are 0.031 to 15.031, those of stable 0.22 to 15.22",
        ),
        (TWO_LOOKS.replace("15,", "0.001,"), "the looks are 0.001 s apart"),
    ],
)
def test_times_that_make_no_looks_are_refused(capsys: pytest.CaptureFixture[str], looks: str, says: str) -> None:
    assert backtest(looks) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "looks",
    [
        TWO_LOOKS.replace("15,", "15.5,").replace("0,", "0.5,", 2),
        HEADER + "".join(reversed(TWO_LOOKS.removeprefix(HEADER).splitlines(keepends=True))),
        TWO_LOOKS.replace(",", ", "),
        "\ufeff" + TWO_LOOKS.replace("\n", "\r\n"),
        TWO_LOOKS.replace("0,c", "2026-11-22T10:00:00Z,c")
        .replace("0,s", "2026-11-22T11:00:00+01:00,s")
        .replace("15,", "2026-11-22 10:00:15.000,"),
    ],
    ids=["fractions", "times that fall", "spaces", "from a spreadsheet", "zones"],
)
def test_a_file_that_is_merely_unusual_is_read(looks: str) -> None:
    assert backtest(looks) == 0


def test_a_metric_of_one_version_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(HEADER + "0,canary,errors,100,1\n") == 2
    assert "metric 'errors': expected rows of the stable version to compare with" in capsys.readouterr().err


def test_a_metric_of_two_kinds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    both = "time,arm,metric,total,bad,le,count\n0,canary,errors,100,1,,\n"

    assert backtest(both + "0,stable,errors,,,1,100\n") == 2
    assert "row 3: expected total and bad as for the same metric in row 2" in capsys.readouterr().err

    assert backtest(both + "0,stable,errors,100,1,1,100\n") == 2
    assert "row 3: expected values of one kind, found some for total and bad as well as le" in capsys.readouterr().err


def histogram(*rows: tuple[str, float]) -> str:
    """The same buckets in a hundred looks of both versions."""
    places = [(15 * look, arm) for look in range(100) for arm in ("canary", "stable")]
    return BUCKETS + "".join(f"{time},{arm},errors,{le},{count}\n" for time, arm in places for le, count in rows)


@pytest.mark.parametrize("infinite", ["+Inf", "inf", "Infinity", None])
def test_the_last_bucket_has_many_names(capsys: pytest.CaptureFixture[str], infinite: str | None) -> None:
    last = [(infinite, 10.0)] if infinite else []

    assert backtest(histogram(("0.1", 5), ("0.5", 10), *last), type="Latency") == 0
    assert "buckets of errors were read as cumulative, as they never fall with le" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("looks", "says"),
    [
        (histogram(("+Inf", 5)), "expected at least one bucket with a finite le"),
        (histogram(("-inf", 5), ("1", 9)), "row 2, column le: expected a number or +Inf, found '-inf'"),
        (histogram(("1", 5), ("+Inf", 9)) + "9999,canary,errors,1,3\n", "row 402, column le: expected all buckets"),
        (
            histogram(("1", 5), ("+Inf", 9)) + "9999,canary,errors,1,3\n9999,canary,errors,inf,2\n",
            "row 402, column count: expected counts that rise with le, as 99.5 % of this metric's do",
        ),
    ],
)
def test_buckets_that_do_not_fit_together_are_refused(
    capsys: pytest.CaptureFixture[str], looks: str, says: str
) -> None:
    assert backtest(looks, type="Latency") == 2
    assert says in capsys.readouterr().err


def test_a_bucket_edge_that_was_not_recorded_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    policy = "metrics: [{name: errors, type: Latency, buckets: [0.25]}]"

    assert backtest(histogram(("0.1", 5), ("+Inf", 9)), policy=policy) == 2
    assert "compares at the bucket edge 0.25, which was not recorded; the looks have 0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("", "such as interval and metrics, or one Deployment of upright.dev, found nothing"),
        ("- 1", "found a list"),
        ("errors", "found a str"),
        ("kind: Deployment\napiVersion: apps/v1", "or one Deployment of upright.dev, found a Deployment"),
        (f"{A_DEPLOYMENT}---\n{A_DEPLOYMENT}", "found a Deployment, a Deployment"),
        (
            A_DEPLOYMENT.replace("25", "0"),
            "rollout.steps.0.weight: Input should be greater than or equal to 1, found 0",
        ),
        (
            A_DEPLOYMENT.replace("type: ErrorRate", "type: ErrorRate, tolerence: {relative: 20}"),
            "Deployment.spec.monitoring.metrics.0 has no field 'tolerence'; its fields are bad, boundary, ",
        ),
        (
            A_DEPLOYMENT.replace("rollout: {", "rollout: {promoteEarIy: true, "),
            "Deployment.spec.rollout has no field 'promoteEarIy'; its fields are contract, ",
        ),
        (
            A_DEPLOYMENT.replace("for: 5m", "for: 5m, wieght: 3").replace("spec:", "sepc: {}\nspec:"),
            "Remove the field or correct its name. Deployment.spec.rollout.steps.0 has no field 'wieght'; its fields ",
        ),
        (
            "metrics: [{name: errors, type: ErrorRate, tolerance: {absolute: 1}}]",
            "tolerance.absolute: must be less than 1, which is 100 points of a rate: 0.01 is one point, found 1",
        ),
        (
            A_DEPLOYMENT.replace("type: ErrorRate", "type: ErrorRate, tolerance: {relative: 25}"),
            "metrics.0.tolerance.relative: must be less than 10, which is eleven times as much: 0.25 is 25 %, found 25",
        ),
        (
            "metrics: [{name: errors, type: ErrorRate, tolerance: {relative: 500}}]",
            "tolerance.relative: must be less than 10, which is eleven times as much: 0.25 is 25 %, found 500",
        ),
        (
            A_DEPLOYMENT.replace("type: ErrorRate", "type: Ratio, bad: orders_total, total: orders_total"),
            "metric 'errors': bad and total are the same counter, of which all is bad",
        ),
        (
            "interval: 15\nmetrics: [{name: e, type: ErrorRate}]",
            "interval: 15 is not a duration such as 90s, 10m or 1h30m, found 15",
        ),
        ("metrics: 5", "policy.yaml: metrics: expected a list, found 5\n"),
        ("metrics: [{name: errors, type: Mode}]", "metrics.0.type: Input should be 'ErrorRate', "),
        (
            "metrics: [{name: errors, type: ErrorRate, weight: 5e-324}]",
            "expected a weight of errors by which it has a ",
        ),
        (
            "metrics: [{name: errors, type: ErrorRate}, {name: few, type: ErrorRate, weight: 1.0e-320}]",
            "expected a weight of few by which it has a share of falseRollbackProbability of at least 1e-300",
        ),
        (
            "falseRollbackProbability: 1.0e-300\nmetrics: [{name: a, type: ErrorRate}, {name: b, type: ErrorRate}]",
            "share of falseRollbackProbability of at least 1e-300, found 1\n",
        ),
    ],
)
def test_a_file_that_is_no_policy_is_refused(capsys: pytest.CaptureFixture[str], policy: str, says: str) -> None:
    assert backtest(TWO_LOOKS, policy=policy) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "at least 1 item" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--picture", "no/such/folder/x.svg"], "--picture no/such/folder/x.svg: there is no folder 'no/such/folder'"),
        (["--null", "1000000000"], "--null: expected a number of splits from 1 to 100000, found 1000000000"),
        (["--null", "5", "--seed", "-1"], "--seed: expected a number of at least 0, found -1"),
        (
            ["--looks", "folder.csv"],
            "folder.csv: expected files that end in .csv or .parquet in the folder, found none",
        ),
        (["--policy", "folder.csv"], "folder.csv: Is a directory"),
        (["--picture", "folder.svg"], "--picture folder.svg: Is a directory"),
        (["--picture", "folder.png"], "--picture folder.png: Is a directory"),
        (
            ["--looks", "http://x", "--canary", "a", "--stable", "b", "--from", "20", "--to", "10"],
            "--to must be later than --from, found 20 to 10",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    Path("folder.csv").mkdir()
    Path("folder.svg").mkdir()
    Path("folder.png").mkdir()

    assert backtest(TWO_LOOKS, *arguments) == 2
    assert says in capsys.readouterr().err


def test_ctrl_c_ends_the_command_quietly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "read", interrupted)

    assert backtest(TWO_LOOKS) == 130
    assert capsys.readouterr().err == ""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Answers every request with the bytes in `answer`."""

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.answer)  # type: ignore[attr-defined]

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"<html>Log in", "with something else than JSON: '<html>Log in'"),
        (b"\xff", "with something else than JSON"),
        (b"[]", "in another way than Prometheus: '[]'"),
        (b'{"message": "Unauthorized"}', "in another way than Prometheus: "),
        (b'{"status": "success", "data": {"result": [{"metric": {}}]}}', "in another way than Prometheus: "),
        (b'{"status": "error", "error": "too many points"}', "refused 'x': too many points"),
        (
            b'{"data": {"result": [{"metric": {}, "values": [[-6, "1"], [9, "2"], [24, "3"]]}]}}',
            "for -6, which is none of the times that it was asked for, every 15 s from 0: ask a server that does not",
        ),
        (b'{"data": {"result": [{"metric": {}, "values": [[45, "1"]]}]}}', "for 45, which is none of the times"),
    ],
)
async def test_a_server_that_is_no_prometheus_is_told(server: HTTPServer, answer: bytes, says: str) -> None:
    server.answer = answer  # type: ignore[attr-defined]

    with pytest.raises(PrometheusError) as caught:
        await read_series(f"http://127.0.0.1:{server.server_port}", "x", Range(0, 30, 15))

    assert says in str(caught.value)


def test_a_date_before_the_first_year_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    columns = {name: pa.array(["x"]) for name in ("arm", "metric", "total", "bad")}
    pq.write_table(pa.table({"time": pa.array([-719163], pa.date32()), **columns}), "looks.parquet")
    a_policy_file(Path(), {"name": "errors", "type": "ErrorRate"})

    assert main(["backtest", "--policy", "policy.yaml", "--looks", "looks.parquet"]) == 2

    assert "looks.parquet, column time: expected numbers or text" in capsys.readouterr().err
