import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import time
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from lightgbm import LGBMClassifier
from scipy.sparse import csr_array
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

from tests.unit.runtime.pod import Pod, a_matrix_model, a_pipeline, reference_csv, told
from upright.api.artifact import PublishReport, read_report, termination_message
from upright.runtime import store
from upright.runtime.batch import BadInputError, batch_of_rows
from upright.runtime.outcome import FailedError, RefusedError
from upright.runtime.predictor import Predictor
from upright.runtime.publish import publish
from upright.runtime.signature import infer


def published(pod: Pod) -> tuple[PublishReport, Path]:
    report = publish(pod.variables, lambda _: pytest.fail("it waits"))
    return report, pod.store / report.uri.removeprefix("pvc://models/")


def refusal(pod: Pod) -> tuple[str, str]:
    with pytest.raises(RefusedError) as raised:
        publish(pod.variables)
    assert not list(pod.store.glob("*/*")), "a refused model leaves nothing in the store"
    return raised.value.refusal.reason, raised.value.refusal.message


def test_a_published_artifact_is_all_that_its_digest_says(pod: Pod) -> None:
    model = a_pipeline()
    pod.trained(model, metrics_json='{"accuracy": 0.97}', reference_csv=reference_csv(model), card_md="# Churn")

    report, artifact = published(pod)

    assert report.uri == f"pvc://models/churn/{report.digest.replace(':', '-')}"
    content = (artifact / "manifest.json").read_bytes()
    assert report.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    manifest = json.loads(content)
    assert {entry["path"] for entry in manifest["files"]} == {"model.skops", "profile.json", "card.md"}
    for entry in manifest["files"]:
        assert entry["sha256"] == hashlib.sha256((artifact / entry["path"]).read_bytes()).hexdigest()
    assert report.size_bytes == sum(path.stat().st_size for path in artifact.iterdir())
    assert (manifest["metrics"], manifest["parameters"]) == ({"accuracy": 0.97}, {"depth": 4})
    assert manifest["framework"]["name"] == "scikit-learn"


def test_the_signature_is_inferred_from_the_reference_data(pod: Pod) -> None:
    model = a_pipeline()
    report, _ = published(pod.trained(model, reference_csv=reference_csv(model)))

    assert report.signature is not None
    assert [(t.name, t.type, t.missing) for t in report.signature.inputs] == [
        ("plan", "BYTES", False),
        ("tenure", "INT64", False),
        ("income", "FP64", True),
        ("paperless", "BOOL", False),
    ]
    assert [(t.name, t.type, t.shape) for t in report.signature.outputs] == [
        ("prediction", "INT64", (-1,)),
        ("predict_proba", "FP64", (-1, 2)),
    ]


def test_without_reference_data_the_signature_is_what_the_model_tells(pod: Pod) -> None:
    report, _ = published(pod.trained(a_matrix_model()))

    assert report.signature is not None
    assert [(t.type, t.shape) for t in report.signature.inputs] == [("FP64", (-1, 4))]
    assert [t.type for t in report.signature.outputs] == ["INT64", "FP64"]


def test_without_reference_data_a_pipeline_tells_the_types_of_its_columns(pod: Pod) -> None:
    report, _ = published(pod.trained(a_pipeline()))

    assert report.signature is not None
    assert [(t.name, t.type) for t in report.signature.inputs] == [
        ("plan", "BYTES"),
        ("tenure", "FP64"),
        ("income", "FP64"),
        ("paperless", "FP64"),
    ]


def test_the_same_content_twice_is_one_artifact(pod: Pod) -> None:
    pod.trained(a_matrix_model())

    first, artifact = published(pod)
    second, _ = published(pod)

    assert first == second
    assert list(artifact.parent.iterdir()) == [artifact]


def test_the_report_carries_the_digests_of_the_inputs(pod: Pod) -> None:
    pod.run["data"] = [{"name": "train", "uri": "configmap://churn-data"}]
    (pod.data / "train").mkdir()
    (pod.data / "train" / "train.csv").write_text("x\n1\n")
    assert pod.execute("data")[0] == 0

    status, message = pod.trained(a_matrix_model()).execute("publish")

    assert status == 0
    assert message["data"] == json.loads((pod.work / "data.json").read_text())["data"]
    assert PublishReport.model_validate(message).digest == message["digest"]


def test_a_message_that_would_be_too_long_loses_the_end_of_the_signature_and_says_so(pod: Pod) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    data = pd.DataFrame({f"a_rather_long_name_of_a_feature_{i}": [0.0, 1.0, 2.0] for i in range(500)})
    pod.trained(LinearRegression().fit(data, [0, 1, 2]), reference_csv=data.to_csv(index=False))

    status, message = pod.execute("publish")

    assert status == 0
    assert message["truncated"] == ["signature"]
    assert 0 < len(message["signature"]["inputs"]) < 500
    assert (pod.root / "termination-log").stat().st_size <= 4096
    manifest = pod.store / message["uri"].removeprefix("pvc://models/") / "manifest.json"
    assert len(json.loads(manifest.read_text())["signature"]["inputs"]) == 500


@pytest.mark.parametrize(
    ("files", "reason", "sentence"),
    [
        ({}, "NoModel", "must write exactly one model (model.skops, model.joblib, model.pkl"),
        ({"model.pt": b"x"}, "NoModel", "it wrote model.pt"),
        ({"model.skops": b"", "model.joblib": b""}, "SeveralModels", "exactly one model"),
        ({"model": b"x"}, "FormatNotAllowed", "does not take model folders"),
        ({"model.joblib": b"x"}, "FormatNotAllowed", "loading it can run any code"),
        ({"model.skops": b""}, "CorruptModel", "has 0 bytes"),
        ({"model.skops": b"not a zip"}, "CorruptModel", "is not a skops file"),
    ],
)
def test_what_is_not_a_model_is_refused(pod: Pod, files: dict[str, bytes], reason: str, sentence: str) -> None:
    for name, content in files.items():
        (pod.output / name).write_bytes(content)

    found, message = refusal(pod)

    assert found == reason
    assert sentence in message


@pytest.mark.parametrize("position", [0.05, 0.3, 0.5, 0.7, 0.99])
def test_a_damaged_model_is_refused(pod: Pod, position: float) -> None:
    pod.trained(a_pipeline())
    path = pod.output / "model.skops"
    content = bytearray(path.read_bytes())
    del content[int(len(content) * position) :]
    path.write_bytes(content)

    assert refusal(pod)[0] == "CorruptModel"


def test_a_model_that_unpacks_to_more_than_allowed_is_refused(pod: Pod) -> None:
    pod.environment["UPRIGHT_MAX_ARTIFACT_BYTES"] = "100000"
    with zipfile.ZipFile(pod.output / "model.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b"0" * 10_000_000)

    assert "unpacks to 10000000 bytes; at most 100000" in refusal(pod)[1]


def test_types_that_are_not_known_to_be_harmless_are_refused_by_name(pod: Pod) -> None:
    pod.trained(FunctionTransformer(os.getcwd))

    reason, message = refusal(pod)

    assert reason == "UntrustedTypes"
    assert "posix.getcwd" in message


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (XGBClassifier(n_estimators=2), ("xgboost.core.Booster", "xgboost.sklearn.XGBClassifier")),
        (
            LGBMClassifier(n_estimators=2, verbose=-1),
            ("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier", "collections.OrderedDict"),
        ),
    ],
)
def test_a_pipeline_that_ends_in_boosting_is_refused_with_what_to_read_and_published_once_it_is_trusted(
    pod: Pod, model: Any, names: tuple[str, ...]
) -> None:
    rows = np.arange(80.0).reshape(40, 2)
    pod.trained(make_pipeline(StandardScaler(), model).fit(rows, [0, 1] * 20), reference_csv="a,b\n1,2\n3,4\n")

    reason, message = refusal(pod)

    assert reason == "UntrustedTypes"
    assert all(f"{name} (at " in message for name in names)
    assert "in docs/formats.md, under pipelines" in message
    assert "as a module" not in message

    pod.environment["UPRIGHT_TRUSTED_TYPES"] = ",".join(names)
    signature = published(pod)[0].signature
    assert signature
    assert [one.name for one in signature.outputs] == ["prediction", "predict_proba"]


def test_a_model_that_does_not_predict_is_refused(pod: Pod) -> None:
    pod.trained(StandardScaler().fit([[1.0], [2.0]]))

    assert refusal(pod) == (
        "CorruptModel",
        "The model cannot be used: model.skops holds a StandardScaler, which has no method predict",
    )


def test_joblib_is_loaded_only_where_the_configuration_allows_it(pod: Pod) -> None:
    joblib.dump(a_matrix_model(), pod.output / "model.joblib")
    assert refusal(pod)[0] == "FormatNotAllowed"

    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "skops,joblib"
    assert published(pod)[0].format == "joblib"


class Failing:
    """Fails so where it is asked for this."""

    n_features_in_ = 1

    def __init__(self, method: str, error: BaseException) -> None:
        self._method, self._error = method, error

    def predict(self, rows: Any) -> Any:
        if self._method == "predict":
            raise self._error
        return rows[:, 0]

    def predict_proba(self, rows: Any) -> Any:
        if self._method == "predict_proba":
            raise self._error
        return rows


def one_that_fails(pod: Pod, method: str, error: BaseException, *, reference: bool) -> Pod:
    joblib.dump(Failing(method, error), pod.output / "model.joblib")
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    if reference:
        (pod.output / "reference.csv").write_text("x\n1\n2\n")
    return pod


@pytest.mark.parametrize("reference", [True, False])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_want_of_memory_is_no_verdict_on_a_model(pod: Pod, method: str, reference: bool) -> None:
    with pytest.raises(FailedError, match=r"for want of memory \(Unable to allocate 2 TiB\): give it more") as raised:
        publish(one_that_fails(pod, method, MemoryError("Unable to allocate 2 TiB"), reference=reference).variables)

    assert raised.value.refusal.reason == "OutOfMemory"


def test_want_of_memory_for_the_reference_data_is_none_either(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pd, "read_csv", fails)
    model = a_pipeline()

    with pytest.raises(FailedError, match="for want of memory"):
        publish(pod.trained(model, reference_csv=reference_csv(model)).variables)


class Interrupted(Failing):
    """While it is asked, somebody types Ctrl-C."""

    def predict(self, rows: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return super().predict(rows)


def test_ctrl_c_ends_a_publish_by_hand_and_says_nothing_of_the_model(pod: Pod) -> None:
    joblib.dump(Interrupted("predict_proba", ValueError()), pod.output / "model.joblib")
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            publish(pod.variables)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_model_that_would_interrupt_the_program_is_refused(pod: Pod) -> None:
    reason, message = refusal(one_that_fails(pod, "predict", KeyboardInterrupt("now"), reference=True))

    assert reason == "ModelFails", message
    assert "fails on its own reference data: KeyboardInterrupt: now" in message


def test_a_model_that_ends_the_program_is_refused(pod: Pod) -> None:
    reason, message = refusal(one_that_fails(pod, "predict", SystemExit(3), reference=True))

    assert reason == "ModelFails", message
    assert "fails on its own reference data: SystemExit: 3" in message


@pytest.mark.parametrize(("made_with", "remarks"), [("1.5.2", True), (f"{sklearn.__version__}.post1", False)])
def test_that_another_minor_version_has_made_a_model_is_told(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, made_with: str, *, remarks: bool
) -> None:
    """What it answers is only tried against itself."""
    monkeypatch.setattr("sklearn.base.__version__", made_with)
    pod.trained(LogisticRegression().fit(np.eye(2), [0, 1]), reference_csv="a,b\n1,0\n0,1\n")
    monkeypatch.undo()

    untried = publish(pod.variables).untried

    told = f"It was made with scikit-learn {made_with}, and is asked by {sklearn.__version__}, where some models answer"
    assert untried.startswith(told) if remarks else untried == ""


@pytest.mark.parametrize("reference", [{}, {"reference_csv": "a,b\n1,2\n3,4\n"}])
def test_a_model_of_another_scikit_learn_that_no_row_makes_answer_is_refused(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, reference: dict[str, str]
) -> None:
    scaler = StandardScaler()
    model = make_pipeline(scaler, LogisticRegression()).fit(np.eye(2), [0, 1])
    del vars(scaler)["copy"]  # as if that had come with a later version
    monkeypatch.setattr("sklearn.base.__version__", "1.2.0")

    reason, message = refusal(pod.trained(model, **reference))

    assert reason == "ModelFails", message
    assert "object has no attribute 'copy' (it was made with scikit-learn 1.2.0, and is asked by 1." in message


def test_answers_that_no_row_makes_right_are_refused(pod: Pod) -> None:
    days = np.array(["2026-01-01", "2026-01-02"], "datetime64[D]")
    reason, message = refusal(pod.trained(DummyClassifier().fit(np.eye(2), days)))

    assert reason == "ModelFails"
    assert message.startswith("The model fails whatever row it is asked: prediction: the model answered values of type")


def test_labels_that_were_sparse_are_answered_as_those_that_were_not(pod: Pod) -> None:
    rows, labels = np.eye(4), np.eye(4, 2, dtype=int)
    model = OneVsRestClassifier(LogisticRegression()).fit(rows, csr_array(labels))
    publish(pod.trained(model, reference_csv=pd.DataFrame(rows).to_csv(index=False)).variables)

    signature = infer(model, None, None)
    answered = Predictor(model, signature).predict(batch_of_rows(rows.tolist(), signature))
    assert answered.tolist() == OneVsRestClassifier(LogisticRegression()).fit(rows, labels).predict(rows).tolist()


class _Trap:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("trap"),))


def test_a_pickle_is_never_opened_unless_allowed(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pod.root)
    (pod.output / "model.joblib").write_bytes(pickle.dumps(_Trap()))

    assert refusal(pod)[0] == "FormatNotAllowed"
    assert not (pod.root / "trap").exists()


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ("[1]", "must be an object of numbers"),
        ("{", "is not JSON"),
        ('{"accuracy": "high"}', "'accuracy' in metrics.json must be a number; it is 'high'"),
        ('{"accuracy": true}', "must be a number; it is 'True'"),
        ('{"": 1}', "must have 1 to 63 characters"),
        (r'{"\ud800": null}', "half of one: '\\ud800'"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_metrics_are_numbers_only(pod: Pod, metrics: str, sentence: str) -> None:
    reason, message = refusal(pod.trained(a_matrix_model(), metrics_json=metrics))

    assert reason == "BadMetrics"
    assert sentence in message


@pytest.mark.parametrize(
    ("files", "reason", "sentence"),
    [
        ({"reference_csv": "a,b\n1,2\n"}, "NoSignature", "has 2 features (a, b), but the model takes 4"),
        ({"reference_csv": ""}, "BadReference", "cannot be read"),
        ({"reference_csv": "a,b,c,d\n"}, "BadReference", "holds no row"),
        ({"reference_csv": "a,b,c,d\nx,1,2,3\n"}, "ModelFails", "fails on its own reference data"),
        ({"signature_json": "{}"}, "BadSignature", "inputs: Field required"),
        (
            {"signature_json": '{"inputs": [{"name": "x", "type": "FP64"}, {"name": "x", "type": "FP64"}]}'},
            "NoSignature",
            "names two inputs x; each needs a name of its own",
        ),
        (
            {"signature_json": '{"inputs": [{"name": "x", "shape": [-1, 3]}]}'},
            "NoSignature",
            "gives 3 features, but the model takes 4",
        ),
    ],
)
def test_what_contradicts_the_model_is_refused(pod: Pod, files: dict[str, str], reason: str, sentence: str) -> None:
    found, message = refusal(pod.trained(a_matrix_model(), **files))

    assert found == reason
    assert sentence in message


@pytest.mark.parametrize(
    ("outputs", "given", "refused"),
    [
        ([{"name": "predict_proba"}], [("predict_proba", "FP64", (-1, 2))], ""),
        ([{"name": "churns"}], [("churns", "INT64", (-1,))], ""),
        ([{"name": "decision_function"}], [("decision_function", "FP64", (-1,))], ""),
        (
            [{"name": "probabilities", "shape": [-1, 2]}],
            [],
            "prediction of shape [-1], predict_proba of shape [-1, 2], decision_function of shape [-1]",
        ),
    ],
)
def test_declared_outputs_are_given_or_refused(pod: Pod, outputs: list[Any], given: list[Any], refused: str) -> None:
    declared = {"inputs": [{"name": "x", "type": "FP64", "shape": [-1, 4]}], "outputs": outputs}
    pod.trained(a_matrix_model(), signature_json=json.dumps(declared))

    if refused:
        reason, message = refusal(pod)
        assert reason == "NoSignature"
        assert refused in message
    else:
        signature = published(pod)[0].signature
        assert signature
        assert [(one.name, one.type, one.shape) for one in signature.outputs] == given


def test_a_model_without_probabilities_gives_its_decision_function(pod: Pod) -> None:
    signature = published(pod.trained(LinearSVC().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])))[0].signature

    assert signature
    assert [one.name for one in signature.outputs] == ["prediction", "decision_function"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ValueError("no such day"), "it fails on a row that was made up: ValueError: no such day"),
        (BadInputError("row 0: no such day"), "it refuses a row that was made up: row 0: no such day"),
    ],
)
def test_a_model_that_could_not_be_tried_is_published_with_that_remark(
    pod: Pod, capsys: pytest.CaptureFixture[str], error: Exception, why: str
) -> None:
    report, _ = published(one_that_fails(pod, "predict", error, reference=False))

    assert f"The model was not tried out, and may fail on each request: {why}. Write rows" in report.untried
    assert report.untried in capsys.readouterr().out
    assert read_report(termination_message(report)).untried == report.untried


def test_a_model_of_one_column_of_texts_is_published(pod: Pod) -> None:
    texts = ["it broke twice", "it works well", "it broke", "works"]
    signature = {"signature_json": '{"inputs": [{"name": "text", "type": "BYTES"}]}'}
    column = ColumnTransformer([("text", TfidfVectorizer(), "text")])
    named = make_pipeline(column, LogisticRegression()).fit(pd.DataFrame({"text": texts}), [1, 0, 1, 0])
    report, _ = published(pod.trained(named, **signature))
    assert report.signature
    assert [tensor.name for tensor in report.signature.outputs] == ["prediction", "predict_proba"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "null", "1e999", "9" * 400])
def test_a_metric_that_is_no_number_loses_no_model(pod: Pod, value: str) -> None:
    pod.trained(a_matrix_model(), metrics_json=f'{{"accuracy": 0.97, "auc": {value}}}')

    status, message = pod.execute("publish")

    assert status == 0
    assert (message["metrics"], message["unknownMetrics"]) == ({"accuracy": 0.97}, ["auc"])


def test_a_link_out_of_the_output_folder_is_refused(pod: Pod) -> None:
    (pod.output / "card.md").symlink_to("/etc/passwd")

    assert refusal(pod.trained(a_matrix_model()))[0] == "OutputEscapes"


@pytest.mark.parametrize(
    "name", ["model.skops", "metrics.json", "signature.json", "reference.csv", "reference.parquet", "card.md"]
)
def test_a_pipe_in_the_output_is_refused_instead_of_waited_for(pod: Pod, name: str) -> None:
    pod.trained(a_matrix_model())
    (pod.output / name).unlink(missing_ok=True)
    os.mkfifo(pod.output / name)

    status, message = pod.execute("publish")

    assert status == 3
    assert f"{name} is not a file" in message["message"]


def test_a_link_that_leads_to_itself_is_refused(pod: Pod) -> None:
    (pod.output / "card.md").symlink_to("card.md")

    assert refusal(pod.trained(a_matrix_model()))[0] == "OutputEscapes"


@pytest.mark.parametrize("name", ["manifest.json", "model.skops"])
def test_a_pipe_in_the_store_is_damage(pod: Pod, name: str) -> None:
    _, artifact = published(pod.trained(a_matrix_model()))
    (artifact / name).unlink()
    os.mkfifo(artifact / name)

    status, message = pod.execute("publish")

    assert (status, message["reason"]) == (3, "CorruptArtifact")
    assert f"{name} is not a file" in message["message"]


def test_the_report_fits_into_the_share_of_a_pod_with_many_containers(pod: Pod) -> None:
    pod.environment["UPRIGHT_TERMINATION_LIMIT"] = "500"

    status, message = pod.trained(a_pipeline()).execute("publish")

    assert status == 0
    assert (pod.root / "termination-log").stat().st_size <= 500
    assert "signature" in message["truncated"]


def test_a_pod_with_too_many_containers_is_told_so(pod: Pod) -> None:
    pod.environment["UPRIGHT_TERMINATION_LIMIT"] = "200"

    status, message = pod.trained(a_pipeline()).execute("publish")

    assert (status, message["reason"]) == (3, "ReportTooLong")
    assert message["message"].startswith("The artifact is in the store")


def failing(monkeypatch: pytest.MonkeyPatch, function: str, error: OSError) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, function, fails)


@pytest.mark.parametrize(
    ("error", "reason", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "StoreFull", "pvc://models has no room for the artifact of"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "StoreFull", "pvc://models has no room for the artifact of"),
        (OSError(errno.EROFS, "Read-only file system"), "StoreNotWritable", "pvc://models cannot be written to (Read"),
        (OSError(errno.ESTALE, "Stale file handle"), "StoreFailed", "pvc://models failed: [Errno 116] Stale"),
        (OSError(errno.EIO, "Input/output error"), "StoreFailed", "pvc://models failed: [Errno 5] Input/output"),
    ],
)
def test_a_store_that_fails_is_said_and_left_clean_and_tried_again_until_it_works(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str, sentence: str
) -> None:
    """Its model is all that a training of hours has left, and is gone with the pod."""
    pod.trained(a_matrix_model())
    monkeypatch.setenv("UPRIGHT_TERMINATION_LOG", pod.variables["UPRIGHT_TERMINATION_LOG"])
    pauses: list[float] = []

    def wait(seconds: float) -> None:
        left = told((pod.root / "termination-log").read_text())  # whatever ends the container now: that stays
        assert left["reason"] == reason
        assert sentence in left["message"]
        assert not list(pod.store.glob("*/*"))
        pauses.append(seconds)
        if len(pauses) == 10:
            monkeypatch.undo()

    failing(monkeypatch, "fsync", error)
    report = publish(pod.variables, wait)

    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert (pod.store / report.uri.removeprefix("pvc://models/") / "manifest.json").exists()


def test_one_failing_write_costs_no_training(pod: Pod) -> None:
    """As the container does it: it says what it waits for, and ends well."""
    pod.trained(a_matrix_model()).store.rmdir()
    with pod.running("publish") as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(2)]
        pod.store.mkdir()
        assert process.wait(60) == 0
    assert said[0].startswith("StoreNotWritable: The store pvc://models cannot be written to")
    assert said[1] == "trying again in 2 s, and so on until the run's deadline\n"
    assert told((pod.root / "termination-log").read_text())["uri"].startswith("pvc://models/churn/sha256-")


def test_a_store_that_refuses_for_good_is_not_asked_again(pod: Pod) -> None:
    _, artifact = published(pod.trained(a_matrix_model()))
    (artifact / "model.skops").chmod(0o644)
    (artifact / "model.skops").write_bytes(b"changed by hand")
    with pytest.raises(RefusedError, match="already, but damaged"):
        publish(pod.variables, lambda _: pytest.fail("it waits"))


def test_what_a_killed_publish_left_is_removed_after_a_day(pod: Pod) -> None:
    """Whatever it is: a plain file, or a link, kept every publish of the model from storing."""
    model, two_days_ago = pod.store / "churn", time.time() - 2 * 24 * 3600
    old, young, file, link = (model / f".tmp-{name}" for name in ("old", "young", "file", "link"))
    for leftover in (old, young):
        leftover.mkdir(parents=True)
        (leftover / "model.skops").write_text("half")
    file.write_text("half")
    link.symlink_to(young, target_is_directory=True)
    for leftover in (old, file, link):
        os.utime(leftover, (two_days_ago, two_days_ago), follow_symlinks=False)

    published(pod.trained(a_matrix_model()))

    assert [one.name for one in model.glob(".tmp-*")] == [young.name]
    assert (young / "model.skops").exists()


def test_what_cannot_be_tidied_up_keeps_no_model_from_being_stored(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system keeps a name of its own for what somebody has open."""
    held = pod.store / "churn" / ".tmp-held"
    held.mkdir(parents=True)
    os.utime(held, (0, 0))

    def rmtree(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))

    monkeypatch.setattr("upright.runtime.store.shutil.rmtree", rmtree)
    _, artifact = published(pod.trained(a_matrix_model()))
    assert artifact.exists()


def test_an_artifact_damaged_in_the_store_is_not_reported_as_published(pod: Pod) -> None:
    _, artifact = published(pod.trained(a_matrix_model()))
    model = artifact / "model.skops"
    model.chmod(0o644)
    model.write_bytes(b"changed by hand")

    with pytest.raises(RefusedError, match=r"already, but damaged: model\.skops is not the file that was published"):
        publish(pod.variables)


def test_what_is_left_of_an_artifact_that_was_removed_half_way_is_replaced(pod: Pod) -> None:
    report, artifact = published(pod.trained(a_matrix_model()))
    (artifact / "manifest.json").unlink()
    assert published(pod) == (report, artifact)
    assert (artifact / "manifest.json").exists()
    shutil.rmtree(artifact)
    artifact.write_text("a file")
    assert published(pod) == (report, artifact)
    assert (artifact / "manifest.json").exists()
    assert not [*artifact.parent.glob(".tmp-*")]


def test_nothing_appears_under_the_final_name_when_publish_dies_half_way(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_rename", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(pod.trained(a_matrix_model()).variables)

    assert not list(pod.store.glob("churn/sha256-*"))


def test_the_profile_counts_every_row_of_every_feature(pod: Pod) -> None:
    model = a_pipeline()
    _, artifact = published(pod.trained(model, reference_csv=reference_csv(model)))

    profile = json.loads((artifact / "profile.json").read_text())

    assert profile["rows"] == 120
    assert set(profile["features"]) == {"plan", "tenure", "income", "paperless"}
    for feature in profile["features"].values():
        counts = feature.get("counts") or [*feature["categories"].values(), feature["other"]]
        assert sum(counts) + feature["missing"] == 120
    assert profile["features"]["plan"]["categories"] == {"basic": 40, "premium": 40, "prepaid": 40}
    assert profile["features"]["income"]["missing"] == 18
    assert len(profile["features"]["income"]["edges"]) == 21
    assert sum(profile["scores"]["counts"]) == 120
    assert all(
        right <= all_ for right, all_ in zip(profile["scores"]["right"], profile["scores"]["counts"], strict=True)
    )


def test_the_largest_numbers_are_counted_in_a_profile_that_is_json(pod: Pod) -> None:
    table = "a,b,c,d,prediction,label,score\n1,2,3,4,1,1,1.7e308\n1,2,3,4,0,0,-1.7e308\n"
    published(pod.trained(a_matrix_model(), reference_csv=table))

    profile = json.loads(next(pod.store.glob("*/*/profile.json")).read_text())
    assert sum(profile["scores"]["counts"]) == 2


def test_a_wide_profile_stays_under_a_megabyte(pod: Pod) -> None:
    from upright.api.artifact import canonical_json
    from upright.runtime.profile import profile_of
    from upright.runtime.reference import Reference

    wide = pd.DataFrame(
        {f"feature_{i}": [f"{'long category ' * 5}{i}-{row}" for row in range(100)] for i in range(500)}
    )

    assert len(canonical_json(profile_of(Reference(wide, tuple(wide.columns))))) <= 1_000_000


@pytest.mark.parametrize("keys", [{False: 3.0, True: 12.0}, {1: 3.0, "1": 12.0}])
def test_a_dict_whose_keys_skops_confuses_is_refused(pod: Pod, keys: dict[Any, float]) -> None:
    model = LogisticRegression().fit([[0.0], [9.0]], [0, 1])
    model.table_ = keys
    skops.io.dump(model, pod.output / "model.skops")

    reason, message = refusal(pod)

    assert reason == "CorruptModel"
    assert "holds a dict whose keys skops does not keep (true and false, or a number and its text), at" in message
    assert ".table_: let its keys be texts, or numbers" in message


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(class_weight={False: 1.0, True: 2.0}),
        GridSearchCV(
            make_pipeline(LogisticRegression()),
            {"logisticregression__class_weight": [{False: 1, True: 5}, None]},
            cv=[([0, 1, 2, 3], [4, 5]), ([2, 3, 4, 5], [0, 1])],
        ),
    ],
    ids=["alone", "search"],
)
def test_weights_of_classes_may_be_confused_for_fitting_alone_reads_them(pod: Pod, model: Any) -> None:
    rows = [[float(number)] for number in range(6)]
    skops.io.dump(model.fit(rows, [False, True] * 3), pod.output / "model.skops")
    assert publish(pod.variables).signature
