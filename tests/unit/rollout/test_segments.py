"""A rollout that is watched by segment: what its pods are told, what keeps it from going out, what people are shown."""

import json
from typing import Any

import pytest

from tests.unit.builders import DEFAULTS, a_deployment, a_model_version
from tests.unit.rollout.world import both, condition, observed, serving_old
from upright.analysis import Counts, Look, update
from upright.api.segments import Segment
from upright.rollout import verdict
from upright.rollout.modes.realtime import template
from upright.rollout.plan import plan
from upright.rollout.revision import revision
from upright.rollout.verdict import analyse

PLAN = {"name": "plan", "feature": "plan", "values": ["basic", "flex"]}
TENURE = {"name": "tenure", "feature": "tenure", "edges": [12]}
SHOP = {"name": "shop", "label": "shop", "values": ["a"]}
INPUTS = [{"name": name, "type": "BYTES", "shape": [-1]} for name in ("plan", "tenure", "fee")]


def test_pods_are_told_of_the_features_by_which_they_count_and_a_change_of_them_rolls_nothing_out() -> None:
    def told(*segments: dict[str, Any]) -> Any:
        owner = a_deployment(monitoring={"segments": segments})
        pod = template(owner, a_model_version(), revision(a_model_version(), owner.spec.serving), DEFAULTS)["spec"]
        env = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
        return json.loads(env.get("UPRIGHT_SEGMENTS", "null")), revision(a_model_version(), owner.spec.serving)

    nothing, same = told(SHOP)
    said, other = told(PLAN, TENURE, SHOP)
    assert nothing is None
    assert said == [
        {"name": Segment(**PLAN).counted_as, "feature": "plan", "values": ["basic", "flex"], "edges": None},
        {
            "name": Segment(**TENURE).counted_as,
            "feature": "tenure",
            "values": ["under 12", "12 or more"],
            "edges": [12],
        },
    ]
    assert same == other


@pytest.mark.parametrize(
    ("feature", "inputs", "image", "held"),
    [
        ("plna", INPUTS, {}, True),
        ("plan", INPUTS, {}, False),
        ("plna", INPUTS, {"image": "shop/model:1"}, False),  # it counts by what it knows
        ("plan", [{"name": "input", "type": "FP64", "shape": [-1, 3]}], {}, True),  # features without names
    ],
)
def test_a_version_without_the_feature_of_a_segment_is_held(feature: str, inputs: Any, image: Any, held: bool) -> None:
    resource = serving_old(serving=image, monitoring={"segments": [{**PLAN, "feature": feature}]})
    new = a_model_version("churn-2", signature={"inputs": inputs, "outputs": []})
    made = plan(observed(resource, new, pods=both(0)))
    assert ("candidate" not in made.status) == held
    if held:
        stalled, there = condition(made, "Stalled"), ", ".join(one["name"] for one in inputs)
        assert stalled["reason"] == "SegmentNotFound"
        assert stalled["message"].endswith(
            f"Segment plan of spec.monitoring.segments splits by feature {feature}, and churn-2 has no such input; it "
            f"has {there}. Correct the feature, remove the segment, or name another version."
        )


def test_the_groups_with_the_most_evidence_are_shown_beside_the_metrics() -> None:
    spec = serving_old(monitoring={"segments": [{**PLAN, "values": list("abcdefghi")}]}).spec
    fine = Counts((100, 1), (900, 9))
    groups = {f"errors of plan {group}": Counts((10, bad), (90, 1)) for bad, group in enumerate("abcdefghi")}
    looks = [Look(15.0 * k, {"errors": fine, "refusals": fine, **groups}) for k in range(2)]
    said = analyse(spec, None, looks, None).analysis
    assert [one.name for one in said.metrics] == [
        *("errors", "refusals"),
        *(f"errors of plan {group}" for group in "ihgf"),
    ]


def test_each_look_is_weighed_once_while_it_waits_to_be_recorded_and_nothing_is_kept_of_it_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighed: list[int] = []

    def counting(promise: Any, state: Any, *looks: Look) -> Any:
        weighed.append(len(looks))
        return update(promise, state, *looks)

    monkeypatch.setattr(verdict, "update", counting)
    spec, kept = serving_old().spec, len(verdict._TOLD)
    looks = [Look(15.0 * k, {"errors": Counts((100, 1), (900, 9))}) for k in range(8)]
    found = [analyse(spec, None, looks[:number], None).evidence for number in (3, 3, 4, 8)]
    assert weighed == [3, 1, 4]
    assert len(verdict._TOLD) == kept + 1
    fresh = [Look(one.time, one.measurements) for one in looks]
    assert analyse(spec, None, fresh, None).evidence == found[-1]
    later = analyse(spec, analyse(spec, None, looks[:4], None).evidence, looks[4:], None)
    assert later.evidence == found[-1]
    del looks, fresh
    assert len(verdict._TOLD) == kept
