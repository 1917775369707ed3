"""The existing provider: the cluster of the current kubectl context, only when CLUSTER=existing asks for it."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.cluster import Cluster, Images, kubectl_program
from tests.cluster.shell import ClusterError, Say, cache, run

_VARIABLES = {"operator": "UPRIGHT_OPERATOR_IMAGE", "runtime": "UPRIGHT_RUNTIME_IMAGE"}


@dataclass(frozen=True)
class Existing:
    name: str = "existing"

    def obstacle(self) -> str | None:
        answer = run([kubectl_program(), "version", "--request-timeout=10s"], check=False)
        return f"the current kubectl context does not answer: {answer.stderr.strip()}" if answer.returncode else None

    def up(self, say: Say) -> Cluster:
        context = run([kubectl_program(), "config", "current-context"]).stdout.strip()
        say(f"using the cluster of the current kubectl context, {context}")
        kubeconfig = cache() / "existing.kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(run([kubectl_program(), "config", "view", "--minify", "--flatten", "--raw"]).stdout)
        return Cluster(self.name, kubeconfig, None, _images, lambda _: None)

    def running(self) -> bool:
        return True

    def down(self, say: Say) -> None:
        (cache() / "existing.kubeconfig").unlink(missing_ok=True)
        say("the cluster is not ours: it stays")

    def status(self) -> str:
        where = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config"))
        return "\n".join(
            ["existing cluster", f"  KUBECONFIG: {where}", run([kubectl_program(), "get", "nodes"]).stdout]
        )


def _images(say: Say) -> Images:
    if missing := [variable for variable in _VARIABLES.values() if not os.environ.get(variable)]:
        raise ClusterError(
            f"CLUSTER=existing needs images that the cluster can pull: set {' and '.join(missing)}, "
            "after building images/*/Containerfile and pushing them where it pulls from"
        )
    images = Images(**{name: os.environ[variable] for name, variable in _VARIABLES.items()})
    say(f"using {images.operator} and {images.runtime}")
    return images
