"""Ask a served model about customers as production would: at a steady rate, each request on a connection of its own.

Prints a line a second and at the end the totals, by the version that answered. Needs nothing but Python.
Exit status 1 when a request failed.
"""

import argparse
import csv
import http.client
import json
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

VERSION_HEADER = "upright-model-version"
TIMEOUT_SECONDS = 10
NUMBERS = {"tenure_months": int, "monthly_charge": float, "support_calls": int, "data_gigabytes": float}


def main() -> None:
    arguments = read_arguments()
    customers = read_customers(arguments.customers)
    rng = random.Random(arguments.seed)
    total: Counter[str] = Counter()
    begun = time.monotonic()
    with ThreadPoolExecutor(32) as pool:
        for second in range(arguments.seconds):
            due = [begun + second + number / arguments.rate for number in range(arguments.rate)]
            answers = pool.map(lambda at: ask_at(at, arguments.host, arguments.path, rng.choice(customers)), due)
            counts = Counter(answers)
            total += counts
            print(f"{second + 1:4d} s  {summary(counts)}", flush=True)
    print(f"total   {summary(total)}")
    sys.exit(any(outcome.startswith("failed") for outcome in total))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Send requests to a served model.")
    parser.add_argument("--host", default="churn", help="name of the Service, with :PORT when it is not 80")
    parser.add_argument("--path", default="/v1/models/churn:predict")
    parser.add_argument("--customers", type=Path, default=Path(__file__).with_name("customers.csv"))
    parser.add_argument("--rate", type=int, default=20, help="requests a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_customers(path: Path) -> list[dict[str, object]]:
    with path.open(newline="") as file:
        return [a_request_row(row) for row in csv.DictReader(file)]


def a_request_row(row: dict[str, str]) -> dict[str, object]:
    numbers = {name: convert(row[name]) if row[name] else None for name, convert in NUMBERS.items()}
    return {"plan": row["plan"], **numbers, "paperless": row["paperless"] == "True"}


def ask_at(due: float, host: str, path: str, customer: dict[str, object]) -> str:
    """Send one request at its time. The outcome: `ok VERSION`, or `failed VERSION WHY`."""
    time.sleep(max(0.0, due - time.monotonic()))
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", path, json.dumps({"instances": [customer]}), {"Connection": "close"})
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        return f"failed - {type(error).__name__}"
    finally:
        connection.close()
    version = response.headers.get(VERSION_HEADER, "-")
    return f"ok {version}" if response.status == 200 else f"failed {version} {response.status}"


def summary(counts: "Counter[str]") -> str:
    return "  ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items(), reverse=True))


if __name__ == "__main__":
    main()
