"""Objects as users write them, short enough to show only what a test is about, and what their status says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.cluster.shell import wait_until
from tests.installed import ROOT, Object, Workspace
from upright.pods.build import CONTAINER_SECURITY, POD_SECURITY

ANSWERS = """
from sklearn.dummy import DummyClassifier
from upright.runtime import sdk
answer = sdk.parameters()["answer"]
sdk.save(DummyClassifier(strategy="constant", constant=answer).fit([[0.0]], [answer]))
"""
"""A training program that is quick: its model answers the parameter `answer`, whatever it is asked."""


def a_training_job(name: str, program: str = ANSWERS, **spec: Any) -> Object:
    """Runs a program once: what fails is not tried again."""
    train = {"command": ["python", "-c", program], **spec.pop("train", {})}
    return {
        "apiVersion": "upright.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name},
        "spec": {
            "parameters": {"answer": 1},
            "retries": 0,
            "output": {"store": "pvc://models"},
            "train": train,
            **spec,
        },
    }


def a_churn_training_job(name: str, **parameters: Any) -> Object:
    """The example's, which trains versions of the model churn."""
    example: Object = yaml.safe_load((ROOT / "examples" / "churn" / "training-job.yaml").read_text())
    example["metadata"]["name"] = name
    example["spec"]["parameters"].update(parameters)
    return example


def a_deployment(name: str, version: str, **spec: Any) -> Object:
    """One pod, and looks as often as can be."""
    return {
        "apiVersion": "upright.dev/v1alpha1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"modelVersion": version, "replicas": 1, "monitoring": {"interval": "1s"}, **spec},
    }


def a_claim(name: str = "models", storage_class: str | None = None, size: str = "1Gi") -> Object:
    """A store."""
    chosen = {"storageClassName": storage_class} if storage_class else {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **chosen},
    }


def condition(resource: Object, type: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; `Absent` when it is not there."""
    for one in resource.get("status", {}).get("conditions", []):
        if one["type"] == type:
            return one["status"], one["reason"], one["message"]
    return "Absent", "", ""


def stalled(resource: Object, reason: str) -> bool:
    """Whether it says that it goes no further without help, for this reason."""
    return condition(resource, "Stalled")[:2] == ("True", reason)


def stable(deployment: Object) -> str | None:
    """The version in production."""
    version: str | None = deployment.get("status", {}).get("stable", {}).get("modelVersion")
    return version


def serves(deployment: Object, version: str) -> bool:
    """Whether a version has all traffic."""
    return stable(deployment) == version and "candidate" not in deployment["status"]


def warnings(place: Workspace, name: str) -> set[str]:
    """The reasons of the Warning events of an object of ours."""
    return {
        event["reason"]
        for event in place.events(name)
        if event["type"] == "Warning" and event["involvedObject"]["apiVersion"].startswith("upright.dev/")
    }


def warned(place: Workspace, name: str, reason: str) -> None:
    """Wait for a Warning event: it comes after the status that it is about."""
    wait_until(
        lambda: reason in warnings(place, name),
        10,
        lambda: f"{name}: no event {reason}: {place.events(name)}",
        every=0.5,
    )


def ask(place: Workspace, service: str, model: str) -> Any:
    """What the model answers through its Service."""
    path = f"/api/v1/namespaces/{place.namespace}/services/{service}:80/proxy/v1/models/{model}:predict"
    said = place.kubectl("create", "--raw", path, "-f", "-", input=json.dumps({"instances": [[0.0]]}))
    return json.loads(said)["predictions"]


@contextmanager
def deployed(place: Workspace, name: str, version: str, **spec: Any) -> Iterator[None]:
    """A version in production while the context lasts."""
    place.apply(a_deployment(name, version, **spec))
    try:
        place.until("mdep", name, lambda one: serves(one, version), f"{version} in production")
        yield
    finally:
        place.kubectl("delete", "mdep", name, "--ignore-not-found")


def a_program(name: str, image: str, program: str, *arguments: str, claim: str) -> Object:
    """A pod that runs a program of Python with a store at /store."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": dict(POD_SECURITY),
            "containers": [
                {
                    "name": "program",
                    "image": image,
                    "command": ["python", "-c", program, *arguments],
                    "securityContext": dict(CONTAINER_SECURITY),
                    "volumeMounts": [{"name": "store", "mountPath": "/store"}],
                }
            ],
            "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }
