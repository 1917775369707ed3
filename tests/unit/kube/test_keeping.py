"""What a store keeps of an object."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kube.fakes import a_service, a_toy
from upright.api import names
from upright.contract import Key
from upright.kube.keeping import (
    DEEPEST,
    LARGEST,
    MOST_LABELS,
    MOST_NOTES,
    UNUSABLE,
    kept,
    kept_name,
    kept_with_writers,
    shape,
    weight,
)
from upright.kube.objects import name_of
from upright.kube.store import Store
from upright.pods.reading import FIELDS, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def test_only_the_named_fields_are_kept_beside_who_it_is() -> None:
    pod = {
        **a_toy(),
        "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "x", "ports": [{"port": 1}]}, {"name": "b"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "message": "text"}]},
    }
    found = kept(pod, shape(["spec.containers.name", "spec.containers.ports", "status.phase", "status.qosClass"]))
    assert found["spec"] == {"containers": [{"name": "a", "ports": [{"port": 1}]}, {"name": "b"}]}
    assert found["status"] == {"phase": "Running"}
    assert found["metadata"] == pod["metadata"]
    assert (found["apiVersion"], found["kind"]) == ("upright.test/v1", "Toy")


def test_the_whole_of_a_field_comprises_its_parts_in_whatever_order_they_are_named() -> None:
    toy = a_toy(status={"phase": "Running", "more": 1})
    for paths in (["status", "status.phase"], ["status.phase", "status"]):
        assert kept(toy, shape(paths))["status"] == toy["status"]


def test_without_fields_all_is_kept_but_what_the_api_server_and_kubectl_note_for_themselves() -> None:
    toy = a_toy(status={"phase": "Running"})
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "upright.dev/retry": "1"}
    toy["metadata"] |= {"annotations": notes, "managedFields": [{"manager": "kubectl"}], "selfLink": "/x"}
    found = kept(toy, shape([]))
    assert found["status"] == {"phase": "Running"}
    assert found["metadata"]["annotations"] == {"upright.dev/retry": "1"}
    assert {"managedFields", "selfLink"}.isdisjoint(found["metadata"])
    assert len(toy["metadata"]["annotations"]) == 2, "what was given is not changed"


def test_of_annotations_that_are_many_and_long_those_are_kept_that_somebody_reads() -> None:
    toy, few = a_toy(), {"team": "growth", names.RETRY: "1", "upright.dev/else": "2"}
    toy["metadata"]["annotations"] = few | {"kubectl.kubernetes.io/last-applied-configuration": "x" * MOST_NOTES}
    assert kept(toy, shape([]))["metadata"]["annotations"] == few
    toy["metadata"]["annotations"] = few | {"note": "x" * MOST_NOTES}
    assert kept(toy, shape([]))["metadata"]["annotations"] == {names.RETRY: "1"}
    toy["metadata"]["annotations"] = few | {names.RETRY: "x" * MOST_NOTES, names.RUN_RECORD: "x" * MOST_NOTES}
    assert kept(toy, shape([]))["metadata"]["annotations"] == {}
    assert set(kept({**toy, "kind": "Job"}, shape([]))["metadata"]["annotations"]) == {names.RUN_RECORD}


def test_of_an_object_of_our_kinds_it_is_known_who_wrote_it_and_when() -> None:
    toy = a_toy()
    written = {"manager": "argocd", "operation": "Apply", "time": "2026-11-22T12:00:00Z"}
    toy["metadata"]["managedFields"] = [
        {**written, "fieldsV1": {"f:spec": {}}, "apiVersion": "upright.test/v1", "fieldsType": "FieldsV1"},
        {**written, "manager": "upright", "subresource": "status"},
    ]
    assert kept_with_writers(toy)["metadata"]["managedFields"] == [written]


def test_of_what_is_watched_by_name_nothing_else_is_kept_but_that_it_is_being_deleted() -> None:
    service = {**a_service("s", a_toy()), "data": {"secret": "x"}}
    meta = {"name": "s", "namespace": "shop"}
    assert kept_name(service) == {"apiVersion": "v1", "kind": "Service", "metadata": meta}
    service["metadata"] = {**service["metadata"], "deletionTimestamp": "2026-11-22T11:59:00Z"}
    assert kept_name(service)["metadata"] == {**meta, "deletionTimestamp": "2026-11-22T11:59:00Z"}


@given(JSON, st.lists(st.text("ab.", min_size=1, max_size=5), max_size=3))
def test_whatever_an_object_is_like_keeping_it_changes_no_value(value: Any, paths: list[str]) -> None:
    manifest = {"apiVersion": "v1", "kind": "Toy", "metadata": {"name": "x"}, "spec": value}
    assert kept(manifest, None) == manifest
    assert len(json.dumps(kept(manifest, shape(paths)))) <= len(json.dumps(manifest))


def test_of_a_pod_as_much_is_kept_as_is_read_of_it() -> None:
    """Twenty thousand of them have to fit into the memory that the chart asks for."""
    container = {
        "name": "serve",
        "image": "upright/runtime:1",
        "imageID": "sha256:1",
        "restartCount": 3,
        "ready": False,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-22T12:00:00Z"}},
        "volumeMounts": [{"name": f"v{number}", "mountPath": "/x"} for number in range(20)],
        "resources": {"requests": {"cpu": "1"}},
    }
    spec = {
        "hostNetwork": True,
        "volumes": [{"name": f"v{number}", "emptyDir": {}} for number in range(50)],
        "containers": [
            {"name": "serve", "ports": [{"name": "http", "containerPort": 8080}], "env": [{"name": "A"}] * 30}
        ],
    }
    condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-22T12:00:00Z", "lastProbeTime": None}
    pod = {
        **a_toy(spec=spec),
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "qosClass": "Burstable",
            "conditions": [condition, {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
            "containerStatuses": [container],
            "initContainerStatuses": [{**container, "name": "data"}],
        },
    }
    pod["metadata"] |= {"creationTimestamp": "2026-11-22T12:00:00Z", "labels": {"upright.dev/deployment": "churn"}}
    found = kept(pod, shape(FIELDS))
    assert read(found) == read(pod)
    assert len(json.dumps(found)) < len(json.dumps(pod)) / 3


def test_of_what_is_too_large_only_which_object_it_is_is_kept_and_that_is_found_out_quickly() -> None:
    toy = a_toy(status={"phase": "Running"})
    large: Any
    for large in ([{} for _ in range(470_000)], "x" * LARGEST, {str(n): "y" for n in range(200_000)}):
        found = kept({**toy, "spec": {"large": large}}, None)
        assert found[UNUSABLE].startswith("The object takes more than 1024 KiB, so nothing is done for it")
        assert "spec" not in found
        assert found["status"] == {"phase": "Running"}, "what we have recorded stays"
        assert name_of(found) == "bear"
        assert weight({"large": large})[0] < 2 * LARGEST + 16 * 2, "nothing is counted that need not be"
    labelled = {**toy, "metadata": {**toy["metadata"], "annotations": {"a": "x" * 2**18}}}
    assert UNUSABLE not in kept(labelled, None)


def nested(levels: int, innermost: Any = 1) -> Any:
    found = innermost
    for level in range(levels):
        found = [found] if level % 2 else {"a": found}
    return found


def test_of_what_nests_too_deep_only_which_object_it_is_is_kept() -> None:
    for levels in (DEEPEST, 10_000):
        found = kept({**a_toy(status={"phase": "Running"}), "spec": nested(levels)}, None)
        assert found[UNUSABLE].startswith("The object nests more than 100 levels deep, so nothing")
        assert "spec" not in found
        assert found["status"] == {"phase": "Running"}
    assert UNUSABLE not in kept({**a_toy(), "spec": nested(DEEPEST - 1)}, None)
    assert UNUSABLE in kept({**a_toy(), "status": nested(DEEPEST)}, None)


def test_of_what_we_made_only_what_is_read_is_weighed_and_whose_it_is_is_kept_always() -> None:
    owner = {"apiVersion": "v1", "kind": "App", "name": "a", "uid": "u", "controller": True}
    labels = {
        "app.kubernetes.io/managed-by": "upright",
        "upright.dev/model": "churn",
        "team": "x" * 60,
        "upright.dev/x": "y",
    }
    service = a_service("s") | {"spec": {"ports": [{"port": 80}], "large": "x" * LARGEST}}
    service["metadata"] |= {"labels": labels, "ownerReferences": [{**owner, "controller": False}, owner]}
    service["metadata"] |= {"managedFields": [{"fieldsV1": nested(DEEPEST)}]}
    assert UNUSABLE not in kept(service, shape(["spec.ports"]))
    service["metadata"]["annotations"] = {"a": "x" * LARGEST}
    assert UNUSABLE not in kept(service, shape(["spec.ports"]))
    service["spec"]["ports"][0]["name"] = "x" * LARGEST
    found = kept(service, shape(["spec.ports"]))
    assert UNUSABLE in found
    ours = {name: value for name, value in labels.items() if name not in ("team", "upright.dev/x")}
    assert (found["metadata"]["labels"], found["metadata"]["ownerReferences"]) == (ours, [owner])


@pytest.mark.parametrize(("more", "whole"), [(MOST_LABELS - 1, True), (MOST_LABELS, False)])
def test_of_an_object_with_very_many_labels_only_ours_are_kept(more: int, whole: bool) -> None:
    ours = {"upright.dev/model": "churn"}
    labels = ours | {f"upright.dev/x{n}": "" for n in range(more)}
    found = kept(a_service("s", labels=labels), shape(["spec.ports"]))
    assert found["metadata"]["labels"] == (labels if whole else ours)
    assert found["spec"] == {"ports": [{"port": 80}]}


@pytest.mark.parametrize("letter", ["x", "\u6f22", "\U0001f600"])
def test_what_an_object_takes_is_counted_and_stored_in_utf_8(letter: str) -> None:
    bytes_each = len(letter.encode())
    toy = {**a_toy(), "spec": {"text": letter * (LARGEST // bytes_each - 1000)}}
    store = Store()
    store.put(toy)
    assert store.get(Key("shop", "bear")) == toy
    assert len(store._objects[Key("shop", "bear")].text) < LARGEST
    assert UNUSABLE in kept({**toy, "spec": {"text": letter * (LARGEST // bytes_each + 1)}}, None)
