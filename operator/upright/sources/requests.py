"""What pods count of the requests by themselves, and what metrics make of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from upright.analysis import Counts, Metric, MetricType
from upright.analysis.counters import Sample, fell
from upright.analysis.looks import Measurement
from upright.sources.page import Counters
from upright.sources.tally import Tally

_TOTAL, _ANSWERED, _REFUSED, _FAILED = range(4)
"""Places in a sample, which begins with all requests."""


def parts(page: Counters) -> tuple[float, float, float, float]:
    """All requests of a page, and how they ended."""
    return page.total, page.answered, page.refused, page.failed


def sample(time: float, page: Counters) -> Sample:
    """The same as `increase` compares it."""
    return Sample(time, parts(page))


def has_counted(page: Counters) -> bool:
    """Whether a pod has counted anything that is asked for: what is slow when it begins is so from then on."""
    return page.total > 0 or any(isinstance(tally, Tally) and tally.total > 0 for tally in page.tallies.values())


def goes_back(before: Counters, now: Counters) -> bool:
    """Whether any counter of the requests does."""
    return before.counts_requests and now.counts_requests and any(map(fell, parts(before), parts(now)))


def are_counted(metric: Metric) -> bool:
    """Whether a metric is about the requests, as pods count them by themselves."""
    return metric.type in _MEASURED and metric.total is None


def of_requests(metrics: Iterable[Metric], canary: Sequence[float], stable: Sequence[float]) -> dict[str, Measurement]:
    """What the metrics that are about the requests make of what was added to the parts."""
    return {metric.name: _MEASURED[metric.type](canary, stable) for metric in metrics if are_counted(metric)}


def _errors(canary: Sequence[float], stable: Sequence[float]) -> Counts:
    return Counts(
        canary=(canary[_ANSWERED] + canary[_FAILED], canary[_FAILED]),
        stable=(stable[_ANSWERED] + stable[_FAILED], stable[_FAILED]),
        refused=(canary[_REFUSED], stable[_REFUSED]),
    )


def _refusals(canary: Sequence[float], stable: Sequence[float]) -> Counts:
    return Counts(canary=(canary[_TOTAL], canary[_REFUSED]), stable=(stable[_TOTAL], stable[_REFUSED]))


_MEASURED: Mapping[MetricType, Callable[[Sequence[float], Sequence[float]], Counts]] = {
    MetricType.ERROR_RATE: _errors,
    MetricType.REFUSAL_RATE: _refusals,
}
