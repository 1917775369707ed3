"""Two versions that were not seen at the same moments, compared as carefully as that takes.

A Prometheus server scrapes each pod at a moment of its own, so of an outage that both versions share it shows one the
beginning before the other, and the end: for one look each, the whole of it against nothing. Whatever the candidate's
pods saw, the stable version's saw in the same look or in one of its neighbours. So while the stable version's own rate
changes beyond chance between these, the candidate is compared with the highest of its rates: errs on the careful side,
and loses nothing that a candidate does by itself, unless that is no more than what comes and goes anyway. Where the
rate does not change, that would only pick out chance. The candidate's counts are not looked at.

Test: Pearson's chi-square of homogeneity of the bad events in the two or three looks, at the level LEVEL; of a
histogram by edge, LEVEL / edges each (Bonferroni). Its distribution for two degrees of freedom is exponential, so the
critical value is -2 ln(level); for two looks, with one degree, that errs on the strict side.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from upright.analysis.looks import Bools, Counts, Floats, Histogram, Measurement, Moments

LEVEL = 0.01


def settled(measurement: Measurement, neighbours: Sequence[Measurement], dispersion: float = 1.0) -> Measurement:
    """A look's measurement, but where the stable version's rate changes about it with the highest of its rates; a
    histogram by edge.

    Args:
        measurement: what was counted in a look.
        neighbours: in the one before it and the one after it, as far as there are such.
        dispersion: how much more counts scatter than independent events.
    """
    own = _stable(measurement)
    others = [parts for one in neighbours if (parts := _stable(one)) is not None]
    if isinstance(measurement, Moments) or own is None or own[0, 0] <= 0:
        return measurement
    others = [parts for parts in others if parts.shape == own.shape]
    table = np.stack([own, *others])  # (looks, channels, 2)
    if not changing(table, dispersion):
        return measurement
    if not isinstance(measurement, Histogram):
        total, bad = worst(table[:, 0])
        return Counts(measurement.canary, (float(total), float(bad)), measurement.refused)
    everything = own[0, 0]
    above = _rates(table).max(axis=0) * everything
    return replace(measurement, stable=tuple(-np.diff([everything, *above, 0.0])))


def worst(table: Floats) -> Floats:
    """All events and the bad ones of the look with the highest rate; the first axis of `table` is the look."""
    highest = _rates(table).argmax(axis=0)
    return np.asarray(np.take_along_axis(table, highest[None, ..., None], axis=0)[0])


def _rates(table: Floats) -> Floats:
    total, bad = table[..., 0], table[..., 1]
    return np.divide(bad, total, out=np.zeros_like(total), where=total > 0)


def changing(table: Floats, dispersion: float = 1.0) -> Bools:
    """Whether the stable version's rate changes; the axes of `table` are looks, runs if there are several, channels,
    and all events and bad ones.
    """
    total, bad = table[..., 0], table[..., 1]
    everything = total.sum(axis=0)
    rate = np.divide(bad.sum(axis=0), everything, out=np.zeros_like(everything), where=everything > 0)
    variance = total * rate * (1 - rate)
    scatter = np.divide((bad - total * rate) ** 2, variance, out=np.zeros_like(variance), where=variance > 0)
    critical = -2 * math.log(LEVEL / table.shape[-2])
    return np.asarray((scatter.sum(axis=0) > critical * dispersion).any(axis=-1))


def _stable(measurement: Measurement) -> Floats | None:
    """All events and the bad ones, or those above each edge, shape (channels, 2); None where nothing is known."""
    stable = measurement.stable
    if stable is None:
        return None
    if isinstance(measurement, Counts):
        return np.array([stable], dtype=np.float64)
    if isinstance(measurement, Histogram):
        buckets = np.asarray(stable, dtype=np.float64)
        above = buckets.sum() - buckets.cumsum()[:-1]
        return np.stack((np.full_like(above, buckets.sum()), above), axis=-1)
    return None
