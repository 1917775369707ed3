"""The watch after promotion: there is no baseline any more, only the previous version's frozen rates.

What it tests: at each look, whether the rate has risen above r0 p_ref + epsilon at some unknown time, p_ref being the
upper 95 % bound of the previous version's rate.
Null hypothesis: in every look the mean rate is at most that.
Guarantee: the mean time between false alarms is at least the given one, whatever the rates are below the bound.
Method: the Shiryaev-Roberts recursion R_g <- (R_g + 1) exp(llr_g) with kernel B's factor against a limit. Each factor
has mean at most 1 under the null, so mean_g R_g - t is a supermartingale; stopping it where mean R >= ARL gives
E[T] >= ARL looks.
With several metrics (and bucket edges) the weighted mean of their R is watched, for which the same holds.
Source: Shin, Ramdas & Rinaldo, "E-detectors" (arXiv 2203.03532).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from upright.analysis import rates
from upright.analysis.bets import CEILING
from upright.analysis.looks import (
    USABLE,
    Counts,
    Histogram,
    Look,
    Table,
    above_edges,
    checked,
    inner_edges,
    stable_alone,
    tabulated,
)
from upright.analysis.state import State
from upright.api.monitoring import Metric, MetricType
from upright.api.policy import Policy

NOTHING = -1e300  # ln of R = 0 as JSON knows no infinity; 1 is added to R before anything else is done with it


@dataclass(frozen=True)
class Alarm:
    """The rate of `metric` has risen; `time` is the look at which the alarm was raised."""

    metric: str
    time: float
    message: str


def begin_watch(
    policy: Policy, baseline: Look, between_false_alarms: float, dispersion: Mapping[str, float] | None = None
) -> State:
    """The state at promotion.

    Args:
        policy: metrics, tolerances, weights and interval. Means are not watched.
        baseline: the previous version's counts as `stable`, summed over a time that is typical; the canary's part of
            it is not used.
        between_false_alarms: mean seconds between false alarms, for example 30 days.
        dispersion: as for `begin`.
    """
    metrics = {}
    for metric in policy.metrics:
        edges, table = _stable_table(metric, baseline)
        if table is None and metric.maximum is None:
            continue
        bounds = [metric.maximum] if table is None else _bounds(metric, table)
        metrics[metric.name] = {
            "edges": edges,
            "bounds": bounds,
            "dispersion": metric.scatter((dispersion or {}).get(metric.name, 1.0)),
            "log_r": [[NOTHING] * len(rates.EFFECTS) for _ in bounds],
        }
    return {
        "looks": between_false_alarms / policy.interval.total_seconds(),
        "metrics": metrics,
    }


def update_watch(policy: Policy, state: Mapping[str, Any], look: Look) -> State:
    """The state after one more look of the only version, as `canary`. An alarm stays until the watch is begun anew."""
    if look.time <= state.get("last", -math.inf):
        return dict(state)
    watched = {metric.name: metric for metric in policy.metrics if metric.name in state["metrics"]}
    metrics = {name: _seen(state["metrics"][name], look.measurements.get(name)) for name in watched}
    after: State = {**state, "last": look.time, "metrics": metrics}
    weights = {name: metric.weight for name, metric in watched.items()}
    shares = {
        name: log_mean(metrics[name]["log_r"]) + math.log(weights[name] / sum(weights.values())) for name in metrics
    }
    if "alarm" not in after and shares and np.logaddexp.reduce(list(shares.values())) >= math.log(state["looks"]):
        after["alarm"] = {"metric": max(shares, key=lambda name: shares[name]), "time": look.time}
    return after


def alarm(policy: Policy, state: Mapping[str, Any]) -> Alarm | None:
    """The alarm, if there was one."""
    raised = state.get("alarm")
    if raised is None:
        return None
    length = state["looks"] * policy.interval.total_seconds() / 3600
    return Alarm(
        raised["metric"],
        raised["time"],
        f"{raised['metric']} has risen above what the previous version allows, seen at time {raised['time']:.10g}; "
        f"such an alarm is false once in {length:.3g} hours or more on average.",
    )


def _stable_table(metric: Metric, baseline: Look) -> tuple[list[float], Table | None]:
    """The bucket edges and the baseline's stable counts as those of a single arm."""
    measurement = baseline.measurements.get(metric.name)
    edges: list[float] = []
    table = None
    if metric.type is MetricType.LATENCY and isinstance(measurement, Histogram):
        bounds = inner_edges(measurement)
        edges = list(metric.buckets or (() if bounds is None else bounds))
        table = above_edges(measurement, tuple(edges))
    elif isinstance(measurement, Counts):
        table = tabulated(measurement)
    if table is None or metric.maximum is not None:
        return edges, None
    arm, reason = checked(stable_alone(table), one_arm=True)
    return edges, arm if reason[0] == USABLE else None


def _bounds(metric: Metric, arm: Table) -> list[float]:
    """r0 p_ref + epsilon for each channel; p_ref by Wilson's score at 95 %, one-sided."""
    z = 1.645
    total, bad = arm.canary_total[0], arm.canary_bad[0]
    rate = bad / total
    upper = (rate + z * z / (2 * total) + z * np.sqrt(rate * (1 - rate) / total + z * z / (4 * total**2))) / (
        1 + z * z / total
    )
    tolerance = metric.margins
    limit = np.maximum((1 + tolerance.relative) * upper, upper + tolerance.absolute)
    return [float(value) for value in limit]


def _seen(stored: Mapping[str, Any], measurement: Any) -> dict[str, Any]:
    """One metric after a look; as it was when the look cannot be used."""
    table = None
    if stored["edges"] and isinstance(measurement, Histogram):
        table = above_edges(measurement, tuple(stored["edges"]))
    elif not stored["edges"] and isinstance(measurement, Counts):
        table = tabulated(measurement)
    if table is None:
        return dict(stored)
    arm, reason = checked(table, one_arm=True)
    if reason[0] != USABLE:
        return dict(stored)
    after = []
    for channel, (bound, row) in enumerate(zip(stored["bounds"], stored["log_r"], strict=True)):
        if bound >= CEILING:
            after.append(row)
            continue
        total, bad = arm.canary_total[:, channel, None], arm.canary_bad[:, channel, None]
        llr = rates.against_limit(total, bad, bound)[0, 0] / stored["dispersion"]
        after.append([float(value) for value in np.logaddexp(row, 0.0) + llr])
    return {**stored, "log_r": after}


def log_mean(log_r: ArrayLike) -> float:
    """The ln of the mean R."""
    return float(np.logaddexp.reduce(log_r, axis=None) - math.log(np.size(log_r)))
