"""ModelVersion: what is said of it."""

from typing import Any

import pytest

from tests.unit.builders import (
    DEFAULTS,
    AWorld,
    a_deployment,
    a_model_version,
    a_pod,
    as_stored,
    exited,
)
from upright.api import names
from upright.api.model_version import ModelVersion
from upright.contract import Plan
from upright.versions.observe import Observed, observe
from upright.versions.plan import plan

CORRUPT = exited(3, '{"reason": "Corrupt", "message": "model.skops is not what it was."}')


def observed(version: ModelVersion, *pods: Any) -> Observed:
    return Observed(defaults=DEFAULTS, resource=version, pods=pods, used_by=())


def then(version: ModelVersion, made: Plan, **annotations: str) -> ModelVersion:
    stored = {**as_stored(version), "status": dict(made.status)}
    stored["metadata"] = {**stored["metadata"], "annotations": annotations}
    return ModelVersion.model_validate(stored)


def condition(made: Plan, type: str) -> Any:
    return next(one for one in made.status["conditions"] if one["type"] == type)


def test_a_new_version_is_ready_and_not_yet_verified() -> None:
    made = plan(observed(a_model_version()))
    assert made.status["phase"] == "Ready"
    assert condition(made, "Verified")["status"] == "Unknown"


def test_a_version_that_a_pod_serves_is_verified_and_stays_so() -> None:
    version = a_model_version()
    made = plan(observed(version, a_pod("one")))
    assert condition(made, "Verified")["status"] == "True"
    assert condition(plan(observed(then(version, made))), "Verified")["status"] == "True"


def test_a_version_that_a_pod_finds_corrupt_is_corrupt_and_stays_so_until_somebody_says_retry() -> None:
    version = a_model_version()
    made = plan(observed(version, a_pod("one", ready=False, containers={"serve": CORRUPT})))
    assert made.status["phase"] == "Corrupt"
    assert condition(made, "Ready")["status"] == "False"
    assert "model.skops is not what it was" in condition(made, "Stalled")["message"]
    assert [event.reason for event in made.events] == ["Corrupt"]
    later = plan(observed(then(version, made)))
    assert later.status == made.status
    assert not later.events
    retried = plan(observed(then(version, made, **{names.RETRY: "1"})))
    assert retried.status["phase"] == "Ready"


def test_another_end_of_a_pod_says_nothing_of_the_version() -> None:
    made = plan(observed(a_model_version(), a_pod("one", ready=False, containers={"serve": exited(137, "")})))
    assert made.status["phase"] == "Ready"


def test_a_format_that_is_not_allowed_cannot_be_served() -> None:
    pickled = a_model_version(artifact={"uri": "pvc://m/x", "digest": "sha256:" + "0" * 64, "format": "joblib"})
    made = plan(observed(pickled))
    assert condition(made, "Ready")["reason"] == "FormatNotAllowed"


@pytest.mark.parametrize("place", ["stable", "candidate"])
async def test_it_knows_who_serves_it(place: str) -> None:
    arm = {"modelVersion": "churn-1", "revision": "a", "since": "2026-11-22T12:00:00Z"}
    serving = as_stored(a_deployment(status={place: arm}))
    seen = await observe(as_stored(a_model_version()), AWorld((names.DEPLOYMENTS, serving)), DEFAULTS)
    assert seen.used_by == ["shop/churn"]
