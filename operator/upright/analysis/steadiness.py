"""Can two versions be compared that were not seen at the same moments?

A Prometheus server scrapes each pod at a moment of its own, so of an outage that both versions share it shows one the
beginning before the other, and the end: for one look each, the whole of it against nothing. So a look is no evidence
while the stable version's own rate changes: beyond chance between that look and its neighbours, within which whatever
the candidate's pods saw has been seen by the stable version's, too. The candidate's counts are not looked at, so what
it does by itself is not lost.

Test: Pearson's chi-square of homogeneity of the bad events in the two or three looks, at the level LEVEL; of a
histogram by edge, LEVEL / edges each (Bonferroni). Its distribution for two degrees of freedom is exponential, so the
critical value is -2 ln(level); for two looks, with one degree, that errs on the strict side.
"""

import math
from collections.abc import Sequence

import numpy as np

from upright.analysis.looks import Bools, Counts, Floats, Histogram, Measurement

LEVEL = 0.01


def changes(looks: Sequence[Measurement], dispersion: float = 1.0) -> bool:
    """Whether the stable version's rate changes between two or three looks, which follow on each other.

    Args:
        looks: what was counted; those that do not say so of the stable version are passed over.
        dispersion: how much more counts scatter than independent events.
    """
    counts = [parts for look in looks if (parts := _stable(look)) is not None]
    if len({part.shape for part in counts}) != 1 or len(counts) < 2:
        return False
    return bool(changing(np.stack(counts), dispersion))


def changing(table: Floats, dispersion: float = 1.0) -> Bools:
    """The same of many runs at once; the axes of `table` are looks, runs, channels, and all events and bad ones."""
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
