"""Models of every estimator that people have: published, loaded, and asked for what they answer themselves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from tests.estimators import Form, estimators, in_the_docs, seen
from tests.unit.runtime.pod import Pod
from upright.api.artifact import Signature, Tensor
from upright.runtime import sdk
from upright.runtime.artifact import ServedModel, load_artifact
from upright.runtime.batch import BadInputError
from upright.runtime.formats import UnreadableModelError, UntrustedTypesError
from upright.runtime.outcome import RefusedError
from upright.runtime.predictor import Predictor
from upright.runtime.protocol import parse_infer, parse_predict
from upright.runtime.publish import publish
from upright.runtime.signature import infer
from upright.runtime.texts import features_of

TEXTS = ["refund please", "great service", "money back now", "lovely people"] * 5
MOODS = ["complaint", "praise"] * 10
SAID = pd.DataFrame({"text": TEXTS, "plan": ["x", "y", "z", "x"] * 5, "spent": np.linspace(0, 1, 20)})


def served(pod: Pod, model: Any, **files: str) -> ServedModel:
    report = publish(pod.trained(model, **files).variables)
    artifact = pod.store / report.uri.removeprefix("pvc://models/")
    asked = {"UPRIGHT_ARTIFACT": str(artifact), "UPRIGHT_DIGEST": report.digest}
    return load_artifact({**asked, "UPRIGHT_MODEL": "churn", "UPRIGHT_MODEL_VERSION": "churn-7"})


def v1(model: ServedModel, instances: Any) -> Any:
    body = json.dumps({"instances": instances}).encode()
    request = parse_predict(body, model.predictor.signature, model.outputs)
    return model.predictor.predict(request.batch, request.output)


def v2(model: ServedModel, **tensor: Any) -> Any:
    body = json.dumps({"inputs": [tensor]}).encode()
    return model.predictor.predict(parse_infer(body, model.predictor.signature, model.outputs).batch)


@pytest.mark.parametrize("form", ["plain", "pipeline"])
@pytest.mark.parametrize("name", estimators())
def test_an_estimator_answers_as_the_docs_say_and_as_it_does_itself(tmp_path: Path, name: str, form: Form) -> None:
    assert seen(name, form, tmp_path) == in_the_docs()[name][form == "pipeline"]


def test_the_docs_have_every_estimator_and_no_other() -> None:
    assert list(in_the_docs()) == list(estimators())


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(CountVectorizer(), LogisticRegression()),
        make_pipeline(HashingVectorizer(n_features=64), LogisticRegression()),
        make_pipeline(make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char")), LogisticRegression()),
        GridSearchCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2),
        CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), cv=2),
        VotingClassifier([("one", make_pipeline(TfidfVectorizer(), LogisticRegression()))]),
        make_pipeline(TfidfVectorizer(), KNeighborsClassifier(n_neighbors=1)),
        make_pipeline(TfidfVectorizer(), SelectKBest(chi2, k=2), RandomForestClassifier(3, random_state=0)),
    ],
    ids=lambda model: type(getattr(model, "steps", [("", model)])[-1][1]).__name__,
)
def test_a_model_of_texts_gets_a_flat_list_of_them(pod: Pod, model: Any) -> None:
    model.fit(TEXTS, MOODS)
    asked = ["money back", "great people"]
    right = model.predict(asked).tolist()

    found = served(pod, model)

    assert [(one.name, one.type, one.shape) for one in found.predictor.signature.inputs] == [("text", "BYTES", (-1,))]
    assert v1(found, asked).tolist() == right
    assert v1(found, [[text] for text in asked]).tolist() == right
    assert v1(found, [{"text": text} for text in asked]).tolist() == right
    assert v2(found, name="text", shape=[2], datatype="BYTES", data=asked).tolist() == right


def test_the_text_of_a_model_is_called_as_in_the_reference_data(pod: Pod) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, MOODS)

    found = served(pod, model, reference_csv="mail,label\nrefund please,complaint\n")

    assert [one.name for one in found.predictor.signature.inputs] == ["mail"]
    assert found.example == ("refund please",)
    for mistake in ([None], [3], [["a", "b"]], ["a", ["b"]]):
        with pytest.raises(BadInputError):
            v1(found, mistake)


def test_what_an_estimator_of_ones_own_keeps_says_nothing_of_what_it_takes() -> None:
    class Own(BaseEstimator):  # type: ignore[misc]
        """It tries several, fitted on arrays."""

        def __init__(self) -> None:
            self.feature_names_in_ = np.array(["a", "b"], dtype=object)
            self.best_estimator_ = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
            self.steps = [10, 20]

    assert features_of(Own()).names == ("a", "b")
    signature = Signature(inputs=(Tensor(name="a", type="FP64"), Tensor(name="b", type="FP64")))
    assert Predictor(Own(), signature).classes_of("decision_function") is None


def test_a_model_of_texts_may_take_none() -> None:
    """What a preprocessor of one's own makes of it is its own affair."""
    model = make_pipeline(CountVectorizer(preprocessor=lambda text: (text or "").lower()), LogisticRegression())
    model.fit([*TEXTS[:-1], None], MOODS)
    assert not Predictor(model, infer(model, None, None)).learnt[0].kind


def test_a_model_of_texts_has_one_column(pod: Pod) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, MOODS)

    with pytest.raises(RefusedError, match=r"has 2 features .*but the model takes 1"):
        served(pod, model, reference_csv="mail,subject\nrefund please,money\n")


def test_a_model_that_opens_the_files_which_clients_name_is_refused(pod: Pod) -> None:
    pod.output.joinpath("mail.txt").write_text("refund please")
    path = str(pod.output / "mail.txt")
    model = make_pipeline(CountVectorizer(input="filename"), LogisticRegression()).fit([path] * 4, [0, 1, 0, 1])

    with pytest.raises(RefusedError, match="opens what clients name"):
        served(pod, model)


def columns(*more: Any) -> Any:
    return make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["plan"]), *more)


@pytest.mark.parametrize(
    "transform",
    [
        columns((TfidfVectorizer(), "text"), (StandardScaler(), ["spent"])),
        columns((HashingVectorizer(n_features=32), "text")),
        make_column_transformer(
            (StandardScaler(), make_column_selector(dtype_include="number")),
            (OneHotEncoder(handle_unknown="ignore"), make_column_selector(pattern="plan|text")),
        ),
        columns((FunctionTransformer(np.nan_to_num), ["spent"])),
    ],
    ids=["tfidf", "hashing", "selector", "function"],
)
def test_a_sparse_table_of_mixed_columns_answers_as_in_python(pod: Pod, transform: Any) -> None:
    model = make_pipeline(transform, LogisticRegression()).fit(SAID, MOODS)

    found = served(pod, model, reference_csv=SAID.to_csv(index=False))

    assert np.array_equal(v1(found, SAID.to_numpy().tolist()), model.predict(SAID))


@pytest.mark.parametrize("first", ["passthrough", None])
@pytest.mark.parametrize("searched", [False, True])
def test_behind_a_first_step_that_does_nothing_a_model_is_asked_by_the_names_of_its_columns(
    pod: Pod, *, first: str | None, searched: bool
) -> None:
    """As a search over steps may choose; reference data have the columns in another order."""
    table, labels = SAID.assign(tenure=np.arange(20.0))[["tenure", "spent"]], [0, 1] * 10
    model: Any = Pipeline([("scale", first), ("last", LogisticRegression())])
    if searched:
        model = GridSearchCV(model, {"scale": [first]}, cv=2)
    model.fit(table, labels)
    (pod.output / "reference.csv").write_text(table[["spent", "tenure"]].to_csv(index=False))
    found = served(pod, model)
    assert [tensor.name for tensor in found.predictor.signature.inputs] == ["tenure", "spent"]
    rows = table.to_dict(orient="records")
    assert v1(found, rows).tolist() == model.predict(table).tolist()


def test_the_scores_of_pairs_of_classes_are_not_said_to_be_those_of_classes() -> None:
    rows, labels = np.random.default_rng(0).normal(size=(30, 2)), [0, 1, 2] * 10
    for shape, classes in (("ovo", None), ("ovr", [0, 1, 2])):
        scores = SVC(decision_function_shape=shape)
        for model in (make_pipeline(StandardScaler(), scores), StackingClassifier([("s", scores)], scores, cv=2)):
            predictor = Predictor(model.fit(rows, labels), infer(model, None, None))
            assert predictor.classes_of("decision_function") == classes
            assert predictor.classes_of("prediction") is None


class OwnScores(SVC):  # type: ignore[misc]
    """A classifier of somebody's own that is one of scikit-learn's."""


class OwnSteps(Pipeline):  # type: ignore[misc]
    """A pipeline of somebody's own, such as imbalanced-learn's."""


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize(
    ("make", "of_pairs"),
    [
        (OwnScores, True),
        (lambda **more: OwnSteps([("own", OwnScores(**more))]), True),
        (lambda **more: GridSearchCV(OwnSteps([("own", SVC(**more))]), {"own__C": [1.0]}, cv=2), True),
        (lambda **more: BaggingClassifier(SVC(**more), n_estimators=2, random_state=0), True),
        (lambda **more: AdaBoostClassifier(SVC(**more), n_estimators=2), False),
        (lambda **more: OneVsRestClassifier(SVC(**more)), False),
    ],
    ids=["own", "steps", "search", "bagging", "boosting", "rest"],
)
def test_whose_scores_an_estimator_hands_on_is_known_also_of_ones_own(
    make: Callable[..., Any], count: int, *, of_pairs: bool
) -> None:
    """By their number, and where there are as many pairs as classes, or none was seen, by what it is."""
    rows, labels = np.random.default_rng(0).normal(size=(60, 2)), list(range(count)) * (60 // count)
    model = make(decision_function_shape="ovo").fit(rows, labels)
    width = model.decision_function(rows).shape[1]
    assert width == (6 if of_pairs and count == 4 else count)
    inferred = infer(model, None, None)
    seen = inferred.model_copy(update={"outputs": (Tensor(name="decision_function", shape=(-1, width)),)})
    for signature in (inferred, seen):
        said = Predictor(model, signature).classes_of("decision_function")
        assert said == (None if of_pairs else list(range(count)))


def test_scores_of_another_number_than_the_classes_are_not_said_to_be_theirs() -> None:
    class Own(BaseEstimator):  # type: ignore[misc]
        """Whose scores are of its own."""

        def __init__(self) -> None:
            self.classes_ = np.array([0, 1, 2, 3])
            self.steps = [10, 20]

    def said(*shape: int) -> Any:
        outputs = (Tensor(name="decision_function", shape=shape),)
        signature = Signature(inputs=(Tensor(name="a", type="FP64"),), outputs=outputs)
        return Predictor(Own(), signature).classes_of("decision_function")

    assert (said(-1, 6), said(-1, 4), said(-1)) == (None, [0, 1, 2, 3], [0, 1, 2, 3])


def test_histograms_with_categories_answer_as_in_python(pod: Pod) -> None:
    model = HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2, categorical_features=["plan"])
    rows = SAID[["plan", "spent"]]
    model.fit(rows, MOODS)

    found = served(pod, model, reference_csv=rows.to_csv(index=False))

    assert np.array_equal(v1(found, rows.to_numpy().tolist()), model.predict(rows))


class Clipper(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of somebody's own."""

    def fit(self, _rows: Any, _classes: Any = None) -> "Clipper":
        return self

    def transform(self, rows: Any) -> Any:
        return np.clip(rows, 0, 1)


def test_before_the_training_it_is_said_what_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_pipeline(Clipper(), LogisticRegression())
    name = f"{Clipper.__module__}.Clipper"

    with pytest.raises(UntrustedTypesError, match=rf"{name} \(at \.steps\['clipper'\]\)"):
        sdk.check(model)
    monkeypatch.setenv("UPRIGHT_TRUSTED_TYPES", name)
    sdk.check(model)


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (StandardScaler, UnreadableModelError, "has no method predict"),
        (lambda: estimators()["Birch"](), TypeError, "skops cannot store a Birch"),
    ],
)
def test_before_the_training_it_is_said_what_cannot_be_served(
    make: Callable[[], Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        sdk.check(make())


def test_what_was_measured_is_told_although_the_model_is_refused(pod: Pod) -> None:
    skops.io.dump(FunctionTransformer(json.dumps), pod.output / "model.skops")
    (pod.output / "metrics.json").write_text('{"accuracy": 0.97}')

    status, message = pod.execute("publish")

    assert status == 3
    assert (message["reason"], message["metrics"]) == ("UntrustedTypes", {"accuracy": 0.97})
    assert "json.dumps (at .func)" in message["message"]
