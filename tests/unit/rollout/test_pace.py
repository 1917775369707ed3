"""When looks come faster."""

from datetime import timedelta

import pytest

from tests.unit.analysis.builders import EXACT, a_metric, a_policy
from tests.unit.builders import NOW, after
from upright.api.deployment_status import Analysis, Arm
from upright.rollout.pace import FRESH, RISEN, hurry


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
    candidate = Arm(model_version="churn-2", revision="b", since=NOW, step=0, step_since=None if began is None else NOW)
    analysis = None if evidence is None else Analysis(looks=2, evidence=evidence, threshold=100)
    now = after(seconds=began or 0)
    assert hurry(candidate, analysis, a_policy(), now) == timedelta(seconds=expected)
    assert hurry(candidate, analysis, a_policy(), now) <= FRESH


def test_looks_do_not_depend_on_evidence_where_the_boundary_is_exact() -> None:
    candidate = Arm(model_version="churn-2", revision="b", since=NOW, step=0, step_since=NOW)
    risen = Analysis(looks=2, evidence=90, threshold=100)
    assert hurry(candidate, risen, a_policy(), after(minutes=5)) == FRESH
    assert hurry(candidate, risen, a_policy(a_metric(**EXACT)), after(minutes=5)) == timedelta(0)
