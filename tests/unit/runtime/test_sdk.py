"""What a program saves with `sdk` is what it has, whatever library its numbers are of."""

import json

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from tests.unit.runtime.pod import Pod
from upright.runtime import sdk


def test_numbers_of_numpy_are_saved_as_numbers(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPRIGHT_OUTPUT", str(pod.output))
    model = DummyClassifier().fit([[0.0], [1.0]], [0, 1])

    sdk.save(model, metrics={"auc": np.float32(0.5), "rows": np.int64(7), "best": np.array(2.0), "unknown": None})

    assert json.loads((pod.output / "metrics.json").read_text()) == {"auc": 0.5, "rows": 7, "best": 2, "unknown": None}
