"""Many rollouts through the analysis: when each was rolled back, with confidence intervals for shares."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from tests.bench.analysis.traffic import INTERVAL
from upright.analysis import Counts, Decision, Look, Policy, begin, update, verdict
from upright.analysis.engine import together, weighted_evidence
from upright.analysis.looks import Measurement
from upright.analysis.state import load
from upright.api.deployment import DeploymentSpec
from upright.api.monitoring import Boundary
from upright.rollout.measuring import ENOUGH
from upright.rollout.pace import FRESH, RISEN
from upright.rollout.verdict import policy as rollout_policy

ALPHA = 0.01
Delays = NDArray[
    np.float64
]  # seconds from the beginning to the rollback of each rollout, infinite where there was none


def policy(
    type: str = "ErrorRate", relative: float = 0.0, absolute: float = 0.0, boundary: str = "Mixture", **fields: Any
) -> Policy:
    """A policy with one metric, `m`."""
    tolerance = {"relative": relative, "absolute": absolute}
    metric: dict[str, Any] = {"name": "m", "type": type, "tolerance": tolerance}
    if boundary == "Exact":
        metric |= {"boundary": boundary, "dispersion": 1}
    return Policy.model_validate({"falseRollbackProbability": ALPHA, "metrics": [metric], **fields})


def default_policy(*names: str) -> Policy:
    """A policy with the metrics of these names that a Deployment has when it names none."""
    spec = DeploymentSpec.model_validate({"modelVersion": "m-1"})
    whole = rollout_policy(spec)
    return whole.model_copy(update={"metrics": tuple(one for one in whole.metrics if one.name in names)})


def delays(
    rule: Policy,
    looks: Iterable[Measurement | Mapping[str, Measurement] | tuple[Measurement, Measurement | None]],
    dispersion: Mapping[str, float] | None = None,
    history: Iterable[Measurement] = (),
    pods: Callable[[int], int] = lambda _: 0,
) -> Delays:
    """When the analysis rolls each rollout back. A look is the measurement of `m`, with that of the halves of the
    stable version if there are, or those of all metrics by name; `history` is what the stable version counted before;
    `pods` are those of the canary in each look.
    """
    before = [Look(-INTERVAL, {"m": measurement}) for measurement in history]
    state = begin(rule, history=before, dispersion=dispersion)
    for look, measured in enumerate(looks):
        found, apart = measured if isinstance(measured, tuple) else (measured, None)
        all_metrics = found if isinstance(found, Mapping) else {"m": found}
        halves = {} if apart is None else {"m": apart}
        state = update(rule, state, Look(INTERVAL * (look + 1), all_metrics, pods=pods(look), halves=halves))
    crossed = load(rule, state).crossed
    return np.where(np.isnan(crossed), np.inf, crossed)


def delays_at_the_pace_of_rollouts(rule: Policy, seconds: Iterable[Counts], step: int) -> Delays:
    """The same, from what is counted in each second: looks are taken by each rollout when `rollout.pace` says so, every
    `interval` in peace, and every second in which enough requests come while a step (of so many seconds) has just begun
    or the evidence has risen.
    """
    state, exact = begin(rule), any(metric.boundary is Boundary.EXACT for metric in rule.metrics)
    waiting: NDArray[np.float64] = np.zeros(1)
    looked: NDArray[np.float64] | float = 0.0
    risen: NDArray[np.bool_] | bool = False
    for second, counted in enumerate(seconds, 1):
        waiting = waiting + np.stack([*counted.canary, *counted.stable])  # type: ignore[misc]
        fresh = (second - 1) % step < FRESH.total_seconds()
        enough = (waiting[0] >= ENOUGH) & (waiting[2] >= ENOUGH)
        looks = (second - looked >= rule.interval.total_seconds()) | (enough & np.logical_or(fresh, risen))
        if not looks.any():
            continue
        taken = np.where(looks, waiting, 0.0)
        waiting, looked = np.where(looks, 0.0, waiting), np.where(looks, second, looked)
        look = Look(float(second), {"m": Counts((taken[0], taken[1]), (taken[2], taken[3]))})
        state = update(rule, state, look)
        analysis = load(rule, state)
        risen = not exact and together(weighted_evidence(analysis, rule), rule) >= np.log(RISEN)
    crossed = load(rule, state).crossed
    return np.where(np.isnan(crossed), np.inf, crossed)


def promotions(rule: Policy, looks: Iterable[Measurement]) -> Delays:
    """When each rollout is promoted before its horizon, as it is not once it was rolled back."""
    state = begin(rule)
    promoted: NDArray[np.float64] | float = np.inf
    for look, measured in enumerate(looks):
        time = INTERVAL * (look + 1)
        state = update(rule, state, Look(time, {metric.name: measured for metric in rule.metrics}))
        decisions: Any = verdict(rule, state, ends=False).decision
        promoted = np.where(decisions == str(Decision.PROMOTE), np.minimum(promoted, time), promoted)
    return np.asarray(promoted)


@dataclass(frozen=True)
class Share:
    """A share of runs with its 95 % interval (Clopper and Pearson)."""

    hits: int
    runs: int

    def __str__(self) -> str:
        low = beta.ppf(0.025, self.hits, self.runs - self.hits + 1) if self.hits else 0.0
        high = beta.ppf(0.975, self.hits + 1, self.runs - self.hits) if self.hits < self.runs else 1.0
        return f"{100 * self.hits / self.runs:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def share(found: Delays) -> Share:
    """The share that was rolled back."""
    return Share(int(np.isfinite(found).sum()), len(found))


def cell(found: Delays) -> str:
    """Detected % / median seconds."""
    detected = 100 * np.isfinite(found).mean()
    return f"{detected:.0f} / {np.median(found):.0f} s" if detected > 50 else f"{detected:.0f} / -"
