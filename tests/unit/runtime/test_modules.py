"""Modules of the user's own that go with a model: a transformer that only the program knew is served."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import joblib
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.unit.runtime.own import ALLOWED, FEATURES, ROWS, forget, module_in, served, trained
from tests.unit.runtime.pod import Pod, a_matrix_model
from tests.unit.runtime.schema import LIMITS, a_model_that_holds, a_node, loaded
from tests.unit.runtime.server import serving
from upright.runtime import modules
from upright.runtime.artifact import load_artifact
from upright.runtime.formats import UntrustedTypesError
from upright.runtime.outcome import RefusedError
from upright.runtime.publish import publish


@pytest.fixture(autouse=True)
def nothing_imported_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    forget("helpers", "giving")


@pytest.fixture
def allowed(pod: Pod) -> Pod:
    """A pod whose platform allows modules."""
    pod.environment |= ALLOWED
    return pod


def published(pod: Pod) -> dict[str, str]:
    report = publish(pod.variables)
    forget("helpers")
    return served(pod, report.uri, report.digest)


def refusal(pod: Pod) -> tuple[str, str]:
    with pytest.raises(RefusedError) as raised:
        publish(pod.variables)
    assert not list(pod.store.glob("*/*")), "a refused model leaves nothing in the store"
    assert raised.value.refusal.metrics == {"accuracy": 0.97}, "what was measured is kept"
    return raised.value.refusal.reason, raised.value.refusal.message


def test_a_server_with_workers_and_batches_answers_as_the_model_does_in_its_program(allowed: Pod) -> None:
    answers = trained(allowed)
    how = {**ALLOWED, "UPRIGHT_WORKERS": "2", "UPRIGHT_BATCH_ROWS": "64"}

    with serving(allowed, {**published(allowed), **how}) as server:
        answer = server.predict({"instances": ROWS.to_numpy().tolist()})

    assert (answer.status_code, answer.json()) == (200, {"predictions": answers})
    assert len({*answers}) == 2


def test_what_a_module_has_set_for_its_own_thread_is_missed_when_it_is_published_and_not_in_pods(allowed: Pod) -> None:
    mine = "import threading\nmine = threading.local()\nmine.factor = 2\n" + FEATURES.replace("* 2", "* mine.factor")
    trained(allowed, features=mine)

    reason, message = refusal(allowed)

    assert reason == "ModelFails"
    assert "object has no attribute 'factor'" in message


def test_that_a_transformer_gets_an_array_for_want_of_the_names_of_its_features_is_said(allowed: Pod) -> None:
    trained(allowed, features=FEATURES.replace("self.feature_names_in_", "names"))

    assert "It gets arrays: a DataFrame gets what keeps feature_names_in_ when it is fitted" in refusal(allowed)[1]


def test_a_transformer_that_keeps_the_names_of_its_features_needs_no_reference_data(allowed: Pod) -> None:
    answers = trained(allowed)
    (allowed.output / "reference.parquet").unlink()

    with serving(allowed, {**published(allowed), **ALLOWED}) as server:
        answer = server.predict({"instances": [dict(row) for _, row in ROWS.iterrows()]})

    assert (answer.status_code, answer.json()) == (200, {"predictions": answers})


def test_a_model_with_modules_is_asked_for_one_request_after_the_other(allowed: Pod) -> None:
    trained(allowed)

    assert load_artifact({**allowed.variables, **published(allowed)}).alone


def test_the_artifact_holds_the_module_with_its_digest(allowed: Pod) -> None:
    trained(allowed)

    artifact = Path(published(allowed)["UPRIGHT_ARTIFACT"])

    files = {one["path"]: one["sha256"] for one in json.loads((artifact / "manifest.json").read_text())["files"]}
    assert files.keys() == {"features.py", "model.skops", "profile.json"}
    assert (artifact / "features.py").read_text() == FEATURES
    assert files["features.py"] == hashlib.sha256(FEATURES.encode()).hexdigest()


def test_a_module_may_import_another_that_goes_along(allowed: Pod) -> None:
    trained(allowed, {"features.py": f"import helpers\n{FEATURES}", "helpers.py": "SIZE = 1"})

    load_artifact({**published(allowed), **ALLOWED})


def test_what_is_imported_is_on_the_path_after_all_that_is_installed(allowed: Pod) -> None:
    before = list(sys.path)
    trained(allowed)

    publish(allowed.variables)

    assert sys.path[:-1] == before
    assert Path(sys.path[-1], "features.py").read_text() == FEATURES


def test_pickles_are_made_of_modules_too_where_both_are_allowed(allowed: Pod) -> None:
    allowed.environment["UPRIGHT_ALLOWED_FORMATS"] = "joblib"
    trained(allowed)
    stored = allowed.output / "model.skops"
    with patch.object(sys, "path", [str(allowed.code), *sys.path]):
        model = skops.io.load(stored, trusted=skops.io.get_untrusted_types(file=stored))
        joblib.dump(model, allowed.output / "model.joblib")
    stored.unlink()
    forget()

    load_artifact({**published(allowed), **ALLOWED, "UPRIGHT_ALLOWED_FORMATS": "joblib"})


def test_where_the_platform_does_not_allow_modules_none_is_imported_and_the_run_is_refused(pod: Pod) -> None:
    trained(pod)

    reason, message = refusal(pod)

    assert reason == "ModulesNotAllowed"
    assert "it needs modules that go with it (features.py), and these are not allowed here" in message
    assert "allowModules of the chart" in message
    assert "features" not in sys.modules


def test_a_platform_that_no_longer_allows_modules_serves_none(allowed: Pod) -> None:
    trained(allowed)
    environment = published(allowed)

    with pytest.raises(
        RefusedError, match=r"The model of churn-7 is refused: it needs modules .*\(features\.py\)"
    ) as e:
        load_artifact(environment)

    assert e.value.refusal.reason == "ModulesNotAllowed"
    assert "features" not in sys.modules


def test_a_module_that_was_changed_in_the_store_is_not_imported(allowed: Pod, tmp_path: Path) -> None:
    trained(allowed)
    environment = published(allowed)
    module_in(environment).write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n{FEATURES}")

    with pytest.raises(RefusedError, match=r"features\.py is not the file that was published") as raised:
        load_artifact({**environment, **ALLOWED})

    assert raised.value.refusal.reason == "Corrupt"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["sklearn.py", "json.py", "upright.py", "sys.py", "uvicorn.py"])
def test_a_name_that_is_something_else_here_is_refused(allowed: Pod, name: str) -> None:
    trained(allowed, {"features.py": FEATURES, name: "SIZE = 1"})

    reason, message = refusal(allowed)

    assert reason == "BadModule"
    assert f"{name} cannot go with the model: Python has another module {name.removesuffix('.py')} here" in message


@pytest.mark.parametrize(
    "name",
    [
        "my-features.py",
        "class.py",
        "__main__.py",
        "naïve.py",
        "1.py",
        ".py",
        "features.txt",
        "features",
        "features.pyc",
    ],
)
def test_a_file_that_python_cannot_import_by_its_name_is_refused(allowed: Pod, name: str) -> None:
    trained(allowed, {name: "SIZE = 1"})

    reason, message = refusal(allowed)

    assert reason == "BadModule"
    assert f"{name!r} is no module that can go with a model: expected a single file" in message


def test_a_package_is_no_single_file(allowed: Pod) -> None:
    trained(allowed, {"shop/features.py": FEATURES})

    assert "'shop' is no module that can go with a model" in refusal(allowed)[1]


def test_what_python_leaves_behind_among_modules_is_left_behind(allowed: Pod) -> None:
    trained(allowed, {"features.py": FEATURES, "__pycache__/features.cpython-313.pyc": ""})

    published(allowed)


def test_modules_that_are_no_folder_are_refused(allowed: Pod) -> None:
    trained(allowed, {})
    (allowed.output / "modules").write_text(FEATURES)

    with pytest.raises(RefusedError, match=r"modules must be a folder of modules such as features\.py"):
        publish(allowed.variables)


def test_a_module_may_not_be_a_link_out_of_the_output(allowed: Pod) -> None:
    trained(allowed)
    (allowed.output / "modules" / "passwd.py").symlink_to("/etc/passwd")

    with pytest.raises(RefusedError, match="which is outside the output folder"):
        publish(allowed.variables)


def test_there_are_at_most_16_modules(allowed: Pod) -> None:
    trained(allowed, {f"m{number}.py": "" for number in range(17)})

    assert refusal(allowed) == (
        "BadModule",
        "The model is refused: 17 modules are to go with the model; at most 16 may",
    )


def test_modules_have_at_most_a_mebibyte_together(allowed: Pod) -> None:
    half = "#" * (512 * 1024)
    trained(allowed, {"features.py": FEATURES, "helpers.py": half, "more.py": half})

    assert "more than 1048576 bytes together" in refusal(allowed)[1]


def test_an_import_that_is_missing_is_named_with_the_module_that_wants_it(allowed: Pod) -> None:
    trained(allowed, {"features.py": f"import helpers\n{FEATURES}"})

    reason, message = refusal(allowed)

    assert reason == "BadModule"
    assert (
        "features.py cannot be imported here: there is no module helpers. One of your own must go with the" in message
    )
    assert "those that do: features.py" in message


@pytest.mark.parametrize("ending", ["raise RuntimeError('no data here')", "import sys; sys.exit('no data here')"])
def test_a_module_that_fails_when_it_is_imported_is_refused_with_what_it_says(allowed: Pod, ending: str) -> None:
    trained(allowed, {"features.py": f"{FEATURES}\n{ending}"})

    reason, message = refusal(allowed)

    assert reason == "BadModule"
    assert "features.py cannot be imported here:" in message
    assert "no data here" in message


def test_modules_make_nothing_else_trusted(allowed: Pod) -> None:
    trained(allowed)
    skops.io.dump(make_pipeline(FunctionTransformer(os.getcwd), LogisticRegression()), allowed.output / "model.skops")

    reason, message = refusal(allowed)

    assert reason == "UntrustedTypes"
    assert "posix.getcwd" in message


@pytest.mark.parametrize("name", ["features.system", "features.rmtree", "features.nothing"])
def test_what_a_module_has_imported_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    own = modules.with_modules(replace(LIMITS, modules=True), {"features.py": FEATURES.encode()})
    monkeypatch.setattr("tests.unit.runtime.schema.LIMITS", own)

    with pytest.raises(UntrustedTypesError, match=rf"{name} \(at \.held\)"):
        loaded(tmp_path, a_model_that_holds(a_node(name, "FunctionNode")))

    assert loaded(tmp_path, a_model_that_holds(a_node("features.doubled", "FunctionNode"))).held(2) == 4


PROGRAM = """
import os
import features
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from upright.runtime import sdk

class Mine(features.Clipper): pass

for allowed, kind, modules in [
    ("true", features.Clipper, ["features.py"]), ("", features.Clipper, ["features.py"]),
    ("true", features.Clipper, []), ("true", Mine, ["features.py"]),
]:
    os.environ["UPRIGHT_ALLOW_MODULES"] = allowed
    try:
        print("taken", sdk.check(make_pipeline(kind(), LogisticRegression()), modules=modules))
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_before_the_training_it_is_said_what_would_become_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text(FEATURES)
    (tmp_path / "train.py").write_text(PROGRAM)

    command = [sys.executable, "train.py"]
    said = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=True).stdout.splitlines()

    assert said[0] == "taken None"
    assert said[1].startswith("ModulesNotAllowedError it needs modules that go with it (features.py)")
    assert said[2].startswith("UntrustedTypesError model.skops holds objects of types that are not trusted: features.")
    assert said[2].endswith(
        "What is your own may go with the model as a module, where the platform allows that (allowModules)"
    )
    assert "a module, once it is in one and no longer in the program itself (__main__), where" in said[3]


def test_two_modules_of_one_name_are_not_saved(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    from upright.runtime import sdk

    monkeypatch.setenv("UPRIGHT_OUTPUT", str(pod.output))

    with pytest.raises(ValueError, match=r"two have the same name.*a/features\.py, b/features\.py"):
        sdk.save(a_matrix_model(), modules=["a/features.py", "b/features.py"])


def test_a_model_without_modules_is_the_artifact_that_it_was(allowed: Pod) -> None:
    """Whether modules are allowed says nothing of it."""
    allowed.trained(a_matrix_model())

    first = publish(allowed.variables)
    del allowed.environment["UPRIGHT_ALLOW_MODULES"]

    assert publish(allowed.variables) == first


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
        ("open('/nonexistent/table.csv')", "FileNotFoundError"),
        ("tables", "NameError"),
    ],
)
def test_what_a_step_wants_and_does_not_have_is_a_refusal_without_reference_data_too(
    allowed: Pod, line: str, said: str
) -> None:
    trained(allowed)
    features = allowed.output / "modules" / "features.py"
    features.write_text(FEATURES.replace("        return rows.assign", f"        {line}\n        return rows.assign"))
    (allowed.output / "reference.parquet").unlink()

    reason, message = refusal(allowed)

    assert reason == "ModelFails"
    assert f"fails whatever row it is asked: {said}" in message
    assert "It gets arrays" not in message


GIVING = """
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator


class Giving(BaseEstimator):
    def fit(self, rows, wanted=None):
        self.n_features_in_ = 2
        return self

    def predict(self, rows):
        answer = np.empty(len(rows), dtype=object)
        for index in range(len(rows)):
            answer[index] = VALUE
        return answer
"""


@pytest.mark.parametrize("value", ["pd.NA", "pd.Interval(0, 1)", "np.array([1, 2])"])
@pytest.mark.parametrize("reference", [True, False], ids=["with reference data", "without"])
def test_an_answer_that_cannot_be_sent_is_refused_with_the_reason(allowed: Pod, value: str, *, reference: bool) -> None:
    source = allowed.output / "modules" / "giving.py"
    source.parent.mkdir()
    source.write_text(GIVING.replace("VALUE", value))
    with patch.object(sys, "path", [str(source.parent), *sys.path]):
        model = import_module("giving").Giving().fit([[1.0, 2.0]])
        skops.io.dump(model, allowed.output / "model.skops")
    forget("giving")
    (allowed.output / "metrics.json").write_text('{"accuracy": 0.97}')
    if reference:
        (allowed.output / "reference.csv").write_text("a,b\n1,2\n3,4\n")

    reason, message = refusal(allowed)

    assert reason == "ModelFails"
    assert "it answered what cannot be passed on" in message
