"""Twenty resources of each kind at rest, and what the operator writes beside them."""

import os
import time
from collections.abc import Sequence
from typing import Any

import pytest
import yaml

from tests.audit import AuditTrail, Write
from tests.installed import ROOT, NotInTimeError, Object, Workspace

COUNT = 20
"""Of each kind."""
DIGEST = "sha256:" + 64 * "0"


def resource(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": "upright.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def training_job(name: str, **spec: Any) -> Object:
    given = {"train": {"command": ["python", "train.py"]}, "output": {"store": "pvc://models"}}
    return resource("TrainingJob", name, given | spec)


def version(name: str) -> Object:
    artifact = {"uri": f"pvc://models/{name}", "digest": DIGEST, "format": "skops"}
    return resource("ModelVersion", name, {"model": "other", "artifact": artifact})


def deployment(name: str, **spec: Any) -> Object:
    return resource("Deployment", name, spec)


def crowd() -> list[Object]:
    """With the iris example (one of each kind, trained and serving), twenty of each kind, in all sorts of states."""
    lacking = {"code": {"uri": "configmap://not-there"}}
    wrong = {"parameters": {"rate": 1, "RATE": 2}}
    failing = {"train": {"command": ["python", "-c", "raise SystemExit(3)"]}, "retries": 0}
    return [
        training_job("lacking", **lacking),
        training_job("wrong", **wrong),
        training_job("failing", **failing),
        *(training_job(f"suspended-{number}", suspend=True) for number in range(COUNT - 4)),
        *(version(f"other-{number}") for number in range(COUNT - 1)),
        deployment("second", modelVersion="iris-1"),
        deployment("corrupt", modelVersion="other-0"),
        deployment("follower", latest={"model": "nobody"}),
        deployment("paused", modelVersion="iris-1", paused=True),
        *(deployment(f"to-zero-{number}", modelVersion="other-1", replicas=0) for number in range(5)),
        *(deployment(f"waiting-{number}", modelVersion=f"missing-{number}") for number in range(COUNT - 10)),
    ]


def applied(place: Workspace) -> None:
    """Apply them, and wait until none of them has anywhere to go."""
    place.apply(ROOT / "examples" / "iris")
    place.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(crowd()))
    place.until_phase("mdep", "iris", "Stable", 180)
    place.until_phase("mdep", "second", "Stable")
    place.until_phase("mdep", "corrupt", "Failed")
    place.until_phase("tj", "failing", "Failed")
    assert [len(place.items(kind)) for kind in ("tj", "mv", "mdep")] == [COUNT] * 3
    until_quiet(place)


def trail(place: Workspace) -> AuditTrail:
    if place.cluster.audit_log is None:
        reason = f"the provider {place.cluster.provider} shows no audit log"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    return AuditTrail.from_now(place.cluster.audit_log)


def mine(place: Workspace, writes: Sequence[Write]) -> list[str]:
    """Those in this namespace: others may use the cluster, too."""
    return [str(write) for write in writes if write.namespace == place.namespace]


def until_quiet(place: Workspace, seconds: float = 60) -> None:
    """Wait until nothing has been written for ten seconds."""
    end = time.monotonic() + seconds
    while True:
        begun = trail(place)
        time.sleep(10)
        written = mine(place, begun.writes())
        if not written:
            return
        if time.monotonic() > end:
            raise NotInTimeError(f"the operator goes on writing: {written}")
