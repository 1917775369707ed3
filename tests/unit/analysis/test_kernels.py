"""The factor of one look has mean at most 1 under the null: computed exactly, by summing over all outcomes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from upright.analysis import rates, ratio
from upright.analysis.looks import Table, table_of


def outcomes(n_c: int, n_s: int) -> Table:
    """Every outcome of a look, one a run."""
    e_c, e_s = (grid.reshape(-1, 1).astype(float) for grid in np.mgrid[0 : n_c + 1, 0 : n_s + 1])
    return table_of((np.full_like(e_c, n_c), e_c), (np.full_like(e_s, n_s), e_s))


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
    against = ratio.bets(np.array([0.1, 0.5, 0.9, 1.1, 2.0, 10.0, 100.0]), r0, epsilon)

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

    mean = mean_factor(
        rates.compare(table, np.full_like(table.canary_bad, guess), r0, epsilon), table, r0 * p_s + epsilon, p_s
    )

    assert np.all(mean <= 1 + 1e-9)


@pytest.mark.parametrize("maximum", [0.001, 0.05, 0.9])
def test_a_rate_at_its_limit_is_no_evidence(maximum: float) -> None:
    table = outcomes(50, 0)

    mean = mean_factor(rates.against_limit(table.canary_total, table.canary_bad, maximum), table, maximum, 0.5)

    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize(("r0", "epsilon"), [(1.0, 0.0), (1.5, 0.0), (1.0, 0.03)])
def test_the_bet_on_rates_is_the_likelihood_ratio_to_the_nearest_null_point(r0: float, epsilon: float) -> None:
    n_c, n_s, p_s1, g = 30.0, 70.0, 0.2, 2.0
    limit = r0 * p_s1 + epsilon
    p_c1 = g * limit / (1 + (g - 1) * limit)
    q = np.linspace(1e-4, (1 - epsilon) / r0 - 1e-4, 400_001)

    def divergence(p: float, q: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))

    nearest = q[np.argmin(n_c * divergence(p_c1, r0 * q + epsilon) + n_s * divergence(p_s1, q))]
    table = Table(np.array([[(n_c, 12.0, n_s, 15.0)]]))

    def log_likelihood(p_c: float, p_s: float) -> float:
        return float(12 * np.log(p_c) + 18 * np.log(1 - p_c) + 15 * np.log(p_s) + 55 * np.log(1 - p_s))

    llr = rates.compare(table, np.array([[p_s1]]), r0, epsilon, np.array([g]))[0, 0, 0]

    assert llr == pytest.approx(log_likelihood(p_c1, p_s1) - log_likelihood(r0 * nearest + epsilon, nearest), abs=1e-3)


def test_a_rate_whose_tolerance_reaches_one_is_never_evidence() -> None:
    table = Table(np.array([[(100.0, 100.0, 100.0, 90.0)]]))

    assert not rates.compare(table, np.array([[0.9]]), 1.25, 0.0).any()


@pytest.mark.parametrize("requests", [1e9, 1e12])
def test_huge_counts_stay_finite(requests: float) -> None:
    table = Table(np.array([[(requests, requests, requests, 0.0)]]))

    assert np.isfinite(ratio.compare(table, ratio.bets(ratio.EFFECTS, 1.25))).all()
    assert np.isfinite(rates.compare(table, np.array([[1e-9]]), 1.25, 0.0)).all()
    assert np.isfinite(rates.compare(table, np.array([[1e-9]]), 1.0, 0.01)).all()
