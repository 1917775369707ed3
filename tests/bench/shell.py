"""How fast the shell is: `python -m tests.bench.shell [OBJECTS]` prints figures, on a control plane of its own.

Makes Toys (each wants one Service), waits until all are ready, and starts the operator again over them.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import control_plane
from tests.integration.operator_process import Operator, operator, until
from tests.integration.toy import CRD

NAMESPACE = "bench"


def main(objects: int) -> None:
    with control_plane(print) as cluster, tempfile.TemporaryDirectory() as folder:
        cluster.kubectl("apply", "--filename=-", input=json.dumps(CRD))
        cluster.kubectl("wait", "--for=condition=Established", "crd/toys.upright.test", "--timeout=30s")
        cluster.kubectl("create", "namespace", NAMESPACE)
        with operator(cluster, NAMESPACE, Path(folder), "first") as first:
            until(first.leads, "it leads")
            began = time.monotonic()
            cluster.kubectl("create", f"--namespace={NAMESPACE}", "--filename=-", input=json.dumps(_toys(objects)))
            print(f"{objects} objects created by kubectl in {time.monotonic() - began:.1f} s")
            created = time.monotonic()
            until(lambda: _ready(cluster) == objects, "all are ready", 600)
            print(f"all carried out {time.monotonic() - created:.1f} s after the last one")
            first.settled()
            _report(first)
            first.stop()
        with operator(cluster, NAMESPACE, Path(folder), "second") as second:
            until(second.leads, "it leads")
            second.settled()
            print(f"a restart over them: {sum(second.writes().values()):.0f} writes")
            _report(second)


def _toys(objects: int) -> dict[str, object]:
    toys = [
        {
            "apiVersion": "upright.test/v1",
            "kind": "Toy",
            "metadata": {"name": f"t{n}"},
            "spec": {"applied": {f"t{n}": 80}},
        }
        for n in range(objects)
    ]
    return {"apiVersion": "v1", "kind": "List", "items": toys}


def _ready(cluster: Cluster) -> int:
    path = "--output=jsonpath={.items[*].status.conditions[0].status}"
    return cluster.kubectl("get", "toys", f"--namespace={NAMESPACE}", path).stdout.split().count("True")


def _report(running: Operator) -> None:
    lines = running.get("/metrics")[1].splitlines()
    metrics = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    plans = float(metrics['upright_reconcile_duration_seconds_count{kind="Toy"}'])
    seconds = float(metrics['upright_reconcile_duration_seconds_sum{kind="Toy"}'])
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    ticks = Path(f"/proc/{running.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    print(
        f"{plans:.0f} plans, {1000 * seconds / plans:.1f} ms each; "
        f"{sum(running.requests().values()):.0f} requests; "
        f"{int(status['VmHWM'].split()[0]) / 1024:.0f} MB at most; "
        f"{(int(ticks[11]) + int(ticks[12])) / 100:.1f} s of CPU"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
