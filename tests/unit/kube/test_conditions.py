"""Status and conditions."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from tests.unit.kube.fakes import NOON, a_toy
from upright.kube.conditions import cut, differs, invalid, stalled, with_transition_times

BEFORE = "2026-11-01T00:00:00Z"


def a_condition(type: str = "Ready", status: str = "True", **rest: Any) -> dict[str, Any]:
    return {"type": type, "status": status, "reason": "AsPlanned", "message": "It is well."} | rest


def test_a_new_condition_moves_now() -> None:
    dated = with_transition_times({"conditions": [a_condition()]}, {}, NOON)
    assert dated["conditions"][0]["lastTransitionTime"] == "2026-11-22T12:00:00Z"


def test_a_condition_whose_status_stays_keeps_its_time_even_if_it_says_something_new() -> None:
    old = {"conditions": [a_condition(lastTransitionTime=BEFORE)]}
    dated = with_transition_times({"conditions": [a_condition(reason="Other", message="New.")]}, old, NOON)
    assert dated["conditions"][0]["lastTransitionTime"] == BEFORE
    assert dated["conditions"][0]["message"] == "New."


@pytest.mark.parametrize(
    ("was", "now", "since"),
    [
        ({}, {"reason": "Other"}, "2026-11-22T12:00:00.000000Z"),
        ({"reasonSince": BEFORE}, {}, BEFORE),
        ({"reasonSince": BEFORE}, {"message": "It is well indeed."}, BEFORE),
        ({"reasonSince": BEFORE}, {"reason": "Other"}, "2026-11-22T12:00:00.000000Z"),
        ({"reasonSince": BEFORE}, {"status": "False"}, "2026-11-22T12:00:00.000000Z"),
        ({"reasonSince": BEFORE, "about": "a"}, {"about": "a"}, BEFORE),
        ({"reasonSince": BEFORE, "about": "a"}, {"about": "b"}, "2026-11-22T12:00:00.000000Z"),
        ({"reasonSince": BEFORE}, {"about": "a"}, BEFORE),  # an older operator has not said
        ({}, {}, None),  # nor recorded any
    ],
)
def test_since_when_a_condition_has_its_reason_is_kept_whatever_it_says(was: Any, now: Any, since: str | None) -> None:
    old = {"conditions": [a_condition(lastTransitionTime=BEFORE, **was)]}
    dated = with_transition_times({"conditions": [a_condition(**now)]}, old, NOON)
    assert dated["conditions"][0].get("reasonSince") == since
    same = [a_condition(**{"about": was["about"]} if "about" in was else {})]
    assert not differs({"conditions": same}, old), "a time is no news by itself"


def test_a_condition_whose_status_changes_moves_now() -> None:
    old = {"conditions": [a_condition(lastTransitionTime=BEFORE)]}
    dated = with_transition_times({"conditions": [a_condition(status="False")]}, old, NOON)
    assert dated["conditions"][0]["lastTransitionTime"] == "2026-11-22T12:00:00Z"


@pytest.mark.parametrize(
    ("status", "news"),
    [
        ({"phase": "Running", "conditions": [a_condition()]}, False),
        ({"phase": "Running", "conditions": [a_condition()], "absent": None}, False),
        ({"phase": "Failed", "conditions": [a_condition()]}, True),
        ({"phase": "Running", "conditions": [a_condition(message="Other.")]}, True),
        ({"phase": "Running", "conditions": []}, True),
        ({"conditions": [a_condition()]}, True),
        ({"phase": "Running", "conditions": (a_condition(),)}, False),
    ],
)
def test_a_status_is_news_when_anything_but_a_time_differs(status: dict[str, Any], news: bool) -> None:
    old = {"phase": "Running", "conditions": [a_condition(lastTransitionTime=BEFORE)]}
    assert differs(status, old) is news


def test_times_are_those_of_utc() -> None:
    dated = with_transition_times({"conditions": [a_condition()]}, {}, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert dated["conditions"][0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_what_is_stalled_is_not_reconciling_and_keeps_what_else_it_says() -> None:
    status = {"phase": "Running", "conditions": [a_condition(), a_condition("Reconciling")]}
    conditions = {condition["type"]: condition for condition in stalled(status, "NameTaken", "Taken.", 3)["conditions"]}
    assert set(conditions) == {"Ready", "Stalled"}
    assert conditions["Stalled"]["message"] == "Taken."
    assert conditions["Stalled"]["observedGeneration"] == 3
    assert conditions["Ready"]["message"] == f"Taken. {a_condition()['message']}", "kubectl get shows no other"


def test_only_the_newest_obstacle_stands_before_what_ready_says() -> None:
    status = {"conditions": [a_condition()]}
    for _ in range(3):
        status = stalled(stalled(status, "NameTaken", "Taken.", 3), "Full", "No room.", 3)
    assert status["conditions"][0]["message"] == f"No room. {a_condition()['message']}"


class Step(BaseModel):
    weight: int = Field(ge=1)


class Toy(BaseModel):
    steps: list[Step]
    name: str


def test_an_invalid_object_is_told_which_fields_are_wrong() -> None:
    toy = a_toy(status={"phase": "Running", "conditions": [a_condition(lastTransitionTime=BEFORE)]})
    with pytest.raises(ValidationError) as caught:
        Toy.model_validate({"steps": [{"weight": 0}]})
    status = invalid(toy, caught.value)
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert conditions["Ready"]["status"] == "False"
    assert conditions["Stalled"]["status"] == "True"
    assert {condition["reason"] for condition in conditions.values()} == {"InvalidSpec"}
    assert "steps[0].weight: Input should be greater than or equal to 1" in conditions["Ready"]["message"]
    assert "name: Field required" in conditions["Ready"]["message"]
    assert status["phase"] == "Running", "what is known is not forgotten"
    assert status["observedGeneration"] == 1


def test_a_long_text_is_cut() -> None:
    assert len(cut("x" * 5000)) == 1024
    assert cut("short") == "short"
