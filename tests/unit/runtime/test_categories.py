"""Pipelines of scikit-learn that end in XGBoost with categories: what it knows is made a category, and what it does not
know is the client's mistake.
"""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic_core import to_json
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from xgboost import XGBClassifier, XGBRegressor

from tests.unit.runtime.pod import Pod
from tests.unit.runtime.schema import LIMITS
from upright.api.artifact import Tensor
from upright.runtime.batch import BadInputError
from upright.runtime.predictor import Predictor
from upright.runtime.protocol import parse_predict
from upright.runtime.reference import Reference, read_reference
from upright.runtime.signature import infer
from upright.runtime.trial import try_out

FRAME = pd.DataFrame(
    {
        "a": np.arange(120) % 7 / 3,
        "plan": pd.Categorical([["basic", "pro", None, "max"][at % 4] for at in range(120)]),
        "zone": pd.Categorical([at % 5 + 1 for at in range(120)]),
    }
)
TARGET = [int(at % 4 == 1 or at % 5 == 2) for at in range(120)]
BOOSTING = XGBClassifier(n_estimators=4, enable_categorical=True, n_jobs=1)
UNTOUCHED = FunctionTransformer()


def tried(model: Any, frame: pd.DataFrame = FRAME) -> Predictor:
    """As it serves, once it has answered its reference data."""
    reference = Reference(frame, tuple(frame.columns.astype(str)))
    predictor = Predictor(model, infer(model, None, reference))
    try_out(predictor, reference)
    return predictor


def answer(predictor: Predictor, row: list[Any], output: str = "prediction") -> Any:
    batch = parse_predict(to_json({"instances": [row]}), predictor.signature, ["prediction"]).batch
    return predictor.predict(batch, output)[0].tolist()


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(UNTOUCHED, BOOSTING),
        make_pipeline(UNTOUCHED, VotingClassifier([("one", BOOSTING)], voting="soft")),
        make_pipeline("passthrough", XGBRegressor(n_estimators=4, enable_categorical=True, n_jobs=1)),
    ],
    ids=["at the end", "in a vote", "numbers"],
)
def test_each_row_alone_is_answered_as_in_python_and_strangers_are_refused(model: Any) -> None:
    predictor = tried(model.fit(FRAME, TARGET))
    output = "predict_proba" if predictor.has("predict_proba") else "prediction"
    there = getattr(model, output.replace("prediction", "predict"))(FRAME)[:20]

    rows = FRAME.astype(object).where(FRAME.notna(), None).to_numpy().tolist()[:20]
    assert np.allclose([answer(predictor, row, output) for row in rows], there, rtol=1e-5)

    assert answer(predictor, [0.5, "pro", 2.0]) == answer(predictor, [0.5, "pro", 2])
    answer(predictor, [0.5, None, None])
    with pytest.raises(BadInputError, match=r"row 0: plan must be one of .*'basic', 'max', 'pro'; it is 'gold'"):
        answer(predictor, [0.5, "gold", 2])
    with pytest.raises(BadInputError, match=r"row 0: zone must be one of .*1, 2, 3, 4, 5; it is 9"):
        answer(predictor, [0.5, "pro", 9])
    with pytest.raises(BadInputError, match="zone"):
        answer(predictor, [0.5, "pro", "2"])


def test_without_reference_data_it_tells_its_categories_itself() -> None:
    model = make_pipeline("passthrough", BOOSTING).fit(FRAME, TARGET)

    inputs = infer(model, None, None).inputs

    assert inputs[1:] == (
        Tensor(name="plan", type="BYTES", dtype="category", missing=True),
        Tensor(name="zone", type="INT64", dtype="category", missing=True),
    )


def test_a_csv_has_categories_where_the_model_takes_such(pod: Pod) -> None:
    model = make_pipeline(UNTOUCHED, BOOSTING).fit(FRAME, TARGET)
    FRAME.to_csv(pod.output / "reference.csv", index=False)

    reference = read_reference(pod.output, LIMITS, model)

    assert reference is not None
    assert reference.rows["plan"].dtype == "category"
    assert reference.rows["zone"].dtype == "category"
    assert answer(tried(model, reference.rows), [0.5, "pro", 2]) in {0, 1}


def test_of_categories_that_xgboost_has_lost_nothing_is_said() -> None:
    frame = FRAME[["a", "plan"]].assign(plan=FRAME["plan"].cat.rename_categories({"pro": "größer als groß"}))
    model = make_pipeline(UNTOUCHED, BOOSTING).fit(frame, TARGET)

    assert infer(model, None, Reference(frame, ("a", "plan"))).inputs[1].dtype == "category"
    assert not Predictor(model, infer(model, None, Reference(frame, ("a", "plan")))).learnt[1].known
