"""The objects of a Deployment: one apps/v1 Deployment for each revision, and three Services."""

from collections.abc import Mapping, Sequence
from typing import Any

from upright.api import names
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.contract import Manifest
from upright.defaults import Defaults
from upright.locations import locate
from upright.pods.build import (
    CONTAINER_SECURITY,
    HTTP_PORT,
    NO_CREDENTIALS,
    environment,
    merge_pod,
    pod_security,
)

SERVE = "serve"
"""Name of the serving container."""

_STORE = "/upright/store"
_DRAIN_SECONDS = 5
"""A stopping pod goes on answering for so long, until no proxy sends it requests any more."""
_STOP_SECONDS = 30
_STARTUP_PROBES = 600
"""Of one second each; the rollout's own deadline is what rejects a version that never gets ready."""


def service_names(deployment: str) -> tuple[str, str, str]:
    """The Services: of all traffic, of the stable version, of the candidate."""
    return names.fit(deployment), names.fit(deployment, "-stable"), names.fit(deployment, "-canary")


def services(owner: Deployment, stable: str | None, candidate: str | None) -> Sequence[Manifest]:
    """The three Services. Without a candidate, all of them lead to the stable revision, and the other way round.

    The Service of all traffic selects by revision while there is only one, so that a rejected version gets no request
    from the moment on that it is rejected, however long its pods take to end.
    """
    everyone, of_stable, of_candidate = service_names(owner.metadata.name)
    only = None if stable and candidate else stable or candidate
    return [
        _service(owner, everyone, only),
        _service(owner, of_stable, stable or candidate),
        _service(owner, of_candidate, candidate or stable),
    ]


def _service(owner: Deployment, name: str, revision: str | None) -> Manifest:
    selector = {names.DEPLOYMENT: owner.metadata.name, **({names.REVISION: revision} if revision else {})}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": {"app.kubernetes.io/managed-by": "upright", names.DEPLOYMENT: owner.metadata.name},
            "ownerReferences": [names.owner_reference("Deployment", owner.metadata)],
        },
        "spec": {
            "selector": selector,
            "ports": [{"name": HTTP_PORT, "protocol": "TCP", "port": 80, "targetPort": HTTP_PORT}],
        },
    }


def url(owner: Deployment) -> str:
    """Where the model answers inside the cluster."""
    return f"http://{service_names(owner.metadata.name)[0]}.{owner.metadata.namespace}.svc"


def selector(owner: Deployment) -> str:
    """Selects the pods of all revisions."""
    return f"{names.DEPLOYMENT}={owner.metadata.name}"


def revision_deployment(
    owner: Deployment, version: ModelVersion, revision: str, replicas: int, defaults: Defaults
) -> Manifest:
    """The apps/v1 Deployment of a revision. Made once: later only its replicas change."""
    selected = {names.DEPLOYMENT: owner.metadata.name, names.REVISION: revision}
    labels = {**names.labels(version.spec.model, version.metadata.name), **selected}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": names.fit(owner.metadata.name, f"-{revision}"),
            "namespace": owner.metadata.namespace,
            "labels": labels,
            "ownerReferences": [names.owner_reference("Deployment", owner.metadata)],
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": selected},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"kubectl.kubernetes.io/default-container": SERVE},
                },
                "spec": merge_pod(owner.spec.serving.pod, _pod(owner, version, defaults)),
            },
        },
    }


def _pod(owner: Deployment, version: ModelVersion, defaults: Defaults) -> dict[str, Any]:
    serving, artifact = owner.spec.serving, version.spec.artifact
    place = locate(artifact.uri)
    variables = {
        "UPRIGHT_ARTIFACT": f"{_STORE}/{place.path}",
        "UPRIGHT_DIGEST": artifact.digest,
        "UPRIGHT_MODEL": version.spec.model,
        "UPRIGHT_MODEL_VERSION": version.metadata.name,
        "UPRIGHT_PORT": str(serving.port),
        "UPRIGHT_ALLOWED_FORMATS": ",".join(defaults.allowed_formats),
        "HOME": "/tmp",  # noqa: S108 - a path in the pod
    }
    container = {
        "name": SERVE,
        "image": serving.image or defaults.runtime_image,
        **({} if serving.image else {"args": ["serve"]}),
        "env": [*environment(variables), *serving.env],
        "ports": [{"name": HTTP_PORT, "containerPort": serving.port}],
        "resources": serving.resources,
        "securityContext": CONTAINER_SECURITY,
        "lifecycle": {"preStop": {"sleep": {"seconds": _DRAIN_SECONDS}}},
        **_probes(own_image=bool(serving.image)),
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the pod
            {"name": "store", "mountPath": _STORE, "readOnly": True},
        ],
    }
    return {
        **NO_CREDENTIALS,
        "securityContext": pod_security(fixed_ids=defaults.fixed_ids),
        "terminationGracePeriodSeconds": _STOP_SECONDS,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, place.volume("store")],
    }


def _probes(*, own_image: bool) -> Mapping[str, Any]:
    """Of our own runtime the routes are known; another server is asked only whether it listens."""
    if own_image:
        asked: Mapping[str, Any] = {"tcpSocket": {"port": HTTP_PORT}}
        alive = asked
    else:
        asked = {"httpGet": {"path": "/readyz", "port": HTTP_PORT}}
        alive = {"httpGet": {"path": "/livez", "port": HTTP_PORT}}
    return {
        "startupProbe": {**asked, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": _STARTUP_PROBES},
        "readinessProbe": {**asked, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
    }
