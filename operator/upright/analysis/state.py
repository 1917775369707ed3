"""The state of an analysis as plain JSON: what a restart needs to go on with a bit-equal verdict.

All numbers of a metric are one vector of 64-bit floats, written as base64 (exact, and half the size of decimal
numbers). For the many runs of a simulation the arrays stay as they are, and such a state is not JSON.
What is not there yet has no field: Kubernetes drops one that is null.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from upright.analysis import comparison, continuous, dispersion, exact
from upright.analysis.comparison import Comparison
from upright.analysis.continuous import Drifting
from upright.analysis.dispersion import Scatter
from upright.analysis.exact import Exact
from upright.analysis.looks import COUNTED, INFINITE, SKIPS, USABLE, Floats
from upright.api.monitoring import Boundary, Margins, Metric, MetricType
from upright.api.policy import Policy

_CROSSED: np.dtype[np.void] = np.dtype([("time", "<f8"), ("evidence", "<f8"), ("blamed", "<f8")])
_WARM: np.dtype[np.void] = np.dtype([("since", "<f8")])
_SKIPPED = [("skips", "<f8", (COUNTED,)), ("last_skip", "<f8", ())]

# A JSON object; pass it through json.dumps and json.loads as you like.
State: TypeAlias = dict[str, Any]


class Watched(NamedTuple):
    """One metric: what is remembered of it, and which looks it skipped."""

    memory: Comparison | Drifting | None  # None until the first look of a Latency metric settles its edges
    exact: Exact | None  # only with boundary Exact
    edges: tuple[float, ...]  # of a Latency metric, none before that
    known: float | None  # its dispersion, where that is not learned
    scatter: Scatter | None  # what it is learned from; none until the edges are settled
    skips: Floats  # (runs, COUNTED): how many looks were skipped for which reason
    last_skip: Floats  # (runs,): index into SKIPS, or USABLE

    def dispersion(self, metric: Metric) -> Floats:
        """The dispersion by which the next look is divided, shape (runs,)."""
        if self.known is None and self.scatter is not None:
            return dispersion.learned(self.scatter, metric)
        return np.full(len(self.last_skip), dispersion.usual(metric) if self.known is None else self.known)


class Crossing(NamedTuple):
    """Where the evidence crossed the threshold, each of shape (runs,)."""

    time: Floats  # of the look, NaN before
    evidence: Floats  # ln E then
    blamed: Floats  # index of the metric with the largest share of the evidence then


class WarmUp(NamedTuple):
    """What is slow when it begins, and since when."""

    pods: int  # the most of the canary that had counted anything, in any look
    since: Floats  # (runs,): the first look with so many in which both versions had counted something, NaN before it


class LeftOut(NamedTuple):
    """Pods that were left out of looks."""

    looks: int  # how many had some
    pods: Mapping[str, str]  # of the last such look, at most NAMED of them: by name, why


NAMED = 5


class StateError(ValueError):
    """A state cannot be gone on with: it belongs to another policy, or is damaged. The text says what to do."""


class Analysis(NamedTuple):
    """A state with its arrays, as the functions of this package use it."""

    policy: str  # fingerprint
    runs: int
    looks: int
    late: int
    left_out: LeftOut | None  # None before any was
    first: float | None
    last: float | None
    warm_up: WarmUp | None  # None without one
    crossing: Crossing | None  # None before any run crossed
    metrics: Mapping[str, Watched]

    @property
    def crossed(self) -> Floats:
        """When each run's evidence crossed the threshold, NaN where it has not, shape (runs,)."""
        return np.full(self.runs, np.nan) if self.crossing is None else self.crossing.time


def dump(analysis: Analysis) -> State:
    """The analysis as a state."""
    state = {
        "policy": analysis.policy,
        "runs": analysis.runs,
        "looks": analysis.looks,
        "late": analysis.late,
        "metrics": {
            name: {
                "edges": _encode((np.array(watched.edges),), 1),
                **({} if watched.known is None else {"dispersion": watched.known}),
                "seen": _encode(
                    (
                        watched.skips,
                        watched.last_skip,
                        *(watched.scatter or ()),
                        *(watched.memory or ()),
                        *(watched.exact or ()),
                    ),
                    analysis.runs,
                ),
            }
            for name, watched in analysis.metrics.items()
        },
    }
    if analysis.left_out is not None:
        state["leftOut"] = {"looks": analysis.left_out.looks, "pods": dict(analysis.left_out.pods)}
    if analysis.last is not None:
        state |= {"first": analysis.first, "last": analysis.last}
    if analysis.warm_up is not None:
        state["warmUp"] = {"pods": analysis.warm_up.pods, "since": _encode([analysis.warm_up.since], analysis.runs)}
    if analysis.crossing is not None:
        state["crossing"] = _encode(analysis.crossing, analysis.runs)
    return state


def load(policy: Policy, state: Mapping[str, Any]) -> Analysis:
    """The analysis that a state holds.

    Raises:
        StateError: the state was begun with another policy, or is not a state.
    """
    wanted = policy.fingerprint
    found = state.get("policy") if isinstance(state, Mapping) else None
    if found != wanted:
        raise StateError(
            f"the state belongs to policy {found!r}, not to this one ({wanted!r}): metrics, tolerances, interval or "
            "horizon were changed. Call begin(policy) and analyse the looks again."
        )
    try:
        return _loaded(policy, state)
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        raise StateError(
            f"the state is damaged ({type(problem).__name__}: {problem}). Call begin(policy) and analyse the looks "
            "again."
        ) from problem


def _loaded(policy: Policy, state: Mapping[str, Any]) -> Analysis:
    runs = _count(state["runs"], 1)
    crossing, left_out, warm_up = state.get("crossing"), state.get("leftOut"), state.get("warmUp")
    first: Any = state.get("first")
    last: Any = state.get("last")
    if (first is not None or last is not None) and not -_LATEST < first <= last < _LATEST:
        raise ValueError("first and last are no times")
    if (warm_up is None) != (not policy.warm_up):
        raise ValueError("its warm-up is not the policy's")
    return Analysis(
        policy=policy.fingerprint,
        runs=runs,
        looks=_count(state["looks"]),
        late=_count(state["late"]),
        left_out=None if left_out is None else _load_left_out(left_out),
        first=first,
        last=last,
        warm_up=None if warm_up is None else _load_warm_up(warm_up, runs),
        crossing=None if crossing is None else _load_crossing(crossing, policy, runs),
        metrics={
            metric.name: _load_metric(metric, policy, state["metrics"][metric.name], runs) for metric in policy.metrics
        },
    )


def _count(value: Any, least: int = 0) -> int:
    if not (type(value) is int and least <= value < _MOST):
        raise ValueError(f"{value!r} is no count")
    return value


def _load_left_out(stored: Mapping[str, Any]) -> LeftOut:
    pods = {str(pod): str(why) for pod, why in stored["pods"].items()}
    return LeftOut(_count(stored["looks"], 1), pods)


def _load_warm_up(stored: Mapping[str, Any], runs: int) -> WarmUp:
    [since] = _decode(stored["since"], _WARM, runs)
    if (np.abs(since) >= _LATEST).any():
        raise ValueError("its warm-up began at no time")
    return WarmUp(_count(stored["pods"]), since)


def _load_crossing(stored: Any, policy: Policy, runs: int) -> Crossing:
    crossing = Crossing(*_decode(stored, _CROSSED, runs))
    if runs == 1 and not (
        abs(crossing.time[0]) < _LATEST
        and abs(crossing.evidence[0]) < INFINITE
        and crossing.blamed[0] in range(len(policy.metrics))
    ):
        raise ValueError("its crossing is none")
    return crossing


def _load_metric(metric: Metric, policy: Policy, stored: Mapping[str, Any], runs: int) -> Watched:
    edges = tuple(np.frombuffer(base64.b64decode(stored["edges"], validate=True), "<f8").tolist())
    if not all(low < high for low, high in zip((-math.inf, *edges), (*edges, math.inf), strict=True)):
        raise ValueError("its edges do not rise")
    known = stored.get("dispersion")
    if known is None and not dispersion.is_learned(metric):
        raise ValueError("it has no dispersion")
    if known is not None and not 1 <= known < INFINITE:
        raise ValueError(f"{known!r} is no dispersion")
    layout = _layout(metric.type, metric.margins, metric.boundary, len(edges), known is None)
    decoded = _decode(stored["seen"], layout, runs)
    if runs == 1:
        _check(dict(zip(layout.names or (), decoded, strict=True)), policy.share(metric))
    skips, last_skip, *numbers = decoded
    memory: Comparison | Drifting | None = None
    boundary: Exact | None = None
    if metric.boundary is Boundary.EXACT:
        boundary = Exact(*numbers[-len(exact.SHAPES) :])
        numbers = numbers[: -len(exact.SHAPES)]
    scatter: Scatter | None = None
    if numbers and known is None:
        learned = len(Scatter._fields)
        scatter, numbers = Scatter(*numbers[:learned]), numbers[learned:]
    if numbers:
        memory = Drifting(*numbers) if metric.type is MetricType.MEAN else Comparison(*numbers)
    return Watched(memory, boundary, edges, known, scatter, skips, last_skip)


_LATEST = 1e15
_MOST = 2**53
_SIGNED = frozenset(
    {
        "at",
        "last_skip",
        "scatter_drift",
        "log_wealth",
        "log_evidence",
        "exact_log_evidence",
        "safest",
        "total",
        "arms",
        "safe",
    }
)
"""What may be below zero. The wealth of a bet may be nothing, which is minus infinity as a logarithm."""


def _check(numbers: Mapping[str, Floats], share: float) -> None:
    """Refuse what no analysis leaves behind. Raises ValueError."""
    for name, values in numbers.items():
        least = -math.inf if name == "log_wealth" else -INFINITE if name in _SIGNED else 0.0
        if not ((values >= least) & (values < INFINITE)).all():
            raise ValueError(f"{name} has values that it cannot have")
    if numbers["last_skip"][0] not in range(USABLE, len(SKIPS)):
        raise ValueError("last_skip is no reason")
    if "exact_alive" in numbers:
        alive, spent = numbers["exact_alive"].sum(), numbers["exact_spent"][0]
        if not (0 < alive < 1 + _ROUNDING and spent <= share * (1 + _ROUNDING)):
            raise ValueError("its probabilities are none")


_ROUNDING = 1e-6


@lru_cache(maxsize=256)
def _layout(type: MetricType, tolerance: Margins, boundary: Boundary, edges: int, learns: bool) -> np.dtype[np.void]:
    """One run of a metric as it lies in a state."""
    if type is MetricType.LATENCY and not edges:
        return np.dtype(_SKIPPED)
    shapes = continuous.SHAPES if type is MetricType.MEAN else comparison.shapes(type, tolerance, edges or 1)
    if learns:
        shapes = {f"scatter_{name}": shape for name, shape in dispersion.shapes(edges or 1).items()} | shapes
    if boundary is Boundary.EXACT:
        shapes = shapes | {f"exact_{name}": shape for name, shape in exact.SHAPES.items()}
    return np.dtype([*_SKIPPED, *((name, "<f8", shape) for name, shape in shapes.items())])


def _encode(arrays: Sequence[Floats], runs: int) -> Any:
    """The arrays one after the other as text for one run, as they are for many."""
    if runs > 1:
        return arrays
    flat = np.concatenate(arrays, axis=None)
    return base64.b64encode(flat.astype("<f8", copy=False).tobytes()).decode("ascii")


def _decode(stored: Any, layout: np.dtype[np.void], runs: int) -> Sequence[Floats]:
    if runs > 1:
        arrays = tuple(stored)
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise TypeError("several runs are kept as arrays")
        return arrays
    record = np.frombuffer(base64.b64decode(stored, validate=True), layout)
    if len(record) != 1:
        raise ValueError(f"{len(record)} runs where one is expected")
    return [record[name] for name in layout.names or ()]
