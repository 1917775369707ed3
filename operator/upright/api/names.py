"""Names, labels and annotations of everything that Upright makes or reads."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from upright.api.common import API_VERSION, GROUP, Metadata
from upright.contract import ResourceType

MODEL = f"{GROUP}/model"
MODEL_VERSION = f"{GROUP}/model-version"
TRAINING_JOB = f"{GROUP}/training-job"
TRAINING_JOB_UID = f"{GROUP}/training-job-uid"
RUN = f"{GROUP}/run"
DEPLOYMENT = f"{GROUP}/deployment"
DEPLOYMENT_UID = f"{GROUP}/deployment-uid"
"""Label of pods and annotation of their workload: for which Deployment they were made. A namesake's are not its own."""
REVISION = f"{GROUP}/revision"
VERIFIES = f"{GROUP}/verifies"
"""Label, "true" on serving pods of Upright's own runtime: that they are ready says that the artifact's digest is right.
An image of a user's own may not look at it."""
MANAGED_BY = "app.kubernetes.io/managed-by"
_PART_OF = "app.kubernetes.io/part-of"

LABELS = frozenset(
    (
        MANAGED_BY,
        _PART_OF,
        MODEL,
        MODEL_VERSION,
        TRAINING_JOB,
        TRAINING_JOB_UID,
        RUN,
        DEPLOYMENT,
        DEPLOYMENT_UID,
        REVISION,
        VERIFIES,
    )
)
"""Those that we give."""

RUN_REQUESTED = f"{GROUP}/run-requested"
RETRY = f"{GROUP}/retry"

RUN_RECORD = f"{GROUP}/run-record"
"""Annotation on a run's Job: why it was started and from what."""
UNKNOWN_METRICS = f"{GROUP}/unknown-metrics"
"""Annotation of a ModelVersion: the metrics that its program could not tell, with commas in between."""
UNTRIED = f"{GROUP}/untried"
"""Annotation of a ModelVersion: that the model was not tried out when it was published, and why; or that another
version of its library has made it."""
PARAMETERS = f"{GROUP}/parameters"
"""Annotation on a run's pods: its parameters, which become a file."""
TEMPLATE_DIGEST = f"{GROUP}/template-digest"
"""Annotation of the record of what a revision's pods are made of: a digest, so that comparing needs no more."""
APPLIED = f"{GROUP}/applied"
"""Annotation on what we apply: a digest of the manifest, so that a restart knows what was applied before."""
ANNOTATIONS = frozenset(
    (RUN_REQUESTED, RETRY, RUN_RECORD, UNKNOWN_METRICS, UNTRIED, PARAMETERS, TEMPLATE_DIGEST, APPLIED, DEPLOYMENT_UID)
)
"""Those that anybody reads."""

TRAINING_JOBS = ResourceType(GROUP, "v1alpha1", "trainingjobs", "TrainingJob")
MODEL_VERSIONS = ResourceType(GROUP, "v1alpha1", "modelversions", "ModelVersion")
DEPLOYMENTS = ResourceType(GROUP, "v1alpha1", "deployments", "Deployment")
COMPARISONS = ResourceType(GROUP, "v1alpha1", "comparisons", "Comparison")
JOBS = ResourceType("batch", "v1", "jobs", "Job")
PODS = ResourceType("", "v1", "pods", "Pod")
SERVICES = ResourceType("", "v1", "services", "Service")
CONFIG_MAPS = ResourceType("", "v1", "configmaps", "ConfigMap")
CLAIMS = ResourceType("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CONTROLLER_REVISIONS = ResourceType("apps", "v1", "controllerrevisions", "ControllerRevision")
EVENTS = ResourceType("", "v1", "events", "Event")
"""Of core/v1: `kubectl describe` and Argo CD sort and count by fields that events.k8s.io does not let us write."""
APPS_DEPLOYMENTS = ResourceType("apps", "v1", "deployments", "Deployment")

_LONGEST = 63


def fit(name: str, suffix: str = "") -> str:
    """`name` + `suffix` in at most 63 characters: a name too long is cut and gets a hash, so that it stays unique."""
    if len(name) + len(suffix) <= _LONGEST:
        return name + suffix
    mark = "-" + hashlib.sha256(name.encode()).hexdigest()[:6]
    return name[: _LONGEST - len(suffix) - len(mark)].rstrip("-") + mark + suffix


def object_name(deployment: str, revision: str) -> str:
    """What the workload of a revision is called, and its record."""
    return fit(deployment, f"-{revision}")


def run_name(training_job: str, number: int) -> str:
    """What the Job of a run is called, and its ModelVersion."""
    return fit(training_job, f"-{number}")


def labels(model: str, version: str | None = None) -> dict[str, str]:
    """The labels that everything Upright makes carries."""
    named = {MODEL_VERSION: version} if version else {}
    return {
        MANAGED_BY: "upright",
        _PART_OF: model,
        MODEL: model,
        **named,
    }


def owner_reference(kind: str, owner: Metadata) -> dict[str, Any]:
    """So that what is owned goes with its owner, and before it when that is deleted in the foreground."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def taken_up_by(owner: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Any]:
    """The owner references of an object that nobody controls, once this owner (as a reference) does: others stay."""
    return [*(manifest["metadata"].get("ownerReferences") or ()), owner]


def asks_for_run(training_job: str, namespace: str) -> str:
    """The command that asks a TrainingJob for a run."""
    return f"kubectl annotate --overwrite trainingjob {training_job} -n {namespace} {RUN_REQUESTED}=$(date +%s)"


FIELD_MANAGER = "upright"
"""By which the API server knows what we write."""


def controller_of(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference of the object's controller."""
    references: Sequence[Mapping[str, Any]] = manifest["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def controlled_by(manifest: Mapping[str, Any], namespace: str, uid: str) -> bool:
    """Whether the object's controller is the owner with this UID, whose namespace this is: none owns across two."""
    controller = controller_of(manifest)
    return controller is not None and (manifest["metadata"]["namespace"], controller["uid"]) == (namespace, uid)


def has_no_controller(manifest: Mapping[str, Any]) -> bool:
    """Whether nobody owns the object: it was orphaned, or restored from a backup, and may be taken up."""
    return controller_of(manifest) is None


def is_of_workload(pod: Mapping[str, Any]) -> bool:
    """Whether a pod of a Deployment is of the workload that its labels name, or of nobody: a copy of the workload under
    another name bears the same labels. A ReplicaSet is called after the apps/v1 Deployment that makes it, and after the
    hash of its template, which its pods bear.
    """
    maker, given = controller_of(pod), pod["metadata"].get("labels") or {}
    named = object_name(given.get(DEPLOYMENT, ""), given.get(REVISION, ""))
    made = ("ReplicaSet", f"{named}-{given.get('pod-template-hash')}")
    return maker is None or (maker.get("kind"), maker.get("name")) == made


def can_be_ours(manifest: Mapping[str, Any], mark: str) -> bool:
    """Whether one of ours controls the object, or nobody does and it bears this label, as all do that we make: that it
    bears the label by which we find what we made says little, for anybody may give it to as much as they like.
    """
    if controller := controller_of(manifest):
        return str(controller.get("apiVersion")).partition("/")[0] == GROUP
    return mark in (manifest["metadata"].get("labels") or {})


def is_going(manifest: Mapping[str, Any]) -> bool:
    """Whether the object is being deleted: what is made for it now would find it gone."""
    return bool(manifest["metadata"].get("deletionTimestamp"))


def short_hash(content: Any) -> str:
    """Ten hexadecimal digits that stand for a JSON value."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]
