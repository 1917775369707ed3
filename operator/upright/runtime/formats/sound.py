"""Whether what a model hands to native code is what that expects: it indexes into arrays without looking.

Skops looks at the types of what it makes and not at the content. A tree whose child is node 10**9 would be loaded, and
end the process, or write over its memory, when it is asked. Checked here is what a stranger's file could do most with.
Other estimators (support vectors) hand arrays to native code, too, and a file made for it may end the process that asks
them: the pod fails, and its rollout goes back. No file can have text or a function of its own run.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_LEAF = -1
_DISTANCES = "sklearn.metrics._dist_metrics"


class UnsoundError(Exception):
    """A part of a model is not what fitting makes."""


def check_states(nodes: Iterable[Any]) -> None:
    """Look at the nodes of a skops file before anything is made of them: some types read the entries of their state
    without asking whether there are so many. Raises UnsoundError.
    """
    for node in nodes:
        name = f"{node.module_name}.{node.class_name}"
        wanted = _DISTANCE if node.module_name == _DISTANCES else _STATES.get(name)
        if wanted is None:
            continue
        state = getattr(node, "attrs", None)
        given = [_kind(one) for one in state.content] if state and type(state).__name__ == "TupleNode" else []
        if len(given) != len(wanted) or any(one not in kinds for one, kinds in zip(given, wanted, strict=True)):
            raise UnsoundError(f"a {node.class_name} in it is damaged: it is not made of what it should be")


def _kind(node: Any) -> str:
    way = type(node).__name__
    if way == "NdArrayNode":
        return "array" if node.type == "numpy" and node.class_name == "ndarray" else "other"
    if way == "JsonNode":
        return "none" if node.content == "null" else "value"
    return "distance" if node.module_name == _DISTANCES and way == "ObjectNode" else "other"


def check(parts: Iterable[Any]) -> None:
    """Look at all objects of a model that is loaded. Raises UnsoundError."""
    for part in parts:
        name = _name(part)
        look = _LOOKS.get(name) or (_distance if type(part).__module__ == _DISTANCES else None)
        try:
            sound = (look is None or look(part)) and not _hidden(part)
        except (MemoryError, UnsoundError):
            raise
        except Exception as error:  # it lacks an attribute, or has one of another type
            raise UnsoundError(f"a {type(part).__name__} in it is damaged: {type(error).__name__}: {error}") from error
        if not sound:
            raise UnsoundError(f"a {type(part).__name__} in it is damaged: what it holds does not fit together")


def _hidden(part: Any) -> bool:
    """Whether an attribute stands in front of a method, and would be called in its place."""
    return any(callable(getattr(type(part), str(name), None)) for name in getattr(part, "__dict__", ()))


def _tree(tree: Any) -> bool:
    """sklearn.tree._tree.Tree. Fitting numbers children after their parent, so that no node is asked twice."""
    if not 0 < tree.node_count <= tree.capacity or tree.n_features < 1 or tree.n_outputs < 1:
        return False
    if not all(np.asarray(tree.n_classes) > 0):
        return False
    return _descends(
        tree.children_left, tree.children_right, tree.feature, tree.children_left == _LEAF, tree.n_features
    )


def _predictor(predictor: Any) -> bool:
    """TreePredictor of HistGradientBoosting."""
    nodes, raw = predictor.nodes, predictor.raw_left_cat_bitsets
    splits = nodes["is_categorical"].astype(bool) & ~nodes["is_leaf"].astype(bool)
    return (
        nodes.ndim == 1
        and len(nodes) > 0
        and raw.ndim == 2
        and raw.shape[1] == 8  # 256 bits
        and (not splits.any() or int(nodes["bitset_idx"][splits].max()) < len(raw))
        and _descends(
            nodes["left"].astype(np.int64),
            nodes["right"].astype(np.int64),
            nodes["feature_idx"],
            nodes["is_leaf"].astype(bool),
            np.iinfo(np.int32).max,
        )
    )


def _descends(left: Any, right: Any, feature: Any, leaf: Any, features: int) -> bool:
    inner = np.flatnonzero(~leaf)
    return bool(
        (left[inner] > inner).all()
        and (right[inner] > inner).all()
        and (left[inner] < len(left)).all()
        and (right[inner] < len(left)).all()
        and (feature[inner] >= 0).all()
        and (feature[inner] < features).all()
    )


def _grown(estimator: Any) -> bool:
    """An estimator that asks one tree: it looks at the width of its rows, the tree does not."""
    tree = getattr(estimator, "tree_", None)
    return tree is None or (_name(tree) == "sklearn.tree._tree.Tree" and tree.n_features == estimator.n_features_in_)


def _boosted(model: Any) -> bool:
    """GradientBoosting: native code adds the answers of all trees to an array, whose shape its first guess decides."""
    trees = getattr(model, "estimators_", None)
    if trees is None:
        return True
    first = getattr(model, "init_", "zero")
    if first != "zero" and not _name(first).startswith("sklearn.dummy."):
        raise UnsoundError(
            f"a {type(model).__name__} in it begins with a {type(first).__name__}: native code adds to what that "
            "answers, of whatever shape; train it without init, or with init='zero'"
        )
    if trees.ndim != 2 or trees.shape[1] != model.n_trees_per_iteration_:
        return False
    if any(_name(one) != "sklearn.tree._classes.DecisionTreeRegressor" or not _grown(one) for one in trees.flat):
        return False
    if any(one.n_features_in_ != model.n_features_in_ for one in trees.flat):
        return False
    shapes = [model._raw_predict_init(np.zeros((rows, model.n_features_in_), np.float32)).shape for rows in (1, 3)]
    return shapes == [(rows, trees.shape[1]) for rows in (1, 3)]


def _histogram(model: Any) -> bool:
    predictors = getattr(model, "_predictors", None) or ()
    flat = [one for several in predictors for one in several]
    if any(_name(one) != _PREDICTOR for one in flat):
        return False
    return all(int(one.nodes["feature_idx"].max(initial=0)) < model.n_features_in_ for one in flat)


def _neighbours(tree: Any) -> bool:
    """KDTree and BallTree: a whole binary tree in an array, node i above 2i + 1 and 2i + 2."""
    data, order, nodes, bounds, _, levels, count, *_, metric, _ = tree.__getstate__()
    rows, width = data.shape
    index = np.arange(len(nodes))
    inner = ~nodes["is_leaf"].astype(bool)
    return bool(
        len(order) == rows > 0
        and order.min() >= 0
        and order.max() < rows
        and 0 < levels < 64
        and count == len(nodes) == 2**levels - 1
        and bounds.shape[1:] == (count, width)
        and (nodes["idx_start"] >= 0).all()
        and (nodes["idx_start"] <= nodes["idx_end"]).all()
        and (nodes["idx_end"] <= rows).all()
        and (2 * index[inner] + 2 < count).all()
        and _measures(metric, width)
    )


def _measures(metric: Any, width: int) -> bool:
    name = type(metric).__name__
    if type(metric).__module__ != _DISTANCES or name.startswith("PyFunc"):
        return False
    _, vector, matrix = metric.__getstate__()
    if name.startswith("Haversine"):
        return width == 2
    if name.startswith("SEuclidean") or (name.startswith("Minkowski") and len(vector) > 1):
        return len(vector) == width
    return not name.startswith("Mahalanobis") or bool(matrix.shape == (width, width))


def _distance(metric: Any) -> bool:
    """By itself, a distance needs but a square matrix."""
    _, vector, matrix = metric.__getstate__()
    return bool(vector.ndim == 1 and matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1])


def _matrix(matrix: Any) -> bool:
    matrix.check_format(full_check=True)  # raises ValueError
    return True


def _spline(spline: Any) -> bool:
    knots, values, degree = spline._t, spline._c, spline.k
    return bool(
        isinstance(degree, int)
        and 0 <= degree < 100
        and knots.dtype == np.float64
        and knots.ndim == 1
        and np.isfinite(knots).all()
        and (np.diff(knots) >= 0).all()
        and values.dtype in (np.float64, np.complex128)
        and values.ndim >= 1
        and len(values) >= len(knots) - degree - 1 > degree
        and isinstance(spline.axis, int)
        and 0 <= spline.axis < values.ndim
    )


def _vectorizer(vectorizer: Any) -> bool:
    """One that takes texts for names of files lets whoever asks the model read the pod's files."""
    if vectorizer.input != "content":
        raise UnsoundError(
            f"a {type(vectorizer).__name__} in it has input={vectorizer.input!r}, so that it opens what clients name: "
            "only input='content' is served"
        )
    return True


def _name(one: Any) -> str:
    return f"{type(one).__module__}.{type(one).__name__}"


_DISTANCE: Sequence[Collection[str]] = (["value"], ["array"], ["array"])
_NEIGHBOURS: Sequence[Collection[str]] = (*[["array"]] * 4, *[["value"]] * 7, ["distance"], ["array", "none"])
_STATES = {
    "sklearn.neighbors._kd_tree.KDTree": _NEIGHBOURS,
    "sklearn.neighbors._ball_tree.BallTree": _NEIGHBOURS,
}
"""What the entries of a state must be, of types that are given a tuple."""
_PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
_LOOKS: Mapping[str, Callable[[Any], bool]] = {
    "sklearn.tree._tree.Tree": _tree,
    "sklearn.neighbors._kd_tree.KDTree": _neighbours,
    "sklearn.neighbors._ball_tree.BallTree": _neighbours,
    "scipy.interpolate._bsplines.BSpline": _spline,
    _PREDICTOR: _predictor,
    **dict.fromkeys(
        (f"scipy.sparse._{kind}.{kind}_{way}" for kind in ("csr", "csc") for way in ("array", "matrix")), _matrix
    ),
    **dict.fromkeys(
        (
            f"sklearn.tree._classes.{kind}"
            for kind in ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
        ),
        _grown,
    ),
    **dict.fromkeys(
        (f"sklearn.feature_extraction.text.{kind}Vectorizer" for kind in ("Count", "Hashing", "Tfidf")), _vectorizer
    ),
    **dict.fromkeys(
        ("sklearn.ensemble._gb.GradientBoostingClassifier", "sklearn.ensemble._gb.GradientBoostingRegressor"), _boosted
    ),
    **dict.fromkeys(
        (
            f"sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoosting{kind}"
            for kind in ("Classifier", "Regressor")
        ),
        _histogram,
    ),
}
"""By the type's name: what each must fulfil. What is missed in an object of another type is in the trusted types."""
