"""Models as XGBoost saves them, model.ubj and model.json: trees with the names, types and categories of features.

Labels of classes are not in the file, so classes are numbers from 0. A model that was stopped early answers with its
best iteration, as XGBoost's scikit-learn classes do.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Tensor
from upright.runtime.environment import Limits
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError
from upright.runtime.formats.model import Ask, Model, classifier, threads, type_of, typed, unnamed

_NUMBERS_OF_CLASSES = ("binary:logistic", "multi:softprob")
_CATEGORY, _INDICATOR = "c", "i"


def load(path: Path, _: Limits) -> LoadedModel:
    """Raises UnreadableModelError."""
    import xgboost

    try:
        booster = xgboost.Booster({"nthread": threads()}, model_file=str(path))
        config = json.loads(booster.save_config())
        categories = _categories(path, booster)
        rounds = _rounds(booster.attr("best_iteration"), booster.num_boosted_rounds())
    except (xgboost.core.XGBoostError, ValueError, KeyError) as error:
        said = str(error).strip().partition("\nStack trace")[0]
        raise UnreadableModelError(f"{path.name} is not a model of XGBoost: {said[:300]}") from error
    names, features = booster.feature_names or (), booster.num_features()
    objective = config["learner"]["objective"]["name"]
    values = _values(booster, config["learner"]["gradient_booster"]["name"], categories, rounds)
    if objective in _NUMBERS_OF_CLASSES and int(config["learner"]["learner_model_param"]["num_target"]) <= 1:
        model = classifier(values, features, names)
    elif objective == "multi:softmax":
        model = Model(lambda rows: values(rows).astype(np.int64), features, names)
    else:
        model = Model(values, features, names)
    version = ".".join(map(str, config["version"]))
    return LoadedModel(model, version, _inputs(path, booster, names, categories))


def _rounds(best: str | None, most: int) -> tuple[int, int]:
    """Those that count; (0, 0): all. Raises ValueError for what cannot be a number of them."""
    if best is not None and not (best.isascii() and best.isdigit() and len(best) < 10 and int(best) < most):
        raise ValueError(f"its best_iteration is {best[:40]!r}")
    return (0, int(best) + 1) if best is not None else (0, 0)


def _values(booster: Any, kind: str, categories: dict[str, Sequence[Any]], rounds: tuple[int, int]) -> Ask:
    """What Booster.predict answers, with the trees of these rounds."""
    import xgboost

    def values(rows: Any) -> NDArray[Any]:
        data = typed(rows, categories, strict=True)
        if kind == "gblinear":  # it cannot do without a matrix of XGBoost's own
            answer = booster.predict(xgboost.DMatrix(data, nthread=threads()))
        else:
            answer = booster.inplace_predict(data, iteration_range=rounds)
        return np.asarray(answer)

    return values


def _categories(path: Path, booster: Any) -> dict[str, Sequence[Any]]:
    """The known categories of each column that has some. Raises UnreadableModelError."""
    if _CATEGORY not in (booster.feature_types or ()):
        return {}
    told = booster.get_categories(export_to_arrow=True).to_arrow()
    try:
        found = {str(name): values.to_pylist() for name, values in told if values is not None}
        kept = all(one.isascii() for values in found.values() for one in values if isinstance(one, str))
    except UnicodeDecodeError:
        kept = False
    if not kept:  # it counts the characters of those of pandas where it cuts bytes: xgboost/_data_utils.py
        raise UnreadableModelError(
            f"{path.name} does not hold the categories that it was fitted on: XGBoost loses those with letters beyond "
            "ASCII. Give them names in ASCII before the model is fitted, or encode the column yourself"
        )
    return found


def _inputs(path: Path, booster: Any, names: Sequence[str], categories: dict[str, Sequence[Any]]) -> tuple[Tensor, ...]:
    types = booster.feature_types or ["float"] * booster.num_features()
    if (lost := [index for index, kind in enumerate(types) if kind == _CATEGORY]) and len(categories) < len(lost):
        raise UnreadableModelError(
            f"{path.name} does not hold the categories of its categorical features: fit it on a DataFrame with "
            "columns of pandas' type category and save it with XGBoost 3.1 or newer"
        )
    if not names:
        return unnamed(booster.num_features())
    return tuple(
        Tensor(name=name, type=_type(kind, categories.get(name, ())), missing=True)
        for name, kind in zip(names, types, strict=True)
    )


def _type(kind: str, categories: Sequence[Any]) -> Any:
    if kind == _CATEGORY:
        return type_of(categories)
    return "BOOL" if kind == _INDICATOR else "FP64"


XGBOOST = Format(
    "xgboost",
    ("model.ubj", "model.json"),
    framework="xgboost",
    packages=("xgboost-cpu", "xgboost"),
    runs_code=False,
    load=load,
)
