"""The programs of a cluster, built once from Go modules and kept in the cache under the digest of what went in."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache as once
from pathlib import Path

from tests.cluster import versions
from tests.cluster.shell import ClusterError, Say, cache, locked, run, run_logged

HERE = Path(__file__).parent
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = versions.KUBERNETES.removeprefix("v").split(".")
_STAMPS = (("Version", versions.KUBERNETES), ("Major", _MAJOR), ("Minor", _MINOR))
_STRIPPED = ("-trimpath", "-ldflags", "-s -w")


@dataclass(frozen=True)
class Build:
    """One build: a command that leaves the programs in a directory, `{out}` in its words."""

    name: str
    version: str
    minutes: float
    programs: tuple[str, ...]
    command: tuple[str, ...]
    sources: tuple[Path, ...] = ()
    directory: Path = HERE
    environment: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """Changes whenever the result may: sources, go.sum, command, toolchain."""
        digest = hashlib.sha256()
        for part in (self.version, *self.command, _toolchain(self.command[0], self.directory)):
            digest.update(part.encode() + b"\0")
        for source in self.sources:
            digest.update(source.read_bytes())
        return digest.hexdigest()[:12]


def _module(name: str, version: str, minutes: float, flags: tuple[str, ...]) -> Build:
    directory = HERE / "go" / name
    sources = tuple(directory / file for file in ("main.go", "go.mod", "go.sum"))
    return Build(
        name,
        version,
        minutes,
        (name,),
        ("go", "build", *flags, "-o", "{out}/" + name, "."),
        sources,
        directory,
        {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"},
    )


def _installed(name: str, version: str, minutes: float, packages: tuple[str, ...], flags: tuple[str, ...]) -> Build:
    """`go install` at a version: for modules whose go.mod it accepts."""
    return Build(
        name,
        version,
        minutes,
        tuple(package.rsplit("/", 1)[1] for package in packages),
        ("go", "install", *flags, *(f"{package}@{version}" for package in packages)),
        (),
        HERE,
        {"CGO_ENABLED": "0", "GOBIN": "{out}"},
    )


KUBERNETES = _module(
    "kubernetes",
    versions.KUBERNETES,
    10.5,
    (
        "-trimpath",
        "-ldflags",
        " ".join(("-s -w", *(f"-X {_VERSION}.git{name}={value}" for name, value in _STAMPS))),
    ),
)
ETCD = _module("etcd", versions.ETCD, 1, _STRIPPED)
COREDNS = _module("coredns", versions.COREDNS, 1.5, _STRIPPED)
CONTAINERD = _installed(
    "containerd",
    versions.CONTAINERD,
    1.5,
    tuple(
        f"github.com/containerd/containerd/v2/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    ("-tags", "no_btrfs no_zfs no_devmapper no_tracing", *_STRIPPED),
)
KWOK = _installed("kwok", versions.KWOK, 2, ("sigs.k8s.io/kwok/cmd/kwok",), _STRIPPED)
HELM = _installed("helm", versions.HELM, 2, ("helm.sh/helm/v4/cmd/helm",), _STRIPPED)
BOMBARDIER = _installed("bombardier", versions.BOMBARDIER, 1, ("github.com/codesenberg/bombardier",), _STRIPPED)
PAUSE = Build(
    "pause",
    "1",
    0.1,
    ("pause",),
    ("gcc", "-Os", "-static", "-s", "-Wall", "-o", "{out}/pause", "pause.c"),
    (HERE / "pause.c",),
)


def program(build: Build, name: str | None = None) -> Path:
    """The path of a built program; it need not be there yet."""
    return cache() / "bin" / f"{build.name}-{build.key()}" / (name or build.name)


def ensure(builds: tuple[Build, ...], say: Say) -> None:
    """Build what is missing, one after the other: each takes all cores by itself."""
    if not (missing := [build for build in builds if not program(build).exists()]):
        return
    with locked("build", say):
        missing = [build for build in missing if not program(build).exists()]
        minutes = sum(build.minutes for build in missing)
        say(
            f"building {', '.join(f'{build.name} {build.version}' for build in missing)}: "
            f"once, up to {minutes:.0f} minutes on 2 cores"
        )
        for build in missing:
            _build(build, say)


def kwok_stages() -> Path:
    """The folder of kwok's own stages, which say how simulated nodes and pods behave, in its module."""
    module = run(["go", "mod", "download", "-json", f"sigs.k8s.io/kwok@{versions.KWOK}"]).stdout
    return Path(json.loads(module)["Dir"]) / "kustomize" / "stage"


def _build(build: Build, say: Say) -> None:
    final = program(build).parent
    final.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=build.name) as work:
        out = Path(work) / "out"
        out.mkdir()
        say(f"building {build.name} {build.version} (about {build.minutes:.0f} min)")
        run_logged(
            [word.replace("{out}", str(out)) for word in build.command],
            cache() / "logs" / f"build-{build.name}.log",
            f"building {build.name}",
            say,
            cwd=build.directory,
            env={name: value.replace("{out}", str(out)) for name, value in build.environment.items()},
        )
        for old in final.parent.glob(f"{build.name}-*"):
            shutil.rmtree(old)
        out.rename(final)


@once
def _toolchain(tool: str, directory: Path) -> str:
    if shutil.which(tool) is None:
        raise ClusterError(
            f"`{tool}` is not on PATH: install it, or choose another cluster (CLUSTER=existing, CLUSTER=kind)"
        )
    return (
        run([tool, "env", "GOVERSION"] if tool == "go" else [tool, "-dumpversion"], cwd=directory).stdout
        + os.uname().machine
    )
