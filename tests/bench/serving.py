"""What serving costs: cold start, memory, and requests a second over kept connections, for a small linear model.

Run it with `python -m tests.bench.serving`; it prints figures and asserts none.
"""

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

from tests.unit.runtime.pod import a_matrix_model, a_pod
from tests.unit.runtime.server import a_store_with, serving

CONNECTIONS = 4
SECONDS = 5.0
BODY = json.dumps({"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pod = a_pod(Path(folder))
        environment = a_store_with(pod, a_matrix_model())
        begun = time.perf_counter()
        with serving(pod, environment) as server:
            print(f"ready after {time.perf_counter() - begun:.1f} s")
            url = server.client.base_url
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                answered = pool.map(lambda _: ask(str(url.host), url.port or 80), range(CONNECTIONS))
                durations = [duration for connection in answered for duration in connection]
            status = Path(f"/proc/{server.process.pid}/status").read_text()
    print(f"memory {int(status.split('VmHWM:')[1].split()[0]) / 1024:.0f} MB")
    print(f"{len(durations) / SECONDS:.0f} requests/s over {CONNECTIONS} connections, client in one process")
    slowest = statistics.quantiles(durations, n=100)[98]
    print(f"median {statistics.median(durations) * 1000:.1f} ms, 99th percentile {slowest * 1000:.1f} ms")


def ask(host: str, port: int) -> list[float]:
    """Send requests one after the other; how long each took in seconds."""
    connection, durations = HTTPConnection(host, port), []
    end = time.perf_counter() + SECONDS
    while (begun := time.perf_counter()) < end:
        connection.request("POST", "/v1/models/churn:predict", BODY)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        durations.append(time.perf_counter() - begun)
    return durations


if __name__ == "__main__":
    main()
