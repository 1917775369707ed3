"""Simulated traffic: what both versions count in each look, for many rollouts at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from upright.analysis import Counts, Histogram
from upright.analysis.looks import Measurement

Array = NDArray[np.float64]

INTERVAL = 15.0
LOOKS = 120
# the default buckets of the Prometheus client libraries, in seconds
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


@dataclass(frozen=True)
class Service:
    """Requests per second in all, and the canary's share of them."""

    rps: float
    share: float

    def requests(self, look: int) -> tuple[float, float]:
        """Expected requests of canary and stable in a look."""
        whole = self.rps * INTERVAL
        return whole * self.share, whole * (1 - self.share)


Rates = Callable[[int], tuple[float, float]]
Split = Callable[[int], tuple[float, float]]


def constant(canary: float, stable: float = 0.01) -> Rates:
    """Error rates that stay."""
    return lambda _: (canary, stable)


def errors(rng: Generator, runs: int, requests: Split, rates: Rates, cluster: int = 1) -> Iterator[Counts]:
    """Looks of independent errors, or of errors in groups of `cluster`."""
    for look in range(LOOKS):
        arms = []
        for expected, rate in zip(requests(look), rates(look), strict=True):
            total = rng.poisson(expected, runs)
            if cluster == 1:
                bad = rng.binomial(total, rate)
            else:
                bad = np.minimum(total, cluster * rng.poisson(expected * rate / cluster, runs))
            arms.append((total, bad))
        yield Counts(arms[0], arms[1])


def answers(
    rng: Generator, runs: int, requests: Split, rates: Rates, refusals: Rates
) -> Iterator[dict[str, Measurement]]:
    """Looks of a Deployment's default metrics: independent errors among what was not refused, refusals among all."""
    for look in range(LOOKS):
        failed, refused = [], []
        for expected, rate, refusal in zip(requests(look), rates(look), refusals(look), strict=True):
            total = rng.poisson(expected, runs)
            refused.append((total, rng.binomial(total, refusal)))
            known = total - refused[-1][1]
            failed.append((known, rng.binomial(known, rate)))
        yield {"errors": Counts(failed[0], failed[1]), "refusals": Counts(refused[0], refused[1])}


def lognormal_shares(median: float = 0.08, sigma: float = 0.6, slow: float = 0.0, slow_median: float = 1.5) -> Array:
    """Share of the requests in each bucket; a part `slow` of them takes a path with another median."""
    from scipy.stats import norm

    edges = np.log(np.array(BUCKETS))
    below = (1 - slow) * norm.cdf((edges - np.log(median)) / sigma)
    below = below + slow * norm.cdf((edges - np.log(slow_median)) / sigma)
    return np.diff(np.concatenate(([0.0], below, [1.0])))


def latencies(
    rng: Generator, runs: int, requests: Split, shares: Callable[[int], tuple[Array, Array]]
) -> Iterator[Histogram]:
    """Looks of independent durations, in buckets."""
    for look in range(LOOKS):
        arms = [
            rng.poisson(expected * share, (runs, len(BUCKETS) + 1))
            for expected, share in zip(requests(look), shares(look), strict=True)
        ]
        yield Histogram(arms[0], arms[1], BUCKETS)
