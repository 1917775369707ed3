"""Prints how often candidates are promoted early that are as much worse as early promotion has to exclude, or more.

    python -m tests.bench.analysis.inferior [--runs 20000]

falsePromotionProbability = 5 %, 200 requests/s of which the candidate gets 25 %, 120 looks, the tolerances of a
Deployment; for comparison, how soon candidates are promoted that are like the stable version.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.analysis.simulate import cell, promotions, share
from tests.bench.analysis.traffic import LOOKS, Service, constant, errors
from upright.analysis import Histogram, Policy
from upright.analysis.looks import Measurement
from upright.api.monitoring import Metric, MetricType

SERVICE = Service(200, 0.25)
EDGES = (0.1, 1.0)


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="rollouts for each row")
    runs = parser.parse_args().runs
    inferior = Table("metric", "stable", "candidate", "promoted early", title="Candidates that are worse: at most 5 %")
    for case, (kind, stable, candidate) in enumerate(track(INFERIOR, "inferior", transient=True)):
        found = promotions(_policy(kind), _looks(np.random.default_rng(case), runs, kind, stable, candidate))
        inferior.add_row(kind, f"{stable:.2%}", f"{candidate:.2%}", str(share(found)))
    equal = Table("metric", "both", "promoted early / median", title="Candidates like the stable version")
    for case, (kind, rate) in enumerate(EQUAL):
        found = promotions(_policy(kind), _looks(np.random.default_rng(case), runs // 10, kind, rate, rate))
        equal.add_row(kind, f"{rate:.2%}", cell(found))
    console = Console(width=120)
    console.print(inferior)
    console.print(equal)


def _policy(kind: str) -> Policy:
    maximum = 0.02 if kind == "Limit" else None
    return Policy(metrics=(Metric(name="m", type=MetricType(kind), maximum=maximum).of_deployment(),))


def _looks(rng: Generator, runs: int, kind: str, stable: float, candidate: float) -> Iterator[Measurement]:
    if kind != "Latency":
        yield from errors(rng, runs, SERVICE.requests, constant(candidate, stable))
        return
    for look in range(LOOKS):
        arms = []
        for expected, slow in zip(SERVICE.requests(look), (candidate, stable), strict=True):
            # requests above 1 s are a tenth of those above 0.1 s in both versions
            arms.append(rng.poisson(expected * np.array([1 - slow, 0.9 * slow, 0.1 * slow]), (runs, 3)))
        yield Histogram(arms[0], arms[1], EDGES)


INFERIOR: list[tuple[str, float, float]] = [
    ("ErrorRate", 0.0001, 0.0011),  # worse by the absolute margin
    ("ErrorRate", 0.0001, 0.0012),
    ("ErrorRate", 0.0010, 0.0020),  # by that, and twice as bad
    ("ErrorRate", 0.0010, 0.0025),
    ("ErrorRate", 0.0100, 0.0200),  # twice as bad
    ("RefusalRate", 0.0005, 0.0105),
    ("RefusalRate", 0.0005, 0.0120),
    ("RefusalRate", 0.0100, 0.0200),
    ("Quality", 0.0100, 0.0200),
    ("Latency", 0.0050, 0.0100),
    ("Latency", 0.0500, 0.1000),
    ("Ratio", 0.0010, 0.0020),
    ("Limit", 0.0100, 0.0200),  # at the maximum
]
EQUAL = [("ErrorRate", 0.0), ("ErrorRate", 0.0001), ("ErrorRate", 0.001), ("ErrorRate", 0.01), ("RefusalRate", 0.0005)]
EQUAL += [("RefusalRate", 0.02), ("Latency", 0.05), ("Latency", 0.005), ("Ratio", 0.001), ("Limit", 0.005)]


if __name__ == "__main__":
    main()
