"""Prints the table of docs/analysis.md: how long a regression goes unseen, by traffic, usual error rate and size.

    python -m tests.bench.analysis.guidance [--runs 500]

The canary gets 10 % of the traffic; looks every 15 s for two hours; default tolerance (25 % and 0.1 points).
"""

import argparse
from datetime import timedelta

import numpy as np
from rich.console import Console
from rich.progress import track

from tests.bench.analysis.simulate import Delays, delays, policy
from tests.bench.analysis.traffic import INTERVAL, Service
from upright.analysis import Counts

LOOKS = 480
TRAFFIC = (1, 10, 100, 1000)
USUAL = (0.001, 0.01, 0.04)
TIMES = (2, 5, 20)
ALPHAS = (0.01, 0.05)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500, help="rollouts for each cell")
    runs = parser.parse_args().runs
    console = Console(width=140)
    titles = [f"{times} times as many" for times in TIMES]
    console.print(f"| requests/s in all | usual errors | {' | '.join(titles)} |", soft_wrap=True)
    console.print("|---|---|" + "---|" * len(TIMES), soft_wrap=True)
    cells = [(rps, usual) for rps in TRAFFIC for usual in USUAL]
    for rps, usual in track(cells, "guidance", transient=True, console=Console(stderr=True)):
        found = [
            " / ".join(_shown(_delays(Service(rps, 0.1), usual, times, alpha, runs)) for alpha in ALPHAS)
            for times in TIMES
        ]
        console.print(f"| {rps} | {100 * usual:g} % | {' | '.join(found)} |", soft_wrap=True)


def _delays(service: Service, usual: float, times: float, alpha: float, runs: int) -> Delays:
    rng = np.random.default_rng(1)
    canary, stable = service.requests(0)

    def look() -> Counts:
        arms = []
        for expected, rate in ((canary, min(0.9, times * usual)), (stable, usual)):
            total = rng.poisson(expected, runs)
            arms.append((total, rng.binomial(total, rate)))
        return Counts(arms[0], arms[1])

    rule = policy("ErrorRate", 0.25, 0.001).model_copy(
        update={"false_rollback_probability": alpha, "horizon": timedelta(seconds=INTERVAL * LOOKS)}
    )
    return delays(rule, (look() for _ in range(LOOKS)))


def _shown(found: Delays) -> str:
    seconds = float(np.median(found))
    if np.isinf(seconds):
        return "not seen"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    main()
