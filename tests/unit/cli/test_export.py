"""What `upright export` writes is served by the tool that it is for."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import joblib
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from tests.unit.runtime.own import ALLOWED, FEATURES, ROWS, forget, module_in, served, trained
from tests.unit.runtime.pod import a_matrix_model, a_pipeline, a_pod, customers, reference_csv
from tests.unit.runtime.server import a_free_port, a_store_with, await_ready
from upright.api.artifact import canonical_json, digest
from upright.cli.main import main
from upright.runtime.publish import publish


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Path(a_store_with(a_pod(tmp_path), a_matrix_model())["UPRIGHT_ARTIFACT"])


@pytest.fixture
def of_columns(tmp_path: Path) -> Path:
    (root := tmp_path / "of-columns").mkdir()
    model = a_pipeline()
    return Path(a_store_with(a_pod(root), model, reference_csv=reference_csv(model))["UPRIGHT_ARTIFACT"])


@pytest.fixture
def with_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[Any]]]:
    """An artifact with a module of its program's own, which may be imported here; and the model's answers to ROWS."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("UPRIGHT_ALLOW_MODULES", "true")
    (root := tmp_path / "with-modules").mkdir()
    pod = a_pod(root)
    pod.environment |= ALLOWED
    answers = trained(pod)
    report = publish(pod.variables)
    forget()
    yield Path(served(pod, report.uri, report.digest)["UPRIGHT_ARTIFACT"]), answers
    forget()


def export(artifact: Path, folder: Path, form: str = "bento") -> int:
    return main(["export", str(artifact), "--as", form, "--to", str(folder), "--version", "churn-7"])


def test_bentoml_serves_a_bento_with_the_routes_of_a_pod(artifact: Path, tmp_path: Path) -> None:
    folder, port, log = tmp_path / "bento", a_free_port(), tmp_path / "bento.log"
    assert export(artifact, folder) == 0

    command = [str(Path(sys.executable).with_name("bentoml")), "serve", ".", "--port", str(port)]
    elsewhere = {"BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, **elsewhere}, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            await_ready(server, client, log)
            answer = client.post("/v1/models/churn:predict", json={"instances": [[6.8, 2.8, 4.8, 1.4]]})
            infer = client.post("/v2/models/churn/infer", json={"inputs": []})
            many = client.post("/v1/models/churn:predict", json={"instances": [[6.8, 2.8, 4.8, 1.4]] * 50_000})
            ready = client.get("/v2/models/churn/ready")
            metrics = client.get("/metrics").text
    finally:
        server.terminate()  # its workers have a group of their own, and end with it
        server.wait(timeout=60)

    assert (answer.status_code, answer.json()) == (200, {"predictions": [1]}), log.read_text()
    assert answer.headers["upright-model-version"] == "churn-7"
    assert infer.status_code == 400
    assert (many.status_code, len(many.json()["predictions"])) == (200, 50_000)
    assert (ready.status_code, ready.json()) == (200, {"name": "churn", "ready": True})
    assert 'upright_requests_total{code="2xx",model="churn",version="churn-7"} 2.0' in metrics


def test_a_bento_needs_nothing_of_a_pod_s_own_server() -> None:
    program = "import sys; sys.modules['httptools'] = sys.modules['uvicorn'] = None; import upright.runtime.service"

    subprocess.run([sys.executable, "-c", program], check=True)


def test_mlflow_gets_the_very_model_and_what_it_takes(of_columns: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mlflow"

    assert export(of_columns, folder, "mlflow") == 0

    assert (folder / "model.skops").read_bytes() == (of_columns / "model.skops").read_bytes()
    described = yaml.safe_load((folder / "MLmodel").read_text())
    assert described["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert described["flavors"]["sklearn"]["skops_trusted_types"] == ["sklearn.tree._tree.Tree"]
    assert described["flavors"]["python_function"]["loader_module"] == "mlflow.sklearn"
    assert json.loads(described["signature"]["inputs"]) == [
        {"name": "plan", "type": "string", "required": True},
        {"name": "tenure", "type": "long", "required": True},
        {"name": "income", "type": "double", "required": True},
        {"name": "paperless", "type": "boolean", "required": True},
    ]
    assert json.loads(described["signature"]["outputs"]) == [
        {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    ]
    asked = json.loads((folder / described["saved_input_example_info"]["serving_input_path"]).read_text())
    assert asked["dataframe_split"]["columns"] == ["plan", "tenure", "income", "paperless"]
    assert "scikit-learn==" in (folder / "requirements.txt").read_text()


def test_a_model_of_features_without_names_takes_an_array_in_mlflow(artifact: Path, tmp_path: Path) -> None:
    assert export(artifact, tmp_path / "mlflow", "mlflow") == 0

    described = yaml.safe_load((tmp_path / "mlflow" / "MLmodel").read_text())
    assert json.loads(described["signature"]["inputs"]) == [
        {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 4]}}
    ]
    assert described["saved_input_example_info"]["type"] == "ndarray"


def test_mlflow_is_told_which_columns_are_dates(tmp_path: Path) -> None:
    days = pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02"]), "x": [1.0, 2.0]})
    model = make_pipeline(make_column_transformer((OneHotEncoder(), ["day"])), LogisticRegression()).fit(days, [0, 1])
    pod = a_pod(tmp_path)
    days.to_parquet(pod.output / "reference.parquet")

    assert export(Path(a_store_with(pod, model)["UPRIGHT_ARTIFACT"]), tmp_path / "mlflow", "mlflow") == 0

    inputs = json.loads(yaml.safe_load((tmp_path / "mlflow" / "MLmodel").read_text())["signature"]["inputs"])
    assert [(one["name"], one["type"]) for one in inputs] == [("day", "datetime"), ("x", "double")]


def test_mlflow_takes_null_where_a_pod_does(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {
            "plan": pd.Series(["basic", None], dtype=object),
            "tenure": pd.Series([1, None], dtype="Int64"),
            "paperless": pd.Series([True, None], dtype="boolean"),
        }
    )
    columns = make_column_transformer((OneHotEncoder(), ["plan"]), remainder="drop")
    pod = a_pod(tmp_path)
    rows.to_parquet(pod.output / "reference.parquet")
    model = make_pipeline(columns, LogisticRegression()).fit(rows, [0, 1])

    assert export(Path(a_store_with(pod, model)["UPRIGHT_ARTIFACT"]), tmp_path / "mlflow", "mlflow") == 0

    assert json.loads(yaml.safe_load((tmp_path / "mlflow" / "MLmodel").read_text())["signature"]["inputs"]) == [
        {"name": "plan", "type": "string", "required": True},
        {"name": "tenure", "type": "double", "required": True},
        {"name": "paperless", "type": "any", "required": True},
    ]


def test_a_model_of_texts_is_none_for_mlflow_which_gives_it_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_pipeline(CountVectorizer(), LogisticRegression()).fit(["good", "bad"], [1, 0])
    artifact = Path(a_store_with(a_pod(tmp_path), model)["UPRIGHT_ARTIFACT"])

    assert export(artifact, tmp_path / "mlflow", "mlflow") == 2

    assert "MLflow gives a model a table, and no list of texts" in capsys.readouterr().err
    assert not (tmp_path / "mlflow").exists()


def test_mlflow_is_told_nothing_of_columns_whose_types_are_not_known(tmp_path: Path) -> None:
    any_values = json.dumps({"inputs": [{"name": name} for name in ("plan", "tenure", "income", "paperless")]})
    artifact = Path(a_store_with(a_pod(tmp_path), a_pipeline(), signature_json=any_values)["UPRIGHT_ARTIFACT"])

    assert export(artifact, tmp_path / "mlflow", "mlflow") == 0

    assert "signature" not in yaml.safe_load((tmp_path / "mlflow" / "MLmodel").read_text())


def test_kserve_gets_a_pickle_that_answers_as_the_model_does_and_what_to_apply(
    of_columns: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "kserve"

    assert export(of_columns, folder, "kserve") == 0

    assert [path.name for path in folder.iterdir()] == ["model.joblib"]
    rows = customers().drop(columns="label")
    assert joblib.load(folder / "model.joblib").predict(rows).tolist() == a_pipeline().predict(rows).tolist()
    said, _, manifest = capsys.readouterr().out.partition("\n\n")
    assert "It is a pickle" in said
    assert "scikit-learn 1." in said
    service = yaml.safe_load(manifest)
    assert (service["kind"], service["metadata"]["name"]) == ("InferenceService", "churn")
    assert service["spec"]["predictor"]["model"]["modelFormat"] == {"name": "sklearn"}


def test_kserve_gets_the_modules_beside_the_pickle_and_is_told_where_they_are(
    with_modules: tuple[Path, list[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, answers = with_modules
    folder = tmp_path / "kserve"

    assert export(artifact, folder, "kserve") == 0

    assert {path.name for path in folder.iterdir()} == {"model.joblib", "features.py"}
    service = yaml.safe_load(capsys.readouterr().out.partition("\n\n")[2])
    told = {one["name"]: one["value"] for one in service["spec"]["predictor"]["model"]["env"]}
    assert told == {"PYTHONPATH": "/mnt/models", "KSERVE_ALLOW_UNSAFE_DESERIALIZATION": "true"}
    forget()
    with patch.object(sys, "path", [str(folder), *sys.path]):
        assert joblib.load(folder / "model.joblib").predict(ROWS).tolist() == answers


def test_mlflow_gets_the_modules_as_the_code_of_the_model(with_modules: tuple[Path, list[Any]], tmp_path: Path) -> None:
    artifact, answers = with_modules
    folder = tmp_path / "mlflow"

    assert export(artifact, folder, "mlflow") == 0

    flavours = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
    assert {flavour["code"] for flavour in flavours.values()} == {"code"}
    types = flavours["sklearn"]["skops_trusted_types"]
    forget()
    with patch.object(sys, "path", [str(folder / "code"), *sys.path]):
        assert skops.io.load(folder / "model.skops", trusted=types).predict(ROWS).tolist() == answers


def test_a_bento_has_the_modules_and_imports_them(with_modules: tuple[Path, list[Any]], tmp_path: Path) -> None:
    words = ["export", str(with_modules[0]), "--as", "bento", "--to", str(tmp_path / "bento")]
    subprocess.run([sys.executable, "-m", "upright.cli.main", *words], check=True)  # a process makes one Bento

    command = [sys.executable, "-c", "import service, sys; print(sys.modules['features'].Clipper)"]
    elsewhere = {"BENTOML_HOME": str(tmp_path / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    sources = tmp_path / "bento" / "src"
    loads = subprocess.run(command, cwd=sources, env=elsewhere, capture_output=True, text=True, check=False)
    assert (loads.stdout, loads.returncode) == ("<class 'features.Clipper'>\n", 0), loads.stderr


@pytest.mark.parametrize("form", ["mlflow", "kserve"])
def test_modules_are_imported_only_where_that_is_allowed(
    with_modules: tuple[Path, list[Any]],
    tmp_path: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("UPRIGHT_ALLOW_MODULES")

    assert export(with_modules[0], tmp_path / form, form) == 2

    assert "without a cluster, UPRIGHT_ALLOW_MODULES=true" in capsys.readouterr().err
    assert not (tmp_path / form).exists()

    command = ["export", str(with_modules[0]), "--as", form, "--to", str(tmp_path / form), "--allow-modules"]
    assert main(command) == 0


def test_a_module_that_has_been_changed_is_not_exported(
    with_modules: tuple[Path, list[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module_in({"UPRIGHT_ARTIFACT": str(with_modules[0])}).write_text(FEATURES + "\n")

    assert export(with_modules[0], tmp_path / "mlflow", "mlflow") == 2

    assert "features.py is not the file that was published" in capsys.readouterr().err
    assert "features" not in sys.modules


def test_a_model_that_is_a_pickle_is_loaded_only_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UPRIGHT_ALLOWED_FORMATS", "skops,joblib")
    joblib.dump(a_matrix_model(), "model.joblib")
    assert main(["publish", "model.joblib", "--name", "churn", "--store", "models"]) == 0
    (artifact,) = Path("models/churn").iterdir()

    assert export(artifact, tmp_path / "mlflow", "mlflow") == 2
    assert "--as mlflow: expected a model in format skops, found one in joblib" in capsys.readouterr().err

    monkeypatch.delenv("UPRIGHT_ALLOWED_FORMATS")
    assert export(artifact, tmp_path / "kserve", "kserve") == 2
    assert "models in format joblib are not allowed here" in capsys.readouterr().err
    assert not (tmp_path / "kserve").exists()


@pytest.mark.parametrize("form", ["mlflow", "kserve"])
def test_a_file_of_a_stranger_is_trusted_by_no_tool_because_it_has_a_digest(
    artifact: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    skops.io.dump(FunctionTransformer(os.system), tmp_path / "model.skops")
    written = by_hand(artifact, tmp_path, model=(tmp_path / "model.skops").read_bytes())

    assert export(written, tmp_path / form, form) == 2

    assert "types that are not trusted: posix.system" in capsys.readouterr().err
    assert not (tmp_path / form).exists()


def test_a_manifest_that_names_more_than_packages_and_versions_is_none(artifact: Path, tmp_path: Path) -> None:
    written = by_hand(artifact, tmp_path, environment=["--extra-index-url=https://example.org/simple"])

    assert export(written, tmp_path / "mlflow", "mlflow") == 2


def test_an_artifact_without_the_file_of_its_format_or_a_wrong_limit_is_a_sentence(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UPRIGHT_ALLOWED_FORMATS", "joblib")
    assert export(by_hand(artifact, tmp_path / "other", format="joblib"), tmp_path / "kserve", "kserve") == 2
    assert "its format is joblib, and its manifest names no model.joblib or model.pkl" in capsys.readouterr().err

    monkeypatch.setenv("UPRIGHT_MAX_ARTIFACT_BYTES", "2Gi")
    assert export(artifact, tmp_path / "mlflow", "mlflow") == 2
    assert "UPRIGHT_MAX_ARTIFACT_BYTES must be a positive whole number; it is '2Gi'" in capsys.readouterr().err


def by_hand(artifact: Path, root: Path, model: bytes | None = None, **instead: Any) -> Path:
    """The artifact as somebody else has written it, whose digest is right."""
    manifest = json.loads((artifact / "manifest.json").read_text()) | instead
    contents = {entry["path"]: (artifact / entry["path"]).read_bytes() for entry in manifest["files"]}
    if model is not None:
        contents["model.skops"] = model
    manifest["files"] = [
        {"path": name, "sha256": digest(content).removeprefix("sha256:"), "size": len(content)}
        for name, content in contents.items()
    ]
    told = canonical_json(manifest)
    folder = root / "store" / "churn" / digest(told).replace(":", "-")
    folder.mkdir(parents=True)
    for name, content in {**contents, "manifest.json": told}.items():
        (folder / name).write_bytes(content)
    return folder


def test_what_is_no_artifact_or_has_been_changed_is_not_exported(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(artifact, artifact) == 2
    assert "expected a folder that does not exist yet" in capsys.readouterr().err

    assert export(artifact.parent, tmp_path / "to") == 2
    assert f"{artifact.parent}: expected an artifact, STORE/MODEL/sha256-...: there is no" in capsys.readouterr().err

    (artifact / "model.skops").write_bytes(b"another")
    assert export(artifact, tmp_path / "to") == 2
    assert "model.skops" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
