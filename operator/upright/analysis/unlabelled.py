"""How good are predictions whose labels have not come yet? Confidence-based performance estimation (CBPE).

What it estimates: accuracy, precision, recall, F1 and AUC of a binary classifier on a batch without labels, from its
scores alone. A score is first turned into a probability p by isotonic regression on labelled reference rows; a row that
is predicted positive is then right with probability p, and one predicted negative with 1 - p:

    E[TP] = sum of p over predicted positives,   E[FP] = sum of 1 - p over them,
    E[FN] = sum of p over predicted negatives,   E[TN] = sum of 1 - p over them.

The AUC is that of the expected curve: each threshold's expected true and false positive rates.
Guarantee: none. It is right as far as p still means what it meant in the reference: blind to concept drift, and fooled
by an over-confident model. It alerts, retrains or holds a promotion; it never rolls back.
Source: NannyML's CBPE (Bialek et al., arXiv 2407.08649); isotonic regression by pooling adjacent violators (Ayer 1955).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from upright.analysis.looks import Bools, Floats, Ints


@dataclass(frozen=True)
class Calibration:
    """A rising step-free map from score to probability: linear between the points, constant beyond them."""

    scores: Floats
    probabilities: Floats

    def __call__(self, scores: ArrayLike) -> Floats:
        """The probability of each score."""
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.probabilities))


@dataclass(frozen=True)
class Performance:
    """Estimated or realised; None where a denominator is zero."""

    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


def calibrated(scores: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit a calibration to reference rows: scores of shape (rows,), labels 0 or 1.

    Raises:
        ValueError: no rows, shapes that differ, or a label other than 0 and 1.
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if score.size == 0 or score.shape != label.shape:
        raise ValueError(f"expected as many labels as scores and at least one, found {label.size} and {score.size}")
    if not np.isin(label, (0.0, 1.0)).all() or not np.isfinite(score).all():
        raise ValueError("expected finite scores and labels that are 0 or 1")
    distinct, place = np.unique(score, return_inverse=True)
    number = np.bincount(place).astype(np.float64)
    mean = np.bincount(place, weights=label) / number
    starts, means = _pooled(mean, number)
    ends = np.append(starts[1:], distinct.size) - 1
    points = np.unique(np.concatenate((starts, ends)))
    return Calibration(distinct[points], means[np.searchsorted(starts, points, side="right") - 1])


def estimated(calibration: Calibration, scores: ArrayLike, predicted: ArrayLike) -> Performance:
    """The expected performance of a batch: scores and predictions (0 or 1), both of shape (rows,).

    Raises:
        ValueError: no rows, or shapes that differ.
    """
    score, positive = np.asarray(scores, dtype=np.float64), np.asarray(predicted).astype(np.bool_)
    if score.size == 0 or score.shape != positive.shape:
        raise ValueError(
            f"expected as many predictions as scores and at least one, found {positive.size}, {score.size}"
        )
    return _performance(score, positive, calibration(score))


def realised(scores: ArrayLike, predicted: ArrayLike, labels: ArrayLike) -> Performance:
    """The performance once labels (0 or 1) are there: the same formulas, a label being a certain probability."""
    return _performance(
        np.asarray(scores, dtype=np.float64),
        np.asarray(predicted).astype(np.bool_),
        np.asarray(labels, dtype=np.float64),
    )


def _performance(score: Floats, chosen: Bools, p: Floats) -> Performance:
    tp, fp = float(p[chosen].sum()), float((1 - p[chosen]).sum())
    fn, tn = float(p[~chosen].sum()), float((1 - p[~chosen]).sum())
    return Performance(
        accuracy=(tp + tn) / p.size,
        precision=tp / (tp + fp) if tp + fp else None,
        recall=tp / (tp + fn) if tp + fn else None,
        f1=2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        auc=_auc(score, p),
    )


def _auc(score: Floats, p: Floats) -> float | None:
    _, place = np.unique(-score, return_inverse=True)
    positives, negatives = np.bincount(place, weights=p), np.bincount(place, weights=1 - p)
    if positives.sum() == 0 or negatives.sum() == 0:
        return None
    rise = np.concatenate(([0.0], positives.cumsum())) / positives.sum()
    return float(((rise[1:] + rise[:-1]) / 2 * negatives).sum() / negatives.sum())


def _pooled(mean: Floats, number: Floats) -> tuple[Ints, Floats]:
    """Pool adjacent violators: the start of each block and its mean, rising."""
    starts: list[int] = []
    means: list[float] = []
    numbers: list[float] = []
    for place, (value, count) in enumerate(zip(mean.tolist(), number.tolist(), strict=True)):
        starts.append(place)
        means.append(value)
        numbers.append(count)
        while len(means) > 1 and means[-2] >= means[-1]:
            last_mean, last_number = means.pop(), numbers.pop()
            starts.pop()
            whole = numbers[-1] + last_number
            means[-1] += (last_mean - means[-1]) * last_number / whole
            numbers[-1] = whole
    return np.array(starts), np.array(means)
