"""What a file made by a stranger hands to native code: refused, where that would not survive it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.tree import DecisionTreeClassifier

from tests.unit.runtime.schema import (
    CLASSES,
    ROWS,
    Change,
    a_dict,
    a_model_that_holds,
    a_node,
    a_tuple,
    a_value,
    attributes,
    changed,
    loaded,
    named,
)
from upright.runtime.formats import UnreadableModelError


def a_boosted() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=2, random_state=0).fit(ROWS, CLASSES)


def a_histogram() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2).fit(ROWS, CLASSES)


def a_tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=3, random_state=0).fit(ROWS, CLASSES)


def neighbours(**how: Any) -> KNeighborsClassifier:
    return KNeighborsClassifier(n_neighbors=2, leaf_size=5, **how).fit(ROWS, CLASSES)


def tree_nodes(field: str, value: int, at: int = 0) -> Change:
    def change(schema: dict[str, Any]) -> None:
        nodes = a_tree().tree_.__getstate__()["nodes"].copy()
        nodes[field][at] = value
        attributes(schema, "Tree")["nodes"]["array"] = nodes

    return change


def tree_state(name: str, value: int) -> Change:
    return lambda schema: attributes(schema, "Tree").update({name: a_value(value)})


def predictor_nodes(field: str, value: int) -> Change:
    def change(schema: dict[str, Any]) -> None:
        nodes = a_histogram()._predictors[0][0].nodes.copy()
        nodes[field][0] = value
        attributes(schema, "TreePredictor")["nodes"]["array"] = nodes

    return change


def state_of_neighbours(position: int, change_it: Callable[[Any], Any], **how: Any) -> Change:
    def change(schema: dict[str, Any]) -> None:
        state = neighbours(**how)._tree.__getstate__()
        node = named(schema, type(neighbours(**how)._tree).__name__)[0]["content"]["content"][position]
        value = change_it(state[position].copy() if isinstance(state[position], np.ndarray) else state[position])
        node.update({"array": value} if isinstance(value, np.ndarray) else a_value(value))

    return change


def with_(index: Any, value: Any, field: str | None = None) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        (array[field] if field else array)[index] = value
        return array

    return change


def distance(kind: str, position: int, array: Any) -> Change:
    return lambda schema: named(schema, kind)[0]["content"]["content"][position].update({"array": array})


def more_columns_than_classes(schema: dict[str, Any]) -> None:
    forest = attributes(schema, "GradientBoostingClassifier")["estimators_"]
    forest["content"] = [{**row, "content": row["content"] * 500} for row in forest["content"]]
    forest["shape"] = a_tuple(a_value(2), a_value(500))


def another_first_guess(schema: dict[str, Any]) -> None:
    held = attributes(schema, "GradientBoostingClassifier")
    held["init_"] = {**a_node("sklearn.preprocessing._data.MinMaxScaler", "ObjectNode", content=a_dict({}))}


@pytest.mark.parametrize(
    ("model", "change"),
    [
        pytest.param(a_tree, tree_nodes("left_child", 10**9), id="a child that is not there"),
        pytest.param(a_tree, tree_nodes("right_child", 0), id="a node that is its own child"),
        pytest.param(a_tree, tree_nodes("left_child", -7), id="a child before the first node"),
        pytest.param(a_tree, tree_nodes("feature", 10**6), id="a feature that is not there"),
        pytest.param(a_tree, tree_nodes("feature", -2), id="a feature before the first"),
        pytest.param(a_tree, tree_state("node_count", 0), id="no nodes"),
        pytest.param(
            a_tree,
            lambda schema: attributes(schema, "DecisionTreeClassifier").update(n_features_in_=a_value(1)),
            id="rows narrower than the tree's",
        ),
        pytest.param(a_boosted, more_columns_than_classes, id="trees that add to columns that are not there"),
        pytest.param(
            a_boosted,
            lambda schema: attributes(schema, "GradientBoostingClassifier").update(n_features_in_=a_value(1)),
            id="boosted trees of wider rows",
        ),
        pytest.param(a_histogram, predictor_nodes("left", 10**6), id="a histogram's child that is not there"),
        pytest.param(a_histogram, predictor_nodes("feature_idx", 10**6), id="a histogram's feature that is not there"),
        pytest.param(a_histogram, predictor_nodes("is_categorical", 1), id="a histogram's category without bits"),
        pytest.param(neighbours, state_of_neighbours(1, with_(0, 10**9)), id="a neighbour that is not there"),
        pytest.param(
            neighbours, state_of_neighbours(2, with_(0, 10**9, "idx_end")), id="more neighbours than there are"
        ),
        pytest.param(neighbours, state_of_neighbours(6, lambda _: 10**6), id="more nodes of neighbours than there are"),
        pytest.param(
            lambda: neighbours(algorithm="ball_tree", metric="seuclidean", metric_params={"V": [1.0, 1, 1]}),
            distance("SEuclideanDistance64", 1, np.ones(1)),
            id="a distance of fewer weights than features",
        ),
        pytest.param(
            lambda: neighbours(algorithm="ball_tree", metric="mahalanobis", metric_params={"VI": np.eye(3)}),
            distance("MahalanobisDistance64", 2, np.eye(1)),
            id="a distance of a matrix that is too small",
        ),
        pytest.param(
            lambda: make_pipeline(SplineTransformer(), LogisticRegression()).fit(ROWS, CLASSES),
            lambda schema: attributes(schema, "BSpline").update(k=a_value(10**6)),
            id="a spline of a huge degree",
        ),
    ],
)
def test_what_native_code_would_not_survive_is_refused(
    tmp_path: Path, model: Callable[[], Any], change: Change
) -> None:
    with pytest.raises(UnreadableModelError, match="damaged"):
        changed(tmp_path, model(), change)


def test_a_first_guess_of_any_shape_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModelError, match=r"begins with a MinMaxScaler.*train it without init"):
        changed(tmp_path, a_boosted(), another_first_guess)


def test_an_attribute_in_front_of_a_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableModelError, match="damaged"):
        loaded(tmp_path, a_model_that_holds(a_node("numpy.absolute", "FunctionNode"), "predict"))


def test_a_sparse_matrix_with_indices_that_are_not_there_is_refused(tmp_path: Path) -> None:
    def held(index: int) -> Any:
        matrix = scipy.sparse.csr_matrix(np.eye(3))
        matrix.indices[0] = index
        buffer = io.BytesIO()
        scipy.sparse.save_npz(buffer, matrix)
        node = a_node("scipy.sparse._csr.csr_matrix", "SparseMatrixNode", type="scipy", file="0.npz")
        return loaded(tmp_path, a_model_that_holds(node), {"0.npz": buffer.getvalue()}).held

    assert held(0).shape == (3, 3)
    with pytest.raises(UnreadableModelError, match="damaged"):
        held(10**6)


@pytest.mark.parametrize(
    "model",
    [a_tree, a_boosted, a_histogram, neighbours, lambda: neighbours(algorithm="ball_tree", metric="minkowski", p=3)],
)
def test_what_fitting_makes_is_loaded_and_answers_the_same(tmp_path: Path, model: Callable[[], Any]) -> None:
    made = model()

    assert np.array_equal(changed(tmp_path, made, lambda _: None).predict_proba(ROWS), made.predict_proba(ROWS))


def test_a_tree_that_wants_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    def change(schema: dict[str, Any]) -> None:
        named(schema, "Tree")[0]["__reduce__"]["args"]["content"][2] = a_value(2**62)

    with pytest.raises((UnreadableModelError, MemoryError)):
        changed(tmp_path, a_tree(), change)


def test_a_forest_of_crafted_trees_is_refused_as_one_tree_is(tmp_path: Path) -> None:
    forest = RandomForestClassifier(2, random_state=0)
    for model in (forest.fit(ROWS, CLASSES), IsolationForest(n_estimators=2).fit(ROWS)):
        with pytest.raises(UnreadableModelError, match="damaged"):
            changed(tmp_path, model, tree_state("node_count", 0))
