"""Has the distribution of an input, or of the predictions, moved away from the reference profile?

What it tests: counts per bin of live rows against the counts per bin of the reference, feature by feature.
Null hypothesis: at every decile of the reference (or for each of the commonest categories) the share of live rows
beyond it stays within 2 percentage points of the reference, plus twice the reference's own standard error.
Guarantee: the mean time between false alarms, over all features together, is at least the given number of batches; rows
of a batch are taken to be independent. Method: the Shiryaev-Roberts detector of `watch`, both directions, at threshold
features x ARL: each feature's detector then has a mean time of features x ARL batches, and the rate of false alarms of
all is at most the sum.
An alarm needs an effect as well: PSI >= 0.2, or W1 >= 0.1 standard deviations, over the recent rows, so that a large
service is not alarmed by a shift that nobody would care about. Drift never rolls back: the stable version sees it too.
Source: Shin, Ramdas & Rinaldo (arXiv 2203.03532); Siddiqi 2006 for the PSI and its threshold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upright.analysis import rates
from upright.analysis.bets import CEILING
from upright.analysis.looks import Bools, Floats
from upright.analysis.state import State
from upright.analysis.watch import NOTHING, log_mean

WIDENING = 0.02
PSI_LIMIT = 0.2
WASSERSTEIN_LIMIT = 0.1
BOUNDARIES = 9
RECENT_ROWS = 2000.0  # the effect is measured over about so many rows
LEAST_ROWS = 500.0  # and not before so many were seen
EFFECTS = rates.EFFECTS[:4]


@dataclass(frozen=True)
class Feature:
    """The reference profile of one feature: a count for each bin.

    Attributes:
        reference: rows in each bin, missing values in a bin of their own.
        positions: of numeric features, a value that stands for each bin, rising. Empty for categories.
    """

    reference: tuple[float, ...]
    positions: tuple[float, ...] = ()


@dataclass(frozen=True)
class Effect:
    """How far live counts are from the reference. `wasserstein` is in standard deviations, None for categories."""

    psi: float
    jensen_shannon: float
    wasserstein: float | None


@dataclass(frozen=True)
class Drift:
    """One feature's standing: it is alarmed when evidence and effect are both beyond their limits."""

    feature: str
    evidence: float
    threshold: float
    effect: Effect | None
    alarmed_at: float | None


def effect(feature: Feature, live: Sequence[float]) -> Effect:
    """Population stability index, Jensen-Shannon distance (base 2, 0 to 1) and Wasserstein distance.

    Raises:
        ValueError: the live counts have another number of bins than the reference, or one of the two has no rows.
    """
    reference, current = np.asarray(feature.reference, dtype=np.float64), np.asarray(live, dtype=np.float64)
    if reference.shape != current.shape:
        raise ValueError(f"expected {reference.size} bins as in the reference profile, found {current.size}")
    if not (reference.sum() > 0 and current.sum() > 0):
        raise ValueError("both the reference profile and the live counts need at least one row")
    p, q = reference / reference.sum(), current / current.sum()
    # half a row in every bin, or an empty bin would make the index infinite
    smooth_p, smooth_q = ((count + 0.5) / (count.sum() + 0.5 * count.size) for count in (reference, current))
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return Effect(
        psi=float(((smooth_q - smooth_p) * np.log(smooth_q / smooth_p)).sum()),
        jensen_shannon=math.sqrt(max(0.0, divergence / math.log(2))),
        wasserstein=_wasserstein(p, q, np.asarray(feature.positions)) if feature.positions else None,
    )


def begin_drift(features: Mapping[str, Feature], between_false_alarms: float) -> State:
    """The state before the first batch; `between_false_alarms` is a mean number of batches."""
    return {
        "threshold": len(features) * between_false_alarms,
        "features": {
            name: {"log_r": [NOTHING], "recent": [0.0] * len(feature.reference)} for name, feature in features.items()
        },
    }


def update_drift(
    features: Mapping[str, Feature], state: Mapping[str, Any], time: float, batch: Mapping[str, Sequence[float]]
) -> State:
    """The state after a batch of counts per bin; a feature that is missing, unusable or without rows is left as it was.

    A batch that is not newer than the last one changes nothing.
    """
    if time <= state.get("last", -math.inf):
        return dict(state)
    after = {}
    for name, feature in features.items():
        stored = state["features"][name]
        counts = np.asarray(batch.get(name, ()), dtype=np.float64)
        usable = counts.shape == (len(feature.reference),) and np.isfinite(counts).all() and (counts >= 0).all()
        after[name] = _seen(feature, stored, counts, time, state["threshold"]) if usable and counts.any() else stored
    return {**state, "last": time, "features": after}


def drifts(features: Mapping[str, Feature], state: Mapping[str, Any]) -> tuple[Drift, ...]:
    """How each feature stands."""
    found = []
    for name, feature in features.items():
        stored = state["features"][name]
        evidence = float(np.exp(min(log_mean(stored["log_r"]), 690.0)))
        enough = sum(stored["recent"]) > 0
        shown = effect(feature, stored["recent"]) if enough else None
        found.append(Drift(name, evidence, state["threshold"], shown, stored.get("alarmed")))
    return tuple(found)


def _seen(feature: Feature, stored: Mapping[str, Any], counts: Floats, time: float, threshold: float) -> dict[str, Any]:
    llr = _evidence_of_batch(feature, counts)
    log_r = np.logaddexp(stored["log_r"], 0.0) + llr
    keep = max(0.0, 1 - counts.sum() / RECENT_ROWS)
    recent = keep * np.array(stored["recent"]) + counts
    after = {**stored, "log_r": log_r.tolist(), "recent": recent.tolist()}
    if "alarmed" not in stored and recent.sum() >= LEAST_ROWS and log_mean(log_r) >= math.log(threshold):
        size = effect(feature, recent.tolist())
        if size.psi >= PSI_LIMIT or (size.wasserstein or 0.0) >= WASSERSTEIN_LIMIT:
            after["alarmed"] = time
    return after


def _evidence_of_batch(feature: Feature, counts: Floats) -> Floats:
    """The llr that the share beyond a boundary has risen or fallen, flat over boundaries, directions and effects."""
    reference = np.asarray(feature.reference, dtype=np.float64)
    rows, total = reference.sum(), counts.sum()
    parts = []
    for chosen in _boundaries(feature):
        share = reference[chosen].sum() / rows
        margin = WIDENING + 2 * math.sqrt(share * (1 - share) / rows)
        inside = counts[chosen].sum()
        for limit, bad in ((share + margin, inside), (1 - share + margin, total - inside)):
            if limit < CEILING:
                llr = rates.against_limit(np.array([[total]]), np.array([[bad]]), limit, EFFECTS)
                parts.append(llr[0, 0])
    return np.concatenate(parts) if parts else np.zeros(1)


def _boundaries(feature: Feature) -> list[Bools]:
    """Masks over the bins: those above each decile, or each of the commonest categories."""
    reference = np.asarray(feature.reference, dtype=np.float64)
    if not feature.positions:
        common = np.argsort(-reference, kind="stable")[:BOUNDARIES]
        return [np.arange(reference.size) == place for place in common]
    cumulative = reference.cumsum() / reference.sum()
    wanted = np.arange(1, BOUNDARIES + 1) / (BOUNDARIES + 1)
    nearest = np.unique(np.abs(cumulative[:-1, None] - wanted).argmin(axis=0))
    return [np.arange(reference.size) > place for place in nearest]


def _wasserstein(p: Floats, q: Floats, positions: Floats) -> float:
    mean = (p[: positions.size] * positions).sum()
    sigma = math.sqrt(float((p[: positions.size] * (positions - mean) ** 2).sum()))
    apart = np.abs((p - q)[: positions.size].cumsum()[:-1])
    distance = float((apart * np.diff(positions)).sum())
    return distance / sigma if sigma > 0 else (0.0 if distance == 0 else math.inf)


def _relative_entropy(p: Floats, q: Floats) -> float:
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())
