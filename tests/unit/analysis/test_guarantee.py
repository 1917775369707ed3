"""Healthy canaries at the very edge of the tolerance, simulated: few enough are rolled back.

Thresholds are alpha plus three standard errors of the simulation, so that a healthy implementation fails less than one
time in a thousand; the seeds are fixed, so in fact never. The full tables are printed by tests/bench/analysis.
"""

import math
from typing import Any

import numpy as np
import pytest

from tests.unit.analysis.builders import a_metric, a_policy, counted
from upright.analysis import Counts, Histogram, Look, begin, update, verdict

RUNS = 2000
ALPHA = 0.05
LIMIT = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)
PROMOTED = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def rolled_back(metric: dict[str, Any], looks: list[Any]) -> float:
    policy = a_policy(metric, falseRollbackProbability=ALPHA, horizon="10m")
    state = begin(policy)
    for k, measurement in enumerate(looks):
        state = update(policy, state, Look(15.0 * k, {metric["name"]: measurement}))
    return float((np.asarray(verdict(policy, state).decision) == "Rollback").mean())


@pytest.mark.parametrize("type", ["ErrorRate", "Quality"])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_at_the_edge_of_the_tolerance_few_are_rolled_back(type: str, share: float) -> None:
    rng = np.random.default_rng(1)
    looks = [
        Counts(counted(rng, 0.05 * 1.25, 1500 * share, RUNS), counted(rng, 0.05, 1500 * (1 - share), RUNS))
        for _ in range(40)
    ]

    assert rolled_back(a_metric(type, tolerance={"relative": 0.25}), looks) <= LIMIT


@pytest.mark.parametrize("type", ["ErrorRate", "Quality"])
def test_at_the_edge_of_the_absolute_tolerance_few_are_rolled_back(type: str) -> None:
    rng = np.random.default_rng(2)
    looks = [Counts(counted(rng, 0.03, 400, RUNS), counted(rng, 0.02, 1200, RUNS)) for _ in range(40)]

    assert rolled_back(a_metric(type, tolerance={"absolute": 0.01}), looks) <= LIMIT


def test_a_ramp_of_the_traffic_with_a_drifting_base_rate_rolls_few_back() -> None:
    rng = np.random.default_rng(3)
    looks = []
    for k in range(40):
        share, rate = (0.05, 0.2, 0.5)[min(2, k // 14)], 0.01 + 0.03 * k / 40
        looks.append(Counts(counted(rng, rate, 1500 * share, RUNS), counted(rng, rate, 1500 * (1 - share), RUNS)))

    assert rolled_back(a_metric(tolerance={"relative": 0.0}), looks) <= LIMIT


def test_latencies_of_the_same_distribution_roll_few_back() -> None:
    rng = np.random.default_rng(4)
    shares = np.array([0.3, 0.3, 0.2, 0.1, 0.07, 0.03])
    edges = [0.05, 0.1, 0.2, 0.5, 1.0]
    looks = [
        Histogram(rng.poisson(150 * shares, (RUNS, 6)), rng.poisson(1350 * shares, (RUNS, 6)), edges) for _ in range(40)
    ]

    assert rolled_back(a_metric("Latency", "latency", tolerance={"relative": 0.0}), looks) <= LIMIT


def test_means_of_the_same_distribution_roll_few_back() -> None:
    from upright.analysis import Moments

    rng = np.random.default_rng(5)
    looks = []
    for _ in range(40):
        arms = []
        for number in (50, 200):
            values = rng.exponential(10.0, (RUNS, number))
            arms.append((number, values.sum(axis=1), (values**2).sum(axis=1)))
        looks.append(Moments(arms[0], arms[1]))

    assert rolled_back(a_metric("Mean", "revenue", tolerance={"absolute": 0.0}), looks) <= LIMIT


def test_a_canary_twice_as_bad_is_seldom_promoted_before_the_horizon() -> None:
    rng = np.random.default_rng(6)
    policy = a_policy(falseRollbackProbability=1e-9, horizon="24h")
    state = begin(policy)
    for k in range(100):
        look = Counts(counted(rng, 0.02, 300, RUNS), counted(rng, 0.01, 1200, RUNS))
        state = update(policy, state, Look(15.0 * k, {"errors": look}))

    promoted = (np.asarray(verdict(policy, state).decision) == "Promote").mean()

    assert promoted <= PROMOTED


@pytest.mark.parametrize(
    ("type", "canary", "stable"),
    [
        ("ErrorRate", 0.0011, 0.0001),
        ("ErrorRate", 0.0020, 0.0010),  # at both bounds
        ("RefusalRate", 0.0120, 0.0005),
        ("Quality", 0.0200, 0.0100),
    ],
)
def test_a_canary_worse_than_ratio_and_absolute_tolerance_allow_is_seldom_promoted_before_the_horizon(
    type: str, canary: float, stable: float
) -> None:
    looks = _alike(canary, stable, RUNS)
    assert _promoted(a_metric(type), looks) <= PROMOTED


def test_slow_requests_in_places_where_there_were_none_promote_no_canary_before_the_horizon() -> None:
    rng, looks = np.random.default_rng(8), []
    for _ in range(60):
        canary = rng.poisson([700, 70, 7], (RUNS, 3))  # 0.9 % above 1 s
        looks.append(Histogram(canary, np.pad(rng.poisson([2200, 220], (RUNS, 2)), ((0, 0), (0, 1))), [0.1, 1.0]))
    assert _promoted(a_metric("Latency"), looks) <= PROMOTED


def test_a_canary_without_errors_beside_a_stable_version_without_is_promoted_before_the_horizon() -> None:
    assert _promoted(a_metric(), _alike(0.0, 0.0, 1)) == 1
    assert _promoted(a_metric("Ratio"), _alike(0.0, 0.0, 1)) == 0  # nobody has said what is tolerable


def _alike(canary: float, stable: float, runs: int) -> list[Any]:
    rng = np.random.default_rng(7)
    return [Counts(counted(rng, canary, 750, runs), counted(rng, stable, 2250, runs)) for _ in range(60)]


def _promoted(metric: dict[str, Any], looks: list[Any]) -> float:
    policy = a_policy(metric)
    state = begin(policy)
    promoted = np.zeros(1, dtype=np.bool_)
    for k, measurement in enumerate(looks):
        state = update(policy, state, Look(15.0 * k, {metric["name"]: measurement}))
        promoted = promoted | (np.asarray(verdict(policy, state, ends=False).decision) == "Promote")
    return float(promoted.mean())
