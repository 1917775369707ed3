"""Whether requests get to the pods that are ready: through the Service of all traffic."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import a_deployment
from tests.unit.rollout.world import (
    NEW,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    both,
    condition,
    in_canary,
    observed,
    pods,
    serving_old,
    then,
)
from upright.api import names
from upright.rollout.measuring import Reading
from upright.rollout.observe import Observed
from upright.rollout.plan import plan

LOST: dict[str, Any] = {"services": {}}
MISSING = "This Deployment has no Service churn, so no request reaches its pods. "
OURS = {names.DEPLOYMENT: "churn"}
OF_OLD, OF_NEW = ({**OURS, names.REVISION: one} for one in (OLD_REVISION, NEW_REVISION))


def led_to(selector: Any) -> dict[str, Any]:
    """The Service of all traffic selects just these pods."""
    return {"services": {"churn": {"metadata": {"name": "churn"}, "spec": {"selector": selector}}}}


def settled(**more: Any) -> Observed:
    """churn-1 serves, is wanted, and all that is recorded."""
    before = observed(serving_old(), OLD, pods=both(0))
    return replace(then(before, plan(before)), **more)


def rolling(**more: Any) -> Observed:
    """churn-2 goes out beside churn-1."""
    return observed(in_canary(), pods=both(), **more)


@pytest.mark.parametrize(
    ("before", "reason", "said"),
    [
        (settled(**LOST), "ServiceMissing", f"{MISSING}churn-1 serves with 3 of 3 pods ready."),
        (rolling(**LOST), "ServiceMissing", f"{MISSING}churn-2 has 25 % of the traffic. "),
        (settled(**led_to(None)), "ServiceLeadsElsewhere", "Service churn selects nothing, and none of the ready pods"),
        (settled(**led_to(OF_NEW)), "ServiceLeadsElsewhere", f"upright.dev/revision={NEW_REVISION}, and none of"),
        (settled(**led_to({**OURS, "app": "x"})), "ServiceLeadsElsewhere", "app=x, upright.dev/deployment=churn, and"),
        (settled(**led_to(OURS)), "Serving", "churn-1 serves"),
        (settled(**led_to(OF_OLD)), "Serving", "churn-1 serves"),
        (rolling(**led_to(OF_OLD)), "Progressing", "churn-2 has 25 % of the traffic."),
        (settled(**LOST, taken=["churn"]), "ServiceNameTaken", "churn-1 serves"),
    ],
)
def test_it_is_ready_only_where_the_service_leads_to_pods_that_are(before: Observed, reason: str, said: str) -> None:
    made, reached, alone = plan(before), not reason.startswith("Service"), before.wanted is OLD
    ready, current = condition(made, "Ready"), condition(made, "Current")
    assert (ready["status"], ready["reason"], said in ready["message"]) == (str(reached), reason, True)
    assert (current["status"], made.status["url"] != "") == (str(reached and alone), reached)
    assert reached or current["reason"] == reason
    assert bool(condition(made, "Reconciling")) is (not alone or reason in ("ServiceMissing", "ServiceLeadsElsewhere"))
    free = replace(before, taken=())
    mended = plan(then(free, plan(free)))
    assert condition(mended, "Ready")["status"] == "True"
    assert mended.status["url"] == "http://churn.shop.svc"


@pytest.mark.parametrize("resource", [a_deployment("churn-1", replicas=2), serving_old()])
def test_while_no_pod_is_ready_that_is_told_and_not_the_service(resource: Any) -> None:
    made = plan(observed(resource, OLD, **LOST))
    assert condition(made, "Ready")["reason"] in ("Progressing", "NotServing")
    assert made.record
    assert not made.status["url"]


def test_a_service_that_is_made_again_at_once_costs_no_write() -> None:
    lost = settled(**LOST)
    gone = plan(lost)
    assert not gone.record
    assert {"churn"} <= {one["metadata"]["name"] for one in gone.apply}
    assert plan(settled()).status == plan(then(lost, gone)).status, "as before"
    for more in ({"pods": both(0, 2)}, {"wanted": NEW}, {"taken": ["churn"]}, led_to(OF_NEW)):
        assert plan(replace(lost, **more)).record, "there is more to tell than that"
    refused = then(lost, gone, **LOST)
    assert plan(refused).record
    assert plan(refused).status == gone.status, "what is recorded when it cannot be made stays"


def test_an_address_that_was_recorded_while_it_was_somebody_elses_is_taken_back() -> None:
    """By an operator before this one; nothing is made that would bring another turn."""
    taken = settled(**LOST, taken=["churn"])
    known = then(taken, plan(taken))
    status = known.resource.status.model_copy(update={"url": "http://churn.shop.svc"})
    before = replace(known, resource=known.resource.model_copy(update={"status": status}), **LOST)
    assert (plan(before).record, plan(before).status["url"]) == (True, "")


def test_what_stood_there_before_a_restart_stands_only_where_it_is_still_so() -> None:
    """Until something has been measured, what is recorded is said."""
    pair = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: pods(NEW_REVISION, 3)}
    there = observed(in_canary(1), pods=pair)
    lost = replace(there, **LOST)
    for before, now, reason in (
        (there, there, "Progressing"),
        (there, lost, "ServiceMissing"),
        (lost, there, "Progressing"),
        (lost, lost, "ServiceMissing"),
    ):
        made = plan(before)
        restarted = plan(then(before, made, services=now.services, reading=Reading()))
        ready = condition(restarted, "Ready")
        assert (ready["status"], ready["reason"]) == (str(now is there), reason)
        assert ready["message"].count(MISSING) == (now is lost)
