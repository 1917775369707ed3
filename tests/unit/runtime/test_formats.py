"""Models of other libraries: published, loaded, and asked what the model itself was asked."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catboost
import cloudpickle
import joblib
import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC

from tests.unit.runtime.foreign import (
    Foreign,
    bought,
    numbers,
    of_catboost,
    of_lightgbm,
    of_onnx,
    of_xgboost,
    sales,
)
from tests.unit.runtime.pod import PROGRAM, Pod, a_matrix_model, a_pod
from upright.api.artifact import PublishReport, Signature
from upright.runtime.artifact import ServedModel, load_artifact
from upright.runtime.batch import BadInputError, batch_of_rows
from upright.runtime.formats import FORMATS
from upright.runtime.formats.model import threads
from upright.runtime.outcome import RefusedError
from upright.runtime.publish import publish

LIBRARIES = {"xgboost": of_xgboost, "lightgbm": of_lightgbm, "catboost": of_catboost, "onnx": of_onnx}


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """Of a cluster where every format that runs no code is allowed."""
    pod = a_pod(tmp_path)
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = ",".join(each.name for each in FORMATS.values() if not each.runs_code)
    return pod


def published(pod: Pod) -> tuple[PublishReport, ServedModel]:
    """What `publish` reports, and what a pod serves of it."""
    report = publish(pod.variables, lambda _: pytest.fail("it waits"))
    served = load_artifact(
        {
            "UPRIGHT_ARTIFACT": str(pod.store / report.uri.removeprefix("pvc://models/")),
            "UPRIGHT_DIGEST": report.digest,
            "UPRIGHT_MODEL": "churn",
            "UPRIGHT_MODEL_VERSION": "churn-7",
            **pod.environment,
        }
    )
    return report, served


def asked(served: ServedModel, rows: list[list[Any]], output: str = "prediction") -> Any:
    return served.predictor.predict(batch_of_rows(rows, served.predictor.signature), output)


def inputs_of(signature: Signature | None) -> list[tuple[Any, ...]]:
    assert signature is not None
    return [(tensor.name, tensor.type, tensor.shape, tensor.missing) for tensor in signature.inputs]


@pytest.fixture(scope="module")
def models() -> dict[str, Foreign]:
    return {name: model for made in LIBRARIES.values() for name, model in made().items()}


NAMES = [
    *(f"xgboost, {kind}" for kind in ("two classes", "three classes, as JSON", "columns with categories", "amounts")),
    *(f"xgboost, {kind}" for kind in ("counts", "ranks", "stopped early", "a booster of classes", "linear")),
    *(f"lightgbm, {kind}" for kind in ("two classes", "three classes", "columns with categories", "amounts")),
    *(f"lightgbm, {kind}" for kind in ("an objective of its own", "ranks")),
    *(f"catboost, {kind}" for kind in ("two classes", "three labels", "columns with categories", "amounts")),
    *(f"catboost, {kind}" for kind in ("columns with texts", "counts", "ranks")),
    *(f"onnx, {kind}" for kind in ("two classes", "three labels, as maps", "amounts", "columns")),
]


def test_every_model_is_tried(models: dict[str, Foreign]) -> None:
    assert sorted(models) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_served_answers_as_the_model_itself_does(pod: Pod, models: dict[str, Foreign], name: str) -> None:
    model, library = models[name], name.partition(",")[0]
    model.save(pod.output / model.file)

    report, served = published(pod)

    assert report.format == library
    assert report.framework is not None
    assert report.framework.name == {"onnx": "onnxruntime"}.get(library, library)
    answered = asked(served, list(map(list, model.rows)))
    if answered.dtype.kind == "f":
        np.testing.assert_allclose(answered, model.predictions, rtol=1e-5)
    else:
        np.testing.assert_array_equal(answered, model.predictions)
    outputs = ["prediction"] if model.probabilities is None else ["prediction", "predict_proba"]
    assert served.outputs == outputs, "what the metadata says that it gives"
    if model.probabilities is not None:
        probabilities = asked(served, list(map(list, model.rows)), "predict_proba")
        np.testing.assert_allclose(probabilities, model.probabilities, rtol=1e-4, atol=1e-6)
    assert served.predictor.classes == model.classes


@pytest.mark.parametrize(
    ("name", "plan", "paperless"),
    [
        ("xgboost", ("BYTES", True), "BOOL"),
        ("lightgbm", ("BYTES", True), "FP64"),
        ("catboost", ("BYTES", False), "FP64"),
    ],
)
def test_the_signature_is_what_the_file_tells(
    pod: Pod, models: dict[str, Foreign], name: str, plan: tuple[str, bool], paperless: str
) -> None:
    model = models[f"{name}, columns with categories"]
    model.save(pod.output / model.file)

    report, served = published(pod)

    assert inputs_of(report.signature) == [
        ("age", "FP64", (-1,), True),
        ("income", "FP64", (-1,), True),
        ("plan", plan[0], (-1,), plan[1]),
        ("paperless", paperless, (-1,), True),
    ]
    assert served.example is not None


def test_without_names_any_number_may_be_missing(pod: Pod, models: dict[str, Foreign]) -> None:
    models["lightgbm, two classes"].save(pod.output / "model.txt")
    report, _ = published(pod)
    assert inputs_of(report.signature) == [("input-0", "FP64", (-1, 4), True)]


def test_a_graph_tells_the_types_of_its_columns(pod: Pod, models: dict[str, Foreign]) -> None:
    models["onnx, columns"].save(pod.output / "model.onnx")
    report, _ = published(pod)
    assert inputs_of(report.signature) == [
        ("age", "INT64", (-1,), False),
        ("income", "FP32", (-1,), False),
        ("plan", "BYTES", (-1,), False),
    ]


def test_reference_data_show_which_numbers_are_true_and_false(pod: Pod, models: dict[str, Foreign]) -> None:
    models["lightgbm, columns with categories"].save(pod.output / "model.txt")
    (pod.output / "reference.csv").write_text(sales().to_csv(index=False))

    report, served = published(pod)

    assert [tensor[1] for tensor in inputs_of(report.signature)] == ["FP64", "FP64", "BYTES", "BOOL"]
    assert len(asked(served, [[30, None, "gold", True], [30, 1.5, None, None]])) == 2


ZIPS = pd.DataFrame({"zip": ["00501", "NA", "10115", "02134"] * 20, "x": np.arange(80, dtype=np.float32) % 3})


def a_model_of_zips(library: str, output: Path) -> None:
    """It answers by the first of the zips."""
    first, rows = (ZIPS["zip"] == "00501").astype(int), ZIPS.astype({"zip": "category"})
    few: dict[str, Any] = {"n_estimators": 20, "n_jobs": 1}
    if library == "xgboost":
        xgboost.XGBClassifier(enable_categorical=True, **few).fit(rows, first).save_model(output / "model.ubj")
    elif library == "lightgbm":
        small = lightgbm.LGBMClassifier(verbose=-1, min_child_samples=1, min_data_per_group=1, cat_smooth=0, **few)
        small.fit(rows, first).booster_.save_model(output / "model.txt")
    elif library == "catboost":
        trees = catboost.CatBoostClassifier(iterations=20, verbose=0, allow_writing_files=False, thread_count=1)
        trees.fit(ZIPS, first, cat_features=["zip"]).save_model(str(output / "model.cbm"))
    else:
        encoded = make_column_transformer((OneHotEncoder(), ["zip"]), remainder="passthrough")
        types = [("zip", StringTensorType([None, 1])), ("x", FloatTensorType([None, 1]))]
        pipeline = make_pipeline(encoded, LogisticRegression()).fit(ZIPS, first)
        graph = to_onnx(pipeline, initial_types=types, options={"zipmap": False})
        (output / "model.onnx").write_bytes(graph.SerializeToString())


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("rows", [ZIPS, ZIPS[ZIPS["zip"] != "NA"]])
def test_texts_that_look_like_something_else_stay_the_texts_that_the_file_knows(
    pod: Pod, library: str, rows: pd.DataFrame
) -> None:
    a_model_of_zips(library, pod.output)
    (pod.output / "reference.csv").write_text(rows.to_csv(index=False))

    report, served = published(pod)

    assert inputs_of(report.signature)[0][:2] == ("zip", "BYTES")
    assert asked(served, [["00501", 0.0], ["NA", 0.0], ["02134", 0.0]]).tolist() == [1, 0, 0]
    profile = json.loads(next(pod.store.glob("*/*/profile.json")).read_text())
    assert profile["features"]["zip"]["categories"] == rows["zip"].value_counts().to_dict()


def test_reference_data_name_the_features_of_a_file_without_names(pod: Pod, models: dict[str, Foreign]) -> None:
    models["xgboost, amounts"].save(pod.output / "model.ubj")
    (pod.output / "reference.csv").write_text(pd.DataFrame(numbers(), columns=list("abcd")).to_csv(index=False))

    report, served = published(pod)

    assert [tensor[0] for tensor in inputs_of(report.signature)] == list("abcd")
    assert asked(served, [[0.5, None, 0.0, 1.0]]).shape == (1,)


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        (
            "xgboost, columns with categories",
            [30, 1.0, "silver", True],
            "plan must be a category .*gold.* it is 'silver'",
        ),
        (
            "catboost, columns with categories",
            [30, 1.0, None, 1.0],
            "plan must be a string or a whole number; it is null",
        ),
        ("onnx, columns", [30.5, 1.0, "gold"], "age must be a whole number between .*; it is 30.5"),
        ("onnx, columns", [None, 1.0, "gold"], "age must be a whole number between .*; it is null"),
        ("onnx, columns", [30, 1.0, None], "a value of plan in every row"),
    ],
)
def test_what_the_model_cannot_take_is_the_clients_mistake(
    pod: Pod, models: dict[str, Foreign], name: str, row: list[Any], said: str
) -> None:
    models[name].save(pod.output / models[name].file)
    _, served = published(pod)
    with pytest.raises(BadInputError, match=said):
        asked(served, [row])


def test_the_manifest_names_the_package_that_reads_the_model(pod: Pod, models: dict[str, Foreign]) -> None:
    models["xgboost, amounts"].save(pod.output / "model.ubj")
    report, _ = published(pod)
    manifest = json.loads((pod.store / report.uri.removeprefix("pvc://models/") / "manifest.json").read_text())
    assert f"xgboost-cpu=={xgboost.__version__}" in manifest["environment"]
    assert manifest["framework"]["version"] == xgboost.__version__
    assert not [package for package in manifest["environment"] if package.startswith("catboost")]


def refusal(pod: Pod) -> tuple[str, str]:
    with pytest.raises(RefusedError) as raised:
        publish(pod.variables)
    return raised.value.refusal.reason, raised.value.refusal.message


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("model.ubj", "not a model of XGBoost"),
        ("model.json", "not a model of XGBoost"),
        ("model.txt", "not a model of LightGBM"),
        ("model.cbm", "not a model of CatBoost"),
        ("model.onnx", "not a model that ONNX Runtime reads"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(pod: Pod, file: str, says: str) -> None:
    (pod.output / file).write_bytes(b"{}: something else\n" * 10)
    reason, message = refusal(pod)
    assert reason == "CorruptModel"
    assert says in message


def test_a_cut_file_is_not_taken_for_a_model_of_fewer_trees(pod: Pod, models: dict[str, Foreign]) -> None:
    path = pod.output / "model.txt"
    models["lightgbm, amounts"].save(path)
    path.write_bytes(path.read_bytes().partition(b"Tree=3")[0])
    assert "model.txt is cut" in refusal(pod)[1]


def test_line_ends_of_windows_are_told_before_they_end_the_process(pod: Pod, models: dict[str, Foreign]) -> None:
    path = pod.output / "model.txt"
    models["lightgbm, amounts"].save(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    status, message = pod.execute("publish")

    assert (status, message["reason"]) == (3, "CorruptModel")
    assert "model.txt has line ends of Windows (CRLF)" in message["message"]


def test_a_library_that_crashes_on_a_damaged_file_is_a_refusal(pod: Pod, models: dict[str, Foreign]) -> None:
    path = pod.output / "model.txt"
    models["lightgbm, amounts"].save(path)
    path.write_bytes(path.read_bytes().replace(b"\nleft_child=", b"\nleft_child=999999999 ", 1))
    (pod.output / "metrics.json").write_text('{"auc": 0.93}')

    status, message = pod.execute("publish")

    assert (status, message["reason"]) == (3, "CorruptModel")
    assert "the library that reads it crashed (SIG" in message["message"]
    assert message["metrics"] == {"auc": 0.93}, "what was measured is known all the same"


@pytest.mark.parametrize(
    ("metrics", "data", "status", "reason"),
    [
        ("[]", [], 3, "BadMetrics"),
        ("{}", [{"name": "rows", "uri": "pvc://lake/rows"}], 1, "LineageMissing"),
        ("{}", [], 0, None),
    ],
)
def test_a_library_that_crashes_at_its_end_changes_nothing_about_what_was_said(
    pod: Pod, metrics: str, data: list[dict[str, str]], status: int, reason: str | None
) -> None:
    pod.trained(a_matrix_model(), metrics_json=metrics)
    pod.run["data"] = data
    crash = (
        "import atexit, os, signal; "
        "os.register_at_fork(after_in_child=lambda: atexit.register(signal.raise_signal, signal.SIGSEGV)); "
    )

    ended, told = pod.execute("publish", crash + PROGRAM)

    assert (ended, told.get("reason")) == (status, reason)


def test_what_never_ends_is_ended_by_the_kernel_and_told(pod: Pod) -> None:
    texts = TfidfVectorizer(token_pattern="(a+)+$")  # in native code, which lets no other thread in
    model = make_pipeline(texts, DummyClassifier()).fit(["aa", "b"], [0, 1])
    joblib.dump(model, pod.output / "model.joblib")
    (pod.output / "reference.csv").write_text(f"text\n{'a' * 40}!\n")
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    program = (
        "from upright.runtime import crash; crash.TRIAL_SECONDS = 5; from upright.runtime.main import main; main()"
    )

    status, message = pod.execute("publish", program)

    assert (status, message["reason"]) == (3, "TooSlow")


@pytest.mark.parametrize("best", ["3.0", "abc", "-5", "2"])
def test_a_best_iteration_that_is_none_is_refused(pod: Pod, best: str) -> None:
    model = xgboost.XGBRegressor(n_estimators=2).fit(np.arange(20.0).reshape(-1, 1), np.arange(20)).get_booster()
    model.set_attr(best_iteration=best)
    model.save_model(pod.output / "model.ubj")

    assert refusal(pod)[0] == "CorruptModel"


@pytest.mark.parametrize("told", ["5", "[5]", "[null]"])
def test_categories_that_are_none_are_refused(pod: Pod, models: dict[str, Foreign], told: str) -> None:
    path = pod.output / "model.txt"
    models["lightgbm, columns with categories"].save(path)
    path.write_text(re.sub(r"pandas_categorical:.*", f"pandas_categorical:{told}", path.read_text()))

    assert refusal(pod)[0] == "CorruptModel"


def test_categories_that_the_file_lost_are_asked_for(pod: Pod) -> None:
    model = xgboost.XGBRegressor(n_estimators=2, enable_categorical=True, feature_types=["c", "q"])
    model.fit(np.array([[0, 1.0], [1, 2.0], [2, 3.0]] * 9), np.arange(27)).save_model(pod.output / "model.ubj")
    assert "does not hold the categories" in refusal(pod)[1]


@pytest.mark.parametrize("cities", [("Bern", "Köln", "Łódź", "Paris"), ("Köln", "Paris")])
def test_categories_that_xgboost_cuts_in_the_wrong_places_are_refused(pod: Pod, cities: tuple[str, ...]) -> None:
    rows = pd.DataFrame({"city": pd.Categorical([*cities] * 20)})
    model = xgboost.XGBRegressor(n_estimators=1, enable_categorical=True).fit(rows, np.arange(len(rows)))
    model.save_model(pod.output / "model.ubj")

    assert "XGBoost loses those with letters beyond ASCII" in refusal(pod)[1]


def test_categories_that_cannot_be_told_apart_are_refused(pod: Pod) -> None:
    rows = sales().assign(only=pd.Categorical(["same"] * 300))
    model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1).fit(rows, bought(rows))
    model.booster_.save_model(pod.output / "model.txt")
    assert "the categories of 2 columns, and which of the 1 features that have some (plan)" in refusal(pod)[1]


def test_embeddings_are_refused(pod: Pod) -> None:
    rows = pd.DataFrame({"where": [list(row[2:]) for row in numbers()], "x": numbers()[:, 0]})
    model = catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False, thread_count=1)
    model.fit(rows, numbers()[:, 0], embedding_features=["where"]).save_model(str(pod.output / "model.cbm"))
    assert "takes embeddings" in refusal(pod)[1]


def a_graph(shape: list[int | str | None], *, outputs: int = 1, weights: str | None = None) -> onnx.ModelProto:
    """It adds a weight to what it takes."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], float_data=[] if weights else [1.0])
    if weights:
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=weights)
    names = [f"y{number}" for number in range(outputs)]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], [name]) for name in names],
        "adds",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (lambda: a_graph([1, 4]), r"takes x, tensor\(float\) of shape \[1, 4\].*a first axis that has no size"),
        (lambda: a_graph(["N", 3, 8, 8]), r"of shape \[N, 3, 8, 8\]; it must take any number of rows"),
        (lambda: a_graph(["N", None]), "with the number of features"),
        (lambda: a_graph(["N", 4], outputs=3), "gives y0, .* and y2, .*; it must give one tensor"),
        (lambda: a_graph(["N", 4], weights="weights.bin"), "keeps its weights in another file"),
        (lambda: a_graph(["N", 4], weights="../weights.bin"), "keeps its weights in another file"),
    ],
)
def test_a_graph_that_cannot_be_served_says_why(pod: Pod, graph: Callable[[], onnx.ModelProto], says: str) -> None:
    (pod.output / "model.onnx").write_bytes(graph().SerializeToString())
    for folder in (pod.output, pod.root):
        (folder / "weights.bin").write_bytes(np.ones(1, np.float32).tobytes())
    with pytest.raises(RefusedError, match=says):
        publish(pod.variables)


@pytest.mark.parametrize(
    ("kind", "most", "beyond", "between"),
    [
        (TensorProto.INT64, 2**63 - 1, 2**63, "-9223372036854775808 and 9223372036854775807"),
        (TensorProto.UINT64, 2**64 - 1, 2**64, "0 and 18446744073709551615"),
        (TensorProto.FLOAT16, 65504, 1e6, "-65504 and 65504"),
    ],
)
def test_a_graph_gets_the_number_that_was_sent_or_none(
    pod: Pod, kind: int, most: int, beyond: float, between: str
) -> None:
    takes, gives = (helper.make_tensor_value_info(name, kind, ["N"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [takes], [gives])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (pod.output / "model.onnx").write_bytes(model.SerializeToString())
    _, served = published(pod)

    assert asked(served, [[most], [1]]).tolist() == [most, 1]
    with pytest.raises(BadInputError, match=f"x must be a (whole )?number between {between} in every row"):
        asked(served, [[beyond], [1]])


def test_a_graph_that_answers_rows_but_not_one_alone_is_refused(pod: Pod) -> None:
    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph([helper.make_node("Squeeze", ["x"], ["y"])], "squeezes", [takes], [gives])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (pod.output / "model.onnx").write_bytes(model.SerializeToString())
    (pod.output / "reference.csv").write_text("x\n1\n2\n")

    assert refusal(pod)[1].endswith(
        "asked for row 0 (the first is 0) alone: prediction: the model answered shape () to 1 rows"
    )


@pytest.mark.parametrize("write", [pickle.dumps, cloudpickle.dumps])
def test_pickles_are_taken_where_joblib_is(pod: Pod, write: Callable[[Any], bytes]) -> None:
    (pod.output / "model.pkl").write_bytes(write(a_matrix_model()))
    assert refusal(pod)[0] == "FormatNotAllowed"

    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    report, served = published(pod)

    assert report.format == "joblib"
    assert asked(served, [[1, 0, 0, 1.0]]).tolist() == [1]


def test_what_trusts_its_file_too_much_must_be_allowed(pod: Pod, models: dict[str, Foreign]) -> None:
    one = models["lightgbm, two classes"]
    one.save(pod.output / one.file)
    del pod.environment["UPRIGHT_ALLOWED_FORMATS"]

    assert refusal(pod)[0] == "FormatNotAllowed"


def test_an_image_without_the_library_says_which_has_it(
    pod: Pod, models: dict[str, Foreign], monkeypatch: pytest.MonkeyPatch
) -> None:
    models["catboost, amounts"].save(pod.output / "model.cbm")
    monkeypatch.setitem(vars(FORMATS["catboost"]), "packages", ("not-there",))
    reason, message = refusal(pod)
    assert reason == "OtherImage"
    assert "spec.output.format: catboost" in message


@pytest.mark.parametrize(("wanted", "used"), [(None, 1), ("4", 4), ("0", 1), ("many", 1)])
def test_a_call_has_one_thread_unless_somebody_wants_more(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, used: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wanted is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    assert threads() == used


def test_the_folder_of_formats_is_all_there_is(tmp_path: Path) -> None:
    files = [file for each in FORMATS.values() for file in each.files]
    assert len(files) == len(set(files)), "a file's name tells its format"


@pytest.mark.parametrize("model", [KMeans(3, n_init=1, random_state=0), SVC(), IsolationForest(n_estimators=3)])
def test_what_stands_beside_a_label_and_is_no_probability_is_not_called_one(pod: Pod, model: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model.fit(rows, np.arange(40) % 2)
    (pod.output / "model.onnx").write_bytes(
        to_onnx(model, rows, target_opset={"": 17, "ai.onnx.ml": 3}).SerializeToString()
    )

    _, served = published(pod)

    assert served.outputs == ["prediction"]
    assert asked(served, rows[:5].tolist()).tolist() == model.predict(rows[:5]).tolist()


@pytest.mark.parametrize(
    ("types", "gaps", "words"),
    [
        (True, False, ("True", "False")),
        (False, False, ("True", "False")),
        (False, True, ("True", "False")),
        (False, False, ("true", "false")),
        (False, False, ("TRUE", "FALSE")),
    ],
)
def test_whether_true_is_a_boolean_or_a_text_is_told_by_parquet_and_by_no_csv(
    pod: Pod, *, types: bool, gaps: bool, words: tuple[str, str]
) -> None:
    """CatBoost's file knows each category's hash alone, and that of true is another one than that of its text."""
    rows = pd.DataFrame({"new": [True, False] * 20, "x": np.arange(40.0)})
    labels = rows["new"].astype(int)
    if gaps:  # CatBoost takes none in a category
        rows["new"] = rows["new"].astype(object).where(rows["x"] < 38, "missing")
    trees = catboost.CatBoostClassifier(iterations=20, verbose=0, allow_writing_files=False, thread_count=1)
    trees.fit(rows, labels, cat_features=["new"]).save_model(str(pod.output / "model.cbm"))
    if types:
        rows.to_parquet(pod.output / "reference.parquet")
        _, served = published(pod)
        assert asked(served, [[True, 0.0], [False, 1.0]]).tolist() == [1, 0]
        return
    spelt = rows["new"].map(lambda value: {True: words[0], False: words[1]}.get(value, value))
    rows.assign(new=spelt).to_csv(pod.output / "reference.csv", index=False)

    with pytest.raises(RefusedError, match=r"has True and False in column 'new'.*Write reference.parquet") as refused:
        published(pod)
    assert refused.value.refusal.reason == "BadReference"


def test_a_sum_of_models_of_catboost_is_served(pod: Pod) -> None:
    rows = [[float(n % 7), float(n % 5)] for n in range(40)]
    parts = [
        catboost.CatBoostRegressor(iterations=3, depth=2, random_seed=seed, verbose=0, allow_writing_files=False).fit(
            rows, [sum(row) for row in rows]
        )
        for seed in (1, 2)
    ]
    whole = catboost.sum_models(parts, weights=[0.5, 0.5])
    whole.save_model(str(pod.output / "model.cbm"))

    _, served = published(pod)

    np.testing.assert_allclose(asked(served, rows), whole.predict(rows), rtol=1e-6)
