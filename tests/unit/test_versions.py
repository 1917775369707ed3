"""ModelVersion: what is said of it."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import (
    DEFAULTS,
    NOW,
    AWorld,
    a_deployment,
    a_model_version,
    a_pod,
    after,
    as_stored,
)
from upright.api import names
from upright.api.model_version import ModelVersion, Verdict
from upright.contract import Manifest, Plan
from upright.kube.conditions import with_transition_times
from upright.versions.deployments import Use, uses_of
from upright.versions.inspection import witness
from upright.versions.kind import ModelVersions
from upright.versions.observe import Observed, observe
from upright.versions.plan import plan
from upright.versions.verdicts import MOST, rejected_by, remembered

KIND = ModelVersions(DEFAULTS)
CLAIM = (names.CLAIMS, {"metadata": {"namespace": "shop", "name": "models"}})
JOBLIB = {"uri": "pvc://models/x", "digest": "sha256:" + "0" * 64, "format": "joblib"}


def written(time: datetime) -> str:
    return time.isoformat()


def refused(at: datetime, reason: str = "Corrupt", **state: Any) -> dict[str, Any]:
    """The status of a container that would not load the artifact."""
    message = json.dumps({"reason": reason, "message": "model.skops is not what it was."})
    ended = {"exitCode": 3, "reason": "Error", "message": message, "finishedAt": written(at)}
    return {"lastState": {"terminated": ended}, "state": state}


def serving(at: datetime) -> dict[str, Any]:
    return {"state": {"running": {"startedAt": written(at)}}}


def pod(
    name: str, serve: dict[str, Any], *, ready: bool = False, verifies: str | None = "true", **metadata: Any
) -> Manifest:
    """A pod of the Deployment churn whose serving container has this status."""
    made = a_pod(
        name,
        ready=ready,
        labels={
            names.DEPLOYMENT: "churn",
            names.REVISION: "a",
            names.MODEL_VERSION: "churn-1",
            "pod-template-hash": "1",
            **({names.VERIFIES: verifies} if verifies else {}),
        },
        containerStatuses=[{"name": "serve", "image": "i", "imageID": "i", "restartCount": 0, **serve}],
    )
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "churn-a-1", "uid": "churn-a-1", "controller": True}
    return {**made, "metadata": {**made["metadata"], "ownerReferences": [owner], **metadata}}


def observed(version: ModelVersion, *pods: Manifest, **more: Any) -> Observed:
    return replace(
        Observed(NOW, DEFAULTS, version, "models", claim_exists=True, pods=[witness(each) for each in pods], uses=()),
        **more,
    )


def then(version: ModelVersion, made: Plan, **annotations: str) -> ModelVersion:
    """The version once the plan's status has been recorded."""
    stored = as_stored(version)
    stored = {**stored, "status": with_transition_times(made.status, stored.get("status", {}), NOW)}
    stored["metadata"] = {**stored["metadata"], "annotations": annotations}
    return ModelVersion.model_validate(stored)


def condition(made: Plan, type: str) -> Any:
    return next((one for one in made.status["conditions"] if one["type"] == type), None)


def test_a_new_version_is_ready_and_not_yet_verified() -> None:
    made = plan(observed(a_model_version()))
    assert made.status["phase"] == "Ready"
    assert condition(made, "Verified")["status"] == "Unknown"


def test_a_version_that_a_pod_serves_is_verified_and_stays_so() -> None:
    version = a_model_version()
    made = plan(observed(version, pod("one", serving(NOW), ready=True)))
    assert condition(made, "Verified")["status"] == "True"
    later = plan(observed(then(version, made), pod("two", serving(after(minutes=5)), ready=True)))
    assert later.status == made.status
    assert condition(plan(observed(then(version, made))), "Verified")["status"] == "True"


def test_a_version_that_a_pod_finds_corrupt_is_corrupt_and_stays_so_when_the_pod_is_gone() -> None:
    version = a_model_version()
    made = plan(observed(version, pod("one", refused(NOW))))
    assert made.status["phase"] == "Corrupt"
    assert condition(made, "Ready")["status"] == "False"
    assert "model.skops is not what it was" in condition(made, "Stalled")["message"]
    assert names.RETRY in condition(made, "Stalled")["message"]
    assert plan(observed(then(version, made))).status == made.status


def test_what_is_wrong_is_told_from_the_record_for_as_long_as_it_is_news() -> None:
    version = a_model_version()
    made = plan(observed(version, pod("one", refused(NOW))))
    assert not made.events
    recorded = then(version, made)
    for at in (NOW, after(minutes=30)):
        [event] = plan(observed(recorded, now=at)).events
        assert (event.type, event.reason, event.at) == ("Warning", "Corrupt", NOW)
    assert not plan(observed(recorded, now=after(hours=2))).events


def test_a_pod_that_has_verified_it_since_makes_it_ready_again_and_that_is_told() -> None:
    version = a_model_version()
    corrupt = then(version, plan(observed(version, pod("one", refused(NOW)))))
    healthy = pod("one", refused(NOW, running={"startedAt": written(after(minutes=1))}), ready=True)
    made = plan(observed(corrupt, healthy))
    assert made.status["phase"] == "Ready"
    assert condition(made, "Verified")["status"] == "True"
    again = plan(observed(then(corrupt, made), healthy, now=after(minutes=2)))
    assert again.status == made.status
    [event] = again.events
    assert (event.type, event.reason, event.at) == ("Normal", "Verified", after(minutes=1))
    assert "had been found Corrupt" in event.message


def test_the_newest_finding_counts_and_not_the_pod_that_was_asked_first() -> None:
    old = pod("old", serving(after(minutes=-5)), ready=True)
    assert plan(observed(a_model_version(), old, pod("new", refused(NOW)))).status["phase"] == "Corrupt"
    dying = pod("dying", refused(after(minutes=-9)), deletionTimestamp=written(NOW))
    assert plan(observed(a_model_version(), dying, old)).status["phase"] == "Ready"


def test_a_pod_that_is_ready_again_after_a_hiccup_has_verified_nothing_anew() -> None:
    hiccup = pod("old", serving(after(minutes=-5)), ready=True)
    [ready] = hiccup["status"]["conditions"]
    ready["lastTransitionTime"] = written(after(minutes=5))
    assert plan(observed(a_model_version(), hiccup, pod("new", refused(NOW)))).status["phase"] == "Corrupt"


@pytest.mark.parametrize("reason", ["Corrupt", "Missing"])
@pytest.mark.parametrize("label", [None, "", "false", "True"])
def test_a_pod_that_is_not_known_to_verify_says_nothing_by_being_ready(label: str | None, reason: str) -> None:
    """An image of one's own, or a pod of an earlier operator, which may be one."""
    version = a_model_version()
    foreign = pod("own", serving(after(minutes=1)), ready=True, verifies=label)
    assert condition(plan(observed(version, foreign)), "Verified")["status"] == "Unknown"
    refusing = pod("one", refused(NOW, reason))
    assert plan(observed(version, refusing, foreign)).status["phase"] == reason
    recorded = then(version, plan(observed(version, refusing)))
    later = plan(observed(recorded, foreign, now=after(hours=1)))
    assert (later.status["phase"], condition(later, "Verified")["status"]) == (reason, "False")
    again = plan(observed(recorded, foreign, pod("two", serving(after(minutes=2)), ready=True)))
    assert again.status["phase"] == "Ready"


def test_what_an_earlier_operator_found_right_stays_so_with_its_pods() -> None:
    version = a_model_version()
    intact = then(version, plan(observed(version, pod("one", serving(NOW), ready=True))))
    later = plan(observed(intact, pod("one", serving(NOW), ready=True, verifies=None), now=after(hours=1)))
    assert condition(later, "Verified")["status"] == "True"


def test_a_pod_of_an_earlier_operator_that_refused_it_and_serves_it_now_has_verified_it() -> None:
    version = a_model_version()
    corrupt = then(version, plan(observed(version, pod("one", refused(NOW), verifies=None))))
    assert corrupt.status.phase == "Corrupt"
    healthy = pod("one", refused(NOW, running={"startedAt": written(after(minutes=1))}), ready=True, verifies=None)
    assert plan(observed(corrupt, healthy)).status["phase"] == "Ready"


@pytest.mark.parametrize("retry", ["1", "1" * 250_000], ids=["short", "long"])
def test_a_retry_makes_it_ready_whatever_pods_of_an_earlier_attempt_say(retry: str) -> None:
    version = a_model_version()
    earlier = pod("one", refused(after(seconds=30), waiting={"reason": "CrashLoopBackOff"}))  # by a clock that is fast
    corrupt = then(version, plan(observed(version, earlier)))
    asked = then(corrupt, plan(observed(corrupt, earlier)), **{names.RETRY: retry})
    made = plan(observed(asked, earlier))
    assert made.status["phase"] == "Ready"
    assert made.status["retry"] == retry[:1024]
    assert condition(made, "Verified")["status"] == "Unknown"
    recorded = then(asked, made, **{names.RETRY: retry})
    assert plan(observed(recorded, earlier, now=after(seconds=1))).status == made.status
    assert plan(observed(recorded, pod("two", refused(after(minutes=1))))).status["phase"] == "Corrupt"


def test_a_status_of_an_earlier_operator_is_understood() -> None:
    made = plan(observed(a_model_version(), pod("one", refused(NOW))))
    corrupt = then(a_model_version(), replace(made, status={k: v for k, v in made.status.items() if k != "inspection"}))
    assert plan(observed(corrupt)).status == made.status


@pytest.mark.parametrize(
    "ended",
    [{"exitCode": 137, "message": ""}, {"exitCode": 3, "message": '{"reason": "NotEnoughMemory", "message": "No."}'}],
)
def test_another_end_of_a_pod_says_nothing_of_the_version(ended: dict[str, Any]) -> None:
    made = plan(observed(a_model_version(), pod("one", {"state": {"terminated": ended}})))
    assert made.status["phase"] == "Ready"


async def test_pods_of_a_namesake_that_is_no_more_say_nothing_of_it() -> None:
    before = pod("one", refused(NOW), creationTimestamp="2026-11-22T10:59:59Z")
    seen = await observe(as_stored(a_model_version()), AWorld(CLAIM, (names.PODS, before)), DEFAULTS)
    assert not seen.pods


def test_a_format_that_is_not_allowed_cannot_be_served() -> None:
    made = plan(observed(a_model_version(artifact=JOBLIB)))
    assert made.status["phase"] == "NotAllowed"
    assert condition(made, "Ready")["reason"] == "FormatNotAllowed"
    assert condition(made, "Ready")["status"] == "False"
    assert "only skops" in condition(made, "Stalled")["message"]


def test_a_version_whose_claim_is_gone_is_missing_until_it_is_there_again() -> None:
    version = a_model_version()
    made = plan(observed(version, claim_exists=False))
    assert made.status["phase"] == "Missing"
    said = condition(made, "Ready")
    assert (said["status"], said["reason"]) == ("False", "ClaimMissing")
    assert "Claim models, which holds the artifact, does not exist in namespace shop" in said["message"]
    recorded = then(version, made)
    [event] = plan(observed(recorded, claim_exists=False)).events
    assert (event.type, event.reason) == ("Warning", "ClaimMissing")
    assert plan(observed(recorded)).status["phase"] == "Ready"


def test_what_a_pod_has_verified_on_a_claim_that_is_gone_is_not_known_of_the_next_one() -> None:
    version = then(a_model_version(), plan(observed(a_model_version(), pod("one", serving(NOW), ready=True))))
    assert condition(plan(observed(version)), "Verified")["status"] == "True"
    held = plan(observed(version, pod("one", serving(NOW), ready=True), claim_exists=False))
    assert condition(held, "Verified")["status"] == "True", "pods go on with it until they end"
    without = then(version, plan(observed(version, claim_exists=False)))
    again = plan(observed(without))
    assert (again.status["phase"], condition(again, "Verified")["status"]) == ("Ready", "Unknown")


def test_a_claim_that_is_there_again_does_not_hide_what_a_pod_has_found() -> None:
    version = a_model_version()
    corrupt = then(version, plan(observed(version, pod("one", refused(NOW, "Missing")))))
    without = then(corrupt, plan(observed(corrupt, claim_exists=False)))
    assert condition(plan(observed(without, claim_exists=False)), "Ready")["reason"] == "ClaimMissing"
    assert condition(plan(observed(without)), "Ready")["reason"] == "Missing"


def test_a_claim_that_is_applied_a_moment_later_is_waited_for() -> None:
    early = datetime.fromisoformat(as_stored(a_model_version())["metadata"]["creationTimestamp"])
    made = plan(observed(a_model_version(), claim_exists=False, now=early + timedelta(seconds=20)))
    assert condition(made, "Reconciling")["status"] == "True"
    assert condition(made, "Stalled") is None
    assert made.again == timedelta(seconds=40)


ARM = {"revision": "a", "since": "2026-11-22T12:00:00Z"}


def serves(place: str, version: str = "churn-1") -> Manifest:
    return as_stored(a_deployment(status={place: {"modelVersion": version, **ARM}}))


async def seen_with(version: ModelVersion, *deployments: Manifest, pods: Any = ()) -> Observed:
    world = AWorld(CLAIM, *((names.DEPLOYMENTS, each) for each in deployments), *((names.PODS, one) for one in pods))
    return await observe(as_stored(version), world, DEFAULTS)


async def test_it_knows_who_serves_it() -> None:
    made = plan(await seen_with(a_model_version(), serves("stable")))
    assert made.status["usedBy"] == ["shop/churn"]
    assert plan(await seen_with(a_model_version(), serves("stable", "churn-2"))).status["usedBy"] == []


@pytest.mark.parametrize(
    ("deployment", "owner"),
    [
        (serves("stable"), {"ownerReferences": []}),
        (serves("stable"), {"ownerReferences": [{"name": "churn-debug-1", "uid": "x", "controller": True}]}),
        (serves("stable", "churn-2"), {}),
    ],
    ids=["no workload has made it", "a copy of its workload has", "its Deployment does not serve the version"],
)
async def test_a_pod_that_only_bears_the_labels_of_one_that_serves_it_says_nothing_of_it(
    deployment: Manifest, owner: Any
) -> None:
    made = plan(await seen_with(a_model_version(), deployment, pods=[pod("one", refused(NOW), **owner)]))
    assert made.status["phase"] == "Ready"
    assert (
        plan(await seen_with(a_model_version(), serves("stable"), pods=[pod("one", refused(NOW))])).status["phase"]
        == "Corrupt"
    )


async def test_a_candidate_serves_from_its_first_ready_pod_on_so_that_one_write_says_all() -> None:
    version = a_model_version()
    starting = plan(await seen_with(version, serves("candidate"), pods=[pod("one", serving(NOW))]))
    assert starting.status["usedBy"] == []
    ready = plan(await seen_with(version, serves("candidate"), pods=[pod("one", serving(NOW), ready=True)]))
    assert ready.status["usedBy"] == ["shop/churn"]
    assert condition(ready, "Verified")["status"] == "True"
    hiccup = plan(await seen_with(then(version, ready), serves("candidate"), pods=[pod("one", serving(NOW))]))
    assert hiccup.status == ready.status


async def test_from_creation_to_serving_it_is_written_four_times_at_most_and_once_more_when_it_is_replaced() -> None:
    version, writes = a_model_version(), 1  # the creation
    version = ModelVersion.model_validate({**as_stored(version), "status": {}})
    starting, ready = pod("one", serving(NOW)), pod("one", serving(NOW), ready=True)
    story: list[tuple[list[Manifest], list[Manifest]]] = [
        ([], []),
        ([serves("candidate")], []),
        ([serves("candidate")], [starting]),
        ([serves("candidate")], [ready]),
        ([serves("stable")], [ready]),
        ([serves("stable")], [ready, pod("two", serving(after(seconds=5)), ready=True)]),
        ([serves("stable", "churn-2")], [ready]),
        ([serves("stable", "churn-2")], []),
    ]
    counted = []
    for deployments, pods in story:
        made = plan(await seen_with(version, *deployments, pods=pods))
        recorded = then(version, made)
        writes += recorded.status != version.status
        counted.append(writes)
        version = recorded
    assert counted == [2, 2, 2, 3, 4, 4, 5, 5]


def rejection(revision: str = "b", **more: Any) -> dict[str, Any]:
    return {
        "modelVersion": "churn-1",
        "revision": revision,
        "at": written(NOW),
        "metric": "errors",
        "message": "It fails 3 times as often.",
        **more,
    }


def used(name: str = "churn", **status: Any) -> Use:
    return uses_of(as_stored(a_deployment(name=name, status=status)))["churn-1"]


def test_what_became_of_it_is_copied_from_deployments() -> None:
    stable = {"modelVersion": "churn-1", "revision": "a", "since": written(after(minutes=-9))}
    kept = remembered([], [used(stable=stable, rejected=[rejection(), rejection("c", modelVersion="churn-7")])])
    assert [(each.deployment, each.revision, each.outcome, each.at) for each in kept] == [
        ("churn", "b", "Rejected", NOW),
        ("churn", "a", "Stable", after(minutes=-9)),
    ]
    assert (kept[0].metric, kept[0].message) == ("errors", "It fails 3 times as often.")


def test_it_outlives_the_deployment_and_the_list_that_it_stood_in() -> None:
    kept = remembered([], [used(rejected=[rejection()])])
    assert remembered(kept, []) == kept
    assert (
        remembered(kept, [used(candidate={"modelVersion": "churn-1", "revision": "b", "since": written(NOW)})]) == kept
    )


def test_a_rejection_that_somebody_wanted_to_be_tried_again_stands_no_more() -> None:
    kept = remembered([], [used(rejected=[rejection()]), used("other", rejected=[rejection()])])
    retried = rejection(retried=written(after(minutes=5)))
    assert [each.deployment for each in remembered(kept, [used(rejected=[retried])])] == ["other"]
    again = rejection(at=written(after(minutes=9)))
    [newest, _] = remembered(kept, [used(rejected=[again, retried])])
    assert (newest.deployment, newest.at) == ("churn", after(minutes=9))


def test_a_rejection_by_a_clock_that_was_ahead_can_be_tried_again() -> None:
    ahead = written(after(hours=1))
    kept = remembered([], [used(rejected=[rejection(at=ahead)])])
    assert [each.at for each in kept] == [after(hours=1)]
    assert remembered(kept, [used(rejected=[rejection(at=ahead, retried=written(after(minutes=5)))])]) == []


def test_a_deployment_that_cannot_be_read_says_nothing_and_stops_nobody() -> None:
    broken: list[Any] = [
        {"stable": "churn-1", "candidate": 7, "rejected": "all"},
        {"stable": {"modelVersion": "churn-1"}, "rejected": [None, {"modelVersion": "churn-1"}, rejection(at=[])]},
    ]
    for status in broken:
        manifest = {**as_stored(a_deployment()), "status": status}
        assert not any(use.verdicts for use in uses_of(manifest).values())
        for watch in KIND.watches:
            if watch.type == names.DEPLOYMENTS:
                list(watch.wakes(manifest, AWorld()))


VERDICTS = st.builds(
    Verdict,
    deployment=st.sampled_from(["churn", "other", "third"]),
    revision=st.text("abcdef", min_size=1, max_size=2),
    outcome=st.sampled_from(["Stable", "Rejected"]),
    at=st.integers(0, 40).map(lambda minutes: after(minutes=minutes)),
    message=st.text("xy", max_size=3),
)
LIFTED = st.tuples(
    st.text("abcdef", min_size=1, max_size=2), st.integers(0, 40).map(lambda minutes: after(minutes=minutes))
)
USES = st.lists(
    st.builds(
        lambda name, verdicts, lifted: Use(
            name, None, [each.model_copy(update={"deployment": name}) for each in verdicts], lifted
        ),
        st.sampled_from(["churn", "other"]),
        st.lists(VERDICTS, max_size=20, unique_by=lambda each: (each.revision, each.outcome)),
        st.lists(LIFTED, max_size=4, unique_by=lambda each: each[0]),
    ),
    max_size=2,
    unique_by=lambda each: each.deployment,
)


@given(before=st.lists(VERDICTS, max_size=90), uses=USES)
def test_verdicts_are_bounded_newest_first_each_once_and_recording_them_twice_changes_nothing(
    before: list[Verdict], uses: list[Use]
) -> None:
    kept = remembered(before, uses)
    assert len(kept) <= MOST
    assert [each.at for each in kept] == sorted((each.at for each in kept), reverse=True)
    assert len({(each.deployment, each.revision, each.outcome) for each in kept}) == len(kept)
    assert remembered(kept, uses) == kept


def test_a_rejection_is_not_forgotten_for_all_those_whom_the_version_has_served_since() -> None:
    stable = [
        Verdict(deployment=f"user-{n}", revision="a", outcome="Stable", at=after(minutes=n)) for n in range(2 * MOST)
    ]
    rejected = Verdict(deployment="churn", revision="b", outcome="Rejected", at=NOW, message="It fails.")
    kept = remembered([rejected], [Use("many", None, stable, [])])
    assert len(kept) == MOST
    assert kept[-1].deployment == "churn"


@pytest.mark.parametrize(
    ("outcomes", "place", "named"),
    [
        ("Rejected", None, ["churn"]),
        ("Rejected", "stable", []),  # with another spec.serving
        ("Stable Rejected", None, ["churn"]),
        ("Rejected Stable", None, []),
        ("Stable", None, []),
    ],
)
def test_who_rejects_a_version_is_whoever_gave_it_up_last_and_does_not_serve_it(
    outcomes: Any, place: str | None, named: list[str]
) -> None:
    verdicts = [
        Verdict(deployment="churn", revision=f"r{n}", outcome=outcome, at=after(minutes=n), message="")
        for n, outcome in enumerate(outcomes.split())
    ]
    assert rejected_by(verdicts[::-1], [Use("churn", place, verdicts, [])]) == named


def test_of_those_who_reject_a_version_the_last_one_comes_first() -> None:
    said = [("a", "Stable"), ("b", "Rejected"), ("a", "Rejected")]
    verdicts = [
        Verdict(deployment=name, revision="r", outcome=outcome, at=after(minutes=n), message="")
        for n, (name, outcome) in enumerate(said)
    ]
    assert rejected_by(verdicts[::-1], []) == ["a", "b"]


def test_a_deployment_wakes_the_versions_that_its_status_names_and_no_other() -> None:
    status = {
        "stable": {"modelVersion": "churn-1", **ARM},
        "candidate": {"modelVersion": "churn-2", **ARM},
        "rejected": [rejection(modelVersion="churn-3")],
    }
    [watch] = [watch for watch in KIND.watches if watch.type == names.DEPLOYMENTS]
    woken = [key.name for key in watch.wakes(as_stored(a_deployment("churn-9", status=status)), AWorld())]
    assert woken == ["churn-1", "churn-2", "churn-3"]


def test_a_claim_wakes_the_versions_for_which_it_makes_a_difference() -> None:
    [watch] = [watch for watch in KIND.watches if watch.type == names.CLAIMS]
    elsewhere = a_model_version("churn-3", artifact={**JOBLIB, "uri": "pvc://other/x"})
    versions = [
        (names.MODEL_VERSIONS, as_stored(each))
        for each in (a_model_version("churn-1"), a_model_version("churn-2", phase="Missing"), elsewhere)
    ]
    assert [key.name for key in watch.wakes(CLAIM[1], AWorld(CLAIM, *versions))] == ["churn-2"]
    assert [key.name for key in watch.wakes(CLAIM[1], AWorld(*versions))] == ["churn-1"]
    going = {**CLAIM[1], "metadata": {**CLAIM[1]["metadata"], "deletionTimestamp": NOW.isoformat()}}
    assert [key.name for key in watch.wakes(going, AWorld((names.CLAIMS, going), *versions))] == ["churn-1"]


async def test_a_claim_that_is_being_deleted_is_not_there() -> None:
    going = {**CLAIM[1], "metadata": {**CLAIM[1]["metadata"], "deletionTimestamp": NOW.isoformat()}}
    for claim, phase in ((CLAIM[1], "Ready"), (going, "Missing")):
        found = await KIND.observe(as_stored(a_model_version()), AWorld((names.CLAIMS, claim)))
        assert plan(found).status["phase"] == phase
