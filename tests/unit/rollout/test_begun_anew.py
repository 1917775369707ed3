"""A step begins anew with its evidence, and when it is another: nothing is promoted by time alone."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import after, as_stored
from tests.unit.rollout.world import COUNTED, LONG_AGO, STEPS, both, in_canary, observed, then
from upright.analysis import Counts, Look
from upright.api.deployment import Deployment
from upright.contract import Plan
from upright.rollout.measuring import Reading
from upright.rollout.observe import Observed
from upright.rollout.plan import plan

RECORDED = 20
NOW_THERE = after(seconds=59)
"""A second before the end of the step."""
ANEW, OTHER, KEPT = "EvidenceBegunAnew", "StepBegunAnew", ""


def looked(now: datetime, *looks: Look) -> Reading:
    arms = {"canary": COUNTED, "stable": COUNTED}
    return Reading(looks=looks, arms=arms, since=LONG_AGO.timestamp(), until=now.timestamp())  # type: ignore[arg-type]


def look(at: datetime) -> Look:
    return Look(at.timestamp(), {"errors": Counts(canary=(9, 0), stable=(9, 0))})


def compared() -> Observed:
    """Its step's clock has run, and stood still before."""
    return observed(in_canary(1, candidate={"stepSpent": "0s"}), pods=both(3))


def with_evidence(*, finishing: bool = False) -> Observed:
    looks = [look(after(seconds=n)) for n in range(1, RECORDED + 1)]
    first = replace(compared(), now=after(seconds=RECORDED), reading=looked(after(seconds=RECORDED), *looks))
    recorded = then(first, plan(first))
    assert recorded.resource.status.analysis
    assert recorded.resource.status.analysis.looks == RECORDED
    update: dict[str, Any] = {"finishing": True, "readySince": after(seconds=58).isoformat()} if finishing else {}
    stored = as_stored(recorded.resource)
    stored["status"]["candidate"] |= update
    return replace(recorded, resource=Deployment.model_validate(stored), now=NOW_THERE, reading=looked(NOW_THERE))


def edited(there: Observed, spec: dict[str, Any]) -> Observed:
    stored = as_stored(there.resource)
    changed = {section: stored["spec"].get(section, {}) | fields for section, fields in spec.items()}
    return replace(there, resource=Deployment.model_validate({**stored, "spec": stored["spec"] | changed}))


def told(made: Plan) -> list[tuple[str, str]]:
    return [(event.reason, event.message) for event in made.events if event.reason in (ANEW, OTHER)]


INTERVAL = {"monitoring": {"interval": "2s"}}
LONGER, FIRST_ALONE = [{**STEPS[0], "for": "2m"}, STEPS[1]], {"rollout": {"steps": STEPS[:1]}}


@pytest.mark.parametrize("finishing", [False, True])
@pytest.mark.parametrize(
    ("spec", "why", "there"),
    [
        (INTERVAL, ANEW, 1),
        ({"monitoring": {"falseRollbackProbability": 0.05}}, ANEW, 1),
        ({"rollout": {"steps": LONGER}}, ANEW, 1),
        (FIRST_ALONE, ANEW, 0),
        ({"rollout": {"steps": [STEPS[0], {**STEPS[1], "weight": 90}]}}, OTHER, 1),
        ({"rollout": {"steps": [{**STEPS[0], "weight": 10}, STEPS[1]]}}, KEPT, 1),
        ({"rollout": {"onInconclusive": "Hold"}}, KEPT, 1),
        ({"rollout": {"startupDeadline": "1h"}}, KEPT, 1),
        ({}, KEPT, 1),
    ],
)
def test_a_step_begins_anew_with_its_evidence_and_with_another_weight(
    spec: dict[str, Any], why: str, there: int, finishing: bool
) -> None:
    """Also where no look has come since, and when all steps are done."""
    ready = edited(with_evidence(finishing=finishing), spec)
    made = plan(ready)
    candidate, analysis = made.status["candidate"], made.status["analysis"]
    assert [reason for reason, _ in told(made)] == ([why] if why else [])
    assert candidate["step"] == there
    assert analysis["looks"] == (0 if why == ANEW else RECORDED)
    if why:
        assert f"tep {there + 1} of {len(ready.resource.spec.rollout.steps)} " in told(made)[0][1]
        assert not candidate.get("finishing")
        assert "stepSpent" not in candidate
        assert candidate.get("stepSince") in (None, NOW_THERE.isoformat().replace("+00:00", "Z"))
    else:
        assert bool(candidate.get("finishing")) is finishing
        assert candidate["stepSpent"] == "0s"
    assert not told(plan(then(ready, made))), "it is told once"


def test_steps_that_are_taken_away_before_there_is_evidence_begin_the_last_one_anew() -> None:
    made = plan(edited(replace(compared(), now=NOW_THERE), FIRST_ALONE))
    assert made.status["candidate"]["step"] == 0
    assert made.status["candidate"]["stepSince"] == NOW_THERE.isoformat().replace("+00:00", "Z")
    assert [reason for reason, _ in told(made)] == [OTHER]


def test_a_step_begins_anew_when_its_evidence_is_of_another_version_of_upright() -> None:
    ready = with_evidence()
    assert ready.kept
    spec = ready.kept["spec"]
    made = plan(replace(ready, kept={**ready.kept, "spec": {**spec, "state": {**spec["state"], "policy": "of old"}}}))
    assert [reason for reason, _ in told(made)] == [ANEW]
    assert "stepSpent" not in made.status["candidate"]


def test_who_edits_the_monitoring_again_and_again_promotes_nothing() -> None:
    there = with_evidence()
    for turn in range(1, 200):
        now = NOW_THERE + timedelta(seconds=turn)
        there = replace(there, now=now, reading=looked(now, look(now)))
        if turn % 40 == 1:
            there = edited(there, {"monitoring": {"interval": f"{2 + turn // 40 % 2}s"}})
        there = then(there, plan(there))
    assert there.resource.status.candidate
    assert there.resource.status.candidate.step == 1
    assert not there.resource.status.candidate.finishing


def test_a_step_that_begins_anew_does_not_end_before_two_looks_of_its_evidence() -> None:
    """However short it is, and for however long this process has looked."""
    short = {"rollout": {"steps": [STEPS[0], {**STEPS[1], "for": "1s"}]}}
    there = edited(with_evidence(), short)
    looks = [look(NOW_THERE + timedelta(seconds=15 * n)) for n in range(1, 3)]
    for seen in ([], looks[:1], looks):
        assert not (there.resource.status.candidate and there.resource.status.candidate.finishing)
        now = there.now + timedelta(seconds=15)
        there = replace(there, now=now, reading=looked(now, *seen))
        there = then(there, plan(there))
    assert there.resource.status.candidate
    assert there.resource.status.candidate.finishing
