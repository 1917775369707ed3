"""`upright try`: a real process that serves an artifact on this machine."""

import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.runtime.pod import a_pipeline, a_pod, reference_csv
from tests.unit.runtime.server import a_store_with
from upright.cli.main import main


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    model = a_pipeline()
    return Path(a_store_with(a_pod(tmp_path), model, reference_csv=reference_csv(model))["UPRIGHT_ARTIFACT"])


@pytest.fixture
def trial(artifact: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "upright.cli.main", "try", str(artifact)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_it_says_how_to_ask_answers_that_and_ends_with_ctrl_c(trial: subprocess.Popen[str], artifact: Path) -> None:
    assert trial.stdout is not None
    greeting, asking = trial.stdout.readline(), trial.stdout.readline()

    assert re.fullmatch(r"Serving churn at http://127\.0\.0\.1:\d+ until Ctrl-C\. Ask it:\n", greeting), greeting
    answer = subprocess.run([*shlex.split(asking), "-si"], capture_output=True, text=True, check=True).stdout
    assert answer.startswith("HTTP/1.1 200")
    assert f"upright-model-version: {artifact.name}" in answer
    assert '{"predictions":[' in answer

    trial.send_signal(signal.SIGINT)
    assert trial.communicate(timeout=30) == ("", "")
    assert trial.returncode == 0


def test_a_file_that_has_changed_is_not_served(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (artifact / "card.md").write_text("not of the artifact")
    (artifact / "model.skops").chmod(0o644)
    (artifact / "model.skops").write_bytes(b"another")

    assert main(["try", str(artifact)]) == 2

    said = capsys.readouterr().err
    assert said.startswith(f"upright try: {artifact}: expected an artifact, STORE/MODEL/sha256-...: model.skops is not")


def test_what_is_no_artifact_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", str(tmp_path / "nothing")]) == 2
    assert "expected an artifact, STORE/MODEL/sha256-...: there is no manifest.json" in capsys.readouterr().err


def test_a_port_that_is_taken_or_none_is_a_sentence(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", str(artifact), "--port", "70000"]) == 2
    assert "--port: expected a number from 1 to 65535, found 70000" in capsys.readouterr().err

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["try", str(artifact), "--port", str(port)]) == 2
    assert f"--port {port}: Address already in use; choose another" in capsys.readouterr().err
