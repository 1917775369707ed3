"""What is to be read for a comparison, of the pods' pages or of a server."""

from collections.abc import Mapping
from dataclasses import dataclass

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


def wanted(asked: Asked) -> Wanted:
    """What a comparison is about."""
    metrics, found, unread = asked.policy.metrics, dict[str, Selected](), dict[str, str]()
    for metric in metrics:
        if are_counted(metric) and not asked.prometheus:
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
    return Wanted(found, unread, not asked.prometheus and any(map(are_counted, metrics)))
