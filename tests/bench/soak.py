"""Ten minutes of steady load on served pods, with a rollout in the middle: `python -m tests.bench.soak`, locally.

A client in the node's network sends requests of two rows over 16 kept connections to the Service of three pods, which
serve the iris example. A third of the way another version goes out in two steps of 30 s. Prints how many requests
failed, how long they took, and the memory of each pod at each minute.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from tests.cluster import providers
from tests.cluster.binaries import BOMBARDIER, ensure, program
from tests.cluster.local import Local
from tests.cluster.shell import ClusterError, Progress
from tests.e2e.conftest import workspace
from tests.installed import ROOT, NotInTimeError, Workspace, install

CONNECTIONS = 16
ROWS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
SERVING = "upright.dev/deployment=iris"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="how long (default: 600)")
    parser.add_argument("--rate", type=int, default=500, help="requests a second (default: 500)")
    options = parser.parse_args()
    say = Progress()
    try:
        provider = providers.choose()
        if not isinstance(provider, Local):
            print(f"error: the client runs in the node of the local cluster; this is {provider.name}", file=sys.stderr)
            return 1
        ensure((BOMBARDIER,), say)
        cluster = provider.up(say)
        images = install(cluster, say)
        with workspace(cluster, images) as place:
            _serve(place)
            result = _soak(place, provider, options, say)
    except (ClusterError, NotInTimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _report(result)
    return 0


def _serve(place: Workspace) -> None:
    place.apply(ROOT / "examples" / "iris")
    steps = [{"weight": weight, "for": "30s"} for weight in (33, 66)]
    place.patch("mdep", "iris", {"spec": {"replicas": 3, "rollout": {"steps": steps}}})
    place.until("tj", "iris", lambda job: job["status"].get("lastVersion"), "a first version")
    place.until_phase("mdep", "iris", "Stable")
    place.train("iris", {"C": 0.5}, "iris-2")


def _soak(place: Workspace, provider: Local, options: argparse.Namespace, say: Progress) -> Mapping[str, Any]:
    service = place.find("service", "iris")
    assert service is not None
    url = f"http://{service['spec']['clusterIP']}/v1/models/iris:predict"
    asked = ["-m", "POST", "-H", "Content-Type: application/json", "-b", json.dumps({"instances": ROWS})]
    how = ["-c", str(CONNECTIONS), "-r", str(options.rate), "-d", f"{options.seconds}s", "-l", "-p", "r", "-o", "json"]
    command = provider.node.command(program(BOMBARDIER), *how, *asked, url)
    begun = time.monotonic()
    moments = [*((second, "memory") for second in range(0, options.seconds, 60)), (options.seconds // 3, "rollout")]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as client:
        for second, what in sorted(moments):
            time.sleep(max(0.0, begun + second - time.monotonic()))
            if what == "memory":
                say(f"{second // 60} min: {_memory(place)}")
            else:
                place.patch("mdep", "iris", {"spec": {"modelVersion": "iris-2"}})
                say("kubectl patch: the Deployment names iris-2")
        printed, _ = client.communicate()
    say(f"{options.seconds / 60:g} min: {_memory(place)}")
    say(place.kubectl("get", "mdep", "iris", "-o", "wide"))
    result: Mapping[str, Any] = json.loads(printed)["result"]
    return result


def _memory(place: Workspace) -> str:
    """Of each pod, as it tells it itself, in MB."""
    told = []
    for pod in place.items("pods", SERVING):
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{place.namespace}/pods/{name}:3000/proxy/metrics"
        page = place.kubectl("get", "--request-timeout=5s", "--raw", path, check=False)
        found = [line.split()[1] for line in page.splitlines() if line.startswith("process_resident_memory_bytes ")]
        told.append(f"{name} {float(found[0]) / 1e6:.0f} MB" if found else f"{name} does not answer")
    return ", ".join(told)


def _report(result: Mapping[str, Any]) -> None:
    failed = {code: result[code] for code in ("req1xx", "req3xx", "req4xx", "req5xx", "others") if result[code]}
    percentiles = result["latency"]["percentiles"]
    median, tail = percentiles["50"] / 1000, percentiles["99"] / 1000
    print(f"\n{result['req2xx']} requests answered, failed: {failed or 'none'}, {result.get('errors') or 'no errors'}")
    print(f"median {median:.2f} ms, 99 % {tail:.2f} ms: {tail / median:.1f} medians")


if __name__ == "__main__":
    sys.exit(main())
