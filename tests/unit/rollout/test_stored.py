"""A Deployment that was stored before its metrics were refused: its rollouts go on as they always did, and it is said
which metric can hardly reject a version. Written now, the same is refused.
"""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.unit.rollout.world import both, in_canary, observed
from upright.analysis import Counts, Histogram, Look, update
from upright.api.deployment import DeploymentSpec
from upright.api.refusals import WRITTEN
from upright.rollout.plan import plan
from upright.rollout.verdict import analyse, policy

ORDERS = "orders_total"
STORED: list[tuple[dict[str, Any], str]] = [
    (
        {"type": "ErrorRate", "tolerance": {"absolute": 1}},
        "tolerance.absolute must be less than 1, which is 100 points of a rate: 0.01 is one point",
    ),
    (
        {"type": "ErrorRate", "tolerance": {"relative": 100, "absolute": 0}},
        "tolerance.relative must be less than 10, which is eleven times as much: 0.25 is 25 %",
    ),
    (
        {"type": "Latency", "tolerance": {"absolute": 1}},
        "tolerance.absolute must be less than 1, which is 100 points of a rate: 0.01 is one point",
    ),
    (
        {"type": "Quality", "bad": "wrong_total", "total": ORDERS, "tolerance": {"relative": 10, "absolute": 1}},
        "tolerance.relative must be less than 10, which is eleven times as much: 0.25 is 25 %",
    ),
    (
        {"type": "Ratio", "bad": ORDERS, "total": ORDERS},
        "bad and total are the same counter, of which all is bad: let bad select the bad events alone",
    ),
]
FINE, WORSE = Counts((100, 1), (900, 9)), Counts((100, 60), (900, 9))


def monitoring(metric: dict[str, Any]) -> dict[str, Any]:
    return {"metrics": [{"name": "watched", **metric}, {"name": "refusals", "type": "RefusalRate"}]}


def bad(metric: dict[str, Any]) -> Counts | Histogram:
    """What such a metric measures of a canary that is much worse."""
    if metric["type"] == "Latency":
        return Histogram((40, 60), (891, 9), (0.1,))
    return Counts((100, 100), (900, 900)) if metric.get("bad") == metric.get("total") == ORDERS else WORSE


@pytest.mark.parametrize(("metric", "said"), STORED)
def test_what_was_stored_is_read_and_what_is_written_is_refused(metric: dict[str, Any], said: str) -> None:
    spec = {"modelVersion": "churn-2", "monitoring": monitoring(metric)}
    assert DeploymentSpec.model_validate(spec).monitoring.metrics[0].doubts[0] == said
    with pytest.raises(ValidationError, match=said.partition(" ")[2]):
        DeploymentSpec.model_validate(spec, context=WRITTEN)


@pytest.mark.parametrize(("metric", "said"), STORED)
def test_it_never_rejects_by_that_metric_says_so_and_rejects_by_the_others(metric: dict[str, Any], said: str) -> None:
    spec = in_canary(monitoring=monitoring(metric)).spec
    looks = [Look(15.0 * k, {"watched": bad(metric), "refusals": FINE}) for k in range(100)]
    calm = analyse(spec, None, looks, None)
    assert (calm.anew, calm.analysis.looks) == ("", 100)
    assert calm.analysis.verdict != "Rollback"
    assert f" watched can hardly reject a version: {said}." in calm.analysis.message
    assert update(policy(spec), calm.evidence, Look(1500.0, looks[0].measurements))["looks"] == 101

    bad_looks = [Look(15.0 * k, {"watched": bad(metric), "refusals": WORSE}) for k in range(100)]
    rejected = analyse(spec, None, bad_looks, None).analysis
    assert (rejected.verdict, rejected.metric) == ("Rollback", "refusals")


def test_of_other_metrics_nothing_is_said() -> None:
    spec = in_canary().spec
    looks = [Look(15.0 * k, {"errors": FINE, "refusals": FINE}) for k in range(5)]
    assert "can hardly reject" not in analyse(spec, None, looks, None).analysis.message


@pytest.mark.parametrize(("metric", "said"), STORED)
def test_it_is_scaled_meanwhile(metric: dict[str, Any], said: str) -> None:
    made = plan(observed(in_canary(monitoring=monitoring(metric), replicas=7), pods=both(0)))
    assert made.status["stable"]["replicas"] == 7
