"""Prints how often healthy canaries are rolled back when pods are scraped one after the other, and what that costs.

    python -m tests.bench.analysis.scrapes [--runs 20000]

alpha = 1 %, the default tolerance of errors, 1 % of errors, 120 looks of 15 s. One canary pod and nine of the stable
version, 10 requests a second each, which a server scrapes every 15 s, each at a moment of its own; an outage that both
share begins at any time, and every request fails while it lasts.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.analysis.simulate import cell, default_policy, delays, share
from tests.bench.analysis.traffic import INTERVAL, LOOKS, Array
from upright.analysis import Counts
from upright.analysis.looks import Measurement
from upright.analysis.steadiness import changing, worst

PODS, EACH, USUAL, BAD = 10, 10.0, 0.01, 0.05
OUTAGES = (0.0, 5.0, 15.0, 60.0, 300.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="rollouts for each row")
    runs = parser.parse_args().runs
    table = Table("shared outage", "healthy, as looks come", "healthy, as rollouts do", "5 % of errors, as rollouts do")
    for case, seconds in enumerate(track(OUTAGES, "scrapes", transient=True)):
        cells = []
        for usual, looks in ((USUAL, as_they_are), (USUAL, steady), (BAD, steady)):
            rng = np.random.default_rng(case)
            found = delays(default_policy("errors"), looks(scraped(rng, runs, seconds, usual)))
            cells.append(str(share(found)) if usual == USUAL else cell(found))
        table.add_row(f"{seconds:.0f} s" if seconds else "none", *cells)
    Console(width=150).print(table)


def scraped(rng: Generator, runs: int, outage: float, canary: float) -> Iterator[tuple[Array, Array]]:
    """Of each look what canary and stable version show, as (total, bad), each of shape (2, runs)."""
    lag = rng.uniform(0, INTERVAL, (runs, PODS))
    begin = rng.uniform(0, LOOKS * INTERVAL, (runs, 1))
    usual = np.array([canary, *[USUAL] * (PODS - 1)])
    for look in range(LOOKS):
        until = INTERVAL * (look + 1) - lag
        down = (
            np.clip(np.minimum(until, begin + outage) - np.maximum(until - INTERVAL, begin), 0, None)
            if outage
            else 0 * lag
        )
        lost, asked = rng.poisson(EACH * down), rng.poisson(EACH * (INTERVAL - down))
        total, bad = lost + asked, lost + rng.binomial(asked, usual)
        yield np.stack((total[:, 0], bad[:, 0])), np.stack((total[:, 1:].sum(axis=1), bad[:, 1:].sum(axis=1)))


def as_they_are(looks: Iterator[tuple[Array, Array]]) -> Iterator[dict[str, Measurement]]:
    """Each look as it comes."""
    for canary, stable in looks:
        yield {"errors": Counts((canary[0], canary[1]), (stable[0], stable[1]))}


def steady(looks: Iterator[tuple[Array, Array]]) -> Iterator[dict[str, Measurement]]:
    """Compared with the highest rate of a look and its neighbours, where the stable version's changes there."""
    everything = list(looks)
    for place, (canary, stable) in enumerate(everything):
        around = np.stack([stable, *(one for _, one in everything[max(0, place - 1) : place + 2])]).astype(float)
        table = np.moveaxis(around, 1, -1)  # (looks, runs, 2)
        settled = np.where(changing(table[1:, :, None])[:, None], worst(table), table[0])
        yield {"errors": Counts((canary[0], canary[1]), (settled[:, 0], settled[:, 1]))}


if __name__ == "__main__":
    main()
