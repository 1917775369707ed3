"""upright backtest against a real Prometheus server, filled with backfilled blocks."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.cluster import host
from tests.conftest import or_skipped
from tests.unit.cli.builders import a_policy_file
from upright.cli.main import main
from upright.sources.copies import Series, counted_once
from upright.sources.prometheus import Range, increases, read_series
from upright.sources.server import Labels, PrometheusError

START = 1_789_999_995
LOOKS = 60
BOUNDS = ("0.1", "0.5", "+Inf")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that holds an hour's quarter of two versions' counters."""
    with or_skipped():
        host.install_packages(print, {"prometheus": "prometheus", "promtool": "prometheus"})
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "metrics.txt").write_text(openmetrics())
    (folder / "prometheus.yml").write_text("{}")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "metrics.txt", "blocks"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=blocks"]
    command += [f"--web.listen-address={address}", "--storage.tsdb.retention.time=100y"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = []
    for line in process.stderr:
        log.append(line)
        if "Server is ready to receive web requests" in line:
            break
    else:
        pytest.fail("prometheus did not start: " + "".join(log))
    yield f"http://{address}"
    process.terminate()
    process.communicate()


def openmetrics() -> str:
    """Counters of three stable pods and a canary pod whose errors begin as a new series; one stable pod restarts.

    Once under names as others have them, and once under ours.
    """
    rng = np.random.default_rng(1)
    pods = [("v1", f"stable-{pod}", 0.01, 0.05) for pod in range(3)] + [("v2", "canary-0", 0.1, 0.05)]
    requests, ours, durations = [], [], []
    for version, pod, rate, slow in pods:
        labels = f'version="{version}",pod="{pod}",instance="{pod}:3000"'
        good = bad = refused = 0
        buckets = np.zeros(3, dtype=np.int64)
        for look in range(LOOKS + 1):
            if pod == "stable-1" and look == 30:
                good = bad = refused = 0
            time = START + 15 * look
            requests.append(f'http_requests_total{{code="200",{labels}}} {good} {time}')
            ours.append(f'upright_requests_total{{code="2xx",{labels}}} {good} {time}')
            ours.append(f'upright_requests_total{{code="4xx",{labels}}} {refused} {time}')
            if bad or version == "v1":
                requests.append(f'http_requests_total{{code="500",{labels}}} {bad} {time}')
                ours.append(f'upright_requests_total{{code="500",{labels}}} {bad} {time}')
            cumulative = buckets.cumsum()
            for bound, count in zip(BOUNDS, cumulative, strict=True):
                durations.append(f'duration_seconds_bucket{{le="{bound}",{labels}}} {count} {time}')
            durations.append(f"duration_seconds_count{{{labels}}} {cumulative[-1]} {time}")
            failed = int(rng.binomial(150, rate))
            good, bad, refused = good + 150 - failed, bad + failed, refused + 7
            buckets = buckets + rng.multinomial(150, [0.7 - slow, 0.3, slow])
    families = {"http_requests counter": requests, "upright_requests counter": ours}
    for name in ("duration_seconds", "upright_request_duration_seconds"):
        families[f"{name} histogram"] = [line.replace("duration_seconds", name, 1) for line in durations]
    return "\n".join([*(line for name, lines in families.items() for line in (f"# TYPE {name}", *lines)), "# EOF\n"])


FAILED = 'http_requests_total{code="500"}'
ERRORS = {"name": "errors", "type": "ErrorRate", "total": "http_requests_total", "bad": FAILED}
LATENCY = {"name": "latency", "type": "Latency", "total": "duration_seconds_bucket"}


def backtest(policy: Path, url: str, *more: str) -> int:
    where = ["--canary", 'version="v2"', "--stable", 'version="v1"', "--picture", str(policy.parent / "p.svg")]
    when = ["--from", str(START), "--to", str(START + 15 * LOOKS)]
    return main(["backtest", "--policy", str(policy), "--looks", url, *where, *when, *more])


@pytest.mark.parametrize("selectors", [True, False])
def test_a_bad_canary_is_found_in_prometheus_by_the_selectors_of_its_metrics_or_ours(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, selectors: bool
) -> None:
    metrics = [ERRORS, LATENCY] if selectors else [{k: m[k] for k in ("name", "type")} for m in (ERRORS, LATENCY)]

    status = backtest(a_policy_file(tmp_path, *metrics), server, "--json", "--null", "200")

    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    errors, latency = found["metrics"]
    assert status == 3
    assert found["metric"] == "errors"
    assert errors["canary"] == pytest.approx(0.1, abs=0.05)
    assert latency["crossed"] is None
    assert found["null"]["by"] == "all halves of 3 pods"


def test_refusals_are_read_from_prometheus_by_the_metrics_of_our_pods(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = backtest(a_policy_file(tmp_path, {"name": "refusals", "type": "RefusalRate"}), server, "--json")

    [refusals] = json.loads(capsys.readouterr().out)["metrics"]
    assert status == 0
    assert refusals["canary"] == pytest.approx(7 / 157, abs=0.001)
    assert refusals["stable"] == pytest.approx(7 / 157, abs=0.001)


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ({"name": "refunds", "type": "Ratio"}, "'refunds' has no selectors: to read it from Prometheus give it total"),
        ({"name": "revenue", "type": "Mean"}, "'revenue' has type Mean, which Prometheus cannot tell"),
        ({**LATENCY, "total": "http_requests_total"}, "found 'http_requests_total', whose series have no label le"),
        ({**ERRORS, "total": "nothing_total", "bad": "nothing_bad_total"}, "has no values for 'nothing_total{version="),
        ({**ERRORS, "total": "http requests"}, "total must select one metric, as PromQL does"),
        (
            {**ERRORS, "total": 'x{a=~"("}'},
            """total of metric errors, 'x{a=~"("}', cannot be read: regular expression '(': missing )""",
        ),
    ],
)
def test_what_prometheus_cannot_answer_is_said(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: dict[str, Any], says: str
) -> None:
    assert backtest(a_policy_file(tmp_path, metric), server) == 2
    assert says in capsys.readouterr().err


COUNTER = {"metric": {"__name__": "requests_total", "instance": "a"}, "values": [[0, "1"], [15, "2"]]}
HISTOGRAM = {"metric": COUNTER["metric"], "histograms": [[15, {"count": "2", "sum": "1"}]]}


@pytest.mark.parametrize(
    ("more", "series", "says"),
    [
        ({"warnings": ["store-2 is unavailable"]}, [COUNTER], "in part only: .*store-2 is unavailable"),
        ({"isPartial": True}, [COUNTER], "in part only: isPartial is true. Ask again"),
        ({}, [COUNTER, HISTOGRAM], "has native histograms for 'requests_total', where counters .*'instance': 'a'"),
        ({}, [{**HISTOGRAM, **COUNTER}], "has native histograms for 'requests_total'"),
        ({"isPartial": False, "infos": ["it might be no counter"]}, [COUNTER], ""),
    ],
)
async def test_an_answer_that_lacks_something_is_refused(more: dict[str, Any], series: list[Any], says: str) -> None:
    async def answers(_: web.Request) -> web.Response:
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": series}, **more})

    app = web.Application()
    app.router.add_post("/api/v1/query_range", answers)
    async with TestServer(app) as partial:
        with pytest.raises(PrometheusError, match=says) if says else contextlib.nullcontext():
            assert await read_series(str(partial.make_url("/")), "requests_total", Range(0.0, 15.0, 15.0))


def test_a_server_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(a_policy_file(tmp_path, ERRORS), "http://127.0.0.1:9") == 2
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_increases_survive_a_restart_and_count_a_series_that_is_new_on_a_known_target() -> None:
    one, errors = (("instance", "a"),), (("code", "500"), ("instance", "a"))
    over = Range(0.0, 45.0, 15.0)
    series = {one: {0.0: 100.0, 15.0: 150.0, 30.0: 20.0, 45.0: 30.0}, errors: {30.0: 2.0, 45.0: 5.0}}

    assert increases(series, over) == {
        0.0: {},
        15.0: {one: 50.0},
        30.0: {one: 20.0, errors: 2.0},
        45.0: {one: 10.0, errors: 3.0},
    }


def test_all_series_of_a_target_begin_again_together_also_those_that_have_overtaken_what_they_were() -> None:
    labels: dict[tuple[str, str], Labels] = {
        (code, pod): (("code", code), ("instance", pod)) for code in ("200", "400", "500") for pod in ("a", "b")
    }
    over = Range(0.0, 45.0, 15.0)
    series: Series = {
        labels["200", "a"]: {0.0: 955.0, 15.0: 970.0, 30.0: 900.0, 45.0: 910.0},
        labels["500", "a"]: {0.0: 45.0, 15.0: 45.0, 30.0: 60.0, 45.0: 61.0},
        labels["400", "a"]: {0.0: 1.0, 15.0: 1.0, 45.0: 3.0},  # not there at the look at which the others began again
        labels["500", "b"]: {0.0: 5.0, 15.0: 5.0, 30.0: 6.0, 45.0: 6.0},  # another one
    }
    counted = {
        15.0: {"200a": 15.0, "500a": 0.0, "400a": 0.0, "500b": 0.0},
        30.0: {"200a": 900.0, "500a": 60.0, "500b": 1.0},
        45.0: {"200a": 10.0, "500a": 1.0, "400a": 3.0, "500b": 0.0},
    }
    named = {one: f"{code}{pod}" for (code, pod), one in labels.items()}
    found = increases(series, over)
    assert {time: {named[one]: count for one, count in found[time].items()} for time in counted} == counted
    bad = {one: values for one, values in series.items() if named[one].startswith("500")}
    alone = increases(bad, over, beside=series)
    assert {one: found[30.0][one] for one in bad} == alone[30.0]


def test_a_candidate_that_starts_after_the_first_look_counts_from_zero() -> None:
    old, new = (("instance", "a"),), (("instance", "b"),)
    series: Series = {old: {0.0: 100.0, 15.0: 150.0}, new: {15.0: 20.0, 30.0: 25.0}}

    assert increases(series, Range(0.0, 30.0, 15.0), from_start=True) == {
        0.0: {},
        15.0: {old: 50.0, new: 20.0},
        30.0: {new: 5.0},
    }


def test_a_sum_of_fractions_that_is_rounded_otherwise_begins_nothing_again() -> None:
    one = (("instance", "a"),)

    found = increases({one: {0.0: 100000.30000000002, 15.0: 100000.3, 30.0: 100010.3}}, Range(0.0, 30.0, 15.0))

    assert found[15.0] == {one: 0.0}
    assert found[30.0] == {one: pytest.approx(10.0)}


def test_a_gap_of_an_hour_is_not_counted() -> None:
    one = (("instance", "a"),)

    found = increases({one: {0.0: 10.0, 3600.0: 900.0, 3615.0: 910.0}}, Range(0.0, 3615.0, 15.0))

    assert found[3600.0] == {}
    assert found[3615.0] == {one: 10.0}


def scraped_by(scrape: dict[str, str], **own: str) -> Labels:
    return tuple(sorted({"instance": "10.0.0.1:3000", "pod": "stable-0", "code": "2xx", **scrape, **own}.items()))


IRIS, STABLE = {"service": "iris", "job": "iris"}, {"service": "iris-stable", "job": "iris-stable"}


@pytest.mark.parametrize(
    "other",
    [STABLE, {"job": "pods", "endpoint": "http"}, {**IRIS, "prometheus_replica": "b"}, {**IRIS, "replica": "b"}],
)
def test_a_pod_that_was_scraped_twice_is_counted_once(other: dict[str, str]) -> None:
    one, copy = scraped_by(IRIS), scraped_by(other)
    failed, failed_copy = scraped_by(IRIS, code="5xx"), scraped_by(other, code="5xx")
    values = {0.0: 1.0, 15.0: 2.0}

    total, bad = counted_once({one: values, copy: {0.0: 1.0}}, {failed: {0.0: 0.0}, failed_copy: {0.0: 0.0}})

    assert total == {one: values}
    assert bad == {failed: {0.0: 0.0}}, "of the same scrape, so that their looks are the same"


def test_where_one_scrape_saw_nothing_another_is_taken() -> None:
    first, second = scraped_by(IRIS), scraped_by(STABLE)

    (found,) = counted_once({first: {0.0: 1.0, 15.0: 2.0}, second: {15.0: 2.5, 30.0: 3.0, 45.0: 4.0}})

    assert found == {second: {0.0: 1.0, 15.0: 2.5, 30.0: 3.0, 45.0: 4.0}}


def test_a_server_whose_scrape_is_older_tells_of_no_restart() -> None:
    """One scraped at the full minute, the other 45 s later: a request a second, and at a look the first saw nothing."""
    first, second = scraped_by(IRIS), scraped_by({**IRIS, "replica": "b"})
    failed, failed_copy = scraped_by(IRIS, code="5xx"), scraped_by({**IRIS, "replica": "b"}, code="5xx")
    times = [30.0 * look for look in range(40)]
    behind = {time: 60.0 * ((time + 15) // 60) + 45 for time in times}
    ahead = {time: 60.0 * (time // 60 + 1) for time in times if not 610 < time < 700}
    few = dict.fromkeys(times, 1.0)

    total, bad = counted_once(
        {first: ahead, second: dict(list(behind.items())[4:])}, {failed: few, failed_copy: dict(list(few.items())[4:])}
    )
    counted = increases(total, Range(0.0, times[-1], 30.0), beside=bad)

    assert sum(sum(look.values()) for look in counted.values()) == times[-1] - 30
    assert bad[failed].keys() == total[first].keys(), "what is left out is left out of all that the process counts"


def test_a_restart_is_one_whoever_saw_it() -> None:
    first, second = scraped_by(IRIS), scraped_by({**IRIS, "replica": "b"})

    (found,) = counted_once(
        {first: {0.0: 90.0, 15.0: 95.0, 60.0: 30.0, 75.0: 31.0}, second: {15.0: 94.0, 30.0: 5.0, 45.0: 20.0}}
    )

    assert found == {first: {0.0: 90.0, 15.0: 95.0, 30.0: 5.0, 45.0: 20.0, 60.0: 30.0, 75.0: 31.0}}


@pytest.mark.parametrize(
    "others",
    [
        {"instance": "10.0.0.1:8080", "job": "sidecar"},
        {"instance": "10.0.0.2:3000", "job": "other"},
        {"route": "/a", "job": "other"},
    ],
)
def test_what_differs_in_more_than_how_it_was_scraped_is_no_copy(others: dict[str, str]) -> None:
    series: Series = {scraped_by(IRIS): {0.0: 1.0}, scraped_by(IRIS, **others): {0.0: 1.0}}

    assert counted_once(series) == [series]


def test_sums_that_name_no_process_are_no_copies() -> None:
    series: Series = {(("job", "a"),): {0.0: 1.0}, (("job", "b"),): {0.0: 1.0}}

    assert counted_once(series) == [series]


def test_looks_are_where_servers_that_align_them_have_them(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, found = a_policy_file(tmp_path, ERRORS, interval="15s"), []
    for later in (0, 14):
        backtest(policy, server, "--json", "--from", str(START + later))
        found.append(json.loads(capsys.readouterr().out)["evidence"])

    assert found[0] == found[1]
