"""What a model makes of one request is bounded, whatever its rows: it is asked for a part at a time."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import BadInputError, batch_of_rows
from upright.runtime.predictor import Predictor

GROWN = "33 characters that are 594 when they are normalized, more than 4 times as many"
MATRIX = Signature(inputs=(Tensor(name="x", type="FP64", shape=(-1, 2)),))
TEXTS = Signature(inputs=(Tensor(name="text", type="BYTES", shape=(-1,)),))
MIXED = Signature(inputs=(Tensor(name="n", type="FP64"), Tensor(name="text", type="BYTES")))


class Counting:
    """Answers the first value of each row, and keeps how many it was asked for at once."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
        self.asked.append(len(rows))
        return np.asarray(rows)[:, 0]


def test_many_rows_are_asked_in_parts_and_answered_in_order() -> None:
    model, rows = Counting(), [[float(n), 0.0] for n in range(2500)]

    answered = Predictor(model, MATRIX).predict(batch_of_rows(rows, MATRIX))

    assert model.asked == [1000, 1000, 500]
    assert answered.tolist() == [row[0] for row in rows]


@pytest.mark.parametrize(("length", "asked"), [(10, [6]), (100_000, [2, 2, 2]), (256 * 1024, [1] * 6)])
def test_long_texts_are_asked_a_few_at_a_time(length: int, asked: list[int]) -> None:
    model = Counting()

    answered = Predictor(model, MIXED).predict(batch_of_rows([[n, "x" * length] for n in range(6)], MIXED))

    assert model.asked == asked
    assert answered.tolist() == [0, 1, 2, 3, 4, 5]


def test_one_long_text_is_asked_alone_and_the_others_are_together() -> None:
    model, lengths = Counting(), [10] * 1500
    lengths[700] = 256 * 1024

    answered = Predictor(model, MIXED).predict(batch_of_rows([[n, "x" * lengths[n]] for n in range(1500)], MIXED))

    assert model.asked == [700, 1, 799]
    assert answered.tolist() == [*range(1500)]


def test_the_row_that_lacks_a_value_is_numbered_as_the_client_sent_it() -> None:
    class Needing:
        def predict(self, rows: NDArray[Any]) -> NDArray[Any]:
            if pd.isna(rows).any():
                raise ValueError("NaN")
            return np.zeros(len(rows))

    rows: list[list[Any]] = [[1.0, 0.0]] * 2500
    with pytest.raises(BadInputError, match="row 1700 has null"):
        Predictor(Needing(), MATRIX).predict(batch_of_rows([*rows[:1700], [None, 0.0], *rows[1701:]], MATRIX))


def test_a_part_without_a_gap_fails_for_what_another_lacks_since_that_has_changed_the_column() -> None:
    class TakingBooleans:
        def predict(self, rows: Any) -> NDArray[Any]:
            if rows.dtype == object:
                raise ValueError("no object")
            return np.zeros(len(rows))

    flags = Signature(inputs=(Tensor(name="a", type="BOOL"), Tensor(name="b", type="BOOL")))
    rows: list[list[Any]] = [[True, False]] * 1500
    for many in ([*rows[:10], [None, True]], [*rows, [None, True]]):
        with pytest.raises(BadInputError, match=f"row {len(many) - 1} has null"):
            Predictor(TakingBooleans(), flags).predict(batch_of_rows(many, flags))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x" * (256 * 1024 + 1), "row 1: text has 262145 characters, of which a text may have 262144"),
        ("a" + "\u0301\u0316" * 17, "row 1: text has more than 32 combining marks on one letter"),
        ("\u0301" * 33, "row 1: text has more than 32 combining marks on one letter"),
        ("a" + "\u0f73" * 33, "row 1: text has more than 32 combining marks on one letter"),
        ("a" + "\uff9e" * 33, "row 1: text has more than 32 combining marks on one letter"),
        ("\ufdfa" * 33, f"row 1: text has {GROWN}"),
        ("x" * 256 * 1024, ""),
        ("\ufdfa said " * 9 + "한국어 " * 20, ""),
        ("a" + "\u0301" * 32 + "b" + "\u0301" * 32, ""),
        ("Crème brûlée, \U0001f36e and Việt", ""),
    ],
)
def test_texts_that_would_stop_a_pod_are_refused(text: str, told: str) -> None:
    model = make_pipeline(TfidfVectorizer(strip_accents="unicode"), LogisticRegression()).fit(["good", "bad"], [1, 0])
    predictor = Predictor(model, TEXTS)
    if not told:
        assert len(predictor.predict(batch_of_rows([["good"], [text]], TEXTS))) == 2
        return
    with pytest.raises(BadInputError) as refused:
        predictor.predict(batch_of_rows([["good"], [text]], TEXTS))
    assert (str(refused.value), refused.value.feature) == (told, "text")
