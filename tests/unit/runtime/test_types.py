"""Columns as people have them: what the model gets from a client is what it was fitted on."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from pandas.testing import assert_frame_equal
from pydantic_core import to_json
from sklearn.base import clone
from sklearn.cluster import BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.kernel_approximation import AdditiveChi2Sampler
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.naive_bayes import CategoricalNB, ComplementNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, PowerTransformer, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from tests.unit.runtime.pod import Pod
from upright.api.artifact import Signature
from upright.runtime import sdk
from upright.runtime.artifact import ServedModel, load_artifact
from upright.runtime.batch import BadInputError
from upright.runtime.environment import Limits
from upright.runtime.learnt import learn
from upright.runtime.outcome import RefusedError
from upright.runtime.predictor import ModelError, Predictor
from upright.runtime.profile import profile_of
from upright.runtime.protocol import parse_infer, parse_predict, tensor_metadata
from upright.runtime.publish import publish
from upright.runtime.reference import Reference, read_reference
from upright.runtime.signature import infer
from upright.runtime.trial import rows_of, try_out

LIMITS = Limits(artifact_bytes=2**30, formats=frozenset({"skops"}))


def served(pod: Pod, model: Any, **files: Any) -> ServedModel:
    """Published, and loaded again."""
    frame = files.pop("reference_parquet", None)
    if frame is not None:
        frame.to_parquet(pod.output / "reference.parquet")
    report = publish(pod.trained(model, **files).variables)
    environment = {
        "UPRIGHT_ARTIFACT": str(pod.store / report.uri.removeprefix("pvc://models/")),
        "UPRIGHT_DIGEST": report.digest,
        "UPRIGHT_MODEL": "churn",
        "UPRIGHT_MODEL_VERSION": "churn-7",
    }
    return load_artifact(environment)


def answers(model: ServedModel | Predictor, *rows: Any) -> list[Any]:
    predictor = model.predictor if isinstance(model, ServedModel) else model
    asked = parse_predict(to_json({"instances": list(rows)}), predictor.signature, ["prediction"])
    found: list[Any] = predictor.predict(asked.batch).tolist()
    return found


def refused(model: ServedModel | Predictor, *rows: Any) -> str:
    with pytest.raises(BadInputError) as raised:
        answers(model, *rows)
    return str(raised.value)


def types(model: ServedModel) -> list[Any]:
    return [(one.type, one.dtype, one.missing) for one in model.predictor.signature.inputs]


def a_tree_on(frame: pd.DataFrame, encoder: Any = None) -> Any:
    """Answers 1 where the first row's values are."""
    encoded = ColumnTransformer([("codes", encoder or OneHotEncoder(), list(frame.columns))])
    first = (frame.astype(str) == frame.iloc[0].astype(str)).all(axis=1).astype(int)
    return make_pipeline(encoded, DecisionTreeClassifier(random_state=0)).fit(frame, first)


PLACES = pd.DataFrame({"country": ["NA", "DE", "null", "nan"] * 5, "zip": ["00501", "10115", "02134", "None"] * 5})


def test_texts_that_look_like_something_else_stay_texts_in_a_csv(pod: Pod) -> None:
    model = served(pod, a_tree_on(PLACES), reference_csv=PLACES.assign(label="NA").to_csv(index=False))

    assert types(model) == [("BYTES", None, False)] * 2
    assert answers(model, ["NA", "00501"], ["DE", "10115"], ["null", "02134"]) == [1, 0, 0]


def test_an_empty_field_of_a_text_column_is_missing(pod: Pod) -> None:
    plans = pd.DataFrame({"plan": ["None", None, "basic"] * 5})

    model = served(pod, a_tree_on(plans), reference_csv=plans.to_csv(index=False))

    assert types(model)[0][2]
    assert answers(model, {"plan": "None"}, {"plan": None}, {}) == [1, 0, 0]


def test_answers_that_are_texts_are_read_as_the_model_gives_them(pod: Pod) -> None:
    rows = pd.DataFrame({"x": [0.0, 1.0] * 10})
    model = DecisionTreeClassifier().fit(rows, ["NA", "DE"] * 10)
    told = rows.assign(prediction=model.predict(rows), label=["NA", "NA"] * 10, score=0.5)

    served(pod, model, reference_csv=told.to_csv(index=False))

    profile = json.loads(next(pod.store.glob("*/*/profile.json")).read_text())
    assert profile["predictions"] == {"categories": {"DE": 10, "NA": 10}, "other": 0, "missing": 0}
    assert sum(profile["scores"]["right"]) == 10


@pytest.mark.parametrize("lacking", [None, np.nan])
def test_true_false_and_nothing_are_answered_as_in_python(pod: Pod, lacking: Any) -> None:
    flags = pd.DataFrame({"paperless": [True, False, lacking, True] * 5}, dtype=object)
    model = served(pod, a_tree_on(flags), reference_csv=flags.to_csv(index=False))

    assert types(model) == [("BOOL", "object", True)]
    assert answers(model, [True], [False], [None]) == [1, 0, 0]
    assert "must be true or false; it is the string 'True'" in refused(model, ["True"])


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, 2, 3], dtype="UInt8"),
        pd.Series([1.5, None, 3], dtype="Float64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series([0.1, 0.2, np.nan], dtype="float32"),
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="str"),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series([7, 9, 8], dtype="category"),
        pd.Series([True, np.nan, False], dtype=object),
        pd.Series(pd.to_datetime(["2026-11-27", "NaT", "1999-12-31T23:59:59.123456"], format="ISO8601")),
        pd.Series(pd.to_datetime(["2026-11-27", "1999-12-31"])).dt.as_unit("ns"),
        pd.Series(pd.to_datetime(["2026-11-27T12:00+01:00", "NaT"], utc=True)),
        pd.Series(pd.to_datetime(["2026-11-27T12:00", "NaT"])).dt.tz_localize("Europe/Berlin"),
        pd.Series([1, 2, 3], dtype="int16"),
    ],
    ids=lambda column: str(column.dtype),
)
def test_the_model_gets_the_column_that_reference_parquet_has(tmp_path: Path, column: "pd.Series[Any]") -> None:
    frame = pd.DataFrame({"x": column, "y": 1.0})
    frame.to_parquet(tmp_path / "reference.parquet")
    model = DummyClassifier().fit(frame, [0] * len(frame))
    reference = read_reference(tmp_path, LIMITS, model)
    assert reference
    predictor = Predictor(model, infer(model, None, reference))

    body = to_json({"instances": rows_of(reference.rows, predictor.signature, reference)})
    got = predictor.features(parse_predict(body, predictor.signature, ["prediction"]).batch)

    whole = column.dtype == np.int16  # what is no number of pandas' own is as wide as JSON has it
    assert_frame_equal(got.astype({"x": "int16"}) if whole else got, frame)


@pytest.mark.parametrize("dtype", ["float32", "Float32"])
def test_a_category_in_single_precision_is_what_a_client_writes(dtype: Any) -> None:
    frame = pd.DataFrame({"rate": pd.Series([0.1, 0.2, 0.3] * 5, dtype=dtype)})
    model = a_tree_on(frame)
    predictor = Predictor(model, infer(model, None, Reference(frame, ("rate",))))

    assert answers(predictor, [0.1], [0.2], [float(np.float32(0.1))]) == [1, 0, 1]
    assert "fitted on, 0.1, 0.2, 0.3; it is 0.4" in refused(predictor, [0.1], [0.4])


def test_an_array_in_single_precision_is_one_for_what_a_client_writes(pod: Pod) -> None:
    table = pd.DataFrame({"dose": [0.1, 0.2, 0.3] * 10, "x": [1.0, 2.0] * 15}, dtype=np.float32)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(table.to_numpy(), [0, 1, 1] * 10)

    assert answers(served(pod, model, reference_parquet=table), [0.1, 1], [0.2, 1]) == [0, 1]


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, BisectingKMeans])
@pytest.mark.parametrize("reference", ["reference_csv", "reference_parquet", None])
@pytest.mark.parametrize(("named", "scaled"), [(True, False), (False, True), (False, False)])
def test_clusters_in_single_precision_are_asked_in_it(
    pod: Pod, kind: Any, reference: str | None, *, named: bool, scaled: bool
) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"), dtype=np.float32)
    clusters = kind(n_clusters=3, random_state=0)
    model = make_pipeline(StandardScaler(), clusters) if scaled else clusters
    rows = table if named else table.to_numpy()
    model.fit(rows)
    files = {"reference_csv": table.to_csv(index=False), "reference_parquet": table}

    published = served(pod, model, **({reference: files[reference]} if reference else {}))

    assert published.example is not None
    assert answers(published, *table.to_numpy().tolist()) == model.predict(rows).tolist()


@pytest.mark.parametrize("column", [["a", "b", "c"], [True, False, True], [2**24 + 1, 2**24 + 2, 2**24]])
@pytest.mark.parametrize("reference", ["reference_csv", "reference_parquet"])
def test_what_an_encoder_makes_of_a_column_is_not_what_the_column_is(
    pod: Pod, column: list[Any], reference: str
) -> None:
    table = pd.DataFrame({"x": column * 10})
    model = make_pipeline(OrdinalEncoder(dtype=np.float32), KMeans(len(set(column)), random_state=0)).fit(table)
    files = {"reference_csv": table.to_csv(index=False), "reference_parquet": table}

    published = served(pod, model, **{reference: files[reference]})

    assert answers(published, *[[value] for value in column]) == model.predict(table.iloc[:3]).tolist()


@pytest.mark.parametrize("value", [pd.Timedelta(days=1), pd.Timestamp("2026-11-27").date(), [1, 2], b"x"])
def test_what_no_client_can_send_is_refused_by_its_name(pod: Pod, value: Any) -> None:
    frame = pd.DataFrame({"age": [value, value]})

    with pytest.raises(RefusedError, match=r"the column 'age' of the reference data holds values .* no client"):
        served(pod, DummyClassifier().fit(pd.DataFrame({"age": [1, 2]}), [0, 1]), reference_parquet=frame)


@pytest.mark.parametrize("own", ["int64", "float64", "boolean", "datetime64[us]"])
def test_a_column_of_arrow_is_refused_with_what_helps(pod: Pod, own: Any) -> None:
    column = pd.DataFrame({"x": pd.Series([0, 1] * 5).astype(own)})
    model = a_tree_on(column)
    arrow = column.convert_dtypes(dtype_backend="pyarrow")

    with pytest.raises(RefusedError, match=r"column 'x' of the reference data is of pandas' type .*\[pyarrow\]"):
        served(pod, model, reference_parquet=arrow)

    served(pod, model, reference_parquet=arrow.astype(own))


@pytest.mark.parametrize("file", ["model.skops", "model.ubj", "reference.parquet"])
def test_a_column_without_a_name_is_refused_with_a_sentence(pod: Pod, file: str) -> None:
    table = pd.DataFrame({"": [0.0, 1.0] * 5, "b": [1.0, 0.0] * 5})
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "skops,xgboost"
    if file == "model.ubj":
        xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(table, table["b"]).save_model(pod.output / file)
    else:
        model = DecisionTreeClassifier().fit(table if file == "model.skops" else table.to_numpy(), [0, 1] * 5)
        pod.trained(model)
        table.to_parquet(pod.output / "reference.parquet")

    with pytest.raises(RefusedError, match="its name is '': String should have at least 1 character"):
        publish(pod.variables)


@pytest.fixture(scope="module")
def dates() -> Predictor:
    frame = pd.DataFrame({"day": pd.to_datetime(["2026-11-27", "2026-11-28", "2026-11-29"] * 5)})
    model = a_tree_on(frame)
    return Predictor(model, infer(model, None, None))


def test_a_date_is_a_text_for_clients_and_a_time_for_the_model(dates: Predictor) -> None:
    assert [tensor_metadata(one) for one in dates.signature.inputs] == [
        {"name": "day", "datatype": "BYTES", "shape": [-1]}
    ]
    days = ["2026-11-27", "2026-11-27T00:00:00Z", "2026-11-27 00:00:00.000", "2026-11-27T02:00:00+02:00", "2026-11-28"]
    assert answers(dates, *([day] for day in days)) == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    "day", ["now", "today", "27.11.2026", "", "2026-02-30", "2026", "20261127", "2026-11-27T25:00"]
)
def test_what_is_no_date_is_refused(dates: Predictor, day: str) -> None:
    assert "instances[1][0] (day) must be a date or time in ISO 8601" in refused(dates, ["2026-11-27"], [day])


def test_a_date_that_nanoseconds_do_not_hold_is_refused() -> None:
    signature = Signature.model_validate({"inputs": [{"name": "day", "type": "BYTES", "dtype": "datetime64[ns]"}]})

    with pytest.raises(BadInputError, match=r"instances\[1\]\[0\] \(day\) must be a date"):
        parse_predict(b'{"instances": [["2026-11-27"], ["9999-12-31"]]}', signature, ["prediction"])


def test_a_fraction_is_no_whole_number_that_may_lack() -> None:
    signature = Signature.model_validate({"inputs": [{"name": "age", "type": "INT8", "dtype": "Int8"}]})

    with pytest.raises(BadInputError, match=r"must be a whole number between -128 and 127; it is the number 1\.5"):
        parse_predict(b'{"instances": [[1], [null], [1.5]]}', signature, ["prediction"])
    with pytest.raises(BadInputError, match="it is the number 128"):
        parse_predict(b'{"instances": [[128]]}', signature, ["prediction"])


class Echo:
    """Answers the first column as it gets it, 0 where it lacks."""

    feature_names_in_ = np.array(["id", "y"], dtype=object)
    n_features_in_ = 2

    def predict(self, rows: pd.DataFrame) -> Any:
        return rows["id"].fillna(0).to_numpy(rows["id"].dtype.numpy_dtype)  # type: ignore[union-attr]


def echo_of(dtype: str) -> Predictor:
    inputs = [{"name": "id", "type": dtype.upper(), "dtype": dtype, "missing": True}, {"name": "y", "type": "FP64"}]
    return Predictor(Echo(), Signature.model_validate({"inputs": inputs}))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("Int64", [2**53 + 1, None, 3.0, 2**63 - 1, -(2**63)]),
        ("Int64", [2**63 - 1, -(2**63)]),
        ("Int64", [None]),
        ("UInt64", [2**53 + 1, 2**64 - 1]),
        ("UInt64", [2**64 - 1, None]),
    ],
)
def test_a_whole_number_is_exact_beside_whatever_else(dtype: str, values: list[Any]) -> None:
    assert answers(echo_of(dtype), *([value, 1] for value in values)) == [value or 0 for value in values]


@pytest.mark.parametrize(
    ("dtype", "number"), [("Int64", 2**63), ("Int64", -(2**63) - 1), ("UInt64", 2**64), ("UInt64", -1), ("Int8", 128)]
)
@pytest.mark.parametrize("beside", [1, None, 2.0])
def test_a_whole_number_beyond_its_type_is_the_clients_mistake(dtype: str, number: int, beside: Any) -> None:
    limits = np.iinfo(dtype.lower())

    assert (
        f"instances[1][0] (id) must be a whole number between {limits.min} and {limits.max}; it is the number {number}"
    ) in refused(echo_of(dtype), [beside, 1], [number, 1])


@pytest.mark.parametrize("array", [True, False])
@pytest.mark.parametrize("encoder", [OneHotEncoder(), OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()])
def test_ids_that_are_categories_are_exact_also_without_reference_data(pod: Pod, encoder: Any, *, array: bool) -> None:
    ids = [2**53 + 1, 2**53 + 2, 2**53 + 3, 2**53 + 5]
    table = pd.DataFrame({"shop": ids * 5})
    rows = table.to_numpy() if array else table
    model = make_pipeline(clone(encoder), DecisionTreeClassifier(random_state=0)).fit(rows, list("abcd") * 5)

    published = served(pod, model)

    assert [(one.type, one.dtype) for one in published.predictor.signature.inputs] == [
        ("INT64", None if array else "number")
    ]
    assert answers(published, *[[each] for each in ids]) == list("abcd")


def test_an_array_has_doubles_where_whole_numbers_lack() -> None:
    signature = echo_of("Int64").signature
    model = DecisionTreeClassifier().fit([[1.0, 2.0], [3.0, 4.0]], [0, 1])
    asked = parse_predict(b'{"instances": [[1, 2], [null, 4]]}', signature, ["prediction"])

    got = Predictor(model, signature).features(asked.batch)

    np.testing.assert_array_equal(got, np.array([[1.0, 2.0], [np.nan, 4.0]]), strict=True)


@pytest.mark.parametrize("name", ["score", "label", "prediction"])
def test_a_name_that_the_model_was_fitted_on_is_a_feature(pod: Pod, name: str) -> None:
    frame = pd.DataFrame({name: [300.0, 700.0, 500.0, 800.0] * 5, "income": [1.0, 2.0, 3.0, 4.0] * 5})
    model = served(pod, DecisionTreeClassifier().fit(frame, [0, 1, 0, 1] * 5), reference_csv=frame.to_csv(index=False))

    assert answers(model, {name: 300, "income": 1}, {name: 800, "income": 4}) == [0, 1]
    profile = json.loads(next(pod.store.glob("*/*/profile.json")).read_text())
    assert set(profile["features"]) == {name, "income"}
    assert "predictions" not in profile


@pytest.mark.parametrize(
    ("columns", "right"),
    [
        ({"score": ["high"] * 4}, None),
        ({"score": ["97%"] * 4}, None),
        ({"score": [[0.1, 0.9]] * 4}, None),
        ({"score": [np.inf, 0.5, 0.5, np.nan]}, 1),
        ({"score": pd.array([1, 0, None, 1], dtype="Int64")}, 3),
        ({"label": pd.Categorical(["no", "yes", "no", "maybe"]), "prediction": pd.Categorical(["no"] * 4)}, 2),
    ],
)
def test_scores_are_counted_if_they_are_numbers(columns: Any, right: int | None) -> None:
    rows = pd.DataFrame({"x": range(4), "prediction": [0, 1, 0, 1], "label": [0, 1, 1, 1], "score": 0.5})

    profile = profile_of(Reference(rows.assign(**columns), ("x",)))

    assert sum(profile["scores"]["right"]) == right if right is not None else "scores" not in profile
    assert json.dumps(profile, allow_nan=False)


N = 60
MIXED = pd.DataFrame(
    {
        "plan": ["basic", "premium", "none"] * 20,
        "city": ["Bonn", None, "Kiel"] * 20,
        "note": ["it broke", "works well", "slow"] * 20,
        "age": [20.0, None, 40.0] * 20,
        "calls": [1, 2, 3] * 20,
        "paperless": [True, False, True] * 20,
        "since": pd.to_datetime(["2026-11-27", "2026-11-28", "2026-11-29"] * 20),
    }
)
ROW = {"plan": "basic", "note": "", "calls": 1, "paperless": True, "since": "2026-11-28"}


@pytest.fixture(scope="module")
def mixed() -> Predictor:
    """Nothing but the model: no reference data."""
    columns = ColumnTransformer(
        [
            ("plan", OneHotEncoder(), ["plan", "since"]),
            ("city", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["city"]),
            ("note", CountVectorizer(), "note"),
            ("age", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ],
        remainder="passthrough",
    )
    model = make_pipeline(columns, LogisticRegression()).fit(MIXED, [0, 1, 0] * 20)
    return Predictor(model, infer(model, None, None))


def test_the_types_are_those_of_the_fitted_model(mixed: Predictor) -> None:
    assert [(one.name, one.type, one.dtype, one.missing) for one in mixed.signature.inputs] == [
        ("plan", "BYTES", None, False),
        ("city", "BYTES", None, True),
        ("note", "BYTES", None, False),
        ("age", "FP64", "number", True),
        ("calls", "FP64", "number", False),
        ("paperless", "FP64", "number", False),
        ("since", "BYTES", "datetime64[us]", False),
    ]
    assert tensor_metadata(mixed.signature.inputs[3]) == {
        "name": "age",
        "datatype": "FP64",
        "shape": [-1],
        "missing": True,
    }


def test_what_the_pipeline_fills_in_may_lack(mixed: Predictor) -> None:
    full = {**ROW, "city": "Bonn", "age": 30.0}
    frame = MIXED.head(1).assign(age=30.0, note="", since=pd.Timestamp("2026-11-28"))

    assert answers(mixed, full) == mixed.estimator.predict(frame).tolist()
    assert len(answers(mixed, ROW, {**ROW, "city": None, "age": None})) == 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"plan": "esim"}, "row 1: plan must be one of the values that the model was fitted on, 'basic', 'none',"),
        (
            {"city": "Rom"},
            "city must be one of the values that the model was fitted on, 'Bonn', 'Kiel'; it is 'Rom'",
        ),
        ({"since": "2026-12-01"}, "2026-11-29T00:00:00; it is 2026-12-01T00:00:00"),
        ({"plan": None}, "row 1: plan must have a value, for the model needs one; it is null"),
        ({"note": None}, "row 1: note must have a value"),
        ({"calls": None}, "row 1: calls must have a value"),
        ({"calls": "three"}, "instances[1].calls must be a number, true or false; it is the string 'three'"),
        ({"note": 3}, "instances[1].note must be a string; it is the number 3"),
    ],
)
def test_what_the_model_is_known_to_refuse_is_the_clients_mistake(
    mixed: Predictor, wrong: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(mixed, ROW, {**ROW, **wrong})


def test_a_boolean_tensor_is_taken_for_numbers_of_which_no_more_is_known(mixed: Predictor) -> None:
    flag = {"name": "paperless", "shape": [1], "datatype": "BOOL", "data": [True]}
    others = {**ROW, "city": "Bonn", "age": 1.0}
    tensors = [
        {"name": n, "shape": [1], "datatype": "BYTES" if isinstance(v, str) else "FP64", "data": [v]}
        for n, v in others.items()
        if n != "paperless"
    ]

    asked = parse_infer(to_json({"inputs": [flag, *tensors]}), mixed.signature, ["prediction"])

    assert mixed.predict(asked.batch).tolist() == answers(mixed, {**others, "paperless": 1})


@pytest.mark.parametrize(
    ("model", "wrong", "sentence"),
    [
        (make_pipeline(AdditiveChi2Sampler(), LogisticRegression()), [[1, 2], [3, -1]], "row 1: input-0[1] must be at"),
        (CategoricalNB(), [[1, 1], [7, 1]], "row 1: input-0[0] must be one of the values"),
        (LogisticRegression(), [[1, 2], [None, 3]], "row 1: input-0[0] must have a value"),
        (make_pipeline(OneHotEncoder(), LogisticRegression()), [[1, 2], [9, 3]], "row 1: input-0[0] must be one of"),
    ],
)
def test_an_array_is_looked_at_by_its_columns(model: Any, wrong: Any, sentence: str) -> None:
    fitted = model.fit([[1, 2], [0, 3], [2, 0]] * 4, [0, 1, 0] * 4)
    predictor = Predictor(fitted, infer(fitted, None, None))

    assert sentence in refused(predictor, *wrong)
    assert answers(predictor, [1, 2], [0, 3]) == fitted.predict([[1, 2], [0, 3]]).tolist()


@pytest.mark.parametrize("bayes", [MultinomialNB, ComplementNB])
def test_what_fit_alone_refuses_is_answered(bayes: Any) -> None:
    model = bayes().fit([[1, 2], [0, 3], [2, 0]] * 4, [0, 1, 0] * 4)

    assert answers(Predictor(model, infer(model, None, None)), [-1, 1]) == model.predict([[-1, 1]]).tolist()


@pytest.mark.parametrize(("method", "number"), [("box-cox", 0), ("box-cox", -1), ("yeo-johnson", -1)])
def test_a_number_that_has_no_logarithm_is_refused_by_box_cox_alone(method: str, number: int) -> None:
    model = make_pipeline(PowerTransformer(method), LogisticRegression())
    model.fit([[1.0, 2.0], [3.0, 1.0], [2.0, 4.0]] * 4, [0, 1, 0] * 4)
    predictor = Predictor(model, infer(model, None, None))

    if method == "box-cox":
        assert "row 1: input-0[0] must be above 0 for this model" in refused(predictor, [1, 2], [number, 2])
    else:
        assert answers(predictor, [number, 2]) == model.predict([[number, 2]]).tolist()


@pytest.mark.parametrize(
    "around", [OneVsOneClassifier, partial(OutputCodeClassifier, random_state=0), SelfTrainingClassifier]
)
@pytest.mark.parametrize("takes_gaps", [True, False])
def test_a_model_around_another_takes_the_gaps_that_the_other_takes(around: Any, *, takes_gaps: bool) -> None:
    inner = DecisionTreeClassifier() if takes_gaps else LogisticRegression()
    model = around(inner).fit([[1.0, 2.0], [0.0, 3.0], [2.0, 0.0]] * 4, [0, 1, -1] * 4)
    predictor = Predictor(model, infer(model, None, None))

    if takes_gaps:
        assert answers(predictor, [1, None]) == model.predict([[1, np.nan]]).tolist()
    else:
        assert "row 0: input-0[1] must have a value, for the model needs one" in refused(predictor, [1, None])


def test_a_class_that_all_rows_have_needs_no_values() -> None:
    model = OneVsRestClassifier(DecisionTreeClassifier())
    with pytest.warns(UserWarning, match="present in all training examples"):
        model.fit([[1.0, 2.0], [0.0, 3.0]] * 4, [[1, 0], [1, 1]] * 4)

    assert answers(Predictor(model, infer(model, None, None)), [1, None]) == model.predict([[1, np.nan]]).tolist()


def test_an_array_of_texts_is_one_of_texts() -> None:
    model = make_pipeline(OrdinalEncoder(), DecisionTreeClassifier()).fit(
        np.array([["a", "x"], ["b", "y"]], object), [0, 1]
    )
    predictor = Predictor(model, infer(model, None, None))

    assert [(one.type, one.shape) for one in predictor.signature.inputs] == [("BYTES", (-1, 2))]
    assert answers(predictor, ["b", "y"]) == [1]


def test_an_array_of_numbers_and_texts_has_an_input_for_each() -> None:
    columns = ColumnTransformer([("codes", OneHotEncoder(), [0])], remainder="passthrough")
    rows = np.array([["a", 1.0], ["b", 2.0]], object)
    model = make_pipeline(columns, DecisionTreeClassifier()).fit(rows, [0, 1])
    predictor = Predictor(model, infer(model, None, None))

    assert [(one.name, one.type) for one in predictor.signature.inputs] == [("input-0", "BYTES"), ("input-1", "FP64")]
    assert answers(predictor, ["b", 2.0]) == [1]


def test_categories_of_gradient_boosting_are_told_and_answered(pod: Pod) -> None:
    frame = pd.DataFrame({"plan": pd.Categorical(["a", "b", None, "c"] * 15), "age": np.arange(60.0)})
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5, min_samples_leaf=2)
    model.fit(frame, [0, 1, 0, 1] * 15)
    frame.to_parquet(pod.output / "reference.parquet")
    reference = read_reference(pod.output, LIMITS, model)
    with_data, without = (Predictor(model, infer(model, None, each)) for each in (reference, None))

    assert [(one.type, one.dtype, one.missing) for one in with_data.signature.inputs] == [
        ("BYTES", "category", True),
        ("FP64", None, False),
    ]
    rows = [["a", 4.0], [None, 2.0], ["c", 7.0], ["unknown", 7.0]]
    right = model.predict(pd.DataFrame(rows, columns=["plan", "age"]).astype({"plan": "category"})).tolist()
    assert answers(with_data, *rows) == answers(without, *rows) == right


class _Broken(DecisionTreeClassifier):  # type: ignore[misc]
    def predict(self, *_: Any) -> Any:
        raise ValueError("Found unknown categories ['basic'] in column 0 during transform")


def test_a_model_that_fails_on_what_it_was_fitted_on_has_failed_whatever_its_error_says() -> None:
    frame = pd.DataFrame({"plan": ["basic", "premium"] * 5})
    model = make_pipeline(ColumnTransformer([("codes", OneHotEncoder(), ["plan"])]), _Broken()).fit(frame, [0, 1] * 5)
    predictor = Predictor(model, infer(model, None, None))

    with pytest.raises(ModelError):
        answers(predictor, ["basic"])
    assert "must be one of" in refused(predictor, ["esim"])


def test_a_model_that_would_answer_clients_otherwise_than_python_is_refused(pod: Pod) -> None:
    flags = pd.DataFrame({"age": [1.0, 1.0, 1.0] * 5, "paperless": [False, True, None] * 5})
    model = a_tree_on(flags, OneHotEncoder(handle_unknown="ignore"))
    declared = [{"name": "age", "type": "FP64"}, {"name": "paperless", "type": "BYTES", "missing": True}]

    with pytest.raises(RefusedError) as raised:
        served(pod, model, reference_parquet=flags, signature_json=json.dumps({"inputs": declared}))

    assert raised.value.refusal.reason == "DifferentAnswers"
    assert raised.value.refusal.message.startswith(
        "The model would answer otherwise than in Python: row 0 of the reference data (the first is 0) is answered "
        "with prediction 1 in Python, but 0 where a client sends it, because of the column 'paperless': it is False of "
        "object in Python, and 'False' of object from a client."
    )


def test_names_of_its_own_in_signature_json_keep_no_model_from_being_compared(pod: Pod) -> None:
    rows = np.array([["00501", "a"], ["501", "b"]] * 10, dtype=object)
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(codes, DecisionTreeClassifier(random_state=0)).fit(rows, [0, 1] * 10)
    table = pd.DataFrame(rows, columns=["zip", "kind"])

    def signature(kind: str) -> str:
        return json.dumps({"inputs": [{"name": "ZIP", "type": "BYTES"}, {"name": "KIND", "type": kind}]})

    with pytest.raises(RefusedError, match=r"row of the reference data\[0\]\[1\] \(KIND\) must be a number"):
        served(pod, model, reference_parquet=table, signature_json=signature("INT64"))

    assert answers(served(pod, model, reference_parquet=table, signature_json=signature("BYTES")), ["501", "b"]) == [1]


def test_one_row_in_five_hundred_is_found(pod: Pod) -> None:
    flags = pd.DataFrame({"flag": [None] * 1500 + [True] * 3 + [None] * 1497}, dtype=object)
    codes = ColumnTransformer([("codes", OneHotEncoder(handle_unknown="ignore"), ["flag"])])
    model = make_pipeline(codes, LogisticRegression()).fit(flags.iloc[[1500, 0] * 10], [1, 0] * 10)
    declared = {"inputs": [{"name": "flag", "type": "BYTES", "dtype": "object", "missing": True}]}

    with pytest.raises(RefusedError, match=r"row 150\d of the reference data .* column 'flag'"):
        served(pod, model, reference_parquet=flags, signature_json=json.dumps(declared))


def test_a_model_that_answers_by_chance_is_no_other_for_that(pod: Pod) -> None:
    frame = pd.DataFrame({"x": np.arange(40.0)})
    model = DummyClassifier(strategy="uniform").fit(frame, [0, 1] * 20)

    assert types(served(pod, model, reference_csv=frame.to_csv(index=False))) == [("FP64", None, False)]


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"name": "x", "type": "FP64", "dtype": "datetime64[us]"}, "the dtype datetime64[us] and the type FP64"),
        ({"name": "x", "type": "BYTES", "dtype": "Int64"}, "a column of that dtype is of type FP64 or FP32 or INT64"),
        ({"name": "x", "type": "BYTES", "dtype": "complex128"}, "String should match pattern"),
    ],
)
def test_a_dtype_that_is_none_of_the_type_is_refused(pod: Pod, declared: Any, sentence: str) -> None:
    model = DummyClassifier().fit(pd.DataFrame({"x": [1, 2]}), [0, 1])

    with pytest.raises(RefusedError) as raised:
        served(pod, model, signature_json=json.dumps({"inputs": [declared]}))

    assert sentence in raised.value.refusal.message


@pytest.mark.parametrize(
    ("column", "file"),
    [(["NA", None, "x"], "reference.parquet"), ([1, "a", None], "reference.csv"), ([1j, 2j, 3j], "reference.csv")],
)
def test_save_keeps_the_types_or_at_least_the_rows(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, column: list[Any], file: str
) -> None:
    monkeypatch.setenv("UPRIGHT_OUTPUT", str(pod.output))
    frame = pd.DataFrame({"x": [1, 2, 3], "more": column})

    sdk.save(DummyClassifier().fit(frame[["x"]], [0, 1, 0]), reference=frame)

    assert sorted(path.name for path in pod.output.iterdir()) == ["model.skops", file]
    assert publish(pod.variables).signature


def test_an_imputer_of_na_tells_what_it_fills_in() -> None:
    table = pd.DataFrame({"a": pd.array([1, None, 3, 4], dtype="Int64"), "b": [1.0, 2, 3, 4]})
    model = make_pipeline(SimpleImputer(missing_values=pd.NA), DecisionTreeClassifier()).fit(table, [0, 1, 0, 1])

    assert [known.missing for known in learn(model)] == [True, True]


def test_a_gap_of_the_last_of_many_features_is_tried() -> None:
    table = pd.DataFrame(1.0, range(3000), [f"f{index}" for index in range(150)])
    table.iloc[1:, :149] = np.nan
    table.iloc[1235, 149] = np.nan  # no row at an even distance
    reference, lacked = Reference(table, tuple(table.columns)), list[bool]()

    def predict(rows: Any) -> Any:
        lacked.append(bool(np.isnan(rows[:, 149]).any()))
        return np.zeros(len(rows))

    model = SimpleNamespace(predict=predict)
    try_out(Predictor(model, infer(model, None, reference)), reference)

    assert any(lacked)


def test_what_an_imputer_takes_for_missing_is_no_stranger_to_what_comes_behind_it(pod: Pod) -> None:
    table = pd.DataFrame({"work": ["private", "state", "?", "private"]}, dtype=object)
    imputer = SimpleImputer(missing_values="?", strategy="most_frequent")
    model = make_pipeline(imputer, OneHotEncoder(), DecisionTreeClassifier()).fit(table, [0, 1, 0, 0])
    report = publish(pod.trained(model, reference_csv=table.to_csv(index=False)).variables)

    assert report.signature is not None


@pytest.mark.parametrize(
    ("function", "least", "refusal"),
    [
        (np.log, 0.5, "must be above 0 for this model"),
        (np.log1p, -0.5, "must be above -1 for this model"),
        (np.sqrt, 0.0, "must be at least 0 for this model"),
    ],
)
def test_a_number_without_a_logarithm_or_root_is_refused_before_the_model_is(
    function: Any, least: float, refusal: str
) -> None:
    frame = pd.DataFrame({"rate": np.linspace(max(least, 0.1), 9, 20), "other": np.arange(20.0)})
    filled = make_pipeline(SimpleImputer(), FunctionTransformer(function))
    by_column = ColumnTransformer([("r", filled, ["rate"])], remainder="passthrough")
    model = make_pipeline(by_column, StandardScaler(), LogisticRegression()).fit(frame, [0, 1] * 10)
    predictor = Predictor(model, infer(model, None, Reference(frame, tuple(frame.columns.astype(str)))))
    assert len(answers(predictor, [least, -3.0])) == 1
    assert refusal in refused(predictor, [1.0, -3.0], [least - 1, 1.0])


def test_it_is_not_refused_where_the_model_takes_what_comes_of_it() -> None:
    frame = pd.DataFrame({"rate": np.linspace(0.1, 9, 20)})
    for behind in ([SimpleImputer(), LogisticRegression()], [HistGradientBoostingClassifier(max_iter=2)]):
        model = make_pipeline(FunctionTransformer(np.sqrt), *behind).fit(frame, [0, 1] * 10)
        predictor = Predictor(model, infer(model, None, Reference(frame, tuple(frame.columns.astype(str)))))
        assert len(answers(predictor, [-2.0])) == 1


@pytest.mark.parametrize(
    "behind",
    [
        [RandomForestClassifier(3)],
        [BaggingClassifier(n_estimators=2)],
        [KNNImputer(), DecisionTreeClassifier()],
        [KNeighborsClassifier(metric="nan_euclidean")],
        [StandardScaler(), HistGradientBoostingClassifier(max_iter=2)],
        [SimpleImputer(), LogisticRegression()],
    ],
)
def test_a_number_of_which_infinity_comes_is_refused_where_only_what_comes_of_less_is_taken(behind: Any) -> None:
    frame = pd.DataFrame({"rate": np.linspace(0.1, 9, 20)})
    model = make_pipeline(FunctionTransformer(np.log), *behind).fit(frame, [0, 1] * 10)
    predictor = Predictor(model, infer(model, None, Reference(frame, ("rate",))))
    assert len(answers(predictor, [-2.0], [0.1])) == 2
    assert refused(predictor, [1.0], [0.0]) == "row 1: rate must be other than 0 for this model"


@pytest.mark.parametrize(
    "behind",
    [
        [VarianceThreshold(), HistGradientBoostingClassifier(max_iter=2)],
        [IsolationForest(n_estimators=2)],
        [BaggingClassifier(VotingClassifier([("v", HistGradientBoostingClassifier(max_iter=2))]), n_estimators=2)],
        [BaggingClassifier(HistGradientBoostingClassifier(max_iter=2), n_estimators=2)],
    ],
)
def test_infinity_is_not_refused_where_the_model_takes_it(behind: Any) -> None:
    frame = pd.DataFrame({"rate": np.linspace(0.1, 9, 20), "other": np.arange(20.0)})
    model = make_pipeline(FunctionTransformer(np.log1p), *behind).fit(frame, [0, 1] * 10)
    predictor = Predictor(model, infer(model, None, Reference(frame, tuple(frame.columns.astype(str)))))
    assert len(answers(predictor, [-1.0, -1.0])) == 1


def test_a_text_where_a_number_is_compared_is_refused_though_the_column_has_no_type() -> None:
    frame = pd.DataFrame({"new": [True, False] * 10, "rate": np.linspace(0.1, 9, 20)})
    encoder = OneHotEncoder(handle_unknown="ignore")
    by_column = make_column_transformer((encoder, ["new"]), (FunctionTransformer(np.log1p), ["new", "rate"]))
    model = make_pipeline(by_column, LogisticRegression()).fit(frame, [0, 1] * 10)
    predictor = Predictor(model, infer(model, None, None))
    assert len(answers(predictor, [True, 1.0])) == 1
    assert refused(predictor, ["yes", 1.0]) == "row 0: new must be a number for this model; it is the string 'yes'"


def test_each_column_of_an_array_gets_the_missing_value_that_it_was_fitted_on() -> None:
    rows = np.array([["a", "x"], [None, "y"], ["b", np.nan], ["a", "x"]], dtype=object)
    model = make_pipeline(OrdinalEncoder(encoded_missing_value=-1), LogisticRegression()).fit(rows, [0, 1, 0, 1])
    predictor = Predictor(model, infer(model, None, None))
    assert answers(predictor, ["a", None], [None, "x"]) == model.predict([["a", np.nan], [None, "x"]]).tolist()


def test_a_time_to_the_nanosecond_decides_nothing_about_others() -> None:
    frame = pd.DataFrame({"since": pd.to_datetime(["2026-01-01T00:00:00.5", "2027-01-01"], format="ISO8601")})
    model = DummyClassifier().fit(frame, [0, 1])
    predictor = Predictor(model, infer(model, None, Reference(frame, ("since",))))
    times = [["9999-12-31"], ["2026-01-01T00:00:00.123456789Z"], ["1969-12-31T23:59:59.9999999Z"]]
    batch = parse_predict(to_json({"instances": times}), predictor.signature, ["prediction"]).batch
    assert [str(one) for one in predictor.features(batch)["since"]] == [
        "9999-12-31 00:00:00",
        "2026-01-01 00:00:00.123456",
        "1969-12-31 23:59:59.999999",
    ]


def test_whole_numbers_of_more_than_64_bits_are_refused_where_they_would_stay_as_they_are() -> None:
    """Hashes of multiples of 2**61 - 1 are alike: so many would take the square of their number in a look-up."""
    predictor = Predictor(Echo(), Signature.model_validate({"inputs": [{"name": "id"}, {"name": "y", "type": "FP64"}]}))
    assert "instances[0][0] (id) must be a whole number of at most 64 bits" in refused(predictor, [2**64, 1.0])
    assert "must be a whole number of at most 64 bits" in refused(predictor, [-(2**63) - 1, 1.0])
    for taken in (2**64 - 1, -(2**63), 1e25):
        parse_predict(to_json({"instances": [[taken, 1.0]]}), predictor.signature, ["prediction"])
