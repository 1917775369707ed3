"""The control plane itself: what integration tests build on."""

import shutil
import signal
import subprocess
import sys

from tests.cluster.cluster import Cluster
from tests.cluster.shell import wait_until

OWNER = """
from tests.cluster.control_plane import control_plane
with control_plane(lambda _: None) as cluster:
    print(cluster.kubeconfig.parent, flush=True)
    input()
"""


def job(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "job", "played", f"--namespace={namespace}", "--image=none:1")


def phase(cluster: Cluster, namespace: str) -> str:
    path = "--output=jsonpath={.items[*].status.phase}"
    return cluster.kubectl("get", "pods", f"--namespace={namespace}", path).stdout


def test_a_job_succeeds_at_once(control_plane: Cluster, namespace: str) -> None:
    job(control_plane, namespace)
    control_plane.kubectl("wait", f"--namespace={namespace}", "--for=condition=Complete", "job/played", "--timeout=30s")


def test_in_a_manual_namespace_the_test_ends_a_jobs_pod(control_plane: Cluster, manual_namespace: str) -> None:
    job(control_plane, manual_namespace)
    inside = f"--namespace={manual_namespace}"
    wait_until(lambda: phase(control_plane, manual_namespace) == "Running", 30, lambda: "the pod does not run")
    pod = control_plane.kubectl("get", "pods", inside, "--output=name").stdout.strip()
    control_plane.kubectl("patch", inside, pod, "--subresource=status", '--patch={"status": {"phase": "Succeeded"}}')
    control_plane.kubectl("wait", inside, "--for=condition=Complete", "job/played", "--timeout=30s")


def test_no_process_outlives_a_killed_owner(control_plane: Cluster) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert owner.stdout is not None
    state = owner.stdout.readline().strip()
    assert len(processes_with(state)) == 5
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    wait_until(lambda: not processes_with(state), 10, lambda: f"still there: {processes_with(state)}")
    shutil.rmtree(state)  # the owner could not
    assert processes_with(str(control_plane.kubeconfig.parent))


def processes_with(argument: str) -> list[str]:
    """The command lines that name it."""
    listed = subprocess.run(["ps", "-e", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if argument in line]
