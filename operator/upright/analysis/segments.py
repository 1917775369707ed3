"""Segments: does a version fail for one group of users while the whole looks well?

What it tests: each segment by the same analysis as the whole.
Null hypothesis of the rollback: the canary is healthy as a whole and in every segment.
Guarantee: E = 1/2 E_whole + 1/2 mean_s E_s is an e-process, being a fixed mixture of e-processes under any dependence,
so a healthy canary is ever rolled back with probability at most alpha. Reported segments keep a false discovery rate of
at most alpha at any one time (e-BH).
Source: Wang & Ramdas (arXiv 2009.02824); the mixture is the design document's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upright.analysis.discoveries import discoveries
from upright.analysis.engine import begin, combined_evidence, reported, update
from upright.analysis.looks import Look
from upright.analysis.state import State
from upright.api.monitoring import Boundary, Policy


@dataclass(frozen=True)
class SegmentedVerdict:
    """What whole and segments say together.

    Attributes:
        rollback: whether the evidence has ever crossed the threshold.
        evidence: the mixture, as it was at the crossing or is now.
        worst: the segment with the most evidence, None when the whole has more.
        reported: segments found worse now, by e-BH.
    """

    rollback: bool
    evidence: float
    threshold: float
    worst: str | None
    reported: tuple[str, ...]


def begin_segments(policy: Policy, segments: Sequence[str], dispersion: Mapping[str, float] | None = None) -> State:
    """The state before the first look; the segments are fixed now, as their shares of the promise depend on them.

    Raises:
        ValueError: a metric has boundary Exact, whose evidence cannot be averaged over segments.
    """
    exact = [metric.name for metric in policy.metrics if metric.boundary is Boundary.EXACT]
    if exact:
        raise ValueError(f"metric {exact[0]!r} has boundary Exact, which is not for segments: use Mixture")
    return {
        "whole": begin(policy, dispersion=dispersion),
        "segments": {name: begin(policy, dispersion=dispersion) for name in sorted(set(segments))},
    }


def update_segments(policy: Policy, state: Mapping[str, Any], whole: Look, by_segment: Mapping[str, Look]) -> State:
    """The state after one more look; a segment that is not in `by_segment` was not measured.

    Raises:
        ValueError: a segment that was not there at the beginning.
    """
    unknown = sorted(set(by_segment) - set(state["segments"]))
    if unknown:
        raise ValueError(f"segment {unknown[0]!r} was not named when the analysis began; begin again with it")
    after: State = {
        **state,
        "whole": update(policy, state["whole"], whole),
        "segments": {
            name: update(policy, stored, by_segment.get(name, Look(whole.time, {})))
            for name, stored in state["segments"].items()
        },
    }
    evidence = _mixture(policy, after)
    if "crossed" not in after and evidence >= -np.log(policy.false_rollback_probability):
        after["crossed"] = {"time": whole.time, "evidence": float(reported(evidence))}
    return after


def segmented_verdict(policy: Policy, state: Mapping[str, Any]) -> SegmentedVerdict:
    """What the state says."""
    crossed = state.get("crossed")
    names = list(state["segments"])
    logs = np.array([combined_evidence(policy, stored) for stored in state["segments"].values()])
    worst = names[int(logs.argmax())] if names and logs.max() > combined_evidence(policy, state["whole"]) else None
    now = float(reported(_mixture(policy, state)))
    found = discoveries(logs, policy.false_rollback_probability)
    return SegmentedVerdict(
        rollback=crossed is not None,
        evidence=now if crossed is None else crossed["evidence"],
        threshold=1 / policy.false_rollback_probability,
        worst=worst,
        reported=tuple(name for name, reported in zip(names, found, strict=True) if reported),
    )


def _mixture(policy: Policy, state: Mapping[str, Any]) -> float:
    whole = combined_evidence(policy, state["whole"])
    if not state["segments"]:
        return whole
    logs = np.array([combined_evidence(policy, stored) for stored in state["segments"].values()])
    mean = np.logaddexp.reduce(logs) - np.log(len(logs))
    return float(np.logaddexp(whole, mean) - np.log(2.0))
