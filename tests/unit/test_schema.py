"""From a pydantic model to a structural schema."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from upright.api import crds
from upright.api.common import AnyObject, Duration, Resource, format_duration, parse_duration
from upright.api.schema import Rule, structural_schema, unknown_fields


class Inner(Resource):
    """An inner thing."""

    many_words: int = Field(3, ge=1, lt=10, description="A bounded number.")

    rules: ClassVar[Sequence[Rule]] = (Rule("self.manyWords != 7", "manyWords must not be 7", field="manyWords"),)


class Outer(Resource):
    """An outer thing."""

    needed: str = Field(description="Must be given.")
    inner: Inner = Field(Inner(), description="Nested.")
    maybe: Inner | None = Field(None, description="May be absent.")
    several: list[Inner] = Field([], max_length=2, description="A list.")
    mapped: dict[str, int] = Field({}, description="A map.")
    free: AnyObject = Field({}, description="Anything.")
    length: Duration = Field(timedelta(minutes=90), description="A duration.")
    choice: Literal["A", "B"] = Field("A", description="One of two.")
    only: Literal["X"] = Field("X", description="One of one.")


def property_of(name: str) -> Any:
    return structural_schema(Outer)["properties"][name]


def test_names_are_camel_case_and_what_has_no_default_is_required() -> None:
    assert structural_schema(Outer)["required"] == ["needed"]
    assert "manyWords" in structural_schema(Inner)["properties"]


@pytest.mark.parametrize(
    ("given", "unknown"),
    [
        ({"needed": "x", "inner": {"manyWords": 5}, "mapped": {"any": 1}, "free": {"any": {"thing": 1}}}, []),
        ({"need": 1, "inner": None, "several": [{}, {"many_words": 5}]}, ["It has no field 'need'", "It.several.1 "]),
        ({True: 1}, ["It has no field 'True'"]),
        ({"needed": {"any": 1}, "inner": [{"any": 1}]}, []),
        (None, []),
    ],
)
def test_what_the_api_server_would_refuse_as_unknown_is_named(given: Any, unknown: Sequence[str]) -> None:
    said = list(unknown_fields(structural_schema(Outer), given, "It"))

    assert [one.startswith(start) for one, start in zip(said, unknown, strict=True)] == [True] * len(unknown)


def test_bounds_are_those_of_openapi_3_0() -> None:
    number = structural_schema(Inner)["properties"]["manyWords"]
    assert number == {
        "type": "integer",
        "minimum": 1,
        "maximum": 10,
        "exclusiveMaximum": True,
        "default": 3,
        "description": "A bounded number.",
    }


def test_a_fractional_bound_is_said_in_cel_because_the_api_server_cuts_it() -> None:
    class Fractions(Resource):
        share: float = Field(0.5, ge=0.000001, lt=0.9, description="A share.")
        several: list[Annotated[float, Field(gt=-0.5, le=1)]] = Field([], max_length=2, description="More of them.")

    properties = structural_schema(Fractions)["properties"]
    share, several = properties["share"], properties["several"]["items"]
    assert not share.keys() & {"minimum", "maximum", "exclusiveMaximum"}, "cut to 0 it would refuse 0, or say so"
    assert [(rule["rule"], rule["message"]) for rule in share["x-kubernetes-validations"]] == [
        ("self >= 0.000001", "must be at least 0.000001"),
        ("self < 0.9", "must be less than 0.9"),
    ]
    assert [rule["rule"] for rule in several["x-kubernetes-validations"]] == ["self > -0.5"]
    assert several["maximum"] == 1


def test_a_duration_has_the_bounds_of_its_field() -> None:
    class Bounded(Resource):
        wait: Duration = Field(timedelta(seconds=5), ge=timedelta(seconds=1), description="How long.")

    rules = structural_schema(Bounded)["properties"]["wait"]["x-kubernetes-validations"]
    assert [rule["message"] for rule in rules] == [
        "must be a duration such as 90s, 10m or 1h30m",
        "must be at most 87600h (ten years)",
        "wait must be at least 1s",
    ]
    with pytest.raises(ValueError, match="greater than or equal to 1 second"):
        Bounded.model_validate({"wait": "999ms"})


def test_defaults_stand_as_a_user_would_write_them() -> None:
    assert property_of("length")["default"] == "1h30m"
    assert property_of("inner")["default"] == {}
    assert "default" not in property_of("maybe")


def test_nested_models_keep_their_rules_wherever_they_stand() -> None:
    rules = [{"rule": "self.manyWords != 7", "message": "manyWords must not be 7", "fieldPath": ".manyWords"}]
    assert property_of("inner")["x-kubernetes-validations"] == rules
    assert property_of("maybe")["x-kubernetes-validations"] == rules
    assert property_of("several")["items"]["x-kubernetes-validations"] == rules


def test_a_choice_of_one_is_an_enumeration() -> None:
    assert property_of("only")["enum"] == ["X"]
    assert property_of("choice")["enum"] == ["A", "B"]


def test_what_may_be_anything_is_preserved() -> None:
    assert property_of("free")["x-kubernetes-preserve-unknown-fields"] is True
    assert property_of("mapped")["additionalProperties"] == {"type": "integer"}


def test_a_type_that_cannot_be_expressed_is_refused() -> None:
    class Impossible(Resource):
        either: Annotated[tuple[int, str], Field(description="Two types in one list.")]

    with pytest.raises(ValueError, match="no structural schema"):
        structural_schema(Impossible)


def nodes(schema: Any) -> Any:
    """Every node of a schema, with its path."""
    yield schema
    for inner in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from nodes(inner)


@pytest.mark.parametrize("name", crds.manifests())
def test_every_column_shows_a_field(name: str) -> None:
    [version] = crds.manifests()[name]["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        node = version["schema"]["openAPIV3Schema"]
        for field in re.sub(r"\[[^]]*\]", ".items", column["jsonPath"]).split(".")[1:]:
            if column["jsonPath"] == ".metadata.creationTimestamp":
                break
            node = node["items"] if field == "items" else node["properties"][field]
        shown = column.get("priority", 0) == 0 and column["type"] != "date"
        assert not shown or node["type"] not in ("array", "object"), f"{column['name']}: it would be raw JSON"


def test_a_version_shows_who_rejected_it_what_it_measured_and_with_which_parameters() -> None:
    [version] = crds.manifests()["modelversions.yaml"]["spec"]["versions"]
    columns = {column["name"]: column["jsonPath"] for column in version["additionalPrinterColumns"]}
    assert columns["Rejected-By"] == ".status.rejectedBy[0]"
    assert (columns["Metrics"], columns["Parameters"]) == (".spec.metrics", ".spec.parameters")


@pytest.mark.parametrize("name", crds.manifests())
def test_every_field_of_our_kinds_is_described_and_every_list_and_map_of_a_spec_is_bounded(name: str) -> None:
    [version] = crds.manifests()[name]["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    for part in (schema[field] for field in ("spec", "status") if field in schema):
        for node in nodes(part):
            for field, inner in node.get("properties", {}).items():
                assert inner.get("description"), f"{name}: {field}"
    for node in nodes(schema["spec"]):
        if node.get("type") == "array":
            assert "maxItems" in node, f"{name}: {node}"
        if "additionalProperties" in node:
            assert "maxProperties" in node, f"{name}: {node}"
        if node.get("type") == "string" and node.get("format") != "date-time":
            assert node.keys() & {"maxLength", "enum"}, f"{name}: {node}"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("0s", 0)]
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize("text", ["99999999999h", "9" * 400 + "ms", "999999h" * 4, "87600h1ms"])
def test_a_duration_that_was_stored_before_there_was_a_longest_counts_as_that(text: str) -> None:
    assert parse_duration(text) == timedelta(days=3650)


PARTS = st.tuples(st.from_regex(r"[0-9]{1,30}(\.[0-9]{1,9})?", fullmatch=True), st.sampled_from(["ms", "s", "m", "h"]))


@given(st.lists(PARTS, min_size=1, max_size=40).map(lambda parts: "".join(map("".join, parts))))
def test_no_duration_that_can_be_written_overflows_anything(text: str) -> None:
    read = parse_duration(text)
    assert datetime(2026, 1, 1, tzinfo=UTC) + 20 * read < datetime.max.replace(tzinfo=UTC)
    assert read.total_seconds() < 2**31, "fits where Kubernetes counts seconds in 32 bits"
    assert abs(parse_duration(format_duration(read)) - read) <= timedelta(milliseconds=1)


def test_no_duration_that_is_written_is_negative() -> None:
    assert format_duration(timedelta(seconds=-5)) == "0s"


@pytest.mark.parametrize("text", ["7d", "", "10", "-1s", "1 h", 15, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 90s"):
        parse_duration(text)


def test_what_an_older_operator_keeps_in_the_status_is_taken_while_it_leads() -> None:
    """The chart's kinds are there before its new operator: without its evidence the old one would compare nothing."""
    [version] = crds.manifests()["deployments.yaml"]["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    state = status["properties"]["analysis"]["properties"]["state"]
    assert (state["type"], state["x-kubernetes-preserve-unknown-fields"]) == ("object", True)
