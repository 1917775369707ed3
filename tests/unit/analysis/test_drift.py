"""Inputs that move are found, inputs that stay are not, and effect sizes are those of the textbooks."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from tests.unit.analysis.builders import stored
from upright.analysis.drift import Feature, begin_drift, drifts, effect, update_drift

NUMERIC = Feature(tuple([500.0] * 20), tuple(np.linspace(-2, 2, 20)))
CATEGORIES = Feature((6000.0, 3000.0, 900.0, 100.0))


def test_effect_sizes_agree_with_scipy() -> None:
    live = np.random.default_rng(1).multinomial(1000, np.linspace(1, 3, 20) / 40)
    p, q = np.array(NUMERIC.reference) / 10_000, live / 1000
    x = np.array(NUMERIC.positions)

    found = effect(NUMERIC, live.tolist())

    assert found.jensen_shannon == pytest.approx(jensenshannon(p, q, 2))
    sigma = np.sqrt((p * (x - (p * x).sum()) ** 2).sum())
    assert found.wasserstein == pytest.approx(wasserstein_distance(x, x, p, q) / sigma)
    assert found.psi == pytest.approx(float(((q - p) * np.log(q / p)).sum()), rel=0.05)


def test_equal_distributions_have_no_effect() -> None:
    found = effect(NUMERIC, [10.0] * 20)

    assert found.psi == pytest.approx(0.0, abs=1e-9)
    assert found.jensen_shannon == pytest.approx(0.0, abs=1e-9)
    assert found.wasserstein == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("live", [[1.0, 2.0], [0.0] * 20])
def test_counts_that_do_not_fit_have_no_effect_but_a_reason(live: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected 20 bins|at least one row"):
        effect(NUMERIC, live)


def test_only_the_feature_that_moved_is_alarmed_and_only_after_it_moved() -> None:
    rng = np.random.default_rng(2)
    features = {"age": NUMERIC, "tenure": NUMERIC, "plan": CATEGORIES}
    state = begin_drift(features, between_false_alarms=1000)
    moved = np.linspace(1, 4, 20) / np.linspace(1, 4, 20).sum()
    for k in range(40):
        age = moved if k >= 20 else np.full(20, 0.05)
        batch = {
            "age": rng.multinomial(500, age).tolist(),
            "tenure": rng.multinomial(500, np.full(20, 0.05)).tolist(),
            "plan": rng.multinomial(500, np.array(CATEGORIES.reference) / 10_000).tolist(),
        }
        state = stored(update_drift(features, state, float(k), batch))

    standing = {drift.feature: drift for drift in drifts(features, state)}

    assert standing["age"].alarmed_at is not None
    assert 20 <= standing["age"].alarmed_at <= 30
    assert standing["tenure"].alarmed_at is None
    assert standing["plan"].alarmed_at is None


def test_a_shift_too_small_to_care_about_is_never_alarmed_however_much_is_seen() -> None:
    features = {"plan": CATEGORIES}
    state = begin_drift(features, between_false_alarms=10)
    for k in range(50):
        state = update_drift(features, state, float(k), {"plan": [540_000.0, 340_000.0, 100_000.0, 20_000.0]})

    (standing,) = drifts(features, state)

    assert standing.evidence > standing.threshold
    assert standing.effect is not None
    assert standing.effect.psi < 0.2
    assert standing.alarmed_at is None


@pytest.mark.parametrize("batch", [{}, {"plan": [1.0]}, {"plan": [1.0, 1.0, np.nan, 1.0]}, {"plan": [0.0] * 4}])
def test_an_unusable_batch_is_no_evidence(batch: dict[str, list[float]]) -> None:
    features = {"plan": CATEGORIES}
    state = begin_drift(features, 10)

    assert drifts(features, update_drift(features, state, 1.0, batch)) == drifts(features, state)
