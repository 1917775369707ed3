"""Models whose answer to a row depends on the rows that are asked with it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier

from tests.unit.runtime.pod import Pod
from upright.runtime.outcome import RefusedError
from upright.runtime.publish import publish


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_a_draw_by_a_seed_is_told_for_what_it_is_and_no_column_is_blamed(pod: Pod, strategy: str) -> None:
    rows = pd.DataFrame({"a": np.arange(400) / 7})
    pod.trained(DummyClassifier(strategy=strategy, random_state=0).fit(rows, np.arange(400) % 3 == 0))
    rows.to_parquet(pod.output / "reference.parquet")

    with pytest.raises(RefusedError) as raised:
        publish(pod.variables)

    assert raised.value.refusal.reason == "DifferentAnswers"
    assert "where that asks for 100 rows at once: the answer to a row depends on" in raised.value.refusal.message
    assert "column" not in raised.value.refusal.message
