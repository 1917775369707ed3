"""Models whose answer to a row depends on the rows that are asked with it."""

import time
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from tests.unit.runtime.pod import Pod
from upright.runtime.outcome import RefusedError
from upright.runtime.publish import publish


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_a_draw_by_a_seed_is_told_for_what_it_is_and_no_column_is_blamed(pod: Pod, strategy: str) -> None:
    rows = pd.DataFrame({"a": np.arange(400) / 7})
    pod.trained(DummyClassifier(strategy=strategy, random_state=0).fit(rows, np.arange(400) % 3 == 0))
    rows.to_parquet(pod.output / "reference.parquet")

    reason, message = refusal(pod)

    assert reason == "DifferentAnswers"
    assert "where that asks for 100 rows at once: the answer to a row depends on" in message
    assert "column" not in message


def test_a_draw_by_a_seed_is_told_where_one_request_has_all_rows(pod: Pod) -> None:
    rows = pd.DataFrame({"a": np.arange(60) / 7})
    pod.trained(DummyClassifier(strategy="uniform", random_state=0).fit(rows, np.arange(60) % 3 == 0))
    rows.to_parquet(pod.output / "reference.parquet")

    reason, message = refusal(pod)

    assert reason == "DifferentAnswers"
    assert "where a client sends it alone, and otherwise in Python, too, where that asks for one row at once" in message


def coded(rows: pd.DataFrame) -> pd.DataFrame:
    """By the categories of the batch, which are all only where many rows are."""
    return rows.assign(plan=rows["plan"].astype("category").cat.codes)


def with_gaps_coded(rows: pd.DataFrame) -> pd.DataFrame:
    if rows["plan"].isna().all():
        raise ValueError("no plan at all")
    return rows.assign(plan=rows["plan"].isna())


CALLS = list[int]()


def slowly(rows: pd.DataFrame) -> pd.DataFrame:
    CALLS.append(len(rows))
    time.sleep(0.2 * (len(rows) == 1))
    return rows.drop(columns="plan")


def by_chance(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(plan=np.random.default_rng().integers(0, 2, len(rows)))


def asked(pod: Pod, step: Any, plans: list[Any], classes: list[Any]) -> None:
    """Published is a tree behind the step, with reference data of these plans."""
    rows = pd.DataFrame({"plan": plans, "tenure": np.arange(len(plans)) % 9})
    joblib.dump(
        make_pipeline(FunctionTransformer(step), DecisionTreeClassifier(random_state=0)).fit(rows, classes),
        pod.output / "model.joblib",
    )
    rows.to_parquet(pod.output / "reference.parquet")
    pod.environment["UPRIGHT_ALLOWED_FORMATS"] = "skops,joblib"
    publish(pod.variables)


def refusal(pod: Pod, *of: Any) -> tuple[str, str]:
    with pytest.raises(RefusedError) as raised:
        asked(pod, *of) if of else publish(pod.variables)
    return raised.value.refusal.reason, raised.value.refusal.message


def test_a_step_that_codes_categories_by_its_batch_is_told_also_where_few_rows_show_it(pod: Pod) -> None:
    plans = ["pro" if at % 100 in {37, 38} else "basic" for at in range(1900)]

    reason, message = refusal(pod, coded, plans, [plan == "pro" for plan in plans])

    assert reason == "DifferentAnswers"
    assert "True in Python, but False where a client sends it alone" in message
    assert "the answer to a row depends on what is asked with it" in message


def test_a_model_that_fails_for_a_row_with_a_gap_alone_is_refused(pod: Pod) -> None:
    plans = [None if at == 41 else "basic" for at in range(300)]

    reason, message = refusal(pod, with_gaps_coded, plans, [plan is None for plan in plans])

    assert reason == "ModelFails"
    assert "asked for row 41 (the first is 0) alone: ValueError: no plan at all" in message


def test_a_slow_model_answers_fewer_rows_alone(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upright.runtime.trial._SECONDS", 0.5)
    CALLS.clear()

    asked(pod, slowly, ["basic"] * 50, [at % 2 for at in range(50)])

    assert 4 <= CALLS.count(1) <= 2 * 3 + 2, "both outputs: three each until the time is over, and the example"


def test_a_model_that_answers_by_chance_is_published(pod: Pod) -> None:
    asked(pod, by_chance, ["basic"] * 50, [at % 2 for at in range(50)])


def test_of_a_row_alone_less_need_be_alike_where_rounding_leaves_few_digits(pod: Pod) -> None:
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({name: (draw.normal(size=600) * 1000).astype(np.float32) for name in "abcd"})
    noisy = rows["a"] + rows["b"] * draw.normal(size=600)
    model = QuadraticDiscriminantAnalysis().fit(rows, noisy > rows["c"])
    alone = [model.predict_proba(rows[at : at + 1])[0] for at in range(600)]
    assert not np.allclose(model.predict_proba(rows), alone, rtol=1e-6, atol=1e-9)
    pod.trained(model)
    rows.to_parquet(pod.output / "reference.parquet")

    publish(pod.variables)
