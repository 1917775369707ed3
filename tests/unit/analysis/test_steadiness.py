"""The stable version's counts of a look, where its rate changes between that and its neighbours."""

import numpy as np
import pytest

from upright.analysis import Counts, Histogram
from upright.analysis.steadiness import LEVEL, settled

ANY = (5, 5)
"""Of the canary, at which nobody looks."""


@pytest.mark.parametrize(
    ("before", "stable", "later", "then"),
    [
        ((1000, 10), (1000, 12), (1000, 9), (1000, 12)),
        ((1000, 10), (1000, 10), (900, 300), (900, 300)),
        ((1000, 300), (1000, 10), None, (1000, 300)),
        ((1000, 10), (1000, 300), (1000, 10), (1000, 300)),
        ((1000, 0), (1000, 0), (1000, 0), (1000, 0)),
        ((1000, 1000), (1000, 1000), (1000, 1000), (1000, 1000)),
        ((1000, 500), (0, 0), (1000, 1), (0, 0)),
        (None, (1000, 10), None, (1000, 10)),
        ((10, 0), (5000, 50), (100, 1), (5000, 50)),
    ],
)
def test_where_the_rate_changes_it_is_the_highest_about_the_look(
    before: tuple[float, float] | None,
    stable: tuple[float, float],
    later: tuple[float, float] | None,
    then: tuple[float, float],
) -> None:
    look = Counts(ANY, stable)
    assert settled(look, [Counts(ANY, one) for one in (before, later) if one]) == Counts(ANY, then)


def test_edges_of_a_histogram_are_looked_at_each() -> None:
    steady = Histogram(ANY, (900, 90, 10), (0.1, 0.5))
    assert settled(steady, [steady, steady]) is steady
    slow, wide = Histogram(ANY, (900, 40, 60), (0.1, 0.5)), Histogram(ANY, (1400, 590, 10), (0.1, 0.5))
    assert settled(steady, [slow, wide]) == Histogram(ANY, pytest.approx((700, 240, 60)), (0.1, 0.5))  # type: ignore[arg-type]


def test_what_is_not_known_of_the_stable_version_changes_nothing() -> None:
    known, unknown = Counts(ANY, (100, 100)), Counts(ANY, None)
    assert settled(unknown, [known, known]) is unknown
    assert settled(known, [unknown, unknown]) is known


@pytest.mark.parametrize("dispersion", [1.0, 4.0])
def test_a_steady_rate_is_seldom_taken_for_one_that_changes(dispersion: float) -> None:
    """In so many looks a share of about LEVEL, also where events come in groups that dispersion tells of."""
    rng = np.random.default_rng(3)
    changed = 0
    for _ in range(2000):
        look, *others = (Counts(ANY, (2000, one * dispersion)) for one in rng.binomial(int(2000 / dispersion), 0.02, 3))
        changed += settled(look, others, dispersion) is not look
    assert changed / 2000 < 2 * LEVEL
