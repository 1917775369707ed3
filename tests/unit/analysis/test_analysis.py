"""begin, update and verdict, as the operator calls them."""

import base64
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.unit.analysis.builders import (
    EDGES,
    EXACT,
    a_metric,
    a_policy,
    counted,
    errors,
    every_metric,
    measured,
    stored,
    title,
)
from upright.analysis import Counts, Decision, Histogram, Look, Moments, Policy, State, begin, update, verdict
from upright.analysis.looks import COUNTED, NO_TRAFFIC

of_every_kind = pytest.mark.parametrize("metric", every_metric(), ids=title)


def after(policy: Policy, *looks: Look) -> State:
    state = begin(policy)
    for look in looks:
        state = update(policy, state, look)
    return state


def test_the_policy_of_the_documentation_is_understood() -> None:
    policy = Policy.model_validate(
        {
            "falseRollbackProbability": 0.01,
            "interval": "15s",
            "horizon": "30m",
            "onInconclusive": "Promote",
            "metrics": [
                {
                    "name": "errors",
                    "type": "ErrorRate",
                    "tolerance": {"relative": 0.25, "absolute": 0.001},
                    "dispersion": 1.0,
                }
            ],
        }
    )

    assert policy.planned_looks == 120
    assert verdict(policy, begin(policy)).decision == "Continue"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"metrik": []}, "Policy has no field 'metrik'"),
        ({"metrics": [a_metric(treshold=3)]}, "Metric has no field 'treshold'"),
        ({"metrics": [a_metric(tolerance={"realtive": 1})]}, "Tolerance has no field 'realtive'"),
        ({"metrics": [a_metric(), a_metric()]}, "'errors' stands more than once"),
        ({"metrics": [{"name": "slo", "type": "Limit"}]}, "metric 'slo': type Limit needs maximum"),
        ({"metrics": [a_metric(dispersion=0.5)]}, "greater than or equal to 1"),
        ({"metrics": [a_metric(weight=float("inf"))]}, "finite"),
        ({"metrics": [a_metric("Latency", buckets=[0.1, float("inf")])]}, "finite"),
        ({"metrics": [a_metric()], "horizon": "5s"}, "which leaves no look"),
        ({"metrics": [a_metric()], "horizon": "10m", "warmUp": "10m"}, "or nothing would be compared"),
        ({"metrics": [a_metric()], "interval": "1 day"}, "not a duration"),
        ({"metrics": [a_metric()], "falseRollbackProbability": float("nan")}, "finite"),
        ({"metrics": []}, "at least 1 item"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_a_sentence(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Policy.model_validate(fields)


def test_a_bad_canary_is_rolled_back_with_a_sentence_that_names_everything() -> None:
    policy = a_policy()

    said = verdict(policy, after(policy, *(errors(15.0 * k, (100, 20), (1000, 10)) for k in range(3))))

    assert said.decision is Decision.ROLLBACK
    assert said.metric == "errors"
    assert said.evidence >= said.threshold == pytest.approx(100)
    assert said.ratio == pytest.approx(20)
    assert said.interval is not None
    assert said.interval[0] < 20 < said.interval[1]
    for part in ("errors", "20 % in the canary", "stable 1 %", "ratio 20", "evidence", "threshold 100"):
        assert part in said.message


def test_a_rollback_stays_whatever_comes_later() -> None:
    policy = a_policy()
    bad = [errors(15.0 * k, (100, 20), (1000, 10)) for k in range(3)]
    good = [errors(100 + 15.0 * k, (1000, 0), (1000, 10)) for k in range(100)]

    then, now = (verdict(policy, after(policy, *looks)) for looks in (bad, [*bad, *good]))

    assert now.decision is Decision.ROLLBACK
    assert now.evidence >= now.threshold
    assert then.decision is Decision.ROLLBACK


def test_a_healthy_canary_with_much_traffic_is_promoted_before_the_horizon() -> None:
    policy = a_policy()
    rng = np.random.default_rng(7)

    looks = [errors(15.0 * k, counted(rng, 0.01, 5000), counted(rng, 0.01, 5000)) for k in range(40)]

    assert verdict(policy, after(policy, *looks)).decision is Decision.PROMOTE


def test_what_was_shown_before_the_horizon_is_said_as_it_is() -> None:
    metrics = [a_metric(), a_metric("Ratio", "refunds"), a_metric("Limit", "late"), a_metric("RefusalRate", "refusals")]
    many = Counts((40_000, 400), (40_000, 400))

    def said(*watched: dict[str, Any]) -> str:
        policy = a_policy(*watched)
        looks = [Look(15.0 * k, {metric["name"]: many for metric in watched}) for k in range(3)]
        return verdict(policy, after(policy, *looks)).message

    shown, wrong = (
        "The canary is shown to be less than 2 times as bad as stable",
        "(wrong with probability 5 % at most):",
    )
    assert said(metrics[0]).startswith(f"{shown} or worse by less than tolerance.absolute after 3 looks {wrong} errors")
    assert said(metrics[1]).startswith(f"{shown} after 3 looks {wrong} refunds is 1 %")
    assert said(metrics[2]).startswith("The canary is shown to be below the maximum after 3 looks")
    assert said(*metrics).startswith(
        f"{shown} or worse by less than tolerance.absolute in errors, refusals; less than 2 times as bad as stable in "
        f"refunds; below the maximum in late after 3 looks {wrong}"
    )


@pytest.mark.parametrize("says", ["Promote", "Hold", "Rollback"])
def test_the_horizon_without_a_verdict_ends_as_the_policy_says(says: str) -> None:
    policy = a_policy(horizon="1m", onInconclusive=says)
    looks = [errors(15.0 * k, (10, 0), (10, 0)) for k in range(4)]

    assert verdict(policy, after(policy, *looks[:3])).decision is Decision.CONTINUE
    at_the_end = verdict(policy, after(policy, *looks))

    assert at_the_end.decision == says
    assert "ended without a verdict" in at_the_end.message


@of_every_kind
def test_every_kind_of_metric_finds_a_bad_canary_and_keeps_a_healthy_one(metric: dict[str, Any]) -> None:
    policy = a_policy(metric)
    decisions = {}
    for worse in (1.0, 6.0):
        rng = np.random.default_rng(3)
        state = after(policy, *(Look(15.0 * k, {"m": measured(metric["type"], rng, worse)}) for k in range(30)))
        decisions[worse] = verdict(policy, state)

    assert decisions[6.0].decision is Decision.ROLLBACK, decisions[6.0]
    assert decisions[1.0].decision is not Decision.ROLLBACK, decisions[1.0]


@of_every_kind
def test_a_restart_after_every_look_changes_no_bit(metric: dict[str, Any]) -> None:
    policy = a_policy(metric)
    rng = np.random.default_rng(11)
    straight = restarted = begin(policy)
    for k in range(40):
        look = Look(15.0 * k, {"m": measured(metric["type"], rng, 1.3)})
        straight, restarted = update(policy, straight, look), update(policy, stored(restarted), look)
        assert verdict(policy, straight) == verdict(policy, stored(restarted))
    assert stored(straight) == restarted


@of_every_kind
def test_a_state_is_small(metric: dict[str, Any]) -> None:
    policy = a_policy({"tolerance": {"relative": 0.25, "absolute": 0.01}, **metric})
    edges = np.geomspace(0.001, 60, 40).tolist()
    measurement = measured(metric["type"], np.random.default_rng(1))
    if metric["type"] == "Latency":
        measurement = Histogram([3] * 41, [30] * 41, edges)

    state = after(policy, *(Look(15.0 * k, {"m": measurement}) for k in range(100)))

    assert len(json.dumps(state["metrics"]["m"])) < 4096


@of_every_kind
def test_looks_one_after_the_other_and_all_at_once_give_the_same(metric: dict[str, Any]) -> None:
    policy, rng = a_policy(metric), np.random.default_rng(5)
    looks = [Look(15.0 * k, {"m": measured(metric["type"], rng)}) for k in (0, 1, 3, 2, 3, 4)]

    assert update(policy, begin(policy), *looks) == after(policy, *looks)


def test_a_look_that_arrives_twice_counts_once_and_a_late_one_not_at_all() -> None:
    policy = a_policy()
    look, next_look = errors(15.0, (100, 5), (1000, 10)), errors(30.0, (100, 3), (1000, 10))

    once = after(policy, look, next_look)
    again = after(policy, look, look, next_look, next_look)
    late = update(policy, once, errors(20.0, (100, 90), (1000, 10)))

    assert again == once
    assert verdict(policy, late).evidence == verdict(policy, once).evidence
    assert "came out of order and were not used: 1" in verdict(policy, late).message


def test_pods_that_were_left_out_of_a_look_are_named_until_others_are() -> None:
    policy = a_policy()
    fine = errors(0.0, (100, 5), (1000, 10))
    looks = [fine, *(replace(fine, time=15.0 * k, left_out={"pod-b": "torn", "pod-a": "NaN"}) for k in (1, 2))]

    state = stored(after(policy, *looks, replace(fine, time=45.0)))
    many = replace(fine, time=60.0, left_out={f"pod-{number}": "silent" for number in range(9)})

    assert "left out of 2 looks, the last time pod-a (NaN), pod-b (torn)." in verdict(policy, state).message
    assert verdict(policy, state).metrics[0].looks == 4
    assert list(update(policy, state, many)["leftOut"]["pods"]) == [f"pod-{number}" for number in range(5)]


UNUSABLE = [
    ({}, "not measured"),
    ({"errors": Histogram([1], [1], [])}, "another kind"),
    ({"errors": Counts((0, 0), (100, 1))}, "no traffic"),
    ({"errors": Counts(None, (100, 1))}, "no traffic"),
    ({"errors": Counts((100, 50), (0, 0))}, "no traffic"),
    ({"errors": Counts((math.nan, 1), (100, 1))}, "not a finite number"),
    ({"errors": Counts((math.inf, 1), (100, 1))}, "not a finite number"),
    ({"errors": Counts((100, 1), (1e17, 1))}, "larger than anything counts"),
    ({"errors": Counts((100, -5), (100, 1))}, "went backwards"),
    ({"errors": Counts((-100, -5), (100, 1))}, "went backwards"),
    ({"errors": Counts((10, 11), (100, 1))}, "more bad events than events"),
]


@pytest.mark.parametrize(("measurements", "why"), UNUSABLE)
def test_what_cannot_be_used_is_named_and_is_no_evidence(measurements: Any, why: str) -> None:
    policy = a_policy()
    before = after(policy, errors(0.0, (100, 5), (1000, 10)))

    said = verdict(policy, update(policy, before, Look(15.0, measurements)))

    assert said.evidence == verdict(policy, before).evidence
    assert said.metrics[0].looks == 1
    assert list(said.metrics[0].skipped.values()) == [1]
    assert why in said.message


@pytest.mark.parametrize(
    ("canary", "why"),
    [
        (None, "no traffic"),
        ((0, 0, 0), "no traffic"),
        ((10, math.nan, 1), "not a finite number"),
        ((-10, 1, 1), "went backwards"),
        ((10, 100, 5), "no values have such a sum"),
    ],
)
def test_sums_that_cannot_be_used_are_named_and_are_no_evidence(canary: Any, why: str) -> None:
    policy = a_policy(a_metric("Mean", "m"))
    before = after(policy, *(Look(15.0 * k, {"m": Moments((50, 50, 90), (50, 40, 80))}) for k in range(3)))

    said = verdict(policy, update(policy, before, Look(60.0, {"m": Moments(canary, (50, 40, 80))})))

    assert said.evidence == verdict(policy, before).evidence
    assert why in said.message


def test_a_measurement_with_too_few_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \(total, bad\) of a version, found 1 numbers"):
        Counts((100, 1), (100,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected \(number, sum, sum of squares\) of a version, found 2 numbers"):
        Moments((100, 1), (100, 1, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "strange",
    [
        Histogram(None, [5] * 8, EDGES),
        Histogram(None, None, EDGES),
        Histogram([5] * 3, [5] * 3, [0.1, 0.2]),
        Histogram([5] * 8, [5] * 8, [edge * 2 for edge in EDGES]),
        Histogram([5] * 7, [5] * 8, EDGES),
        Histogram([5] * 7 + [-1], [5] * 8, EDGES),
    ],
)
def test_a_histogram_with_other_buckets_is_no_evidence(strange: Histogram) -> None:
    policy = a_policy(a_metric("Latency", "latency"))
    before = after(policy, *(Look(15.0 * k, {"latency": Histogram([9] * 8, [90] * 8, EDGES)}) for k in range(3)))

    said = verdict(policy, update(policy, before, Look(60.0, {"latency": strange})))

    assert said.evidence == verdict(policy, before).evidence
    assert sum(said.metrics[0].skipped.values()) == 1


@pytest.mark.parametrize("edges", [[0.1, 0.2], [0.1, 0.2, math.inf], [0.1, 0.2, 5.0], [0.0, 0.1, 0.2, 5.0]])
def test_edges_may_be_written_as_prometheus_or_numpy_do(edges: list[float]) -> None:
    policy = a_policy(a_metric("Latency", "latency"))

    said = verdict(policy, after(policy, Look(0.0, {"latency": Histogram([6, 3, 1], [60, 30, 10], edges)})))

    assert said.metrics[0].looks == 1
    assert said.metrics[0].edge in (0.1, 0.2)


def test_looks_of_the_warm_up_are_no_evidence() -> None:
    policy = a_policy(warmUp="1m")

    state = after(policy, *(errors(15.0 * k, (100, 50), (1000, 10)) for k in range(4)))

    assert verdict(policy, state).evidence == 1
    assert "warming up" in verdict(policy, state).message


def of_pods(pods: int, time: float, canary: tuple[int, int], stable: tuple[int, int] = (1000, 10)) -> Look:
    return replace(errors(time, canary, stable), pods=pods)


BAD = (100, 50)


@pytest.mark.parametrize(
    ("times", "warms"), [((0, 45, 60), True), ((0, 50, 65), True), ((0, 60, 75), False), ((0, 75), True)]
)
def test_a_look_that_reaches_into_the_warm_up_is_no_evidence(times: tuple[int, ...], warms: bool) -> None:
    policy = a_policy(warmUp="1m")
    state = after(policy, *(errors(float(time), BAD, (1000, 10)) for time in times))
    assert (verdict(policy, state).evidence == 1) is warms


def test_what_has_waited_since_the_warm_up_is_no_evidence_and_another_metric_of_the_look_is() -> None:
    policy = a_policy(a_metric(name="a"), a_metric(name="b"), warmUp="1m")
    bad = Counts((100, 50), (900, 9))
    state = begin(policy)
    for time in (0.0, 60.0):
        state = update(policy, state, Look(time, {"a": bad, "b": bad}))
    state = update(policy, state, Look(75.0, {"a": bad, "b": bad}, since={"a": 45.0, "b": 60.0}))
    assert [metric.evidence > 1 for metric in verdict(policy, state).metrics] == [False, True]


def test_a_warm_up_begins_when_both_versions_have_counted_something() -> None:
    policy = a_policy(warmUp="1m")
    nobody = [errors(15.0 * k, (0, 0), (1000, 10)) for k in range(12)]
    cold = [errors(180 + 15.0 * k, BAD, (1000, 10)) for k in range(5)]

    assert verdict(policy, after(policy, *nobody, *cold)).evidence == 1
    assert verdict(policy, after(policy, *nobody, *cold, errors(255, BAD, (1000, 10)))).decision is Decision.ROLLBACK


def test_a_limit_needs_nothing_of_the_stable_version_to_warm_up() -> None:
    policy = a_policy(a_metric("Limit", "late"), warmUp="1m")
    looks = [Look(15.0 * k, {"late": Counts(BAD, None)}) for k in range(6)]

    assert verdict(policy, after(policy, *looks[:5])).evidence == 1
    assert verdict(policy, after(policy, *looks)).decision is Decision.ROLLBACK


def test_more_pods_warm_up_anew_and_others_in_their_place_do_not() -> None:
    policy = a_policy(warmUp="1m")
    fine = [of_pods(1, 15.0 * k, (100, 1)) for k in range(10)]
    more = [of_pods(5, 150 + 15.0 * k, BAD) for k in range(5)]
    assert verdict(policy, after(policy, *fine, *more)).decision is Decision.CONTINUE
    assert verdict(policy, after(policy, *fine, *more, of_pods(5, 225, BAD))).decision is Decision.ROLLBACK

    replaced = [of_pods(pods, 225 + 15.0 * k, BAD) for k, pods in enumerate((4, 5))]
    warm = [replace(look, measurements={"errors": Counts((100, 1), (1000, 10))}) for look in more]
    assert verdict(policy, after(policy, *fine, *warm, *replaced)).decision is Decision.ROLLBACK


def test_without_a_warm_up_more_pods_change_nothing() -> None:
    looks = [of_pods(pods, 15.0 * pods, (100, 3)) for pods in range(1, 9)]
    told, untold = (after(a_policy(), *of) for of in (looks, [replace(look, pods=0) for look in looks]))
    assert told == untold


@of_every_kind
def test_a_restart_in_the_warm_up_changes_no_bit(metric: dict[str, Any]) -> None:
    policy = a_policy(metric, warmUp="2m")
    rng = np.random.default_rng(13)
    straight = restarted = begin(policy)
    for k in range(40):
        look = Look(15.0 * k, {"m": measured(metric["type"], rng, 1.3)}, pods=1 + k // 20)
        straight, restarted = update(policy, straight, look), update(policy, stored(restarted), look)
    assert stored(straight) == restarted
    used = verdict(policy, straight).metrics[0]
    assert used.looks == 22
    assert sum(used.skipped.values()) == 18


def test_each_run_warms_up_by_itself() -> None:
    policy = a_policy(warmUp="1m")
    canary = [(np.array([100, 0 if k < 4 else 100]), np.array([50, 0 if k < 4 else 50])) for k in range(9)]

    state = after(policy, *(errors(15.0 * k, of, (1000, 10)) for k, of in enumerate(canary)))

    assert list(verdict(policy, state).decision) == ["Rollback", "Continue"]
    state = update(policy, state, errors(15.0 * 9, canary[-1], (1000, 10)))
    assert list(verdict(policy, state).decision) == ["Rollback", "Rollback"]


def test_history_of_the_stable_version_lets_the_first_look_give_evidence() -> None:
    policy = a_policy(a_metric("Quality", "quality"))
    history = [Look(-60.0, {"quality": Counts((0, 0), (1000, 50))})]
    look = Look(0.0, {"quality": Counts((100, 60), (1000, 50))})

    without, informed = begin(policy), begin(policy, history=history)

    assert verdict(policy, update(policy, without, look)).evidence == 1
    assert verdict(policy, update(policy, informed, look)).evidence > 100


def test_a_state_of_another_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="Call begin"):
        update(a_policy(interval="5s"), begin(a_policy()), errors(0.0, (1, 0), (1, 0)))


def test_weights_divide_the_promise_and_the_worst_metric_is_blamed() -> None:
    policy = a_policy(a_metric(name="a", weight=3), a_metric(name="b", weight=1))
    both = [Look(15.0 * k, {"a": Counts((100, 1), (1000, 10)), "b": Counts((100, 3), (1000, 10))}) for k in range(3)]

    said = verdict(policy, after(policy, *both))
    alone = {metric.name: metric.evidence for metric in said.metrics}

    assert said.evidence == pytest.approx(0.75 * alone["a"] + 0.25 * alone["b"])
    assert said.metric == "b"


@pytest.mark.parametrize("metric", [a_metric(name="m"), a_metric("Quality", "m"), a_metric(name="m", **EXACT)])
def test_many_runs_at_once_give_what_each_gives_alone(metric: dict[str, Any]) -> None:
    policy = a_policy(metric)
    rng = np.random.default_rng(5)
    rates = np.array([0.01, 0.03, 0.2])
    together = begin(policy)
    apart = [begin(policy) for _ in rates]
    for k in range(10):
        canary, stable = counted(rng, rates, 200, 3), counted(rng, 0.01, 800, 3)  # type: ignore[arg-type]
        together = update(policy, together, Look(15.0 * k, {"m": Counts(canary, stable)}))
        for run in range(3):
            one = Counts((canary[0][run], canary[1][run]), (stable[0][run], stable[1][run]))
            apart[run] = update(policy, apart[run], Look(15.0 * k, {"m": one}))

    many, single = verdict(policy, together), [verdict(policy, state) for state in apart]

    assert np.asarray(many.decision).tolist() == [str(one.decision) for one in single]
    np.testing.assert_allclose(np.asarray(many.evidence), np.array([one.evidence for one in single]), rtol=1e-9)
    np.testing.assert_allclose(np.asarray(many.ratio), np.array([one.ratio for one in single], dtype=float), rtol=1e-9)


def test_counts_may_be_rows_of_an_array() -> None:
    policy = a_policy()
    total, bad = np.array([100, 200]), np.array([1, 50])

    state = update(policy, begin(policy), Look(0.0, {"errors": Counts(np.array([total, bad]), (total, bad))}))  # type: ignore[arg-type]

    assert state["runs"] == 2


def test_a_million_planned_looks_and_a_billion_requests_stay_finite() -> None:
    policy = a_policy(interval="1s", horizon="1000000s")
    state = after(policy, *(errors(float(k), (10**9, 10**7 * (1 + k % 2)), (10**9, 10**7)) for k in range(50)))

    said = verdict(policy, state)

    assert math.isfinite(said.evidence)
    assert said.ratio == pytest.approx(1.5)


def test_what_was_not_used_is_said_while_it_happens_and_why() -> None:
    policy = a_policy(a_metric(), a_metric("RefusalRate", "refusals"))
    both = {name: Counts((0, 0), (90, 1)) for name in ("errors", "refusals")}
    looks = [Look(15.0 * k, both) for k in range(12)]

    said = verdict(policy, stored(after(policy, *looks)))

    assert (said.looks, said.used, said.why_unused) == (12, 0, "there was no traffic to the canary")
    assert said.message == ("No verdict: 12 looks, none of them used: there was no traffic to the canary.")
    counts = Counts((100, 1), (1000, 10))
    used = verdict(policy, after(policy, *looks, Look(200.0, {"errors": counts, "refusals": counts})))
    assert (used.looks, used.used) == (13, 1)
    assert used.message.startswith("No verdict after 13 looks, 1 of them used: ")
    assert " is 1 % in the canary against stable 1 %" in used.message
    said_once = "errors, refusals: 12 of 13 looks were not used, the last because there was no traffic to the canary."
    assert used.message.endswith(said_once)


@pytest.mark.parametrize(
    ("canary", "stable", "refused", "why"),
    [
        ((0, 0), (90, 1), (20, 3), "refused (4xx)"),
        ((0, 0), (0, 0), (20, 3), "refused (4xx)"),
        ((0, 0), (0, 0), (20, 0), "no traffic to either version"),
        ((0, 0), (90, 1), (0, 3), "no traffic to the canary"),
        ((90, 1), (0, 0), (0, 0), "no traffic to the stable version"),
        ((90, 1), None, (0, 0), "no traffic to the stable version"),
        (None, (90, 1), (20, 3), "refused (4xx)"),
        ((-1, 0), (90, 1), (20, 3), "went backwards"),
    ],
)
def test_a_version_that_refuses_everything_is_not_said_to_be_without_traffic(
    canary: Any, stable: Any, refused: Any, why: str
) -> None:
    policy = a_policy()

    said = verdict(policy, after(policy, Look(0.0, {"errors": Counts(canary, stable, refused)})))

    assert said.evidence == 1
    assert why in said.why_unused


def test_a_version_that_refuses_everything_is_rolled_back_by_its_refusals_within_a_look() -> None:
    policy = a_policy(a_metric(), a_metric("RefusalRate", "refusals"))
    refused = {"errors": Counts((0, 0), (1300, 13), refused=(150, 50)), "refusals": Counts((150, 150), (1350, 50))}

    said = verdict(policy, after(policy, Look(0.0, refused)))

    assert (said.decision, said.metric) == (Decision.ROLLBACK, "refusals")
    assert "refusals is 100 % in the canary against stable 3.7 %" in said.message


def test_the_default_tolerance_of_refusals_is_wider_than_that_of_errors() -> None:
    metric = a_policy(a_metric("RefusalRate", "refusals")).metrics[0]
    assert (metric.margins.relative, metric.margins.absolute) == (0.25, 0.01)


@pytest.mark.parametrize(
    ("type", "measurement", "why"),
    [
        ("Mean", Moments((0, 0, 0), (9, 9, 9)), "the canary"),
        ("Mean", Moments((9, 9, 9), None), "the stable version"),
        ("Mean", Moments(None, None), "either version"),
        ("Latency", Histogram([0, 0], [3, 4], [0.1]), "the canary"),
        ("Latency", Histogram([0, 0], [0, 0], [0.1]), "either version"),
    ],
)
def test_it_is_said_which_version_had_no_traffic_whatever_is_measured(type: Any, measurement: Any, why: str) -> None:
    policy = a_policy(a_metric(type, "it"))

    said = verdict(policy, stored(after(policy, Look(0.0, {"it": measurement}))))

    assert said.why_unused == f"there was no traffic to {why}"
    assert said.metrics[0].skipped == {"there was no traffic to one of the versions": 1}


def test_why_a_look_was_not_used_is_read_as_it_was_recorded_before_it_said_which_version() -> None:
    policy = a_policy()
    seen = after(policy, Look(0.0, {"errors": Counts((0, 0), (9, 0))}))
    numbers = np.frombuffer(base64.b64decode(seen["metrics"]["errors"]["seen"]), "<f8").copy()
    assert numbers[NO_TRAFFIC] == 1
    numbers[COUNTED] = NO_TRAFFIC
    seen["metrics"]["errors"]["seen"] = base64.b64encode(numbers.tobytes()).decode()

    assert verdict(policy, seen).why_unused == "there was no traffic to one of the versions"
