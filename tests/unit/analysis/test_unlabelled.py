"""Performance without labels: right while scores mean what they meant, and scikit-learn's where labels exist."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from upright.analysis.unlabelled import calibrated, estimated, realised


def sample(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are wrong by a monotone map, and labels."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(1.0, 2.0, rows)
    return np.round(probability**2, 3), (rng.random(rows) < probability).astype(int)


def test_the_calibration_is_isotonic_regression() -> None:
    scores, labels = sample(3000, 1)
    points = np.linspace(scores.min(), scores.max(), 200)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)

    np.testing.assert_allclose(calibrated(scores, labels)(points), theirs.predict(points), atol=1e-9)


def test_realised_performance_is_that_of_scikit_learn() -> None:
    scores, labels = sample(2000, 2)
    predicted = (scores > 0.2).astype(int)

    found = realised(scores, predicted, labels)

    assert found.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert found.precision == pytest.approx(precision_score(labels, predicted))
    assert found.recall == pytest.approx(recall_score(labels, predicted))
    assert found.f1 == pytest.approx(f1_score(labels, predicted))
    assert found.auc == pytest.approx(roc_auc_score(labels, scores))


def test_the_estimate_without_labels_is_near_what_the_labels_say() -> None:
    calibration = calibrated(*sample(50_000, 3))
    scores, labels = sample(20_000, 4)
    predicted = (scores > 0.25).astype(int)

    without, known = estimated(calibration, scores, predicted), realised(scores, predicted, labels)

    assert without.accuracy == pytest.approx(known.accuracy, abs=0.01)
    assert without.f1 == pytest.approx(known.f1, abs=0.02)
    assert without.auc == pytest.approx(known.auc, abs=0.01)


@pytest.mark.parametrize(
    ("scores", "labels"), [([], []), ([0.1], [0, 1]), ([0.1, 0.2], [0, 2]), ([np.nan, 0.2], [0, 1])]
)
def test_rows_that_cannot_be_calibrated_are_refused(scores: list[float], labels: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        calibrated(scores, labels)


def test_a_batch_without_positives_has_no_recall() -> None:
    found = realised([0.1, 0.2], [0, 0], [0, 0])

    assert (found.accuracy, found.precision, found.recall, found.f1, found.auc) == (1.0, None, None, None, None)
