"""An operator as a process of its own, so that a test can stop, freeze and kill it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.cluster import Cluster

Found = TypeVar("Found")
WRITES = ("create", "update", "patch", "delete")


def until(question: Callable[[], Found], what: str, seconds: float = 20) -> Found:
    """Ask until the answer is true; fail with what was waited for."""
    end = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)
    return answer


class Operator:
    """A running operator."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.process = process
        self._port = port
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def leads(self) -> bool:
        assert self.process.poll() is None, self.log
        return "leading as" in self.log

    def get(self, path: str) -> tuple[int, str]:
        """GET from its port: the status and the text; (0, "") while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def requests(self) -> dict[tuple[str, str, str], float]:
        """What it has asked of the API server: how often, by verb, resource and code."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = [sample for family in families if family.name == "upright_api_requests" for sample in family.samples]
        return {
            (sample.labels["verb"], sample.labels["resource"], sample.labels["code"]): sample.value
            for sample in samples
            if sample.name.endswith("_total")
        }

    def writes(self) -> dict[tuple[str, str, str], float]:
        """Its requests that write, but for those of leader election."""
        return {key: n for key, n in self.requests().items() if key[0] in WRITES and not key[1].startswith("leases")}

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return next(sample.value for family in families for sample in family.samples if sample.name == name)

    def settled(self) -> None:
        """Wait until it has asked for nothing new for a while."""
        seen = [self.writes()]

        def quiet() -> bool:
            time.sleep(1)
            seen.append(self.writes())
            return seen[-1] == seen[-2]

        until(quiet, "it has come to rest")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.process.wait(15)


@contextmanager
def operator(
    cluster: Cluster,
    namespace: str,
    folder: Path,
    name: str,
    *,
    module: str = "tests.integration.toy",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Operator]:
    """An operator for one namespace (or several, with commas between), with its Lease in the first."""
    with socket.create_server(("", 0)) as free:
        port = int(free.getsockname()[1])
    variables = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "UPRIGHT_NAMESPACES": namespace,
        "UPRIGHT_LEASE_NAMESPACE": namespace.split(",")[0],
        "UPRIGHT_IDENTITY": name,
        "UPRIGHT_METRICS_PORT": str(port),
    }
    log = folder / f"{name}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", module], env=os.environ | variables | dict(environment or {}), stderr=stderr
        )
    try:
        yield Operator(process, log, port)
    finally:
        process.kill()
        process.wait()
