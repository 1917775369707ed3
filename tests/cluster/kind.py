"""The kind provider: where Docker runs. As thin as kind's own documentation; CI's machines cannot try it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import Cluster, Images
from tests.cluster.images import REPOSITORY
from tests.cluster.shell import Say, cache, run

_CLUSTER = "upright"


@dataclass(frozen=True)
class Kind:
    name: str = "kind"

    def obstacle(self) -> str | None:
        if missing := [tool for tool in ("docker", "kind") if shutil.which(tool) is None]:
            return f"not on PATH: {', '.join(missing)}"
        answer = run(["docker", "info", "--format", "{{.ServerVersion}}"], check=False)
        return f"the Docker daemon does not answer: {answer.stderr.strip()}" if answer.returncode else None

    def up(self, say: Say) -> Cluster:
        if not self.running():
            say("creating the kind cluster: a minute or two")
            run(["kind", "create", "cluster", "--name", _CLUSTER, "--kubeconfig", self._kubeconfig, "--wait", "120s"])
        run(["kind", "export", "kubeconfig", "--name", _CLUSTER, "--kubeconfig", self._kubeconfig])
        say(f"the cluster is up: export KUBECONFIG={self._kubeconfig}")
        # kind's own provisioner clears volumes by itself, and its API server keeps its audit log to itself.
        return Cluster(self.name, self._kubeconfig, None, self._images, lambda _: None)

    def running(self) -> bool:
        return _CLUSTER in run(["kind", "get", "clusters"]).stdout.split()

    def down(self, say: Say) -> None:
        run(["kind", "delete", "cluster", "--name", _CLUSTER, "--kubeconfig", self._kubeconfig])
        say("the kind cluster is gone")

    def status(self) -> str:
        if not self.running():
            return "kind cluster: not there"
        return f"kind cluster: up\n  export KUBECONFIG={self._kubeconfig}"

    def _images(self, say: Say) -> Images:
        return Images(operator=self._image("operator", say), runtime=self._image("runtime", say))

    def _image(self, name: str, say: Say) -> str:
        """Build, tag by content, load."""
        say(f"building the {name} image with Docker")
        containerfile = REPOSITORY / "images" / name / "Containerfile"
        made = run(["docker", "build", "--quiet", "--file", containerfile, REPOSITORY]).stdout.strip()
        reference = f"upright/{name}:{made.removeprefix('sha256:')[:12]}"
        run(["docker", "tag", made, reference])
        run(["kind", "load", "docker-image", reference, "--name", _CLUSTER])
        return reference

    @property
    def _kubeconfig(self) -> Path:
        return cache() / "kind.kubeconfig"
