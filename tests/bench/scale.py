"""What the operator costs where there is a lot: `python -m tests.bench.scale`, on a control plane of its own.

The real kinds, in one namespace, where whatever looks at its neighbours has most of them. Objects are made by many
requests at a time; pods are only played, and every training run publishes a version. Prints figures beside their marks.
"""

import argparse
import asyncio
import base64
import itertools
import json
import math
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.cluster import Cluster
from tests.cluster.control_plane import control_plane
from tests.cluster.shell import Progress, wait_until
from tests.installed import ROOT, Object
from tests.integration.operator_process import Operator, operator, until

NAMESPACE, BURSTS = "crowd", ("burst-of-few", "burst-of-many")
KINDS = ("TrainingJob", "ModelVersion", "Deployment")
PLURALS = {"TrainingJob": "trainingjobs", "ModelVersion": "modelversions", "Deployment": "deployments"}
DIGEST = "sha256:" + 64 * "0"
PUBLISHED = json.dumps(
    {
        "uri": "pvc://models/bench/sha256-0",
        "digest": DIGEST,
        "sizeBytes": 1000,
        "format": "skops",
        "framework": {"name": "scikit-learn", "version": "1.9", "python": "3.11"},
        "metrics": {"accuracy": 0.9},
    }
)
AT_ONCE = 64
TOUCHED = 50
"""How many objects of each kind get a turn while turns are timed."""
HZ = 100
"""Clock ticks a second in /proc."""


@dataclass(frozen=True)
class Sizes:
    """How many objects of each kind, and how many training jobs at once."""

    versions: int
    deployments: int
    jobs: int
    burst: int
    few: int
    patience: float


class EndedError(Exception):
    """The operator's process has ended; the text is the last that it said."""


class Requests:
    """Requests to the API server, many at a time."""

    def __init__(self, cluster: Cluster) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        self._server = config["clusters"][0]["cluster"]["server"]
        user = config["users"][0]["user"]
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as both:
            for part in ("client-certificate-data", "client-key-data"):
                both.write(base64.b64decode(user[part]))
            both.flush()
            self._tls.load_cert_chain(both.name)

    def send(self, method: str, requests: Sequence[tuple[str, Any]], content: str = "application/json") -> list[Any]:
        """Send bodies to paths; what came back, in the same order. Raises for an answer that is no success."""
        return asyncio.run(self._send(method, requests, content))

    async def _send(self, method: str, requests: Sequence[tuple[str, Any]], content: str) -> list[Any]:
        turns = asyncio.Semaphore(AT_ONCE)
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=self._tls)
        async with aiohttp.ClientSession(self._server, connector=connector, raise_for_status=True) as session:

            async def one(path: str, body: Any) -> Any:
                headers = {"Content-Type": content}
                async with turns, session.request(method, path, json=body, headers=headers) as answer:
                    return await answer.json()

            return await asyncio.gather(*(one(path, body) for path, body in requests))

    def create(self, namespace: str, manifests: Sequence[Object]) -> None:
        path = f"/apis/upright.dev/v1alpha1/namespaces/{namespace}/"
        self.send("POST", [(path + PLURALS[manifest["kind"]], manifest) for manifest in manifests])

    def touch(self, namespace: str, kind: str, names: Sequence[str], value: str) -> None:
        """A change that gives an object a turn, and nothing to do."""
        path = f"/apis/upright.dev/v1alpha1/namespaces/{namespace}/{PLURALS[kind]}/"
        change = {"metadata": {"annotations": {"touched": value}}}
        self.send("PATCH", [(path + name, change) for name in names], "application/merge-patch+json")

    def items(self, namespace: str, resource: str) -> list[Object]:
        """Objects, `resource` as in the API's paths."""
        items: list[Object] = self.send("GET", [(resource.format(f"namespaces/{namespace}"), None)])[0]["items"]
        return items

    def count(self, namespace: str, resource: str) -> int:
        """How many there are; cheaper than `items`."""
        page = self.send("GET", [(resource.format(f"namespaces/{namespace}") + "?limit=1", None)])[0]
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000, help="ModelVersions, those that runs publish included")
    parser.add_argument("--deployments", type=int, default=5_000, help="Deployments, each with one pod")
    parser.add_argument("--jobs", type=int, default=1_000, help="TrainingJobs that have run once")
    parser.add_argument("--burst", type=int, default=200, help="TrainingJobs made at once")
    parser.add_argument("--few", type=int, default=100, help="objects for the turns that are compared with")
    parser.add_argument("--patience", type=float, default=3600, help="seconds until all must be carried out")
    measure(Sizes(**vars(parser.parse_args())), Progress())


def measure(sizes: Sizes, say: Progress) -> None:
    """Everything, one figure a line."""
    with (
        control_plane(say, service_cidr="10.96.0.0/12", published=PUBLISHED) as cluster,
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as running,
    ):
        requests = Requests(cluster)
        furnish(cluster)
        everywhere = {"UPRIGHT_NAMESPACES": "", "UPRIGHT_LEASE_NAMESPACE": "default"}
        numbers = itertools.count(1)

        def start() -> Operator:
            name = f"operator-{next(numbers)}"
            return running.enter_context(
                operator(cluster, NAMESPACE, Path(folder), name, module="upright", environment=everywhere)
            )

        few = crowd(sizes.few * 6 // 10, sizes.few * 3 // 10, sizes.few // 10)
        first = fill(requests, start, start(), few, sizes.patience, say)
        few_turns = turns(requests, first, few)
        burst(requests, first, BURSTS[0], sizes, say)

        many = crowd(sizes.versions - sizes.jobs, sizes.deployments, sizes.jobs)
        first = fill(requests, start, first, [one for one in many if one not in few], sizes.patience, say)
        many_turns = turns(requests, first, many)
        for kind in KINDS:
            ratio = many_turns[kind] / few_turns[kind]
            say(
                f"a turn of a {kind}: {1000 * few_turns[kind]:.1f} ms with {len(few)} objects, "
                f"{1000 * many_turns[kind]:.1f} ms with {len(many)}: ratio {ratio:.2f} (mark: under 2)"
            )
        burst(requests, first, BURSTS[1], sizes, say)
        steady(first, say)
        say(f"memory: {memory(first, 'VmRSS')} MB, at most {memory(first, 'VmHWM')} MB (mark: 350 MB)")
        first.stop()
        restart(start(), len(many), sizes.patience, say)


def furnish(cluster: Cluster) -> None:
    """The kinds, and namespaces with a store that is bound: runs need one, and the scheduler looks at it."""
    cluster.kubectl("apply", "--filename", ROOT / "crds")
    cluster.kubectl("wait", "--for=condition=Established", "--filename", ROOT / "crds", "--timeout=30s")
    for namespace in (NAMESPACE, *BURSTS):
        cluster.kubectl("create", "namespace", namespace)
        store = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        }
        volume = {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/models"},
            "claimRef": {"namespace": namespace, "name": "models"},
        }
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": store}
        both = [
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": volume},
            claim,
        ]
        listed = {"apiVersion": "v1", "kind": "List", "items": both}
        cluster.kubectl("create", f"--namespace={namespace}", "--filename=-", input=json.dumps(listed))
        bound = ("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/models", "--timeout=60s")
        cluster.kubectl(*bound, f"--namespace={namespace}")


def crowd(versions: int, deployments: int, jobs: int) -> list[Object]:
    """So many objects of each kind; a smaller crowd is part of a larger one, and each version has as many users."""
    return [
        *(version(number) for number in range(versions)),
        *(deployment(number, number % max(1, versions)) for number in range(deployments)),
        *(training_job(f"job-{number}") for number in range(jobs)),
    ]


def resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "upright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def version(number: int) -> Object:
    artifact = {"uri": f"pvc://models/imported/{number}", "digest": DIGEST, "format": "skops"}
    return resource("ModelVersion", f"imported-{number}", {"model": f"imported-{number % 100}", "artifact": artifact})


def deployment(number: int, serves: int) -> Object:
    return resource("Deployment", f"served-{number}", {"modelVersion": f"imported-{serves}", "replicas": 1})


def training_job(name: str) -> Object:
    given = {"train": {"command": ["python", "train.py"]}, "output": {"store": "pvc://models"}, "retries": 0}
    return resource("TrainingJob", name, given)


def fill(
    requests: Requests,
    start: Callable[[], Operator],
    running: Operator,
    manifests: Sequence[Object],
    patience: float,
    say: Progress,
) -> Operator:
    """Create objects and wait until each is where it should be; the operator that runs then.

    An API server that has too much to do costs it the Lease: it ends, and is started again, as kubelet would.
    """
    began = time.monotonic()
    requests.create(NAMESPACE, manifests)
    created = time.monotonic()
    say(f"{len(manifests)} objects created in {created - began:.1f} s")
    while wrong := misplaced(requests):
        if time.monotonic() > created + patience:
            say(f"NOT AS IT SHOULD BE: {dict(wrong)}")
            break
        try:
            at_rest(running, patience)
        except EndedError as ended:
            say(f"the operator has ended, and is started again: {ended}")
            running = start()
    say(f"all carried out {time.monotonic() - created:.0f} s after the last one; {memory(running, 'VmRSS')} MB")
    return running


def misplaced(requests: Requests) -> Counter[str]:
    """How many objects are not where they should be."""
    wrong: Counter[str] = Counter()
    for kind, phase in (("TrainingJob", "Succeeded"), ("ModelVersion", "Ready"), ("Deployment", "Stable")):
        for one in requests.items(NAMESPACE, "/apis/upright.dev/v1alpha1/{}/" + PLURALS[kind]):
            if (found := one.get("status", {}).get("phase")) != phase:
                wrong[f"{kind} is {found}"] += 1
    return wrong


def at_rest(running: Operator, patience: float) -> None:
    """Wait until nothing has been written for ten seconds, and nothing stands in line."""
    seen = [(time.monotonic(), running.writes())]

    def quiet() -> bool:
        if running.process.poll() is not None:
            raise EndedError(running.log.splitlines()[-1])
        now, waiting = running.writes(), queued(running)
        if now != seen[-1][1] or waiting != 0:
            seen[:] = [(time.monotonic(), now)]
        return time.monotonic() - seen[-1][0] > 10

    wait_until(quiet, patience, lambda: f"still writing or in line: {queued(running)}", every=5)


def turns(requests: Requests, running: Operator, manifests: Sequence[Object]) -> Mapping[str, float]:
    """Seconds that a turn takes, by kind, when nothing else happens."""
    taken = {}
    for kind in KINDS:
        names = [one["metadata"]["name"] for one in manifests if one["kind"] == kind][:TOUCHED]
        before = durations(running)
        for attempt in range(max(1, TOUCHED // len(names))):
            requests.touch(NAMESPACE, kind, names, f"{time.time()}-{attempt}")
            time.sleep(1)  # so that each touch is a turn of its own
        at_rest(running, 60)
        after = durations(running)
        count = after[kind][0] - before.get(kind, (0, 0))[0]
        assert count > 0, f"no {kind} had a turn"
        taken[kind] = (after[kind][1] - before.get(kind, (0, 0))[1]) / count
    return taken


def burst(requests: Requests, running: Operator, namespace: str, sizes: Sizes, say: Progress) -> None:
    """Many TrainingJobs at once: how long until all Jobs exist, and what is written until each has its version."""
    before = running.writes()
    began = time.monotonic()
    requests.create(namespace, [training_job(f"burst-{number}") for number in range(sizes.burst)])
    created = time.monotonic() - began
    jobs = "/apis/batch/v1/{}/jobs"
    wait_until(lambda: requests.count(namespace, jobs) >= sizes.burst, 600, lambda: "not all Jobs", every=0.1)
    say(
        f"{sizes.burst} TrainingJobs made in {created:.1f} s: all Jobs exist {time.monotonic() - began:.1f} s "
        "after the first request (mark: 8 s)"
    )
    at_rest(running, 600)
    versions = len(requests.items(namespace, "/apis/upright.dev/v1alpha1/{}/modelversions"))
    written: Counter[str] = Counter()
    for (verb, resource, code), count in running.writes().items():
        failed = "" if code.startswith("2") else f" ({code})"
        written[f"{verb} {resource}{failed}"] += round(count - before.get((verb, resource, code), 0))
    each = {what: count / sizes.burst for what, count in sorted(written.items()) if count}
    say(
        f"writes for each of {versions} runs, with those after its version exists: {sum(each.values()):.2f} "
        "(mark until it exists: 4): " + ", ".join(f"{what} {count:.2f}" for what, count in each.items())
    )


def steady(running: Operator, say: Progress, seconds: float = 60) -> None:
    """What is written and computed while nothing happens."""
    at_rest(running, 600)
    writes, ticks, began = running.writes(), cpu(running), time.monotonic()
    time.sleep(seconds)
    written = sum(running.writes().values()) - sum(writes.values())
    share = (cpu(running) - ticks) / (time.monotonic() - began)
    say(f"{seconds:.0f} s at rest: {written:.0f} writes (mark: 0), {share:.2%} of a core (mark: 1 %)")


def restart(running: Operator, objects: int, patience: float, say: Progress) -> None:
    """An operator that starts where everything is as it should be."""
    began = time.monotonic()
    until(running.leads, "it leads", 600)
    leads = time.monotonic() - began

    def had_turns() -> bool:
        return sum(count for count, _ in durations(running).values()) >= objects and not queued(running)

    wait_until(had_turns, patience, lambda: f"only {durations(running)} turns of {objects}", every=0.5)
    done = time.monotonic() - began
    at_rest(running, 600)
    say(
        f"a restart: leads after {leads:.1f} s (mark: 30 s), every object had its turn after {done:.1f} s, "
        f"{sum(running.writes().values()):.0f} writes (mark: 0); {memory(running, 'VmRSS')} MB"
    )


def samples(running: Operator, name: str) -> dict[str, float]:
    """The values of one of its metrics, by kind."""
    families = text_string_to_metric_families(running.get("/metrics")[1])
    return {
        sample.labels["kind"]: sample.value for family in families for sample in family.samples if sample.name == name
    }


def durations(running: Operator) -> dict[str, tuple[float, float]]:
    """How many turns, and how many seconds they took, by kind."""
    name = "upright_reconcile_duration_seconds"
    counts, sums = samples(running, f"{name}_count"), samples(running, f"{name}_sum")
    return {kind: (counts[kind], sums[kind]) for kind in counts}


def queued(running: Operator) -> float:
    """How many keys stand in line; unknown while it does not answer."""
    depths = samples(running, "upright_queue_depth")
    return sum(depths.values()) if depths else math.nan


def memory(running: Operator, field: str) -> int:
    """In MB."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return round(int(status.split(f"{field}:")[1].split()[0]) / 1024)


def cpu(running: Operator) -> float:
    """Seconds of CPU that it has used."""
    ticks = Path(f"/proc/{running.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / HZ


if __name__ == "__main__":
    main()
