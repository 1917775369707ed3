"""What a file made by a stranger can do to who loads it: attempts on each type that is trusted."""

import importlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, SplineTransformer
from sklearn.tree import DecisionTreeClassifier

from upright.runtime.environment import Limits
from upright.runtime.formats import UnreadableModelError, UntrustedTypesError
from upright.runtime.formats.skops import SKOPS
from upright.runtime.formats.trusted import PARTS, TYPES

LIMITS = Limits(frozenset({"skops"}), artifact_bytes=10_000_000)
ROWS = np.random.default_rng(0).uniform(0, 1, (40, 3))
CLASSES = (ROWS[:, 0] > 0.5).astype(int)

Change = Callable[[dict[str, Any]], None]


def a_name(name: str) -> tuple[str, str]:
    module, _, kind = name.rpartition(".")
    return module, kind


def the_type(name: str) -> Any:
    module, kind = a_name(name)
    return getattr(importlib.import_module(module), kind)


def a_node(name: str, loader: str, **more: Any) -> dict[str, Any]:
    module, kind = a_name(name)
    return {"__class__": kind, "__module__": module, "__loader__": loader, **more}


def a_value(value: Any) -> dict[str, Any]:
    """A text, a number or a list of these, as skops writes it."""
    if isinstance(value, list):
        return a_node("builtins.list", "ListNode", content=[a_value(one) for one in value])
    if isinstance(value, dict):
        return a_dict({key: a_value(one) for key, one in value.items()})
    return a_node("builtins.str", "JsonNode", content=json.dumps(value))


def a_dict(nodes: Mapping[str, Any]) -> dict[str, Any]:
    keys = a_node("builtins.list", "ListNode", content=[a_node("builtins.str", "TypeNode") for _ in nodes])
    return a_node("builtins.dict", "DictNode", content=dict(nodes), key_types=keys)


def a_tuple(*nodes: dict[str, Any]) -> dict[str, Any]:
    return a_node("builtins.tuple", "TupleNode", content=list(nodes))


def a_model_that_holds(node: dict[str, Any], attribute: str = "held") -> dict[str, Any]:
    """A model that predicts, and holds something else besides."""
    return a_node("sklearn.dummy.DummyClassifier", "ObjectNode", content=a_dict({attribute: node}))


def loaded(path: Path, schema: dict[str, Any], files: Mapping[str, bytes] | None = None, protocol: int = 2) -> Any:
    with zipfile.ZipFile(path / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps({**schema, "protocol": protocol, "_skops_version": "0.16.0"}))
        for name, content in (files or {}).items():
            archive.writestr(name, content)
    return SKOPS.load(path / "model.skops", LIMITS).estimator


def changed(path: Path, model: Any, change: Change) -> Any:
    """A fitted model, stored, and loaded with its state changed before: `change` gets each node with a file's name for
    an array, as an array.
    """
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        schema = json.loads(archive.read("schema.json"))
        files = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    change(schema)
    for node in nodes_of(schema):
        if isinstance(array := node.pop("array", None), np.ndarray):
            buffer = io.BytesIO()
            np.save(buffer, array)
            node["file"] = f"{node['__id__']}-changed.npy"
            files[node["file"]] = buffer.getvalue()
    for number, node in enumerate(nodes_of(schema)):
        node["__id__"] = number + 1
    return loaded(path, schema, files)


def nodes_of(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "__loader__" in node:
            yield node
        for one in list(node.values()):
            yield from nodes_of(one)
    elif isinstance(node, list):
        for one in node:
            yield from nodes_of(one)


def named(schema: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in nodes_of(schema) if node["__class__"] == kind and node["__loader__"] != "TypeNode"]


NAMES = sorted(PARTS)
MADE = sorted(name for name, part in PARTS.items() if part.way == "ObjectNode")
FUNCTIONS = sorted(name for name, part in PARTS.items() if part.way == "FunctionNode")


@pytest.mark.parametrize("name", [*NAMES, *TYPES])
def test_each_name_is_of_something_that_is_there(name: str) -> None:
    assert the_type(name) is not None
    assert {**TYPES, **PARTS}[name].reason


@pytest.mark.parametrize("name", MADE)
def test_making_an_object_runs_nothing_of_what_it_is_given(name: str) -> None:
    """Read before you change: what `__new__` and `__setstate__` of these do was looked at."""
    kind = the_type(name)
    sets = getattr(kind, "__setstate__", None)

    plain = kind.__new__ is object.__new__ and (sets is None or sets is BaseEstimator.__setstate__)
    read = {
        "TreePredictor": "turns an array into another type of numbers",
        "KDTree": "keeps arrays",
        "BallTree": "keeps arrays",
    }

    assert plain or name.rpartition(".")[2] in read or name.startswith("sklearn.metrics._dist_metrics.")


STATES: list[Any] = [
    None,
    0,
    -1,
    1e300,
    "text",
    [],
    ["x"] * 20,
    {},
    {"__class__": "x", "__dict__": "y", "__reduce__": "z", "0": 0},
]


@pytest.mark.parametrize("name", [name for name in NAMES if PARTS[name].way in {"ObjectNode", "TreeNode", "TupleNode"}])
def test_any_state_gives_an_object_or_a_refusal_at_once(tmp_path: Path, name: str) -> None:
    for state in STATES:
        content = a_value(state)
        for node in (
            a_node(name, "ObjectNode", content=content),
            a_node(name, "ObjectNode"),
            a_node(name, "ObjectNode", content=a_tuple(*[content] * 13)),
            a_node(name, "TreeNode", content=content, __reduce__={"args": a_tuple(*[content] * 3)}),
            a_node(name, "TupleNode", content=[content]),
        ):
            begun = time.process_time()
            with suppress(UnreadableModelError, UntrustedTypesError):
                loaded(tmp_path, a_model_that_holds(node))
            assert time.process_time() - begun < 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_never_called_while_loading(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trap(*_: Any, **__: Any) -> None:
        pytest.fail(f"{name} was called")

    monkeypatch.setattr(name, trap)
    within = min(PARTS[name].within or {"held"})
    function, text = a_node(name, "FunctionNode"), a_value("x")
    attempts = [
        a_node(name, "ConstructorFromReduceNode", content=a_tuple(text)),
        a_node(name, "LossNode", content=text, __reduce__={"args": a_tuple(text)}),
        a_node(name, "ListNode", content=[text]),
        a_node(name, "SetNode", content=[text]),
        a_node(name, "DictNode", content={}, key_types=a_value([])),
        a_node(name, "ObjectNode", content=text),
        a_node(name, "NdArrayNode", type="numpy", file="0.npy"),
        a_node(name, "TypeNode"),
        {**a_dict({"x": text}), "key_types": a_node("builtins.list", "ListNode", content=[function])},
        a_node("collections.defaultdict", "DefaultDictNode", content={"main": a_dict({}), "default_factory": function}),
        a_node("builtins.map", "ListNode", content=[function, text]),
    ]
    array = io.BytesIO()
    np.save(array, np.arange(3))

    for attempt in attempts:
        with pytest.raises((UntrustedTypesError, UnreadableModelError)):
            loaded(tmp_path, a_model_that_holds(attempt, within), {"0.npy": array.getvalue()})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_stands_only_where_training_kept_it(tmp_path: Path, name: str) -> None:
    within = min(PARTS[name].within or {""})

    assert loaded(tmp_path, a_model_that_holds(a_node(name, "FunctionNode"), within))
    with pytest.raises(UntrustedTypesError, match=f"outside of .*{within}"):
        loaded(tmp_path, a_model_that_holds(a_node(name, "FunctionNode"), "transform"))


def test_a_partial_makes_no_function_more_trusted(tmp_path: Path) -> None:
    def partly(function: dict[str, Any]) -> dict[str, Any]:
        given = {"func": function, "args": a_tuple(), "kwds": a_dict({}), "namespace": a_value(None)}
        return a_node("functools.partial", "PartialNode", content=given)

    score = a_node("sklearn.feature_selection._univariate_selection.chi2", "FunctionNode")

    assert loaded(tmp_path, a_model_that_holds(partly(score), "score_func"))
    with pytest.raises(UntrustedTypesError, match="chi2"):
        loaded(tmp_path, a_model_that_holds(partly(score), "transform"))
    with pytest.raises(UntrustedTypesError, match=r"os\.system"):
        loaded(tmp_path, a_model_that_holds(partly(a_node("os.system", "FunctionNode")), "score_func"))


def test_a_distribution_whose_state_is_run_as_text_is_refused(tmp_path: Path) -> None:
    import scipy.stats
    from sklearn.model_selection import RandomizedSearchCV

    search = RandomizedSearchCV(LogisticRegression(), {"C": scipy.stats.loguniform(0.1, 1)}, n_iter=1, cv=2)
    skops.io.dump(search.fit(ROWS, CLASSES), tmp_path / "model.skops")

    with pytest.raises(UntrustedTypesError, match=r"rv_continuous_frozen \(at \.param_distributions\.C\)"):
        SKOPS.load(tmp_path / "model.skops", LIMITS)


def a_boosted() -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=2, random_state=0).fit(ROWS, CLASSES)


def a_histogram() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2).fit(ROWS, CLASSES)


def a_tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=3, random_state=0).fit(ROWS, CLASSES)


def neighbours(**how: Any) -> KNeighborsClassifier:
    return KNeighborsClassifier(n_neighbors=2, leaf_size=5, **how).fit(ROWS, CLASSES)


def attributes(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    content: dict[str, Any] = named(schema, kind)[0]["content"]["content"]
    return content


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


def test_objects_that_hold_one_another_over_and_over_are_refused_at_once(tmp_path: Path) -> None:
    node = a_value("x")
    for depth in range(60):
        node = {
            **a_node("builtins.list", "ListNode", content=[node, {"__id__": depth}] if depth else [node]),
            "__id__": depth + 1,
        }
    begun = time.process_time()

    with pytest.raises(UnreadableModelError, match="hold one another"):
        loaded(tmp_path, a_model_that_holds(node))

    assert time.process_time() - begun < 1


def test_an_object_that_holds_itself_is_refused(tmp_path: Path) -> None:
    node = {**a_node("builtins.list", "ListNode", content=[{"__id__": 7}]), "__id__": 7}

    with pytest.raises(UnreadableModelError, match="holds itself"):
        loaded(tmp_path, a_model_that_holds(node))


def test_an_array_that_is_read_over_and_over_counts_each_time(tmp_path: Path) -> None:
    arrays = [
        {**a_node("numpy.ndarray", "NdArrayNode", type="numpy", file="0.npy"), "__id__": number}
        for number in range(1, 30)
    ]
    held = a_model_that_holds(a_node("builtins.list", "ListNode", content=arrays))

    with pytest.raises(UnreadableModelError, match="reads 29000000 bytes of arrays; at most 10000000"):
        loaded(tmp_path, held, {"0.npy": b"x" * 1_000_000})


def test_a_matrix_that_unpacks_to_more_than_allowed_is_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", b"\0" * 20_000_000)
    held = a_node("scipy.sparse._csr.csr_matrix", "SparseMatrixNode", type="scipy", file="0.npz")

    with pytest.raises(UnreadableModelError, match="unpacks to 20000000 bytes"):
        loaded(tmp_path, a_model_that_holds(held), {"0.npz": inner.getvalue()})


def test_the_oldest_files_which_name_a_function_twice_are_refused(tmp_path: Path) -> None:
    held = a_node("numpy.clip", "FunctionNode", content={"module_path": "os", "function": "system"})

    with pytest.raises((UnreadableModelError, UntrustedTypesError)):
        loaded(tmp_path, a_model_that_holds(held, "func"), protocol=0)


def test_a_reference_to_another_object_is_refused(tmp_path: Path) -> None:
    known = {**a_value("x"), "__id__": 5}
    reference = {"__class__": "str", "__module__": "builtins", "__loader__": "CachedNode", "__id__": 6}

    with pytest.raises((UnreadableModelError, UntrustedTypesError)):
        loaded(tmp_path, a_model_that_holds(a_node("builtins.list", "ListNode", content=[known, reference])))


def test_a_refusal_says_where_in_the_model_the_type_is(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(np.log1p), FunctionTransformer(json.dumps))
    skops.io.dump(model, tmp_path / "model.skops")

    with pytest.raises(UntrustedTypesError) as raised:
        SKOPS.load(tmp_path / "model.skops", LIMITS)

    assert "json.dumps (at .steps['functiontransformer-2'].func)" in str(raised.value)
    assert "trustedTypes" in str(raised.value)


def test_the_platform_trusts_exactly_the_names_that_it_says(tmp_path: Path) -> None:
    skops.io.dump(FunctionTransformer(json.dumps), tmp_path / "model.skops")

    def limits(*names: str) -> Limits:
        return Limits(frozenset({"skops"}), 10_000_000, frozenset(names))

    assert SKOPS.load(tmp_path / "model.skops", limits("json.dumps")).estimator.func is json.dumps
    for other in ("json.*", "json", "*", "json.dump", "JSON.DUMPS"):
        with pytest.raises(UntrustedTypesError):
            SKOPS.load(tmp_path / "model.skops", limits(other))


def test_a_forest_of_crafted_trees_is_refused_as_one_tree_is(tmp_path: Path) -> None:
    forest = RandomForestClassifier(2, random_state=0)
    for model in (forest.fit(ROWS, CLASSES), IsolationForest(n_estimators=2).fit(ROWS)):
        with pytest.raises(UnreadableModelError, match="damaged"):
            changed(tmp_path, model, tree_state("node_count", 0))
