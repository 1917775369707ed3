"""upright backtest on files, called as a user calls it."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.unit.cli.builders import A_DEPLOYMENT, COLUMNS, MEANS, a_csv, a_policy_file, rows_of_errors, rows_of_values
from upright.analysis import Counts, Look, begin, update, verdict
from upright.analysis.counters import Sample, increase
from upright.api.deployment import DeploymentSpec
from upright.cli.main import main
from upright.rollout.verdict import policy as of_deployment


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def backtest(policy: Path, looks: Path | str, *more: str) -> int:
    return main(["backtest", "--policy", str(policy), "--looks", str(looks), *more])


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_a_bad_canary_would_have_been_rolled_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows_of_errors(0.1)))

    said = capsys.readouterr().out
    assert status == 3
    assert "Rollback:" in said
    assert "errors" in said
    assert "backtest.svg" in said


def test_the_policy_of_a_deployment_is_taken_from_its_manifest_whatever_else_stands_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifests = tmp_path / "churn.yaml"
    manifests.write_text(f"kind: ConfigMap\napiVersion: v1\n---{A_DEPLOYMENT}status: {{ofALaterVersion: 1}}\n---\n")

    status = backtest(manifests, a_csv(tmp_path, rows_of_errors(0.01, looks=50, history=20)))

    said = capsys.readouterr().out
    assert status == 0
    assert "every 15 s, not every 30 s as the policy says" in said


def test_a_canary_that_is_proven_good_and_then_gets_bad_would_have_been_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = rows_of_errors(0.01, looks=140, history=40)
    bad = rows_of_errors(0.2, looks=160, history=40)
    rows = [*good, *(row for row in bad if row[0] >= 15 * 140)]

    statuses = {}
    for horizon in ("20m", "30m"):
        statuses[horizon] = backtest(a_policy_file(tmp_path, horizon=horizon), a_csv(tmp_path, rows), "--json")
        assert as_json(capsys)["decision"] == ("Promote" if horizon == "20m" else "Rollback")

    assert statuses == {"20m": 0, "30m": 3}


def test_a_good_canary_would_have_been_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows_of_errors(0.01)), "--json")

    found = as_json(capsys)
    assert status == 0
    assert found["decision"] == "Promote"
    assert found["looks"] == 20
    assert len(found["series"]) == 20
    assert found["metrics"][0]["crossed"] is None


def test_a_canary_that_fails_for_a_few_is_found_where_looks_were_recorded_by_segment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segments = [{"name": "plan", "feature": "plan", "values": ["flex", "nobody"]}]
    policy = a_policy_file(tmp_path, segments=segments)
    whole, few = rows_of_errors(0.01), rows_of_errors(0.2, seed=2)
    assert backtest(policy, a_csv(tmp_path, whole), "--json") == 0
    assert [one["name"] for one in as_json(capsys)["metrics"]] == ["errors"]

    group = [(*row[:2], "errors of plan flex", *row[3:]) for row in few]
    assert backtest(policy, a_csv(tmp_path, [*whole, *group]), "--json") == 3

    assert as_json(capsys)["metric"] == "errors of plan flex"


def test_the_stable_version_alone_tells_before_adoption_how_often_it_would_be_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row in rows_of_errors(0.01, pods=2) if row[1] == "stable"]
    assert backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows)) == 2
    assert "--null asks of the stable version alone" in capsys.readouterr().err

    assert backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows), "--null") == 0

    said = capsys.readouterr().out
    assert said.startswith(
        "Healthy by construction: 0 of 2 splits of the stable version (all halves of 2 pods, 60 looks"
    )
    assert said.endswith("So few splits tell little: some 300 can, as a history of 37h30m with as many pods has.\n")
    assert backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows), "--null", "--json") == 0
    assert as_json(capsys)["null"]["splits"] == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--canary", "a"], "--canary is for a Prometheus server, and --looks looks.csv is a file"),
        (["--to", "2026-01-01"], "--to is for a Prometheus server"),
        (["--seed", "1"], "--seed is for the splits of --null"),
    ],
)
def test_options_that_would_have_no_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    a_csv(tmp_path, rows_of_errors(0.01))
    assert backtest(a_policy_file(tmp_path), "looks.csv", *options) == 2
    assert says in capsys.readouterr().err


def test_counters_in_the_place_of_what_a_look_counted_are_asked_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, sums = [], dict[str, tuple[int, int]]()
    for time, arm, metric, total, bad, *rest, pod in rows_of_errors(0.01):
        before = sums.get(pod, (0, 0))
        sums[pod] = before[0] + total, before[1] + bad
        rows.append((time, arm, metric, *sums[pod], *rest, pod))
    assert backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows)) == 0
    assert "never falls from one time to the next in any pod. Are these counters?" in capsys.readouterr().err


def test_a_parquet_file_says_the_same_as_a_csv_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of_errors(0.1)
    backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows), "--json")
    from_csv = as_json(capsys)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS) if name not in ("le", "count")}
    pq.write_table(pa.table(columns), tmp_path / "looks.parquet")

    status = backtest(a_policy_file(tmp_path), tmp_path / "looks.parquet", "--json")

    assert status == 3
    assert as_json(capsys) == from_csv


def test_a_parquet_file_may_have_times_categories_and_nan_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nan = float("nan")
    rows = [
        (1_790_000_000 + 15 * look, arm, metric, *values)
        for look in range(20)
        for arm in ("canary", "stable")
        for metric, values in (
            ("errors", (100.0, 1.0, nan, nan)),
            ("latency", (nan, nan, 0.1, 90.0)),
            ("latency", (nan, nan, float("inf"), 10.0)),
        )
    ]
    columns = {name: pa.array([row[place] for row in rows]) for place, name in enumerate(COLUMNS[:-1])}
    columns["time"] = pa.array([10**9 * row[0] + 1 for row in rows], pa.timestamp("ns", "Europe/Berlin"))
    columns["arm"] = columns["arm"].dictionary_encode()
    pq.write_table(pa.table(columns), tmp_path / "looks.parquet")
    policy = a_policy_file(tmp_path, {"name": "errors", "type": "ErrorRate"}, {"name": "latency", "type": "Latency"})

    assert backtest(policy, tmp_path / "looks.parquet", "--json") == 0

    found = as_json(capsys)
    assert found["series"][0]["time"] == 1_790_000_000
    assert [metric["canary"] for metric in found["metrics"]] == [0.01, 0.1]


def test_a_limit_needs_no_stable_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = a_policy_file(tmp_path, {"name": "errors", "type": "Limit", "maximum": 0.02})
    looks = a_csv(tmp_path, [row for row in rows_of_errors(0.1) if row[1] == "canary"])

    assert backtest(policy, looks) == 3
    assert backtest(policy, looks, "--null") == 2
    assert "--null needs at least two looks of the stable version" in capsys.readouterr().err


@pytest.mark.parametrize("cumulative", [True, False])
def test_histograms_are_read_with_counts_per_bucket_or_cumulative(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, cumulative: bool
) -> None:
    rows = []
    for look in range(20):
        for arm, counts in (("canary", (10, 20, 60, 30)), ("stable", (300, 400, 150, 20))):
            shown = 0
            for edge, count in zip(("0.1", "0.2", "0.5", "+Inf"), counts, strict=True):
                shown = shown + count if cumulative else count
                rows.append((15 * look, arm, "latency", "", "", edge, shown, ""))
    policy = a_policy_file(tmp_path, {"name": "latency", "type": "Latency"})

    status = backtest(policy, a_csv(tmp_path, rows), "--json")

    assert status == 3
    found = as_json(capsys)["metrics"][0]
    assert found["canary"] in (pytest.approx(30 / 120), pytest.approx(90 / 120), pytest.approx(110 / 120))


REVENUE = {"name": "revenue", "type": "Mean", "worse": "Lower"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_canary_with_a_worse_mean_would_have_been_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    rows = rows_of_values(9.0)
    looks = a_csv(tmp_path, rows, MEANS)
    if suffix == ".parquet":
        looks = tmp_path / "looks.parquet"
        pq.write_table(pa.table({name: [row[place] for row in rows] for place, name in enumerate(MEANS)}), looks)

    status = backtest(a_policy_file(tmp_path, REVENUE), looks, "--json")

    found = as_json(capsys)["metrics"][0]
    assert status == 3
    assert found["canary"] == pytest.approx(9.0, abs=0.2)
    assert found["stable"] == pytest.approx(10.0, abs=0.1)
    assert found["skipped"] == {}


def test_the_table_shows_the_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(15 * look, arm, "revenue", 4, 40, 500, "") for look in range(9) for arm in ("canary", "stable")]

    assert backtest(a_policy_file(tmp_path, REVENUE), a_csv(tmp_path, rows, MEANS)) == 0

    assert "│ revenue │ 10     │ 10     │ 1" in capsys.readouterr().out


@pytest.mark.parametrize("pods", [4, 1])
def test_random_splits_of_healthy_values_are_seldom_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pods: int
) -> None:
    looks = a_csv(tmp_path, rows_of_values(10.0, looks=240, history=220, pods=pods), MEANS)

    backtest(a_policy_file(tmp_path, REVENUE), looks, "--null", "400", "--json")

    found = as_json(capsys)
    assert found["null"]["share"] <= 0.02
    assert found["dispersion"]["revenue"] == pytest.approx(1.1, abs=0.3)


def test_all_kinds_of_metrics_may_stand_in_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = [(*row[:3], "", "", "", "", *row[3:]) for row in rows_of_values(10.0)]
    errors = [(*row[:7], "", "", "", row[7]) for row in rows_of_errors(0.01)]
    buckets = [
        (row[0], row[1], "latency", "", "", le, 50, "", "", "", row[10]) for row in errors for le in ("1", "+Inf")
    ]
    errors_and_latency = [{"name": "errors", "type": "ErrorRate"}, {"name": "latency", "type": "Latency"}]
    columns = (*COLUMNS[:-1], *MEANS[3:])

    backtest(
        a_policy_file(tmp_path, *errors_and_latency, REVENUE),
        a_csv(tmp_path, values + errors + buckets, columns),
        "--json",
    )

    found = as_json(capsys)["metrics"]
    assert [metric["name"] for metric in found] == ["errors", "latency", "revenue"]
    assert all(metric["skipped"] == {} and metric["stable"] is not None for metric in found)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((-1, 10, 100), "row 2, column number: expected a count of at least 0, found '-1'"),
        ((1, "inf", 100), "row 2, column sum: expected a finite number, found 'inf'"),
        ((1, 10, ""), "row 2, column sumsq: expected a number, found nothing"),
        ((1, 10, -100), "row 2, column sumsq: expected a sum of squares of at least 0, found '-100'"),
        ((4, 10, 24), "row 2, column sumsq: expected at least sum * sum / number (25)"),
        ((0, 10, 100), "row 2, column sum: expected 0, because number is 0, found '10'"),
    ],
)
def test_values_that_no_values_have_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: Sequence[Any], says: str
) -> None:
    looks = a_csv(tmp_path, [(0, "canary", "revenue", *values, "")], MEANS)

    assert backtest(a_policy_file(tmp_path, REVENUE), looks) == 2
    assert says in capsys.readouterr().err


def test_equal_values_whose_squares_were_rounded_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(0, arm, "revenue", 3, 0.3, 0.02999999, "") for arm in ("canary", "stable")]

    assert backtest(a_policy_file(tmp_path, REVENUE), a_csv(tmp_path, rows, MEANS), "--json") == 0
    assert as_json(capsys)["metrics"][0]["skipped"] == {}


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ({"type": "Latency"}, "has type Latency in the policy, which needs le and count; the looks have total and bad"),
        ({"type": "Mean"}, "has type Mean in the policy, which needs number, sum and sumsq; the looks have total and"),
    ],
)
def test_a_metric_that_was_recorded_as_another_kind_than_its_type_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: dict[str, Any], says: str
) -> None:
    policy = a_policy_file(tmp_path, {"name": "errors", **metric})

    assert backtest(policy, a_csv(tmp_path, rows_of_errors(0.1))) == 2
    assert f"metric 'errors' {says}" in capsys.readouterr().err


def test_random_splits_of_a_healthy_history_are_seldom_rolled_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of_errors(0.01, looks=240, history=220)

    backtest(a_policy_file(tmp_path, onInconclusive="Rollback"), a_csv(tmp_path, rows), "--null", "400", "--json")

    found = as_json(capsys)
    assert found["null"]["splits"] == 6 * 2  # of four pods there are six halves, in two windows
    assert found["null"]["share"] <= 0.02
    assert found["null"]["by"] == "all halves of 4 pods"


def without_pods(rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """As of a file that does not name them."""
    return [(*row[:-1], "") for row in rows]


def test_dispersion_is_estimated_from_neighbouring_looks_that_name_no_pods(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = a_csv(tmp_path, without_pods(rows_of_errors(0.01, looks=240, history=220, pods=1, cluster=6)))
    policy = a_policy_file(tmp_path, onInconclusive="Rollback")

    backtest(policy, rows, "--null", "400", "--json")

    found = as_json(capsys)
    assert found["null"]["splits"] == 400
    assert found["null"]["share"] <= 0.02
    assert found["null"]["by"] == "pairs of looks"
    assert found["dispersion"]["errors"] > 3
    backtest(policy, rows)
    assert "since the looks name no pods" in capsys.readouterr().out


def test_the_null_is_as_honest_about_one_pod_as_a_rollout_is_blind_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of_errors(0.01, looks=240, history=220, pods=1, cluster=6)

    backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows), "--null", "400", "--json")

    found = as_json(capsys)
    assert found["dispersion"]["errors"] == 1
    assert found["null"]["share"] > 0.5


def test_a_backtest_reckons_to_the_last_digit_as_a_rollout_does_with_the_same_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of_errors(0.012, looks=40, history=0, pods=3, cluster=4)
    spec = DeploymentSpec.model_validate(yaml.safe_load(A_DEPLOYMENT)["spec"])
    promise = of_deployment(spec).model_copy(update={"interval": timedelta(seconds=15)})
    state = begin(promise)
    for time in range(0, 600, 15):
        by_pod = {row[-1]: (row[3], row[4]) for row in rows if row[0] == time}
        start = {pod: Sample(0.0, (0, 0)) for pod in by_pod}
        canary, stable = (
            increase(start, {pod: Sample(1.0, counted) for pod, counted in by_pod.items() if pod.startswith(arm)}, 9)
            for arm in ("canary", "stable")
        )
        halves = {"errors": Counts(*stable.halves)}  # type: ignore[arg-type]
        look = Look(float(time), {"errors": Counts(canary.counts, stable.counts)}, halves=halves)  # type: ignore[arg-type]
        state = update(promise, state, look)
    manifest = tmp_path / "churn.yaml"
    manifest.write_text(A_DEPLOYMENT)

    backtest(manifest, a_csv(tmp_path, rows), "--json")

    replayed, metric = as_json(capsys), verdict(promise, state).metrics[0]
    assert replayed["dispersion"]["errors"] == metric.dispersion > 2
    assert replayed["series"][-1]["evidence"]["errors"] == metric.evidence


def test_looks_recorded_at_another_interval_are_analysed_as_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [(row[0] * 4, *row[1:]) for row in rows_of_errors(0.1)]

    backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows))

    assert "recorded every 60 s, not every 15 s" in capsys.readouterr().out


GOOD = (0, "canary", "errors", 10, 1, "", "", "")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [GOOD, (15, "kanary", "errors", 10, 1, "", "", "")],
            "row 3, column arm: expected canary or stable, found 'ka",
        ),
        ([(15, "canary", "errors", "ten", 1, "", "", "")], "row 2, column total: expected a number, found 'ten'"),
        (
            [(15, "canary", "errors", 10, -1, "", "", "")],
            "row 2, column bad: expected a count of at least 0, found",
        ),
        ([(15, "canary", "errors", 10, 11, "", "", "")], "row 2, column bad: expected at most total (10), found '11'"),
        ([("soon", "canary", "errors", 10, 1, "", "", "")], "row 2, column time: expected seconds or ISO 8601"),
        ([(15, "canary", "", 10, 1, "", "", "")], "row 2, column metric: expected a word"),
        ([GOOD, GOOD], "row 3: the same time, arm, metric and pod stand twice"),
        ([(0, "canary", "errors", "", "", 0.1, 5, "")] * 2, "row 3, column le: the bucket 0.1 stands twice"),
        ([], "expected at least one row"),
        (
            [(0, "canary", "other", 10, 1, "", "", "")],
            "metric 'errors' was not recorded; the looks have other",
        ),
        ([(0, "stable", "errors", 10, 1, "", "", "")], "expected looks with traffic to the canary"),
    ],
)
def test_rows_that_make_no_sense_are_refused_with_place_and_expectation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Any], says: str
) -> None:
    assert backtest(a_policy_file(tmp_path), a_csv(tmp_path, rows)) == 2
    assert says in capsys.readouterr().err


def test_files_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    looks, policy = a_csv(tmp_path, [GOOD]), a_policy_file(tmp_path)
    (tmp_path / "broken.parquet").write_text("no")
    (tmp_path / "broken.yaml").write_text("{")
    cases = [
        ((policy, tmp_path / "none.csv"), "there is no such file"),
        ((policy, tmp_path / "policy.yaml"), "ends in .csv or .parquet"),
        ((policy, tmp_path / "broken.parquet"), "not a Parquet file"),
        ((tmp_path / "none.yaml", looks), "No such file"),
        ((tmp_path / "broken.yaml", looks), "expected YAML or JSON"),
        ((policy, looks, "--picture", "evidence.pdf"), "ends in .svg or .png, found 'evidence.pdf'"),
        ((policy, looks, "--null", "-1"), "expected a number of splits"),
        ((policy, "http://127.0.0.1:9"), "also needs --canary, --stable, --from, --to"),
    ]
    for arguments, says in cases:
        assert backtest(*arguments) == 2  # type: ignore[arg-type]
        assert says in capsys.readouterr().err

    a_policy_file(tmp_path, {"name": "errors", "type": "ErrorRate", "weigth": 2})
    assert backtest(policy, looks) == 2
    assert "metrics.0: Metric has no field 'weigth'" in capsys.readouterr().err


def test_columns_that_are_missing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert backtest(a_policy_file(tmp_path), a_csv(tmp_path, [(0, "canary")], ("time", "arm"))) == 2
    assert "expected the columns time, arm, metric, and total, bad" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "absolute"),
    [({}, 0.01), ({"tolerance": {"relative": 0.5}}, 0.01), ({"tolerance": {"absolute": 0.3}}, 0.3)],
)
def test_refusals_of_a_deployment_are_replayed_with_the_tolerance_of_their_type(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: dict[str, Any], absolute: float
) -> None:
    metric = {"name": "refusals", "type": "RefusalRate", **written}
    manifest = yaml.safe_load(A_DEPLOYMENT)
    manifest["spec"]["monitoring"]["metrics"] = [metric]
    policy = tmp_path / "churn.yaml"
    policy.write_text(yaml.safe_dump(manifest))
    rows = [[*row[:2], "refusals", *row[3:]] for row in rows_of_errors(0.2)]

    spec = DeploymentSpec.model_validate(manifest["spec"])
    status = backtest(policy, a_csv(tmp_path, rows), "--json")

    assert of_deployment(spec).metrics[0].margins.absolute == absolute
    assert as_json(capsys)["metric"] == "refusals"
    assert status == (3 if absolute < 0.2 else 0)
