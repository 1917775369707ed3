"""What is compared where there are segments: each metric as a whole, and in each group of users."""

from collections.abc import Iterable, Iterator, Sequence

from upright.api.monitoring import Metric
from upright.api.policy import Policy
from upright.api.segments import Segment
from upright.api.serving import SEGMENT_REQUESTS


class GroupMetric(Metric):
    """A metric of one group alone."""

    whole: str
    """Name of the metric that it is a part of."""
    segment: str
    group: str
    """Names the group among those of its segment."""
    within: tuple[tuple[str, str, str], ...]
    """What the labels of a series of it must be like: label, operator, value."""

    @property
    def counted_by_pods(self) -> bool:
        """Whether the pods that Upright serves count it by themselves."""
        return self.total == SEGMENT_REQUESTS


def by_segment(policy: Policy) -> Policy:
    """The policy whose metrics are also those of each group, with their shares of the promise."""
    return policy.model_copy(update={"metrics": tuple(_split(policy))}) if policy.segments else policy


def wholes(metrics: Iterable[Metric]) -> Sequence[Metric]:
    """Those that are not of a group alone."""
    return [metric for metric in metrics if not isinstance(metric, GroupMetric)]


def whole_of(name: str) -> str:
    """The name of the metric that a metric is, or is a part of: names that users give have no spaces."""
    return name.partition(" ")[0]


def is_whole(name: str) -> bool:
    """Whether a metric of this name is not of a group alone."""
    return whole_of(name) == name


def _split(policy: Policy) -> Iterator[Metric]:
    for metric in policy.metrics:
        by = [segment for segment in policy.segments if metric.is_split_by(segment)]
        if not by:
            yield metric
            continue
        half = metric.weight / 2
        yield metric.model_copy(update={"weight": half})
        for segment in by:
            yield from _groups(segment, metric, half / sum(len(one.parts) for one in by))


def _groups(segment: Segment, metric: Metric, weight: float) -> Iterator[GroupMetric]:
    said = dict(metric) | {"whole": metric.name, "segment": segment.name, "weight": weight}
    if segment.label is None:
        said |= {"total": SEGMENT_REQUESTS, "bad": f'{SEGMENT_REQUESTS}{{outcome="failed"}}'}
        within, label = [("segment", "=", segment.counted_as)], "value"
    else:
        within, label = [], segment.label
    for group in segment.parts:
        said |= {"name": f"{metric.name} of {segment.name} {group}", "group": group}
        yield GroupMetric.model_construct(**said, within=(*within, (label, "=", group)))
