"""What holds for all looks: sampled by Hypothesis."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.analysis.builders import EXACT, a_metric, a_policy, counted, errors
from upright.analysis import Counts, Decision, Histogram, Look, Moments, begin, update, verdict
from upright.analysis.counters import Sample, increase
from upright.analysis.looks import Measurement

arm = st.integers(0, 10**6).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total)))
anything = st.one_of(st.integers(-(10**10), 10**10), st.floats(allow_nan=True, allow_infinity=True))
rough_arm = st.tuples(anything, anything)
size = st.sampled_from([0.0, 1.0, 7.0, 1e3, 1e6, 1e10, 2.0**53 - 1, 2.0**53, 1e17, 1e50, 1e99])
"""What might be counted, were a counter to jump."""
jump = st.tuples(size, size).map(lambda pair: (max(pair), min(pair)))
COUNTED = [*(a_metric(kind, "m") for kind in ("ErrorRate", "Quality", "Ratio", "Limit")), a_metric(name="m", **EXACT)]


@given(st.sampled_from(COUNTED), st.lists(st.tuples(rough_arm | arm | jump, rough_arm | arm | jump), max_size=15))
@example(a_metric(name="m"), [((750, 1), (1e17, 0)), ((1e17, 0), (1, 1))] * 2)
@example(a_metric(name="m", **EXACT), [((2, 2), (2.0**53 - 1, 2.0**53 - 1))] * 2)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_evidence_is_a_finite_number_of_at_least_zero_whatever_is_counted(
    metric: dict[str, Any], looks: list[Any]
) -> None:
    assert_evidence_is_a_number(metric, [Counts(canary, stable) for canary, stable in looks])


bucket = st.lists(anything, min_size=3, max_size=3) | st.lists(size, min_size=3, max_size=3)
moment = st.tuples(anything, anything, anything) | st.tuples(size, size).map(
    lambda pair: (pair[0], pair[1], pair[1] * pair[1] / max(pair[0], 1.0))
)


@given(st.lists(st.tuples(bucket, bucket), max_size=15))
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_evidence_is_a_finite_number_of_at_least_zero_whatever_took_how_long(looks: list[Any]) -> None:
    measurements = [Histogram(canary, stable, [0.1, 1.0]) for canary, stable in looks]
    assert_evidence_is_a_number(a_metric("Latency", "m"), measurements)


@given(st.lists(st.tuples(moment, moment), max_size=15))
@example([((0, 0, 0), (0, 0, 0)), ((1, 1, 1.0), (1, 2.225073858507203e-309, 0))])  # a ratio that no number holds
@settings(max_examples=100, deadline=None)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_evidence_is_a_finite_number_of_at_least_zero_whatever_the_values_are(looks: list[Any]) -> None:
    assert_evidence_is_a_number(a_metric("Mean", "m"), [Moments(canary, stable) for canary, stable in looks])


def assert_evidence_is_a_number(metric: dict[str, Any], measurements: Sequence[Measurement]) -> None:
    policy = a_policy(metric)
    state = begin(policy)
    for time, measurement in enumerate(measurements):
        halves = {"m": measurements[time - 1]}
        state = update(policy, state, Look(float(time), {"m": measurement}, halves=halves))

    said = verdict(policy, state)

    assert 0 <= said.evidence < math.inf
    assert said.interval is None or said.interval[0] <= said.interval[1]


pods = st.dictionaries(
    st.text("abc", min_size=1, max_size=3), st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1
)


@given(pods, st.randoms(use_true_random=False))
def test_the_order_of_pods_makes_no_difference(growth: dict[str, tuple[int, int]], random: Random) -> None:
    before = {pod: Sample(0.0, (10.0, 1.0)) for pod in growth}
    now = {pod: Sample(15.0, (10.0 + good + bad, 1.0 + bad)) for pod, (good, bad) in growth.items()}
    shuffled = list(now.items())
    random.shuffle(shuffled)

    assert increase(before, dict(shuffled), 60.0) == increase(before, now, 60.0)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=20))
def test_splitting_a_look_over_pods_makes_no_difference(parts: list[tuple[int, int]]) -> None:
    many_before = {str(pod): Sample(0.0, (0.0, 0.0)) for pod in range(len(parts))}
    many = {str(pod): Sample(15.0, (good + bad, bad)) for pod, (good, bad) in enumerate(parts)}
    total, bad = sum(good + bad for good, bad in parts), sum(bad for _, bad in parts)

    split = increase(many_before, many, 60.0)
    whole = increase({"one": Sample(0.0, (0.0, 0.0))}, {"one": Sample(15.0, (total, bad))}, 60.0)

    assert split.counts == whole.counts


@given(st.sampled_from(["ErrorRate", "Quality", "Exact"]), arm, arm, st.integers(1, 30))
@settings(deadline=None)
def test_swapped_arms_are_never_both_worse(
    kind: str, first: tuple[int, int], second: tuple[int, int], looks: int
) -> None:
    metric = a_metric(name="m", **EXACT) if kind == "Exact" else a_metric(kind, "m")
    policy = a_policy({**metric, "tolerance": {"relative": 0.0}})
    crossed = []
    for canary, stable in ((first, second), (second, first)):
        state = begin(policy)
        for k in range(looks):
            state = update(policy, state, errors(float(k), canary, stable, "m"))
        crossed.append(verdict(policy, state).decision is Decision.ROLLBACK)

    assert not all(crossed)


@given(st.sampled_from(["ErrorRate", "Quality"]), st.integers(0, 2**32), st.sampled_from([0.02, 0.03, 0.05]))
@settings(max_examples=20, deadline=None)
def test_more_traffic_under_a_regression_never_lowers_the_median_evidence(kind: str, seed: int, rate: float) -> None:
    medians = []
    for requests in (50, 500, 5000):
        rng = np.random.default_rng(seed)
        policy = a_policy(a_metric(kind, tolerance={"relative": 0.25}), falseRollbackProbability=1e-6)
        state = begin(policy)
        for k in range(10):
            state = update(
                policy,
                state,
                errors(float(k), counted(rng, rate, requests, 300), counted(rng, 0.01, requests * 4, 300)),
            )
        medians.append(float(np.median(np.asarray(verdict(policy, state).evidence))))

    assert medians == sorted(medians)
