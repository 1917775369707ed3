"""A recording from a Prometheus server: what each version counted between looks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from upright.analysis import Metric, MetricType, Policy
from upright.api.by_segment import GroupMetric, by_segment
from upright.cli.problems import Unusable
from upright.cli.recording import WHOLE, Kind, Recorded, Recording
from upright.sources.copies import counted_once
from upright.sources.prometheus import Range, increases, read_series
from upright.sources.selectors import Selected, SelectorError, selected
from upright.sources.server import Labels, PrometheusError

Place = tuple[float, bool, str]  # time, whether it is the canary's, pod


async def scraped(url: str, policy: Policy, arms: Mapping[str, str], over: Range) -> Recording:
    """The recording of a range of time.

    Args:
        url: of the server.
        policy: its metrics' `total` and `bad` are the selectors; an ErrorRate, a RefusalRate or a Latency without them
            is that of the pods that Upright serves.
        arms: label matchers for `canary` and `stable`.
        over: the looks.

    Raises:
        Unusable: a metric cannot be read from Prometheus, the server cannot be asked, or nothing was found.
    """
    metrics = {}
    for metric, selects in [(metric, _selected(metric)) for metric in by_segment(policy).metrics]:
        try:
            metrics[metric.name] = await _recorded(url, metric, selects, arms, over)
        except _NothingError:
            if not isinstance(metric, GroupMetric):  # of a group nobody may have asked
                raise
        except PrometheusError as problem:
            raise Unusable(str(problem)) from problem
    return Recording(metrics)


class _NothingError(Unusable):
    """A server has nothing of a metric."""


def _selected(metric: Metric) -> Selected:
    """Which series a metric means. Raises Unusable."""
    if metric.type is MetricType.MEAN:
        raise Unusable(
            f"metric {metric.name!r} has type Mean, which Prometheus cannot tell: it has no sums of squares. "
            "Take the metric out of the policy, or record its number, sum and sumsq in a file."
        )
    try:
        found = selected(metric)
    except SelectorError as problem:
        raise Unusable(str(problem)) from problem
    if found is None:
        raise Unusable(f"metric {metric.name!r} has no selectors: to read it from Prometheus give it total and bad")
    return found


async def _recorded(url: str, metric: Metric, selects: Selected, arms: Mapping[str, str], over: Range) -> Recorded:
    cells: dict[Place, Sequence[float]] = {}
    buckets: dict[Place, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for arm, matchers in arms.items():
        asked = selects.total.also(matchers)
        canary = arm == "canary"
        totals, counted_bad = await read_series(url, asked, over), None
        if selects.bad is None:
            (totals,) = counted_once(totals)
        else:
            bad_ones = await read_series(url, selects.bad.also(matchers), over)
            totals, counted_bad = counted_once(totals, bad_ones)
        total = increases(totals, over, from_start=canary, beside=counted_bad)
        if not any(total.values()) and not (metric.type is MetricType.LIMIT and arm == "stable"):
            raise _NothingError(
                f"metric {metric.name!r}: {url} has no values for {asked!r} between {over.start:.0f} and {over.end:.0f}"
            )
        if counted_bad is None:
            for time, parts in total.items():
                for labels, count in parts.items():
                    buckets[time, canary, _pod(labels)][_edge(labels, metric)] += count
        else:
            bad = increases(counted_bad, over, from_start=canary, beside=totals)
            for time, parts in total.items():
                bads = _by_pod(bad[time])
                for pod, count in _by_pod(parts).items():
                    cells[time, canary, pod] = (count, bads.get(pod, 0.0))
    if metric.type is not MetricType.LATENCY:
        return _of_cells(Kind.COUNTS, (), cells)
    return _histograms(metric, buckets)


def _histograms(metric: Metric, buckets: Mapping[Place, Mapping[float, float]]) -> Recorded:
    """Of the pods and times that have every bucket; of the others some counter could not be trusted."""
    edges = sorted({edge for row in buckets.values() for edge in row})
    cells = {
        place: np.diff([row[edge] for edge in edges], prepend=0.0).tolist()
        for place, row in buckets.items()
        if len(row) == len(edges)
    }
    if {canary for _, canary, _ in cells} != {canary for _, canary, _ in buckets}:
        raise Unusable(
            f"metric {metric.name!r}: the buckets of canary and stable differ, together they are "
            f"{', '.join(f'{edge:g}' for edge in edges)}; only equal buckets can be compared"
        )
    return _of_cells(Kind.HISTOGRAM, tuple(edges[:-1]), cells)


def _of_cells(kind: Kind, edges: tuple[float, ...], cells: Mapping[Place, Sequence[float]]) -> Recorded:
    times, canary, pods = zip(*cells, strict=True)
    counts = np.array(list(cells.values()))
    return Recorded(kind, edges, np.array(times), np.array(canary), np.array(pods), counts)


def _by_pod(parts: Mapping[Labels, float]) -> dict[str, float]:
    counts: dict[str, float] = defaultdict(float)
    for labels, count in parts.items():
        counts[_pod(labels)] += count
    return counts


def _edge(labels: Labels, metric: Metric) -> float:
    edge = dict(labels).get("le")
    if edge is None:
        raise Unusable(
            f"metric {metric.name!r} has type Latency: expected total to select the buckets of a histogram (such as "
            f"http_request_duration_seconds_bucket), found {metric.total!r}, whose series have no label le"
        )
    return float(edge)


def _pod(labels: Labels) -> str:
    known = dict(labels)
    return known.get("pod") or known.get("instance") or WHOLE
