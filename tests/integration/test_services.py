"""A Deployment beside the real operator while the Service of all traffic cannot be made, and when it is deleted."""

import json
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.integration.operator_process import operator, until
from tests.integration.test_chart import a_version, an_object
from tests.integration.test_versions import CLAIM

ROOT = Path(__file__).parents[2]
STATUS = ("patch", "deployments.upright.dev/status", "200")


def test_it_is_ready_when_its_service_is_there_and_not_before(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "--filename", ROOT / "crds")

    def kubectl(*words: str, **more: Any) -> str:
        return control_plane.kubectl(*words, f"--namespace={namespace}", **more).stdout

    def create(manifest: dict[str, Any]) -> None:
        kubectl("create", "--filename=-", input=json.dumps(manifest))

    def status() -> dict[str, Any]:
        return dict(json.loads(kubectl("get", "mdep", "churn", "--output=json")).get("status", {}))

    def condition(type: str) -> tuple[str, str]:
        found = (one for one in status().get("conditions", []) if one["type"] == type)
        return next(((one["status"], one["reason"]) for one in found), ("", ""))

    def is_well() -> bool:
        return [condition(one)[0] for one in ("Ready", "Current", "Stalled")] == ["True", "True", ""]

    volume = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/tmp"},
        "claimRef": {"namespace": namespace, "name": "models"},
    }
    create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": volume})
    create({**CLAIM, "spec": {**CLAIM["spec"], "storageClassName": "", "volumeName": namespace}})
    quota = {"hard": {"count/services": "0"}}
    create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": quota})
    until(lambda: '"used"' in kubectl("get", "quota", "none", "--output=json"), "the quota holds")
    with operator(control_plane, namespace, tmp_path, "op", module="upright") as running:
        until(running.leads, "it leads")
        create(a_version("churn-1"))
        create(an_object("Deployment", "churn", {"modelVersion": "churn-1", "replicas": 2}))
        until(lambda: status().get("stable", {}).get("readyReplicas") == 2, "its pods are ready", 60)
        until(lambda: condition("Stalled") == ("True", "RequestRefused"), "it says why there is no Service")
        assert [condition("Ready"), condition("Current")] == [("False", "ServiceMissing")] * 2
        assert not status()["url"]
        waited = ("wait", "--for=condition=Ready", "--timeout=1s", "mdep/churn")
        assert control_plane.kubectl(*waited, f"--namespace={namespace}", check=False).returncode

        kubectl("delete", "quota", "none")
        until(is_well, "it is ready by itself", 60)
        assert status()["url"] == f"http://churn.{namespace}.svc"

        running.settled()
        before, recorded = running.writes(), status()
        kubectl("delete", "service", "churn")
        until(lambda: "service/churn" in kubectl("get", "services", "--output=name").split(), "it is made again")
        running.settled()
        assert running.writes()[STATUS] == before[STATUS], "a Service that is made again at once costs no write"
        assert status() == recorded

        leads = {
            "internalTrafficPolicy": "Local",
            "publishNotReadyAddresses": True,
            "trafficDistribution": "PreferClose",
        }
        kubectl("patch", "service", "churn", "--type=merge", f"--patch={json.dumps({'spec': leads})}")
        is_back = {"internalTrafficPolicy": "Cluster"}

        def leading() -> dict[str, Any]:
            spec = json.loads(kubectl("get", "service", "churn", "--output=json"))["spec"]
            return {field: spec[field] for field in leads if spec.get(field)}

        until(lambda: leading() == is_back, "what leads requests is as it was")
        told = json.loads(kubectl("get", "events", "--field-selector=reason=Restored", "--output=json"))["items"]
        assert all(any(field in one["message"] for one in told) for field in leads)
        running.settled()
    with operator(control_plane, namespace, tmp_path, "next", module="upright") as following:
        until(following.leads, "the next one leads", 60)
        following.settled()
        assert following.writes() == {}
