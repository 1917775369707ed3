"""Every estimator of scikit-learn that predicts: `python -m tests.estimators` writes the table in docs/models.md.

That each does what the table says is tested in tests/unit/runtime/test_estimators.py.
"""

import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import skops.io
from sklearn.base import is_regressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - which adds estimators
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from tests.unit.runtime.pod import Pod, a_pod
from upright.api.artifact import PublishReport
from upright.runtime.artifact import load_artifact
from upright.runtime.batch import datatype_of
from upright.runtime.outcome import RefusedError
from upright.runtime.predictor import FURTHER
from upright.runtime.protocol import parse_predict
from upright.runtime.publish import publish

Form = Literal["plain", "pipeline"]
DOCS = Path(__file__).parents[1] / "docs" / "models.md"
BEGINS, ENDS = "<!-- estimators: written by `python -m tests.estimators` -->", "<!-- /estimators -->"
ROWS = 50

_VOTERS = [("one", LogisticRegression()), ("other", DecisionTreeClassifier(max_depth=2))]
_GUESSERS = [("one", LinearRegression()), ("other", DecisionTreeRegressor(max_depth=2))]
_GRID = {"C": [0.1, 1.0]}

_ARGUMENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "ClassifierChain": lambda: {"estimator": LogisticRegression()},
    "FixedThresholdClassifier": lambda: {"estimator": LogisticRegression()},
    "FrozenEstimator": lambda: {"estimator": LogisticRegression()},
    "GridSearchCV": lambda: {"estimator": LogisticRegression(), "param_grid": _GRID, "cv": 2},
    "HalvingGridSearchCV": lambda: {"estimator": LogisticRegression(), "param_grid": _GRID, "cv": 2},
    "HalvingRandomSearchCV": lambda: {"estimator": LogisticRegression(), "param_distributions": _GRID, "cv": 2},
    "HistGradientBoostingClassifier": lambda: {"max_iter": 3, "min_samples_leaf": 5},
    "HistGradientBoostingRegressor": lambda: {"max_iter": 3, "min_samples_leaf": 5},
    "LocalOutlierFactor": lambda: {"novelty": True},
    "MultiOutputClassifier": lambda: {"estimator": LogisticRegression()},
    "MultiOutputRegressor": lambda: {"estimator": Ridge()},
    "OrthogonalMatchingPursuitCV": lambda: {"max_iter": 2, "cv": 2},
    "OneVsOneClassifier": lambda: {"estimator": LogisticRegression()},
    "OneVsRestClassifier": lambda: {"estimator": LogisticRegression()},
    "OutputCodeClassifier": lambda: {"estimator": LogisticRegression(), "random_state": 0},
    "Pipeline": lambda: {"steps": [("scale", MinMaxScaler()), ("model", LogisticRegression())]},
    "RFE": lambda: {"estimator": LogisticRegression()},
    "RFECV": lambda: {"estimator": LogisticRegression(), "cv": 2},
    "RandomizedSearchCV": lambda: {
        "estimator": LogisticRegression(),
        "param_distributions": _GRID,
        "n_iter": 2,
        "cv": 2,
    },
    "RegressorChain": lambda: {"estimator": Ridge()},
    "SelfTrainingClassifier": lambda: {"estimator": LogisticRegression()},
    "StackingClassifier": lambda: {"estimators": _VOTERS, "cv": 2},
    "StackingRegressor": lambda: {"estimators": _GUESSERS, "cv": 2},
    "TheilSenRegressor": lambda: {"max_subpopulation": 50},
    "TunedThresholdClassifierCV": lambda: {"estimator": LogisticRegression(), "cv": 2, "thresholds": 5},
    "VotingClassifier": lambda: {"estimators": _VOTERS, "voting": "soft"},
    "VotingRegressor": lambda: {"estimators": _GUESSERS},
}
"""Of those that cannot be made without arguments, or are no predictors without."""

_SMALL: Mapping[str, Any] = {
    "n_estimators": 3,
    "max_iter": 20,
    "cv": 2,
    "n_init": 1,
    "random_state": 0,
    "Cs": 2,
    "n_components": 1,
}
"""Where an estimator has these parameters: nothing here needs to be good."""

_ROUNDED = {"LabelPropagation", "LabelSpreading"}
"""The last digit of their probabilities was not always rounded alike, before and after storing."""


def estimators() -> Mapping[str, type[Any]]:
    """All that have a method `predict`, by name."""
    return {name: kind for name, kind in all_estimators() if hasattr(kind, "predict") or name in _ARGUMENTS}


def fitted(name: str, form: Form) -> tuple[Any, Any]:
    """An estimator and the rows that it was fitted on: an array, or for the pipeline a DataFrame."""
    kind = estimators()[name]
    arguments = _ARGUMENTS.get(name, dict)()
    known = kind(**arguments).get_params(deep=False)
    small = {key: value for key, value in _SMALL.items() if key in known and key not in arguments}
    model = kind(**arguments, **small)
    rows = pd.DataFrame(np.random.default_rng(0).uniform(0.5, 3, (ROWS, 3)), columns=["a", "b", "c"])
    if name == "IsotonicRegression":
        rows = rows[["a"]]
    if name == "CategoricalNB":
        rows = rows.round()
    if form == "pipeline":
        model = make_pipeline(MinMaxScaler((0.1, 1)), model)
    given = rows if form == "pipeline" else np.ascontiguousarray(rows)  # by columns, BLAS rounds otherwise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "FrozenEstimator":
            model = kind(LogisticRegression().fit(given, _target(rows, name, None)))
            model = make_pipeline(MinMaxScaler((0.1, 1)), model).fit(given) if form == "pipeline" else model
            return model, given
        return model.fit(given, _target(rows, name, kind(**arguments))), given


def _target(rows: pd.DataFrame, name: str, model: Any) -> Any:
    classes = np.where(rows["a"] > rows["a"].median(), "yes", "no")
    numbers = rows["a"].to_numpy() * 2
    if name in {"MultiOutputClassifier", "ClassifierChain"}:
        return np.column_stack([rows["a"] > 1, rows["a"] > 2]).astype(int)
    if name.startswith("MultiTask") or name in {"MultiOutputRegressor", "RegressorChain"}:
        return np.column_stack([numbers, -numbers])
    if name == "SelfTrainingClassifier":
        classes = classes.astype(object)
    return numbers if model is not None and is_regressor(model) else classes


def seen(name: str, form: Form, folder: Path) -> str:
    """What of an estimator can be asked when it is served, by the names of the outputs, or why it cannot be.

    Raises AssertionError for one that answers, or is described, otherwise than it is.
    """
    model, rows = fitted(name, form)
    pod = a_pod(folder)
    try:
        skops.io.dump(model, pod.output / "model.skops")
    except TypeError:
        return "no: skops cannot store it"
    named = isinstance(rows, pd.DataFrame)
    tells = named or hasattr(model, "n_features_in_")
    if named or not tells:
        pd.DataFrame(rows).to_csv(pod.output / "reference.csv", index=False)
    try:
        report = publish(pod.variables)
    except RefusedError as error:
        return f"no: {error.refusal.reason}"
    _compare(model, rows, pod, report)
    outputs = ", ".join(tensor.name for tensor in report.signature.outputs) if report.signature else ""
    return outputs if tells else f"{outputs}; needs reference.csv"


def _compare(model: Any, rows: Any, pod: Pod, report: PublishReport) -> None:
    artifact = pod.store / report.uri.removeprefix("pvc://models/")
    asked_of = {"UPRIGHT_ARTIFACT": str(artifact), "UPRIGHT_DIGEST": report.digest}
    served = load_artifact({**asked_of, "UPRIGHT_MODEL": "churn", "UPRIGHT_MODEL_VERSION": "churn-7"})
    assert report.signature is not None
    if isinstance(rows, pd.DataFrame):
        assert [(one.name, one.type) for one in report.signature.inputs] == [(name, "FP64") for name in rows]
    body = {"instances": rows.to_numpy().tolist() if isinstance(rows, pd.DataFrame) else rows.tolist()}
    for tensor in report.signature.outputs:
        method = tensor.name if tensor.name in FURTHER else "predict"
        request = parse_predict(json.dumps({**body, "method": method}).encode(), report.signature, served.outputs)
        answer, right = (
            served.predictor.predict(request.batch, request.output),
            np.asarray(getattr(model, method)(rows)),
        )
        assert (answer.dtype, answer.shape) == (right.dtype, right.shape)
        if type(model).__name__ in _ROUNDED and right.dtype.kind == "f":
            assert np.allclose(answer, right, rtol=1e-12, atol=1e-15)
        else:
            assert np.array_equal(answer, right, equal_nan=right.dtype.kind == "f")
        assert (tensor.type, tensor.shape) == (datatype_of(right.dtype), (-1, *right.shape[1:]))
    classes = getattr(model, "classes_", None)
    assert served.predictor.classes == (classes.tolist() if isinstance(classes, np.ndarray) else None)


def in_the_docs() -> Mapping[str, tuple[str, str]]:
    """What the table says of each estimator, plain and in a pipeline."""
    table = DOCS.read_text(encoding="utf-8").partition(BEGINS)[2].partition(ENDS)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {name.strip("`"): (plain, piped) for name, plain, piped in rows[2:]}


def _lines() -> Iterator[str]:
    yield "| estimator | plain, fitted on an array | in a pipeline, fitted on a DataFrame |"
    yield "|---|---|---|"
    for name in estimators():
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            yield f"| `{name}` | {seen(name, 'plain', Path(one))} | {seen(name, 'pipeline', Path(other))} |"


def main() -> None:
    """Write the table anew."""
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(BEGINS)
    after = rest.partition(ENDS)[2]
    DOCS.write_text("\n".join((before + BEGINS, *_lines(), ENDS + after)), encoding="utf-8")


if __name__ == "__main__":
    main()
