"""The objects of a run: its Job, and the ModelVersion that it ends in."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from upright.api import names
from upright.api.artifact import REFUSED, PublishReport, RunSpec
from upright.api.common import API_VERSION
from upright.api.model_version import ModelVersionSpec
from upright.api.training_job import Run, TrainingJob
from upright.contract import Manifest
from upright.defaults import Defaults
from upright.locations import locate
from upright.pods.build import (
    CONTAINER_SECURITY,
    NO_CREDENTIALS,
    environment,
    merge_pod,
    pod_security,
    with_report_limit,
    with_variables,
)
from upright.pods.reading import Pod
from upright.training.parameters import as_environment, as_json
from upright.training.record import parameters_of, read_record, record_of

_DATA, _CODE, _OUTPUT, _STORE, _WORK = (f"/upright/{name}" for name in ("data", "code", "output", "store", "work"))
_PARAMETERS_FILE = "/upright/parameters.json"
_SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}}
_SHARED = frozenset({"cpu", "memory", "ephemeral-storage"})
_CLOSED = ("data", "publish")
"""Our own containers: of these only the resources are the user's."""


def run_labels(owner: TrainingJob, run: Run) -> dict[str, str]:
    """What tells that an object belongs to this run of this TrainingJob, and to no namesake's."""
    return {
        **names.labels(owner.model),
        names.TRAINING_JOB: owner.metadata.name,
        names.TRAINING_JOB_UID: owner.metadata.uid,
        names.RUN: str(run.number),
    }


def job(owner: TrainingJob, run: Run, defaults: Defaults, store: str) -> Manifest:
    """The Job of a run. Raises InvalidParametersError."""
    spec, added = owner.spec, owner.spec.train.metadata
    labels = {**added.labels, **run_labels(owner, run)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": run.name,
            "namespace": owner.metadata.namespace,
            "labels": labels,
            "annotations": {**added.annotations, names.RUN_RECORD: record_of(owner, run)},
            "ownerReferences": [names.owner_reference("TrainingJob", owner.metadata)],
        },
        "spec": {
            "backoffLimit": spec.retries,
            "activeDeadlineSeconds": max(1, round(spec.deadline.total_seconds())),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    *(
                        {
                            "action": "FailJob",
                            "onExitCodes": {"containerName": container, "operator": "In", "values": [REFUSED]},
                        }
                        for container in (["data"] if _has_inputs(owner) else []) + ["publish"]
                    ),
                ]
            },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        "kubectl.kubernetes.io/default-container": "train",
                        **added.annotations,
                        names.PARAMETERS: as_json(spec.parameters),
                    },
                },
                "spec": with_report_limit(
                    merge_pod(spec.train.pod, _pod(owner, run, defaults, store), closed=_CLOSED), _CLOSED
                ),
            },
        },
    }


def _has_inputs(owner: TrainingJob) -> bool:
    return bool(owner.spec.data or owner.spec.code)


def _pod(owner: TrainingJob, run: Run, defaults: Defaults, store: str) -> dict[str, Any]:
    spec, train = owner.spec, owner.spec.train
    inputs = {f"data-{index}": (source.uri, f"{_DATA}/{source.name}") for index, source in enumerate(spec.data)}
    if spec.code:
        inputs["code"] = (spec.code.uri, _CODE)
    live = {volume: locate(uri).mount(volume, at, read_only=True) for volume, (uri, at) in inputs.items()}
    given = [_copy(at) if locate(uri).counted else live[volume] for volume, (uri, at) in inputs.items()]
    tmp = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a path in the pod
    work = {"name": "work", "mountPath": _WORK}
    output = {"name": "output", "mountPath": _OUTPUT}
    image = defaults.image_for(spec.output.format)
    paths = environment(
        {
            "UPRIGHT_DATA": _DATA,
            "UPRIGHT_CODE": _CODE,
            "UPRIGHT_PARAMETERS": _PARAMETERS_FILE,
            "UPRIGHT_OUTPUT": _OUTPUT,
            "HOME": "/tmp",  # noqa: S108 - a path in the pod
            # The program may ask for it, too: whether its model would be taken.
            **defaults.trusting,
        }
    )
    ours = [
        *paths,
        *environment(
            {
                "UPRIGHT_STORE": _STORE,
                "UPRIGHT_WORK": _WORK,
                "UPRIGHT_ALLOWED_FORMATS": ",".join(defaults.allowed_formats),
                "UPRIGHT_RUN": _run_spec(owner, run, store),
            }
        ),
    ]
    data_container = {
        "name": "data",
        "image": image,
        "args": ["data"],
        "env": ours,
        "resources": _like(train.resources),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [tmp, work, *live.values()],
    }
    train_container = {
        "name": "train",
        "image": train.image or image,
        "command": train.command,
        "args": train.args,
        "env": with_variables([*paths, *environment(as_environment(spec.parameters))], train.env),
        "envFrom": train.env_from,
        "resources": train.resources,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            tmp,
            output,
            {"name": "parameters", "mountPath": _PARAMETERS_FILE, "subPath": "parameters.json", "readOnly": True},
            *given,
        ],
        **({"workingDir": _CODE} if spec.code else {}),
    }
    publish_container = {
        "name": "publish",
        "image": image,
        "args": ["publish"],
        "env": ours,
        "resources": _like(train.resources),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [tmp, work, output, locate(store).mount("store", _STORE, read_only=False)],
    }
    return {
        **NO_CREDENTIALS,
        "restartPolicy": "Never",
        "securityContext": pod_security(fixed_ids=defaults.fixed_ids),
        "initContainers": ([data_container] if inputs else []) + [train_container],
        "containers": [publish_container],
        "volumes": [
            *({"name": volume, "emptyDir": {}} for volume in ("tmp", "work", "output")),
            {
                "name": "parameters",
                "downwardAPI": {
                    "items": [
                        {
                            "path": "parameters.json",
                            "fieldRef": {"fieldPath": f"metadata.annotations['{names.PARAMETERS}']"},
                        }
                    ]
                },
            },
            *(locate(uri).volume(volume) for volume, (uri, _) in inputs.items()),
            locate(store).volume("store"),
        ],
    }


def _copy(at: str) -> Manifest:
    """How `train` sees an input at its path as `data` has read it: a ConfigMap changes under the pods that mount it."""
    return {"name": "work", "mountPath": at, "readOnly": True, "subPath": at.removeprefix("/upright/")}


def _like(resources: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of `data` and `publish`, what the program has of everything that can be shared: they run before and after it, so
    that it costs nothing, and a quota that wants limits of each container takes them.
    """
    alike = {}
    for kind in ("requests", "limits"):
        given = resources.get(kind)
        if shared := {name: given[name] for name in given if name in _SHARED} if isinstance(given, Mapping) else {}:
            alike[kind] = shared
    return alike or _SMALL


def _run_spec(owner: TrainingJob, run: Run, store: str) -> str:
    spec = owner.spec
    return RunSpec.model_validate(
        {
            "model": owner.model,
            "run": run.name,
            "namespace": owner.metadata.namespace,
            "data": [source.model_dump(exclude_none=True) for source in spec.data],
            "code": spec.code.model_dump(exclude_none=True) if spec.code else None,
            "parameters": spec.parameters,
            "store": store,
        }
    ).model_dump_json(by_alias=True, exclude_none=True)


def model_version(
    owner: TrainingJob, run: Run, job: Manifest, report: PublishReport, pod: Pod, now: datetime
) -> Manifest:
    """The ModelVersion that a run ends in, from what its Job was made with: the spec may have changed since.

    It has no owner: it outlives the TrainingJob. When it was made its node's clock tells, but for what cannot be: that
    was before there was the Job, or is still to come.
    """
    record = read_record(job)
    trigger, inputs, request = (
        (record.trigger, record.inputs, record.request) if record else (run.trigger, run.inputs, run.request)
    )
    problem = record.problem if record else owner.spec.problem
    model = job["metadata"]["labels"].get(names.MODEL, owner.model)
    ended = pod.ended("publish")
    told_at = ended.at if ended else None
    begun = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": run.name,
            "namespace": owner.metadata.namespace,
            "labels": {**run_labels(owner, run), **names.labels(model)},
            **annotated(report),
        },
        "spec": {
            "model": model,
            "number": run.number,
            **({"producedAt": max(begun, min(told_at, now)).isoformat()} if told_at else {}),
            **what_is_told(report),
            "parameters": parameters_of(job, owner),
            "lineage": {
                "trainingJob": {
                    "name": owner.metadata.name,
                    "uid": owner.metadata.uid,
                    "run": run.number,
                    "trigger": trigger,
                    "inputs": inputs,
                    **({"request": request} if request is not None else {}),
                },
                "data": [source.model_dump() for source in report.data],
                **({"code": report.code.model_dump()} if report.code else {}),
                "images": {one.name: one.image_id for one in pod.containers if one.image_id},
            },
            **({"problem": problem.model_dump(mode="json", by_alias=True)} if problem else {}),
        },
    }


def annotated(report: PublishReport) -> Mapping[str, Any]:
    """Of a ModelVersion's metadata, what a report says that whoever uses the version should know."""
    told = {names.UNKNOWN_METRICS: ", ".join(report.unknown_metrics), names.UNTRIED: report.untried}
    annotations = {name: value for name, value in told.items() if value}
    return {"annotations": annotations} if annotations else {}


def what_is_told(report: PublishReport) -> Mapping[str, Any]:
    """Of a ModelVersion's spec, what a report says of the artifact."""
    told = report.model_dump(mode="json", by_alias=True, exclude_none=True)
    if "signature" in report.truncated:  # what is left of it would be taken for the whole
        told.pop("signature", None)
    return {
        "artifact": {field: told[field] for field in ("uri", "digest", "sizeBytes", "format")},
        **{field: told[field] for field in ("framework", "signature", "metrics") if told.get(field)},
    }


def fault_of(version: Manifest) -> str:
    """Why the API server would never take a ModelVersion, however often it is asked; empty when it would."""
    uri = version["spec"]["artifact"]["uri"]
    if ".." in uri:  # a rule that only the API server checks: what is stored must be read
        return f"spec.artifact.uri: must not contain '..', and is {uri}"
    try:
        ModelVersionSpec.model_validate(version["spec"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(('spec', *map(str, first['loc'])))}: {first['msg']}"
    return ""
