"""Models as they serve: forests whose trees are asked as one answer to the last bit what scikit-learn answers."""

import pickle
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import DistanceMetric
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from upright.runtime.lean import make_lean, spoils_others

ROWS, KINDS = load_iris(return_X_y=True)
TWO = np.column_stack([KINDS, KINDS % 2])
SIZES = {"n_estimators": 7, "random_state": 1}


def joined(model: Any) -> Any:
    """Another model with the same content, whose trees are asked as one."""
    other = pickle.loads(pickle.dumps(model))
    make_lean(other)
    return other


def asked_as_one(forest: Any) -> bool:
    return not getattr(forest, "__dict__", {}).keys().isdisjoint({"predict", "predict_proba"})


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
@pytest.mark.parametrize("wanted", [KINDS, KINDS > 0, KINDS.astype(str), TWO], ids=["three", "two", "texts", "outputs"])
def test_a_classifier_answers_to_the_last_bit_as_before(kind: Any, wanted: Any) -> None:
    forest = kind(**SIZES).fit(ROWS, wanted)
    as_one = joined(forest)
    assert asked_as_one(as_one)
    assert len(as_one.estimators_) == 7
    assert np.array_equal(as_one.predict(ROWS), forest.predict(ROWS))
    for ours, theirs in zip(as_one.predict_proba(ROWS), forest.predict_proba(ROWS), strict=True):  # rows, or outputs
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [RandomForestRegressor, ExtraTreesRegressor])
@pytest.mark.parametrize("outputs", [ROWS[:, 0], ROWS[:, :2] * -0.0, ROWS[:, 1:]], ids=["one", "zeros", "three"])
def test_a_regressor_answers_to_the_last_bit_as_before(kind: Any, outputs: Any) -> None:
    forest = kind(**SIZES).fit(ROWS, outputs)
    as_one = joined(forest)
    assert asked_as_one(as_one)
    assert as_one.predict(ROWS).tobytes() == forest.predict(ROWS).tobytes()


def test_missing_values_and_sparse_rows_are_taken_as_before() -> None:
    gaps = np.where(np.arange(ROWS.size).reshape(ROWS.shape) % 5, ROWS, np.nan)
    forest = RandomForestClassifier(**SIZES).fit(gaps, KINDS)
    assert np.array_equal(joined(forest).predict_proba(gaps), forest.predict_proba(gaps))
    whole = RandomForestClassifier(**SIZES).fit(ROWS, KINDS)
    with pytest.raises(ValueError, match="infinity"):
        joined(ExtraTreesClassifier(**SIZES, criterion="entropy").fit(ROWS, KINDS)).predict([[np.inf] * 4])
    with pytest.raises(ValueError, match="3 features"):
        joined(whole).predict([[1.0, 2.0, 3.0]])
    texts = ["good", "bad and worse", "good and better", "bad"] * 5
    reviews = make_pipeline(CountVectorizer(), RandomForestClassifier(**SIZES)).fit(texts, [1, 0, 1, 0] * 5)
    assert np.array_equal(joined(reviews).predict_proba(texts), reviews.predict_proba(texts))
    assert asked_as_one(joined(reviews)[-1])


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (make_pipeline(StandardScaler(), RandomForestClassifier(**SIZES)), lambda model: model[-1]),
        (
            GridSearchCV(RandomForestClassifier(**SIZES), {"max_depth": [2]}, cv=2),
            lambda model: model.best_estimator_,
        ),
        (
            VotingClassifier([("a", RandomForestClassifier(**SIZES)), ("b", LogisticRegression())], voting="soft"),
            lambda model: model.estimators_[0],
        ),
        (
            CalibratedClassifierCV(ExtraTreesClassifier(**SIZES), cv=2),
            lambda model: model.calibrated_classifiers_[1].estimator,
        ),
    ],
    ids=["pipeline", "search", "vote", "calibration"],
)
def test_a_forest_is_found_wherever_it_is(model: Any, found: Any) -> None:
    scaled = model.fit(ROWS, KINDS)
    as_one = joined(scaled)
    assert asked_as_one(found(as_one))
    assert np.array_equal(as_one.predict_proba(ROWS), scaled.predict_proba(ROWS))


def test_each_forest_of_several_outputs_is_found() -> None:
    model = MultiOutputClassifier(RandomForestClassifier(**SIZES)).fit(ROWS, TWO)
    as_one = joined(model)
    assert all(map(asked_as_one, as_one.estimators_))
    assert np.array_equal(as_one.predict(ROWS), model.predict(ROWS))


def test_no_part_begins_threads_or_processes_of_its_own() -> None:
    vote = VotingClassifier([("a", RandomForestClassifier(**SIZES, n_jobs=-1)), ("b", LogisticRegression())], n_jobs=4)
    columns = ColumnTransformer([("all", StandardScaler(), [0, 1, 2, 3])], n_jobs=2)
    lean = joined(make_pipeline(columns, vote).fit(ROWS, KINDS))
    assert [each.n_jobs for each in (lean[0], lean[1], lean[1].estimators_[0])] == [1, 1, 1]
    boosted = joined(
        make_pipeline(StandardScaler(), LGBMClassifier(n_estimators=2, n_jobs=16, verbose=-1)).fit(ROWS, KINDS)
    )
    assert boosted[-1].n_jobs == 1


def test_a_forest_whose_trees_take_other_rows_is_left_as_it_is() -> None:
    """A file can say so."""
    forest = RandomForestClassifier(**SIZES).fit(ROWS, KINDS)
    forest.estimators_[3] = RandomForestClassifier(**SIZES).fit(np.hstack([ROWS, ROWS]), KINDS).estimators_[3]
    assert not asked_as_one(joined(forest))


def test_what_is_not_fitted_or_no_forest_is_left_as_it_is() -> None:
    for model in (RandomForestClassifier(), LogisticRegression(), make_pipeline(StandardScaler()), object(), None):
        make_lean(model)
        assert not asked_as_one(model)


def test_all_else_of_a_forest_is_as_it_was() -> None:
    """What selects features asks how important they are; a model of one's own asks the trees how far they differ."""
    forest = RandomForestClassifier(**SIZES).fit(ROWS, KINDS)
    as_one = joined(forest)
    assert np.array_equal(as_one.feature_importances_, forest.feature_importances_)
    assert np.array_equal(as_one.apply(ROWS), forest.apply(ROWS))
    assert [tree.predict(ROWS).tolist() for tree in as_one] == [tree.predict(ROWS).tolist() for tree in forest]
    chosen = make_pipeline(SelectFromModel(RandomForestRegressor(**SIZES)), LogisticRegression()).fit(ROWS, KINDS)
    assert np.array_equal(joined(chosen).predict_proba(ROWS), chosen.predict_proba(ROWS))


DISTANCE = DistanceMetric.get_metric("mahalanobis", VI=np.eye(4))


class Keeping(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One of a package of others, which may keep what it was asked."""

    def fit(self, rows: Any, kinds: Any = None) -> "Keeping":
        self.fitted_ = True
        return self

    def transform(self, rows: Any) -> Any:
        self.rows_ = rows
        return rows


MAHALANOBIS: dict[str, Any] = {"metric": "mahalanobis", "metric_params": {"VI": np.eye(4)}}


@pytest.mark.parametrize(
    ("model", "spoils"),
    [
        (KNeighborsClassifier(**MAHALANOBIS), True),
        (make_pipeline(StandardScaler(), KNeighborsClassifier(algorithm="ball_tree", **MAHALANOBIS)), True),
        (LocalOutlierFactor(novelty=True, **MAHALANOBIS), True),
        (KNeighborsClassifier(algorithm="ball_tree", metric=DISTANCE), True),
        (make_pipeline(Keeping(), LogisticRegression()), True),
        (KNeighborsClassifier(algorithm="brute", **MAHALANOBIS), False),
        (KNeighborsClassifier(algorithm="ball_tree"), False),
        (RandomForestClassifier(**SIZES), False),
    ],
)
def test_calls_of_what_others_made_and_of_neighbours_by_mahalanobis_distance_spoil_each_other(
    model: Any, spoils: bool
) -> None:
    assert spoils_others(model.fit(ROWS, KINDS)) is spoils
