"""Over gRPC pods are reached for as long as any answers there, whatever a spec says that has not gone out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import NOW, a_pod, as_stored
from tests.unit.rollout.world import (
    NEW_REVISION,
    OLD_REVISION,
    both,
    condition,
    in_canary,
    observed,
    pods,
    serving_old,
    the_services,
)
from upright.api.deployment import Deployment
from upright.contract import Manifest
from upright.pods.reading import Pod, read
from upright.rollout.plan import plan

HTTP, GRPC = {"name": "http", "containerPort": 3000}, {"name": "grpc", "containerPort": 9000}
REJECTED = {"modelVersion": "churn-2", "revision": NEW_REVISION, "at": NOW.isoformat(), "message": "It was bad."}


def with_grpc(resource: Deployment) -> Deployment:
    stored = as_stored(resource)
    return Deployment.model_validate(
        {**stored, "spec": {**stored["spec"], "serving": {**stored["spec"].get("serving", {}), "grpc": True}}}
    )


def ports(made: Sequence[Manifest]) -> list[list[str]]:
    return [[port["name"] for port in service["spec"]["ports"]] for service in made]


def answering_over_grpc() -> list[Pod]:
    return [replace(pod, grpc=True) for pod in pods(OLD_REVISION, 3)]


@pytest.mark.parametrize(
    "resource",
    [serving_old(), serving_old(paused=True), in_canary(), serving_old(status={"rejected": [REJECTED]})],
    ids=["goes out", "paused", "in a step", "rejected"],
)
def test_a_version_without_grpc_takes_it_from_nobody_before_the_last_pod_that_has_it_is_gone(
    resource: Deployment,
) -> None:
    before = the_services(with_grpc(resource), OLD_REVISION, None)
    there = observed(resource, services=before, pods={**both(), OLD_REVISION: answering_over_grpc()})
    assert ports(plan(there).apply) == [["http", "grpc"]] * 3
    assert ports(plan(replace(there, pods=both())).apply) == [["http"]] * 3


def test_a_service_gets_a_port_for_grpc_by_the_spec_alone() -> None:
    there = observed(serving_old(), pods={**both(), OLD_REVISION: answering_over_grpc()})
    assert ports(plan(there).apply) == [["http"]] * 3
    assert ports(plan(replace(there, resource=with_grpc(there.resource))).apply) == [["http", "grpc"]] * 3


@pytest.mark.parametrize(
    ("declared", "answers"),
    [
        ([HTTP, GRPC], True),
        ([HTTP], False),
        ([HTTP, {**GRPC, "containerPort": 8500}], False),
        ([HTTP, {**GRPC, "name": ""}], False),
    ],
)
def test_a_pod_answers_over_grpc_where_pods_of_ours_do(declared: list[Any], answers: bool) -> None:
    manifest = a_pod("churn-1-0")
    manifest["spec"]["containers"][0]["ports"] = declared
    assert read(manifest).grpc is answers


def test_pods_that_are_away_for_a_moment_cost_no_port_and_let_no_version_out() -> None:
    """A drain of the node, an eviction, or no replicas at all: they answer over gRPC when they come again."""
    resource = in_canary()
    led = the_services(with_grpc(resource), OLD_REVISION, NEW_REVISION)
    there = observed(resource, services=led, pods={NEW_REVISION: pods(NEW_REVISION, 1)})
    assert ports(plan(there).apply) == [["http", "grpc"]] * 3
    edited = serving_old(replicas=0, serving={"queue": 128})
    before = observed(edited, services=the_services(with_grpc(resource), OLD_REVISION, None), pods={})
    assert condition(plan(before), "Stalled")["reason"] == "ContractChanged"


def test_a_service_that_was_gone_is_made_again_with_its_port() -> None:
    led = the_services(with_grpc(serving_old()), OLD_REVISION, None)
    del led["churn"]
    there = observed(serving_old(), services=led, pods={**both(), OLD_REVISION: answering_over_grpc()})
    assert ports(plan(there).apply) == [["http", "grpc"]] * 3
