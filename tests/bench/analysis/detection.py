"""Prints false rollbacks and detection delays beside models of other tools' rules, and the delays' lower bounds.

    python -m tests.bench.analysis.detection [--runs 20000] [--alternatives 2000]

Base 1 % errors, 30 minutes, alpha = 1 %, looks every 15 s. A cell is detected % / median seconds to the rollback.
"""

import argparse
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.bench.analysis import rules
from tests.bench.analysis.simulate import ALPHA, Delays, cell, default_policy, delays, policy, share
from tests.bench.analysis.traffic import (
    INTERVAL,
    LOOKS,
    Array,
    Service,
    answers,
    constant,
    errors,
    latencies,
    lognormal_shares,
)
from upright.analysis import Counts, Policy

ALTERNATIVES = (0.02, 0.05, 0.20)
SERVICES = (
    Service(100, 0.05),
    Service(100, 0.2),
    Service(10, 0.5),
    Service(1000, 0.2),
    Service(10, 0.05),
    Service(1, 0.1),
)
DEFAULT_METRICS = (("errors",), ("errors", "refusals"))
Decide = Callable[[Iterable[Counts]], Delays]


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000, help="healthy rollouts for each row")
    parser.add_argument("--alternatives", type=int, default=2_000, help="bad rollouts for each cell")
    options = parser.parse_args()
    console = Console(width=150)
    console.print(_errors(options.runs, options.alternatives))
    console.print(_default_metrics(options.runs, options.alternatives))
    console.print(_latency(options.runs, options.alternatives))
    console.print(_bounds(options.alternatives))


def _errors(runs: int, alternatives: int) -> Table:
    table = _table("Errors: a canary that is bad from the start", "rule", "false rollbacks", *_titles())
    for service, name, decide in track(list(_error_rows()), "errors", transient=True):
        healthy = decide(errors(np.random.default_rng(1), runs, service.requests, constant(0.01)))
        bad = [
            decide(errors(np.random.default_rng(2), alternatives, service.requests, constant(rate)))
            for rate in ALTERNATIVES
        ]
        table.add_row(_name(service), name, str(share(healthy)), *(cell(found) for found in bad))
    return table


def _error_rows() -> Iterable[tuple[Service, str, Decide]]:
    first = SERVICES[0]
    yield first, "Argo model: >= 0.95 each 60 s, failureLimit 3", _argo(0.95, 3)
    yield first, "Argo model: >= 0.99 each 60 s, failureLimit 4", _argo(0.99, 4)
    yield first, "Flagger model: >= 0.95 each 60 s, threshold 5", _flagger(0.95, 5)
    yield first, "Flagger model: >= 0.99 each 60 s, threshold 5", _flagger(0.99, 5)
    yield first, "Kayenta model: Mann-Whitney each 5 min", _kayenta
    for service in SERVICES:
        yield service, "Upright, no tolerance", _upright(policy())
        yield service, "Upright, no tolerance, exact boundary", _upright(policy(boundary="Exact"))
    yield first, "Upright, tolerance 25 %", _upright(policy(relative=0.25))
    yield first, "Upright, tolerance 25 % and 0.1 points", _upright(policy(relative=0.25, absolute=0.001))


def _default_metrics(runs: int, alternatives: int) -> Table:
    """What watching refusals, too, costs where errors are what is worse, and what it finds."""
    title = "Default metrics of a Deployment: errors from 1 %, refusals from 2 %"
    columns = ("metrics", "false rollbacks", *_titles(), "refusals 2 % to 5 %", "refusals 2 % to 20 %", "to 100 %")
    table = _table(title, *columns)
    cases = [(runs, 0.01, 0.02), *((alternatives, rate, 0.02) for rate in ALTERNATIVES)]
    cases += [(alternatives, 0.01, refusal) for refusal in (0.05, 0.2, 1.0)]
    services = (Service(100, 0.1), Service(10, 0.1))
    for service, names in track([(s, n) for s in services for n in DEFAULT_METRICS], "defaults", transient=True):
        found = []
        for runs_of_case, rate, refusal in cases:
            rng = np.random.default_rng(6)
            looks = answers(rng, runs_of_case, service.requests, constant(rate), constant(refusal, 0.02))
            found.append(delays(default_policy(*names), looks))
        table.add_row(_name(service), " and ".join(names), str(share(found[0])), *(cell(part) for part in found[1:]))
    return table


def _latency(runs: int, alternatives: int) -> Table:
    title = "Latency: lognormal around 80 ms, the default buckets, no tolerance, 30 minutes of history"
    table = _table(title, "rule", "false rollbacks", "1.25 times slower", "2 % on a slow path")
    healthy = lognormal_shares()
    cases = ((runs, healthy), (alternatives, lognormal_shares(median=0.1)), (alternatives, lognormal_shares(slow=0.02)))
    for service in track((Service(100, 0.05), Service(10, 0.05)), "latency", transient=True):
        found = []
        for runs_of_case, canary in cases:
            before = latencies(np.random.default_rng(5), 1, service.requests, _shares(healthy, healthy))
            looks = latencies(np.random.default_rng(3), runs_of_case, service.requests, _shares(canary, healthy))
            found.append(delays(policy("Latency"), looks, history=before))
        table.add_row(_name(service), "Upright", str(share(found[0])), *(cell(part) for part in found[1:]))
    return table


def _shares(canary: Array, stable: Array) -> Callable[[int], tuple[Array, Array]]:
    return lambda _: (canary, stable)


def _bounds(runs: int) -> Table:
    """The evidence that is needed, ln(1/alpha), over what a look brings at best, in seconds and at least one look."""
    table = _table("Median delay / lower bound ln(1/alpha) / KL per look = ratio", *_titles())
    for service in track(SERVICES, "bounds", transient=True):
        cells = []
        for rate in ALTERNATIVES:
            looks = errors(np.random.default_rng(4), runs, service.requests, constant(rate))
            delay = float(np.median(delays(policy(), looks)))
            bound = max(INTERVAL, INTERVAL * np.log(1 / ALPHA) / _divergence(service, rate, 0.01))
            if np.isinf(delay):
                cells.append(f"most not within {INTERVAL * LOOKS:.0f} s / {bound:.0f} s")
            else:
                cells.append(f"{delay:.0f} s / {bound:.0f} s = {delay / bound:.1f}")
        table.add_row(_name(service), *cells)
    return table


def _divergence(service: Service, canary: float, stable: float) -> float:
    """Kullback-Leibler divergence of a look from the nearest healthy pair of rates."""
    n_c, n_s = service.requests(0)
    common = (n_c * canary + n_s * stable) / (n_c + n_s)

    def to_common(p: float) -> float:
        return float(p * np.log(p / common) + (1 - p) * np.log((1 - p) / (1 - common)))

    return n_c * to_common(canary) + n_s * to_common(stable)


def _upright(rule: Policy) -> Decide:
    return lambda looks: delays(rule, looks)


def _argo(condition: float, limit: int) -> Decide:
    return lambda looks: _seconds(rules.argo_rollouts(*_stacked(looks)[:2], 4, condition, limit))


def _flagger(condition: float, threshold: int) -> Decide:
    return lambda looks: _seconds(rules.flagger(*_stacked(looks)[:2], 4, condition, threshold))


def _kayenta(looks: Iterable[Counts]) -> Delays:
    return _seconds(rules.kayenta(*_stacked(looks), point=4, every=20))


def _stacked(looks: Iterable[Counts]) -> tuple[Array, Array, Array, Array]:
    """Canary's events and bad events, stable's likewise, each of shape (looks, runs)."""
    columns = zip(*((*(look.canary or ()), *(look.stable or ())) for look in looks), strict=True)
    a, b, c, d = (np.stack([np.asarray(part, dtype=np.float64) for part in column]) for column in columns)
    return a, b, c, d


def _seconds(look: NDArray[np.int64]) -> Delays:
    return np.where(look < 0, np.inf, (look + 1) * INTERVAL)


def _titles() -> list[str]:
    return [f"1 % to {100 * rate:.0f} %" for rate in ALTERNATIVES]


def _name(service: Service) -> str:
    return f"{100 * service.share:.0f} % of {service.rps:g}/s"


def _table(title: str, *columns: str) -> Table:
    return Table("canary's traffic", *columns, title=title)


if __name__ == "__main__":
    main()
