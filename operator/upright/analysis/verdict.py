"""What the evidence says: continue, roll back, promote or hold, with a sentence for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from upright.analysis import comparison, continuous, exact
from upright.analysis.comparison import Comparison
from upright.analysis.continuous import Drifting
from upright.analysis.engine import metric_evidence, reported, together, weighted_evidence
from upright.analysis.looks import COUNTED, SKIPS, USABLE, Bools, Floats, Ints
from upright.analysis.state import Analysis, Watched, load
from upright.api.by_segment import wholes
from upright.api.common import format_duration
from upright.api.monitoring import Metric, MetricType
from upright.api.policy import Policy


class Decision(StrEnum):
    """What to do with the canary."""

    CONTINUE = "Continue"
    ROLLBACK = "Rollback"
    PROMOTE = "Promote"
    HOLD = "Hold"


@dataclass(frozen=True)
class MetricVerdict:
    """What one metric says so far. None stands for what cannot be told yet.

    Attributes:
        name: of the metric.
        canary: rate of bad events (for Latency: of requests above `edge`; for Mean: the mean), of the looks used.
        stable: likewise; for Limit the maximum.
        ratio: canary to stable, each look its own stratum; for Mean the ratio of the means.
        interval: of the ratio, valid at every look at once, at level 1 - falseRollbackProbability.
        dispersion: by which the next look is divided: given, estimated before, or learned from looks until now.
        evidence: E of this metric alone; with boundary Exact, as `exact.evidence` has it.
        edge: for Latency the bucket edge with the most evidence.
        looks: how many looks gave evidence.
        skipped: how many looks could not be used, by reason.
    """

    name: str
    canary: float | None
    stable: float | None
    ratio: float | None
    interval: tuple[float, float] | None
    dispersion: float
    evidence: float
    edge: float | None
    looks: int
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class Verdict:
    """The verdict of one rollout; of many runs, every field but `message` and `metrics` is an array over the runs.

    Attributes:
        decision: what to do.
        metric: the metric with the most evidence; after a crossing, the one that was blamed.
        evidence: weighted sum over the metrics of E, or that of a metric with boundary Exact when it is larger; after a
            crossing, as it was then.
        threshold: 1 / falseRollbackProbability.
        ratio: of the rates of `metric`, None while unknown (NaN in arrays).
        interval: (low, high) of the ratio, None while unknown.
        looks: how many were taken.
        used: how many of them gave evidence for some metric.
        why_unused: why the last one that did not was not used, by metric where they differ; empty when all were used,
            and for many runs.
        message: a sentence with metric, rates, ratio, evidence and threshold, or why there are none.
        metrics: each metric by itself; empty for many runs.
        blame: after a crossing, what was worse and by which numbers, in a sentence; else empty.
    """

    decision: Decision
    metric: str
    evidence: float
    threshold: float
    ratio: float | None
    interval: tuple[float, float] | None
    looks: int
    used: int
    why_unused: str
    message: str
    metrics: tuple[MetricVerdict, ...]
    blame: str = ""


def verdict(policy: Policy, state: Mapping[str, Any], *, ends: bool = True) -> Verdict:
    """What the state says.

    Args:
        policy: with which the state was begun.
        state: as of `update`.
        ends: whether its onInconclusive decides once its horizon is over. A rollout knows by itself when its steps are:
            their clock stands still at times, and that of the looks does not.

    Raises:
        StateError: the state was begun with another policy, or is damaged; begin anew.
    """
    analysis = load(policy, state)
    shares = weighted_evidence(analysis, policy)
    crossed = ~np.isnan(analysis.crossed)
    logs, blamed = together(shares, policy), shares.argmax(axis=-1)
    if analysis.crossing is not None:
        logs = np.where(crossed, analysis.crossing.evidence, logs)
        blamed = np.where(crossed, analysis.crossing.blamed, blamed).astype(np.int64)
    evidence = reported(logs)
    decisions = _decisions(analysis, policy, crossed, ends=ends)
    threshold = 1 / policy.false_rollback_probability
    if analysis.runs > 1:
        return _of_many(analysis, policy, decisions, blamed, evidence)
    metrics = tuple(_metric_verdict(analysis, policy, metric) for metric in policy.metrics)
    worst = metrics[int(blamed[0])]
    decision = Decision(str(decisions[0]))
    used = int(_used(analysis)[0])
    return Verdict(
        decision=decision,
        metric=worst.name,
        evidence=float(evidence[0]),
        threshold=threshold,
        ratio=worst.ratio,
        interval=worst.interval,
        looks=analysis.looks,
        used=used,
        why_unused=_why_unused(analysis, policy),
        message=_message(analysis, policy, decision, worst, float(evidence[0]), threshold),
        metrics=metrics,
        blame=_blame(analysis, policy, worst, float(evidence[0]), threshold) if crossed[0] else "",
    )


def _decisions(analysis: Analysis, policy: Policy, crossed: Bools, *, ends: bool) -> Any:
    safe = np.all([_is_safe(watched, policy, analysis.runs) for watched in _of_wholes(analysis, policy)], axis=0)
    elapsed = 0.0
    if analysis.first is not None and analysis.last is not None:
        elapsed = analysis.last - analysis.first + policy.interval.total_seconds()
    over = ends and elapsed >= policy.horizon.total_seconds() * (1 - 1e-9)
    undecided = Decision(policy.on_inconclusive) if over else Decision.CONTINUE
    return np.where(crossed, str(Decision.ROLLBACK), np.where(safe, str(Decision.PROMOTE), str(undecided)))


def _of_wholes(analysis: Analysis, policy: Policy) -> Sequence[Watched]:
    """What is remembered of the metrics, but for those of a group alone: few of it may ask in the whole rollout."""
    return [analysis.metrics[metric.name] for metric in wholes(policy.metrics)]


def _is_safe(watched: Watched, policy: Policy, runs: int) -> Bools:
    wanted = -np.log(policy.false_promotion_probability)
    if isinstance(watched.memory, Comparison):
        return np.asarray(watched.memory.safest >= wanted)
    if isinstance(watched.memory, Drifting):
        return np.asarray(continuous.non_inferiority(watched.memory, policy) >= wanted)
    return np.zeros(runs, dtype=np.bool_)


def _of_many(analysis: Analysis, policy: Policy, decisions: Any, blamed: Any, evidence: Any) -> Verdict:
    ratios = np.full((3, analysis.runs, len(policy.metrics)), np.nan)
    for place, metric in enumerate(policy.metrics):
        ratios[:, :, place] = _ratios(analysis.metrics[metric.name], metric, policy, analysis.runs)[1:4]
    picked = np.take_along_axis(ratios, blamed[None, :, None], axis=2)[:, :, 0]
    names = np.array([metric.name for metric in policy.metrics])
    rolled_back = int((decisions == str(Decision.ROLLBACK)).sum())
    of_runs: Any = {
        "decision": decisions,
        "metric": names[blamed],
        "evidence": evidence,
        "threshold": np.full(analysis.runs, 1 / policy.false_rollback_probability),
        "ratio": picked[0],
        "interval": (picked[1], picked[2]),
        "looks": np.full(analysis.runs, analysis.looks),
        "used": _used(analysis),
    }
    message = f"{rolled_back} of {analysis.runs} runs are rolled back."
    return Verdict(why_unused="", message=message, metrics=(), **of_runs)


def _used(analysis: Analysis) -> Ints:
    """How many looks gave evidence for the metric for which most did, shape (runs,)."""
    memories = [watched.memory for watched in analysis.metrics.values()]
    used = [np.zeros(analysis.runs) if memory is None else memory.used for memory in memories]
    return np.asarray(np.max(used, axis=0), dtype=np.int64)


def _why_unused(analysis: Analysis, policy: Policy) -> str:
    last = {metric.name: int(analysis.metrics[metric.name].last_skip[0]) for metric in wholes(policy.metrics)}
    why = {name: SKIPS[place] for name, place in last.items() if place != USABLE}
    if len(set(why.values())) <= 1:
        return next(iter(why.values()), "")
    return "; ".join(f"{name}: {reason}" for name, reason in why.items())


def _ratios(watched: Watched, metric: Metric, policy: Policy, runs: int) -> tuple[Any, Floats, Floats, Floats]:
    """(channel with the most evidence, ratio, low, high), each of shape (runs,)."""
    nothing = np.full(runs, np.nan)
    memory = watched.memory
    if isinstance(memory, Drifting):
        canary, stable, _ = continuous.differences(memory, metric)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ratio = canary / stable
        return np.zeros(runs, dtype=np.int64), np.where(np.isfinite(ratio), ratio, np.nan), nothing, nothing
    if memory is None:
        return np.zeros(runs, dtype=np.int64), nothing, nothing, nothing
    channel = comparison.blamed_channel(memory, metric, policy)
    dispersion = watched.dispersion(metric)
    triple = comparison.ratio_with_interval(memory, metric, policy.false_rollback_probability, dispersion)
    ratio, low, high = (np.take_along_axis(part, channel[:, None], axis=1)[:, 0] for part in triple)
    return channel, ratio, low, high


def _metric_verdict(analysis: Analysis, policy: Policy, metric: Metric) -> MetricVerdict:
    watched = analysis.metrics[metric.name]
    memory = watched.memory
    channel, ratio, low, high = _ratios(watched, metric, policy, 1)
    canary: float | None = None
    stable: float | None = None
    if isinstance(memory, Drifting):
        means = continuous.differences(memory, metric)
        canary, stable = _known(means[0][0]), _known(means[1][0])
    elif memory is not None:
        (n_c, n_s), (e_c, e_s) = memory.events[0], memory.bad[0, channel[0]]
        canary = e_c / n_c if n_c else None
        stable = metric.maximum if metric.maximum is not None else (e_s / n_s if n_s else None)
    bounded = _known(low[0]) is not None and _known(high[0]) is not None
    return MetricVerdict(
        name=metric.name,
        canary=None if canary is None else float(canary),
        stable=None if stable is None else float(stable),
        ratio=_known(ratio[0]),
        interval=(float(low[0]), float(high[0])) if bounded else None,
        dispersion=float(watched.dispersion(metric)[0]),
        evidence=float(reported(metric_evidence(watched, metric, policy, 1))[0]),
        edge=watched.edges[channel[0]] if watched.edges and memory is not None else None,
        looks=0 if memory is None else int(memory.used[0]),
        skipped={why: int(count) for why, count in zip(SKIPS[:COUNTED], watched.skips[0], strict=True) if count},
    )


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _message(
    analysis: Analysis, policy: Policy, decision: Decision, worst: MetricVerdict, evidence: float, threshold: float
) -> str:
    metric = next(metric for metric in policy.metrics if metric.name == worst.name)
    few = _few(analysis.metrics[worst.name])
    opening = _opening(analysis, policy, decision)
    if analysis.looks and not _used(analysis)[0]:
        parts = [f"{opening} {_looks(analysis.looks)}, none of them used: {_why_unused(analysis, policy)}."]
    else:
        parts = [f"{opening} {_rates(metric, worst)}{few}; {_weight(evidence, threshold)}."]
        parts += _unused(analysis, policy)
    if analysis.left_out:
        pods = ", ".join(f"{pod} ({why})" for pod, why in analysis.left_out.pods.items())
        parts.append(f"Pods were left out of {_looks(analysis.left_out.looks)}, the last time {pods}.")
    parts += [
        f"{metric.name} can hardly reject a version: {doubt}."
        for metric in wholes(policy.metrics)
        for doubt in metric.doubts
    ]
    if analysis.late:
        parts.append(f"Looks that came out of order and were not used: {analysis.late}.")
    return " ".join(parts)


def _blame(analysis: Analysis, policy: Policy, worst: MetricVerdict, evidence: float, threshold: float) -> str:
    metric = next(metric for metric in policy.metrics if metric.name == worst.name)
    over = " over all metrics" if len(policy.metrics) > 1 else ""
    weighed = f"(evidence {evidence:.4g}{over}, {threshold:.4g} is enough)"
    if worst.canary is None or worst.stable is None:
        return f"Worse than tolerated in {_named(worst)} {weighed}."
    canary, stable = (
        f"{rate:.4g}" if metric.type is MetricType.MEAN else _percent(rate) for rate in (worst.canary, worst.stable)
    )
    other = "that are allowed" if metric.type is MetricType.LIMIT else "of the stable version"
    few = _few(analysis.metrics[worst.name])
    return f"Worse than tolerated in {_named(worst)}: {canary} against {stable} {other}{few} {weighed}."


def _unused(analysis: Analysis, policy: Policy) -> Sequence[str]:
    """How many looks were not used and why not the last of these, once for all metrics of which that is the same."""
    of: dict[tuple[int, str], list[str]] = {}
    for metric, watched in zip(wholes(policy.metrics), _of_wholes(analysis, policy), strict=True):
        if skipped := int(watched.skips.sum()):
            of.setdefault((skipped, SKIPS[int(watched.last_skip[0])]), []).append(metric.name)
    return [
        f"{', '.join(names)}: {skipped} of {_looks(analysis.looks)} {'was' if skipped == 1 else 'were'} not used, "
        f"{'' if skipped == 1 else 'the last '}because {why}."
        for (skipped, why), names in of.items()
    ]


def _opening(analysis: Analysis, policy: Policy, decision: Decision) -> str:
    looks, used = _looks(analysis.looks), int(_used(analysis)[0])
    if not np.isnan(analysis.crossed[0]):
        return "The canary is worse than the tolerance allows:"
    if decision is Decision.CONTINUE:
        if analysis.looks and not used:
            return "No verdict:"
        return f"No verdict after {looks}{f', {used} of them used' if used < analysis.looks else ''}:"
    proven = all(_is_safe(watched, policy, 1)[0] for watched in _of_wholes(analysis, policy))
    if proven:
        wrong = f"{100 * policy.false_promotion_probability:g} %"
        return f"The canary is shown to be {_shown(policy)} after {looks} (wrong with probability {wrong} at most):"
    return (
        f"The horizon of {format_duration(policy.horizon)} ended without a verdict, and onInconclusive says {decision}:"
    )


def _shown(policy: Policy) -> str:
    """What early promotion rests on, with the metrics by name where it is not the same of all."""
    of: dict[str, list[str]] = {}
    for metric in wholes(policy.metrics):
        of.setdefault(_bound(metric, policy), []).append(metric.name)
    return (
        next(iter(of)) if len(of) == 1 else "; ".join(f"{bound} in {', '.join(names)}" for bound, names in of.items())
    )


def _bound(metric: Metric, policy: Policy) -> str:
    if metric.type is MetricType.LIMIT:
        return "below the maximum"
    if metric.type is MetricType.MEAN:
        return f"worse by less than {continuous.inferior(metric.margins.absolute):g} standard deviations"
    times = f"less than {policy.inferiority_ratio:g} times as bad as stable"
    return f"{times} or worse by less than tolerance.absolute" if metric.margins.absolute else times


def _looks(number: int) -> str:
    return "1 look" if number == 1 else f"{number} looks"


def _rates(metric: Metric, worst: MetricVerdict) -> str:
    if worst.canary is None or worst.stable is None:
        return f"{worst.name} has not been compared yet"
    name = _named(worst)
    if metric.type is MetricType.MEAN:
        return f"{name} has mean {worst.canary:.4g} in the canary and {worst.stable:.4g} in stable"
    other = "the maximum of" if metric.type is MetricType.LIMIT else "stable"
    text = f"{name} is {_percent(worst.canary)} in the canary against {other} {_percent(worst.stable)}"
    if worst.ratio is None or worst.interval is None or worst.canary == worst.stable == 0:
        return text
    low, high = worst.interval
    text = f"{text}, ratio {worst.ratio:.3g}"
    return f"{text} ({low:.3g} to {high:.3g})" if high < _TELLING * low else text


def _named(worst: MetricVerdict) -> str:
    return worst.name if worst.edge is None else f"{worst.name} above {worst.edge:g}"


def _few(watched: Watched) -> str:
    """How many bad events the canary had and how many are too many, where that is what decides."""
    if watched.exact is None or not watched.exact.expected[0]:
        return ""
    most = exact.boundary(watched.exact)
    return "" if most is None else f" ({watched.exact.bad[0]:.0f} in all, too many from {most} on)"


_TELLING = 100
"""An interval wider than this factor rests on too few events to tell anything: it is left out of the sentence."""


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _weight(evidence: float, threshold: float) -> str:
    relation = "has reached" if evidence >= threshold else "is below"
    return f"evidence {evidence:.4g} {relation} the threshold {threshold:.4g}"
