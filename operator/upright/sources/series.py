"""What series of a Prometheus server count of a metric, by what has counted it: a pod, or another target."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from upright.sources.copies import best_scrape_of_each
from upright.sources.selectors import Selected
from upright.sources.server import Found
from upright.sources.tally import Counting, Tally

Target = Callable[[Mapping[str, str]], str | None]
"""Names what has counted a series with such labels; None when that is of no interest."""


@dataclass(frozen=True)
class Shown:
    """What was scraped last of one target."""

    at: float | None
    """When, in Unix seconds by the server's clock; None when there is nothing."""
    tally: Tally | str
    """Or why it cannot be said what that counts."""


def shown(
    selected: Selected, total: Sequence[Found], bad: Sequence[Found], target: Target, *, knows_bad: bool
) -> Mapping[str, Shown]:
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
        # what is asked for later may have been scraped again meanwhile
        at = min(max(one.values[-1][0] for one in some) for some in (series, of_bad) if some)
        if selected.bad is None:
            counting = Counting(selected)
            for one in series:
                counting.add(selected.total.name, dict(one.labels), _value(one, at))
            found[name] = Shown(at, counting.tally())
        else:
            every, failed = (math.fsum(_value(one, at) for one in some) for some in (series, of_bad))
            found[name] = Shown(at, Tally(every, failed, knows_bad=knows_bad))
    return found


def _by_target(found: Iterable[Found], target: Target) -> Mapping[str, list[Found]]:
    by_target = defaultdict[str, list[Found]](list)
    for one in found:
        if one.values and (name := target(dict(one.labels))) is not None:
            by_target[name].append(one)
    return by_target


def _value(series: Found, at: float) -> float:
    """As it was scraped last by then; a series that was not there yet had counted nothing."""
    return next((value for time, value in reversed(series.values) if time <= at), 0.0)
