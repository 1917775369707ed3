"""Prints how often healthy canaries are rolled back under conditions that break simpler tests.

    python -m tests.bench.analysis.healthy [--runs 20000]

alpha = 1 %, 120 looks. Where dispersion is estimated, every tenth of the runs has its own A/A history of 480 looks.
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import norm

from tests.bench.analysis.simulate import Delays, default_policy, delays, delays_at_the_pace_of_rollouts, policy, share
from tests.bench.analysis.traffic import (
    BUCKETS,
    INTERVAL,
    LOOKS,
    Array,
    Rates,
    Service,
    Split,
    answers,
    constant,
    errors,
    latencies,
    lognormal_shares,
)
from upright.analysis import Counts, Histogram, Look, Policy, estimate_dispersion

HISTORIES = 10
SERVICE = Service(100, 0.1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="rollouts for each row")
    runs = parser.parse_args().runs
    table = Table("healthy canary", "false rollbacks", title="False rollbacks, promised: at most 1 %")
    for case, (name, simulate) in enumerate(track(CASES.items(), "healthy", total=len(CASES), transient=True)):
        table.add_row(name, str(share(simulate(np.random.default_rng(case), runs))))
    Console(width=150).print(table)


def daily_cycle(rng: Generator, runs: int) -> Delays:
    """Traffic and errors swing together."""

    def wave(look: int) -> float:
        return 1 + 0.8 * float(np.sin(2 * np.pi * look / LOOKS))

    def requests(look: int) -> tuple[float, float]:
        return 150 * wave(look), 1350 * wave(look)

    return delays(policy(), errors(rng, runs, requests, lambda look: (0.01 * wave(look), 0.01 * wave(look))))


def ramp(rng: Generator, runs: int, boundary: str = "Mixture", rps: float = 100) -> Delays:
    """The canary's share rises in steps while everybody's errors rise."""

    def requests(look: int) -> tuple[float, float]:
        canary = INTERVAL * rps * (0.05, 0.2, 0.5)[look // (LOOKS // 3)]
        return canary, INTERVAL * rps - canary

    def rates(look: int) -> tuple[float, float]:
        return 0.01 + 0.03 * look / LOOKS, 0.01 + 0.03 * look / LOOKS

    return delays(policy(boundary=boundary), errors(rng, runs, requests, rates))


def ramp_by_the_exact_boundary(rng: Generator, runs: int) -> Delays:
    """The same at a hundredth of the traffic."""
    return ramp(rng, runs, "Exact", rps=1)


def few_errors_by_the_exact_boundary(rng: Generator, runs: int) -> Delays:
    """About nine errors of the canary in all."""
    return delays(policy(boundary="Exact"), errors(rng, runs, Service(10, 0.05).requests, constant(0.01)))


def outage(rng: Generator, runs: int) -> Delays:
    """Both versions lose another 10 % of their requests for five minutes."""
    rates = [(0.11, 0.11) if 40 <= look < 60 else (0.01, 0.01) for look in range(LOOKS)]
    return delays(policy(), errors(rng, runs, SERVICE.requests, rates.__getitem__))


def base_of_four_percent(rng: Generator, runs: int) -> Delays:
    """A service that is used to many errors."""
    return delays(policy(), errors(rng, runs, SERVICE.requests, constant(0.04, 0.04)))


def low_traffic(rng: Generator, runs: int) -> Delays:
    """One request in 10 s for both versions together."""
    return delays(policy(), errors(rng, runs, Service(0.1, 0.5).requests, constant(0.01)))


def clustered(rng: Generator, runs: int) -> Delays:
    """Errors come in groups of eight, and the dispersion is estimated."""

    def looks(runs: int, requests: Split) -> Iterator[Counts]:
        return errors(rng, runs, requests, constant(0.01), cluster=8)

    return _with_estimated_dispersion(policy(), runs, looks)


def clustered_taken_for_independent(rng: Generator, runs: int) -> Delays:
    """What ignoring the clusters would do."""
    return delays(policy(), errors(rng, runs, SERVICE.requests, constant(0.01), cluster=8))


def few_pods_against_many(rng: Generator, runs: int) -> Delays:
    """2 pods against 40; in every look each pod has its own rate, scattered by 30 %."""

    def looks(runs: int, requests: Split) -> Iterator[Counts]:
        for look in range(LOOKS):
            arms = []
            for expected in requests(look):
                pods = max(1, round(expected / 35))
                total = rng.poisson(expected / pods, (runs, pods))
                rate = 0.01 * rng.gamma(1 / 0.09, 0.09, (runs, pods))
                arms.append((total.sum(axis=1), rng.binomial(total, np.minimum(rate, 1)).sum(axis=1)))
            yield Counts(arms[0], arms[1])

    return _with_estimated_dispersion(policy(), runs, looks, lambda _: (70.0, 1400.0))


def autocorrelated_latency(rng: Generator, runs: int) -> Delays:
    """Each version's median wanders by 2 % around the common one, on its own and with a memory of about ten looks."""

    def looks(runs: int, requests: Split) -> Iterator[Histogram]:
        wander = np.zeros((2, runs, 1))
        for look in range(LOOKS):
            wander = 0.9 * wander + 0.02 * np.sqrt(1 - 0.81) * rng.standard_normal(wander.shape)
            arms = []
            for expected, drift in zip(requests(look), wander, strict=True):
                below = norm.cdf((np.log(np.array(BUCKETS)) - np.log(0.08) - drift) / 0.6)
                shares = np.diff(below, axis=1, prepend=np.zeros((runs, 1)), append=np.ones((runs, 1)))
                arms.append(rng.poisson(expected * shares))
            yield Histogram(arms[0], arms[1], BUCKETS)

    return _with_estimated_dispersion(policy("Latency", relative=0.25), runs, looks)


def warm_up(rng: Generator, runs: int) -> Delays:
    """The canary's first two minutes are four times slower, and the policy says to wait for them."""
    healthy, cold = lognormal_shares(), lognormal_shares(median=0.3)

    def shares(look: int) -> tuple[Array, Array]:
        return (cold if look < 8 else healthy), healthy

    return delays(policy("Latency", warmUp="2m"), latencies(rng, runs, SERVICE.requests, shares))


def warm_up_of_each_pod(rng: Generator, runs: int) -> Delays:
    """The same of each of the canary's pods, of which each step adds some in the middle of a look: 1, 5, 10."""
    healthy, cold = lognormal_shares(), lognormal_shares(median=0.3)

    def pods(look: int) -> int:
        return (1, 5, 10)[look // STEP_LOOKS]

    def looks() -> Iterator[Histogram]:
        for look in range(3 * STEP_LOOKS):
            age, others = look % STEP_LOOKS, pods(look - STEP_LOOKS) if look >= STEP_LOOKS else 0
            # of the requests to new pods: of the first look half, and of the ninth half are slow
            asked, slow = (0.5 if age == 0 else 1.0), (1.0 if age < 8 else 0.5 if age == 8 else 0.0)
            new = asked * (pods(look) - others) * (slow * cold + (1 - slow) * healthy)
            expected = 10 * INTERVAL * np.array([new + others * healthy, 20 * healthy])
            canary, stable = rng.poisson(expected[:, None], (2, runs, len(healthy)))
            yield Histogram(canary, stable, BUCKETS)

    return delays(policy("Latency", warmUp="2m"), looks(), pods=pods)


STEP_LOOKS = LOOKS // 3


def default_metrics(rng: Generator, runs: int) -> Delays:
    """Errors and refusals, as a Deployment watches them that names no metrics."""
    requests = answers(rng, runs, SERVICE.requests, constant(0.01), constant(0.05, 0.05))
    return delays(default_policy("errors", "refusals"), requests)


def default_metrics_at_the_edge(rng: Generator, runs: int) -> Delays:
    """Both as much worse as is tolerated."""
    requests = answers(rng, runs, SERVICE.requests, constant(0.0125), constant(0.0625, 0.05))
    return delays(default_policy("errors", "refusals"), requests)


def closer_looks(rng: Generator, runs: int) -> Delays:
    """Steps of 5, 20, 50 % with looks that come faster when a step has begun and while evidence rises."""
    return delays_at_the_pace_of_rollouts(policy(), _by_second(rng, runs, 100, constant(0.01)), STEP)


def closer_looks_by_the_exact_boundary(rng: Generator, runs: int) -> Delays:
    """The same with a tenth of the traffic."""
    seconds = _by_second(rng, runs, 10, constant(0.01))
    return delays_at_the_pace_of_rollouts(policy(boundary="Exact"), seconds, STEP)


def closer_looks_at_the_edge(rng: Generator, runs: int) -> Delays:
    """A Deployment's errors, as much more in the canary as is tolerated."""
    seconds = _by_second(rng, runs, 100, constant(0.0125, 0.01))
    rule = policy(relative=0.25, absolute=0.001)
    return delays_at_the_pace_of_rollouts(rule, seconds, STEP)


STEP = 600
"""Seconds of each of three steps."""


def _by_second(rng: Generator, runs: int, rate: float, rates: Rates) -> Iterator[Counts]:
    """What is counted in each second of a rollout, of so many requests in each."""
    for second in range(3 * STEP):
        share_of_canary = (0.05, 0.2, 0.5)[second // STEP]
        arms = []
        for expected, rate_of_arm in zip((share_of_canary, 1 - share_of_canary), rates(0), strict=True):
            total = rng.poisson(rate * expected, runs)
            arms.append((total, rng.binomial(total, rate_of_arm)))
        yield Counts(arms[0], arms[1])


def _with_estimated_dispersion(
    rule: Policy,
    runs: int,
    looks: Callable[[int, Split], Iterator[Counts] | Iterator[Histogram]],
    requests: Split = SERVICE.requests,
) -> Delays:
    whole = sum(requests(0))
    found = []
    for _ in range(HISTORIES):
        history = [Look(0.0, {"m": look}) for _ in range(4) for look in looks(1, lambda _: (whole / 2, whole / 2))]
        found.append(delays(rule, looks(runs // HISTORIES, requests), estimate_dispersion(rule, history)))
    return np.concatenate(found)


CASES: dict[str, Callable[[Generator, int], Delays]] = {
    "daily cycle: traffic and errors swing by 80 %": daily_cycle,
    "steps 5, 20, 50 % while the base rate rises from 1 to 4 %": ramp,
    "the same at 1/s, by the exact boundary": ramp_by_the_exact_boundary,
    "about 9 errors of the canary, by the exact boundary": few_errors_by_the_exact_boundary,
    "outage shared by both versions: 10 points for 5 min": outage,
    "base rate of 4 %": base_of_four_percent,
    "one request in 10 s": low_traffic,
    "errors in groups of 8, dispersion estimated": clustered,
    "errors in groups of 8, taken for independent (for comparison)": clustered_taken_for_independent,
    "2 pods against 40, each with its own rate, dispersion estimated": few_pods_against_many,
    "autocorrelated latency, dispersion estimated, tolerance 25 %": autocorrelated_latency,
    "first 2 min of the canary slow, warmUp 2m": warm_up,
    "first 2 min of each pod slow, steps of 1, 5, 10 beside 20, warmUp 2m": warm_up_of_each_pod,
    "errors of 1 % and refusals of 5 %, a Deployment's default metrics": default_metrics,
    "the same, both 25 % more in the canary, which is tolerated": default_metrics_at_the_edge,
    "steps 5, 20, 50 %, closer looks when one begins and while evidence rises": closer_looks,
    "the same at 10/s, by the exact boundary": closer_looks_by_the_exact_boundary,
    "the same with 25 % more errors in the canary, which is tolerated": closer_looks_at_the_edge,
}


if __name__ == "__main__":
    main()
