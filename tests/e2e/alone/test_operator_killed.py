"""The operator is killed at the worst moments, and everything ends as if nothing had happened."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.cluster.cluster import Cluster, Images
from tests.cluster.shell import wait_until
from tests.conftest import fresh_namespace
from tests.e2e.objects import ANSWERS, a_claim, a_training_job, condition, deployed, serves, stalled
from tests.installed import SYSTEM, Object, Workspace

WAITS_FOR_A_SIGN = f"""
import pathlib, time
while not pathlib.Path("/tmp/go").exists():
    time.sleep(0.1)
{ANSWERS}"""
KILL = """
import os, pathlib, signal, sys
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        of_pod = sys.argv[1] in (process / "cgroup").read_text().replace("_", "-")
        if of_pod and b"upright" in (process / "cmdline").read_bytes():
            os.kill(int(process.name), signal.SIGKILL)
            print("killed", process.name)
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended meanwhile
"""


@dataclass(frozen=True)
class Killer:
    """A pod that sees the processes of its node, and runs as the user that the operator runs as."""

    place: Workspace

    @contextmanager
    def killed(self) -> Iterator[None]:
        """SIGKILL for the operator. Nobody takes its place while the context lasts."""
        self._system("rollout", "status", "deployment/upright", "--timeout=60s")
        system = Workspace(self.place.cluster, SYSTEM, self.place.images)
        pods = system.items("pods", "app.kubernetes.io/name=upright")
        [pod] = [pod["metadata"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        assert "killed" in self._kill(pod["uid"])
        self._system("scale", "deployment/upright", "--replicas=0")
        try:
            self._kill(pod["uid"])  # its container may have been started again
            self._system("wait", "--for=delete", f"pod/{pod['name']}", "--timeout=60s")
            yield
        finally:
            # A container restarted in its pod would hold the Lease still: the new pod need not wait for its end.
            self._system("delete", "lease", "upright")
            self._system("scale", "deployment/upright", "--replicas=1")
            self._system("rollout", "status", "deployment/upright", "--timeout=60s")

    def _kill(self, uid: str) -> str:
        return self.place.kubectl("exec", "killer", "--", "python", "-c", KILL, uid)

    def _system(self, *words: str) -> None:
        self.place.cluster.kubectl("--namespace", SYSTEM, *words)


@pytest.fixture(scope="module")
def killer(cluster: Cluster, installed: Images) -> Iterator[Killer]:
    """Not restricted: seeing other pods' processes is just what restricted pods may not."""
    with fresh_namespace(cluster) as namespace:
        place = Workspace(cluster, namespace, installed)
        place.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "killer"},
                "spec": {
                    "hostPID": True,
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        {
                            "name": "killer",
                            "image": installed.runtime,
                            "command": ["python", "-c", "import signal; signal.pause()"],
                        }
                    ],
                },
            }
        )
        place.kubectl("wait", "--for=condition=Ready", "pod/killer", "--timeout=60s")
        yield Killer(place)


def test_a_run_is_one_job_and_one_version_however_often_the_operator_dies(place: Workspace, killer: Killer) -> None:
    place.apply(a_claim(), a_training_job("model", WAITS_FOR_A_SIGN))
    made = place.until("job", "model-1", lambda _: True, "its Job")
    with killer.killed():
        wait_until(lambda: is_training(place), 60, lambda: place.explain("job", "model-1"), every=0.5)
    place.until_phase("tj", "model", "Running")
    with killer.killed():
        [pod] = place.items("pods", "upright.dev/training-job=model")
        place.kubectl("exec", pod["metadata"]["name"], "-c", "train", "--", "touch", "/tmp/go")
        place.kubectl("wait", "--for=condition=Complete", "job/model-1", "--timeout=120s")
        assert place.items("mv") == []

    done = place.until_phase("tj", "model", "Succeeded")
    assert [(run["name"], run["attempts"]) for run in done["status"]["runs"]] == [("model-1", 1)]
    assert [job["metadata"]["uid"] for job in place.items("jobs")] == [made["metadata"]["uid"]]
    assert [version["metadata"]["name"] for version in place.items("mv")] == ["model-1"]
    assert done["status"]["lastVersion"] == "model-1"


def is_training(place: Workspace) -> bool:
    statuses = [
        status
        for pod in place.items("pods", "upright.dev/training-job=model")
        for status in pod["status"].get("initContainerStatuses", [])
    ]
    return any(status["name"] == "train" and "running" in status["state"] for status in statuses)


def test_a_rollout_keeps_its_evidence_and_its_verdict_however_often_the_operator_dies(
    churn: Workspace, killer: Killer
) -> None:
    one_long_step = {"steps": [{"weight": 50, "for": "5m"}]}
    with deployed(churn, "survivor", "old-1", rollout=one_long_step), churn.traffic("survivor", rate=6) as client:
        client.until(lambda answers: len(answers) > 6, "answers of old-1")
        churn.patch("mdep", "survivor", {"spec": {"modelVersion": "bad-1"}})
        wait_until(lambda: bool(canaries(churn)), 60, lambda: churn.explain("mdep", "survivor"), every=0.5)
        with killer.killed():
            assert len(canaries(churn)) == 1
        half_known = churn.until("mdep", "survivor", is_suspicious, "some evidence")["status"]["analysis"]
        with killer.killed():
            assert now(churn)["phase"] == "Progressing"
            kept = churn.find("comparison", "survivor")
            assert kept is not None
            assert kept["spec"]["state"]["looks"] >= half_known["looks"]
            assert "state" not in half_known, "what people read holds none of it"
        churn.until_phase("mdep", "survivor", "RolledBack")
        with killer.killed():
            assert now(churn)["phase"] == "RolledBack"

        wait_until(lambda: not canaries(churn), 60, lambda: churn.explain("mdep", "survivor"), every=0.5)
        done = churn.until("mdep", "survivor", lambda one: serves(one, "old-1"), "old-1 in production")
        assert [one["modelVersion"] for one in done["status"]["rejected"]] == ["bad-1"]
        assert [one["outcome"] for one in done["status"]["history"]] == ["RolledBack"]
        assert done["status"]["analysis"]["looks"] > half_known["looks"]
        kept = churn.until("comparison", "survivor", lambda one: not one["spec"]["of"], "the comparison has ended")
        assert kept["spec"]["state"] == {}
        assert [one["modelVersion"] for one in kept["spec"]["rejected"]] == ["bad-1"]
        assert stalled(done, "VersionRejected")
        assert condition(done, "Ready")[0] == "True"
        assert {answer.version for answer in client.answers() if answer.failed} == {"bad-1"}


def now(churn: Workspace) -> Object:
    found = churn.find("mdep", "survivor")
    assert found is not None
    status: Object = found["status"]
    return status


def is_suspicious(deployment: Object) -> bool:
    """There is evidence, but no verdict."""
    analysis = deployment["status"].get("analysis", {"verdict": "", "evidence": 0})
    return bool(analysis["verdict"] == "Continue" and analysis["evidence"] > 1)


def canaries(churn: Workspace) -> list[Object]:
    return churn.items("deployments.apps", "upright.dev/deployment=survivor,upright.dev/model-version=bad-1")
