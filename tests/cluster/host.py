"""What the machine must have before a local cluster can be made, and installing what Debian packages."""

import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.shell import ClusterError, Say, locked, run

# What must be there, as a command or a path, and the Debian package that has it.
_NEEDED = {
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "conntrack": "conntrack",
    "iptables": "iptables",
    "nft": "nftables",
    "socat": "socat",
    "ip": "iproute2",
    "ipset": "ipset",
    "ebtables": "ebtables",
    "ethtool": "ethtool",
    "modprobe": "kmod",
    "/bin/busybox": "busybox-static",
    "debootstrap": "debootstrap",
    "gcc": "gcc",
    "strip": "binutils",
    "/usr/include/signal.h": "libc6-dev",
    "sysctl": "procps",
}


def obstacle() -> str | None:
    """Why no local cluster can be made here, or None."""
    if platform.system() != "Linux":
        return f"it needs Linux, and this is {platform.system()}"
    if os.geteuid() != 0:
        return "it needs root (namespaces, cgroups, network links)"
    if shutil.which("go") is None:
        return "it needs Go on PATH, to build Kubernetes"
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "it needs cgroup v1, and this machine has cgroup v2 alone"
    return None


def install_packages(say: Say, needed: Mapping[str, str] = _NEEDED) -> None:
    """Install the Debian packages that are missing: `needed` names the package of each command or path.

    Raises ClusterError where that cannot be: without apt-get, or when we are not root.
    """
    if not _missing(needed):
        return
    with locked("packages", say):
        if not (missing := _missing(needed)):
            return
        why_not = "There is no apt-get here" if shutil.which("apt-get") is None else "Only root may install them"
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            raise ClusterError(
                f"What Debian has in these packages is needed: {' '.join(missing)}. {why_not}: "
                "install them in this system's way."
            )
        say(f"installing Debian packages: {' '.join(missing)}")
        run(["apt-get", "update", "--quiet"])
        run(
            ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing],
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )


def load_modules() -> None:
    """Load the kernel modules that the node cannot load from inside; where they are built in, they are there."""
    if not Path("/proc/sys/net/bridge").exists():
        run(["modprobe", "br_netfilter"])
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        run(["modprobe", "overlay"])


def _missing(needed: Mapping[str, str]) -> list[str]:
    return sorted({package for thing, package in needed.items() if not _there(thing)})


def _there(thing: str) -> bool:
    return Path(thing).exists() if thing.startswith("/") else shutil.which(thing) is not None
