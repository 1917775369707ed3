"""The exact boundary: what it spends is what it says, computed by hand over all outcomes, and it finds more."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from tests.unit.analysis.builders import EXACT, a_metric, a_policy, counted, errors
from upright.analysis import Counts, Decision, Look, Policy, begin, update, verdict
from upright.analysis import exact as boundary
from upright.analysis.looks import tabulated


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("r0", [1.0, 1.25])
def test_a_canary_at_the_edge_is_rolled_back_exactly_as_often_as_was_spent(alpha: float, r0: float) -> None:
    looks = [(100.0, 900.0, 2), (100.0, 900.0, 0), (500.0, 500.0, 3), (300.0, 900.0, 6), (50.0, 10.0, 2)]
    paths = np.array(list(itertools.product(*(range(events + 1) for _, _, events in looks))), dtype=np.float64)
    memory = boundary.empty(len(paths))
    likely, crossed = np.ones(len(paths)), np.zeros(len(paths), dtype=np.bool_)
    for place, (n_c, n_s, events) in enumerate(looks):
        e_c = paths[:, place]
        likely *= binom.pmf(e_c, events, n_c * r0 / (n_c * r0 + n_s))
        table = tabulated(Counts((n_c, e_c), (n_s, events - e_c)))
        elapsed = np.full(len(paths), (place + 1) / len(looks))
        memory = boundary.seen(memory, table, r0, alpha, elapsed)
        crossed |= boundary.evidence(memory, np.zeros(len(paths)), alpha) >= math.log(1 / alpha)

    assert likely.sum() == pytest.approx(1.0)
    assert likely[crossed].sum() == pytest.approx(memory.spent[0])
    assert 0 < memory.spent[0] <= alpha


def exact(**fields: Any) -> Policy:
    return a_policy(a_metric(**{**EXACT, "tolerance": {"relative": 0.0}}), **fields)


def mixture(**fields: Any) -> Policy:
    return a_policy(a_metric(dispersion=1, tolerance={"relative": 0.0}), **fields)


def rolled_back(policy: Policy, rate: float, runs: int, canary: float, stable: float) -> NDArray[np.bool_]:
    rng, state = np.random.default_rng(1), begin(policy)
    for k in range(120):
        look = Counts(counted(rng, rate, canary, runs), counted(rng, 0.01, stable, runs))
        state = update(policy, state, Look(15.0 * k, {"errors": look}))
    return np.asarray(np.asarray(verdict(policy, state).decision) == "Rollback")


@pytest.mark.parametrize("traffic", [(1.5, 13.5), (7.5, 142.5), (75.0, 1425.0)])
def test_few_healthy_canaries_are_rolled_back_also_where_the_mixture_takes_over(traffic: tuple[float, float]) -> None:
    alpha, runs = 0.05, 4000

    share = rolled_back(exact(falseRollbackProbability=alpha), 0.01, runs, *traffic).mean()

    assert share <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def test_of_regressions_with_few_errors_more_are_found_than_by_the_mixture() -> None:
    found, usually = (rolled_back(policy, 0.02, 500, 7.5, 142.5).mean() for policy in (exact(), mixture()))

    assert found > 1.5 * usually


def test_a_rollback_says_how_many_were_too_many() -> None:
    policy = exact()
    state = begin(policy)
    for k in range(2):
        state = update(policy, state, errors(15.0 * k, (10, 2), (190, 1)))

    said = verdict(policy, state)

    assert said.decision is Decision.ROLLBACK
    assert said.evidence >= said.threshold
    assert "errors is 20 % in the canary against stable 0.526 %" in said.message
    assert "(4 in all, too many from 4 on)" in said.message


def test_a_look_without_events_changes_no_evidence() -> None:
    policy = exact()
    before = update(policy, begin(policy), errors(0.0, (100, 2), (900, 5)))

    after = update(policy, before, errors(15.0, (100, 0), (900, 0)))

    assert verdict(policy, after).evidence == verdict(policy, before).evidence


def test_fractions_of_events_are_not_used_and_named() -> None:
    policy = exact()

    said = verdict(policy, update(policy, begin(policy), errors(0.0, (100, 2.5), (900, 5))))

    assert said.metrics[0].looks == 0
    assert "not a whole number" in said.message


def test_each_exact_metric_has_its_own_part_of_the_promise() -> None:
    policy = a_policy(a_metric(name="a", weight=3, **EXACT), a_metric(name="b", **EXACT), a_metric(name="c"))
    state = begin(policy)
    for k in range(4):
        healthy, bad = Counts((100, 1), (900, 9)), Counts((100, 12), (900, 9))
        state = update(policy, state, Look(15.0 * k, {"a": healthy, "b": bad, "c": healthy}))

    said = verdict(policy, state)

    assert policy.share(policy.metrics[1]) == pytest.approx(0.01 / 5)
    assert (said.decision, said.metric) == (Decision.ROLLBACK, "b")


def test_a_million_events_a_look_are_left_to_the_mixture() -> None:
    policy = exact()

    said = verdict(policy, update(policy, begin(policy), errors(0.0, (10**9, 10**7), (10**9, 10**7))))

    assert math.isfinite(said.evidence)
    assert "too many from" not in said.message
