"""Clustered events are recognised, and known as such they roll no healthy canary back."""

from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from tests.unit.analysis.builders import EXACT, a_metric, a_policy, counted, measured, stored
from upright.analysis import Counts, Histogram, Look, Moments, begin, estimate_dispersion, update, verdict
from upright.analysis.dispersion import BOUNDED, MOST, nothing, seen
from upright.api.policy import Policy


def clustered(rng: Generator, requests: float, runs: int | None = None, size: int = 8) -> tuple[Any, Any]:
    """1 % errors that come in groups of `size`."""
    total = rng.poisson(requests, runs)
    return total, np.minimum(total, size * rng.poisson(0.01 * requests / size, runs))


def test_independent_errors_have_the_least_dispersion() -> None:
    rng = np.random.default_rng(1)
    policy = a_policy(a_metric(), a_metric("Latency", "latency"), a_metric("Quality", "quality"), a_metric("Mean", "m"))
    looks = [
        Look(
            float(k),
            {
                "errors": Counts(counted(rng, 0.01, 700), counted(rng, 0.01, 700)),
                "latency": measured("Latency", rng),
                "quality": Counts(counted(rng, 0.4, 700), counted(rng, 0.4, 700)),
                "m": measured("Mean", rng),
            },
        )
        for k in range(480)
    ]

    estimates = estimate_dispersion(policy, looks)

    assert set(estimates) == {"errors", "latency", "quality", "m"}
    assert all(1.1 <= phi < 1.35 for phi in estimates.values()), estimates


def test_errors_in_groups_of_eight_disperse_eightfold() -> None:
    rng = np.random.default_rng(2)
    looks = [Look(float(k), {"errors": Counts(clustered(rng, 700), clustered(rng, 700))}) for k in range(480)]

    assert estimate_dispersion(a_policy(), looks)["errors"] == pytest.approx(8.8, rel=0.2)


def test_what_was_not_measured_is_not_estimated() -> None:
    assert estimate_dispersion(a_policy(), [Look(0.0, {}), Look(1.0, {"errors": Counts((0, 0), (0, 0))})]) == {}


def test_with_its_dispersion_known_a_healthy_canary_with_clustered_errors_is_kept() -> None:
    rng = np.random.default_rng(3)
    policy = a_policy(a_metric(tolerance={"relative": 0.0}))
    history = [Look(float(k), {"errors": Counts(clustered(rng, 700), clustered(rng, 700))}) for k in range(480)]
    shares = {}
    for name, dispersion in (("assumed", {}), ("estimated", estimate_dispersion(policy, history))):
        state = begin(policy, dispersion=dispersion)
        for k in range(120):
            look = Look(15.0 * k, {"errors": Counts(clustered(rng, 150, 1000), clustered(rng, 1350, 1000))})
            state = update(policy, state, look)
        shares[name] = (np.asarray(verdict(policy, state).decision) == "Rollback").mean()

    assert shares["assumed"] > 0.2
    assert shares["estimated"] <= 0.01


def a_rollout(policy: Policy, seed: int, runs: int | None = None, size: int = 8) -> list[Look]:
    """A canary and four stable pods, alike, with 150 requests each a look; errors come in groups."""
    rng, looks = np.random.default_rng(seed), []
    for k in range(120):
        pods = [clustered(rng, 150, runs, size) for _ in range(5)]
        first, second, stable = (sums(*(pods[place] for place in of)) for of in ((0, 2), (1, 3), (0, 1, 2, 3)))
        name = policy.metrics[0].name
        looks.append(Look(15.0 * k, {name: Counts(pods[4], stable)}, halves={name: Counts(first, second)}))
    return looks


def sums(*pods: tuple[Any, Any]) -> tuple[Any, Any]:
    return sum(total for total, _ in pods), sum(bad for _, bad in pods)


def used(policy: Policy, looks: list[Look]) -> float:
    return verdict(policy, update(policy, begin(policy), *looks)).metrics[0].dispersion


def test_a_rollout_learns_the_dispersion_from_halves_of_the_stable_pods() -> None:
    policy = a_policy()

    assert used(policy, []) == 1
    assert used(policy, a_rollout(policy, 1)) == pytest.approx(8.8, rel=0.3)
    assert used(policy, a_rollout(policy, 1, size=1)) == pytest.approx(1.1, abs=0.15)


@pytest.mark.parametrize(("metric", "dispersion"), [(a_metric(dispersion=3), 3), (a_metric(**EXACT), 1)])
def test_a_dispersion_that_is_given_is_kept_to(metric: dict[str, Any], dispersion: float) -> None:
    policy = a_policy(metric)

    assert used(policy, a_rollout(policy, 1)) == dispersion


def test_a_dispersion_that_was_estimated_beforehand_is_kept_to() -> None:
    policy = a_policy()
    state = update(policy, begin(policy, dispersion={"errors": 2.5}), *a_rollout(policy, 1))

    assert verdict(policy, state).metrics[0].dispersion == 2.5


@pytest.mark.parametrize("type", ["ErrorRate", "Latency", "Mean"])
def test_of_one_pod_the_usual_dispersion_of_the_type_stays(type: str) -> None:
    policy, rng = a_policy(a_metric(type, "m")), np.random.default_rng(1)

    assert used(policy, [Look(15.0 * k, {"m": measured(type, rng)}) for k in range(9)]) == (
        8 if type == "Latency" else 1
    )


@pytest.mark.parametrize("type", ["ErrorRate", "Latency", "Mean"])
def test_a_look_is_weighed_by_what_those_before_it_have_taught(type: str) -> None:
    more = {"deviation": 2.0} if type == "Mean" else {}
    policy, rng = a_policy(a_metric(type, "m", **more)), np.random.default_rng(2)
    apart: Any = {
        "ErrorRate": Counts((700, 40), (700, 1)),
        "Latency": Histogram([90, 5, 5], [5, 5, 90], (0.1, 0.5)),
        "Mean": Moments((100, 1100, 12500), (100, 900, 8500)),
    }[type]
    look: Any = Histogram([90, 5, 5], [900, 50, 50], (0.1, 0.5)) if type == "Latency" else measured(type, rng, 3.0)
    looks = [Look(0.0, {"m": look}, halves={"m": apart}), Look(15.0, {"m": look})]
    without = [Look(one.time, one.measurements) for one in looks]

    after = [verdict(policy, update(policy, begin(policy), *looks[:number])).metrics[0] for number in (1, 2)]
    independent = [verdict(policy, update(policy, begin(policy), *without[:number])).metrics[0] for number in (1, 2)]

    assert after[0].evidence == independent[0].evidence
    assert after[1].evidence != independent[1].evidence
    assert after[0].dispersion > independent[0].dispersion


def test_a_restart_goes_on_bit_by_bit_with_what_was_learned() -> None:
    for metric in (a_metric(), a_metric("Latency")):
        policy, rng, state, again = a_policy(metric), np.random.default_rng(5), None, None
        for k in range(12):
            found = {"errors": measured(metric["type"], rng)}
            look = Look(15.0 * k, found, halves={"errors": measured(metric["type"], rng)})
            state = update(policy, state or begin(policy), look)
            again = stored(update(policy, again or stored(begin(policy)), look))
        assert again == stored(state or {})


def test_pods_whose_durations_differ_for_long_are_known_from_all_looks_together() -> None:
    """Each look by itself would be nothing: 50 % and 55 % of 100 requests."""
    policy = a_policy(a_metric("Latency", "m"))
    look = Histogram([50, 50], [500, 500], (0.1,))
    apart = Histogram([50, 50], [45, 55], (0.1,))

    assert used(policy, [Look(15.0 * k, {"m": look}, halves={"m": apart}) for k in range(200)]) > 50


def test_a_look_that_comes_too_early_teaches_nothing() -> None:
    policy = a_policy()
    look = a_rollout(policy, 1)[0]

    assert used(policy, [Look(look.time, {}, waits={"errors"}, halves={"errors": Counts((99, 9), (99, 0))})]) == 1


def test_independent_errors_keep_the_promise_while_it_is_learned() -> None:
    policy = a_policy(a_metric(tolerance={"relative": 0.0}))
    state = begin(policy)
    for look in a_rollout(policy, 3, runs=2000, size=1):
        state = update(policy, state, look)

    assert (np.asarray(verdict(policy, state, ends=False).decision) == "Rollback").mean() <= 0.01


def test_clusters_are_rolled_back_far_less_often_when_they_are_learned() -> None:
    shares = {}
    for known in (None, 1.0):
        policy = a_policy(a_metric(dispersion=known))
        state = begin(policy)
        for look in a_rollout(policy, 4, runs=500):
            state = update(policy, state, look)
        shares[known] = (np.asarray(verdict(policy, state, ends=False).decision) == "Rollback").mean()

    assert shares[None] < 0.3 < 0.9 < shares[1.0]


def test_a_pod_that_fails_in_one_look_hides_no_canary_that_goes_on_failing() -> None:
    policy = a_policy()
    outage = {"errors": Counts((750, 375), (750, 0))}
    look = Look(15.0, a_rollout(policy, 1)[0].measurements, halves=outage)

    assert used(policy, [look]) == MOST


@pytest.mark.parametrize(("slow", "latest"), [(0.2, 100), (0.4, 40), (0.8, 16)])
def test_a_pod_that_is_slow_for_a_minute_hides_no_canary_that_goes_on_being_slow(slow: float, latest: int) -> None:
    """One of two stable pods needs more than 0.1 s for half of its requests in four looks, otherwise a tenth."""
    policy, edges = a_policy(a_metric("Latency", "m", buckets=[0.1, 0.5])), (0.1, 0.5)
    state, looks = begin(policy), 0

    def durations(requests: float, above: float) -> Any:
        return requests * (1 - above), requests * above - requests / 100, requests / 100

    while str(verdict(policy, state).decision) != "Rollback":
        looks += 1
        one, other = durations(1500, 0.5 if 3 <= looks < 7 else 0.1), durations(1500, 0.1)
        stable = tuple(map(sum, zip(one, other, strict=True)))
        canary = durations(750, 0.1 if looks < 10 else slow)
        found = Look(15.0 * looks, {"m": Histogram(canary, stable, edges)}, halves={"m": Histogram(one, other, edges)})
        state = update(policy, state, found)
        assert looks <= latest
    assert looks >= 10


def test_the_bound_of_a_look_costs_normal_differences_what_is_divided_by() -> None:
    rng, metric = np.random.default_rng(8), a_policy(a_metric("Latency", "m", buckets=[0.1])).metrics[0]
    bounded = free = nothing(300, 1)
    for _ in range(200):
        slow = rng.normal(200, 20, (2, 300))  # 2.5 times the variance of independent ones
        one, other = np.stack((1000 - slow, slow), axis=-1)
        halves = Histogram(one, other, (0.1,))
        bounded, free = seen(bounded, halves, (0.1,), metric), seen(free, halves, (0.1,))

    assert bounded.squares.sum() / free.squares.sum() == pytest.approx(BOUNDED, abs=0.025)
