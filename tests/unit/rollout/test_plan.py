"""Deployment: given what is there, what is planned."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import DEFAULTS, NOW, a_deployment, a_model_version, after, as_stored, exited, waiting
from tests.unit.rollout.world import (
    LONG_AGO,
    NEW,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    both,
    condition,
    in_canary,
    looks,
    observed,
    pods,
    selector,
    serving_old,
    sizes,
    stalled,
    the_workload,
    then,
)
from upright.analysis import Counts, Look
from upright.api import names
from upright.api.artifact import REFUSED
from upright.api.deployment import Deployment
from upright.api.deployment_status import Analysis
from upright.api.model_version import ModelVersionStatus
from upright.kube.events import LONGEST_NOTE
from upright.rollout.measuring import Frequent, Measurement
from upright.rollout.modes.realtime import template
from upright.rollout.plan import plan
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import Replicas, services, split
from upright.rollout.status import as_json
from upright.rollout.verdict import worth_recording

# The first version


def test_the_first_version_is_made_with_all_its_pods_and_is_stable_when_they_are_ready() -> None:
    first = observed(a_deployment("churn-1", replicas=2), OLD)
    made = plan(first)
    assert made.status["phase"] == "Pending"
    [created] = made.create
    assert created["spec"]["replicas"] == 2
    ready = then(first, made, pods={OLD_REVISION: pods(OLD_REVISION, 2)})
    assert plan(ready).status["stable"]["modelVersion"] == "churn-1"
    assert plan(ready).status["phase"] == "Stable"


@pytest.mark.parametrize(("image", "phase"), [("docker.io/no/such:1: not found", "Pending"), ("", "Failed")])
def test_a_first_version_that_never_gets_ready_says_why(image: str, phase: str) -> None:
    """It is rejected, unless it is spec.serving alone that keeps it from starting, and would any other."""
    starting = a_deployment(
        "churn-1",
        status={
            "candidate": {
                "modelVersion": "churn-1",
                "revision": OLD_REVISION,
                "since": NOW.isoformat(),
                "unreadySince": NOW.isoformat(),
                "replicas": 1,
            }
        },
    )
    lacking: Any = {"containers": {"serve": waiting("ImagePullBackOff", image)}} if image else {}
    late = pods(OLD_REVISION, 1, ready=False, **lacking)
    made = plan(observed(starting, OLD, now=after(minutes=11), pods={OLD_REVISION: late}))
    assert made.status["phase"] == phase
    assert (image or "Only 0 of 1 pods were ready") in (stalled(made) or "")
    assert condition(made, "Ready")["status"] == "False"


# A canary


def test_a_new_version_is_recorded_as_candidate_with_the_pods_of_its_first_step() -> None:
    made = plan(observed(serving_old(), pods=both(0)))
    assert made.status["candidate"]["modelVersion"] == "churn-2"
    canary = next(one for one in made.create if NEW_REVISION in one["metadata"]["name"])
    assert canary["spec"]["replicas"] == 1
    assert selector(made, "churn") == {"upright.dev/deployment": "churn"}
    assert selector(made, "churn-stable")["upright.dev/revision"] == OLD_REVISION
    assert selector(made, "churn-canary")["upright.dev/revision"] == NEW_REVISION


def test_a_step_begins_when_the_pods_are_ready_and_ends_after_its_time() -> None:
    resource = in_canary(step_since=None)
    assert "stepSince" not in plan(observed(resource, pods=both(0))).status["candidate"]
    begun = plan(observed(resource, pods=both()))
    assert begun.status["candidate"]["stepSince"] == "2026-11-22T12:00:00Z"
    half = plan(observed(in_canary(), pods=both(), now=after(seconds=59)))
    assert half.status["candidate"]["step"] == 0
    over = plan(observed(in_canary(), pods=both(), now=after(seconds=60)))
    assert over.status["candidate"]["step"] == 1


@pytest.mark.parametrize(("deadline", "probes"), [("3m", 600), ("10m", 600), ("30m", 1800)])
def test_a_container_may_start_for_as_long_as_the_rollout_waits_for_it(deadline: str, probes: int) -> None:
    resource = a_deployment("churn-1", rollout={"startupDeadline": deadline})
    [container] = template(resource, a_model_version(), "r", DEFAULTS)["spec"]["containers"]
    assert container["startupProbe"]["failureThreshold"] == probes


def test_more_pods_come_with_the_next_step_by_scaling_and_never_by_a_new_template() -> None:
    resource = in_canary(1, candidate={"replicas": 1})
    made = plan(observed(resource, pods=both()))
    assert not made.create
    assert sizes(made) == {NEW_REVISION: 3}


def test_after_the_last_step_the_candidate_gets_all_pods_before_it_replaces_the_stable_version() -> None:
    before = observed(in_canary(1), pods=both(3), now=after(minutes=1))
    passing = plan(before)
    assert passing.status["candidate"]["finishing"]
    assert passing.status["stable"]["modelVersion"] == "churn-1"
    promoted = plan(then(before, passing, now=after(seconds=70)))
    assert promoted.status["stable"]["modelVersion"] == "churn-2"
    assert "candidate" not in promoted.status
    assert [episode["outcome"] for episode in promoted.status["history"]] == ["Promoted", "Replaced"]
    assert selector(promoted, "churn")["upright.dev/revision"] == NEW_REVISION


def test_what_was_replaced_is_deleted_by_its_uid() -> None:
    resource = a_deployment(
        "churn-2",
        status={"stable": {"modelVersion": "churn-2", "revision": NEW_REVISION, "since": NOW.isoformat()}},
    )
    left = the_workload(resource, OLD, OLD_REVISION, 3)
    made = plan(observed(resource, workloads={OLD_REVISION: left}))
    assert [reference.uid for reference in made.delete] == [left["metadata"]["uid"]]


# Evidence


@pytest.mark.parametrize(
    ("failing", "most"),
    [
        (None, ""),
        (Frequent("Timeout", 3, 3), "Most frequent of its errors (100 % of 3): Timeout."),
        (
            Frequent("KeyError", 19, 20, "'fee' …", "2 rows of 4 features"),
            "Most frequent of its errors (95 % of 20, for instance with 2 rows of 4 features): KeyError: 'fee' ….",
        ),
        (Frequent("ValueError", 1, 3, "No!"), "Most frequent of its errors (33.3 % of 3): ValueError: No!"),
    ],
)
def test_a_version_with_far_more_errors_is_rejected_with_metric_ratio_and_evidence(
    failing: Frequent | None, most: str
) -> None:
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    before = observed(in_canary(), pods=both(), looks=bad, now=after(seconds=31))
    seen: Any = {"canary": Measurement("Counted", failing=failing)} if failing else {}
    before = replace(before, reading=replace(before.reading, arms=seen))
    made = plan(before)
    [rejection] = made.status["rejected"]
    assert rejection["modelVersion"] == "churn-2"
    assert rejection["metric"] == "errors"
    assert made.status["phase"] == "RolledBack"
    assert condition(made, "Ready")["status"] == "True"
    assert "20 %" in (stalled(made) or "")
    assert selector(made, "churn")["upright.dev/revision"] == OLD_REVISION
    said = rejection["message"]
    assert said.startswith("Worse than tolerated in errors: 20 % against 1 % of the stable version (evidence ")
    assert said.endswith(most or " over all metrics, 100 is enough).")
    assert len(said) < 230
    analysis = made.status["analysis"]
    assert (
        f"evidence {analysis['evidence']:.4g} over all metrics" in said == analysis["message"] + " " * bool(most) + most
    )
    assert condition(made, "Ready")["message"].endswith(f" UTC: {said}")
    [told] = [event.message for event in made.events if event.reason == "RolledBack"]
    assert told.startswith("churn-2 is rejected and churn-1 serves all traffic again. Worse than tolerated in ")
    assert f"Why it answered with 5xx is in the logs of its pods (churn-{NEW_REVISION}-*, container serve)" in told


def test_a_version_that_refuses_more_is_rejected_with_why_and_where_the_reasons_are() -> None:
    start = NOW.timestamp()
    bad = [Look(start + 15 * n, {"refusals": Counts((100, 50), (900, 9))}) for n in (1, 2)]
    before = observed(in_canary(), pods=both(), looks=bad, now=after(seconds=31))
    seen = Measurement(
        "Counted", failing=Frequent("ValueError", 1, 1), refusing=Frequent("UnknownValue of country", 44, 50)
    )
    told = plan(replace(before, reading=replace(before.reading, arms={"canary": seen})))
    said = told.status["rejected"][0]["message"]
    assert said.endswith(" Most frequent of its refusals (88 % of 50): UnknownValue of country.")
    made = plan(before)
    assert made.status["history"][0]["reason"].endswith(" 100 is enough). Each of its answers of 4xx or 503 says why.")


@pytest.mark.parametrize(
    "metric",
    [
        {"name": "errors", "type": "Ratio", "bad": "shop_refunds_total", "total": "shop_orders_total"},
        {"name": "errors", "type": "ErrorRate", "bad": 'calls{ok="no"}', "total": "calls"},
    ],
    ids=lambda metric: str(metric["type"]),
)
def test_what_requests_failed_with_is_not_said_of_what_a_user_counts_otherwise(metric: dict[str, str]) -> None:
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    before = observed(in_canary(monitoring={"metrics": [metric]}), pods=both(), looks=bad, now=after(seconds=31))
    seen = Measurement("Counted", failing=Frequent("ValueError", 20, 20))
    made = plan(replace(before, reading=replace(before.reading, arms={"canary": seen})))
    assert made.status["rejected"][0]["message"].endswith(" 100 is enough).")


def test_the_longest_that_a_canary_can_say_is_in_the_rejection_and_first_in_the_event_without_where_to_look() -> None:
    said = Frequent("E" * 64, 20, 20, "w" * 300, "x" * 75)
    before = observed(
        in_canary(), pods=both(), looks=looks(2, canary=(100, 20), stable=(900, 9)), now=after(seconds=31)
    )
    seen = Measurement("Counted", failing=said)
    made = plan(replace(before, reading=replace(before.reading, arms={"canary": seen})))
    [told] = [event.message for event in made.events if event.reason == "RolledBack"]
    for sentence in (made.status["rejected"][0]["message"], told, stalled(made)):
        assert sentence
        assert f"{said.example}): {said.what}: {said.message}." in sentence
    assert len(told.encode()) <= LONGEST_NOTE
    assert len(made.status["history"][0]["reason"]) <= 800


def test_by_the_exact_boundary_it_is_said_how_many_errors_were_too_many() -> None:
    metric = {"name": "errors", "type": "ErrorRate", "boundary": "Exact", "tolerance": {"absolute": 0}}
    few = looks(2, canary=(10, 2), stable=(190, 1))
    made = plan(observed(in_canary(monitoring={"metrics": [metric]}), pods=both(), looks=few, now=after(seconds=31)))
    [rejection] = made.status["rejected"]
    assert "too many from" in rejection["message"]


def test_a_rejected_version_stays_rejected_when_everything_is_planned_again() -> None:
    before = observed(
        in_canary(), pods=both(), looks=looks(2, canary=(100, 20), stable=(900, 9)), now=after(seconds=31)
    )
    later = then(before, plan(before), now=after(hours=5), looks=(), pods=both(0))
    made = plan(later)
    assert made.status["rejected"] == plan(before).status["rejected"]
    assert made.status["phase"] == "RolledBack"
    assert "candidate" not in made.status


def test_a_rejected_version_is_tried_again_when_somebody_says_so_once() -> None:
    before = observed(
        in_canary(), pods=both(), looks=looks(2, canary=(100, 20), stable=(900, 9)), now=after(seconds=31)
    )
    rejected = plan(before)
    stored = {**as_stored(before.resource), "status": dict(rejected.status)}
    stored["metadata"] = {**stored["metadata"], "annotations": {"upright.dev/retry": "1"}}
    asked = then(replace(before, resource=Deployment.model_validate(stored)), plan(before), looks=())
    asked = replace(asked, resource=Deployment.model_validate(stored))
    again = plan(asked)
    assert again.status["candidate"]["modelVersion"] == "churn-2"
    assert "analysis" not in again.status
    assert plan(then(asked, again)).status["retry"] == "1"


def test_a_third_version_starts_after_a_rejection() -> None:
    before = observed(
        in_canary(), pods=both(), looks=looks(2, canary=(100, 20), stable=(900, 9)), now=after(seconds=31)
    )
    third = a_model_version("churn-3")
    assert plan(then(before, plan(before), wanted=third, looks=())).status["candidate"]["modelVersion"] == "churn-3"


def test_a_third_version_waits_for_the_pods_of_a_rejected_one_whose_workload_could_not_be_deleted() -> None:
    rejected = {"modelVersion": "churn-2", "revision": NEW_REVISION, "at": NOW.isoformat(), "message": "Bad."}
    resource = serving_old(status={"rejected": [rejected]})
    left = {one: the_workload(resource, NEW, one, 3) for one in (OLD_REVISION, NEW_REVISION)}
    before = observed(resource, a_model_version("churn-3"), workloads=left, pods=both(3))
    made = plan(before)
    assert "candidate" not in made.status
    assert condition(made, "Reconciling")["reason"] == "OldPodsGoing"
    assert f"not of its workload have gone: {NEW_REVISION}-0, {NEW_REVISION}-1" in condition(made, "Ready")["message"]
    assert selector(made, "churn")[names.REVISION] == OLD_REVISION
    assert [one.name for one in made.delete] == [f"churn-{NEW_REVISION}"]
    gone = replace(before, workloads={OLD_REVISION: left[OLD_REVISION]}, pods={OLD_REVISION: pods(OLD_REVISION, 3)})
    assert plan(gone).status["candidate"]["modelVersion"] == "churn-3"


def test_a_healthy_version_goes_on() -> None:
    fine = looks(3, canary=(300, 3), stable=(900, 9))
    made = plan(observed(in_canary(), pods=both(), looks=fine, now=after(seconds=45)))
    assert made.status["analysis"]["verdict"] == "Continue"
    assert not made.status.get("rejected")


def test_a_look_that_says_little_is_not_worth_a_write() -> None:
    all_looks = looks(3, canary=(10, 0), stable=(90, 1))
    before = observed(in_canary(), pods=both(), looks=all_looks[:1])
    first = plan(before)
    settled = then(before, first, looks=())
    recorded = plan(settled)
    next_look = then(settled, recorded, looks=all_looks[1:2])
    assert plan(next_look).status == as_json(next_look.resource.status)


@pytest.mark.parametrize(
    ("evidence", "verdict", "seconds", "worth"),
    [
        (0.1, "Continue", 15, False),  # below 1 a canary only looks ever better
        (9.9, "Continue", 15, False),
        (10.1, "Continue", 15, True),
        (0.8, "Promote", 15, True),
        (0.8, "Continue", 60, True),
    ],
)
def test_a_look_is_recorded_when_losing_it_would_matter(
    evidence: float, verdict: Any, seconds: float, worth: bool
) -> None:
    recorded = Analysis(looks=1, at=0, evidence=0.8, threshold=100)
    now = Analysis(looks=2, at=seconds, evidence=evidence, threshold=100, verdict=verdict)
    assert worth_recording(recorded, now) is worth


@pytest.mark.parametrize(
    ("recorded", "now", "worth"),
    [
        ({"looks": 1, "unused": "neither"}, {"looks": 2, "used": 1, "unused": "neither"}, True),
        ({"looks": 1, "unused": "neither"}, {"looks": 2, "unused": "neither"}, False),
        ({"looks": 1, "unused": "neither"}, {"looks": 2, "unused": "the canary"}, True),
        ({"looks": 5, "unused": "neither"}, {"looks": 9, "unused": "the canary"}, False),  # reasons may take turns
        ({"looks": 5, "used": 1}, {"looks": 6, "used": 2}, False),
        ({"looks": 5, "used": 1}, {"looks": 20, "used": 2}, False),
        ({"looks": 5, "used": 1}, {"looks": 21, "used": 2}, True),  # each turn would weigh all of them again
    ],
)
def test_that_looks_can_be_compared_and_why_not_is_recorded_when_it_changes_and_so_are_many(
    recorded: Any, now: Any, worth: bool
) -> None:
    assert worth_recording(Analysis(at=0, threshold=100, **recorded), Analysis(at=2, threshold=100, **now)) is worth


def test_what_is_said_of_looks_is_no_minute_old_and_costs_few_writes() -> None:
    """Looks every two seconds, of which the first have nothing to compare, for a reason that takes turns."""
    nothing, busy = ((0, 0), (0, 0)), ((3, 0), (9, 0))
    counts = [nothing, ((0, 0), (9, 0))] * 5 + [busy] * 19
    taken = [Look(NOW.timestamp() + 2 * n, {"errors": Counts(*arms)}) for n, arms in enumerate(counts, start=1)]
    before, said, writes = observed(in_canary(), pods=both()), list[str](), 0
    for number in range(1, len(taken) + 1):
        recorded = before.resource.status.analysis
        new = [one for one in taken[:number] if recorded is None or one.time > (recorded.at or 0)]
        made = plan(replace(before, reading=replace(before.reading, looks=new), now=after(seconds=2 * number)))
        before = then(before, made)
        writes += before.resource.status.analysis != recorded
        said.append(condition(made, "Ready")["message"])
    assert "after 1 look; none could be compared: " in said[0]
    assert "after 11 looks; 10 could not be compared, the last of these: " in said[10]
    assert writes <= 8


def test_evidence_recorded_and_continued_equals_evidence_in_one_go() -> None:
    every = looks(10, canary=(100, 3), stable=(900, 9))
    before = observed(in_canary(), pods=both(), looks=every)
    whole = plan(before)
    half = plan(observed(in_canary(), pods=both(), looks=every[:5]))
    rest = plan(then(before, half, looks=every[5:]))
    assert whole.keep
    assert rest.keep
    assert rest.keep["spec"] == whole.keep["spec"]
    assert rest.status["analysis"] == whole.status["analysis"]


def test_a_rejection_is_recorded_before_anything_is_done_so_that_a_crash_forgets_nothing() -> None:
    resource = in_canary()
    before = observed(
        resource,
        pods=both(),
        looks=looks(2, canary=(100, 20), stable=(900, 9)),
        now=after(seconds=31),
    )
    acted = plan(before)
    after_crash = plan(then(before, acted, looks=(), workloads=before.workloads))
    assert list(after_crash.delete) == list(acted.delete) != []
    assert list(after_crash.apply) == list(acted.apply)


def test_a_first_version_that_was_rejected_is_not_taken_up_when_its_workload_is_still_there() -> None:
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": LONG_AGO.isoformat(), "step": 0, "replicas": 3}
    refused = pods(
        OLD_REVISION, 3, ready=False, containers={"serve": exited(REFUSED, '{"reason": "a", "message": "b"}')}
    )
    before = observed(a_deployment("churn-1", replicas=3, status={"candidate": arm}), OLD, pods={OLD_REVISION: refused})
    rejected = plan(before)
    assert [one["modelVersion"] for one in rejected.status["rejected"]] == ["churn-1"]
    recovered = {OLD_REVISION: pods(OLD_REVISION, 3)}  # the process ended before it acted
    after_crash = plan(then(before, rejected, pods=recovered, workloads=before.workloads))
    assert "stable" not in after_crash.status
    assert list(after_crash.delete) == list(rejected.delete) != []


# Pods that will not load the model


@pytest.mark.parametrize("reason", ["Corrupt", "Missing"])
def test_a_version_whose_pods_refuse_the_artifact_is_rejected_at_once(reason: str) -> None:
    said = f'{{"reason": "{reason}", "message": "model.skops is not what it was."}}'
    failing = both(1, ready=False, containers={"serve": exited(1, said)})
    made = plan(observed(in_canary(step_since=None), pods=failing))
    assert made.status["phase"] == "Progressing", "it could not be read this time"
    refusing = both(1, ready=False, containers={"serve": exited(REFUSED, said)})
    made = plan(observed(in_canary(step_since=None), pods=refusing))
    assert made.status["phase"] == "RolledBack"
    assert "model.skops is not what it was" in made.status["rejected"][0]["message"]
    assert "none" in [one.labels.get("metric") for one in made.counts], "no metric is blamed for it"


# What is in the way


def test_that_a_version_is_too_new_is_not_told_but_that_it_then_proves_unfit_is() -> None:
    too_new = NEW.model_copy(update={"status": ModelVersionStatus()})
    before = observed(serving_old(), too_new, pods=both(0))
    made = plan(before)
    assert not made.events
    unfit = a_model_version("churn-2", phase="Corrupt", ready=False)
    unfit_too = then(before, made, wanted=unfit)
    assert [event.reason for event in plan(then(unfit_too, plan(unfit_too))).events] == ["VersionNotReady"]


@pytest.mark.parametrize(
    ("wanted", "more", "reason"),
    [
        (a_model_version("churn-2", phase="Corrupt", ready=False), {}, "VersionNotReady"),
        (NEW, {"taken": ("churn-canary",)}, "ServiceNameTaken"),
    ],
)
def test_what_is_in_the_way_is_said_and_the_good_version_goes_on(wanted: Any, more: Any, reason: str) -> None:
    before = observed(serving_old(), wanted, pods=both(0), **more)
    made = plan(before)
    assert "candidate" not in made.status
    assert not made.events
    told = plan(then(before, made)).events
    assert [(event.type, event.reason, event.at) for event in told] == [("Warning", reason, NOW)]
    assert plan(then(before, made, now=after(minutes=9))).events == told
    assert not plan(then(before, made, now=after(minutes=11))).events
    found = next(one for one in made.status["conditions"] if one["type"] == "Stalled")
    assert found["reason"] == reason
    assert not made.delete
    assert {one["metadata"]["name"] for one in made.apply} >= {"churn", "churn-stable"}


def test_a_version_that_is_not_there_yet_is_waited_for_and_not_complained_of() -> None:
    made = plan(observed(serving_old(), None, pods=both(0)))
    assert "does not exist" in condition(made, "Reconciling")["message"]
    assert condition(made, "Current")["status"] == "False"
    assert stalled(made) is None
    told = plan(then(observed(serving_old(), None, pods=both(0)), made)).events
    assert [(event.type, event.reason) for event in told] == [("Warning", "VersionNotFound")]


def test_a_version_that_is_about_to_be_looked_at_calls_nobody() -> None:
    made = plan(observed(serving_old(), NEW.model_copy(update={"status": ModelVersionStatus()}), pods=both(0)))
    assert stalled(made) is None
    assert condition(made, "Reconciling")["status"] == "True"
    assert "candidate" not in made.status


def test_nothing_is_rolled_out_without_replicas() -> None:
    made = plan(observed(a_deployment("churn-1", replicas=0), OLD))
    assert "scale up" in condition(made, "Ready")["message"]
    assert stalled(made) is None
    assert not made.create


def test_that_nothing_else_would_go_out_is_said_beside_what_serves() -> None:
    made = plan(observed(serving_old(paused=True), OLD, pods=both(0)))
    assert made.status["phase"] == "Stable"
    assert "No other version goes out while spec.paused is true." in condition(made, "Ready")["message"]


def test_paused_starts_nothing_but_still_rolls_back() -> None:
    assert "candidate" not in plan(observed(serving_old(paused=True), pods=both(0))).status
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    made = plan(observed(in_canary(paused=True), pods=both(), looks=bad, now=after(seconds=31)))
    assert made.status["phase"] == "RolledBack"


def test_naming_the_stable_version_again_gives_the_candidate_up() -> None:
    resource = in_canary()
    back = Deployment.model_validate(
        {
            **as_stored(resource),
            "spec": {**as_stored(resource)["spec"], "modelVersion": "churn-1"},
        }
    )
    made = plan(observed(back, OLD, pods=both()))
    assert "candidate" not in made.status
    assert not made.status.get("rejected")
    assert made.status["history"][0]["outcome"] == "Aborted"


@pytest.mark.parametrize(
    ("policy", "phase"), [("Promote", "Progressing"), ("Hold", "Paused"), ("Rollback", "RolledBack")]
)
def test_the_end_of_the_steps_without_a_verdict_follows_the_policy(policy: str, phase: str) -> None:
    resource = in_canary(1, rollout={"onInconclusive": policy})
    assert plan(observed(resource, pods=both(3), now=after(minutes=1))).status["phase"] == phase


# Invariants


@given(
    ready=st.integers(0, 3),
    stable_ready=st.integers(0, 3),
    seconds=st.integers(0, 1200),
    errors=st.integers(0, 100),
    step=st.integers(0, 2),
    paused=st.booleans(),
)
def test_a_plan_is_deterministic_and_a_second_one_has_nothing_to_add(
    ready: int, stable_ready: int, seconds: int, errors: int, step: int, paused: bool
) -> None:
    before = observed(
        in_canary(step, paused=paused),
        pods=both(ready, stable_ready),
        looks=looks(1, canary=(100, errors), stable=(300, 3)),
        now=after(seconds=seconds),
    )
    made = plan(before)
    assert made == plan(before)
    again = then(before, made, looks=())
    for _ in range(5):  # one decision follows another, as step upon step
        next_plan = plan(again)
        if next_plan.status == again.resource.status.model_dump(mode="json", by_alias=True, exclude_none=True):
            break
        again = then(again, next_plan)
    assert plan(again).status == plan(then(again, plan(again))).status


@given(errors=st.integers(0, 200), seconds=st.integers(0, 300))
def test_no_service_of_all_traffic_ever_leads_to_a_rejected_version(errors: int, seconds: int) -> None:
    made = plan(
        observed(
            in_canary(),
            pods=both(),
            looks=looks(2, canary=(200, errors), stable=(900, 9)),
            now=after(seconds=seconds),
        )
    )
    if made.status.get("rejected"):
        for service in ("churn", "churn-stable", "churn-canary"):
            assert selector(made, service)["upright.dev/revision"] == OLD_REVISION


@pytest.mark.parametrize(
    ("replicas", "weight", "expected"),
    [
        (10, 10, Replicas(10, 1)),
        (3, 25, Replicas(3, 1)),
        (3, 50, Replicas(3, 3)),
        (1, 5, Replicas(1, 1)),
        (4, 75, Replicas(1, 4)),
        (0, 50, Replicas(0, 0)),
    ],
)
def test_pods_follow_weights(replicas: int, weight: int, expected: Replicas) -> None:
    assert split(replicas, weight) == expected


@given(replicas=st.integers(1, 1000), weight=st.integers(1, 99))
def test_capacity_never_falls_below_what_was_asked_for(replicas: int, weight: int) -> None:
    made = split(replicas, weight)
    assert made.stable + made.candidate >= replicas
    assert min(made.stable, made.candidate) >= 1
    assert max(made.stable, made.candidate) <= replicas


def test_names_of_63_characters_keep_their_services_apart() -> None:
    resource = a_deployment(name="a" * 63)
    made = [service["metadata"]["name"] for service in services(resource, "1", None, {}, alone=True, grpc=False)]
    assert len(set(made)) == 3
    assert all(len(name) <= 63 for name in made)


def test_an_upgrade_of_the_operator_changes_no_revision() -> None:
    assert revision(OLD, a_deployment().spec.serving) == "985b9aa215"
