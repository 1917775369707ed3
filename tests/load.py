"""Runs in a pod: requests to a served model at a steady rate, and one line of JSON for each answer.

A line is [begun, ended, outcome]: Unix seconds, and `ok VERSION` or `failed VERSION WHY`. Ends by itself.
"""

import argparse
import json
import random
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import traffic  # type: ignore[import-not-found]  # the example's own client, mounted beside this file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--customers", type=Path, required=True)
    parser.add_argument("--rate", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    chosen = parser.parse_args()
    customers = traffic.read_customers(chosen.customers)
    rng = random.Random(0)
    begun = time.monotonic()

    def ask(number: int, customer: dict[str, object]) -> str:
        due = begun + number / chosen.rate
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.time()
        outcome = traffic.ask_at(due, chosen.host, chosen.path, customer)
        return json.dumps([started, time.time(), outcome])

    def show(answer: Future[str]) -> None:
        sys.stdout.write(answer.result() + "\n")  # in one piece: answers come from many threads
        sys.stdout.flush()

    with ThreadPoolExecutor(64) as pool:
        for number in range(chosen.rate * chosen.seconds):
            time.sleep(max(0.0, begun + number / chosen.rate - 1 - time.monotonic()))
            pool.submit(ask, number, rng.choice(customers)).add_done_callback(show)


if __name__ == "__main__":
    main()
