"""An API server that fails in every way it can, while hundreds of objects change.

In the end everything is as it should be, nothing was written twice, and no event was lost: all of it without a restart.
"""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.cluster.cluster import Cluster
from tests.integration.operator_process import operator, until
from tests.integration.proxy import Fault, a_token, proxied
from tests.integration.test_process import install

TOYS = 200
FEWEST_ROUNDS, MOST_ROUNDS = 3, 20
EACH = {"cut watch", "refused watch", "stale list", "told to wait", "conflict", "failed", "broken", "answer lost"}


class Chaos:
    """Faults by chance, the same in each run; the Lease is spared, which has tests of its own."""

    def __init__(self) -> None:
        self._chance = random.Random(9)
        self.kinds: Counter[str] = Counter()

    def __call__(self, request: web.Request) -> Fault:
        if "/leases" in request.path:
            return Fault()
        if "watch" in request.query:
            return self._one_of(
                {
                    "cut watch": (0.6, Fault(cut=self._chance.uniform(0.1, 3))),
                    "refused watch": (0.1, Fault(status=503)),
                    "hung watch": (0.05, Fault(seconds=3, status=504)),
                }
            )
        if request.method == "GET":
            return self._one_of(
                {
                    "stale list": (0.3, Fault(stale=True)),
                    "failed read": (0.1, Fault(status=500)),
                    "told to wait": (0.02, Fault(status=429, retry_after="1")),
                }
            )
        return self._one_of(
            {
                "conflict": (0.05, Fault(status=409, message="the object has been modified")),
                "told to wait": (0.01, Fault(status=429, retry_after="1")),
                "failed": (0.05, Fault(status=500)),
                "overloaded": (0.01, Fault(status=503, retry_after="1")),
                "slow": (0.02, Fault(seconds=2)),
                "broken": (0.03, Fault(broken=True)),
                "answer lost": (0.03, Fault(lost=True)),
            }
        )

    def _one_of(self, faults: dict[str, tuple[float, Fault]]) -> Fault:
        drawn = self._chance.random()
        for kind, (chance, fault) in faults.items():
            if drawn < chance:
                self.kinds[kind] += 1
                return fault
            drawn -= chance
        return Fault()


def created(log: Path, begin: int, user: str) -> Counter[tuple[str, str]]:
    """How often a user has made each object, by the audit log."""
    found = Counter[tuple[str, str]]()
    with log.open() as lines:
        lines.seek(begin)
        for event in (json.loads(line) for line in lines if user in line and line.endswith("\n")):
            if event["user"]["username"] == user and event["responseStatus"].get("code") == 201:
                found[event["objectRef"]["resource"], event["objectRef"].get("name", "")] += 1
    return found


def test_whatever_fails_the_end_is_right_and_nothing_was_written_twice(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    assert control_plane.audit_log is not None
    install(control_plane)
    token = a_token(control_plane, namespace, "op")
    begin = control_plane.audit_log.stat().st_size
    chaos = Chaos()
    with (
        proxied(control_plane, tmp_path, token) as (proxy, kubeconfig),
        operator(control_plane, namespace, tmp_path, "op", environment={"KUBECONFIG": str(kubeconfig)}) as running,
    ):
        until(running.leads, "it leads", 60)
        proxy.fault = chaos
        for version in range(MOST_ROUNDS):
            proxy.cut_watches()
            apply(control_plane, namespace, [a_toy(number, version) for number in range(TOYS)])
            if version >= FEWEST_ROUNDS and set(chaos.kinds) >= EACH:
                break
        assert set(chaos.kinds) >= EACH, chaos.kinds
        proxy.fault = lambda _: Fault()
        until(lambda: wrong(control_plane, namespace, version) == [], "everything is as it should be", 90)
        running.settled()
        assert running.process.poll() is None
        assert running.get("/readyz") == (200, "ok\n")
        assert "Traceback" not in running.log
        print(f"faults: {dict(chaos.kinds)}; writes: {len(proxy.written)}; lost: {sum(proxy.lost.values())}")
    made = created(control_plane.audit_log, begin, f"system:serviceaccount:{namespace}:op")
    services = {name: times for (resource, name), times in made.items() if resource == "services"}
    assert services == {f"{kind}-{number}": 1 for kind in "ac" for number in range(TOYS)}
    in_vain = [path for path, times in Counter(proxy.written).items() if times > 1]
    assert in_vain == [], "no write left its object as it was"


def a_toy(number: int, version: int) -> dict[str, Any]:
    spec = {"applied": {f"a-{number}": 80 + version}, "created": {f"c-{number}": 80}}
    return {"apiVersion": "upright.test/v1", "kind": "Toy", "metadata": {"name": f"toy-{number}"}, "spec": spec}


def apply(cluster: Cluster, namespace: str, manifests: list[dict[str, Any]]) -> None:
    several = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    cluster.kubectl("apply", f"--namespace={namespace}", "--server-side", "--filename=-", input=several)


def wrong(cluster: Cluster, namespace: str, version: int) -> list[str]:
    """What is not as the last version of all Toys wants it."""
    found = json.loads(cluster.kubectl("get", "toys,services", f"--namespace={namespace}", "--output=json").stdout)
    named = {(one["kind"], one["metadata"]["name"]): one for one in found["items"]}
    complaints = []
    for number in range(TOYS):
        if named["Toy", f"toy-{number}"].get("status", {}).get("services") != 2:
            complaints.append(f"the status of toy-{number}")
        for name, port in ((f"a-{number}", 80 + version), (f"c-{number}", 80)):
            service = named.get(("Service", name))
            if service is None or service["spec"]["ports"][0]["port"] != port:
                complaints.append(f"Service {name}")
    return complaints
