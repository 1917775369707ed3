"""What series of a Prometheus server count of a metric, by what has counted it: a pod, or another target."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from upright.sources.copies import best_scrape_of_each, instance_of
from upright.sources.selectors import Selected
from upright.sources.server import Found
from upright.sources.tally import Counting, Tally

Name = TypeVar("Name", bound=Hashable)
Target = Callable[[Mapping[str, str]], Name | None]
"""Names what has counted a series with such labels; None when that is of no interest."""


@dataclass(frozen=True)
class Shown:
    """What was scraped last of one target."""

    at: float | None
    """When, in Unix seconds by the server's clock; None when there is nothing."""
    tally: Tally | str
    """Or why it cannot be said what that counts."""


def shown(
    selected: Selected, total: Sequence[Found], bad: Sequence[Found], target: Target[Name], *, knows_bad: bool
) -> Mapping[Name, Shown]:
    """By target, what is counted of a metric.

    Args:
        selected: what the metric counts.
        total: the series of all events, or of the buckets of a histogram.
        bad: those of the bad ones.
        target: see above.
        knows_bad: there is such a counter, although it may have no series yet.
    """
    totals, bads = (_by_target(some, target) for some in best_scrape_of_each(total, bad))
    found = {}
    for name, series in totals.items():
        of_bad = bads.get(name, [])
        scraped = _newest(of_bad) | _newest(series)  # what was asked for later may have been scraped again meanwhile
        every, failed = (_there(some, scraped) for some in (series, of_bad))
        at = max(scraped.values())
        if selected.bad is None:
            counting = Counting(selected)
            for one, value in every:
                counting.add(selected.total.name, dict(one.labels), value)
            found[name] = Shown(at, counting.tally())
        else:
            counts = (math.fsum(value for _, value in some) for some in (every, failed))
            found[name] = Shown(at, Tally(next(counts), next(counts), knows_bad=knows_bad))
    return found


def _by_target(found: Iterable[Found], target: Target[Name]) -> Mapping[Name, list[Found]]:
    by_target = defaultdict[Name, list[Found]](list)
    for one in found:
        if one.values and (name := target(dict(one.labels))) is not None:
            by_target[name].append(one)
    return by_target


def _newest(series: Iterable[Found]) -> dict[str, float]:
    """By process, when it was scraped last."""
    newest: dict[str, float] = {}
    for one in series:
        process = instance_of(one.labels)
        newest[process] = max(newest.get(process, -math.inf), one.values[-1][0])
    return newest


def _there(series: Iterable[Found], scraped: Mapping[str, float]) -> Sequence[tuple[Found, float]]:
    """Those that the scrape of their process had, with what it showed: what has begun again lacks some for a while, and
    the server tells of them as they were.
    """
    samples = ((one, dict(one.values).get(scraped[instance_of(one.labels)])) for one in series)
    return [(one, value) for one, value in samples if value is not None]
