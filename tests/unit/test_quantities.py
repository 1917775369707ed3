"""Quantities in what users write of containers: the schema refuses a wrong one, and so does reading what was stored."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.builders import a_deployment, a_training_job, as_stored
from upright.api import crds
from upright.api.quantities import QUANTITY
from upright.kube.conditions import invalid

WRITTEN = ["two", "1 Gi", "4gb", "-1", "1.5.5", "", "2ki", "1e", "0x10"]
RIGHT = ["500m", "2", "4Gi", "0.5", ".5", "1.", "+1", "1e3", "5E", "12E-1", "100n", "3k"]
PATHS = [
    "resources.limits.cpu",
    "resources.requests.example.com/gpu",
    "pod.overhead.memory",
    "pod.resources.requests.cpu",
    "pod.containers[0].resources.limits.cpu",
    "pod.initContainers[0].resources.requests.cpu",
    "pod.volumes[0].emptyDir.sizeLimit",
]


def parts(path: str) -> list[str]:
    return [part for part in re.split(r"\.(?!com/)|\[0", path) if part]


def with_one(path: str, value: object) -> Any:
    """What holds the value at a path, `a.b[0].c`."""
    for part in reversed(parts(path)):
        value = [{"name": "one", **value}] if part == "]" and isinstance(value, dict) else {part: value}
    return value


@pytest.mark.parametrize("text", WRITTEN)
def test_what_is_no_quantity_is_refused_by_the_schema(text: str) -> None:
    assert not re.search(QUANTITY["pattern"], text)


@pytest.mark.parametrize("text", RIGHT)
def test_a_quantity_is_taken_as_kubernetes_takes_it(text: str) -> None:
    assert re.search(QUANTITY["pattern"], text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("kind", "part"), [("trainingjobs", "train"), ("deployments", "serving")])
def test_every_quantity_is_one_for_the_schema(kind: str, part: str, path: str) -> None:
    [version] = crds.manifests()[f"{kind}.yaml"]["spec"]["versions"]
    node = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][part]
    for name in parts(path):
        node = node["items"] if name == "]" else node.get("properties", {}).get(name) or node["additionalProperties"]
    assert node["pattern"] == QUANTITY["pattern"]
    assert node["minimum"] == 0
    assert "type" not in node, "a number such as cpu: 0.5 is right, too"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", ["two", -1, True, {}, []])
@pytest.mark.parametrize("build", [lambda it: a_training_job(train=it), lambda it: a_deployment(serving=it)])
def test_one_that_was_stored_before_is_told_with_its_field(build: Any, path: str, value: object) -> None:
    right = build({"command": ["python"], **with_one(path, 0.5)})
    stored = as_stored(right)
    with pytest.raises(ValidationError) as caught:
        build({"command": ["python"], **with_one(path, value)})
    part = "train" if stored["kind"] == "TrainingJob" else "serving"
    message = next(one["message"] for one in invalid(stored, caught.value)["conditions"] if one["type"] == "Stalled")
    assert message == (f"spec.{part}.{path}: must be a quantity such as 500m, 2 or 4Gi, and is {value!r}")


def test_what_was_written_stays_as_it_was() -> None:
    """A template of pods is made of it, which an upgrade must not change."""
    resources = {"claims": [{"name": "gpu"}], "limits": {"memory": "1Gi", "cpu": 0.5}, "requests": None}
    pod = {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}}], "nodeSelector": {"a": "b"}}
    made = a_deployment(serving={"resources": resources, "pod": pod})
    assert list(made.spec.serving.resources) == ["claims", "limits", "requests"]
    assert (made.spec.serving.resources, made.spec.serving.pod) == (resources, pod)


@pytest.mark.parametrize("end", ["", "x"])
def test_a_text_without_end_costs_what_its_length_does(end: str) -> None:
    """One tenant's would else keep the operator from everybody's objects: for minutes, in one match."""
    digits = "1" * 200_000 + end
    found = re.search(QUANTITY["pattern"], digits)
    assert bool(found) is not bool(end)
    with pytest.raises(ValidationError, match="must be a quantity"):
        a_deployment(serving={"pod": with_one("containers[0].resources.limits.cpu", digits)})


def test_under_other_names_than_kubernetes_has_nothing_is_looked_at() -> None:
    a_deployment(serving={"pod": {"init_containers": [{"resources": {"limits": {"cpu": "two"}}}]}})


def test_what_kubernetes_takes_may_have_been_stored_before_and_is_read() -> None:
    a_deployment(serving={"resources": {"requests": {"cpu": " 1 "}}})
