"""A group of users for which a version fails while the whole looks well; and many hypotheses at once."""

import json
from typing import Any

import numpy as np
import pytest

from tests.unit.analysis.builders import a_metric, a_policy, counted, stored
from upright.analysis import Counts, Decision, Look, Policy, begin, update, verdict
from upright.analysis.discoveries import discoveries, log_e_value
from upright.api.by_segment import GroupMetric, by_segment, whole_of, wholes
from upright.api.monitoring import Metric
from upright.api.segments import Segment

PLAN = {"name": "plan", "feature": "plan", "values": ["basic", "flex"]}
REFUNDS = a_metric("Ratio", "refunds", bad="shop_refunds_total", total="shop_orders_total")


def split(*metrics: dict[str, Any], segments: list[dict[str, Any]] | None = None, **fields: Any) -> Policy:
    return by_segment(a_policy(*metrics, segments=segments or [PLAN], **fields))


def test_a_group_for_which_a_version_fails_is_named_while_the_whole_is_within_tolerance() -> None:
    policy, rng = split(), np.random.default_rng(1)
    state = begin(policy)
    for k in range(40):
        parts = {
            "errors of plan basic": Counts(counted(rng, 0.01, 1000), counted(rng, 0.01, 9000)),
            "errors of plan flex": Counts(counted(rng, 0.2, 10), counted(rng, 0.01, 90)),
            "errors of plan other": Counts((0, 0), (0, 0)),
        }
        both = [np.sum([getattr(part, arm) for part in parts.values()], axis=0) for arm in ("canary", "stable")]
        whole = Counts(tuple(both[0]), tuple(both[1]))
        state = stored(update(policy, state, Look(15.0 * k, {"errors": whole, **parts})))

    said = verdict(policy, state)

    assert (said.decision, said.metric) == (Decision.ROLLBACK, "errors of plan flex")
    assert said.blame.startswith("Worse than tolerated in errors of plan flex: ")
    assert said.metrics[0].evidence < 100


def test_the_shares_of_a_metric_that_is_split_are_half_its_own_and_the_groups_have_the_other_half() -> None:
    policy = split(a_metric(weight=3), REFUNDS)
    shares = {metric.name: policy.share(metric) for metric in policy.metrics}
    assert shares == pytest.approx(
        {
            "errors": 0.00375,
            **{f"errors of plan {group}": 0.00125 for group in ("basic", "flex", "other")},
            "refunds": 0.0025,
        }
    )


def test_early_promotion_asks_for_no_proof_of_a_group_for_which_nobody_asks() -> None:
    policy = split()
    state = begin(policy)
    for k in range(40):
        counts = Counts((500, 5), (4500, 45))
        state = update(policy, state, Look(15.0 * k, {"errors": counts, "errors of plan basic": counts}))

    said = verdict(policy, state, ends=False)

    assert said.decision is Decision.PROMOTE
    assert "of plan" not in said.message


def test_what_is_watched_by_segment_names_the_analysis_as_the_segments_do() -> None:
    plain, other = a_policy(), {**PLAN, "feature": "tariff"}
    assert len({one.fingerprint for one in (plain, split(), split(segments=[other]))}) == 3
    assert by_segment(plain) is plain


def test_a_metric_is_split_where_its_events_are_counted_so() -> None:
    label = {"name": "shop", "label": "shop", "values": ["a"]}
    exact = a_metric(name="exact", boundary="Exact", tolerance={"relative": 0.25})
    policy = split(a_metric(), REFUNDS, a_metric("Latency", "latency"), exact, segments=[PLAN, label])
    assert [metric.name for metric in policy.metrics] == [
        *("errors", "errors of plan basic", "errors of plan flex", "errors of plan other"),
        *("refunds", "refunds of shop a", "latency", "exact"),
    ]
    assert [metric.name for metric in wholes(policy.metrics)] == ["errors", "refunds", "latency", "exact"]
    assert {whole_of(metric.name) for metric in policy.metrics} == {"errors", "refunds", "latency", "exact"}


def test_groups_of_numbers_are_named_by_their_edges() -> None:
    policy = split(segments=[{"name": "tenure", "feature": "tenure", "edges": [-1.5, 12, 1234567]}])
    groups = [metric.group for metric in policy.metrics if isinstance(metric, GroupMetric)]
    assert groups == ["under -1.5", "-1.5 to 12", "12 to 1234567", "1234567 or more", "other"]


def test_forty_comparisons_by_segment_are_kept_in_less_than_48_kib() -> None:
    many = [{"name": f"s{k}", "feature": f"f{k}", "values": list("abcdefghi")} for k in range(4)]
    policy = split(segments=many)
    state, counts = begin(policy), Counts((500, 5), (4500, 45))
    look = Look(0.0, {metric.name: counts for metric in policy.metrics})
    assert len(policy.metrics) == 41
    assert len(json.dumps(update(policy, state, look))) < 48 * 1024


@pytest.mark.parametrize(
    ("segments", "why"),
    [
        ([PLAN, PLAN], "segments: the name 'plan' stands more than once"),
        ([{"name": "plan", "values": ["a"]}], "exactly one of feature and label"),
        ([{"name": "plan", "feature": "plan"}], "exactly one of values and edges"),
        ([{"name": "plan", "label": "plan", "edges": [1]}], "edges are for the numbers of a feature"),
        ([{**PLAN, "values": ["a", "other"]}], "other is what is in none of the values"),
        ([{**PLAN, "values": ["a", "a"]}], "values must differ"),
        ([{"name": "tenure", "feature": "tenure", "edges": [2, 1]}], "edges must rise"),
        ([{"name": "shop", "label": "shop", "values": ["a"]}], "each segment must split a metric"),
        ([{**PLAN, "name": f"s{k}", "values": list("abcdefghij")} for k in range(4)], "too many comparisons"),
        ([{**PLAN, "valeus": ["a"]}], "no field 'valeus'"),
    ],
)
def test_segments_that_make_no_sense_are_refused(segments: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        a_policy(segments=segments)


def test_a_group_is_found_by_its_labels() -> None:
    label = {"name": "shop", "label": "shop", "values": ["a", "b"]}
    policy = split(a_metric(), REFUNDS, segments=[PLAN, label])

    def within(name: str) -> Any:
        metric: Metric = next(one for one in policy.metrics if one.name == name)
        assert isinstance(metric, GroupMetric)
        return metric.within

    assert within("refunds of shop a") == (("shop", "=", "a"),)
    counted = Segment.model_validate(PLAN).counted_as
    assert within("errors of plan other") == (("segment", "=", counted), ("value", "=", "other"))


def test_pods_that_count_by_other_groups_of_a_segments_name_count_something_else() -> None:
    """`other` is not the same users, and a feature not the same question."""
    said: list[dict[str, Any]] = [PLAN, {**PLAN, "values": ["basic"]}, {**PLAN, "feature": "tariff"}]
    said += [{"name": "plan", "feature": "plan", "edges": [1, 2]}, {"name": "plan", "feature": "plan", "edges": [1, 3]}]
    assert len({Segment.model_validate(one).counted_as for one in said}) == 5


@pytest.mark.parametrize(
    ("e_values", "reported"),
    [
        ([], []),
        ([1.0, 1.0], [False, False]),
        ([100.0, 1.0], [False, False]),  # one of two needs 2 / 0.01
        ([200.0, 1.0], [True, False]),
        ([100.0, 100.0], [True, True]),
        ([1000.0, 90.0, 150.0], [True, False, True]),
    ],
)
def test_discoveries_are_those_of_e_bh(e_values: list[float], reported: list[bool]) -> None:
    assert discoveries(np.log(e_values), 0.01).tolist() == reported


def test_the_e_value_of_a_uniform_p_value_has_mean_one() -> None:
    p = (np.arange(10**6) + 0.5) / 10**6

    assert np.exp(log_e_value(p)).mean() == pytest.approx(1.0, abs=1e-3)
