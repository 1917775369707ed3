"""Prints what it does to learn the dispersion while a rollout goes on: false rollbacks, and what it costs in time.

    python -m tests.bench.analysis.learned [--runs 20000] [--alternatives 2000] [--only WORDS]

alpha = 1 %, 120 looks every 15 s, one pod of the canary, tolerances of a Deployment. Beside it what dispersion 1 does.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from tests.bench.analysis.simulate import Delays, cell, delays, policy, share
from tests.bench.analysis.traffic import BUCKETS, LOOKS, Array
from upright.analysis import Counts, Histogram, Policy
from upright.analysis.looks import Measurement

Looks = Iterator[tuple[Measurement, Measurement | None]]
"""What is compared, and the halves of the stable version; None of one pod."""
ERRORS = policy(relative=0.25, absolute=0.001)
LATENCY = policy("Latency", relative=0.25)
PODS = (1, 2, 3, 10)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="healthy rollouts for each row")
    parser.add_argument("--alternatives", type=int, default=2_000, help="bad rollouts for each cell")
    parser.add_argument("--only", default="", help="rows whose name has these words")
    options = parser.parse_args()
    console = Console(width=150)
    healthy = Table("healthy canary", "stable pods", "learned", "taken for 1", title="Promised: at most 1 %")
    for name, (rule, looks, pods) in HEALTHY.items():
        for number in pods if options.only in name else ():
            learned, one = _both(rule, partial(looks, runs=options.runs, pods=number))
            healthy.add_row(name, str(number), str(share(learned)), str(share(one)))
            print(name, number, share(learned), share(one), sep="; ", flush=True)
    console.print(healthy)
    price = Table("bad canary", "stable pods", "learned", "taken for 1", title="Rolled back % / typical time")
    for name, (rule, looks, pods) in WORSE.items():
        for number in pods if options.only in name else ():
            learned, one = _both(rule, partial(looks, runs=options.alternatives, pods=number))
            price.add_row(name, str(number), cell(learned), cell(one))
    console.print(price)


def _both(rule: Policy, looks: Callable[[Generator], Looks]) -> tuple[Delays, Delays]:
    metric = rule.metrics[0].model_copy(update={"dispersion": 1.0})
    return tuple(  # type: ignore[return-value]
        delays(one, looks(np.random.default_rng(7))) for one in (rule, rule.model_copy(update={"metrics": (metric,)}))
    )


def errors(rng: Generator, runs: int, pods: int, requests: float = 150, worse: float = 1.0, cluster: int = 1) -> Looks:
    """1 % of errors in each pod, which come in groups."""
    for _ in range(LOOKS):
        total = rng.poisson(requests, (runs, pods + 1)).astype(np.float64)
        rate = np.where(np.arange(pods + 1) < pods, 0.01, 0.01 * worse)
        if cluster == 1:
            bad = rng.binomial(total.astype(np.int64), rate).astype(np.float64)
        else:
            bad = np.minimum(total, cluster * rng.poisson(requests * rate / cluster, (runs, pods + 1)))
        yield _compared(
            pods, np.stack((total, bad), axis=-1), lambda a, b: Counts((a[:, 0], a[:, 1]), (b[:, 0], b[:, 1]))
        )


def durations(
    rng: Generator,
    runs: int,
    pods: int,
    requests: float = 150,
    worse: float = 1.0,
    wander: float = 0.0,
    memory: float = 0.9,
    pauses: float = 0.0,
) -> Looks:
    """Lognormal around 80 ms. Each pod's median wanders on its own, by so much, with a memory of some looks; of memory
    1 it differs for good. Pauses of half a second to a second make so many of the requests slow, eight at a time.
    """
    shift = wander * rng.standard_normal((runs, pods + 1))
    edges = np.log(np.array(BUCKETS) / 0.08)
    later = np.where(np.arange(pods + 1) < pods, 0.0, np.log(worse))
    for _ in range(LOOKS):
        shift = memory * shift + wander * np.sqrt(1 - memory**2) * rng.standard_normal(shift.shape)
        below = norm.cdf((edges - (shift + later)[..., None]) / 0.6)
        ends = np.zeros((runs, pods + 1, 1))
        counts = rng.poisson(requests * np.diff(below, axis=2, prepend=ends, append=ends + 1)).astype(np.float64)
        if pauses:
            counts[..., BUCKETS.index(1.0)] += 8 * rng.poisson(requests * pauses / 8, (runs, pods + 1))
        yield _compared(pods, counts, lambda a, b: Histogram(a, b, BUCKETS))


def _compared(
    pods: int, counts: Array, measurement: Callable[[Array, Array], Measurement]
) -> tuple[Measurement, Measurement | None]:
    """The last pod is the canary's."""
    stable = counts[:, :pods]
    halves = measurement(stable[:, ::2].sum(axis=1), stable[:, 1::2].sum(axis=1)) if pods > 1 else None
    return measurement(counts[:, pods], stable.sum(axis=1)), halves


HEALTHY: dict[str, tuple[Policy, Callable[..., Looks], tuple[int, ...]]] = {
    "independent errors": (ERRORS, errors, PODS),
    "errors in groups of 8": (ERRORS, partial(errors, cluster=8), PODS),
    "errors in groups of 8, a tenth of the traffic": (ERRORS, partial(errors, cluster=8, requests=15), PODS),
    "durations wander by 5 %": (LATENCY, partial(durations, wander=0.05), (1, 2, 4, 10)),
    "durations wander by 10 %": (LATENCY, partial(durations, wander=0.1), (1, 2, 4, 10)),
    "durations wander by 20 %": (LATENCY, partial(durations, wander=0.2), (2, 4)),
    "durations differ by 10 % for good": (LATENCY, partial(durations, wander=0.1, memory=1.0), (2, 4)),
    "busy: durations wander by 10 %, five times the traffic": (
        LATENCY,
        partial(durations, wander=0.1, requests=750),
        (2, 4),
    ),
    "pauses that make eight requests slow": (LATENCY, partial(durations, pauses=0.01), (1, 2, 4, 10)),
}
WORSE: dict[str, tuple[Policy, Callable[..., Looks], tuple[int, ...]]] = {
    **{f"{times} times as many errors": (ERRORS, partial(errors, worse=times), (2, 9)) for times in (2, 5, 20)},
    **{f"{times:g} times as slow": (LATENCY, partial(durations, worse=times), (1, 2, 4)) for times in (1.5, 2.0, 4.0)},
}


if __name__ == "__main__":
    main()
