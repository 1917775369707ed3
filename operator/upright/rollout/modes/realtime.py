"""An HTTP API: each revision is an apps/v1 Deployment."""

import json
from collections.abc import Mapping
from datetime import timedelta
from math import ceil
from typing import Any

from upright.api import names
from upright.api.deployment import Batching, Deployment, Monitoring
from upright.api.model_version import ModelVersion
from upright.api.serving import GRPC_DRAIN_SECONDS
from upright.api.serving import GRPC_PORT as GRPC_NUMBER
from upright.contract import Manifest
from upright.defaults import Defaults
from upright.locations import locate
from upright.pods.build import (
    CONTAINER_SECURITY,
    GRPC_PORT,
    HTTP_PORT,
    NO_CREDENTIALS,
    environment,
    merge_pod,
    pod_security,
    with_report_limit,
    with_variables,
)

SERVE = "serve"
"""Name of the serving container."""

_STORE = "/upright/store"
_DRAIN_SECONDS = 5
"""A stopping pod goes on answering for so long, until no proxy sends it requests any more."""
_STOP_SECONDS = 30
_NONE = 2**31 - 1
"""No deadline, as Kubernetes writes it: a rollout has its own, and may wait for room for hours."""
_STARTUP_PROBES = 600
"""At least so many of one second each; the rollout's own deadline is what rejects a version that never gets ready."""


FOLLOWING: Mapping[str, Any] = {
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
    "minReadySeconds": 0,
}
"""How pods of a workload follow its template, as the API server has it where nobody says otherwise."""


def workload(owner: Deployment, revision: str, template: Manifest, replicas: int) -> Manifest:
    """The apps/v1 Deployment of a revision. Made once: later only its replicas change."""
    labels = template["metadata"]["labels"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.object_name(owner.metadata.name, revision),
            "namespace": owner.metadata.namespace,
            "labels": {label: value for label, value in labels.items() if label != names.DEPLOYMENT_UID},
            "annotations": {
                **owner.spec.serving.metadata.annotations,
                names.DEPLOYMENT_UID: labels[names.DEPLOYMENT_UID],
            },
            "ownerReferences": [names.owner_reference("Deployment", owner.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": _NONE,
            "selector": {
                "matchLabels": {names.DEPLOYMENT: owner.metadata.name, names.REVISION: revision},
            },
            "template": template,
        },
    }


def template(owner: Deployment, version: ModelVersion, revision: str, defaults: Defaults) -> Manifest:
    """What the pods of a revision are made of."""
    serving = owner.spec.serving
    spec = with_report_limit(merge_pod(serving.pod, _pod(owner, version, defaults)), (SERVE,))
    [serve] = [container for container in spec["containers"] if container.get("name") == SERVE]
    verifies = {} if serving.image or "command" in serve else {names.VERIFIES: "true"}
    return {
        "metadata": {
            "labels": {
                **serving.metadata.labels,
                **names.labels(version.spec.model, version.metadata.name),
                names.DEPLOYMENT: owner.metadata.name,
                names.DEPLOYMENT_UID: owner.metadata.uid,
                names.REVISION: revision,
                **verifies,
            },
            "annotations": {**serving.metadata.annotations, "kubectl.kubernetes.io/default-container": SERVE},
        },
        "spec": spec,
    }


def _pod(owner: Deployment, version: ModelVersion, defaults: Defaults) -> dict[str, Any]:
    serving, artifact = owner.spec.serving, version.spec.artifact
    place = locate(artifact.uri)
    draining = _DRAIN_SECONDS + (GRPC_DRAIN_SECONDS if serving.grpc else 0)
    asked = serving.model_dump(include={"queue", "workers"}, exclude_defaults=True)
    variables = {
        "UPRIGHT_ARTIFACT": f"{_STORE}/{place.path}",
        "UPRIGHT_DIGEST": artifact.digest,
        "UPRIGHT_MODEL": version.spec.model,
        "UPRIGHT_MODEL_VERSION": version.metadata.name,
        "UPRIGHT_PORT": str(serving.port),
        "UPRIGHT_ALLOWED_FORMATS": ",".join(defaults.allowed_formats),
        **defaults.trusting,
        "UPRIGHT_TIMEOUT": f"{serving.timeout.total_seconds():g}",
        **{f"UPRIGHT_{name.upper()}": str(number) for name, number in asked.items()},
        **(_batching(serving.batching) if serving.batching else {}),
        **({"UPRIGHT_GRPC_PORT": str(GRPC_NUMBER)} if serving.grpc else {}),
        **_segments(owner.spec.monitoring),
        "HOME": "/tmp",  # noqa: S108 - a path in the pod
    }
    container = {
        "name": SERVE,
        "image": serving.image or defaults.image_for(artifact.format),
        **({} if serving.image else {"args": ["serve"]}),
        "env": with_variables(environment(variables), serving.env),
        "ports": [
            {"name": HTTP_PORT, "containerPort": serving.port},
            *([{"name": GRPC_PORT, "containerPort": GRPC_NUMBER}] if serving.grpc else []),
        ],
        "resources": serving.resources,
        "securityContext": CONTAINER_SECURITY,
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        **_probes(owner.spec.rollout.startup_deadline, own_image=bool(serving.image)),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the pod
            {"name": "store", "mountPath": _STORE, "readOnly": True},
        ],
    }
    return {
        **NO_CREDENTIALS,
        "securityContext": pod_security(fixed_ids=defaults.fixed_ids),
        "terminationGracePeriodSeconds": max(_STOP_SECONDS, round(serving.timeout.total_seconds()) + draining + 5),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, place.volume("store")],
    }


def _segments(monitoring: Monitoring) -> Mapping[str, str]:
    """Those by which pods count requests themselves."""
    counted = [
        {"name": one.counted_as, "feature": one.feature, "values": one.groups, "edges": one.edges}
        for one in monitoring.segments
        if one.feature is not None
    ]
    return {"UPRIGHT_SEGMENTS": json.dumps(counted, ensure_ascii=False)} if counted else {}


def _batching(asked: Batching) -> Mapping[str, str]:
    return {"UPRIGHT_BATCH_ROWS": str(asked.rows), "UPRIGHT_BATCH_WAIT": f"{asked.wait.total_seconds():g}"}


def _probes(startup: timedelta, *, own_image: bool) -> Mapping[str, Any]:
    """Of our own runtime the routes are known; another server is asked only whether it listens."""
    if own_image:
        asked: Mapping[str, Any] = {"tcpSocket": {"port": HTTP_PORT}}
        alive = asked
    else:
        asked = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}}
        alive = {"httpGet": {"path": "/livez", "port": HTTP_PORT}}
    starting = max(_STARTUP_PROBES, ceil(startup.total_seconds()))
    return {
        "startupProbe": {**asked, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": starting},
        "readinessProbe": {**asked, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
    }
