"""Counters of pods become the counts of a look; what cannot be trusted is named and left out."""

import math

import pytest

from upright.analysis import counters
from upright.analysis.counters import Sample, increase


def test_a_look_is_the_sum_of_what_its_pods_counted() -> None:
    before = {"a": Sample(0.0, (100, 5)), "b": Sample(1.0, (50, 0))}
    now = {"a": Sample(15.0, (160, 6)), "b": Sample(16.0, (90, 2))}

    assert increase(before, now, 60.0).counts == (100, 3)


def test_a_pod_that_began_again_counts_from_zero() -> None:
    assert increase({"a": Sample(0.0, (100, 5))}, {"a": Sample(15.0, (40, 2))}, 60.0).counts == (40, 2)


@pytest.mark.parametrize(
    ("before", "now", "why"),
    [
        (None, Sample(15.0, (10, 1)), counters.NEW),
        (Sample(0.0, (10, 1)), None, counters.GONE),
        (Sample(0.0, (10, 1)), Sample(3600.0, (500, 1)), counters.GAP),
        (Sample(20.0, (10, 1)), Sample(15.0, (20, 1)), counters.LATE),
        (Sample(0.0, (10, 1)), Sample(15.0, (math.nan, 1)), counters.STRANGE),
        (Sample(0.0, (10, 1)), Sample(15.0, (20, -1)), counters.STRANGE),
        (Sample(0.0, (10, 1)), Sample(15.0, (1e308, 1)), counters.STRANGE),
        (Sample(0.0, (math.nan, 1)), Sample(15.0, (20, 1)), counters.STRANGE),
        (Sample(0.0, (-10, 0)), Sample(15.0, (20, 1)), counters.STRANGE),
        (Sample(0.0, (10, 1)), Sample(15.0, (20, 1, 3)), counters.SHAPE),
        (Sample(0.0, (10, 5)), Sample(15.0, (20, 1)), counters.TORN),
        (Sample(0.0, (10, 1)), Sample(15.0, (20, 19)), counters.TORN),
        (Sample(0.0, (10, 1)), Sample(15.0, (5, 6)), counters.TORN),
    ],
)
def test_one_pod_among_many_that_misreports_is_left_out_alone(
    before: Sample | None, now: Sample | None, why: str
) -> None:
    well = {str(pod): Sample(0.0, (0, 0)) for pod in range(20)}
    later = {str(pod): Sample(15.0, (10, 1)) for pod in range(20)}

    seen = increase(
        well if before is None else {**well, "odd": before}, later if now is None else {**later, "odd": now}, 60.0
    )

    assert list(seen.counts) == [200, 20]
    assert seen.pods == 20
    assert seen.left_out == {"odd": why}


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        ((0.6000000000000001, 0.0), (0.6, 0.0), (0.0, 0.0)),
        ((100000.30000000002, 0.1), (100000.3, 0.1), (0.0, 0.0)),
        ((10.3, 10.3), (10.5, 10.500000000000002), (10.5 - 10.3, 10.5 - 10.3)),
        ((8.2, 5.1, 3.1), (9.2, 6.1, 3.0999999999999996), (1.0, 1.0, 0.0)),
    ],
)
def test_what_sums_of_fractions_are_rounded_by_is_neither_a_fall_nor_an_event(
    before: tuple[float, ...], now: tuple[float, ...], added: tuple[float, ...]
) -> None:
    seen = increase({"a": Sample(0.0, before)}, {"a": Sample(15.0, now)}, 60.0)
    assert seen.counts == pytest.approx(added, abs=1e-12)
    assert 0 <= max(seen.counts[1:]) <= seen.counts[0]
    assert min(seen.counts) >= 0
