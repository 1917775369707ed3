"""The local cluster itself: what tests build on, tried on a second cluster beside the one that they run on."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster import host, providers, versions
from tests.cluster.cluster import Cluster
from tests.cluster.local import COMPONENTS, Local, state
from tests.cluster.shell import run, wait_until
from tests.conftest import fresh_namespace, or_skipped

SECOND = Local(index=1)
MANIFESTS = Path(__file__).parent / "manifests"


@pytest.fixture(scope="module")
def second() -> Iterator[Local]:
    """The provider of the second cluster, which goes with this module."""
    with or_skipped():
        chosen = providers.choose(index=SECOND.index)
    if not isinstance(chosen, Local):
        pytest.skip(f"these are tests of the local cluster, and the provider here is {chosen.name}")
    yield SECOND
    SECOND.down(print)


@pytest.fixture
def up(second: Local) -> Cluster:
    return second.up(print)


@pytest.fixture
def namespace(up: Cluster) -> Iterator[str]:
    with fresh_namespace(up) as name:
        yield name


def applied(cluster: Cluster, namespace: str, manifest: str) -> None:
    cluster.kubectl("apply", f"--namespace={namespace}", f"--filename={MANIFESTS / manifest}")


def logs_of_job(cluster: Cluster, namespace: str, name: str) -> str:
    inside = f"--namespace={namespace}"
    cluster.kubectl("wait", inside, "--for=condition=Complete", f"job/{name}", "--timeout=60s")
    return cluster.kubectl("logs", inside, f"job/{name}").stdout


def runs_a_job(cluster: Cluster, namespace: str) -> None:
    """All components have a part in this."""
    command = ["create", "job", "hello", "--image=upright/busybox:1", f"--namespace={namespace}", "--", "echo", "hello"]
    cluster.kubectl(*command)
    assert logs_of_job(cluster, namespace, "hello") == "hello\n"


def test_a_pod_reaches_a_service_by_its_dns_name(up: Cluster, namespace: str) -> None:
    applied(up, namespace, "service.yaml")
    up.kubectl("rollout", "status", f"--namespace={namespace}", "deployment/web", "--timeout=60s")
    answers = set(logs_of_job(up, namespace, "client").split())
    pods = up.kubectl("get", "pods", f"--namespace={namespace}", "--selector=app=web", "--output=name").stdout
    assert answers == {name.removeprefix("pod/") for name in pods.split()}


def test_a_job_hands_files_along_its_init_containers_and_ends_with_a_message(up: Cluster, namespace: str) -> None:
    applied(up, namespace, "chain.yaml")
    logs_of_job(up, namespace, "chain")
    pods = up.kubectl("get", "pods", f"--namespace={namespace}", "--output=json").stdout
    (status,) = json.loads(pods)["items"][0]["status"]["containerStatuses"]
    assert status["state"]["terminated"]["message"] == "first second"


def test_a_restricted_pod_has_no_privileges_and_others_are_refused(up: Cluster, namespace: str) -> None:
    up.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    applied(up, namespace, "restricted.yaml")
    printed = logs_of_job(up, namespace, "restricted")
    assert re.search(r"CapEff:\s0000000000000000", printed)
    assert re.search(r"NoNewPrivs:\s1", printed)
    assert re.search(r"Seccomp:\s2", printed)
    assert "Read-only file system" in printed
    refused = up.kubectl(
        "run", "plain", f"--namespace={namespace}", "--image=upright/busybox:1", "--restart=Never", check=False
    )
    assert "violates PodSecurity" in refused.stderr


def test_volumes_honour_fsgroup_and_the_tiny_one_gets_full(up: Cluster, namespace: str) -> None:
    applied(up, namespace, "volumes.yaml")
    printed = logs_of_job(up, namespace, "writer")
    assert "ordinary: written" in printed
    assert "tiny: No space left on device" in printed


def test_a_volume_comes_back_empty_when_its_claim_is_gone(up: Cluster) -> None:
    def volumes() -> dict[str, str]:
        items = json.loads(up.kubectl("get", "persistentvolumes", "--output=json").stdout)["items"]
        return {item["metadata"]["name"]: item["status"].get("phase", "") for item in items}

    with fresh_namespace(up) as name:
        applied(up, name, "volumes.yaml")
        logs_of_job(up, name, "writer")
        used = [volume for volume, phase in volumes().items() if phase == "Bound"]
    wait_until(
        lambda: all(volumes()[volume] == "Released" for volume in used), 60, lambda: f"not released: {volumes()}"
    )
    up.recycle_volumes()
    wait_until(lambda: set(volumes().values()) == {"Available"}, 10, lambda: f"not available: {volumes()}")
    assert all(SECOND.node.run("ls", f"/var/lib/volumes/{volume}") == "" for volume in used)


def test_the_audit_log_says_who_wrote_what(up: Cluster, namespace: str) -> None:
    assert up.audit_log is not None
    events = [json.loads(line) for line in up.audit_log.read_text().splitlines()]
    made = [event for event in events if event["verb"] == "create" and event["objectRef"].get("name") == namespace]
    assert [(event["user"]["username"], event["objectRef"]["resource"]) for event in made] == [("admin", "namespaces")]


@pytest.mark.parametrize("component", COMPONENTS)
def test_up_starts_again_what_was_killed(up: Cluster, second: Local, component: str) -> None:
    with fresh_namespace(up) as name:
        (before,) = second.node.processes(component)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not second.node.processes(component), 10, lambda: f"{component} does not die")
        second.up(print)
        runs_a_job(up, name)


def test_up_makes_a_new_node_when_its_first_process_was_killed(up: Cluster, second: Local) -> None:
    (first,) = second.node.processes("pause")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not second.node.alive(), 10, lambda: "the node does not die")
    with fresh_namespace(second.up(print)) as name:
        runs_a_job(up, name)


def test_two_at_once_make_one_cluster(second: Local) -> None:
    second.down(print)
    command = [sys.executable, "-m", "tests.cluster", "--index=1", "up"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("namespaces, cgroups and network" in output for output in printed) == 1
    assert all(len(second.node.processes(component)) == 1 for component in COMPONENTS)


def test_down_leaves_nothing(up: Cluster, second: Local) -> None:
    mounts = Path("/proc/mounts").read_text()
    processes = set(second.node.components())
    second.down(print)
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{second.node.name}"))
    assert Path("/proc/mounts").read_text() == mounts
    assert second.node.link not in run(["ip", "link"]).stdout
    assert second.node.ip not in run(["ip", "route"]).stdout
    assert not second.node.state.exists()
    assert second.status() == "local cluster 1: not there"


@pytest.mark.parametrize(
    ("dead", "said"),
    [
        ((), "up"),
        (("etcd",), "NOT WHOLE: etcd dead; `make cluster-up` starts what has died"),
        (COMPONENTS, f"NOT WHOLE: {', '.join(COMPONENTS)} dead; `make cluster-up` starts what has died"),
    ],
)
def test_a_cluster_of_which_something_is_dead_is_not_said_to_be_up(dead: Sequence[str], said: str) -> None:
    assert state({name: [] if name in dead else [7] for name in COMPONENTS}) == said


def test_what_is_pinned_twice_is_pinned_alike() -> None:
    modules = Path(host.__file__).parent / "go"
    pins = {
        "kubernetes": f"k8s.io/kubernetes {versions.KUBERNETES}",
        "etcd": f"go.etcd.io/etcd/server/v3 {versions.ETCD}",
        "coredns": f"github.com/coredns/coredns {versions.COREDNS}",
    }
    for name, pin in pins.items():
        assert pin in (modules / name / "go.mod").read_text()
