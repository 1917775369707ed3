"""Clustered events are recognised, and known as such they roll no healthy canary back."""

from typing import Any

import numpy as np
import pytest
from numpy.random import Generator

from tests.unit.analysis.builders import a_metric, a_policy, counted, measured
from upright.analysis import Counts, Look, begin, estimate_dispersion, update, verdict


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
