"""A state that is not what the analysis left behind: told as such, whatever it is."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.analysis.builders import EXACT, a_metric, a_policy, every_metric, measured, stored
from upright.analysis import Look, Policy, State, StateError, begin, update, verdict

POLICY = a_policy(a_metric(), a_metric("RefusalRate", "refusals"))
LOOK = Look(1e6, {})


def after_some_looks(policy: Policy, type: str) -> State:
    rng, state = np.random.default_rng(5), begin(policy)
    for k in range(4):
        found = {metric.name: measured(type, rng, 3.0) for metric in policy.metrics}
        state = update(policy, state, Look(15.0 * k, found, {"pod": "torn"}))
    return stored(state)


def refused_or_gone_on_with(policy: Policy, state: Any) -> None:
    """Whatever it is: a declared error, or a verdict that can be told and a state to go on with."""
    try:
        told = verdict(policy, state)
        after = update(policy, state, LOOK)
    except StateError as error:
        assert "Call begin(policy)" in str(error)  # noqa: PT017 - not to be raised is fine as well
    else:
        assert 0 <= told.evidence < np.inf
        assert told.message
        verdict(policy, stored(after))


@pytest.mark.parametrize(
    "damage",
    [
        None,
        {"pods": -1},
        {"pods": 2.5},
        {"since": None},
        {"since": base64.b64encode(np.array([1e16]).tobytes()).decode()},
    ],
)
def test_a_warm_up_that_is_none_is_told(damage: dict[str, Any] | None) -> None:
    policy = a_policy(warmUp="1m")
    state = after_some_looks(policy, "ErrorRate")
    damaged = {**state, "warmUp": {**state["warmUp"], **damage}} if damage else {**state, "warmUp": None}
    with pytest.raises(StateError, match="is damaged"):
        update(policy, damaged, LOOK)


@pytest.mark.parametrize(
    "damage",
    [
        {"runs": "1"},
        {"runs": True},
        {"runs": 7},
        {"looks": -1},
        {"looks": None},
        {"late": 1.5},
        {"first": "yesterday"},
        {"last": 1e300},
        {"first": 20.0, "last": 10.0},
        {"leftOut": []},
        {"leftOut": {"looks": 1, "pods": ["a"]}},
        {"crossing": "?"},
        {"crossing": base64.b64encode(np.array([0.0, 5.0, 9.0]).tobytes()).decode()},
        {"crossing": [[0.0], [5.0], [0.0]]},
        {"metrics": None},
        {"metrics": {}},
        {"metrics": {"errors": None, "refusals": None}},
    ],
    ids=str,
)
def test_a_damaged_state_is_refused_with_what_to_do(damage: dict[str, Any]) -> None:
    state = after_some_looks(POLICY, "ErrorRate") | damage

    for ask in (lambda: verdict(POLICY, state), lambda: update(POLICY, state, LOOK)):
        with pytest.raises(StateError, match=r"the state is damaged .* Call begin\(policy\)"):
            ask()


@pytest.mark.parametrize("foreign", [None, [], "state", {}, {"policy": "another"}], ids=repr)
def test_a_foreign_state_is_refused(foreign: Any) -> None:
    with pytest.raises(StateError, match="belongs to policy"):
        verdict(POLICY, foreign)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e200, -1e9])
def test_numbers_that_no_analysis_leaves_behind_are_refused_or_gone_on_with(number: float) -> None:
    for metric in every_metric():
        policy = a_policy(metric)
        state = after_some_looks(policy, metric["type"])
        found = state["metrics"]["m"]
        numbers = np.frombuffer(base64.b64decode(found["seen"]))
        for place in range(len(numbers)):
            changed = numbers.copy()
            changed[place] = number
            seen = base64.b64encode(changed.tobytes()).decode()
            refused_or_gone_on_with(policy, state | {"metrics": {"m": found | {"seen": seen}}})


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
metrics = st.sampled_from(
    [a_metric(name="m"), a_metric("RefusalRate", "m"), a_metric("Mean", "m"), a_metric(name="m", **EXACT)]
)


@given(metrics, st.data())
@settings(max_examples=300)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_stands_in_a_field_is_refused_or_gone_on_with(metric: dict[str, Any], data: st.DataObject) -> None:
    policy = a_policy(metric)
    state = after_some_looks(policy, metric["type"])
    field = data.draw(st.sampled_from([*state, "crossing"]).filter(lambda name: name != "policy"))
    state[field] = data.draw(json_like)
    refused_or_gone_on_with(policy, state)


@given(metrics, st.sampled_from(["edges", "dispersion", "seen"]), json_like)
@settings(max_examples=200)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_whatever_stands_in_a_metric_is_refused_or_gone_on_with(metric: dict[str, Any], field: str, value: Any) -> None:
    policy = a_policy(metric)
    state = after_some_looks(policy, metric["type"])
    state["metrics"]["m"][field] = value
    refused_or_gone_on_with(policy, state)


@given(metrics, st.data())
@settings(max_examples=300)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_bytes_that_changed_are_refused_or_gone_on_with(metric: dict[str, Any], data: st.DataObject) -> None:
    policy = a_policy(metric)
    state = json.loads(json.dumps(after_some_looks(policy, metric["type"])))
    seen = bytearray(base64.b64decode(state["metrics"]["m"]["seen"]))
    for place in data.draw(st.lists(st.integers(0, len(seen) - 1), min_size=1, max_size=12)):
        seen[place] = data.draw(st.integers(0, 255))
    state["metrics"]["m"]["seen"] = base64.b64encode(bytes(seen)).decode()
    refused_or_gone_on_with(policy, state)
