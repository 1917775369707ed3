"""Whether the stable version's rate changes between looks that follow on each other."""

import numpy as np
import pytest

from upright.analysis import Counts, Histogram
from upright.analysis.steadiness import LEVEL, changes

ANY = (5, 5)
"""Of the canary, at which nobody looks."""


@pytest.mark.parametrize(
    ("stable", "changing"),
    [
        ([(1000, 10), (1000, 12), (1000, 9)], False),
        ([(1000, 10), (1000, 10), (1000, 300)], True),
        ([(1000, 300), (1000, 10)], True),
        ([(1000, 0), (1000, 0), (1000, 0)], False),
        ([(1000, 1000), (1000, 1000), (1000, 1000)], False),
        ([(1000, 0), (0, 0), (1000, 1)], False),
        ([(1000, 10)], False),
        ([(10, 0), (5000, 50), (100, 1)], False),
    ],
)
def test_a_rate_changes_beyond_chance_or_not(stable: list[tuple[float, float]], *, changing: bool) -> None:
    assert changes([Counts(ANY, one) for one in stable]) is changing


def test_edges_of_a_histogram_are_looked_at_each() -> None:
    steady = Histogram(ANY, (900, 90, 10), (0.1, 0.5))
    assert not changes([steady] * 3)
    assert changes([steady, steady, Histogram(ANY, (900, 40, 60), (0.1, 0.5))])


def test_what_is_not_known_of_the_stable_version_changes_nothing() -> None:
    assert not changes([Counts(ANY, None), Counts(ANY, (100, 100)), Counts(ANY, None)])


@pytest.mark.parametrize("dispersion", [1.0, 4.0])
def test_a_steady_rate_is_seldom_taken_for_one_that_changes(dispersion: float) -> None:
    """In so many looks a share of about LEVEL, also where events come in groups that dispersion tells of."""
    rng = np.random.default_rng(3)
    taken = 0
    for _ in range(2000):
        bad = rng.binomial(int(2000 / dispersion), 0.02, 3) * dispersion
        taken += changes([Counts(ANY, (2000, one)) for one in bad], dispersion)
    assert taken / 2000 < 2 * LEVEL
