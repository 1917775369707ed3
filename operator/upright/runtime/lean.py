"""A fitted model as it serves: a call of it has one thread, and its forests are asked as one tree.

A forest of scikit-learn asks each of its trees by a task of joblib and by checks of the rows that it has checked
itself: of the 11 ms that 100 small trees take for a row, 10 are that. A served one answers with the mean of what its
trees answer, summed in the same order: to the last bit what it answers otherwise. All else of it is as it was.
"""

from collections.abc import Iterator
from contextlib import suppress
from types import MethodType
from typing import Any

from numpy.typing import NDArray

from upright.runtime.formats.model import threads

_FORESTS = frozenset(
    f"sklearn.ensemble._forest.{name}"
    for name in ("ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor")
)
_METHODS = ("get_params", "transform", "predict")
"""One of them has whatever a model asks."""
_KNOWN = {"sklearn", "xgboost", "lightgbm", "catboost", "onnxruntime", "upright", "numpy", "scipy", "pandas"}
"""Packages whose models, and what these hold, answer several threads at once."""
_CALIBRATED = "sklearn.calibration._CalibratedClassifier"
"""What holds an estimator and is none."""


def make_lean(estimator: Any) -> None:
    """In place. What training wanted of `n_jobs` does not count: calls run beside each other already, and threads or
    processes for each would wait for each other.
    """
    for part in _parts_of(estimator):
        if vars(part).get("n_jobs") is not None:
            with suppress(AttributeError):  # one of the user's own need not let it be set
                part.n_jobs = threads()
        if _name(part) in _FORESTS and _alike(part):
            if hasattr(part, "classes_"):
                part.predict_proba = MethodType(predict_proba, part)
            else:
                part.predict = MethodType(predict, part)


def spoils_others(estimator: Any) -> bool:
    """Whether two calls of it beside each other may both be answered wrongly: a part that others have made may keep its
    rows on itself, and scikit-learn's trees of neighbours by Mahalanobis' distance have one buffer for all threads
    (scikit-learn/scikit-learn#32753).
    """
    return any(
        type(part).__module__.split(".")[0] not in _KNOWN or _measures_by_mahalanobis(part)
        for part in _parts_of(estimator)
    )


def _measures_by_mahalanobis(part: Any) -> bool:
    metric = getattr(part, "effective_metric_", "")
    named = metric if isinstance(metric, str) else type(metric).__name__
    return named.lower().startswith("mahalanobis") and getattr(part, "_fit_method", "brute") != "brute"


def _parts_of(estimator: Any) -> Iterator[Any]:
    """All estimators in one, whatever holds them: steps, a search, an ensemble, a calibration. Trees of a forest are no
    parts.
    """
    seen, left = set[int](), [estimator]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, list | tuple):
            left.extend(one for one in part if not isinstance(one, str | int | float))
        elif any(hasattr(type(part), method) for method in _METHODS) and hasattr(part, "__dict__"):
            yield part
            if _name(part) not in _FORESTS:
                left.extend(vars(part).values())
        elif _name(part) == _CALIBRATED:
            left.append(part.estimator)


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _alike(forest: Any) -> bool:
    """Whether the trees' answers can be added, and each takes rows of the width that the forest looks at: nothing else
    would keep native code from reading beyond a row.
    """
    trees = [tree.tree_ for tree in getattr(forest, "estimators_", ())]
    return len({(tree.n_outputs, *tree.n_classes) for tree in trees}) == 1 and (
        {tree.n_features for tree in trees} == {forest.n_features_in_}
    )


def predict_proba(forest: Any, rows: Any) -> NDArray[Any] | list[NDArray[Any]]:
    """Of a classifier, whose `predict` asks it: an array of shape (rows, classes), or one such for each output."""
    mean = _mean(forest, rows)
    if forest.n_outputs_ == 1:
        return mean[:, : forest.n_classes_]
    return [mean[:, output, :count] for output, count in enumerate(forest.n_classes_)]


def predict(forest: Any, rows: Any) -> NDArray[Any]:
    """Of a regressor: an array of shape (rows,) or (rows, outputs)."""
    numbers: NDArray[Any] = _mean(forest, rows)[..., 0]
    return numbers


def _mean(forest: Any, rows: Any) -> NDArray[Any]:
    """What a tree says of a row is of shape (values,), or (outputs, values)."""
    checked = forest._validate_X_predict(rows)
    first, *others = forest.estimators_
    total: NDArray[Any] = first.tree_.predict(checked)
    total += 0.0  # as zeros to which it is added: -0.0 is 0.0 then
    for tree in others:
        total += tree.tree_.predict(checked)
    total /= len(forest.estimators_)
    return total
