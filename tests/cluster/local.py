"""The local provider: a real node in namespaces of its own, on any Linux machine where we are root and have Go."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.cluster import binaries, components, host, images, oci, volumes
from tests.cluster.cluster import Cluster, Images
from tests.cluster.node import Node
from tests.cluster.shell import ClusterError, Say, answers, locked, wait_until

_BUILDS = (binaries.PAUSE, binaries.ETCD, binaries.CONTAINERD, binaries.COREDNS, binaries.KUBERNETES)
# In the order in which they start.
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "containerd",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
)


def state(running: Mapping[str, Sequence[int]]) -> str:
    """Of a node that is there, from the process numbers of its components, in a line."""
    dead = [name for name, pids in running.items() if not pids]
    return f"NOT WHOLE: {', '.join(dead)} dead; `make cluster-up` starts what has died" if dead else "up"


@dataclass(frozen=True)
class Local:
    """The provider of the local cluster of that index; clusters of different index do not disturb each other."""

    index: int = 0
    name: str = "local"

    def obstacle(self) -> str | None:
        return host.obstacle()

    @property
    def node(self) -> Node:
        return Node(self.index, binaries.program(binaries.PAUSE))

    @property
    def plane(self) -> components.ControlPlane:
        node = self.node
        return components.ControlPlane(node.state, node.ip, 6443, (2379, 2380), node.service_cidr)

    def up(self, say: Say) -> Cluster:
        """Bring the node up, or start again whatever of it has died."""
        host.install_packages(say)
        host.load_modules()
        binaries.ensure(_BUILDS, say)
        with locked(f"node-{self.index}", say):
            # A node whose making was cut off is made anew.
            fresh = not (self.node.alive() and self._complete.exists())
            if fresh:
                self._create(say)
            self._start(say)
            if fresh:
                self._furnish()
            self._await_ready(say)
            if fresh:
                self._load(images.busybox())
                self._complete.touch()
            self._cluster().recycle_volumes()
        say(f"the cluster is up: export KUBECONFIG={self.plane.kubeconfig}")
        return self._cluster()

    def running(self) -> bool:
        return self.obstacle() is None and self.node.alive()

    def down(self, say: Say) -> None:
        with locked(f"node-{self.index}", say):
            self.node.destroy()
        say(f"the local cluster {self.index} is gone")

    def status(self) -> str:
        node = self.node
        if not node.alive():
            return f"local cluster {self.index}: not there"
        running = {name: node.processes(name) for name in COMPONENTS}
        return "\n".join(
            [
                f"local cluster {self.index}: {state(running)}",
                *(f"  {name}: {' '.join(map(str, pids)) or 'DEAD'}" for name, pids in running.items()),
                f"  logs: {node.logs}",
                f"  audit log: {self.plane.audit_log}",
                f"  export KUBECONFIG={self.plane.kubeconfig}",
            ]
        )

    def _cluster(self) -> Cluster:
        kubeconfig = self.plane.kubeconfig
        return Cluster(self.name, kubeconfig, self.plane.audit_log, self._images, partial(volumes.recycle, self.node))

    def _create(self, say: Say) -> None:
        node, plane = self.node, self.plane
        node.create(say)
        authority = components.make_credentials(plane)
        authority.server("kubelet-serving", f"system:node:{node.name}", [node.name, node.ip], ["system:nodes"])
        authority.kubeconfig(
            plane.keys / "kubelet.kubeconfig", plane.server, f"system:node:{node.name}", ["system:nodes"]
        )
        authority.kubeconfig(plane.keys / "coredns.kubeconfig", plane.server, "coredns")
        components.write_config(
            self._config,
            {
                "NODE": node.name,
                "NODE_IP": node.ip,
                "POD_CIDR": node.pod_cidr,
                "KEYS": str(plane.keys),
                "CONFIG": str(self._config),
                "PAUSE_IMAGE": images.pause().full_reference,
                "DNS_IP": self._dns_ip,
            },
        )
        volumes.mount(node)

    def _start(self, say: Say) -> None:
        node, plane, config = self.node, self.plane, self._config
        node.start("etcd", components.etcd(plane))
        node.start("kube-apiserver", components.api_server(plane))
        containerd = binaries.program(binaries.CONTAINERD)
        node.start("containerd", [containerd, "--config", config / "containerd.toml"], path=containerd.parent)
        self._await("containerd", self._containerd_answers)
        self._load(images.pause())  # before the kubelet starts a pod
        self._await("kube-apiserver", lambda: answers(f"{plane.server}/readyz", plane.keys / "ca.crt"))
        say("API server ready")
        node.start("kube-controller-manager", components.controller_manager(plane))
        node.start("kube-scheduler", components.scheduler(plane))
        node.start(
            "kubelet",
            components.kubelet(config / "kubelet.yaml", plane.keys / "kubelet.kubeconfig", node.name, node.ip),
        )
        node.start("kube-proxy", components.kube_proxy(config / "kube-proxy.yaml"))
        node.start("coredns", [binaries.program(binaries.COREDNS), "-conf", config / "Corefile"])

    def _furnish(self) -> None:
        """What a cluster has before anybody uses it: DNS, storage classes, volumes."""
        kubectl = self._cluster().kubectl
        kubectl("create", f"--filename={self._config / 'dns.yaml'}")
        kubectl(
            "create",
            "--filename=-",
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": volumes.manifests(self.node)}),
        )

    def _await_ready(self, say: Say) -> None:
        # The API server takes a killed kubelet's node for ready for a while yet: the kubelet's own word counts first.
        for name, path in (("kubelet", ":10248/healthz"), ("kube-proxy", ":10256/healthz"), ("coredns", ":8181/ready")):
            self._await(name, partial(answers, f"http://{self.node.ip}{path}"))

        def succeeds(*words: str) -> bool:
            return self._cluster().kubectl(*words, check=False).returncode == 0

        self._await("kube-controller-manager", lambda: succeeds("get", "serviceaccount", "default"))
        node = f"node/{self.node.name}"
        self._await("coredns", lambda: succeeds("wait", "--for=condition=Ready", node, "--timeout=1s"))
        say("node ready")

    def _await(self, name: str, condition: Callable[[], bool]) -> None:
        """Wait for a component; fail with the right log as soon as it, or one that started before it, is dead."""
        so_far = COMPONENTS[: COMPONENTS.index(name) + 1]

        def holds() -> bool:
            for component in so_far:
                if not self.node.processes(component):
                    raise ClusterError(f"{component} has died; {self.node.log_tail(component)}")
            return condition()

        wait_until(holds, 90, lambda: f"{name} did not become ready; {self.node.log_tail(name)}")

    def flavour(self, name: str, say: Say) -> str:
        """The reference of a runtime image with one library more, which the cluster has from then on."""
        image = images.flavour(name, say)
        self._load(image, say)
        return image.reference

    def _images(self, say: Say) -> Images:
        made = {"operator": images.operator(say), "runtime": images.runtime(say)}
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(self._load, say=say), made.values()))
        return Images(**{name: image.reference for name, image in made.items()})

    def _load(self, image: oci.Image, say: Say | None = None) -> None:
        """Give an image to containerd: only the layers that it does not have yet."""
        if image.full_reference in self._ctr("images", "list", "--quiet").split():
            return
        present = set(self._ctr("content", "list", "--quiet").split())
        if say:
            size = sum(layer.size for layer in image.layers if layer.digest not in present)
            say(f"importing {image.reference} ({size / 1e6:.1f} MB)")
        command = self.node.command(*self._ctr_words("images", "import", "-"))
        with subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pipesize=1 << 20,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError), process.stdin as archive:  # ctr gave up: what it prints says why
                image.write(archive, present)
            printed = process.stdout.read().decode()
        if process.returncode != 0:
            raise ClusterError(f"containerd did not take {image.reference}:\n{printed}")

    def _ctr(self, *words: str) -> str:
        return self.node.run(*self._ctr_words(*words))

    def _ctr_words(self, *words: str) -> list[str | Path]:
        return [binaries.program(binaries.CONTAINERD, "ctr"), "--namespace", "k8s.io", *words]

    def _containerd_answers(self) -> bool:
        try:
            return bool(self._ctr("version"))
        except ClusterError:
            return False

    @property
    def _config(self) -> Path:
        return self.node.state / "config"

    @property
    def _complete(self) -> Path:
        return self.node.state / "complete"

    @property
    def _dns_ip(self) -> str:
        return self.node.service_cidr.replace(".0/24", ".10")
