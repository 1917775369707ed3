"""What a model says it has failed with leaves the pod without what it was given."""

import re
from collections.abc import Callable
from string import ascii_lowercase
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import LabelEncoder, OneHotEncoder

from upright.api.artifact import Signature, Tensor
from upright.api.serving import EXAMPLE, FAILURE_MESSAGES, FAILURES, MESSAGE
from upright.runtime import measurements
from upright.runtime import said as saying
from upright.runtime.batch import Batch, batch_of_rows
from upright.runtime.groups import Groups
from upright.runtime.measurements import Measurements
from upright.runtime.said import shape_of, without_values

SIGNATURE = Signature(
    inputs=(
        Tensor(name="plan", type="BYTES"),
        Tensor(name="tenure_2", type="FP64"),
        Tensor(name="sepal length (cm)", type="FP64", missing=True),
    )
)
EMPTY: dict[str, str] = {}
ROWS = batch_of_rows([["Smith", 1.5, None]], SIGNATURE)


def said(error: BaseException, batch: Batch = ROWS) -> str:
    return without_values(str(error), error, batch, SIGNATURE)


def raised(fails: Callable[[], Any]) -> Exception:
    try:
        fails()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError


def asks_for(column: str) -> Callable[[], Any]:
    return lambda: pd.DataFrame({"a": [1]})[column]


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (lambda: float("Smith"), "could not convert string to float: …"),
        (lambda: int("Smith"), "invalid literal for int() with base …: …"),
        (lambda: LabelEncoder().fit(["a"]).transform(["Zoe"]), "y contains previously unseen labels: np.str_(…)"),
        (
            lambda: OneHotEncoder().fit([["a"]]).transform([["Smith"]]),
            "Found unknown categories […] in column … during transform",
        ),
        (
            lambda: LogisticRegression().fit([[0], [1]], [0, 1]).predict([[1, 2]]),
            "X has … features, but LogisticRegression is expecting … features as input.",
        ),
        (lambda: 1 + "a", "unsupported operand type(s) for +: 'int' and 'str'"),  # type: ignore[operator]
        (lambda: np.zeros(3)[7], "index … is out of bounds for axis … with size …"),
        (
            lambda: np.zeros(3) + np.zeros(4),
            "operands could not be broadcast together with shapes (…) (…)",
        ),
    ],
)
def test_what_libraries_say_is_told_without_values(fails: Callable[[], Any], told: str) -> None:
    assert said(raised(fails)) == told


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("no customer Smith", "no customer …"),
        ("no customer SMITH, whoever smith's is", "no customer …, whoever …"),
        ("no Smithson, no blacksmith", "no Smithson, no blacksmith"),
        ("aged 42, 4.2e-1, ½ or ٤", "aged … or …"),
        ("seen: true, not False", "seen: …, not …"),
        ("of AB-12, a@b.de, plan=gold, /home/smi and deadbeef1", "of … and …"),
        ("is 'that', \"it's that\", `that` or b'that'", "is … or …"),
        ("is “that”, ‘that’ or «that»", "is … or …"),
        ("the models' say, it's said, don't", "the models' say, it's said, don't"),
        ("is 'O'Brien' here", "is … here"),
        ("is 'that and all after", "is …"),
        ("in [a, [b], {'c': d}] and f(x)", "in […] and f(…)"),
        ("in [a and all after", "in […"),
        ("an <object at here> of <b", "an … of …"),
        ("a <tag of 'plan'> and an 'int'", "a …'plan' and an 'int'"),
        ("either/or, a / b", "…, a … b"),
        (
            "lacks ['plan', 'other'] and 'sepal length (cm)' and tenure_2",
            "lacks ['plan', …] and 'sepal length (cm)' and tenure_2",
        ),
        ("key " + "x" * 41, "key …"),
        ("two\n\n  lines\t\x1b[31m", "two lines …[…"),
        ("to the \u202eleft\x00\x01", "to the …"),
        ("1.5", ""),
        ("'all'", ""),
        ("", ""),
        ("word " * 100, "word " * 58 + "word…"),
        ("<!channel> *all* see https://evil.example/x", "… see …"),
    ],
)
def test_what_may_be_a_value_is_hidden(message: str, told: str) -> None:
    assert said(ValueError(message)) == told


@pytest.mark.parametrize(
    ("fails", "told"),
    [
        (asks_for("fee"), ""),
        (lambda: pd.DataFrame({"a": [1]})["fee"], "'fee'"),
        (lambda: pd.DataFrame({"a": [1]})[["fee", "Smith"]], "None of ['fee', 'str', …] are in the […]"),
        (lambda: EMPTY["Smith"], ""),
        (lambda: (1.5).lower(), "'float' object has no attribute 'lower'"),  # type: ignore[attr-defined]
        (lambda: getattr(1.5, ascii_lowercase), "'float' object has no attribute …"),
        (lambda: __import__("nowhere"), "No module named 'nowhere'"),
        (lambda: EMPTY["no"], ""),
    ],
)
def test_quoted_names_stay_that_stand_in_the_program_which_failed(fails: Callable[[], Any], told: str) -> None:
    """The others came from somewhere else."""
    assert said(raised(fails)) == told


@given(
    st.text(max_size=80), st.sampled_from(["{}", "'{}'", "no {} here", "plan {}: {}", "[{}, {}]", "x" * 590 + " {}"])
)
def test_a_text_of_the_request_is_never_told_and_what_is_told_can_be_printed(value: str, message: str) -> None:
    error = ValueError(message.replace("{}", value))
    told = said(error, batch_of_rows([[value, 1.5, None]], SIGNATURE))
    assert told == "" or re.fullmatch(MESSAGE, told)
    assert not any(one.isnumeric() for one in told)
    words, shown = value.lower().split(), " ".join(re.findall(r"\w+", told.lower()))
    if any(map(str.isalnum, value)) and " ".join(words).isalpha():
        assert f" {' '.join(words)} " not in f" {shown} "


def test_a_long_text_is_known_by_how_it_begins_also_where_the_message_is_cut() -> None:
    text = "the quick brown fox jumps over the lazy dog and says so in many words " * 20
    batch = batch_of_rows([[text, 1.5, None]], SIGNATURE)
    assert said(ValueError(f"cannot read {text}"), batch) == "cannot read …"
    assert said(ValueError(f"cannot read {text[:80]} ..."), batch) == "cannot read …"
    assert said(ValueError(f"{'no ' * 195}{text}"), batch) == "no " * 98 + "no…"
    name = batch_of_rows([["John Smith", 1.5, None]], SIGNATURE)
    hidden = "9 " * 295
    assert len(hidden) < 600 < len(f"for {hidden}John Smith")
    assert said(ValueError(f"for {hidden}John Smith"), name) == "for …"


@pytest.mark.parametrize(
    ("value", "message", "told"),
    [
        ("Ann", "no Ann, no Annual, no Joanna", "no …, no Annual, no Joanna"),
        ("Johnson", "no userJohnson, no Johnsons", "no …, no …"),
        (" New  York\n", "no new  york: New", "no …: …"),
        (
            "Patient Maria Huber has had diabetes since her",
            "row one Patient Maria Huber has had dia...",
            "row one …...",
        ),
        ("Maria Huber\tdiabetes", "no rule: Maria Huber\\tdiabetes", "no rule: …"),
        ("Zoe\u0301 Ann", "no Zo\u00e9 Ann, Bob", "no …, Bob"),
        ("Straße 5", "no STRASSE", "no …"),
        ("İzmir A", "in İZMIR A", "in …"),
        ("客户张三", "不存在客户张三的", "…"),
        ("'", "no 'one two three' here", "no … here"),
        ("Ann's", "no Ann's", "no …"),
        ("plan", "lacks 'plan'", "lacks …"),
        ("int", "is an 'int'", "is an …"),
    ],
)
def test_a_text_of_the_request_is_hidden_wherever_it_stands(value: str, message: str, told: str) -> None:
    assert said(ValueError(message), batch_of_rows([[value, 1.5, None]], SIGNATURE)) == (told if told != "…" else "")


def test_no_more_signs_are_put_in_order_at_a_time_than_a_message_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes time that grows with the square of an accent's marks: 28 s for a text of 350 KiB."""
    lengths: list[int] = []

    def counting(form: Any, text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(saying, "normalize", counting)
    for value in ("e" + "\u0301\u0316" * 90_000, "\ufdfa" * 190_000, "Zoe\u0301 " * 30_000, "a" * 190_000):
        assert said(ValueError("no plan"), batch_of_rows([[value, 1.5, None]], SIGNATURE)) == "no plan"
    assert max(lengths) <= 600


def test_of_a_request_with_more_texts_than_can_be_looked_for_nothing_is_told() -> None:
    many = batch_of_rows([["Smith", 1.5, None]] * 10_001, SIGNATURE)
    assert said(ValueError("no such plan"), many) == ""


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        ([["a", 1, 2]], "1 row of 3 features"),
        ([["a", 1, 2], ["a", 1, None]], "2 rows of 3 features, null in sepal length (cm)"),
        ([[None, None, None]], "1 row of 3 features, null in plan, tenure_2, sepal length (cm)"),
    ],
)
def test_an_example_has_a_shape(rows: list[Any], shape: str) -> None:
    assert shape_of(batch_of_rows(rows, SIGNATURE), SIGNATURE) == shape
    assert re.fullmatch(EXAMPLE, shape)


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (["x" * 25, "y" * 9, "z"], f"null in {'x' * 25}, z, 1 other"),
        (["x" * 35, "y" * 34], f"null in {'y' * 34}, 1 other"),
        ([f"x{number}" for number in range(5000)], "null in x0, x1, x2, x3, x4, x5, x6, 4993 others"),
        (["<b>", "<i>"], "null in 2 of them"),
    ],
)
def test_few_names_are_in_a_shape_and_none_that_cannot_be_told(names: list[str], shape: str) -> None:
    signature = Signature(inputs=tuple(Tensor(name=name, type="FP64", missing=True) for name in names))
    told = shape_of(batch_of_rows([[None] * len(names)] * 20, signature), signature)
    assert told == f"20 rows of {len(names)} features, {shape}"
    assert re.fullmatch(EXAMPLE, told)


def test_the_shape_of_an_array_names_nothing_and_that_of_many_values_does_not_look() -> None:
    signature = Signature(inputs=(Tensor(name="input-0", type="FP64", shape=(-1, 2), missing=True),))
    assert shape_of(batch_of_rows([[1, None]], signature), signature) == "1 row of 2 features, with null"
    many = batch_of_rows([[1, None]] * 50_001, signature)
    assert shape_of(many, signature) == "50001 rows of 2 features"


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> tuple[Measurements, CollectorRegistry]:
    registry = CollectorRegistry()
    for kind in ("Counter", "Gauge", "Histogram"):
        made = getattr(measurements, kind)
        monkeypatch.setattr(measurements, kind, lambda *args, made=made, **how: made(*args, **how, registry=registry))
    return Measurements("churn", "churn-7", Groups((), SIGNATURE)), registry


def lines(registry: CollectorRegistry, name: str) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if line.startswith(name + "{")]


def test_a_model_fills_no_page_with_what_it_makes_up(measured: tuple[Measurements, CollectorRegistry]) -> None:
    counts, registry = measured
    for number in range(1000):
        counts.failed(f"Error{number}", f"message {number}")
        counts.failed("Fehler über alles")
    assert len(lines(registry, FAILURES)) == 17
    assert sum(float(line.rpartition(" ")[2]) for line in lines(registry, FAILURES)) == 2000
    assert len(lines(registry, FAILURE_MESSAGES)) == 8


def test_an_example_is_taken_once_of_each_message(measured: tuple[Measurements, CollectorRegistry]) -> None:
    counts, registry = measured
    taken = [f"{number} rows" for number in range(5, 0, -1)]
    for message in ("one", "one", "two", "", "one"):
        counts.failed("ValueError", message, taken.pop)
    assert [line.partition("{")[2] for line in lines(registry, FAILURE_MESSAGES)] == [
        'example="1 rows",message="one",model="churn",reason="ValueError",version="churn-7"} 3.0',
        'example="2 rows",message="two",model="churn",reason="ValueError",version="churn-7"} 1.0',
    ]
