"""What serving costs, beside the servers that a user would pick instead: `python -m tests.bench.serving`.

Each server has one core and one process, the load comes from the other core, over kept connections. KServe and our
pod are asked in V1, MLServer in V2, BentoML by an API of its own; each answers the same rows with the same kind of
model, in a virtual environment of its own that is made once in the cache. Rounds are taken in turn. It prints figures
and asserts none.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.environments import environment
from tests.bench.peers import models
from tests.cluster.binaries import BOMBARDIER, ensure, program
from tests.cluster.shell import Progress
from tests.unit.runtime.pod import a_pod
from tests.unit.runtime.server import a_free_port, a_store_with

PEERS = Path(__file__).parent / "peers"
REQUIRES: Mapping[str, Sequence[str]] = {
    "kserve": ("kserve==0.21.0", "scikit-learn==1.9.1"),
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "scikit-learn==1.9.1"),
    "bentoml": ("bentoml==1.4.39", "scikit-learn==1.9.1", "pandas"),
}
SERVERS = ("upright", "upright V2", "upright batching", *REQUIRES)
SERVER_CORE, CLIENT_CORE = "0", "1"
ROWS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
FLAT_EVERY = 20_000


@dataclass(frozen=True)
class Case:
    """A load: which model, how many rows a request, over how many connections."""

    name: str
    model: str
    rows: int
    connections: int

    def body(self, server: str) -> str:
        """A request as the server takes it."""
        if self.model == "columns":
            records: list[dict[str, Any]] = models.customers(self.rows).to_dict("records")  # type: ignore[assignment]
            if server in {"upright V2", "mlserver"}:
                return json.dumps({"inputs": [_column(name, records) for name in records[0]], **_as_frame(server)})
            return json.dumps({"instances": records})
        rows = [ROWS[number % 2] for number in range(self.rows)]
        if server in {"upright V2", "mlserver"}:
            flat = [value for row in rows for value in row]
            tensor = {"name": "input-0", "shape": [self.rows, 4], "datatype": "FP64", "data": flat}
            return json.dumps({"inputs": [tensor]})
        return json.dumps({"instances": rows})


CASES = (
    Case("linear, 2 rows, 4 connections", "linear", 2, 4),
    Case("linear, 2 rows, 32 connections", "linear", 2, 32),
    Case("linear, 100 rows, 4 connections", "linear", 100, 4),
    Case("named columns, 2 rows, 4 connections", "columns", 2, 4),
    Case("forest of 100, 2 rows, 4 connections", "forest", 2, 4),
    Case("forest of 100, 2 rows, 32 connections", "forest", 2, 32),
)


@dataclass
class Figures:
    """Of a server under a load: one entry a round."""

    rate: list[float] = field(default_factory=list)
    median: list[float] = field(default_factory=list)
    tail: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS)
    parser.add_argument("--cases", nargs="+", type=int, default=range(len(CASES)), help="their numbers, from 0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--flat", type=int, default=200_000, help="requests of which memory is told; 0: none")
    options = parser.parse_args()
    say = Progress()
    ensure((BOMBARDIER,), say)
    environments = {name: environment(name, REQUIRES[name], say) for name in REQUIRES if name in options.servers}
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="upright-bench-") as folder:
        for case in (CASES[number] for number in options.cases):
            console.print(_compared(case, options, environments, Path(folder)))
        if options.flat:
            _flat(options.flat, Path(folder), console)


def _compared(case: Case, options: argparse.Namespace, environments: Mapping[str, Path], folder: Path) -> Table:
    figures: dict[str, Figures] = defaultdict(Figures)
    memory, cold = {}, {}
    with ExitStack() as running:
        urls, processes = {}, {}
        for server in options.servers:
            begun = time.perf_counter()
            urls[server], processes[server] = running.enter_context(_serving(server, case, environments, folder))
            cold[server] = time.perf_counter() - begun
        for _ in range(options.rounds):
            for server in options.servers:
                _load(urls[server], case.body(server), case.connections, seconds=options.seconds, into=figures[server])
        memory = {server: _peak(process) for server, process in processes.items()}
    peers = [figures[peer] for peer in ("kserve", "mlserver") if peer in figures]
    best = max(peers, key=lambda peer: statistics.median(peer.rate), default=None)
    table = Table(
        "server", "requests/s", "of the better peer", "median, ms", "99 %, ms", "ready, s", "peak, MB", title=case.name
    )
    for server, found in figures.items():
        rate = statistics.median(found.rate)
        table.add_row(
            server,
            f"{rate:.0f}",
            _beside(found, best) if best else "",
            f"{statistics.median(found.median):.2f}",
            f"{statistics.median(found.tail):.2f}",
            f"{cold[server]:.1f}",
            f"{memory[server]:.0f}",
        )
    return table


def _beside(found: Figures, peer: Figures) -> str:
    """The median of the rounds' ratios, and the least and the greatest: a machine that is faster in one round than in
    the next is so for both.
    """
    ratios = [one / other for one, other in zip(found.rate, peer.rate, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def _flat(requests: int, folder: Path, console: Console) -> None:
    """Whether memory grows with requests."""
    case = CASES[0]
    table = Table("requests", "memory, MB", "median, ms", "99 %, ms", title="upright: memory after so many requests")
    with _serving("upright", case, {}, folder) as (url, process):
        for number in range(0, requests + 1, FLAT_EVERY):
            found = Figures()
            if number:
                _load(url, case.body("upright"), case.connections, requests=FLAT_EVERY, into=found)
            times = (f"{value[0]:.2f}" if value else "" for value in (found.median, found.tail))
            table.add_row(str(number), f"{_memory(process):.0f}", *times)
    console.print(table)


@contextmanager
def _serving(
    server: str, case: Case, environments: Mapping[str, Path], folder: Path
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL to ask, and the process, of a server that answers."""
    port = a_free_port()
    variables, command, path = dict(os.environ), list[str](), "/predict"
    if server.startswith("upright"):
        (root := folder / f"upright-{port}").mkdir()
        frame = models.customers().to_csv(index=False) if case.model == "columns" else None
        files = {"reference_csv": frame} if frame else {}
        variables |= {**a_store_with(a_pod(root), models.model(case.model), **files), "UPRIGHT_PORT": str(port)}
        if server == "upright batching":
            variables |= {"UPRIGHT_BATCH_ROWS": "64"}
        command = [sys.executable, "-c", "from upright.runtime.main import main; main()", "serve"]
        path = "/v2/models/churn/infer" if server.endswith("V2") else "/v1/models/churn:predict"
    else:
        python, model = environments[server] / "bin" / "python", folder / f"{server}-{case.model}.joblib"
        subprocess.run([python, PEERS / "models.py", case.model, model], check=True)
        if server == "kserve":
            command, path = [str(python), str(PEERS / "kserve_peer.py"), str(model), str(port)], "/v1/models/m:predict"
        elif server == "mlserver":
            command, path = (
                [str(python.with_name("mlserver")), "start", str(_settings(folder, model, port))],
                "/v2/models/m/infer",
            )
        else:
            variables |= {"MODEL": str(model), "BENTOML_HOME": str(folder), "BENTOML_DO_NOT_TRACK": "True"}
            command = [
                str(python),
                "-m",
                "bentoml",
                "serve",
                "bentoml_peer:Served",
                "--working-dir",
                str(PEERS),
                "-p",
                str(port),
            ]
    url = f"http://127.0.0.1:{port}{path}"
    with (folder / f"{server}-{port}.log").open("wb") as log:
        process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], env=variables, stdout=log, stderr=log)
    try:
        _await(url, case.body(server), process, Path(log.name))
        yield url, process
    finally:
        process.terminate()  # the worker of BentoML has a group of its own, and ends with it
        process.wait(timeout=60)


def _await(url: str, body: str, process: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
                return
        except urllib.error.HTTPError as refused:
            if refused.code < 500:
                raise AssertionError(f"{url}: {refused.read().decode()}") from refused
            time.sleep(0.05)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer: {log.read_text()[-2000:]}")


def _load(url: str, body: str, connections: int, *, into: Figures, seconds: float = 0, requests: int = 0) -> None:
    how_long = ["-n", str(requests)] if requests else ["-d", f"{seconds:g}s"]
    asked = ["-m", "POST", "-b", body, "-H", "Content-Type: application/json", "-t", "30s"]
    printed = subprocess.run(
        [
            "taskset",
            "-c",
            CLIENT_CORE,
            program(BOMBARDIER),
            "-c",
            str(connections),
            *how_long,
            *asked,
            "-l",
            "-p",
            "r",
            "-o",
            "json",
            url,
        ],
        check=True,
        capture_output=True,
    ).stdout
    result = json.loads(printed)["result"]
    failed = {code: result[code] for code in ("req1xx", "req3xx", "req4xx", "req5xx", "others") if result[code]}
    assert not failed, (url, failed)
    into.rate.append(result["req2xx"] / result["timeTakenSeconds"])
    percentiles = result["latency"]["percentiles"]
    into.median.append(percentiles["50"] / 1000)
    into.tail.append(percentiles["99"] / 1000)


def _settings(folder: Path, model: Path, port: int) -> Path:
    """A folder from which MLServer serves a model, in its own process."""
    (settings := folder / f"mlserver-{port}").mkdir()
    ports = {"http_port": port, "grpc_port": a_free_port(), "metrics_port": a_free_port()}
    served = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(model)}}
    (settings / "settings.json").write_text(
        json.dumps({**ports, "parallel_workers": 0, "debug": False, "environments_dir": str(settings / "environments")})
    )
    (settings / "model-settings.json").write_text(json.dumps(served))
    return settings


def _column(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [record[name] for record in records]
    datatype = {str: "BYTES", int: "INT64", float: "FP64"}[type(values[0])]
    content = {"parameters": {"content_type": "str"}} if datatype == "BYTES" else {}
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values, **content}


def _as_frame(server: str) -> dict[str, Any]:
    return {"parameters": {"content_type": "pd"}} if server == "mlserver" else {}


def _memory(process: subprocess.Popen[bytes], what: str = "VmRSS") -> float:
    """Of a process and all that it has started, in MB."""
    total, processes = 0.0, [process.pid]
    while processes:
        here = Path(f"/proc/{processes.pop()}")
        total += int((here / "status").read_text().split(f"{what}:")[1].split()[0]) / 1024
        processes += [int(child) for child in (here / f"task/{here.name}/children").read_text().split()]
    return total


def _peak(process: subprocess.Popen[bytes]) -> float:
    return _memory(process, "VmHWM")


if __name__ == "__main__":
    main()
