import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.churn import make_customers
from examples.churn.traffic import read_customers
from examples.configmaps import CONFIGMAPS, HERE, configmap
from tests.unit.runtime.pod import Pod, a_pod
from tests.unit.runtime.server import Server, serving
from upright.api.deployment import DeploymentSpec
from upright.api.training_job import TrainingJobSpec


def trained(pod: Pod, example: str, **parameters: float) -> Pod:
    """Run an example's training program as its TrainingJob says, with other parameters."""
    spec = yaml.safe_load((HERE / example / "training-job.yaml").read_text())["spec"]
    pod.run |= {"model": example, "parameters": {**spec["parameters"], **parameters}}
    (pod.root / "parameters.json").write_text(json.dumps(pod.run["parameters"]))
    for name, folder in (("code", pod.code), ("data", pod.data / "train")):
        if (HERE / example / f"{name}.yaml").exists():
            folder.mkdir(exist_ok=True)
            for file, content in yaml.safe_load((HERE / example / f"{name}.yaml").read_text())["data"].items():
                (folder / file).write_text(content)
    subprocess.run(
        [sys.executable, *spec["train"]["command"][1:]],
        cwd=pod.code,
        env={**pod.variables, "UPRIGHT_PARAMETERS": str(pod.root / "parameters.json")},
        check=True,
        timeout=120,
    )
    return pod


def served(pod: Pod, example: str) -> dict[str, str]:
    status, message = pod.execute("publish")
    assert status == 0, message
    return {
        "UPRIGHT_ARTIFACT": str(pod.store / message["uri"].removeprefix("pvc://models/")),
        "UPRIGHT_DIGEST": message["digest"],
        "UPRIGHT_MODEL": example,
        "UPRIGHT_MODEL_VERSION": f"{example}-1",
        "UPRIGHT_TERMINATION_LOG": str(pod.root / "termination-log"),
    }


def answers(server: Server, rows: list[dict[str, Any]]) -> list[int]:
    """The status of one request a row."""
    return [server.predict({"instances": [row]}).status_code for row in rows]


@pytest.mark.parametrize("path", CONFIGMAPS)
def test_the_configmaps_hold_the_files_as_they_are(path: str) -> None:
    text = (HERE / path).read_text()

    assert text == configmap(*CONFIGMAPS[path]), "run python examples/configmaps.py"
    assert len(text) < 256 * 1024, "kubectl apply keeps a copy in an annotation"


@pytest.mark.parametrize("example", ["iris", "churn"])
def test_the_manifests_are_what_the_kinds_take(example: str) -> None:
    job = yaml.safe_load((HERE / example / "training-job.yaml").read_text())
    deployment = yaml.safe_load((HERE / example / "deployment.yaml").read_text())

    assert TrainingJobSpec.model_validate(job["spec"]).train.command == ["python", "train.py"]
    assert DeploymentSpec.model_validate(deployment["spec"]).model_version == f"{job['metadata']['name']}-1"


def test_the_customers_are_the_ones_that_the_script_makes() -> None:
    done = subprocess.run([sys.executable, make_customers.__file__], capture_output=True, text=True, check=True)

    assert done.stdout == (HERE / "churn" / "customers.csv").read_text()


def test_iris_predicts_what_kserve_s_example_predicts(pod: Pod) -> None:
    with serving(pod, served(trained(pod, "iris"), "iris")) as server:
        rows = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]

        answer = server.client.post("/v1/models/iris:predict", json={"instances": rows})

    assert answer.json() == {"predictions": [1, 1]}


@pytest.fixture(scope="module")
def good_churn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the example's first version."""
    pod = a_pod(tmp_path_factory.mktemp("churn"))
    with serving(pod, served(trained(pod, "churn"), "churn")) as server:
        yield server


def test_a_good_version_of_churn_answers_every_customer(good_churn: Server) -> None:
    customers = read_customers(HERE / "churn" / "customers.csv")[:300]

    assert set(answers(good_churn, customers)) == {200}


def test_the_bad_version_of_churn_looks_good_and_refuses_one_customer_in_five(pod: Pod) -> None:
    customers = read_customers(HERE / "churn" / "customers.csv")[:300]
    environment = served(trained(pod, "churn", minimum_tenure=12), "churn")

    metrics = json.loads((pod.output / "metrics.json").read_text())
    assert metrics["auc"] > 0.6
    with serving(pod, environment) as server:
        found = answers(server, customers)
    refused = [customer for customer, status in zip(customers, found, strict=True) if status == 400]
    assert {customer["plan"] for customer in refused} == {"flex"}
    assert 0.15 < len(refused) / len(customers) < 0.25


def test_the_traffic_is_counted_by_version(good_churn: Server) -> None:
    host = f"{good_churn.client.base_url.host}:{good_churn.client.base_url.port}"
    done = subprocess.run(
        [sys.executable, HERE / "churn" / "traffic.py", "--host", host, "--rate", "20", "--seconds", "1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^total +ok churn-1: 20$", done.stdout, re.MULTILINE)


def test_traffic_reports_what_fails() -> None:
    program = Path(HERE / "churn" / "traffic.py")

    done = subprocess.run(
        [sys.executable, program, "--host", "127.0.0.1:9", "--rate", "5", "--seconds", "1"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "total   failed - ConnectionRefusedError: 5" in done.stdout
