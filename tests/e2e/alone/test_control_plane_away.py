"""The control plane goes away for a minute. Who is served notices nothing, and the operator goes on when it is back."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.audit import AuditTrail
from tests.cluster.local import Local
from tests.cluster.shell import wait_until
from tests.installed import SYSTEM, Workspace

AWAY = 60.0
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
LATER = {
    "apiVersion": "upright.dev/v1alpha1",
    "kind": "Deployment",
    "metadata": {"name": "later"},
    "spec": {"modelVersion": "iris-1"},
}
ASK = {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}


@contextmanager
def without_control_plane(provider: Local) -> Iterator[None]:
    """Killed at the beginning, whole again at the end, whatever happens in between."""

    def gone() -> bool:
        return not any(provider.node.processes(name) for name in CONTROL_PLANE)

    for name in CONTROL_PLANE:
        for pid in provider.node.processes(name):
            os.kill(pid, signal.SIGKILL)
    wait_until(gone, 5, lambda: "the control plane does not die")
    try:
        yield
    finally:
        provider.up(print)


class Asking:
    """Asks a pod for predictions, ten times a second."""

    def __init__(self, address: str) -> None:
        self.answers: list[tuple[int, Any]] = []
        self._url = f"http://{address}:3000/v1/models/iris:predict"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._end.wait(0.1):
                try:
                    answer = client.post(self._url, json=ASK)
                    self.answers.append((answer.status_code, answer.json()))
                except httpx.HTTPError as error:
                    self.answers.append((0, repr(error)))


def pod_of(place: Workspace, selector: str) -> dict[str, Any]:
    (pod,) = place.items("pods", selector)
    return pod


def renewal(place: Workspace) -> str:
    """When the operator renewed its Lease last."""
    lease = place.cluster.kubectl("get", "lease", "upright", "-n", SYSTEM, "--output=jsonpath={.spec.renewTime}")
    return lease.stdout


def restarts(place: Workspace) -> int:
    """How often the operator has been started again."""
    (count,) = [
        status["restartCount"]
        for pod in Workspace(place.cluster, SYSTEM, place.images).items("pods", "app.kubernetes.io/name=upright")
        for status in pod["status"]["containerStatuses"]
    ]
    return int(count)


def test_a_control_plane_that_is_away_for_a_minute_disturbs_nobody(provider: Local, iris: Workspace) -> None:
    before = pod_of(iris, "upright.dev/deployment=iris")
    ended_before = restarts(iris)
    log = iris.cluster.audit_log
    assert log is not None
    with Asking(before["status"]["podIP"]) as asking:
        trail = AuditTrail.from_now(log)
        with without_control_plane(provider):
            time.sleep(AWAY)
        last = renewal(iris)
        wait_until(lambda: renewal(iris) != last, 60, lambda: "nobody renews the operator's Lease", every=0.5)
        iris.apply(LATER)
        iris.until_phase("mdep", "later", "Stable", 120)
        iris.until_phase("mdep", "iris", "Stable", 60)
    iris.kubectl("delete", "mdep", "later")
    assert set(map(str, asking.answers)) == {str((200, {"predictions": [1, 1]}))}
    assert len(asking.answers) > AWAY * 5
    after = pod_of(iris, "upright.dev/deployment=iris")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
    written = [write for write in trail.writes() if write.namespace == iris.namespace and "later" not in write.name]
    assert not [str(write) for write in written if write.resource in {"jobs", "services"}]
    said = iris.cluster.kubectl("logs", "-n", SYSTEM, "deployment/upright", "--all-containers").stdout
    assert "Traceback" not in said
    assert restarts(iris) - ended_before <= 1, "it ends when it loses its Lease, and then waits"
