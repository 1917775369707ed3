"""Prints how long the analysis takes: one look of one rollout, and 20,000 rollouts of 120 looks.

OPENBLAS_NUM_THREADS=1 python -m tests.bench.analysis.speed
"""

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.analysis.simulate import delays, policy
from tests.bench.analysis.traffic import BUCKETS, Service, constant, errors
from upright.analysis import Counts, Histogram, Look, Moments, Policy, begin, update
from upright.analysis.looks import Measurement

REPEATS = 200
RUNS = 20_000


def main() -> None:
    """Print the tables."""
    console = Console(width=100)
    table = Table(
        "metrics of the policy", "microseconds for each metric", title="One update of a live rollout, best of 5"
    )
    for name, rule, look in _live():
        table.add_row(name, f"{1e6 * _seconds_of_an_update(rule, look) / len(rule.metrics):.0f}")
    console.print(table)
    looks = list(errors(np.random.default_rng(1), RUNS, Service(100, 0.05).requests, constant(0.01)))
    started = time.process_time()
    delays(policy(), looks)
    console.print(f"{RUNS} rollouts of {len(looks)} looks: {time.process_time() - started:.1f} s")


def _live() -> list[tuple[str, Policy, dict[str, Measurement]]]:
    counts = Counts((100, 1), (1000, 10))
    histogram = Histogram(np.arange(15), 10 * np.arange(15), BUCKETS)
    kinds: dict[str, Measurement] = {
        "ErrorRate": counts,
        "Quality": counts,
        "Latency": histogram,
        "Mean": Moments((100, 10.0, 300), (1000, 100.0, 3000)),
    }
    single = [
        (kind, Policy.model_validate({"metrics": [{"name": "m", "type": kind}]}), {"m": measured})
        for kind, measured in kinds.items()
    ]
    few: dict[str, Measurement] = {"m": Counts((10, 1), (100, 0))}
    single.append(("ErrorRate, exact boundary", policy(relative=0.25, boundary="Exact"), few))
    every = Policy.model_validate({"metrics": [{"name": kind, "type": kind} for kind in kinds]})
    return [*single, ("all four", every, kinds)]


def _seconds_of_an_update(rule: Policy, look: dict[str, Measurement]) -> float:
    best = np.inf
    for _ in range(5):
        state = begin(rule)
        started = time.process_time()
        for place in range(REPEATS):
            state = update(rule, state, Look(float(place), look))
        best = min(best, (time.process_time() - started) / REPEATS)
    return float(best)


if __name__ == "__main__":
    main()
