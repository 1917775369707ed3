"""When looks come faster."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.builders import NOW, after
from upright.api.deployment import DeploymentSpec
from upright.api.deployment_status import Analysis, Arm
from upright.rollout.pace import FRESH, RISEN, Worth, hurry

INTERVAL = timedelta(seconds=15)
STEPS = [{"weight": 25, "for": "1h"}, {"weight": 50, "for": "1h"}]
EXACT = {"name": "errors", "type": "ErrorRate", "boundary": "Exact", "tolerance": {"relative": 0.25}}


def a_spec(**monitoring: Any) -> DeploymentSpec:
    return DeploymentSpec.model_validate(
        {"modelVersion": "churn-2", "rollout": {"steps": STEPS}, "monitoring": monitoring}
    )


def in_step(step: int = 0, *, runs: bool = True, **more: Any) -> Arm:
    since = NOW if runs else None
    return Arm(model_version="churn-2", revision="b", since=NOW, step=step, step_since=since, **more)


def with_evidence(evidence: float) -> Analysis:
    return Analysis(looks=2, evidence=evidence, threshold=100)


@pytest.mark.parametrize(
    ("began", "evidence", "expected"),
    [
        (None, None, 0),
        (None, 1, 0),
        (0, 0.9, 15),
        (10, RISEN - 0.1, 5),
        (15, 1, 0),
        (600, 1, 0),
        (600, RISEN, 15),
        (None, RISEN, 0),  # paused, or held
        (-10, 1, 15),  # a clock was ahead
    ],
)
def test_looks_come_faster_when_a_step_has_just_begun_and_while_evidence_rises(
    began: float | None, evidence: float | None, expected: float
) -> None:
    candidate = in_step(runs=began is not None)
    analysis = None if evidence is None else with_evidence(evidence)
    now = after(seconds=began or 0)
    assert hurry(candidate, analysis, a_spec(), now) == timedelta(seconds=expected)
    assert hurry(candidate, analysis, a_spec(), now) <= FRESH


def test_looks_do_not_depend_on_evidence_where_the_boundary_is_exact() -> None:
    risen = with_evidence(90)
    assert hurry(in_step(), risen, a_spec(), after(minutes=5)) == FRESH
    assert hurry(in_step(), risen, a_spec(metrics=[EXACT]), after(minutes=5)) == timedelta(0)
    assert hurry(in_step(), risen, a_spec(metrics=[EXACT]), after(seconds=5)) == timedelta(seconds=10)


@pytest.mark.parametrize(("step", "expected"), [(0, FRESH), (1, timedelta(0))])
def test_nothing_is_urgent_any_more_when_the_steps_are_over_and_a_person_is_waited_for(
    step: int, expected: timedelta
) -> None:
    assert hurry(in_step(step), with_evidence(90), a_spec(), after(minutes=59)) == FRESH
    assert hurry(in_step(step), with_evidence(90), a_spec(), after(minutes=61)) == expected


def test_a_step_that_goes_on_is_not_fresh_again() -> None:
    assert hurry(in_step(step_spent=timedelta(minutes=1)), None, a_spec(), NOW) == timedelta(0)
    assert hurry(in_step(step_spent=timedelta(seconds=5)), None, a_spec(), NOW) == timedelta(seconds=10)


def test_a_step_that_begins_with_a_warm_up_is_not_looked_at_more_closely_for_that() -> None:
    assert hurry(in_step(), None, a_spec(warmUp="1m"), NOW) == timedelta(0)
    assert hurry(in_step(), with_evidence(90), a_spec(warmUp="1m"), NOW) == FRESH


def reads(seconds: int, compared: Callable[[int, int], bool], *, wanted: bool = True) -> list[int]:
    """When pods are read in so many seconds; `compared` says whether what is read at a second can be compared, given
    that it could be for the last time at another one.
    """
    worth, at, last, found = Worth(), 0, 0, []
    while at < seconds:
        found.append(at)
        new = compared(at, last)
        last = at if new else last
        worth.taken(float(at), INTERVAL, wanted=wanted, compared=new)
        at += 1 if worth and wanted else 15
    return found


def test_closer_looks_go_on_while_they_can_be_compared_sooner_than_usual() -> None:
    assert len(reads(600, lambda at, last: at - last >= 5)) == 600


@pytest.mark.parametrize(
    "compared",
    [
        lambda at, last: at - last >= 14,  # too few requests for a look that comes sooner
        lambda at, last: (at - last) % 15 == 0,  # the page is made anew as seldom
        lambda at, last: at < 30,  # nobody asks any more
        lambda at, last: False,
    ],
)
def test_closer_looks_in_vain_end_and_are_tried_ever_more_seldom(compared: Callable[[int, int], bool]) -> None:
    assert len(reads(3600, compared)) <= 3600 / 15 + 15 * 10


def test_closer_looks_begin_again_with_news() -> None:
    quiet = reads(600, lambda at, last: at < 30 or at >= 300)
    again = [at for at in quiet if at >= 300]
    assert len([at for at in quiet if 60 <= at < 300]) == 16
    assert len(again) == again[-1] - again[0] + 1


def test_what_was_in_vain_before_somebody_wanted_closer_looks_does_not_count() -> None:
    worth = Worth()
    for at in range(0, 600, 15):
        worth.taken(float(at), INTERVAL, wanted=False, compared=True)
    assert worth
    for at in range(600, 615):
        worth.taken(float(at), INTERVAL, wanted=True, compared=False)
        assert worth
    worth.taken(615.0, INTERVAL, wanted=True, compared=False)
    assert not worth
