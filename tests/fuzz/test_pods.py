"""What pods and tenants leave where plans read it: termination messages, annotations, labels."""

import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.test_api import JSON, changed
from tests.golden.cases import CASES, plan_of
from upright.api import names

WORDS = st.text() | st.sampled_from(["true", "0", "-1", "null", "{}"])
REPORT: dict[str, Any] = {
    "uri": "pvc://models/churn/sha256-1",
    "digest": "sha256:" + 64 * "0",
    "sizeBytes": 10,
    "format": "skops",
    "framework": {"name": "scikit-learn", "version": "1.9", "python": "3.11"},
    "metrics": {"accuracy": 0.9},
    "data": [{"name": "train", "uri": "configmap://rows", "digest": "sha256:" + 64 * "0"}],
}
REFUSAL = {"reason": "Corrupt", "message": "It is not what was published."}
PLACES = st.lists(st.integers(0, 40), max_size=4)
MESSAGES = st.one_of(
    st.text(),
    JSON.map(json.dumps),
    st.builds(changed, st.sampled_from([REPORT, REFUSAL]), PLACES, JSON).map(json.dumps),
    st.sampled_from(["[" * 100_000, "9" * 5000, json.dumps(REFUSAL)[:-1]]),
)


def documents(case: Path) -> list[dict[str, Any]]:
    loaded = list(yaml.safe_load_all((case / "in.yaml").read_text()))
    assert loaded[0].keys() >= {"now"}
    return loaded


WORLDS = {f"{case.parent.name}/{case.name}": documents(case) for case in CASES}


def terminated(document: Any, message: str, code: int) -> Any:
    """The document, in which every container has ended with this message and code."""
    if isinstance(document, list):
        return [terminated(one, message, code) for one in document]
    if not isinstance(document, dict):
        return document
    return {
        name: {**one, "message": message, "exitCode": code} if name == "terminated" else terminated(one, message, code)
        for name, one in document.items()
    }


@given(st.sampled_from(sorted(WORLDS)), MESSAGES, st.integers(0, 255))
def test_whatever_a_container_says_there_is_a_plan(world: str, message: str, code: int) -> None:
    moment, planned, *others = WORLDS[world]
    plan_of(moment, planned, [terminated(other, message, code) for other in others])


@given(
    st.sampled_from(sorted(WORLDS)),
    st.dictionaries(st.sampled_from([names.RETRY, "upright.dev/run", "upright.dev/paused"]) | WORDS, WORDS, max_size=3),
)
def test_whatever_a_user_annotates_there_is_a_plan(world: str, annotations: dict[str, str]) -> None:
    moment, planned, *others = WORLDS[world]
    annotated = {**planned, "metadata": {**planned["metadata"], "annotations": annotations}}
    plan_of(moment, annotated, others)
