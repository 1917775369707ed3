"""Models that take texts: a flat list of strings, and no table with one column."""

from typing import Any, NamedTuple


class Features(NamedTuple):
    """What a fitted model takes, as far as it tells."""

    names: tuple[str, ...]
    """Of a model that was fitted on a DataFrame."""
    width: int | None
    texts: bool
    """That is one, and takes a flat list of texts."""


def features_of(estimator: Any) -> Features:
    """What a fitted model takes. A pipeline tells what its first step does, and that may be none ("passthrough"), as a
    search may have chosen: then the one after it was fitted on the same.
    """
    names = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
    if not names and not hasattr(estimator, "n_features_in_") and (inner := _behind_nothing(estimator)) is not None:
        return features_of(inner)
    if not names and takes_texts(estimator):
        return Features((), 1, texts=True)
    return Features(names, getattr(estimator, "n_features_in_", None), texts=False)


def _behind_nothing(estimator: Any) -> Any:
    if not type(estimator).__module__.startswith("sklearn."):
        return None
    if (best := getattr(estimator, "best_estimator_", None)) is not None:
        return best
    steps = getattr(estimator, "steps", None) or [("", estimator)]
    return _first(estimator) if steps[0][1] is None or steps[0][1] == "passthrough" else None


def takes_texts(estimator: Any) -> bool:
    """Whether what a fitted model is given goes into a vectoriser of texts first.

    A pipeline asks its first step, a union of features its first one, and an estimator around another the one that it
    was fitted with. A ColumnTransformer takes a table, whatever it does with the columns.
    """
    if all(callable(getattr(estimator, name, None)) for name in ("build_analyzer", "decode")):
        return True
    inner = _first(estimator)
    return inner is not None and takes_texts(inner)


def _first(estimator: Any) -> Any:
    """The estimator in it that is given what it is given itself; None when there is none."""
    if steps := getattr(estimator, "steps", None):
        return next((step for _, step in steps if step is not None and step != "passthrough"), None)
    if union := getattr(estimator, "transformer_list", None):
        return next((step for _, step in union if step not in {"drop", "passthrough"}), None)
    for name in ("best_estimator_", "estimator_"):
        if (inner := getattr(estimator, name, None)) is not None:
            return inner
    for name in ("estimators_", "calibrated_classifiers_"):
        inner = getattr(estimator, name, None)
        if isinstance(inner, list) and inner:
            return getattr(inner[0], "estimator", None) if name == "calibrated_classifiers_" else inner[0]
    return None
