"""What a program saves with `sdk` is what it has, whatever library its numbers are of."""

import json

import numpy as np
import pytest
import sklearn
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.unit.runtime.pod import Pod
from upright.runtime import sdk


def test_numbers_of_numpy_are_saved_as_numbers(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPRIGHT_OUTPUT", str(pod.output))
    model = DummyClassifier().fit([[0.0], [1.0]], [0, 1])

    sdk.save(model, metrics={"auc": np.float32(0.5), "rows": np.int64(7), "best": np.array(2.0), "unknown": None})

    assert json.loads((pod.output / "metrics.json").read_text()) == {"auc": 0.5, "rows": 7, "best": 2, "unknown": None}


def test_a_model_that_holds_itself_is_told_by_which_attribute_and_saved_without(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPRIGHT_OUTPUT", str(pod.output))
    with sklearn.config_context(enable_metadata_routing=True):
        weighted = LogisticRegression().set_fit_request(sample_weight=True)
    model = make_pipeline(StandardScaler(), weighted).fit([[0.0], [1.0]], [0, 1])
    back = r"cannot store a Pipeline: it holds itself.* \(at \.steps\._metadata_request\.owner\)\. Delete"

    with pytest.raises(TypeError, match=back):
        sdk.check(model)
    with pytest.raises(TypeError, match=back):
        sdk.save(model)
    del weighted._metadata_request
    sdk.save(model)

    assert (pod.output / "model.skops").stat().st_size
