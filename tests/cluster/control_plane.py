"""Half a cluster for fast tests: a real control plane, and nodes and pods that kwok only plays.

etcd, the API server, the controller manager, the scheduler and kwok, as plain processes on loopback ports. They die
with the process that started them, however that dies, so nothing is left over; and they need no root.
"""

import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries, components
from tests.cluster.cluster import Cluster, Images
from tests.cluster.shell import ClusterError, Say, answers, tail, wait_until

NODES = ("node-0", "node-1")
# In a namespace whose name begins like this, a Job's pods run until the test ends them by a patch of their status.
MANUAL = "manual-"
_UNUSED = "-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller"
# Helm too: a test that uses it should not have to wait until it is built.
_BUILDS = (binaries.ETCD, binaries.KUBERNETES, binaries.KWOK, binaries.HELM)


@contextmanager
def control_plane(say: Say, *, service_cidr: str = "10.97.0.0/24", published: str = "") -> Iterator[Cluster]:
    """Yield a running control plane with two nodes. Jobs' pods succeed at once, other pods become ready at once.

    `published` is a line that a container `publish` leaves as its termination message.
    """
    binaries.ensure(_BUILDS, say)
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="upright-control-plane-")))
        etcd, peers, api = _free_ports(3)
        plane = components.ControlPlane(state, "127.0.0.1", api, (etcd, peers), service_cidr)
        components.make_credentials(plane)
        (state / "kwok.yaml").write_text(yaml.safe_dump_all(_stages(published)))

        def start(name: str, command: components.Command) -> None:
            stack.enter_context(_process(command, state / f"{name}.log"))

        def log(name: str) -> str:
            return f"{name} did not become ready; the end of its log:\n{tail(state / f'{name}.log')}"

        start("etcd", components.etcd(plane))
        # An API server on loopback cannot offer itself as the Service `kubernetes`, which nobody calls here.
        start("kube-apiserver", [*components.api_server(plane), "--endpoint-reconciler-type=none"])
        wait_until(lambda: answers(f"{plane.server}/readyz", plane.keys / "ca.crt"), 90, lambda: log("kube-apiserver"))
        # Nobody sends requests to pods that are only played.
        start("kube-controller-manager", [*components.controller_manager(plane), f"--controllers=*,{_UNUSED}"])
        start("kube-scheduler", components.scheduler(plane))
        start(
            "kwok",
            [
                binaries.program(binaries.KWOK),
                f"--kubeconfig={plane.kubeconfig}",
                f"--config={state / 'kwok.yaml'}",
                "--manage-all-nodes=true",
                "--node-ip=127.0.0.1",
                "--cidr=10.245.0.0/16",
                "--node-lease-duration-seconds=40",
            ],
        )
        cluster = Cluster("control plane", plane.kubeconfig, plane.audit_log, _no_images, lambda _: None)
        cluster.kubectl("create", "--filename=-", input=_list([_node(name) for name in NODES]))
        wait_until(
            lambda: (
                cluster.kubectl(
                    "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=1s", check=False
                ).returncode
                == 0
            ),
            30,
            lambda: log("kwok"),
        )
        wait_until(
            lambda: cluster.kubectl("get", "serviceaccount", "default", check=False).returncode == 0,
            30,
            lambda: log("kube-controller-manager"),
        )
        say(f"the control plane is up: {plane.kubeconfig}")
        yield cluster


@contextmanager
def _process(command: Sequence[str | Path], log: Path) -> Iterator[None]:
    """A process that ends with the block, and that the kernel kills when we die."""
    with (
        log.open("w") as output,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _stages(published: str) -> list[dict[str, Any]]:
    """kwok's own stages for nodes and pods, but that a Job's pods in manual namespaces do not end by themselves."""
    directory = binaries.kwok_stages()
    paths = [
        directory / "node/fast/node-initialize.yaml",
        directory / "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
        *sorted((directory / "pod/fast").glob("pod-*.yaml")),
    ]
    stages: list[dict[str, Any]] = [yaml.safe_load(path.read_text()) for path in paths]
    for stage in stages:
        if stage["metadata"]["name"] == "pod-complete":
            stage["spec"]["selector"]["matchExpressions"].append(
                {"key": f'.metadata.namespace | startswith("{MANUAL}")', "operator": "NotIn", "values": ["true"]}
            )
            stage["spec"]["next"]["statusTemplate"] = _saying(published, stage["spec"]["next"]["statusTemplate"])
    return stages


def _saying(published: str, template: str) -> str:
    """Another line beside each reason, as far to the right: a container `publish` leaves a message."""
    message = f'{{{{ if eq $item.name "publish" }}}}message: {json.dumps(published)}{{{{ end }}}}'
    reason = re.compile("^( *)reason: Completed$", re.MULTILINE)
    return reason.sub(lambda line: f"{line[0]}\n{line[1]}{message}", template)


def _node(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
    }


def _list(items: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def _no_images(say: Say) -> Images:
    raise ClusterError("a control plane runs no containers: use the fixture `cluster`")
