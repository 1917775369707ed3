"""What is found without looking at all objects."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import AWorld, a_deployment, a_model_version, as_stored
from upright.api import names
from upright.api.indexes import (
    DEPLOYMENTS_BY_MODEL,
    DEPLOYMENTS_BY_VERSION,
    READY_VERSIONS_BY_MODEL,
    VERSIONS_BY_CLAIM,
    claim_of,
    made,
    model_followed,
    versions_named,
)
from upright.api.model_version import ModelVersion
from upright.contract import Manifest

SINCE = "2026-11-22T12:00:00Z"
INDEXES = (DEPLOYMENTS_BY_VERSION, DEPLOYMENTS_BY_MODEL, READY_VERSIONS_BY_MODEL, VERSIONS_BY_CLAIM)


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


def test_the_ready_versions_of_a_model_come_in_the_order_in_which_they_were_made() -> None:
    def version(name: str, **more: Any) -> Manifest:
        return as_stored(a_model_version(name, **more))

    found = AWorld(
        (names.MODEL_VERSIONS, version("other-1", model="other")),
        (names.MODEL_VERSIONS, version("churn-9", producedAt="2026-11-20T00:00:00Z")),
        (names.MODEL_VERSIONS, version("churn-3")),
        (names.MODEL_VERSIONS, version("churn-2")),
        (names.MODEL_VERSIONS, version("churn-8", phase="Corrupt")),
        (names.MODEL_VERSIONS, version("churn-1", producedAt="2026-11-22T11:00:01+01:00")),
    ).indexed(READY_VERSIONS_BY_MODEL, "shop", "churn")
    assert [one["metadata"]["name"] for one in found] == ["churn-9", "churn-1", "churn-2", "churn-3"]


def test_a_version_is_found_by_the_claim_that_holds_its_artifact() -> None:
    assert list(claim_of(as_stored(a_model_version()))) == ["models"]


@given(
    produced=st.none() | st.datetimes(timezones=st.timezones() | st.just(UTC), allow_imaginary=False),
    number=st.integers(1, 2**31),
)
def test_a_manifest_is_as_new_as_the_version_that_it_is_read_as(produced: datetime | None, number: int) -> None:
    version = a_model_version(producedAt=produced, number=number)
    assert made(as_stored(version)) == ModelVersion.model_validate(as_stored(version)).made


FIELDS = (
    *("metadata", "spec", "status", "stable", "candidate", "rejected", "modelVersion", "latest", "model", "phase"),
    *("number", "producedAt", "creationTimestamp", "artifact", "uri"),
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
    if index is READY_VERSIONS_BY_MODEL:
        assert sorted([index.order(parts), index.order({**parts, "spec": other})])
