"""Reading and comparing objects."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kube.fakes import SERVICES, TOYS, a_service, a_toy
from upright.kube.objects import (
    contains,
    differences,
    digest,
    holder_of,
    part,
    plain,
    surplus,
    type_of,
    without_surplus,
    yaml_of,
)


@pytest.mark.parametrize(
    ("actual", "wanted", "answer"),
    [
        ({"a": 1, "filled in": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ({"ports": [{"port": 80, "protocol": "TCP"}]}, {"ports": [{"port": 80}]}, True),
        ({"ports": [{"port": 80}, {"port": 81}]}, {"ports": [{"port": 80}]}, False),
        ({"ports": [{"port": 81}]}, {"ports": [{"port": 80}]}, False),
        ({}, {"labels": {}}, True),
        ({}, {"ports": ()}, True),
        ({"ports": [80]}, {"ports": ()}, False),
        ({"a": "text"}, {"a": ["text"]}, False),
        ({"a": 1}, {"a": 1.0}, True),
    ],
)
def test_an_object_contains_what_was_wanted_of_it(actual: Any, wanted: Any, answer: bool) -> None:
    assert contains(actual, wanted) is answer


def test_the_digest_does_not_depend_on_the_order_of_fields() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_plain_json_has_no_tuples_and_no_nulls() -> None:
    assert plain({"a": (1, {"b": None, "c": "x"})}) == {"a": [1, {"c": "x"}]}


def test_whose_an_object_is_is_told_by_owner_label_or_field_manager() -> None:
    assert holder_of(a_service("s", a_toy())) == "Toy bear"
    assert holder_of(a_service("s", labels={"app.kubernetes.io/managed-by": "Helm"})).startswith("Helm")
    by_hand = a_service("s")
    by_hand["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    assert holder_of(by_hand) == "kubectl (field manager)"
    assert holder_of(a_service("s")) == "somebody else"


def test_a_plan_may_only_hold_what_its_kind_has_named() -> None:
    assert type_of(a_service("s"), [TOYS, SERVICES]) == SERVICES
    with pytest.raises(LookupError, match="Service of v1"):
        type_of(a_service("s"), [TOYS])


def test_differences_and_surplus_are_named_by_path() -> None:
    actual = {"spec": {"selector": {"app": "x", "team": "t"}, "ports": [{"port": 80}, {"port": 81}]}}
    wanted = {"spec": {"selector": {"app": "a"}, "ports": [{"port": 80}], "more": {"b": 1}}}
    assert list(differences(actual, wanted)) == ["spec.selector.app", "spec.ports", "spec.more"]
    assert list(surplus(actual["spec"]["selector"], {"app": "a"}, "spec.selector")) == ["spec.selector.team"]
    assert list(surplus(actual["spec"]["ports"], [{"port": 80}], "spec.ports")) == ["spec.ports[1]"]
    assert without_surplus(actual["spec"]["ports"], [{"port": 80}]) == [{"port": 80}]
    assert list(surplus(None, {"app": "a"}, "spec.selector")) == []


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("/a/b", 1), ("/list/1/c", 2), ("/list/7", None), ("/list/x", None), ("/a/b/c", None), ("/x~1y/m~0n", 3)],
)
def test_a_part_is_found_by_its_pointer(pointer: str, found: Any) -> None:
    assert part({"a": {"b": 1}, "list": [0, {"c": 2}], "x/y": {"m~n": 3}}, pointer) == found


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()) | st.booleans(), max_size=3))
def test_what_is_written_as_yaml_is_read_as_what_it_was(value: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_of(value)) == json.loads(yaml_of(value)) == value


@pytest.mark.parametrize("text", ["\U0001f680", "a\x85b", "a\u2028b", "\x7f\ufeff", "\\ud83d", "Gr\u00fc\u00dfe"])
def test_a_character_stays_itself_in_yaml(text: str) -> None:
    assert yaml.safe_load(yaml_of([text])) == json.loads(yaml_of([text])) == [text]
