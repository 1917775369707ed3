"""What `upright export` writes is served by the tool that it is for."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.unit.runtime.pod import a_matrix_model, a_pod
from tests.unit.runtime.server import a_free_port, a_store_with, await_ready
from upright.cli.main import main


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return Path(a_store_with(a_pod(tmp_path), a_matrix_model())["UPRIGHT_ARTIFACT"])


def export(artifact: Path, folder: Path) -> int:
    return main(["export", str(artifact), "--as", "bento", "--to", str(folder), "--version", "churn-7"])


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
            ready = client.get("/v2/models/churn/ready")
            metrics = client.get("/metrics").text
    finally:
        server.terminate()  # its workers have a group of their own, and end with it
        server.wait(timeout=60)

    assert (answer.status_code, answer.json()) == (200, {"predictions": [1]}), log.read_text()
    assert answer.headers["upright-model-version"] == "churn-7"
    assert infer.status_code == 400
    assert (ready.status_code, ready.json()) == (200, {"name": "churn", "ready": True})
    assert 'upright_requests_total{code="2xx",model="churn",version="churn-7"} 1.0' in metrics


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
