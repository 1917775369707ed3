"""Prints whether an analysis that is saved and loaded after every look says the same, to the last bit.

python -m tests.bench.analysis.restart [--looks 480]
"""

import argparse
import json

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.unit.analysis.builders import a_policy, every_metric, measured, stored, title
from upright.analysis import Look, begin, update, verdict


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", type=int, default=480, help="looks of each rollout")
    looks = parser.parse_args().looks
    table = Table("metric", "looks", "verdicts that differ", "largest state, bytes", title="A restart after every look")
    for metric in every_metric():
        policy, rng, differ, largest = a_policy(metric), np.random.default_rng(1), 0, 0
        straight = restarted = begin(policy)
        for k in range(looks):
            look = Look(15.0 * k, {"m": measured(metric["type"], rng, worse=1.3)})
            straight, restarted = update(policy, straight, look), stored(update(policy, restarted, look))
            differ += verdict(policy, straight) != verdict(policy, restarted)
            largest = max(largest, len(json.dumps(restarted["metrics"]["m"])))
        table.add_row(title(metric), str(looks), str(differ), str(largest))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
