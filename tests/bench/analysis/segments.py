"""Prints what watching by segment costs and finds: how often healthy canaries are rolled back, and how soon one that
fails for a few users is.

    python -m tests.bench.analysis.segments [--runs 20000]

alpha = 1 %, 120 looks, 100 requests/s of which the canary gets 10 %, errors with the tolerance of a Deployment, and one
segment of five groups, of which the smallest is 3 % of the users.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.analysis.simulate import ALPHA, Delays, cell, delays, share
from tests.bench.analysis.traffic import LOOKS, Service
from upright.analysis import Counts, Policy
from upright.analysis.looks import Measurement
from upright.api.by_segment import by_segment

SERVICE = Service(100, 0.1)
GROUPS = ("a", "b", "c", "d", "other")
USERS = (0.5, 0.3, 0.12, 0.05, 0.03)


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="rollouts for each row")
    runs = parser.parse_args().runs
    healthy = Table("errors of both versions, by group", "false rollbacks", title="Healthy canaries: at most 1 %")
    for case, (name, both) in enumerate(track(HEALTHY.items(), "healthy", transient=True)):
        found = _delays(SPLIT, np.random.default_rng(case), runs, *both)
        healthy.add_row(name, str(share(found)))
    worse = Table(
        "errors of the canary", "as a whole", "by segment", title="0.1 % in the stable version: found / median"
    )
    for case, (name, rates) in enumerate(track(WORSE.items(), "worse", transient=True)):
        seen = [_delays(rule, np.random.default_rng(case), runs // 10, rates, [0.001] * 5) for rule in (WHOLE, SPLIT)]
        worse.add_row(name, *map(cell, seen))
    console = Console(width=120)
    console.print(healthy)
    console.print(worse)


def _delays(rule: Policy, rng: Generator, runs: int, canary: Sequence[float], stable: Sequence[float]) -> Delays:
    return delays(rule, _looks(rng, runs, canary, stable))


def _looks(
    rng: Generator, runs: int, canary: Sequence[float], stable: Sequence[float]
) -> Iterator[Mapping[str, Measurement]]:
    for look in range(LOOKS):
        arms: list[Any] = []
        for expected, rates in zip(SERVICE.requests(look), (canary, stable), strict=True):
            asked = rng.poisson(expected * np.array(USERS), (runs, len(USERS)))
            arms.append((asked, rng.binomial(asked, rates)))
        (asked, bad), (asked_of_stable, bad_of_stable) = arms
        groups = {
            f"errors of plan {group}": Counts(
                (asked[:, place], bad[:, place]), (asked_of_stable[:, place], bad_of_stable[:, place])
            )
            for place, group in enumerate(GROUPS)
        }
        whole = Counts((asked.sum(axis=1), bad.sum(axis=1)), (asked_of_stable.sum(axis=1), bad_of_stable.sum(axis=1)))
        yield {"errors": whole, **groups}


WHOLE = Policy.model_validate(
    {
        "falseRollbackProbability": ALPHA,
        "metrics": [{"name": "errors", "type": "ErrorRate", "dispersion": 1}],
    }
)
SPLIT = by_segment(
    Policy.model_validate(
        {
            **WHOLE.model_dump(by_alias=True, exclude={"segments"}),
            "segments": [{"name": "plan", "feature": "plan", "values": list(GROUPS[:-1])}],
        }
    )
)
HEALTHY: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "0.1 % in all": ([0.001] * 5,) * 2,
    "1 % in all": ([0.01] * 5,) * 2,
    "1.25 % against 1 % in all, as is tolerated": ([0.0125] * 5, [0.01] * 5),
    "0.1 %, and 20 % in the smallest": ([0.001, 0.001, 0.001, 0.001, 0.2],) * 2,
    "from 0.01 to 10 %": ([0.0001, 0.001, 0.01, 0.05, 0.1],) * 2,
}
WORSE: dict[str, Sequence[float]] = {
    "1 % in all": [0.01] * 5,
    "all that 3 % of the users ask": [0.001, 0.001, 0.001, 0.001, 1.0],
    "20 % of what 3 % of the users ask": [0.001, 0.001, 0.001, 0.001, 0.2],
    "5 % of what 3 % of the users ask": [0.001, 0.001, 0.001, 0.001, 0.05],
    "5 % of what 12 % of the users ask": [0.001, 0.001, 0.05, 0.001, 0.001],
}


if __name__ == "__main__":
    main()
