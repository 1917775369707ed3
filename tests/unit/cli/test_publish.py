"""`upright publish` on a laptop: what a training run does, without a cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.unit.runtime.foreign import of_lightgbm
from tests.unit.runtime.own import ALLOWED, FEATURES, forget, trained
from tests.unit.runtime.pod import Pod, a_matrix_model, a_pipeline, a_pod, reference_csv
from upright.api.model_version import ModelVersionSpec
from upright.cli.main import main
from upright.runtime.publish import publish as in_a_pod

pytestmark = pytest.mark.usefixtures("in_a_folder")


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """A pod of a run of churn, with the same model in its output as in the file model.skops."""
    model = a_pipeline()
    Path("reference.csv").write_text(reference_csv(model))
    Path("scores.json").write_text('{"accuracy": 0.97}')
    Path("parameters.json").write_text('{"depth": 4}')
    (root := tmp_path / "pod").mkdir()
    pod = a_pod(root).trained(model, metrics_json='{"accuracy": 0.97}', reference_csv=reference_csv(model))
    Path("churn.skops").write_bytes((pod.output / "model.skops").read_bytes())
    return pod


def publish(*words: str, model: str = "churn.skops", store: str = "models") -> int:
    return main(["publish", model, "--name", "churn", "--store", store, *words])


WITH_ALL = ("--reference", "reference.csv", "--metrics", "scores.json", "--parameters", "parameters.json")


def test_a_library_that_crashes_on_a_damaged_file_is_a_sentence(tmp_path: Path) -> None:
    of_lightgbm()["lightgbm, amounts"].save(tmp_path / "model.txt")
    whole = (tmp_path / "model.txt").read_bytes()
    (tmp_path / "model.txt").write_bytes(whole.replace(b"\nleft_child=", b"\nleft_child=999999999 ", 1))

    command = [sys.executable, "-m", "upright.cli.main", "publish", "model.txt", "--name", "churn", "--store", "models"]
    allowed = {**os.environ, "UPRIGHT_ALLOWED_FORMATS": "lightgbm"}
    done = subprocess.run(command, env=allowed, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "upright publish: The model cannot be used: the library that reads it crashed (SIG" in done.stderr


def test_a_metric_that_is_no_number_is_named(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    Path("scores.json").write_text('{"auc": NaN, "accuracy": 0.97}')

    assert publish("--as", "pvc://models", *WITH_ALL) == 0

    printed = capsys.readouterr()
    version = yaml.safe_load(printed.out)
    assert version["spec"]["producedAt"], "`latest` goes by it, whenever the object is made again"
    assert version["metadata"]["annotations"] == {"upright.dev/unknown-metrics": "auc"}
    assert version["spec"]["metrics"] == {"accuracy": 0.97}
    assert "Metrics that are no number, and so are not kept: auc\n" in printed.err


def test_a_name_of_one_s_own_for_the_prediction_is_said(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"plan": "BYTES", "tenure": "INT64", "income": "FP64", "paperless": "BOOL"}
    inputs = [{"name": name, "type": kind} for name, kind in columns.items()]
    for name, said in (("proba", True), ("predict_proba", False), ("prediction", False)):
        signature = {"inputs": inputs, "outputs": [{"name": name}]}
        (pod.output / "signature.json").write_text(json.dumps(signature))

        assert publish(model=str(pod.output)) == 0

        assert ("What predict answers is called proba, as signature.json" in capsys.readouterr().err) == said


def test_a_model_that_fails_on_dates_of_a_csv_is_told_to_keep_them(capsys: pytest.CaptureFixture[str]) -> None:
    days = pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02"]), "x": [1.0, 2.0]})
    skops.io.dump(make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()).fit(days[["x"]], [0, 1]), "m.skops")
    pd.DataFrame({"x": ["2026-01-01", "2026-01-02"]}).to_csv("days.csv", index=False)

    assert publish("--reference", "days.csv", model="m.skops") == 2

    assert "A CSV tells of no types, so these columns are text: x. Where the" in capsys.readouterr().err


def test_a_model_that_could_not_be_tried_is_said_to_be_so(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    days = pd.DataFrame({"day": ["2026-01-01", "2026-01-02"], "x": [1.0, 2.0]})
    columns = make_column_transformer((FunctionTransformer(), ["x"]), ("drop", ["day"]))
    skops.io.dump(make_pipeline(columns, LogisticRegression()).fit(days, [0, 1]), "days.skops")

    assert publish("--as", "pvc://models", model="days.skops") == 0

    printed = capsys.readouterr()
    untried = (
        "The model was not tried out, and may fail on each request: nothing tells of which type these columns are: "
        "day. Write rows that it was made for beside it, as reference.parquet"
    )
    assert f"{untried} (--reference)\n" in printed.err
    assert yaml.safe_load(printed.out)["metadata"]["annotations"] == {"upright.dev/untried": untried}


def test_a_file_becomes_the_artifact_that_a_run_makes_of_it(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    report = in_a_pod(pod.variables)

    assert publish("--as", "pvc://models", *WITH_ALL) == 0

    printed = capsys.readouterr()
    version = yaml.safe_load(printed.out)
    assert version["spec"]["artifact"]["digest"] == report.digest
    assert version["spec"]["artifact"]["uri"] == report.uri
    artifact = Path("models/churn") / report.digest.replace(":", "-")
    assert str(artifact) in printed.err
    theirs = pod.store / "churn" / artifact.name
    assert {path.name: path.read_bytes() for path in artifact.iterdir()} == {
        path.name: path.read_bytes() for path in theirs.iterdir()
    }


def test_what_is_printed_is_the_model_version_to_apply(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish("--as", "pvc://models/of-ours", "--version", "churn-7", *WITH_ALL) == 0

    version: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    assert (version["apiVersion"], version["kind"]) == ("upright.dev/v1alpha1", "ModelVersion")
    assert version["metadata"] == {"name": "churn-7"}
    spec = ModelVersionSpec.model_validate(version["spec"])
    assert spec.artifact.uri.startswith("pvc://models/of-ours/churn/sha256-")
    assert (spec.metrics, spec.parameters) == ({"accuracy": 0.97}, {"depth": 4})
    assert spec.framework is not None
    assert spec.framework.name == "scikit-learn"
    assert spec.signature is not None
    assert [tensor["name"] for tensor in spec.signature.inputs] == ["plan", "tenure", "income", "paperless"]


def test_a_folder_is_read_as_a_training_program_writes_it(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish("--as", "pvc://models", "--parameters", "parameters.json", model=str(pod.output)) == 0

    version = yaml.safe_load(capsys.readouterr().out)
    digest: str = version["spec"]["artifact"]["digest"]
    assert digest == in_a_pod(pod.variables).digest
    assert version["metadata"]["name"] == f"churn-{digest.removeprefix('sha256:')[:12]}"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    """A pod whose model needs the module features.py, with that and the model's other files here as well."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (root := tmp_path / "own").mkdir()
    pod = a_pod(root)
    pod.environment |= ALLOWED
    trained(pod)
    for name in ("model.skops", "reference.parquet", "metrics.json"):
        Path(name).write_bytes((pod.output / name).read_bytes())
    Path("features.py").write_text(FEATURES)
    Path("parameters.json").write_text('{"depth": 4}')
    yield pod
    forget()


def test_modules_go_with_a_file_as_they_do_with_a_run_s(own: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--reference", "reference.parquet", "--metrics", "metrics.json", "--parameters", "parameters.json")

    assert publish("--as", "pvc://models", *files, "--modules", "features.py", model="model.skops") == 0

    printed = capsys.readouterr()
    assert "Pods import features.py where the platform allows it (allowModules of the chart)" in printed.err
    forget()
    assert yaml.safe_load(printed.out)["spec"]["artifact"]["digest"] == in_a_pod(own.variables).digest


def test_modules_in_a_folder_are_imported_only_where_that_is_allowed(
    own: Pod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(model=str(own.output)) == 2
    assert "without a cluster, UPRIGHT_ALLOW_MODULES=true" in capsys.readouterr().err

    monkeypatch.setenv("UPRIGHT_ALLOW_MODULES", "true")
    assert publish(model=str(own.output)) == 0


def test_without_a_name_for_the_store_there_is_an_artifact_and_no_version(
    pod: Pod, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish() == 0

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--as pvc://CLAIM" in printed.err
    assert len(list(Path("models/churn").iterdir())) == 1


def test_a_signature_that_is_too_long_for_a_version_is_left_to_the_artifact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    wide = pd.DataFrame({f"feature_{i}": [0.0, 1.0, 2.0] for i in range(400)})
    skops.io.dump(LinearRegression().fit(wide, [0, 1, 2]), "wide.skops")

    assert publish("--as", "pvc://models", model="wide.skops") == 0

    assert "signature" not in yaml.safe_load(capsys.readouterr().out)["spec"]


def test_joblib_is_published_where_the_environment_allows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    joblib.dump(a_matrix_model(), "model.joblib")

    assert publish(model="model.joblib") == 2
    assert "models in format joblib are not allowed here" in capsys.readouterr().err

    monkeypatch.setenv("UPRIGHT_ALLOWED_FORMATS", "skops,joblib")
    assert publish(model="model.joblib") == 0


def test_a_package_that_is_missing_is_named_with_what_brings_it(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "upright.cli.publish", raising=False)
    monkeypatch.setitem(sys.modules, "upright.runtime.publish", None)

    assert publish() == 2

    said = capsys.readouterr().err
    assert said == "upright publish: it needs upright.runtime.publish: pip install '.[runtime]' in Upright's checkout\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--name", "Churn"], "--name: expected at most 63 lower-case letters, digits and hyphens"),
        (["--version", "churn_7"], "--version: expected at most 63 lower-case letters, digits and hyphens"),
        (["--as", "models"], "--as: expected a claim of the cluster, pvc://CLAIM"),
        (["--as", "pvc://models/../x"], "spec.artifact.uri: must not contain '..'"),
        (["--store", "s3://bucket"], "--store s3://bucket: expected a folder. Deployments serve artifacts from"),
        (["--store", "pvc://models"], "--store pvc://models: expected a folder"),
        (["--store", "churn.skops"], "--store churn.skops: expected a folder: File exists"),
        (["--store", "churn.skops/x"], "--store churn.skops/x: expected a folder: Not a directory"),
        (["--reference", "scores.json"], "--reference: expected a file whose name ends in .csv or .parquet"),
        (["--reference", "none.csv"], "none.csv: there is no such file"),
        (["--metrics", "reference.csv"], "churn.skops: metrics.json is not JSON"),
        (["--modules", "none.py"], "none.py: there is no such file"),
        (["--modules", "scores.json"], "'scores.json' is no module that can go with a model"),
        (["--modules", "a/x.py", "b/x.py"], "--modules: two have the same name: a/x.py, b/x.py"),
        (["--parameters", "none.json"], "--parameters none.json: No such file or directory"),
        (["--parameters", "reference.csv"], "--parameters reference.csv: expected JSON"),
        (["--parameters", "list.json"], "--parameters list.json: expected an object"),
        (["--parameters", "nan.json"], "--parameters nan.json: expected JSON: Out of range float values"),
    ],
)
def test_a_mistake_is_a_sentence(pod: Pod, capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    Path("list.json").write_text("[1]")
    Path("nan.json").write_text(json.dumps({"C": float("nan")}))

    assert publish(*words) == 2

    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1].startswith("upright publish: ")
    assert says in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("model", "words", "says"),
    [
        ("model.pickle", [], "MODEL: expected a file whose name ends in .skops or .joblib or .pkl or"),
        ("none.skops", [], "none.skops: there is no such file"),
        ("empty.skops", [], "empty.skops: The model model.skops has 0 bytes"),
        ("text.skops", [], "text.skops: The model cannot be used: model.skops is not a skops file"),
        ("empty", [], "empty: The training program must write exactly one model"),
        ("empty", ["--metrics", "m.json"], "empty is a folder: expected its own reference.csv and metrics.json in it"),
        ("empty", ["--modules", "features.py"], "in it, and modules/"),
    ],
)
def test_what_is_no_model_is_refused(
    capsys: pytest.CaptureFixture[str], model: str, words: list[str], says: str
) -> None:
    Path("empty").mkdir()
    Path("empty.skops").touch()
    Path("text.skops").write_text("text")

    assert publish(*words, model=model) == 2

    assert says in capsys.readouterr().err
    assert not list(Path("models").glob("*/*"))
