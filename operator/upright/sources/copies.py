"""Series of one process that was scraped several times: counted once.

A pod behind several Services of the same labels is scraped once for each, also by a ServiceMonitor and a PodMonitor, or
by two servers that write to one store. The copies differ in the labels that tell of the scrape, and in these alone.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from upright.sources.prometheus import Labels, Series

_OF_THE_SCRAPE = frozenset(
    {
        "job",
        "service",
        "endpoint",
        "container",
        "monitor",
        "prometheus",
        "prometheus_replica",
        "__replica__",
        "replica",
        "receive",
    }
)
"""Labels that Prometheus, its operator and stores of several servers give. `instance`, an address and a port, says
which process it was."""


def counted_once(*found: Series) -> Sequence[Series]:
    """The same series without copies: of each what one scrape saw, and where it saw nothing another. It is the same
    scrape for all series of a process, the one that saw most. Series without `instance` are nobody's copies.
    """
    seen: dict[str, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
    for series in found:
        for labels, values in series.items():
            seen[_instance(labels)][_scrape(labels)] += len(values)
    return [_without_copies(series, seen) for series in found]


def _without_copies(series: Series, seen: Mapping[str, Mapping[Labels, int]]) -> Series:
    alike: dict[tuple[Labels, Labels], list[Labels]] = defaultdict(list)
    for labels in series:
        scrape = _scrape(labels)
        own = tuple(label for label in labels if label not in scrape)
        alike[own, () if _instance(labels) else scrape].append(labels)
    kept: dict[Labels, Mapping[float, float]] = {}
    for copies in alike.values():
        rising = sorted(copies, key=lambda labels: (seen[_instance(labels)][_scrape(labels)], labels))
        values: dict[float, float] = {}
        for labels in rising:
            values.update(series[labels])
        kept[rising[-1]] = values
    return kept


def _scrape(labels: Labels) -> Labels:
    return tuple((name, value) for name, value in labels if name in _OF_THE_SCRAPE)


def _instance(labels: Labels) -> str:
    return dict(labels).get("instance", "")
