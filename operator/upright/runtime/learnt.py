"""What a fitted model of scikit-learn tells of its features: their types, the values it knows, whether one may lack.

It is read from where scikit-learn keeps what it was fitted on (`categories_` of encoders, `statistics_` of imputers,
the columns of a ColumnTransformer) and from the tags by which it tells what it validates
(https://scikit-learn.org/stable/developers/develop.html#estimator-tags), never from the messages of its errors. Types
of others, and whatever comes behind a step that makes other columns of those it gets, tell nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from upright.runtime.texts import features_of

Kind = Literal["text", "number", "boolean", "date"]


@dataclass(frozen=True)
class Learnt:
    """What is known of one feature; None and empty where it is not.

    `missing`: whether the model copes with a value that lacks (it imputes it, or was fitted on one), or refuses it.
    `null`: what it was fitted on where a value lacked, None or NaN, if it tells them apart. `known`: the only values
    that it takes. `least`: the smallest number that it takes. `above`: it takes only numbers above that. `singular`: of
    that number it makes infinity, which it does not take. `whole`: it compares whole numbers, which may have more
    digits than a double.
    """

    kind: Kind | None = None
    dtype: str | None = None
    missing: bool | None = None
    null: float | None = np.nan
    known: frozenset[Any] = frozenset()
    least: float | None = None
    above: float | None = None
    singular: float | None = None
    whole: bool = False


NOTHING = Learnt()


def learn(estimator: Any) -> tuple[Learnt, ...]:
    """Of each feature, in their order; empty when the model does not tell how many there are."""
    told = features_of(estimator)
    count = None if told.texts else told.width
    if not isinstance(count, int):
        return ()
    found = defaultdict[int, list[Learnt]](list)
    try:
        _walk(estimator, [_Column(index) for index in range(count)], found)
    except Exception:  # noqa: BLE001 - what is looked at is another's inside: a version that has it otherwise tells less
        return (NOTHING,) * count
    return tuple(_together(found[index]) for index in range(count))


@dataclass(frozen=True)
class _Column:
    """A column on its way through the steps: which feature it was, and whether it still has its values and its gaps, of
    which there is one where the feature was less than `least`, or not `above` that; where it was that, infinity.
    """

    feature: int
    values: bool = True
    gaps: bool = True
    least: float | None = None
    above: float | None = None


_Columns = Sequence[_Column | None]
"""None for a column of whatever else."""
_Found = Mapping[int, list[Learnt]]


def _walk(estimator: Any, columns: _Columns, found: _Found) -> _Columns:
    """Note what the estimator says of each column; what it makes of them, empty when nobody knows."""
    if _changes_nothing(estimator):
        return columns
    if not type(estimator).__module__.startswith("sklearn."):
        return ()
    for attribute, look in _LOOKS.items():
        if hasattr(estimator, attribute):
            return look(estimator, columns, found)
    return _plain(estimator, columns, found)


def _changes_nothing(estimator: Any) -> bool:
    return estimator == "passthrough" or (
        type(estimator).__name__ == "FunctionTransformer" and estimator.func is None and not estimator.validate
    )


def _steps(pipeline: Any, columns: _Columns, found: _Found) -> _Columns:
    for _, step in pipeline.steps:
        if not columns:
            break
        columns = _walk("passthrough" if step is None else step, columns, found)
    return columns


def _by_column(transformer: Any, columns: _Columns, found: _Found) -> _Columns:
    places = {name: index for index, name in enumerate(getattr(transformer, "feature_names_in_", ()))}
    made: list[_Column | None] = [None] * max(
        (output.stop or 0 for output in transformer.output_indices_.values()), default=0
    )
    for name, part, chosen in transformer.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        given = [columns[index] for index in _indices(chosen, places, len(columns))]
        outputs = _walk(part, given, found)
        where = transformer.output_indices_.get(name)
        if where is not None and len(outputs) == where.stop - where.start:
            made[where] = outputs
    return made


def _indices(chosen: Any, places: Mapping[Any, int], count: int) -> list[int]:
    """Positions of the columns that a transformer was given, in whatever way they were named."""
    if isinstance(chosen, slice) and not isinstance(chosen.start or chosen.stop, str):
        return list(range(count))[chosen]
    if isinstance(chosen, slice):
        first = places[chosen.start] if chosen.start is not None else 0
        return list(range(first, places[chosen.stop] + 1 if chosen.stop is not None else count))
    each = [chosen] if isinstance(chosen, str | int) else list(chosen)
    if len(each) == count and all(isinstance(one, bool | np.bool_) for one in each):
        return [index for index, one in enumerate(each) if one]
    return [places[one] if isinstance(one, str) else int(one) for one in each]


def _side_by_side(union: Any, columns: _Columns, found: _Found) -> _Columns:
    for _, part in union.transformer_list:
        if not isinstance(part, str) or part != "drop":
            _walk(part, columns, found)
    return ()


def _inner(attribute: str) -> Callable[[Any, _Columns, _Found], _Columns]:
    """Of what looks at nothing itself, and hands all columns to others."""

    def look(estimator: Any, columns: _Columns, found: _Found) -> _Columns:
        inner = getattr(estimator, attribute)
        for each in inner if isinstance(inner, list | tuple) else [inner]:
            if not isinstance(each, str) or each != "drop":
                _walk(
                    getattr(each, "estimator", each) if attribute == "calibrated_classifiers_" else each, columns, found
                )
        return ()

    return look


def _encoder(encoder: Any, columns: _Columns, found: _Found) -> _Columns:
    strict = getattr(encoder, "handle_unknown", None) == "error"
    for column, categories in zip(columns, encoder.categories_, strict=True):
        if column is not None and column.values:
            found[column.feature].append(_of_categories(categories, strict=strict, gaps=column.gaps))
    encoded = getattr(encoder, "encoded_missing_value", None)
    if encoded is None:
        return ()
    return [column and replace(column, values=False, gaps=column.gaps and np.isnan(encoded)) for column in columns]


def _of_categories(categories: Any, *, strict: bool, gaps: bool) -> Learnt:
    present = [value for value in categories.tolist() if value is not None and value == value]
    had_gap = len(present) < len(categories)
    missing = (True if had_gap else False if strict else None) if gaps else None
    null = None if had_gap and any(value is None for value in categories.tolist()) else np.nan
    if categories.dtype.kind == "M":
        known = (
            frozenset(categories[~np.isnat(categories)].astype("datetime64[us]").tolist()) if strict else frozenset()
        )
        return Learnt("date", str(categories.dtype), missing, null, known)
    known = frozenset(present) if strict else frozenset()
    whole = set(map(type, present)) == {int}
    return Learnt(_kind_of(present), None, missing, null, known, whole=whole)


def _kind_of(values: Iterable[Any]) -> Kind | None:
    types = set(map(type, values))
    if types == {str}:
        return "text"
    if types == {bool}:
        return "boolean"
    return "number" if types and types <= {int, float} else None


def _imputer(imputer: Any, columns: _Columns, found: _Found) -> _Columns:
    absent, kind = imputer.missing_values, imputer._fit_dtype.kind
    copes = absent is None or type(absent).__name__ == "NAType" or absent != absent  # NA is not even that
    statistics = imputer.statistics_.tolist()
    for column, statistic in zip(columns, statistics, strict=True):
        if column is not None and column.above is not None:
            found[column.feature].append(Learnt(singular=column.above))
        if column is not None and column.values:
            told: Kind | None = "number" if kind in "iuf" else _kind_of([statistic])
            null = None if absent is None else np.nan
            found[column.feature].append(Learnt(told, None, copes if column.gaps else None, null))
    if imputer.add_indicator or (not imputer.keep_empty_features and any(one != one for one in statistics)):
        return ()
    # Where it takes some value for a missing one, what comes behind it does not see that value, and has not learnt it.
    return [column and _Column(column.feature, column.values and copes, gaps=False) for column in columns]


def _histogram_boosting(boosting: Any, columns: _Columns, found: _Found) -> _Columns:
    categorical = list(boosting.is_categorical_) if boosting.is_categorical_ is not None else [False] * len(columns)
    for column, category in zip(columns, categorical, strict=True):
        if column is not None and column.values and not category:
            found[column.feature].append(Learnt("number"))
    if boosting._preprocessor is not None:
        encoder = boosting._preprocessor.named_transformers_["encoder"]
        _walk(encoder, [column for column, category in zip(columns, categorical, strict=True) if category], found)
    return ()


def _chosen(selector: Any, columns: _Columns, found: _Found) -> _Columns:
    _plain(selector, columns, found)
    return [columns[index] for index in selector.get_support(indices=True)]


def _count_by_category(bayes: Any, columns: _Columns, found: _Found) -> _Columns:
    for column, count in zip(columns, bayes.n_categories_.tolist(), strict=True):
        if column is not None and column.values:
            found[column.feature].append(Learnt("number", missing=False, known=frozenset(range(count))))
    return ()


_DOMAINS: Sequence[tuple[Any, tuple[float | None, float | None]]] = (
    (np.log, (None, 0.0)),
    (np.log2, (None, 0.0)),
    (np.log10, (None, 0.0)),
    (np.log1p, (None, -1.0)),
    (np.sqrt, (0.0, None)),
)
"""The least number that a function takes, or that above which it takes all."""


def _function(transformer: Any, columns: _Columns, found: _Found) -> _Columns:
    """Of a number that has no logarithm or root it makes NaN, or infinity."""
    domain = next((domain for function, domain in _DOMAINS if function is transformer.func), None)
    if domain is None or transformer.kw_args:
        return _plain(transformer, columns, found)
    least, above = domain
    outputs = list[_Column | None]()
    for column in columns:
        if column is not None and column.values:
            found[column.feature].append(Learnt("number"))
            column = replace(column, values=False, least=least, above=above)
        outputs.append(column)
    return outputs


_LOOKS: Mapping[str, Callable[[Any, _Columns, _Found], _Columns]] = {
    "best_estimator_": _inner("best_estimator_"),
    "calibrated_classifiers_": _inner("calibrated_classifiers_"),
    "regressor_": _inner("regressor_"),
    "steps": _steps,
    "func": _function,
    "output_indices_": _by_column,
    "transformer_list": _side_by_side,
    "categories_": _encoder,
    "statistics_": _imputer,
    "is_categorical_": _histogram_boosting,
    "get_support": _chosen,
    "n_categories_": _count_by_category,
}
"""By the attribute that the kind of estimator has, once it is fitted."""

_HANDING_ON = frozenset(
    {
        "FixedThresholdClassifier",
        "MultiOutputClassifier",
        "MultiOutputRegressor",
        "OneVsOneClassifier",
        "OneVsRestClassifier",
        "OutputCodeClassifier",
        "SelfTrainingClassifier",
        "StackingClassifier",
        "StackingRegressor",
        "TunedThresholdClassifierCV",
        "VotingClassifier",
        "VotingRegressor",
    }
)
"""Estimators that have others, as forests do, but do not look at the columns themselves."""


_REFUSE_INFINITY = (
    "sklearn.ensemble._forest",
    "sklearn.impute._iterative",
    "sklearn.impute._knn",
    "sklearn.neighbors.",
    "sklearn.preprocessing._data",
    "sklearn.tree.",
)
"""Where estimators are that take NaN, and refuse infinity; others that take NaN hand it on, or take it, too."""


def _refuses_infinity(estimator: Any) -> bool:
    """Of one that takes NaN. A bag leaves it to those that are in it."""
    module = type(estimator).__module__
    if module == "sklearn.ensemble._bagging":
        return _refuses_infinity(estimator.estimators_[0])
    return module.startswith(_REFUSE_INFINITY)


def _plain(estimator: Any, columns: _Columns, found: _Found) -> _Columns:
    """By its tags. A transformer that makes one column of each goes on with its gaps, if it takes any."""
    from sklearn.base import OneToOneFeatureMixin
    from sklearn.utils import get_tags

    if type(estimator).__name__ in _HANDING_ON:
        return _inner("estimators_" if hasattr(estimator, "estimators_") else "estimator_")(estimator, columns, found)
    tags = get_tags(estimator)
    takes = tags.input_tags
    if tags.no_validation or type(estimator).__name__ == "_ConstantPredictor" or _hands_on_more(estimator):
        return ()
    if takes.string and not takes.two_d_array:
        told = Learnt("text", missing=False)
    elif takes.two_d_array and not (takes.string or takes.categorical or takes.pairwise):
        told = _of_numbers(estimator, takes)
    else:
        return ()
    for column in columns:
        if column is not None:
            whole = told if column.values else Learnt(dtype=told.dtype, missing=told.missing)
            if told.missing is False and not column.values:
                whole = replace(whole, least=column.least, above=column.above)
            elif _refuses_infinity(estimator):
                whole = replace(whole, singular=column.above)
            found[column.feature].append(whole if column.gaps else _without_gaps(whole))
    if isinstance(estimator, OneToOneFeatureMixin):
        return [column and replace(column, values=False) for column in columns]
    return ()


def _of_numbers(estimator: Any, takes: Any) -> Learnt:
    """`positive_only` tells of `fit`. What transforms checks that again, and what predicts (naive Bayes) does not.

    Centres of clusters have the precision of the rows, and native code compares them with rows of that alone.
    """
    centres = getattr(estimator, "cluster_centers_", None)
    return Learnt(
        "number",
        dtype="float32" if getattr(centres, "dtype", None) == np.float32 else None,
        missing=None if takes.allow_nan else False,
        least=0.0 if takes.positive_only and hasattr(estimator, "transform") else None,
        above=0.0 if type(estimator).__name__ == "PowerTransformer" and estimator.method == "box-cox" else None,
    )


def _hands_on_more(estimator: Any) -> bool:
    """Whether its estimators are pipelines: they are fitted on arrays of whatever it makes of the columns."""
    return any(hasattr(getattr(estimator, name, None), "steps") for name in ("estimator_", "estimator"))


def _without_gaps(learnt: Learnt) -> Learnt:
    return replace(learnt, missing=None)


def _together(found: Sequence[Learnt]) -> Learnt:
    """Of a feature that several parts take: each must be able to."""
    kinds = {each.kind for each in found if each.kind}
    missing = {each.missing for each in found}
    known = [each.known for each in found if each.known]
    whole = any(each.whole for each in found)
    dtypes = [each.dtype for each in found if each.dtype]
    if known or whole or kinds - {"number"}:  # what an encoder has made of a column may be of single precision alone
        dtypes = [dtype for dtype in dtypes if dtype != "float32"]
    return Learnt(
        kind=kinds.pop() if len(kinds) == 1 else None,
        dtype=next(iter(dtypes), None),
        missing=False if False in missing else True if True in missing else None,
        null=None if any(each.null is None for each in found) else np.nan,
        known=frozenset.intersection(*known) if known else frozenset(),
        least=max((each.least for each in found if each.least is not None), default=None),
        above=max((each.above for each in found if each.above is not None), default=None),
        singular=next((each.singular for each in found if each.singular is not None), None),
        whole=whole,
    )
