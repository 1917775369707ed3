"""A machine inside the machine: namespaces, cgroups and a network link of its own, and the processes in them.

PID 1 of the node is `pause`. When it dies the kernel ends every process of its PID namespace, and with the last of them
go the mounts and interfaces. All of them are in the node's own cgroup, and that is how they are found: nothing on disk
says what runs, so nothing on disk can be wrong.
"""

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.shell import Say, cache, run, tail, wait_until

_SHARES = 10 * 1024
"""Of the processor: as much as ten processes outside. By default all that runs on the node, pods and control plane
together, would get as much as one of the test's processes, and a busy test would look like a slow cluster."""
_NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup")


@dataclass(frozen=True)
class Node:
    """The node of one local cluster. Clusters of different index (0 to 5) share nothing but the machine."""

    index: int
    pause: Path

    @property
    def name(self) -> str:
        return f"upright-{self.index}"

    @property
    def link(self) -> str:
        """Our end of the veth pair: the only way in or out."""
        return f"upright{self.index}"

    @property
    def outside_ip(self) -> str:
        return f"172.31.25{self.index}.1"

    @property
    def ip(self) -> str:
        return f"172.31.25{self.index}.2"

    @property
    def pod_cidr(self) -> str:
        return f"10.244.{self.index}.0/24"

    @property
    def service_cidr(self) -> str:
        return f"10.96.{self.index}.0/24"

    @property
    def state(self) -> Path:
        """Keys, configuration, logs, etcd and volumes; the same path inside and outside. Gone after `destroy`."""
        return cache() / "nodes" / str(self.index)

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    def alive(self) -> bool:
        return self._init() is not None

    def create(self, say: Say) -> None:
        self.destroy()
        for directory in (self.logs, self.state / "var-lib", self.state / "var-log"):
            directory.mkdir(parents=True)
        for cgroup in self._cgroups():
            cgroup.mkdir(exist_ok=True)
            if cgroup.parent.name == "cpuset":  # a new cpuset is empty, and takes no process before it is given some
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (cgroup / file).write_text((cgroup.parent / file).read_text())
            if (shares := cgroup / "cpu.shares").exists():
                shares.write_text(str(_SHARES))
        with (self.logs / "pause.log").open("w") as log:
            run(
                ["setsid", "--fork", "unshare", *_NAMESPACES, "--fork", "--kill-child", self.pause],
                before=self._join,
                output=log.fileno(),
            )
        wait_until(
            self.alive, 10, lambda: "the node's first process did not start: are namespaces allowed here?", every=0.01
        )
        self._mount()
        self._connect()
        say(f"node {self.name}: namespaces, cgroups and network")

    def destroy(self) -> None:
        """End every process of the node and remove what is left of it. Nothing happens where there is none."""
        doomed = set[int]()

        def gone() -> bool:
            left = {pid for cgroup in self._cgroups() for pid in _members(cgroup, below=True)}
            doomed.update(left)
            for pid in left:
                _kill(pid)
            return not any(Path(f"/proc/{pid}").exists() for pid in doomed)

        wait_until(gone, 30, lambda: f"processes of {self.name} do not end: {sorted(doomed)}", every=0.02)
        if self._linked():
            run(["ip", "link", "delete", self.link], check=False)  # the kernel may have taken it along in the meantime
        wait_until(lambda: not self._linked(), 10, lambda: f"the interface {self.link} does not go away")
        wait_until(self._remove_cgroups, 10, lambda: f"the cgroups of {self.name} do not go away")
        if self.state.exists():
            shutil.rmtree(self.state)

    def command(self, *words: str | Path) -> list[str | Path]:
        """The command that runs these words inside the node's namespaces."""
        return ["nsenter", "--target", str(self._init()), *_NAMESPACES, "--", *words]

    def run(self, *words: str | Path, input: str | None = None, check: bool = True) -> str:
        return run(self.command(*words), input=input, check=check, before=self._join).stdout

    def start(self, name: str, command: Sequence[str | Path], path: Path | None = None) -> None:
        """Start a component unless it runs. The node's first process adopts it; its output goes to logs/NAME.log."""
        if self.processes(name):
            return
        search = f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]
        with (self.logs / f"{name}.log").open("a") as log:
            words = ["setsid", "--fork", *self.command(*command)]
            run(words, env={"PATH": search}, before=self._join, output=log.fileno())
        wait_until(
            lambda: bool(self.processes(name)), 5, lambda: f"{name} did not start; {self.log_tail(name)}", every=0.01
        )

    def processes(self, name: str) -> list[int]:
        """The process numbers, as seen from outside, of a component."""
        return [pid for pid in _members(self._cgroups()[0]) if component_name(_command_line(pid)) == name]

    def components(self) -> dict[int, str]:
        """What runs directly on the node (containers have cgroups below): process number to name."""
        return {pid: component_name(_command_line(pid)) for pid in _members(self._cgroups()[0])}

    def log_tail(self, name: str) -> str:
        log = self.logs / f"{name}.log"
        return f"the end of {log}:\n{tail(log)}"

    def _init(self) -> int | None:
        """The node's first process: the one of our cgroup that is number 1 exactly one PID namespace below ours."""
        return next((pid for pid in _members(self._cgroups()[0]) if _numbers(pid)[1:] == ["1"]), None)

    def _cgroups(self) -> list[Path]:
        """Our directory in each cgroup v1 hierarchy."""
        return [_mount_point(hierarchy) / self.name for hierarchy in _hierarchies()]

    def _join(self) -> None:
        """Runs in a new process before its command: nsenter joins namespaces, not cgroups."""
        for cgroup in self._cgroups():
            (cgroup / "cgroup.procs").write_text("0")

    def _mount(self) -> None:
        """Give the node a /proc, /sys, /run, /var/lib and /var/log of its own: components keep their usual paths."""
        self.run("mount", "-t", "proc", "proc", "/proc")
        self.run("mount", "-t", "sysfs", "sysfs", "/sys")
        self.run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroups", "/sys/fs/cgroup")
        for hierarchy in _hierarchies():
            options = f"none,{hierarchy}" if hierarchy.startswith("name=") else hierarchy
            self.run("mkdir", _mount_point(hierarchy))
            self.run("mount", "-t", "cgroup", "-o", options, "cgroup", _mount_point(hierarchy))
        self.run("mount", "--bind", self.state / "var-lib", "/var/lib")
        self.run("mount", "--bind", self.state / "var-log", "/var/log")
        self.run("mkdir", "/var/lib/containerd")
        self.run("mount", "-t", "tmpfs", "containerd", "/var/lib/containerd")  # unpacking images is what takes longest
        self.run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
        self.run("mount", "--make-rshared", "/")  # the kubelet wants its mounts to reach containers
        self.run("hostname", self.name)

    def _connect(self) -> None:
        run(["ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(self._init())])
        run(["ip", "address", "add", f"{self.outside_ip}/30", "dev", self.link])
        run(["ip", "link", "set", self.link, "up"])
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "address", "add", f"{self.ip}/30", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", self.service_cidr, "dev", "eth0")  # for the node's own processes
        self.run("ip", "route", "add", "unreachable", "default")  # nothing leaves the pair
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")
        for cidr in (self.pod_cidr, self.service_cidr):
            run(["ip", "route", "add", cidr, "via", self.ip])

    def _linked(self) -> bool:
        return Path(f"/sys/class/net/{self.link}").exists()

    def _remove_cgroups(self) -> bool:
        """A cgroup can be busy for a moment after its last process; True when all are gone."""
        for cgroup in self._cgroups():
            for directory, _, _ in os.walk(cgroup, topdown=False):
                try:
                    Path(directory).rmdir()
                except OSError:
                    return False
        return True


def component_name(command_line: Sequence[str]) -> str:
    """`kubernetes kubelet ...` is the kubelet; any other program is named by its file."""
    name = Path(command_line[0]).name if command_line else ""
    return command_line[1] if name == "kubernetes" and len(command_line) > 1 else name


def _hierarchies() -> list[str]:
    """The cgroup v1 hierarchies, each named by its controllers, as in `cpu,cpuacct`, or `name=NAME` without any."""
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    return [controllers for _, controllers, _ in lines if controllers]


def _mount_point(hierarchy: str) -> Path:
    return Path("/sys/fs/cgroup") / hierarchy.removeprefix("name=")


def _members(cgroup: Path, *, below: bool = False) -> list[int]:
    files = cgroup.glob("**/cgroup.procs") if below else [cgroup / "cgroup.procs"]
    pids: list[int] = []
    for file in files:
        try:
            pids += map(int, file.read_text().split())
        except OSError:  # the cgroup was removed before or while we read
            continue
    return pids


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _numbers(pid: int) -> list[str]:
    """The process number in each PID namespace that the process is in, from ours inwards."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
