"""Forests of scikit-learn, asked as one tree.

A forest asks each of its trees by a task of joblib and by checks of the rows that it has checked itself: of the 11 ms
that 100 small trees take for a row, 10 are that. What a served model has in the place of the trees answers with the
mean of what they answer, summed in the same order: to the last bit what the forest answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

_FORESTS = frozenset(
    f"sklearn.ensemble._forest.{name}"
    for name in ("ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor")
)


def join_trees(estimator: Any) -> None:
    """Have each fitted forest in the estimator, wherever it is, ask all its trees at once.

    `n_jobs` of a forest does not count then: requests are answered beside each other, and not the trees of one.
    """
    for forest in _forests_in(estimator):
        if _alike(forest):
            first, trees = forest.estimators_[0], [tree.tree_ for tree in forest.estimators_]
            forest.set_params(n_jobs=None)
            forest.estimators_ = [_Trees(first, trees)]


def _forests_in(estimator: Any) -> Iterator[Any]:
    """Whatever holds it: a step, a search, an ensemble, a calibration."""
    seen, left = set[int](), [estimator]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if _name(part) in _FORESTS:
            if isinstance(getattr(part, "estimators_", None), list):
                yield part
        elif isinstance(part, list | tuple):
            left.extend(part)
        elif type(part).__module__.startswith("sklearn."):
            left.extend(getattr(part, "__dict__", {}).values())


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _alike(forest: Any) -> bool:
    """Whether the trees' answers can be added, and each takes rows of the width that the forest looks at: nothing else
    would keep native code from reading beyond a row.
    """
    trees = [tree.tree_ for tree in forest.estimators_]
    return {tree.n_features for tree in trees} == {forest.n_features_in_} and (
        len({(tree.n_outputs, *tree.n_classes) for tree in trees}) == 1
    )


@dataclass(frozen=True)
class _Trees:
    """What a forest asks in the place of its trees, as it asks each of them."""

    first: Any
    trees: Sequence[Any]

    def predict(self, rows: Any, *, check_input: bool) -> NDArray[Any]:  # noqa: ARG002 - checked by the forest
        """Of a regressor: of shape (rows,) or (rows, outputs)."""
        mean: NDArray[Any] = self._mean(rows)[..., 0]
        return mean

    def predict_proba(self, rows: Any, *, check_input: bool) -> NDArray[Any] | list[NDArray[Any]]:  # noqa: ARG002
        """Of a classifier: of shape (rows, classes), or one such array for each output."""
        mean = self._mean(rows)
        if self.first.n_outputs_ == 1:
            return mean[:, : self.first.n_classes_]
        return [mean[:, output, :count] for output, count in enumerate(self.first.n_classes_)]

    def _mean(self, rows: Any) -> NDArray[Any]:
        """What a tree says of a row is of shape (values,), or (outputs, values)."""
        total: NDArray[Any] = sum(tree.predict(rows) for tree in self.trees)
        return total / len(self.trees)

    def _support_missing_values(self, rows: Any) -> bool:
        """What a forest asks its first tree."""
        return bool(self.first._support_missing_values(rows))
