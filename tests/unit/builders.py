"""Objects for tests: each builder gives a whole one, and a test names only what it is about."""

from collections.abc import Container, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from upright.api import names
from upright.api.common import API_VERSION
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.api.training_job import TrainingJob
from upright.contract import ALWAYS, Index, Key, Manifest, ResourceType
from upright.defaults import Defaults

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DEFAULTS = Defaults(runtime_image="upright/runtime:1", store="pvc://models", allowed_formats=("skops",))
DIGEST = "sha256:" + "ab" * 32


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "creationTimestamp": "2026-11-22T11:00:00Z",
        **more,
    }


def a_training_job(
    name: str = "churn",
    *,
    annotations: Mapping[str, str] | None = None,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> TrainingJob:
    return TrainingJob.model_validate(
        {
            "metadata": metadata(name, annotations=annotations or {}),
            "spec": {"train": {"command": ["python", "train.py"]}, **spec},
            "status": status or {},
        }
    )


def a_model_version(name: str = "churn-1", *, phase: str = "Ready", ready: bool = True, **spec: Any) -> ModelVersion:
    number = int(name.rpartition("-")[2])
    return ModelVersion.model_validate(
        {
            "metadata": metadata(name),
            "spec": {
                "model": "churn",
                "number": number,
                "artifact": {"uri": f"pvc://models/churn/sha256-{number}", "digest": DIGEST, "format": "skops"},
                **spec,
            },
            "status": {
                "phase": phase,
                "conditions": [
                    {
                        "type": "Ready",
                        "status": "True" if ready else "False",
                        "reason": phase,
                        "message": f"It is {phase}.",
                    }
                ],
            },
        }
    )


def a_deployment(
    model_version: str | None = "churn-1",
    *,
    name: str = "churn",
    annotations: Mapping[str, str] | None = None,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Deployment:
    named = {"modelVersion": model_version} if model_version else {}
    return Deployment.model_validate(
        {
            "metadata": metadata(name, annotations=annotations or {}),
            "spec": {**named, **spec},
            "status": status or {},
        }
    )


def a_pod(
    name: str,
    *,
    ready: bool = True,
    labels: Mapping[str, str] | None = None,
    containers: Mapping[str, Mapping[str, Any]] | None = None,
    **status: Any,
) -> Manifest:
    """`containers`: by name, the `state` of each."""
    return {
        "metadata": metadata(name, labels=dict(labels or {})),
        "spec": {"containers": [{"name": "serve", "ports": [{"name": "http", "containerPort": 3000}]}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [
                {"name": container, "image": "some/image:1", "imageID": "some/image@sha256:1", "state": state}
                for container, state in (containers or {}).items()
            ],
            **status,
        },
    }


def exited(code: int, message: str = "", reason: str = "Error") -> Mapping[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def waiting(reason: str, message: str = "") -> Mapping[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def after(**time: float) -> datetime:
    return NOW + timedelta(**time)


class AWorld:
    """A cluster that holds just these objects."""

    def __init__(self, *manifests: tuple[ResourceType, Manifest], now: datetime = NOW, told: Any = ()) -> None:
        self.now = now
        self._manifests = manifests
        self._told = told

    def watched_since(self, namespace: str) -> datetime:
        return ALWAYS

    def all(self, type: ResourceType, namespace: str) -> list[Manifest]:
        return [one for of, one in self._manifests if of == type and one["metadata"]["namespace"] == namespace]

    def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return next((one for one in self.all(type, namespace) if one["metadata"]["name"] == name), None)

    def has(self, type: ResourceType, namespace: str, name: str) -> bool:
        return self.get(type, namespace, name) is not None

    def owned(self, type: ResourceType, namespace: str, owner_uid: str) -> list[Manifest]:
        return [one for of, one in self._manifests if of == type and names.controlled_by(one, namespace, owner_uid)]

    def indexed(self, index: Index, namespace: str, value: str) -> list[Any]:
        return [index.reads(one) if index.reads else one for one in self._found(index, namespace, value)]

    def named(self, index: Index, namespace: str, value: str) -> list[Key]:
        return [Key(namespace, one["metadata"]["name"]) for one in self._found(index, namespace, value)]

    def _found(self, index: Index, namespace: str, value: str) -> list[Manifest]:
        found = [one for one in self.all(index.type, namespace) if value in index.values(one)]
        return sorted(found, key=lambda one: (index.order(one), one["metadata"]["name"]))

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return self.get(type, namespace, name)

    async def fetch_owned(
        self, type: ResourceType, namespace: str, owner_uid: str, label: str, value: str
    ) -> list[Manifest]:
        owned = AWorld.owned(self, type, namespace, owner_uid)
        return [one for one in owned if one["metadata"].get("labels", {}).get(label) == value]

    async def warnings(self, namespace: str, uids: Container[str]) -> list[Manifest] | None:
        return [event for event in self._told if event["involvedObject"]["uid"] in uids]


def as_stored(resource: TrainingJob | ModelVersion | Deployment) -> Manifest:
    """As the API server would hand it out."""
    kind = type(resource).__name__
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        **resource.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
