"""A version without gRPC is held where clients of the one that serves may need it."""

from dataclasses import replace
from typing import Any

from tests.unit.rollout.world import (
    NEW,
    OLD,
    OLD_REVISION,
    condition,
    observed,
    pods,
    serving_old,
    stalled,
    the_services,
    then,
)
from upright.api.model_version import ModelVersion
from upright.rollout.observe import Observed
from upright.rollout.plan import plan


def test_a_version_that_takes_grpc_from_clients_is_held_and_told_how_it_goes_out() -> None:
    made = plan(before := _edited())
    assert "candidate" not in made.status
    assert condition(made, "Stalled")["reason"] == "ContractChanged"
    assert "Clients of churn-1 may fail with churn-2: it does not answer over gRPC any more" in (stalled(made) or "")
    [told] = plan(then(before, made)).events
    assert "set spec.serving.grpc to true again" in told.message


def test_where_only_serving_changes_the_message_says_so() -> None:
    held = stalled(plan(_edited(OLD))) or ""
    assert "may fail with what spec.serving makes of churn-1 now: it does not answer over gRPC" in held


def test_that_the_stable_version_is_deleted_lets_nothing_out() -> None:
    assert condition(plan(replace(_edited(), versions={"churn-2": NEW})), "Stalled")["reason"] == "ContractChanged"


def test_it_goes_out_where_grpc_stays_or_nobody_has_it_or_the_contract_may_change() -> None:
    edited = _edited()
    lets = (
        replace(edited, pods={OLD_REVISION: pods(OLD_REVISION, 3)}),
        replace(edited, services=the_services(edited.resource, OLD_REVISION, None)),  # a port of an image of one's own
        _edited(serving={"grpc": True}),
        _edited(rollout={"contract": "Any"}),
    )
    for let in lets:
        assert plan(let).status["candidate"]["modelVersion"] == "churn-2"


def test_nothing_is_held_for_grpc_that_the_stable_version_never_had_also_while_it_has_no_pods() -> None:
    """It was tried with another version, and taken back: churn-1 is made of what the spec says by now."""
    resource = serving_old()
    led = the_services(serving_old(serving={"grpc": True}), OLD_REVISION, None)
    without = observed(resource, services=led, pods={OLD_REVISION: []})  # a quota keeps them away
    assert plan(without).status["candidate"]["modelVersion"] == "churn-2"
    asleep = plan(observed(serving_old(replicas=0), services=led, pods={}))
    assert condition(asleep, "Ready")["reason"] == "ScaledToZero"


def _edited(wanted: ModelVersion = NEW, **spec: Any) -> Observed:
    """Pods of churn-1 answer over gRPC, and the spec does not ask for it, but for what is said."""
    resource = serving_old(**{"serving": {"queue": 128}, **spec})
    return observed(
        resource,
        wanted,
        pods={OLD_REVISION: [replace(pod, grpc=True) for pod in pods(OLD_REVISION, 3)]},
        services=the_services(serving_old(serving={"grpc": True}), OLD_REVISION, None),
    )


def test_a_service_has_no_port_twice_where_http_takes_the_one_that_grpc_had() -> None:
    led = the_services(serving_old(serving={"grpc": True}), OLD_REVISION, None)
    resource = serving_old(serving={"port": 9000}, rollout={"contract": "Any"})
    answering = {OLD_REVISION: [replace(pod, grpc=True) for pod in pods(OLD_REVISION, 3)]}
    made = plan(observed(resource, services=led, pods=answering))
    ports = [[port["port"] for port in one["spec"]["ports"]] for one in made.apply if one["kind"] == "Service"]
    assert sorted(ports) == [[80, 9000], [9000], [9000]]
