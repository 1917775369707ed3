"""A fitted model as it serves: a call of it has one thread, and its forests are asked as one tree.

A forest of scikit-learn asks each of its trees by a task of joblib and by checks of the rows that it has checked
itself: of the 11 ms that 100 small trees take for a row, 10 are that. What a served model has in the place of the trees
answers with the mean of what they answer, summed in the same order: to the last bit what the forest answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from upright.runtime.formats.model import threads

_FORESTS = frozenset(
    f"sklearn.ensemble._forest.{name}"
    for name in ("ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor")
)
_CALIBRATED = "sklearn.calibration._CalibratedClassifier"
"""What holds an estimator and is none."""


def make_lean(estimator: Any) -> None:
    """In place. What training wanted of `n_jobs` does not count: calls run beside each other already, and threads or
    processes for each would wait for each other.
    """
    for part in _parts_of(estimator):
        if vars(part).get("n_jobs") is not None:
            part.n_jobs = threads()
        if _name(part) in _FORESTS and _alike(part):
            first, trees = part.estimators_[0], [tree.tree_ for tree in part.estimators_]
            part.estimators_ = [_Trees(first, trees)]


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
            left.extend(part)
        elif hasattr(part, "get_params") and hasattr(part, "__dict__") and not isinstance(part, type):
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
