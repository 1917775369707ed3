"""A recording from a Prometheus server: what each version counted between looks."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from upright.analysis import Metric, MetricType, Policy
from upright.cli.problems import Unusable
from upright.cli.recording import WHOLE, Cell, Recording
from upright.sources.prometheus import Labels, PrometheusError, Range, increases, matching, read_series


async def scraped(url: str, policy: Policy, arms: Mapping[str, str], over: Range) -> Recording:
    """The recording of a range of time.

    Args:
        url: of the server.
        policy: its metrics' `total` and `bad` are the selectors.
        arms: label matchers for `canary` and `stable`.
        over: the looks.

    Raises:
        Unusable: a metric has no selectors, the server cannot be asked, or nothing was found.
    """
    cells: dict[tuple[float, str, str, str], Cell] = {}
    for metric in policy.metrics:
        if metric.total is None:
            raise Unusable(
                f"metric {metric.name!r} has no selectors: to read it from Prometheus give it total and bad, "
                "of a Latency only total, the selector of its buckets (such as http_request_duration_seconds_bucket)"
            )
        for arm, matchers in arms.items():
            try:
                found = await _cells(url, metric, matchers, over)
            except PrometheusError as problem:
                raise Unusable(str(problem)) from problem
            cells.update({(time, arm, metric.name, pod): cell for (time, pod), cell in found.items()})
    if not cells:
        asked = matching(policy.metrics[0].total or "", arms["stable"])
        raise Unusable(f"{url} has no values for {asked!r} between {over.start:.0f} and {over.end:.0f}")
    return Recording(tuple(sorted({key[0] for key in cells})), cells)


async def _cells(url: str, metric: Metric, matchers: str, over: Range) -> dict[tuple[float, str], Cell]:
    total = increases(await read_series(url, matching(metric.total or "", matchers), over), over)
    if metric.type is MetricType.LATENCY:
        return _histograms(total)
    bad = increases(await read_series(url, matching(metric.bad or "", matchers), over), over)
    cells = {}
    for time, parts in total.items():
        totals, bads = _by_pod(parts), _by_pod(bad.get(time, {}))
        cells.update({(time, pod): Cell(np.array([count, bads.get(pod, 0.0)]), None) for pod, count in totals.items()})
    return cells


def _by_pod(parts: Mapping[Labels, float]) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for labels, count in parts.items():
        counts[_pod(labels)] += count
    return counts


def _histograms(by_time: Mapping[float, Mapping[Labels, float]]) -> dict[tuple[float, str], Cell]:
    cells = {}
    for time, parts in by_time.items():
        buckets: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for labels, count in parts.items():
            buckets[_pod(labels)][float(dict(labels)["le"])] += count
        for pod, row in buckets.items():
            edges = sorted(row)
            counts = np.diff([row[edge] for edge in edges], prepend=0.0)
            cells[time, pod] = Cell(counts, tuple(edges[:-1]))
    return cells


def _pod(labels: Labels) -> str:
    known = dict(labels)
    return known.get("pod") or known.get("instance") or WHOLE
