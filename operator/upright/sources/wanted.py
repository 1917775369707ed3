"""What is to be read for a comparison, of the pods' pages or of a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from upright.api.monitoring import Metric
from upright.rollout.measuring import Asked
from upright.sources.requests import are_counted
from upright.sources.selectors import Selected, SelectorError, selected


@dataclass(frozen=True)
class Wanted:
    """What to look for."""

    selected: Mapping[str, Selected]
    """By metric, what it counts; of pods' pages not of those that they count as requests."""
    unread: Mapping[str, str]
    """By metric, why it cannot be read."""
    requests: bool
    """How the requests were answered must be on the page."""


_KEPT: WeakValueDictionary[tuple[tuple[Metric, ...], bool], Wanted] = WeakValueDictionary()
"""For as long as a comparison has it. So nobody's selectors, nor why they cannot be read, push out those of others."""


def wanted(asked: Asked) -> Wanted:
    """What a comparison is about. Whoever will ask again keeps it: selectors take long to be read."""
    key = asked.policy.metrics, asked.prometheus is not None
    if (kept := _KEPT.get(key)) is None:
        kept = _KEPT[key] = _read(*key)
    return kept


def _read(metrics: tuple[Metric, ...], of_a_server: bool) -> Wanted:
    found, unread = dict[str, Selected](), dict[str, str]()
    for metric in metrics:
        if are_counted(metric) and not of_a_server:
            continue
        try:
            selects = selected(metric)
        except SelectorError as problem:
            unread[metric.name] = f"{problem}. Correct it in spec.monitoring.metrics."
            continue
        if selects is None:
            unread[metric.name] = (
                f"Metric {metric.name} has type {metric.type}, of which pods count nothing by themselves: "
                "give it bad and total."
            )
        else:
            found[metric.name] = selects
    return Wanted(found, unread, not of_a_server and any(map(are_counted, metrics)))
