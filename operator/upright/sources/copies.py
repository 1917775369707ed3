"""Series of one process that was scraped several times: counted once.

A pod behind several Services of the same labels is scraped once for each, also by a ServiceMonitor and a PodMonitor, or
by two servers that write to one store. The copies differ in the labels that tell of the scrape, and in these alone.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from upright.sources.server import Found, Labels

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

Series = Mapping[Labels, Mapping[float, float]]  # value by time

_Name = tuple[int, Labels]
"""Of a series of a process: which of those that were found, and what it has for labels beside those of the scrape."""

_Seen = dict[_Name, tuple[Labels, Mapping[float, float]]]
"""What one scrape saw of a process."""


def counted_once(*found: Series) -> Sequence[Series]:
    """The same series without copies: of each process what one scrape saw, the one that saw most, and at looks where it
    saw nothing another. Series without `instance` are nobody's copies.
    """
    once: list[dict[Labels, Mapping[float, float]]] = [{} for _ in found]
    processes: dict[str, dict[Labels, _Seen]] = defaultdict(lambda: defaultdict(dict))
    for number, series in enumerate(found):
        for labels, values in series.items():
            if instance := instance_of(labels):
                processes[instance][scrape_of(labels)][number, _own(labels)] = labels, values
            else:
                once[number][labels] = values
    for scrapes in processes.values():
        rising = sorted(scrapes.items(), key=lambda item: (sum(len(values) for _, values in item[1].values()), item[0]))
        for (number, _), (labels, values) in _merged([seen for _, seen in rising]).items():
            once[number][labels] = values
    return once


def _merged(rising: Sequence[_Seen]) -> _Seen:
    """Each series at each look as the last scrape saw it that did. A look at which one is behind what was shown before
    is left out: a scrape that is older than the last one of another shows less, and nothing began again.
    """
    merged: dict[_Name, dict[float, float]] = defaultdict(dict)
    shown: dict[_Name, float] = {}
    before: list[dict[_Name, float]] = [{} for _ in rising]
    for time in sorted({time for seen in rising for _, values in seen.values() for time in values}):
        look: dict[_Name, float] = {}
        for seen, last in zip(rising, before, strict=True):
            now = {name: values[time] for name, (_, values) in seen.items() if time in values}
            if _is_less(now, last):  # it did begin again
                shown.clear()
            last.update(now)
            look.update(now)
        if not _is_less(look, shown):
            shown.update(look)
            for name, value in look.items():
                merged[name][time] = value
    kept = {name: labels for seen in rising for name, (labels, _) in seen.items()}
    return {name: (kept[name], values) for name, values in merged.items()}


def _is_less(values: Mapping[_Name, float], than: Mapping[_Name, float]) -> bool:
    return any(value < than.get(name, value) for name, value in values.items())


def _own(labels: Labels) -> Labels:
    return tuple(label for label in labels if label[0] not in _OF_THE_SCRAPE)


def best_scrape_of_each(*found: Iterable[Found]) -> Sequence[Sequence[Found]]:
    """The same series without copies: of each process those of the scrape that has most samples."""
    series = [list(some) for some in found]
    samples: dict[str, Counter[Labels]] = defaultdict(Counter)
    for one in chain.from_iterable(series):
        samples[instance_of(one.labels)][scrape_of(one.labels)] += len(one.values)
    best = {
        instance: max(scrapes, key=lambda scrape: (scrapes[scrape], scrape)) for instance, scrapes in samples.items()
    }
    return [
        [one for one in some if not instance_of(one.labels) or scrape_of(one.labels) == best[instance_of(one.labels)]]
        for some in series
    ]


def scrape_of(labels: Labels) -> Labels:
    """What tells one scrape of a process from another."""
    return tuple((name, value) for name, value in labels if name in _OF_THE_SCRAPE)


def instance_of(labels: Labels) -> str:
    """The process; empty when that is not known."""
    return dict(labels).get("instance", "")
