"""Make customers.csv: invented customers of a telephone company, the same ones each time.

Nobody's data: every number comes from the rules below. One of them matters to the story: the plan `flex` is new, so no
customer has had it for more than nine months. About one customer in five has it.
"""

import csv
import math
import random
import sys

COLUMNS = ["plan", "tenure_months", "monthly_charge", "support_calls", "data_gigabytes", "paperless", "churned"]
CUSTOMERS = 4000

_CHARGES = {"prepaid": 12.0, "basic": 25.0, "premium": 55.0, "flex": 30.0}
_SHARES = {"prepaid": 25, "basic": 35, "premium": 20, "flex": 20}


def a_customer(rng: random.Random) -> list[object]:
    """One row, in the order of COLUMNS."""
    plan = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    tenure = rng.randint(0, 9) if plan == "flex" else min(72, int(rng.expovariate(1 / 24)))
    charge = round(rng.gauss(_CHARGES[plan], 4.0), 2)
    calls = min(12, int(rng.expovariate(1 / 1.5)))
    gigabytes = None if plan == "prepaid" and rng.random() < 0.2 else round(rng.lognormvariate(2.0, 0.8), 1)
    paperless = rng.random() < 0.6
    leaning = -1.2 + 0.55 * calls - 0.05 * tenure + 0.02 * (charge - _CHARGES[plan]) + 0.4 * (plan == "prepaid")
    churned = rng.random() < 1 / (1 + math.exp(-leaning))
    return [plan, tenure, charge, calls, gigabytes, paperless, int(churned)]


if __name__ == "__main__":
    rng = random.Random(20261122)
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(a_customer(rng) for _ in range(CUSTOMERS))
