"""A real serving process on the loopback interface."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.runtime.pod import Pod
from upright.runtime.publish import publish

START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A process that serves churn-7, and a client for it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    def predict(self, body: Any) -> httpx.Response:
        """A V1 request; `body` is JSON, or bytes to send as they are."""
        return self.client.post(
            "/v1/models/churn:predict", content=body if isinstance(body, bytes) else json.dumps(body)
        )

    def infer(self, body: Any) -> httpx.Response:
        """A V2 request."""
        return self.client.post("/v2/models/churn/infer", content=json.dumps(body))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name with those labels."""
        page = self.client.get("/metrics")
        return sum_of(page.raise_for_status().text, name, **labels)


def sum_of(page: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def a_store_with(pod: Pod, model: Any, **files: str) -> dict[str, str]:
    """Publish a model; the environment of a pod that serves it."""
    return of_store(pod.trained(model, **files))


def of_store(pod: Pod) -> dict[str, str]:
    """Publish what there is; the environment of a pod that serves it."""
    report = publish(pod.variables)
    return {
        "UPRIGHT_ARTIFACT": str(pod.store / report.uri.removeprefix("pvc://models/")),
        "UPRIGHT_DIGEST": report.digest,
        "UPRIGHT_MODEL": "churn",
        "UPRIGHT_MODEL_VERSION": "churn-7",
        "UPRIGHT_TERMINATION_LOG": str(pod.root / "termination-log"),
    }


@contextmanager
def serving(pod: Pod, environment: dict[str, str], **how: Any) -> Iterator[Server]:
    """A server that is ready. It is ended afterwards. `how`: what else Popen is told, such as a user."""
    port, log = a_free_port(), pod.root / "serve.log"
    with log.open("wb") as output:
        process = start({**environment, "UPRIGHT_PORT": str(port)}, output, **how)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await_ready(process, client, log)
            yield Server(process, client, log)
    finally:
        with suppress(ProcessLookupError):  # it has ended, and its workers with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start(environment: dict[str, str], output: Any, **how: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from upright.runtime.main import main; main()", "serve"]
    return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True, **how)


def await_ready(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"not ready: {log.read_text()}")


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
