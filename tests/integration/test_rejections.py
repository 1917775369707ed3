"""A version that was rejected, beside the real operator, when its Deployment and all versions are made anew."""

import json
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.integration.operator_process import operator, until
from tests.integration.test_chart import a_version, an_object
from tests.integration.test_versions import CLAIM

ROOT = Path(__file__).parents[2]
STEPS = {"steps": [{"weight": 50, "for": "10m"}]}


def test_it_does_not_go_out_again_until_somebody_asks_for_it(
    control_plane: Cluster, namespace: str, tmp_path: Path
) -> None:
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "--filename", ROOT / "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "--filename", ROOT / "crds")

    def kubectl(*words: str, **more: Any) -> str:
        return control_plane.kubectl(*words, f"--namespace={namespace}", **more).stdout

    def get(*what: str) -> Any:
        return json.loads(kubectl("get", *what, "--output=json"))

    def status() -> dict[str, Any]:
        return dict(get("mdep", "churn").get("status", {}))

    def arm(place: str) -> str:
        return str(status().get(place, {}).get("modelVersion"))

    def stalled() -> str:
        return next((one["reason"] for one in status().get("conditions", []) if one["type"] == "Stalled"), "")

    def folder(version: str) -> str:
        spec = {"modelVersion": version, "replicas": 2, "rollout": STEPS}
        objects = [an_object("Deployment", "churn", spec), a_version("churn-1"), a_version("churn-2")]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})

    def serves_the_old_one_again() -> bool:
        return (arm("stable"), arm("candidate"), stalled()) == ("churn-1", "None", "VersionRejected")

    def gone_out() -> set[str]:
        """The versions that this very Deployment has let out."""
        uid = get("mdep", "churn")["metadata"]["uid"]
        events = get("events", f"--field-selector=reason=RolloutStarted,involvedObject.uid={uid}")["items"]
        return {event["message"].split()[0] for event in events}

    room = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/tmp"},
        "claimRef": {"namespace": namespace, "name": "models"},
    }
    claim = {**CLAIM, "spec": {**CLAIM["spec"], "storageClassName": "", "volumeName": namespace}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": room}
    for one in (volume, claim):
        kubectl("create", "--filename=-", input=json.dumps(one))
    with operator(control_plane, namespace, tmp_path, "first", module="upright") as running:
        until(running.leads, "it leads")
        kubectl("apply", "--filename=-", input=folder("churn-1"))
        until(lambda: arm("stable") == "churn-1", "churn-1 serves", 60)
        kubectl("apply", "--filename=-", input=folder("churn-2"))
        of_the_canary = ("pods", "--selector=upright.dev/model-version=churn-2")
        until(
            lambda: any(pod["status"].get("containerStatuses") for pod in get(*of_the_canary)["items"]), "a canary", 60
        )
        canary = get(*of_the_canary)["items"][0]
        fails = json.dumps({"status": failing(canary["status"])})
        kubectl("patch", "pod", canary["metadata"]["name"], "--subresource=status", "--type=merge", f"--patch={fails}")
        until(serves_the_old_one_again, "churn-2 is rejected", 60)
        until(lambda: get("comparisons")["items"], "that is remembered")
        running.settled()

        kubectl("replace", "--force", "--filename=-", input=folder("churn-2"))
        until(serves_the_old_one_again, "it is known after everything was replaced", 60)
        assert gone_out() == {"churn-1"}
        running.stop()
    kubectl("replace", "--force", "--filename=-", input=folder("churn-2"))
    with operator(control_plane, namespace, tmp_path, "next", module="upright") as running:
        until(running.leads, "the next one leads", 60)
        until(serves_the_old_one_again, "and when nobody saw it", 60)
        assert gone_out() == {"churn-1"}

        kubectl("annotate", "mdep", "churn", "upright.dev/retry=1")
        until(lambda: arm("candidate") == "churn-2", "it is tried again", 60)
        until(lambda: not any(one["spec"].get("rejected") for one in get("comparisons")["items"]), "it is forgotten")


def failing(status: dict[str, Any]) -> dict[str, Any]:
    """A pod's status when its container has failed three times."""
    started = status["startTime"]
    ended = {"exitCode": 1, "reason": "Error", "startedAt": started, "finishedAt": started}
    failed = {
        "ready": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": ended},
    }
    unready = [
        {**one, "status": "False"} if one["type"] in ("Ready", "ContainersReady") else one
        for one in status["conditions"]
    ]
    return {"conditions": unready, "containerStatuses": [{**one, **failed} for one in status["containerStatuses"]]}
