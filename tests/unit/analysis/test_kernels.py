"""The factor of one look has mean at most 1 under the null: computed exactly, by summing over all outcomes."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from upright.analysis import Counts, rates, ratio
from upright.analysis.bets import bets
from upright.analysis.looks import Table, tabulated


def outcomes(n_c: int, n_s: int) -> Table:
    """Every outcome of a look, one a run."""
    e_c, e_s = (grid.reshape(-1).astype(float) for grid in np.mgrid[0 : n_c + 1, 0 : n_s + 1])
    return tabulated(Counts((n_c, e_c), (n_s, e_s)))


def probability(total: int, bad: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    from scipy.stats import binom

    return np.asarray(binom.pmf(bad[:, 0], total, rate))


def mean_factor(llr: NDArray[np.float64], table: Table, p_c: float, p_s: float) -> NDArray[np.float64]:
    n_c, n_s = int(table.canary_total[0, 0]), int(table.stable_total[0, 0])
    weight = probability(n_c, table.canary_bad, p_c) * probability(n_s, table.stable_bad, p_s)
    return np.asarray((weight[:, None] * np.exp(llr[:, 0])).sum(axis=0))


@pytest.mark.parametrize("p_s", [0.0, 0.001, 0.02, 0.3, 0.7])
@pytest.mark.parametrize(("n_c", "n_s"), [(1, 1), (5, 60), (40, 40), (60, 3)])
@pytest.mark.parametrize(("r0", "epsilon"), [(1.0, 0.0), (1.25, 0.0), (1.0, 0.02), (1.0, 0.2)])
def test_errors_at_the_edge_of_the_tolerance_are_no_evidence(
    p_s: float, n_c: int, n_s: int, r0: float, epsilon: float
) -> None:
    table = outcomes(n_c, n_s)
    against = bets(np.array([0.1, 0.5, 0.9, 1.1, 2.0, 10.0, 100.0]), r0, epsilon)

    mean = mean_factor(ratio.compare(table, against), table, min(1.0, r0 * p_s + epsilon), p_s)

    assert np.all(mean <= 1 + 1e-12)


@pytest.mark.parametrize("p_s", [0.001, 0.05, 0.3, 0.7])
@pytest.mark.parametrize("guess", [0.001, 0.05, 0.4, 0.75])
@pytest.mark.parametrize(("n_c", "n_s"), [(1, 1), (5, 60), (40, 40), (60, 3)])
@pytest.mark.parametrize(("r0", "epsilon"), [(1.0, 0.0), (1.25, 0.0), (1.0, 0.05), (1.1, 0.02)])
def test_rates_at_the_edge_of_the_tolerance_are_no_evidence_whatever_the_guess(
    p_s: float, guess: float, n_c: int, n_s: int, r0: float, epsilon: float
) -> None:
    table = outcomes(n_c, n_s)

    against = bets(np.concatenate(([0.1, 0.5, 0.9], rates.EFFECTS)), r0, epsilon)

    mean = mean_factor(
        rates.compare(table, np.full_like(table.canary_bad, guess), against), table, r0 * p_s + epsilon, p_s
    )

    assert np.all(mean <= 1 + 1e-9)


@pytest.mark.parametrize("maximum", [0.001, 0.05, 0.9])
def test_a_rate_at_its_limit_is_no_evidence(maximum: float) -> None:
    table = outcomes(50, 0)

    mean = mean_factor(rates.against_limit(table.canary_total, table.canary_bad, maximum), table, maximum, 0.5)

    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("p_s", [0.001, 0.02, 0.2, 0.6])
@pytest.mark.parametrize(("n_c", "n_s"), [(50.0, 950.0), (500.0, 500.0), (900.0, 100.0)])
@pytest.mark.parametrize(("r0", "epsilon"), [(1.0, 0.0), (1.25, 0.0), (1.0, 0.01), (1.1, 0.02)])
def test_the_bet_on_rates_grows_nearly_as_the_likelihood_ratio_to_the_nearest_null_point(
    p_s: float, n_c: float, n_s: float, r0: float, epsilon: float
) -> None:
    limit = r0 * p_s + epsilon
    p_c = rates.EFFECTS * limit / (1 + (rates.EFFECTS - 1) * limit)
    q = np.geomspace(p_s, p_c / r0, 100_001)  # of each bet
    best = (n_c * divergence(p_c, r0 * q + epsilon) + n_s * divergence(p_s, q)).min(axis=0)
    # the llr is linear in the events, so that of the expected events is the expected one
    expected = np.array([(n_c, n_c * p, n_s, n_s * p_s) for p in p_c])

    llr = rates.compare(Table(expected[:, None]), np.full((len(p_c), 1), p_s), bets(rates.EFFECTS, r0, epsilon))

    assert np.all(np.diagonal(llr[:, 0]) >= 0.85 * best)


def divergence(p: Any, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kullback and Leibler's, of two events; infinite where q is no probability."""
    inside = np.clip(q, 1e-12, 1 - 1e-12)
    between = p * np.log(p / inside) + (1 - p) * np.log((1 - p) / (1 - inside))
    return np.asarray(np.where(q < 1, between, np.inf))


def test_a_rate_whose_tolerance_reaches_one_is_never_evidence() -> None:
    table = Table(np.array([[(100.0, 100.0, 100.0, 90.0)]]))

    assert not rates.compare(table, np.array([[0.9]]), bets(rates.EFFECTS, 1.25)).any()


@pytest.mark.parametrize("epsilon", [0.96, 0.9999999, 1.0])
@pytest.mark.parametrize("guess", [1e-9, 0.001, 0.75])
def test_nothing_is_worse_than_a_tolerance_beyond_the_ceiling_and_to_be_better_takes_evidence(
    epsilon: float, guess: float
) -> None:
    table, better = outcomes(20, 60), np.array([0.1, 0.5, 0.9])

    llr = rates.compare(
        table, np.full_like(table.canary_bad, guess), bets(np.concatenate((better, rates.EFFECTS)), epsilon=epsilon)
    )

    assert np.isfinite(llr).all()
    assert not llr[..., len(better) :].any()
    assert np.all(mean_factor(llr, table, epsilon, 0.0) <= 1 + 1e-9)


@pytest.mark.parametrize("requests", [1e9, 1e12])
def test_huge_counts_stay_finite(requests: float) -> None:
    table = Table(np.array([[(requests, requests, requests, 0.0)]]))

    assert np.isfinite(ratio.compare(table, bets(ratio.EFFECTS, 1.25))).all()
    assert np.isfinite(rates.compare(table, np.array([[1e-9]]), bets(rates.EFFECTS, 1.25))).all()
    assert np.isfinite(rates.compare(table, np.array([[1e-9]]), bets(rates.EFFECTS, epsilon=0.01))).all()
