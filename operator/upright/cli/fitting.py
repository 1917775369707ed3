"""Does a recording fit the policy that is to be replayed on it?"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from upright.analysis import Metric, MetricType, Policy
from upright.api.by_segment import GroupMetric, by_segment
from upright.cli.problems import Unusable
from upright.cli.recording import Kind, Recorded, Recording

_SHORTEST = 0.1  # seconds between looks
_RISES = 10  # in a row, of which each has no more chance than a half


def fitted(policy: Policy, recording: Recording, *, stable_alone: bool = False) -> tuple[Policy, Recording]:
    """The policy, by segment where looks were recorded so, with their interval, and what was recorded of its metrics.

    Raises:
        Unusable: a metric was not recorded, or not in a way in which it can be compared.
    """
    policy = _with_recorded_groups(policy, recording)
    missing = [metric.name for metric in policy.metrics if metric.name not in recording.metrics]
    if missing:
        raise Unusable(
            f"the policy's metric {missing[0]!r} was not recorded; the looks have {', '.join(recording.metrics)}. "
            "Correct the name, or take the metric out of the policy."
        )
    for metric in policy.metrics:
        recorded = recording.metrics[metric.name]
        _check_kind(metric, recorded)
        if recording.has_canary or not stable_alone:
            _check_arms(metric, recorded)
    watched = Recording({metric.name: recording.metrics[metric.name] for metric in policy.metrics})
    return _with_recorded_interval(policy, watched), watched


def _with_recorded_groups(policy: Policy, recording: Recording) -> Policy:
    """The policy by segment, as far as that was recorded: looks from before there were segments tell of the wholes."""
    split = by_segment(policy)
    told = tuple(one for one in split.metrics if not isinstance(one, GroupMetric) or one.name in recording.metrics)
    return split.model_copy(update={"metrics": told}) if len(told) > len(policy.metrics) else policy


def _check_kind(metric: Metric, recorded: Recorded) -> None:
    kinds = {MetricType.LATENCY: Kind.HISTOGRAM, MetricType.MEAN: Kind.MOMENTS}
    wanted = kinds.get(metric.type, Kind.COUNTS)
    if recorded.kind is not wanted:
        raise Unusable(
            f"metric {metric.name!r} has type {metric.type} in the policy, which needs {wanted}; the looks have "
            f"{recorded.kind} for it. Change its type, or record {wanted}."
        )
    if metric.type is MetricType.LATENCY:
        edges = ", ".join(f"{edge:g}" for edge in recorded.edges)
        if not edges:
            raise Unusable(f"metric {metric.name!r}: expected at least one bucket with a finite le, found only +Inf")
        unknown = sorted(set(metric.buckets or ()) - set(recorded.edges))
        if unknown:
            raise Unusable(
                f"metric {metric.name!r} compares at the bucket edge {unknown[0]:g}, which was not recorded; the looks "
                f"have {edges}. Correct its buckets in the policy."
            )


def look_like_counters(recording: Recording) -> Sequence[str]:
    """The metrics of which what was counted never falls from one time to the next in any pod: counters do not, and of
    what is counted anew in each look that is rare for so long.
    """
    return [name for name, one in recording.metrics.items() if one.kind is not Kind.MOMENTS and _only_rises(one)]


def _only_rises(recorded: Recorded) -> bool:
    series = recorded.only(np.lexsort((recorded.times, recorded.pods, recorded.canary)))
    same = (series.pods[1:] == series.pods[:-1]) & (series.canary[1:] == series.canary[:-1])
    grown = np.diff(series.counts, axis=0)[same]
    return bool(len(grown) >= _RISES and (grown >= 0).all() and (grown[:, 0] > 0).mean() > 0.5)


def _check_arms(metric: Metric, recorded: Recorded) -> None:
    canary, stable = recorded.only(recorded.canary), recorded.only(~recorded.canary)
    if not canary.times.size:
        raise Unusable(
            f"metric {metric.name!r}: expected looks with traffic to the canary, found none; --null asks of the stable "
            "version alone how often it would be rolled back"
        )
    if metric.type is MetricType.LIMIT:
        return
    if not stable.times.size:
        raise Unusable(
            f"metric {metric.name!r}: expected rows of the stable version to compare with, found only canary"
        )
    if not np.intersect1d(canary.times, stable.times).size:
        raise Unusable(
            f"metric {metric.name!r}: expected times that have rows of both versions, found none: the canary's are "
            f"{_span(canary)}, those of stable {_span(stable)}. What belongs to one look must have the same time."
        )


def _span(recorded: Recorded) -> str:
    return f"{recorded.times.min():.15g} to {recorded.times.max():.15g}"


def _with_recorded_interval(policy: Policy, recording: Recording) -> Policy:
    gaps = np.diff(recording.times)
    if not gaps.size:
        return policy
    recorded = float(np.median(gaps))
    if recorded < _SHORTEST:
        raise Unusable(
            f"the looks are {recorded:.3g} s apart (median): expected one time for all that belongs to one look, and "
            f"at least {_SHORTEST:g} s to the next"
        )
    if abs(recorded - policy.interval.total_seconds()) <= 0.05 * recorded:
        return policy
    horizon = max(policy.horizon, timedelta(seconds=recorded))
    return policy.model_copy(update={"interval": timedelta(seconds=recorded), "horizon": horizon})
