"""Which groups of users rows are of, by what they have of an input of the model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upright.api.artifact import Signature, Tensor
from upright.runtime.batch import batch_of_rows
from upright.runtime.groups import Groups
from upright.runtime.segments import Segment


def by(tensor: Mapping[str, Any], values: Sequence[str], edges: Sequence[float] | None = None) -> Callable[..., Any]:
    """The groups that rows are of, which have these values of an input."""
    signature = Signature(inputs=(Tensor(name="x", **tensor), Tensor(name="y", type="FP64")))
    groups = Groups(
        [Segment(name="s", feature="x", values=tuple(values), edges=tuple(edges) if edges else None)], signature
    )

    def of(*given: Any) -> list[str]:
        return sorted(value for _, value in groups.of(batch_of_rows([[one, 0] for one in given], signature)))

    return of


@pytest.mark.parametrize(
    ("tensor", "values", "groups"),
    [
        ({"type": "BYTES"}, ["basic", "1"], {"basic": "basic", "1": "1", "Basic": "other", "": "other"}),
        ({"type": "BYTES", "dtype": "category"}, ["basic"], {"basic": "basic", "flex": "other"}),
        ({"type": "INT64"}, ["1", "2.0", "x"], {1: "1", 2.0: "2.0", 1.5: "other", 3: "other"}),
        ({"type": "INT64", "dtype": "Int64", "missing": True}, ["1"], {1: "1", 2: "other"}),
        ({"type": "FP64"}, ["0.5", "NaN", "1e999", "true"], {0.5: "0.5", 1: "other"}),
        ({"type": "FP32"}, ["0.1"], {0.1: "0.1", float(np.float32(0.1)): "0.1", 0.2: "other"}),
        ({"type": "FP64", "dtype": "number"}, ["1", "false"], {True: "1", 0: "false", 2: "other"}),
        ({"type": "BOOL"}, ["true", "1"], {True: "true", False: "other"}),
        (
            {"type": "BYTES", "dtype": "datetime64[ns]"},
            ["2026-11-27"],
            {"2026-11-27": "2026-11-27", "2026-11-27T01:00:00+01:00": "2026-11-27", "2026-11-28": "other"},
        ),
        (
            {"type": "BYTES", "dtype": "datetime64[us, UTC]"},
            ["2026-11-27", "soon"],
            {"2026-11-27T00:00:00Z": "2026-11-27", "2026-11-28": "other"},
        ),
    ],
)
def test_a_value_is_that_of_the_model_s_input(tensor: Any, values: list[str], groups: Mapping[Any, str]) -> None:
    of = by(tensor, values)

    assert {value: of(value) for value in groups} == {value: [group] for value, group in groups.items()}
    assert of(None) == ["other"]
    assert of(*groups, None, *groups) == sorted({*groups.values(), "other"}), "each once"


def test_large_whole_numbers_are_told_apart_exactly() -> None:
    of = by({"type": "INT64"}, ["9007199254740993"])

    assert (of(9007199254740993), of(9007199254740992)) == (["9007199254740993"], ["other"])


def test_a_value_of_an_input_without_a_type_is_a_text_or_what_json_reads_in_it() -> None:
    of = by({}, ["1", "true", "null"])

    assert [of(one) for one in ("1", 1, 1.0, "true", True, "null")] == [
        ["1"],
        ["1"],
        ["1"],
        ["true"],
        ["true"],
        ["null"],
    ]
    assert [of(one) for one in (False, None, "1.0", 2)] == [["other"]] * 4


@pytest.mark.parametrize(
    ("tensor", "numbers"),
    [
        ({"type": "INT64"}, True),
        ({"type": "INT64", "dtype": "Int64"}, True),
        ({"type": "FP64"}, True),
        ({"type": "FP32"}, True),
        ({"type": "FP64", "dtype": "number"}, True),
        ({}, True),
        ({"type": "BYTES"}, False),
        ({"type": "BOOL"}, False),
    ],
)
def test_what_is_no_number_is_between_no_edges(tensor: Any, *, numbers: bool) -> None:
    of = by(tensor, ["low", "mid", "high"], [12, 36])

    assert of(None) == ["other"]
    if numbers:
        assert [of(one) for one in (-5, 11, 12, 35, 36, 10**6)] == [
            ["low"],
            ["low"],
            ["mid"],
            ["mid"],
            ["high"],
            ["high"],
        ]
        assert of(40, 3, None, 4) == of(*[40, 3, None, 4] * 20) == ["high", "low", "other"]
    else:
        assert of("13" if tensor["type"] == "BYTES" else True) == ["other"]


def test_of_an_input_without_a_type_texts_and_flags_are_between_no_edges() -> None:
    of = by({}, ["low", "high"], [1])

    assert of("0", True) == ["other"]
    assert of(2.5, "0", 0) == of(*[2.5, "0", 0] * 20) == ["high", "low", "other"]


def test_the_edge_of_single_precision_is_met_as_it_comes_in_either() -> None:
    of = by({"type": "FP32"}, ["low", "high"], [0.1])

    assert of(0.1) == of(float(np.float32(0.1))) == of(*[0.1] * 20) == ["high"]


@given(
    edges=st.lists(st.floats(-100, 100), min_size=1, max_size=9, unique=True).map(sorted),
    numbers=st.lists(st.none() | st.floats(-110, 110) | st.integers(-110, 110), min_size=1),
    tensor=st.sampled_from([{"type": "FP64"}, {"type": "FP64", "dtype": "number"}, {}]),
)
def test_a_number_belongs_from_one_edge_up_to_the_next(edges: list[float], numbers: list[Any], tensor: Any) -> None:
    names = [str(number) for number in range(len(edges) + 1)]

    wanted = {"other" if one is None else str(sum(edge <= one for edge in edges)) for one in numbers}

    of = by(tensor, names, edges)
    assert of(*numbers) == of(*numbers * 20) == sorted(wanted), "of few rows and of many"


@given(st.lists(st.none() | st.text() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5), min_size=1))
def test_rows_of_any_values_are_of_a_group(values: list[Any]) -> None:
    names = ["a", "", "1", "0.5", "true", "é"]

    assert set(by({}, names)(*values)) <= {*names, "other"}


def test_random_values_are_of_one_group() -> None:
    of = by({"type": "BYTES"}, ["basic"])

    assert of(*(f"plan {number}" for number in range(10_000))) == ["other"]


def test_features_that_the_model_does_not_have_are_told() -> None:
    segments = [
        Segment(name="shop", feature="shop", values=("berlin",)),
        Segment(name="by", feature="plan", values=("a",)),
    ]
    named = Groups(segments, Signature(inputs=(Tensor(name="plan", type="BYTES"), Tensor(name="y"))))
    matrix = Groups(segments, Signature(inputs=(Tensor(name="plan", type="FP64", shape=(-1, 4)),)))

    assert named.untold == ["Nothing is counted by the segment shop: the model has no feature 'shop'; it has plan, y"]
    assert named.all == [("by", "a"), ("by", "other")]
    assert matrix.all == []
    assert [one.rpartition("; ")[2] for one in matrix.untold] == ["its features have no names"] * 2
