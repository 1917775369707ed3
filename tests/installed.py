"""Upright installed on a cluster as users install it, and a namespace to work in: for demo, tests and benchmarks."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster, Images
from tests.cluster.shell import Say
from tests.ours import claim

ROOT = Path(__file__).parents[1]
SYSTEM = "upright-system"

Object = dict[str, Any]


class NotInTimeError(AssertionError):
    """Something that was awaited did not come."""


def install(cluster: Cluster, say: Say, **values: str) -> Images:
    """Make the images and install the chart with them; `values` are further values of the chart.

    Raises ClusterError where somebody else has installed it.
    """
    claim(cluster, SYSTEM)
    images = cluster.images(say)
    repository, _, tag = images.operator.rpartition(":")
    chosen = {
        "image.repository": repository,
        "image.tag": tag,
        "runtimeImage": images.runtime,
        "log.format": "plain",
        **values,
    }
    settings = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
    cluster.helm(
        *("upgrade", "--install", "upright", ROOT / "charts" / "upright", "--namespace", SYSTEM),
        *("--wait", "--timeout", "120s", *settings),
        say=say,
    )
    return images


@dataclass(frozen=True)
class Answer:
    """One answer that a client got: Unix seconds, and what it was."""

    begun: float
    ended: float
    outcome: str

    @property
    def failed(self) -> bool:
        return self.outcome.startswith("failed")

    @property
    def version(self) -> str:
        """The version that answered; `-` when nobody did."""
        return self.outcome.split()[1]


@dataclass(frozen=True)
class Workspace:
    """A namespace of a cluster with Upright."""

    cluster: Cluster
    namespace: str
    images: Images

    def kubectl(self, *words: str | Path, input: str | None = None, check: bool = True) -> str:
        """What kubectl printed; with `check` it must succeed."""
        done = self.cluster.kubectl("--namespace", self.namespace, *words, input=input, check=check)
        return done.stdout + ("" if check else done.stderr)

    def apply(self, *manifests: Path | Object) -> None:
        """Apply files, folders and objects."""
        for manifest in manifests:
            if isinstance(manifest, Path):
                self.kubectl("apply", "-f", manifest)
            else:
                self.kubectl("apply", "-f", "-", input=yaml.safe_dump(manifest))

    def patch(self, kind: str, name: str, change: Object) -> None:
        """Merge a change into an object, as users do it."""
        self.kubectl("patch", kind, name, "--type=merge", "-p", json.dumps(change))

    def find(self, kind: str, name: str) -> Object | None:
        """An object, or None."""
        said = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(said) if said.strip() else None

    def items(self, kind: str, selector: str = "") -> list[Object]:
        """Objects of a kind."""
        chosen = ["-l", selector] if selector else []
        items: list[Object] = json.loads(self.kubectl("get", kind, *chosen, "-o", "json"))["items"]
        return items

    def until(self, kind: str, name: str, holds: Callable[[Object], object], what: str, seconds: float = 120) -> Object:
        """Wait until something holds of an object, whose status is empty until the operator has seen it.

        Raises NotInTimeError with all that could explain it.
        """
        end = time.monotonic() + seconds
        watching = (
            "get",
            kind,
            f"--field-selector=metadata.name={name}",
            "--watch",
            "--output-watch-events",
            "-o",
            "json",
        )
        while (left := end - time.monotonic()) > 0:  # an API server that goes away ends a watch
            for event in self.cluster.printed("--namespace", self.namespace, *watching, seconds=left):
                found: Object = {"status": {}} | event["object"]
                if event["type"] != "DELETED" and holds(found):
                    return found
        raise NotInTimeError(f"{kind} {name}: {what}: not within {seconds} s.\n{self.explain(kind, name)}")

    def explain(self, kind: str, name: str) -> str:
        """What a person would look at."""
        described = self.kubectl("describe", kind, name, check=False)
        pods = self.kubectl("get", "pods", "-o", "wide", check=False)
        log = self.cluster.kubectl("logs", "-n", SYSTEM, "deployment/upright", "--tail=30", check=False).stdout
        return f"{described}\n{pods}\n{log}"

    def until_phase(self, kind: str, name: str, phase: str, seconds: float = 120) -> Object:
        """Wait until the status says so."""
        return self.until(kind, name, lambda one: one["status"].get("phase") == phase, f"phase {phase}", seconds)

    def train(self, name: str, parameters: Object, version: str, seconds: float = 120) -> Object:
        """Change the parameters of a TrainingJob and wait for the version that the run gives."""
        self.patch("tj", name, {"spec": {"parameters": parameters}})
        self.until("tj", name, lambda job: job["status"].get("lastVersion") == version, f"version {version}", seconds)
        found = self.find("mv", version)
        assert found is not None
        return found

    def events(self, name: str) -> list[Object]:
        """The events of an object."""
        return [event for event in self.items("events") if event["involvedObject"].get("name") == name]

    @contextmanager
    def traffic(self, host: str = "churn", *, rate: int, seconds: int = 300) -> Iterator["Traffic"]:
        """Requests from a pod to a Service by its name, while the context lasts."""
        client = Traffic(self, "client")
        self.apply(ROOT / "examples" / "churn" / "traffic.yaml", client.code(), client.pod(host, rate, seconds))
        self.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        try:
            yield client
        finally:
            self.kubectl("delete", "pod", "client", "--ignore-not-found", "--grace-period=1")


@dataclass(frozen=True)
class Traffic:
    """A client in a pod."""

    workspace: Workspace
    name: str

    def answers(self) -> list[Answer]:
        """All answers so far, in the order in which they came."""
        lines = self.workspace.kubectl("logs", self.name).splitlines()
        return [Answer(*json.loads(line)) for line in lines if line.endswith("]")]

    def until(self, holds: Callable[[list[Answer]], object], what: str, seconds: float = 60) -> list[Answer]:
        """Wait until something holds of the answers."""
        end = time.monotonic() + seconds
        while not holds(answers := self.answers()):
            if time.monotonic() > end:
                last = "\n".join(str(answer) for answer in answers[-5:])
                raise NotInTimeError(f"{what}: not within {seconds} s; the last answers:\n{last}")
            time.sleep(1)
        return answers

    def code(self) -> Object:
        """The client's program."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "load"},
            "data": {"load.py": (ROOT / "tests" / "load.py").read_text()},
        }

    def pod(self, host: str, rate: int, seconds: int) -> Object:
        """The client's pod. Both programs lie in one folder, so that one can import the other."""
        arguments: Mapping[str, object] = {
            "--host": host,
            "--path": "/v1/models/churn:predict",
            "--customers": "/customers/customers.csv",
            "--rate": rate,
            "--seconds": seconds,
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "client",
                        "image": self.workspace.images.runtime,
                        "command": ["python", "/client/load.py"],
                        "args": [str(word) for pair in arguments.items() for word in pair],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "volumeMounts": [
                            {"name": "client", "mountPath": "/client"},
                            {"name": "customers", "mountPath": "/customers"},
                        ],
                    }
                ],
                "volumes": [
                    {
                        "name": "client",
                        "projected": {
                            "sources": [{"configMap": {"name": "churn-traffic"}}, {"configMap": {"name": "load"}}]
                        },
                    },
                    {"name": "customers", "configMap": {"name": "churn-data"}},
                ],
            },
        }
