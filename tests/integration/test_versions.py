"""ModelVersions beside the real operator: the claim that holds an artifact comes, goes and comes back."""

import json
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.integration.operator_process import operator, until
from tests.integration.test_chart import a_version

ROOT = Path(__file__).parents[2]
CLAIM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "models"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def test_a_version_follows_its_claim_and_a_new_one_costs_one_write(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "--filename", ROOT / "crds")

    def create(manifest: dict[str, Any]) -> None:
        control_plane.kubectl("create", f"--namespace={namespace}", "--filename=-", input=json.dumps(manifest))

    def phase() -> str:
        path = "jsonpath={.status.phase}"
        return control_plane.kubectl("get", "mv", "churn-1", f"--namespace={namespace}", "--output", path).stdout

    with operator(control_plane, namespace, tmp_path, "op", module="upright") as running:
        until(running.leads, "it leads")
        create(CLAIM)
        create(a_version("churn-1"))
        until(lambda: phase() == "Ready", "it is ready")
        running.settled()
        assert running.writes() == {("patch", "modelversions.upright.dev/status", "200"): 1}
        control_plane.kubectl("delete", "pvc", "models", f"--namespace={namespace}")
        until(lambda: phase() == "Missing", "it says that its claim is gone")
        create(CLAIM)
        until(lambda: phase() == "Ready", "it is ready again by itself")
