"""The state of an analysis as plain JSON: what a restart needs to go on with a bit-equal verdict.

All numbers of a metric are one vector of 64-bit floats, written as base64 (exact, and half the size of decimal
numbers). For the many runs of a simulation the vectors stay arrays with an axis of runs, and such a state is not JSON.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from upright.analysis import comparison, continuous
from upright.analysis.comparison import Comparison
from upright.analysis.continuous import Drifting
from upright.analysis.looks import SKIPS, Floats
from upright.api.monitoring import Metric, MetricType, Policy

# A JSON object; pass it through json.dumps and json.loads as you like.
State: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """One metric: what is remembered of it, and which looks it skipped."""

    memory: Comparison | Drifting | None  # None until the first look of a Latency metric names its edges
    edges: tuple[float, ...]
    dispersion: float
    skips: Floats  # (runs, len(SKIPS)): how many looks were skipped for which reason
    last_skip: Floats  # (runs,): index into SKIPS, or USABLE


@dataclass(frozen=True)
class Analysis:
    """A state with its arrays, as the functions of this package use it."""

    policy: str  # fingerprint
    runs: int
    looks: int
    late: int
    first: float | None
    last: float | None
    crossed: Floats  # (runs,): when the evidence crossed the threshold, NaN before
    crossing: Floats  # (runs,): the ln of the evidence then
    blamed: Floats  # (runs,): index of the metric with the largest share of the evidence then
    metrics: Mapping[str, Watched]


def dump(analysis: Analysis) -> State:
    """The analysis as a state."""
    return {
        "policy": analysis.policy,
        "runs": analysis.runs,
        "looks": analysis.looks,
        "late": analysis.late,
        "first": analysis.first,
        "last": analysis.last,
        "decided": _encode([analysis.crossed, analysis.crossing, analysis.blamed], analysis.runs),
        "metrics": {
            name: {
                "edges": list(watched.edges),
                "dispersion": watched.dispersion,
                "skipped": _encode([watched.skips, watched.last_skip], analysis.runs),
                "memory": _encode_memory(watched.memory, analysis.runs),
            }
            for name, watched in analysis.metrics.items()
        },
    }


def load(policy: Policy, state: Mapping[str, Any]) -> Analysis:
    """The analysis that a state holds.

    Raises:
        ValueError: the state was begun with another policy, or is not a state.
    """
    wanted = policy.fingerprint
    found = state.get("policy") if isinstance(state, Mapping) else None
    if found != wanted:
        raise ValueError(
            f"the state belongs to policy {found!r}, not to this one ({wanted!r}): metrics, tolerances, interval or "
            "horizon were changed. Call begin(policy) and analyse the looks again."
        )
    runs = state["runs"]
    crossed, crossing, blamed = _decode(state["decided"], runs).T
    return Analysis(
        policy=wanted,
        runs=runs,
        looks=state["looks"],
        late=state["late"],
        first=state["first"],
        last=state["last"],
        crossed=crossed,
        crossing=crossing,
        blamed=blamed,
        metrics={metric.name: _load_metric(metric, state["metrics"][metric.name], runs) for metric in policy.metrics},
    )


def _load_metric(metric: Metric, stored: Mapping[str, Any], runs: int) -> Watched:
    skipped = _decode(stored["skipped"], runs)
    edges = tuple(stored["edges"])
    memory: Comparison | Drifting | None = None
    if stored["memory"] is not None and metric.type is MetricType.MEAN:
        memory = Drifting(**_split(stored["memory"], runs, continuous.SHAPES))
    elif stored["memory"] is not None:
        memory = Comparison(**_split(stored["memory"], runs, comparison.shapes(metric, len(edges) or 1)))
    return Watched(
        memory=memory,
        edges=edges,
        dispersion=stored["dispersion"],
        skips=skipped[:, : len(SKIPS)],
        last_skip=skipped[:, len(SKIPS)],
    )


def _encode_memory(memory: Comparison | Drifting | None, runs: int) -> Any:
    return None if memory is None else _encode([getattr(memory, field.name) for field in fields(memory)], runs)


def _encode(arrays: list[Floats], runs: int) -> Any:
    """The arrays side by side: text for one run, an array of shape (runs, numbers) for many."""
    flat = np.concatenate([array.reshape(runs, -1) for array in arrays], axis=1)
    return flat if runs > 1 else base64.b64encode(flat.astype("<f8", copy=False).tobytes()).decode("ascii")


def _decode(stored: Any, runs: int) -> Floats:
    if isinstance(stored, str):
        return np.frombuffer(base64.b64decode(stored), dtype="<f8").reshape(runs, -1)
    return np.asarray(stored, dtype=np.float64)


def _split(stored: Any, runs: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    flat = _decode(stored, runs)
    arrays, start = {}, 0
    for name, shape in shapes.items():
        end = start + math.prod(shape)
        arrays[name] = flat[:, start:end].reshape(runs, *shape)
        start = end
    return arrays
