"""What users write: durations, and whole resources."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tests.fuzz.growth import is_linear
from tests.unit.builders import a_deployment, a_model_version, a_training_job, as_stored
from upright.api.common import format_duration, parse_duration
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion
from upright.api.training_job import TrainingJob

KINDS = (a_training_job(), a_model_version(), a_deployment())
DIGITS = st.text("0123456789.", max_size=25)
DURATIONS = st.lists(st.tuples(DIGITS, st.sampled_from(["ms", "s", "m", "h", "d", ""])), max_size=6).map(
    lambda parts: "".join(number + unit for number, unit in parts)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | DURATIONS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def changed(document: Any, place: list[int], value: Any) -> Any:
    """The document with another value at a place: each number chooses among the fields or items there."""
    if not place or not isinstance(document, dict | list) or not document:
        return value
    if isinstance(document, list):
        index = place[0] % len(document)
        return [changed(one, place[1:], value) if at == index else one for at, one in enumerate(document)]
    field = sorted(document)[place[0] % len(document)]
    return {name: changed(one, place[1:], value) if name == field else one for name, one in document.items()}


@given(DURATIONS | st.text() | JSON)
@example("99999999999h")
def test_a_duration_is_read_or_refused(text: object) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert duration >= timedelta()
    assert abs(parse_duration(format_duration(duration)) - duration) <= timedelta(milliseconds=1)


@given(st.sampled_from(KINDS), st.lists(st.tuples(st.lists(st.integers(0, 40), max_size=8), JSON), max_size=3))
def test_a_resource_is_read_or_refused(resource: BaseModel, changes: list[tuple[list[int], Any]]) -> None:
    manifest: Any = as_stored(resource)  # type: ignore[arg-type]
    for place, value in changes:
        manifest = changed(manifest, place, value)
    try:
        read = type(resource).model_validate(manifest)
    except ValidationError:
        return
    assert type(resource).model_validate_json(read.model_dump_json(by_alias=True)) is not None


@given(st.sampled_from((TrainingJob, ModelVersion, Deployment)), st.binary() | JSON.map(json.dumps))
def test_bytes_are_a_resource_or_refused(kind: type[BaseModel], text: bytes | str) -> None:
    with pytest.raises(ValidationError):  # there is no name in them
        kind.model_validate_json(text)


def test_a_long_duration_takes_time_like_its_length() -> None:
    def refused(text: str) -> None:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)

    assert is_linear(lambda size: "1" * size + "x", refused, 200_000)
    assert is_linear(lambda size: "1ms" * size, parse_duration, 50_000)
