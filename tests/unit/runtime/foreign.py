"""Small real models of other libraries than scikit-learn, each with what it answers to 50 rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

Array = NDArray[Any]

_ROWS = 50
LABELS = np.array(["low", "middle", "top"])


@dataclass(frozen=True)
class Foreign:
    """A model as a training program writes it, rows as a client sends them, and the model's own answers to those."""

    file: str
    save: Callable[[Path], object]
    rows: Sequence[Sequence[Any]]
    predictions: Array
    probabilities: Array | None = None
    classes: Sequence[Any] | None = None


def numbers() -> Array:
    """300 rows of four numbers; some of the second are missing."""
    values = np.random.default_rng(0).normal(size=(300, 4))
    values[::7, 1] = np.nan
    return values


def sales() -> pd.DataFrame:
    """300 customers with an age, an income that may be missing, a plan, and whether they get paper."""
    chance = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "age": chance.integers(20, 60, 300),
            "income": np.where(chance.random(300) < 0.1, np.nan, chance.normal(size=300)),
            "plan": pd.Categorical(chance.choice(["basic", "free", "gold"], 300)),
            "paperless": chance.random(300) < 0.5,
        }
    )


def bought(rows: pd.DataFrame) -> Array:
    return ((rows["plan"] == "gold") ^ (rows["age"] > 40)).astype(int).to_numpy()


def sent(values: Array | pd.DataFrame, *, booleans: bool = True) -> list[list[Any]]:
    """The first 50 rows as JSON has them. Not `booleans`: true and false as 1 and 0."""
    frame = pd.DataFrame(values).head(_ROWS)
    frame = frame if booleans else frame.astype(dict.fromkeys(frame.select_dtypes("bool"), float))
    frame = frame.astype(object)
    return frame.where(frame.notna(), None).to_numpy().tolist()


TWO, THREE = (numbers()[:, 0] > 0).astype(int), np.digitize(numbers()[:, 0], [-0.5, 0.5])
AMOUNT = numbers()[:, 0] * 2 + 1
GROUPS = np.repeat(range(30), 10)
ASKED, ANSWERED = numbers()[:_ROWS], sent(numbers())


def of_xgboost() -> dict[str, Foreign]:
    few: dict[str, Any] = {"n_estimators": 5, "max_depth": 3, "n_jobs": 1}

    def classifier(target: Array, file: str, rows: Any = None, **more: Any) -> Foreign:
        rows = numbers() if rows is None else rows
        model = xgboost.XGBClassifier(**few, **more).fit(rows, target)
        asked = rows[:_ROWS]
        return Foreign(file, model.save_model, sent(rows), model.predict(asked), model.predict_proba(asked))

    amount = xgboost.XGBRegressor(**few).fit(numbers(), AMOUNT)
    counts = xgboost.XGBRegressor(objective="count:poisson", **few).fit(numbers(), np.round(np.exp(AMOUNT)))
    ranker = xgboost.XGBRanker(**few).fit(numbers(), THREE, qid=GROUPS)
    linear = xgboost.XGBRegressor(booster="gblinear", n_jobs=1).fit(np.nan_to_num(numbers()), AMOUNT)
    stopped = xgboost.XGBRegressor(n_estimators=60, n_jobs=1, learning_rate=0.9, early_stopping_rounds=2)
    stopped.fit(numbers()[:250], AMOUNT[:250], eval_set=[(numbers()[250:], AMOUNT[250:])], verbose=False)
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(numbers(), THREE), 3)
    softmax = booster.predict(xgboost.DMatrix(ASKED))
    return {
        "xgboost, two classes": classifier(TWO, "model.ubj"),
        "xgboost, three classes, as JSON": classifier(THREE, "model.json"),
        "xgboost, columns with categories": classifier(bought(sales()), "model.ubj", sales(), enable_categorical=True),
        "xgboost, amounts": Foreign("model.ubj", amount.save_model, ANSWERED, amount.predict(ASKED)),
        "xgboost, counts": Foreign("model.ubj", counts.save_model, ANSWERED, counts.predict(ASKED)),
        "xgboost, ranks": Foreign("model.ubj", ranker.save_model, ANSWERED, ranker.predict(ASKED)),
        "xgboost, stopped early": Foreign("model.ubj", stopped.save_model, ANSWERED, stopped.predict(ASKED)),
        "xgboost, a booster of classes": Foreign("model.ubj", booster.save_model, ANSWERED, softmax),
        "xgboost, linear": Foreign(
            "model.ubj", linear.save_model, sent(np.nan_to_num(numbers())), linear.predict(np.nan_to_num(ASKED))
        ),
    }


def of_lightgbm() -> dict[str, Foreign]:
    few: dict[str, Any] = {"n_estimators": 5, "verbose": -1, "n_jobs": 1}

    def trained(model: Any, rows: Any, target: Array, **how: Any) -> Foreign:
        model.fit(rows, target, **how)
        ask = getattr(model, "predict_proba", None)
        asked = rows[:_ROWS]
        return Foreign(
            "model.txt",
            model.booster_.save_model,
            sent(rows, booleans=False),
            model.predict(asked),
            ask(asked) if ask else None,
        )

    custom = lightgbm.LGBMRegressor(objective=lambda wanted, given: (given - wanted, np.ones_like(given)), **few)
    return {
        "lightgbm, two classes": trained(lightgbm.LGBMClassifier(**few), numbers(), TWO),
        "lightgbm, three classes": trained(lightgbm.LGBMClassifier(**few), numbers(), THREE),
        "lightgbm, columns with categories": trained(lightgbm.LGBMClassifier(**few), sales(), bought(sales())),
        "lightgbm, amounts": trained(lightgbm.LGBMRegressor(**few), numbers(), AMOUNT),
        "lightgbm, an objective of its own": trained(custom, numbers(), AMOUNT),
        "lightgbm, ranks": trained(lightgbm.LGBMRanker(**few), numbers(), THREE, group=[10] * 30),
    }


def of_catboost() -> dict[str, Foreign]:
    few: dict[str, Any] = {
        "iterations": 5, "depth": 3, "verbose": 0, "allow_writing_files": False, "thread_count": 1
    }  # fmt: skip

    def trained(model: Any, rows: Any, target: Array, **how: Any) -> Foreign:
        model.fit(rows, target, **how)
        predictions = np.asarray(model.predict(rows[:_ROWS]))
        ask = getattr(model, "predict_proba", None)
        return Foreign(
            "model.cbm",
            lambda path: model.save_model(str(path)),
            sent(rows, booleans=False),
            predictions.reshape(_ROWS),
            ask(rows[:_ROWS]) if ask else None,
            model.classes_.tolist() if ask else None,
        )

    def classifier(**more: Any) -> Any:
        return catboost.CatBoostClassifier(**few, **more)

    plain = sales().astype({"plan": object})
    texts = plain.assign(text=[f"good thing {n % 9}" if yes else "bad thing" for n, yes in enumerate(bought(plain))])
    poisson = catboost.CatBoostRegressor(loss_function="Poisson", **few)
    ranker = catboost.CatBoostRanker(loss_function="YetiRank", **few)
    return {
        "catboost, two classes": trained(classifier(), numbers(), TWO),
        "catboost, three labels": trained(classifier(), numbers(), LABELS[THREE]),
        "catboost, columns with categories": trained(classifier(cat_features=["plan"]), plain, bought(plain)),
        "catboost, columns with texts": trained(
            classifier(cat_features=["plan"], text_features=["text"]), texts, bought(plain)
        ),
        "catboost, amounts": trained(catboost.CatBoostRegressor(**few), numbers(), AMOUNT),
        "catboost, counts": trained(poisson, numbers(), np.exp(AMOUNT)),
        "catboost, ranks": trained(ranker, numbers(), THREE, group_id=GROUPS),
    }


def of_onnx() -> dict[str, Foreign]:
    """Made from scikit-learn's; the answers are those of the originals."""
    whole = np.nan_to_num(numbers()).astype(np.float32)

    def classifier(target: Array, *, maps: bool) -> Foreign:
        model = LogisticRegression().fit(whole, target)
        graph = to_onnx(model, whole[:1], options={id(model): {"zipmap": maps}})
        return Foreign(
            "model.onnx",
            lambda path: path.write_bytes(graph.SerializeToString()),
            sent(whole.astype(float)),
            model.predict(whole[:_ROWS]),
            model.predict_proba(whole[:_ROWS]),
            model.classes_.tolist() if maps else None,
        )

    forest = RandomForestRegressor(5, random_state=0).fit(whole, AMOUNT)
    amounts = to_onnx(forest, whole[:1])
    people = sales().astype({"plan": object})[["age", "income", "plan"]].fillna({"income": 0.0})
    columns = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), ("passthrough", ["age", "income"])),
        GradientBoostingClassifier(n_estimators=5, random_state=0),
    ).fit(people, bought(people))
    kinds = [("age", Int64TensorType([None, 1])), ("income", FloatTensorType([None, 1]))]
    graph = to_onnx(columns, initial_types=[*kinds, ("plan", StringTensorType([None, 1]))])
    return {
        "onnx, two classes": classifier(TWO, maps=False),
        "onnx, three labels, as maps": classifier(LABELS[THREE], maps=True),
        "onnx, amounts": Foreign(
            "model.onnx",
            lambda path: path.write_bytes(amounts.SerializeToString()),
            sent(whole.astype(float)),
            forest.predict(whole[:_ROWS]),
        ),
        "onnx, columns": Foreign(
            "model.onnx",
            lambda path: path.write_bytes(graph.SerializeToString()),
            sent(people),
            columns.predict(people[:_ROWS]),
            columns.predict_proba(people[:_ROWS]),
            [0, 1],
        ),
    }
