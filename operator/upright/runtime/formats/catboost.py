"""Models as CatBoost saves them, model.cbm: trees with names and kinds of features and the labels of classes."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Tensor
from upright.runtime.batch import BadInputError
from upright.runtime.environment import Limits
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError
from upright.runtime.formats.model import Ask, Model, threads, unnamed


def load(path: Path, _: Limits) -> LoadedModel:
    """Raises UnreadableModelError."""
    import catboost

    try:
        booster = catboost.CatBoost().load_model(str(path), format="cbm")
        loss = _loss(booster)
        if loss is not None:
            booster = _in_its_class(booster)
        names = list(booster.feature_names_)
    except (catboost.CatBoostError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise UnreadableModelError(f"{path.name} is not a model of CatBoost: {str(error)[:300]}") from error
    if booster.get_embedding_feature_indices():
        raise UnreadableModelError(f"{path.name} takes embeddings, which no input of Upright can hold")
    texts = {names[index] for index in booster.get_text_feature_indices()}
    categories = {names[index] for index in booster.get_cat_feature_indices()}
    bare = not texts | categories and names == [str(index) for index in range(len(names))]
    predicts = isinstance(booster, catboost.CatBoostClassifier)
    model = Model(
        _asked(booster.predict, categories, texts),
        len(names),
        () if bare else names,
        _asked(booster.predict_proba, categories, texts) if predicts and loss != "CrossEntropy" else None,
        booster.classes_ if predicts and loss != "CrossEntropy" else None,
    )
    inputs = unnamed(len(names)) if bare else _inputs(names, categories, texts)
    return LoadedModel(model, _version(booster), inputs)


def _loss(booster: Any) -> Any:
    """None of a sum of models, which has no parameters, and whose answers are sums."""
    import catboost

    try:
        return booster.get_all_params().get("loss_function")
    except catboost.CatBoostError:
        return None


def _in_its_class(booster: Any) -> Any:
    """The class that the model was made with decides what `predict` answers; the file tells by the loss function."""
    import catboost

    for cast in (catboost.to_classifier, catboost.to_regressor, catboost.to_ranker):
        try:
            return cast(booster)
        except catboost.CatBoostError:
            continue
    return booster


def _asked(ask: Ask, categories: Collection[str], texts: Collection[str]) -> Ask:
    def answer(rows: Any) -> NDArray[Any]:
        if not isinstance(rows, np.ndarray):
            rows = _frame(rows, categories, texts)
        given = np.asarray(ask(rows, thread_count=threads()))  # type: ignore[call-arg] # a method, no function of ours
        return given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given

    return answer


def _frame(rows: Any, categories: Collection[str], texts: Collection[str]) -> Any:
    """Categories and texts as objects, the rest as numbers. Raises BadInputError for what cannot be a category."""
    import pandas as pd

    columns = {}
    for name, column in rows.items():
        if name not in categories and name not in texts:
            columns[name] = column.astype("float64")
            continue
        columns[name] = column.astype(object)
        allowed = str if name in texts else (str, int, np.integer)
        for row, value in enumerate(columns[name]):
            if not isinstance(value, allowed):
                wanted = "a string" if name in texts else "a string or a whole number"
                found = "null" if pd.isna(value) else str(value)[:64]
                raise BadInputError(f"row {row}: {name} must be {wanted}; it is {found}")
    return pd.DataFrame(columns)


def _inputs(names: Sequence[str], categories: Collection[str], texts: Collection[str]) -> tuple[Tensor, ...]:
    def tensor(name: str) -> Tensor:
        if name in texts:
            return Tensor(name=name, type="BYTES")
        # A category is text, or the text of a whole number: the file knows its hash alone.
        return Tensor(name=name) if name in categories else Tensor(name=name, type="FP64", missing=True)

    return tuple(map(tensor, names))


def _version(booster: Any) -> str | None:
    """From what CatBoost writes of its own source, such as `Branch: tags/v1.2.10`."""
    found = re.search(r"tags/v(\d[\d.]*)", dict(booster.get_metadata()).get("catboost_version_info", ""))
    return found[1] if found else None


CATBOOST = Format("catboost", ("model.cbm",), framework="catboost", packages=("catboost",), runs_code=False, load=load)
