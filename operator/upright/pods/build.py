"""What all pods that Upright makes have in common, and how what users add to them is merged."""

from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

from upright.api.artifact import TERMINATION_LIMIT
from upright.api.pod_fields import CREDENTIALS, RESERVED_VARIABLES
from upright.contract import Manifest

_USER = 65532
_GUARD: Manifest = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_IDS: Manifest = {
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "fsGroup": _USER,
    "fsGroupChangePolicy": "OnRootMismatch",
}

CONTAINER_SECURITY: Manifest = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_POD_MESSAGES = 12 * 1024
"""Bytes of termination messages that the kubelet keeps of a pod, shared evenly among its containers."""
_INJECTED = 2
"""For how many containers that others inject there is room: a mesh's init container and its proxy. With more of them a
report is cut, and read as far as it goes."""
HTTP_PORT = "http"
"""Name of the port on which a serving pod answers, requests for predictions as well as for its metrics."""
GRPC_PORT = "grpc"
"""Name of the port on which it answers over gRPC."""
NO_CREDENTIALS: Manifest = {"automountServiceAccountToken": False, "enableServiceLinks": False}
"""A user's program has no business with the API server."""

_HOST = ("hostNetwork", "hostPID", "hostIPC")
_CONTAINERS = ("initContainers", "containers")
_KEYS = {"env": "name", "ports": "name", "volumeMounts": "mountPath", "volumeDevices": "devicePath"}
"""The lists of a container in which users may add items, and what must be unique in each."""
_LISTS = (*_KEYS, "envFrom")


def pod_security(*, fixed_ids: bool) -> Manifest:
    """The securityContext of a pod. Without fixed ids the namespace assigns them, as OpenShift's do."""
    return {**_GUARD, **(_IDS if fixed_ids else {})}


POD_SECURITY = pod_security(fixed_ids=True)


def environment(values: Mapping[str, str]) -> list[Manifest]:
    """Environment variables of just these values: Kubernetes expands $(NAME), and reads $$ as $."""
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in values.items()]


def with_report_limit(pod: Mapping[str, Any], reporting: Collection[str]) -> dict[str, Any]:
    """The pod, with these containers of ours told how long their termination messages may be."""
    containers = sum(len(pod.get(field, ())) for field in _CONTAINERS) + _INJECTED
    limit = environment({"UPRIGHT_TERMINATION_LIMIT": str(min(TERMINATION_LIMIT, _POD_MESSAGES // containers))})
    return {
        **pod,
        **{
            field: [
                {**one, "env": [*_objects(one, "env"), *limit]} if one.get("name") in reporting else one
                for one in pod[field]
            ]
            for field in _CONTAINERS
            if field in pod
        },
    }


def with_variables(ours: Sequence[Manifest], theirs: Sequence[Manifest]) -> list[Manifest]:
    """Our variables and the user's, which may refer to ours, and win where the name is not reserved."""
    added = [one for one in theirs if not str(one.get("name", "")).startswith(RESERVED_VARIABLES)]
    return [*(one for one in ours if not _find(added, "name", one["name"])), *added]


def merge_pod(theirs: Mapping[str, Any], ours: Mapping[str, Any], *, closed: Collection[str] = ()) -> dict[str, Any]:
    """A pod's spec from what the user added and what we set. Where both say something ours wins, but for the ids under
    which the pod runs, which are defaults.

    The user's init containers run before ours. Of the containers `closed` nothing but the resources can be added to;
    no container of ours gets another securityContext or a reserved variable.
    """
    given = {field: value for field, value in theirs.items() if field not in (*_HOST, *_CONTAINERS)}
    merged = {**given, **ours}
    if security := _object(theirs, "securityContext"):
        merged["securityContext"] = {
            **security,
            **ours["securityContext"],
            **{field: value for field, value in security.items() if field in _IDS},
        }
    volumes = [_without_credentials(one) for one in _objects(theirs, "volumes")]
    merged["volumes"] = _added("name", ours.get("volumes", ()), volumes)
    ordinary, first = ours.get("containers", ()), ours.get("initContainers", ())
    if added := _objects(theirs, "containers"):
        merged["containers"] = _containers(ordinary, added, closed) + _others(added, ordinary)
    if added := _objects(theirs, "initContainers"):
        merged["initContainers"] = _others(added, first) + _containers(first, added, closed)
    return merged


def container_names(pod: Mapping[str, Any]) -> Set[str]:
    """Of all containers of a pod's spec, init containers among them."""
    return {str(one.get("name")) for field in _CONTAINERS for one in _objects(pod, field)}


def _without_credentials(volume: Manifest) -> Manifest:
    projected = _object(volume, "projected")
    sources = _objects(projected, "sources")
    right = [one for one in sources if not any(one.get(field) for field in CREDENTIALS)]
    return volume if len(right) == len(sources) else {**volume, "projected": {**projected, "sources": right}}


def _containers(ours: Sequence[Manifest], theirs: Sequence[Manifest], closed: Collection[str]) -> list[Manifest]:
    return [_container(one, _find(theirs, "name", one["name"]) or {}, closed) for one in ours]


def _others(theirs: Sequence[Manifest], ours: Sequence[Manifest]) -> list[Manifest]:
    return [one for one in theirs if not _find(ours, "name", one.get("name"))]


def _container(ours: Manifest, theirs: Manifest, closed: Collection[str]) -> Manifest:
    resources = {**ours.get("resources", {}), **_object(theirs, "resources")}
    if ours["name"] in closed:
        return {**ours, "resources": resources}
    merged = {
        **{field: value for field, value in theirs.items() if field not in _LISTS},
        **ours,
        "resources": resources,
    }
    for field, key in _KEYS.items():
        if added := _objects(theirs, field):
            merged[field] = _added(key, ours.get(field, ()), added)
    if "env" in merged:
        own = ours.get("env", ())
        merged["env"] = [*own, *with_variables((), merged["env"][len(own) :])]
    if added := _objects(theirs, "envFrom"):
        merged["envFrom"] = [*ours.get("envFrom", ()), *added]
    return merged


def _added(key: str, ours: Sequence[Manifest], theirs: Sequence[Manifest]) -> list[Manifest]:
    return [*ours, *(one for one in theirs if not _find(ours, key, one.get(key)))]


def _find(items: Sequence[Manifest], key: str, value: Any) -> Manifest | None:
    return next((item for item in items if item.get(key) == value), None)


def _objects(fields: Mapping[str, Any], name: str) -> Sequence[Manifest]:
    """A list of objects that a user gave; what is none was stored before the schema refused it."""
    given = fields.get(name)
    return [item for item in given if isinstance(item, Mapping)] if isinstance(given, Sequence) else []


def _object(fields: Mapping[str, Any], name: str) -> Manifest:
    given = fields.get(name)
    return given if isinstance(given, Mapping) else {}
