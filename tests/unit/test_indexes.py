"""What is found without looking at all objects."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import AWorld, a_deployment, a_model_version, as_stored
from upright.api import names
from upright.api.indexes import (
    DEPLOYMENTS_BY_MODEL,
    DEPLOYMENTS_BY_VERSION,
    VERSIONS_BY_CLAIM,
    VERSIONS_BY_LINE,
    VERSIONS_BY_MODEL,
    VERSIONS_BY_NAME,
    VERSIONS_BY_SERVED,
    claim_of,
    held,
    model_followed,
    newest_first,
    said_of_versions,
    versions_named,
)
from upright.contract import Index, Manifest
from upright.kube.store import Store
from upright.training.inputs import VERSIONS, VERSIONS_BY_INPUTS
from upright.training.observe import made_by as run_made_by
from upright.training.record import RUNS

SINCE = "2026-11-22T12:00:00Z"
INDEXES = (
    DEPLOYMENTS_BY_VERSION,
    DEPLOYMENTS_BY_MODEL,
    VERSIONS_BY_MODEL,
    VERSIONS_BY_LINE,
    VERSIONS_BY_CLAIM,
    VERSIONS_BY_NAME,
    VERSIONS_BY_SERVED,
    VERSIONS,
    VERSIONS_BY_INPUTS,
)


def arm(version: str) -> dict[str, Any]:
    return {"modelVersion": version, "revision": f"r-{version}", "since": SINCE}


def test_a_deployment_is_found_by_every_version_that_it_has_to_do_with() -> None:
    rejected = [
        {"modelVersion": name, "revision": "r", "at": SINCE, "message": "No."} for name in ("churn-4", "churn-3")
    ]
    status = {"stable": arm("churn-2"), "candidate": arm("churn-3"), "rejected": rejected}
    deployment = as_stored(a_deployment("churn-1", status=status))
    assert list(versions_named(deployment)) == ["churn-1", "churn-2", "churn-3", "churn-4"]
    world = AWorld((names.DEPLOYMENTS, deployment))
    for name in ("churn-1", "churn-2", "churn-3", "churn-4"):
        assert world.indexed(DEPLOYMENTS_BY_VERSION, "shop", name) == [deployment]
    assert not world.indexed(DEPLOYMENTS_BY_VERSION, "shop", "churn-5")


def test_a_deployment_is_found_by_the_model_that_it_follows() -> None:
    assert list(model_followed(as_stored(a_deployment(None, latest={"model": "churn"})))) == ["churn"]
    assert not list(model_followed(as_stored(a_deployment())))


TRAINED = {"trainingJob": {"name": "churn", "uid": "uid", "run": 3, "trigger": "Created"}}


def made_by(job: str | None, number: int, minutes: int) -> Manifest:
    """A version of a TrainingJob, or of none, that was made when a clock showed so many minutes."""
    trained = {"trainingJob": {"name": "churn", "uid": job, "run": number, "trigger": "Created"}}
    version = a_model_version(
        f"{job or 'imported'}-{number}",
        producedAt=datetime(2026, 11, 22, 12, tzinfo=UTC) + timedelta(minutes=minutes),
        lineage=trained if job else None,
    )
    stored = as_stored(version)
    return {**stored, "metadata": {**stored["metadata"], "creationTimestamp": "2026-11-23T00:00:00Z"}}


def in_order(*versions: Manifest) -> list[tuple[str, datetime]]:
    world = AWorld(*((names.MODEL_VERSIONS, version) for version in versions))
    return [(one.name, at) for one, at in newest_first(world, "shop", "churn")]


def test_the_versions_of_a_model_come_in_the_order_in_which_they_were_made_the_newest_first() -> None:
    def version(name: str, **more: Any) -> Manifest:
        return as_stored(a_model_version(name, **more))

    found = in_order(
        version("other-1", model="other"),
        version("churn-9", producedAt="2026-11-20T00:00:00Z"),
        version("churn-3"),
        version("churn-2"),
        version("churn-8", phase="Corrupt", producedAt="2026-11-22T12:00:00Z"),
        version("churn-1", producedAt="2026-11-22T11:00:01+01:00"),
    )
    assert [name for name, _ in found] == ["churn-8", "churn-3", "churn-2", "churn-1", "churn-9"]


def test_a_version_that_claims_to_be_of_the_future_is_as_new_as_its_object() -> None:
    """Else no version that comes after it would be followed until then."""
    laptop = as_stored(a_model_version("laptop-1", producedAt="2036-11-22T12:00:00Z"))
    later = as_stored(a_model_version("churn-2", producedAt="2026-11-22T11:30:00Z"))
    later = {**later, "metadata": {**later["metadata"], "creationTimestamp": "2026-11-22T11:30:01Z"}}
    assert [name for name, _ in in_order(laptop, later)] == ["churn-2", "laptop-1"]
    told = as_stored(a_model_version("churn-3", producedAt="2036-11-22T12:00:00Z", lineage=TRAINED))
    run = run_made_by(told)
    assert run is not None
    assert run.finished_at == datetime(2026, 11, 22, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("versions", "order"),
    [
        ([("a", 1, 60), ("a", 2, 30)], "a-2 a-1"),  # the first one's node is ahead
        ([("a", 1, 0), ("a", 2, -30), ("a", 3, 1)], "a-3 a-2 a-1"),  # the second one's is behind
        ([("a", 1, 60), ("a", 2, 30), ("b", 1, 50)], "a-2 a-1 b-1"),  # without a circle
        ([("a", 1, 60), ("a", 2, 30), ("b", 1, 70)], "b-1 a-2 a-1"),
        ([("a", 5, 0), ("b", 1, 1), ("a", 6, 2)], "a-6 b-1 a-5"),  # numbers of two TrainingJobs
        ([(None, 1, 2), (None, 2, 1)], "imported-1 imported-2"),
    ],
)
def test_of_the_versions_of_one_training_job_the_number_tells_which_is_newer(versions: Any, order: str) -> None:
    assert [name for name, _ in in_order(*(made_by(*version) for version in versions))] == order.split()


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", None]), st.integers(1, 9), st.integers(0, 9)),
        unique_by=lambda one: one[:2],
        max_size=12,
    )
)
def test_there_is_one_order_for_all_versions_of_a_model(versions: list[tuple[str | None, int, int]]) -> None:
    stored = {as_stored["metadata"]["name"]: (one, as_stored) for one in versions for as_stored in [made_by(*one)]}
    found = in_order(*(version for _, version in stored.values()))
    assert sorted(name for name, _ in found) == sorted(stored)
    for name, at in found:  # as new as the newest that its TrainingJob had made by then
        job, number, minutes = stored[name][0]
        before = [each[2] for each in versions if job and each[0] == job and each[1] < number]
        assert at == datetime(2026, 11, 22, 12, max(minutes, *before, 0), tzinfo=UTC)
    assert [at for _, at in found] == sorted((at for _, at in found), reverse=True)
    for job in ("a", "b"):
        numbers = [stored[name][0][1] for name, _ in found if stored[name][0][0] == job]
        assert numbers == sorted(numbers, reverse=True)


def test_the_newest_are_read_whatever_there_is_below_them() -> None:
    class Reading(AWorld):
        read = 0

        def indexed(self, index: Index, namespace: str, value: str) -> list[Any]:
            found = super().indexed(index, namespace, value)

            class Counted(list[Any]):
                def __reversed__(self) -> Iterator[Any]:
                    for one in found[::-1]:
                        Reading.read += 1
                        yield one

            return Counted(found)

    world = Reading(*((names.MODEL_VERSIONS, made_by("a", number, number)) for number in range(1, 50)))
    walk = newest_first(world, "shop", "churn")
    assert [next(walk)[0].name, next(walk)[0].name] == ["a-49", "a-48"]
    assert Reading.read == 4


@pytest.mark.parametrize("phase", ["Missing", "Ready", None])
def test_a_version_is_found_by_the_claim_that_holds_its_artifact(phase: str | None) -> None:
    version = {**as_stored(a_model_version()), "status": {"phase": phase} if phase else {}}
    assert list(claim_of(version)) == [held("models", missing=phase == "Missing")]


FIELDS = (
    *("metadata", "spec", "status", "stable", "candidate", "rejected", "modelVersion", "latest", "model", "phase"),
    *("number", "producedAt", "creationTimestamp", "artifact", "uri", "lineage", "trainingJob", "uid"),
    *("labels", names.TRAINING_JOB, "inputs", "data", "code", "digest", "verdicts", "deployment", "at"),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner | st.just("Ready"),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: index.name)
@given(parts=st.fixed_dictionaries({"metadata": ANYTHING, "spec": ANYTHING, "status": ANYTHING}), other=ANYTHING)
def test_whatever_lies_in_the_store_no_index_fails(index: Any, parts: Manifest, other: Any) -> None:
    assert all(isinstance(value, str) for value in index.values(parts))
    if index in (VERSIONS_BY_MODEL, VERSIONS_BY_LINE, VERSIONS_BY_SERVED):
        assert sorted([index.order(parts), index.order({**parts, "spec": other})])
        assert index.reads(parts)


@pytest.mark.parametrize("place", ["stable", "candidate", "standIn"])
def test_that_a_deployment_serves_a_version_no_more_is_news_for_it(place: str) -> None:
    arm = {"modelVersion": "a-1", "revision": "r", "since": "2026-11-22T12:00:00Z"}
    serving = as_stored(a_deployment("a-1", status={place: arm}))
    assert said_of_versions(serving) != said_of_versions({**serving, "status": {}})


def test_a_job_is_read_once_and_without_what_users_have_written_on_it() -> None:
    big = {f"example.com/note-{number}": "x" * 4000 for number in range(60)}
    labels = {names.MANAGED_BY: "upright", names.TRAINING_JOB: "churn", names.RUN: "1"}
    metadata = {"name": "churn-1", "namespace": "shop", "uid": "u", "resourceVersion": "1", "labels": labels}
    template = {"metadata": {"annotations": {**big, names.PARAMETERS: "{}"}}}
    store = Store(indexes=[RUNS])
    store.put(
        {"metadata": {**metadata, "annotations": {**big, names.RUN_RECORD: "{}"}}, "spec": {"template": template}}
    )
    [found], [again] = store.indexed(RUNS, "shop", "churn"), store.indexed(RUNS, "shop", "churn")
    assert found is again
    assert found["metadata"] == {**metadata, "annotations": {names.RUN_RECORD: "{}"}}
    assert found["spec"] == {"template": {"metadata": {"annotations": {names.PARAMETERS: "{}"}}}}
