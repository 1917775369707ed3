"""Clients over gRPC keep what they have for as long as a version that answers them serves."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import as_stored
from tests.unit.rollout.world import (
    NEW,
    OLD,
    condition,
    observed,
    pods,
    serving_old,
    stalled,
    the_services,
    the_workload,
    then,
)
from upright.api.deployment import Deployment, Serving
from upright.contract import Plan
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.revision import revision

WITH = Serving(grpc=True)
SERVES = revision(OLD, WITH)
OTHER = Serving(queue=128)
BOTH = {name: ["http", "grpc"] for name in ("churn", "churn-stable", "churn-canary")}


def test_a_spec_that_turns_grpc_off_is_held_and_the_services_keep_the_port() -> None:
    made = plan(before := _edited())
    assert made.status["phase"] == "Paused"
    assert condition(made, "Stalled")["reason"] == "ContractChanged"
    said = stalled(made) or ""
    assert "Clients of churn-1 may fail with churn-2: it does not answer over gRPC any more, as" in said
    assert _ports(made) == BOTH
    [told] = plan(then(before, made, workloads=before.workloads)).events
    assert "set spec.serving.grpc to true again" in told.message


def test_where_only_serving_changes_the_message_says_so() -> None:
    held = stalled(plan(_edited(wanted=OLD, modelVersion="churn-1"))) or ""
    assert "may fail with what spec.serving makes of churn-1 now: it does not answer over gRPC" in held


@pytest.mark.parametrize("why", ["paused", "rejected"])
def test_a_version_that_does_not_go_out_takes_grpc_from_none_that_serves(why: str) -> None:
    bad = {"modelVersion": "churn-2", "revision": revision(NEW, OTHER), "at": "2026-11-22T11:00:00Z", "message": "Bad."}
    more: dict[str, Any] = {"paused": True} if why == "paused" else {"status": {"rejected": [bad]}}
    assert _ports(plan(_edited(contract="Any", **more))) == BOTH


def test_the_port_is_there_until_the_last_version_that_answers_there_has_gone() -> None:
    begun = plan(before := _edited(contract="Any"))
    assert begun.status["candidate"]["modelVersion"] == "churn-2"
    assert _ports(begun)["churn"] == ["http", "grpc"]
    after = then(before, begun, workloads=before.workloads)
    alone = {"modelVersion": "churn-2", "revision": revision(NEW, OTHER), "since": "2026-11-22T11:00:00Z"}
    stored = as_stored(after.resource)
    status = {key: value for key, value in stored["status"].items() if key != "candidate"}
    resource = Deployment.model_validate({**stored, "status": {**status, "stable": alone}})
    new = {revision(NEW, OTHER): the_workload(resource, NEW, revision(NEW, OTHER), 3)}
    promoted = replace(
        after,
        resource=resource,
        workloads={**before.workloads, **new},
        pods={revision(NEW, OTHER): pods(revision(NEW, OTHER), 3)},
    )
    assert _ports(plan(promoted)) == {name: ["http"] for name in BOTH}


def _edited(contract: str = "Compatible", **spec: Any) -> Observed:
    """churn-1 was made with gRPC, and serves; the spec wants another version, or other serving, without it."""
    wanted = spec.pop("wanted", NEW)
    resource = serving_old(stable={"revision": SERVES}, serving={"queue": 128}, rollout={"contract": contract}, **spec)
    if name := spec.get("modelVersion"):
        stored = as_stored(resource)
        resource = Deployment.model_validate({**stored, "spec": {**stored["spec"], "modelVersion": name}})
    made = resource.model_copy(update={"spec": resource.spec.model_copy(update={"serving": WITH})})
    return observed(
        resource,
        wanted,
        workloads={SERVES: the_workload(made, OLD, SERVES, 3)},
        pods={SERVES: [replace(pod, grpc=True) for pod in pods(SERVES, 3)]},
        services=the_services(made, SERVES, None),
    )


def _ports(made: Plan) -> dict[str, list[str]]:
    return {one["metadata"]["name"]: [port["name"] for port in one["spec"]["ports"]] for one in made.apply}
