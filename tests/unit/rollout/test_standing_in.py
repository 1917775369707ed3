"""Who answers where the stable version lacks pods: what was given up stands in, and is in nobody's way."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.builders import NOW, a_deployment, a_model_version, after, as_stored
from tests.unit.rollout.test_deciding import (
    crashing,
    gated,
    kept_out,
    nowhere,
    refusing,
    steep,
    unscheduled,
    unstarted,
    wanting,
)
from tests.unit.rollout.world import (
    COUNTED,
    LONG_AGO,
    NEW,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    both,
    condition,
    in_canary,
    measured,
    observed,
    plans,
    pods,
    selector,
    serving_old,
    sighted,
    sizes,
    stalled,
    the_workload,
    then,
    workloads,
)
from upright.api import names
from upright.api.deployment import Deployment
from upright.api.deployment_status import Rejection
from upright.api.model_version import ModelVersion
from upright.contract import Plan
from upright.pods.reading import Pod
from upright.rollout.measuring import Reading
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.revision import revision
from upright.rollout.sightings import Sightings
from upright.versions.deployments import uses_of

FIX = a_model_version("churn-3")
FIX_REVISION = revision(FIX, a_deployment().spec.serving)
CONDEMNED = {"analysis": {"threshold": 100, "verdict": "Rollback", "metric": "errors", "message": "errors is 40 %."}}
STARTS = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "False"}]
DEAD = [replace(crashing(5), name=f"dead-{n}") for n in range(3)]


def fallen(count: int, ago: int = 50) -> list[Pod]:
    """Pods that crash again and again, and were ready last so many seconds ago."""
    at = after(seconds=-ago)
    return [replace(crashing(50, at=at), name=f"fallen-{n}", changed=at, stopped=at) for n in range(count)]


def risen(count: int) -> list[Pod]:
    """Such pods, which have been ready for a second."""
    at = after(seconds=-1)
    return [replace(crashing(50, ready=True), name=f"risen-{n}", changed=at, ready_since=at) for n in range(count)]


def candidate(made: Plan) -> dict[str, Any]:
    return dict(made.status.get("candidate") or {})


def stands_in(made: Plan) -> str | None:
    found = made.status.get("standIn")
    return found["revision"] if found else None


def fixing(before: Observed, made: Plan, **more: Any) -> Observed:
    """churn-3 is named."""
    later = then(before, made, **more)
    resource = wanting(later.resource, modelVersion="churn-3")
    return replace(later, wanted=FIX, resource=resource, versions={**before.versions, "churn-3": FIX})


# What is given up is in nobody's way


@pytest.mark.parametrize("lacking", [DEAD[:1], [unscheduled()]])
@pytest.mark.parametrize("wanted", [FIX, OLD])
def test_a_candidate_for_which_the_stable_version_lost_no_pods_goes_at_once(lacking: Any, wanted: Any) -> None:
    world = {OLD_REVISION: [*pods(OLD_REVISION, 2), *lacking], NEW_REVISION: pods(NEW_REVISION, 1)}
    before = observed(wanting(in_canary(), modelVersion=wanted.metadata.name), wanted, pods=world)
    made = plan(before)
    assert "candidate" not in made.status
    going = then(before, made, pods={OLD_REVISION: world[OLD_REVISION]})
    assert candidate(plan(going)).get("modelVersion") == ("churn-3" if wanted is FIX else None)


def test_somebodys_rollback_does_not_wait_for_an_autoscaler() -> None:
    back = wanting(in_canary(), modelVersion="churn-1", replicas=4)
    assert "candidate" not in plan(observed(back, OLD, pods=both(1, 3))).status


@pytest.mark.parametrize(
    ("stable", "condemned", "waits"),
    [
        ([*pods(OLD_REVISION, 1), *DEAD[:2]], False, timedelta(minutes=10)),  # they do not come back
        (DEAD, True, timedelta(seconds=30)),
    ],
)
def test_the_next_version_goes_out_beside_what_answers(stable: Any, condemned: bool, waits: timedelta) -> None:
    """Above half, so that the stable version has made room for the candidate, which is given up."""
    resource = steep(stable={"replicas": 1}, status=CONDEMNED if condemned else {})
    before = observed(resource, pods={OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 3)})
    given_up = plan(before if condemned else fixing(before, plan(before)))
    assert candidate(given_up)["leaving"]
    soon = fixing(before, given_up, now=NOW + waits - timedelta(seconds=1))
    assert candidate(plan(soon))["modelVersion"] == "churn-2"
    late = fixing(before, given_up, now=NOW + waits)
    made = plan(late)
    assert (candidate(made)["modelVersion"], stands_in(made)) == ("churn-3", NEW_REVISION)
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert not made.delete
    assert condition(made, "Ready")["status"] == "True"
    assert "3 pods of churn-2, which was given up, answer beside it." in condition(made, "Ready")["message"]

    def with_fix(ready: int, **more: Any) -> Observed:
        fixes = {FIX_REVISION: pods(FIX_REVISION, ready)}
        owned = {NEW_REVISION: the_workload(resource, NEW, NEW_REVISION, 3)}
        begun = then(late, made, pods={**late.pods, **fixes}, **more)
        return replace(begun, workloads={**begun.workloads, **owned})

    few, enough = plan(with_fix(0)), plan(with_fix(2))
    assert stands_in(few) == NEW_REVISION
    assert not few.delete
    assert stands_in(enough) is None
    assert [one.name for one in enough.delete] == [f"churn-{NEW_REVISION}"]
    assert stands_in(plan(with_fix(1))) == (NEW_REVISION if condemned else None)
    typo = with_fix(0)
    typo = replace(typo, wanted=None, resource=wanting(typo.resource, modelVersion="churn-9"))
    left = plan(typo)
    assert (candidate(left)["modelVersion"], candidate(left)["leaving"]) == ("churn-2", True)
    assert f"churn-{NEW_REVISION}" not in [one.name for one in left.delete]


def test_one_that_nobody_rejected_is_compared_with_the_next_where_the_stable_version_is_broken() -> None:
    before = observed(steep(stable={"replicas": 1}), pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3)})
    given_up = plan(fixing(before, plan(before)))
    assert given_up.status["stable"]["modelVersion"] == "churn-1"
    later = fixing(before, given_up, now=after(seconds=31))
    paused = replace(later, resource=wanting(later.resource, paused=True))
    assert candidate(plan(paused))["leaving"], "nothing is promoted while paused"
    made = plan(later)
    assert made.status["stable"]["modelVersion"] == "churn-2"
    assert candidate(plan(then(later, made)))["modelVersion"] == "churn-3"


def test_a_rejected_version_never_becomes_the_stable_one_for_the_next() -> None:
    repairing: dict[str, Any] = {"candidate": {"repairing": True}, "stable": {"unreadySince": LONG_AGO.isoformat()}}
    resource = in_canary(1, step_since=None, status=CONDEMNED, **repairing)
    before = observed(resource, pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3)})
    rejected = plan(before)
    [told] = [one.message for one in rejected.events if one.reason == "RolledBack"]
    assert "churn-2 is rejected and goes as pods of churn-1 come back." in told
    made = plan(fixing(before, rejected))
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert candidate(made)["modelVersion"] == "churn-3"
    assert not made.delete


@pytest.mark.parametrize("place", ["finishing", "repairing"])
@pytest.mark.parametrize("old", [False, True])  # given up by an operator that left that as it was
def test_what_a_candidate_had_come_to_is_over_when_it_is_given_up(place: str, old: bool) -> None:
    more = {place: True, "stepSpent": "1h", **({"leaving": True} if old else {})}
    resource = wanting(steep(stable={"replicas": 1}, step_since=None), modelVersion="churn-1")
    arm = resource.status.candidate
    assert arm
    status = resource.status.model_copy(update={"candidate": type(arm).model_validate({**arm.model_dump(), **more})})
    before = observed(resource.model_copy(update={"status": status}), OLD, pods=both(3, 1))
    given_up = before if old else then(before, plan(before))
    again = replace(given_up, wanted=NEW, resource=wanting(given_up.resource, modelVersion="churn-2"))
    made = plan(again)
    assert not {place, "leaving", "stepSpent"} & {*candidate(made)}
    assert made.status["stable"]["modelVersion"] == "churn-1"
    [told] = [one.message for one in made.events if one.reason == "TakenBack"]
    assert told.endswith("its step begins anew.")


# Whether the stable version answers


def flapping(up: int, down: int, minutes: int, *, ahead: int = 0) -> Sequence[Plan]:
    """The plans of a rollout whose stable version, a pod, is ready and is not in turns of so many seconds."""
    resource = in_canary(
        replicas=1, stable={"replicas": 1}, candidate={"replicas": 1}, rollout={"steps": [{"weight": 50, "for": "9h"}]}
    )
    before, made, sightings = observed(resource, pods=both(1, 0)), [], Sightings()
    for second in range(0, minutes * 60, 5):
        begun = second - second % (up + down) + down
        ready = pods(OLD_REVISION, 1, since=after(seconds=begun + ahead))
        stable = ready if second >= begun else pods(OLD_REVISION, 1, ready=False)
        now = after(seconds=second)
        before = replace(before, now=now, pods=sighted(sightings, {**both(), OLD_REVISION: stable}, now))
        made.append(plan(before))
        before = then(before, made[-1])
    return made


@pytest.mark.parametrize(
    ("up", "down", "ahead", "repaired"),
    [
        (50, 10, 0, False),  # under load
        (650, 10, 1800, False),  # on a node whose clock is ahead
        (5, 595, 0, False),
        (5, 605, 0, True),
    ],
)
def test_a_stable_version_that_answers_now_and_then_is_not_broken(
    up: int, down: int, ahead: int, repaired: bool
) -> None:
    made = flapping(up, down, minutes=25, ahead=ahead)
    assert any("repairing" in candidate(one) for one in made) is repaired
    assert all(one.status["stable"]["modelVersion"] == "churn-1" for one in made) is not repaired
    if ahead:
        assert "unreadySince" not in made[150].status["stable"]


def test_a_repair_does_not_end_in_a_moment_in_which_the_stable_version_does_not_answer() -> None:
    clocks = {"unreadySince": LONG_AGO.isoformat(), "readySince": NOW.isoformat()}
    resource = in_canary(1, step_since=None, stable=clocks, candidate={"repairing": True})
    before = observed(resource, pods={**both(3), OLD_REVISION: DEAD}, now=after(seconds=20))
    made = plan(before)
    assert candidate(made)["repairing"]
    assert plan(then(before, made, now=after(seconds=79))).status["stable"]["modelVersion"] == "churn-1"
    assert plan(then(before, made, now=after(seconds=80))).status["stable"]["modelVersion"] == "churn-2"


def loading(at: datetime) -> list[Pod]:
    """Pods of the stable version that were made then, and load the model."""
    return [
        replace(pod, created=at, begun=at, changed=at, ready_since=None) for pod in pods(OLD_REVISION, 3, ready=False)
    ]


ROOMLESS = [replace(unscheduled(), created=LONG_AGO)]


@pytest.mark.parametrize("silent", [NOW, after(minutes=-4), LONG_AGO])
@pytest.mark.parametrize("named", ["churn-2", "churn-3"])
@pytest.mark.parametrize(
    ("stable", "serves"),
    [
        (DEAD, "churn-2"),
        (loading(NOW), "churn-1"),  # made anew: somebody has mended what broke it
        ([*loading(NOW), *DEAD[:1]], "churn-1"),
        (loading(after(minutes=-5)), "churn-2 after 10 min"),
        ([*loading(NOW), *loading(LONG_AGO)[:1]], "churn-2 after 10 min"),
        (ROOMLESS, "churn-2 after 10 min"),  # perhaps since the candidate has it
        ([], "churn-2 after 10 min"),  # for a quota
    ],
)
def test_a_stable_version_is_not_replaced_by_what_repairs_it_before_its_new_pods_have_had_their_time(
    stable: Sequence[Pod], silent: datetime, named: str, serves: str
) -> None:
    serves, _, late = serves.partition(" after")
    serves = "churn-1" if late and silent > after(minutes=-5) else serves
    clocks = {"unreadySince": silent.isoformat()}
    arm = {"repairing": True, "readySince": NOW.isoformat()}
    resource = wanting(in_canary(1, step_since=None, stable=clocks, candidate=arm), modelVersion=named)
    world = {OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 3)}
    made = plan(observed(resource, FIX if named == "churn-3" else NEW, pods=world, now=after(minutes=5)))
    assert made.status["stable"]["modelVersion"] == serves
    if (named, serves) == ("churn-2", "churn-1"):
        assert "It waits for pods of churn-1." in condition(made, "Ready")["message"]
        assert made.again == timedelta(seconds=30)


def test_a_repair_ends_beside_a_stable_version_that_comes_and_goes() -> None:
    clocks = {"replicas": 1, "unreadySince": LONG_AGO.isoformat()}
    arm = {"repairing": True, "replicas": 1}
    resource = in_canary(1, step_since=None, replicas=1, stable=clocks, candidate=arm)
    before, sightings, said = observed(resource), Sightings(), []
    for second in range(0, 20 * 60 + 10, 10):
        now, up = after(seconds=second), second % 40 < 20
        comes = pods(OLD_REVISION, 1, ready=up, since=after(seconds=second - second % 20))
        before = replace(before, now=now, pods=sighted(sightings, {**both(), OLD_REVISION: comes}, now))
        made = plan(before)
        assert bool(candidate(made).get("repairing")) is (second < 20 * 60)
        said += [one.message for one in made.events if one.reason == "StepReached"]
        before = then(before, made)
    assert said == ["churn-2: churn-1 is not found broken any more, and the versions are compared."]


def test_pods_that_are_made_anew_without_end_are_broken_in_the_end() -> None:
    """Each time before they have had their time; and not for the next version, for which they may as well be mended."""
    clocks = {"replicas": 1, "unreadySince": LONG_AGO.isoformat()}
    world = {OLD_REVISION: loading(after(minutes=-4))[:1], NEW_REVISION: pods(NEW_REVISION, 1)}
    in_step = in_canary(1, step_since=None, replicas=1, stable=clocks)
    assert candidate(plan(observed(in_step, pods=world)))["repairing"]
    arm = {"replicas": 1, "repairing": True, "readySince": NOW.isoformat()}
    repaired = observed(in_canary(1, step_since=None, replicas=1, stable=clocks, candidate=arm), pods=world)
    late = plan(replace(repaired, now=after(minutes=20), pods={**world, OLD_REVISION: loading(after(minutes=16))[:1]}))
    assert late.status["stable"]["modelVersion"] == "churn-2"


@pytest.mark.parametrize("repairing", [True, None])
@pytest.mark.parametrize("silent", [11, 21, 60])
def test_the_next_version_finds_the_same_of_pods_that_were_made_anew_in_each_turn(
    silent: int, repairing: bool | None
) -> None:
    clocks = {"unreadySince": after(minutes=-silent).isoformat()}
    arm = {"repairing": repairing, "replicas": 3, "readySince": after(minutes=-5).isoformat()}
    resource = wanting(in_canary(1, step_since=None, stable=clocks, candidate=arm), modelVersion="churn-3")
    world = {OLD_REVISION: loading(after(seconds=-5)), NEW_REVISION: pods(NEW_REVISION, 3)}
    before = replace(observed(resource, FIX, pods=world), versions={"churn-1": OLD, "churn-2": NEW, "churn-3": FIX})
    for second in range(1, 4):
        made = plan(before)
        assert (made.status["stable"]["modelVersion"], candidate(made)["leaving"]) == ("churn-1", True)
        before = then(before, made, now=after(seconds=second))


UNSEEN = replace(unscheduled(), name="unseen", unscheduled="", created=after(seconds=-1))
PLACED = replace(UNSEEN, name="placed", created=LONG_AGO, scheduled=NOW)


@pytest.mark.parametrize("named", ["churn-2", "churn-3"])
@pytest.mark.parametrize(
    ("stable", "silent"),
    [
        (ROOMLESS * 3, False),
        ([*ROOMLESS * 3, UNSEEN], False),  # scaled up
        ([*ROOMLESS * 2, UNSEEN], False),  # one was made anew
        ([*ROOMLESS * 2, PLACED], True),
        ([PLACED] * 3, True),
        (loading(after(seconds=-5)), True),  # a quota was raised
    ],
)
def test_want_of_room_is_no_silence_and_who_gets_a_node_has_all_the_time(
    stable: Sequence[Pod], silent: bool, named: str
) -> None:
    fell = {one: after(minutes=-25).isoformat() for one in ("unreadySince", "lackingSince")}
    resource = wanting(in_canary(0, step_since=None, since=LONG_AGO, stable=fell), modelVersion=named)
    world = {OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 1)}
    before = replace(
        observed(resource, FIX if named == "churn-3" else NEW, pods=world),
        versions={"churn-1": OLD, "churn-2": NEW, "churn-3": FIX},
    )
    made = plan(before)
    assert (condition(made, "Stalled").get("reason") == "NoRoom") is (not silent and named == "churn-2")
    for second in (1, 590, 600):
        assert (made.status["stable"]["modelVersion"], candidate(made).get("repairing")) == ("churn-1", None)
        clocks = {"unreadySince", "downSince" if silent else "lackingSince"}
        assert {one for one in made.status["stable"] if one.endswith("Since")} == clocks
        before = then(before, made, now=after(seconds=second))
        made = plan(before)
    broken = made.status["stable"]["modelVersion"] == "churn-2" or candidate(made).get("repairing")
    assert bool(broken) is silent


@pytest.mark.parametrize("wrong", [timedelta(0), timedelta(minutes=-2), timedelta(hours=1)], ids=str)
@pytest.mark.parametrize("watched", [True, False])
def test_what_stable_pods_died_of_lately_is_known_whatever_the_clocks_of_their_nodes(
    wrong: timedelta, watched: bool
) -> None:
    dead = [replace(crashing(9, at=NOW + wrong), uid="a"), replace(crashing(9, runs=watched, at=NOW + wrong), uid="b")]
    resource = in_canary(0, step_since=None, since=LONG_AGO)
    before, sightings, found = observed(resource), Sightings(), []
    for second, stable in ((-60, pods(OLD_REVISION, 2)), (0, dead), (29, dead), (30, dead)):
        now, world = after(seconds=second), {OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 1)}
        sightings = sightings if watched else Sightings()
        before = replace(before, now=now, pods=sighted(sightings, world, now))
        made = plan(before)
        found.append(bool(candidate(made).get("repairing")))
        before = then(before, made)
    assert found == [False, False, False, True]


def test_without_replicas_nothing_is_repaired() -> None:
    clocks = {"unreadySince": LONG_AGO.isoformat()}
    resource = in_canary(1, step_since=None, stable=clocks, candidate={"repairing": True}, replicas=0)
    made = plan(observed(resource, pods=both(0, 0)))
    assert "repairing" not in candidate(made)


@pytest.mark.parametrize(
    ("homeless", "why"),
    [
        (unscheduled(), "Insufficient cpu"),
        (unscheduled("3 cannot allocate all claims."), "cannot allocate all claims"),
        (unscheduled("all nodes are unavailable: 3 node(s) resource fit failed."), "resource fit failed"),
        (nowhere("3 node(s) were unschedulable."), "were unschedulable"),  # all are being drained
        (nowhere("3 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }."), "disk-pressure"),  # < 1.34.2
        (nowhere("3 node(s) had untolerated taint(s). no new claims to deallocate,"), "untolerated taint(s)"),
        (nowhere("1 node(s) had untolerated taint(s), 2 node(s) were unschedulable."), "untolerated taint(s)"),
        (nowhere("3 node(s) didn't match PersistentVolume's node affinity."), "PersistentVolume"),  # its zone is away
        (gated(), "Scheduling is blocked"),
    ],
)
def test_a_stable_version_of_which_no_node_takes_a_pod_is_held_and_said_for_it_has_run_there(
    homeless: Pod, why: str
) -> None:
    resource = in_canary(replicas=1, step_since=None, stable={"replicas": 1})
    before = observed(resource, pods={OLD_REVISION: [homeless], NEW_REVISION: pods(NEW_REVISION, 1)})
    made = plan(before)
    waits = plan(then(before, made, now=after(minutes=9)))
    assert "repairing" not in candidate(waits)
    assert stalled(waits) is None
    assert "waits for pods of churn-1. Pod " in condition(waits, "Ready")["message"]
    late = plan(then(before, made, now=after(minutes=10)))
    assert "repairing" not in candidate(late)
    assert condition(late, "Stalled")["reason"] == "NoRoom"
    assert why in (stalled(late) or "")  # the candidate has all the traffic


@pytest.mark.parametrize("why", ["Internal error occurred: failed calling webhook: connection refused", ""])
def test_a_stable_version_of_which_the_cluster_makes_no_pod_is_held_and_said_as_a_candidate_would_be(why: str) -> None:
    resource = in_canary(replicas=1, step_since=None, stable={"replicas": 1})
    owned = refusing(resource, why, OLD_REVISION) if why else workloads(resource)
    before = observed(resource, pods=both(1, 0), workloads=owned)
    made = plan(before)
    for minutes in (9, 10, 60 * 24 * 3):
        later = plan(then(before, made, now=after(minutes=minutes), workloads=owned))
        assert "repairing" not in candidate(later)
        assert condition(later, "Stalled").get("reason") == ("NotStarted" if minutes > 9 else None)
    assert f"waits for pods of churn-1.{f' {why}.' if why else ''}" in (stalled(later) or "")
    assert "once the cluster makes them" in (stalled(later) or "")


def test_a_stable_version_whose_pods_are_refused_for_what_they_are_gives_way_to_what_may_mend_that() -> None:
    resource = in_canary(replicas=1, step_since=None, stable={"replicas": 1})
    owned = refusing(resource, 'pods "churn-1" is forbidden: violates PodSecurity "restricted:latest"', OLD_REVISION)
    before = observed(resource, pods=both(1, 0), workloads=owned)
    made = plan(before)
    assert "repairing" not in candidate(plan(then(before, made, now=after(minutes=9), workloads=owned)))
    assert candidate(plan(then(before, made, now=after(minutes=10), workloads=owned)))["repairing"]


NO_NODE = [
    "3 node(s) didn't match Pod's node affinity/selector.",
    "3 node(s) had untolerated taint(s).",
    "1 node(s) had untolerated taint {node.ocs.openshift.io/storage: true}, 2 node(s) didn't match Pod's affinity.",
]


@pytest.mark.parametrize("says", NO_NODE)
def test_a_stable_version_that_no_node_may_take_gives_way_after_a_day_as_it_is_said(says: str) -> None:
    resource = in_canary(replicas=1, step_since=None, stable={"replicas": 1})
    before = observed(resource, pods={OLD_REVISION: [nowhere(says)], NEW_REVISION: pods(NEW_REVISION, 1)})
    made = plan(before)
    for minutes in (10, 20, 21, 60, 24 * 60 - 1):
        before = then(before, made, now=after(minutes=minutes))
        made = plan(before)
        assert "repairing" not in candidate(made)
        assert "Where none may for 24h, churn-2 takes over" in condition(made, "Stalled")["message"]
    for minutes in (0, 1, 2):
        before = then(before, made, now=after(days=1, minutes=minutes))
        made = plan(before)

    assert made.status["stable"]["modelVersion"] == "churn-2"


@pytest.mark.parametrize(
    "then_it_has", [unscheduled(), replace(UNSEEN, scheduled=after(days=1), begun=after(days=1)), UNSEEN]
)
def test_a_day_without_a_node_counts_only_while_it_goes_on_and_pods_that_get_one_have_all_their_time(
    then_it_has: Pod,
) -> None:
    resource = in_canary(replicas=1, step_since=None, stable={"replicas": 1})
    before = observed(resource, pods={OLD_REVISION: [nowhere(NO_NODE[1])], NEW_REVISION: pods(NEW_REVISION, 1)})
    before = then(before, plan(before), now=after(hours=23))
    made = plan(before)
    barred = nowhere(NO_NODE[1])
    for second, pod in ((0, then_it_has), (90, barred), (200, then_it_has), (300, barred), (9000, barred)):
        world = {OLD_REVISION: [pod], NEW_REVISION: pods(NEW_REVISION, 1)}
        before = then(before, made, now=after(days=1, seconds=second), pods=world)
        made = plan(before)

        assert "repairing" not in candidate(made)


@pytest.mark.parametrize("away", [timedelta(minutes=3), timedelta(hours=10)], ids=str)
def test_a_day_without_a_node_goes_on_over_restarts_of_the_operator_without_the_time_between(away: timedelta) -> None:
    """It is replaced with its node, twice in a day."""
    resource = in_canary(replicas=1, step_since=None, stable={"replicas": 1})
    before = observed(resource, pods={OLD_REVISION: [nowhere(NO_NODE[1])], NEW_REVISION: pods(NEW_REVISION, 1)})
    now, watched, repairs = NOW, timedelta(0), False
    while not repairs:
        made = plan(before)
        repairs = bool(candidate(made).get("repairing"))
        looked = timedelta(minutes=20)
        watched += looked
        gone = watched % timedelta(hours=12) == timedelta(0)
        now += looked + (away if gone else timedelta(0))
        before = then(before, made, now=now, **({"watched_since": now} if gone else {}))
        assert watched <= timedelta(hours=27), "each time it went, less than an hour is lost"
    assert watched > timedelta(hours=24)


@pytest.mark.parametrize(("without_a_node", "repaired"), [(0, True), (5, True), (90, False)])
def test_a_short_want_of_room_does_not_end_the_silence_of_pods_that_are_made_anew_without_end(
    without_a_node: int, repaired: bool
) -> None:
    """Each lives for four minutes and never answers."""
    resource = in_canary(0, step_since=None, stable={"unreadySince": after(seconds=-40).isoformat()})
    before = observed(
        resource, pods={OLD_REVISION: pods(OLD_REVISION, 1, ready=0), NEW_REVISION: pods(NEW_REVISION, 1)}
    )
    made = plan(before)
    found = False
    for second in range(0, 2400, 5):
        age, number = second % 240, second // 240
        began = after(seconds=second - age + without_a_node)
        young = replace(unstarted(), name=f"w-{number}", uid=f"w-{number}", created=after(seconds=second - age))
        pod = replace(young, scheduled=began, begun=began) if age >= without_a_node else replace(young, **_HOMELESS)
        world = {OLD_REVISION: [pod], NEW_REVISION: pods(NEW_REVISION, 1)}
        before = then(before, made, now=after(seconds=second), pods=world)
        made = plan(before)
        found = found or bool(candidate(made).get("repairing"))
    assert found is repaired


_HOMELESS: dict[str, Any] = {"scheduled": None, "begun": None, "unscheduled": "0/3 nodes: 3 Insufficient cpu."}


def placed(pod: Pod) -> Pod:
    """It has had a node for half a minute."""
    return replace(pod, created=after(seconds=-30), scheduled=after(seconds=-30))


PULLING = placed(unstarted())
MISSING = placed(unstarted("CreateContainerConfigError", 'secret "keys" not found'))
ILL = placed(unstarted("CreateContainerError", "failed to resolve rootfs: content digest sha256:6cf7: not found"))


@pytest.mark.parametrize(
    ("stable", "broken_after"),
    [
        ([MISSING, MISSING], 30),
        ([MISSING, unscheduled()], 30),  # all that has a node
        ([MISSING, PULLING], 600),
        ([crashing(2), PULLING], 600),
        ([crashing(2), kept_out()], 600),  # on a node that is away
        ([ILL, PULLING], 600),
        ([ILL, ILL], 600),
    ],
)
def test_what_one_pod_of_the_stable_version_lacks_does_not_outweigh_others_that_are_coming(
    stable: Sequence[Pod], broken_after: int
) -> None:
    resource = in_canary(step_since=None, stable={"unreadySince": NOW.isoformat()})
    before = observed(resource, pods={OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 1)})
    made = plan(before)
    for second in (broken_after - 1, broken_after):
        later = plan(then(before, made, now=after(seconds=second)))
        assert bool(candidate(later).get("repairing")) is (second == broken_after)


@pytest.mark.parametrize(("pods_of", "replicas", "said"), [(3, 3, True), (0, 3, True), (0, 0, False)])
def test_without_replicas_nothing_is_measured(pods_of: int, replicas: int, said: bool) -> None:
    counted = {"type": "Measured", "status": "True", "reason": "Counted", "message": "Requests are counted."}
    status = {"conditions": [{**counted, "lastTransitionTime": NOW.isoformat()}]}
    for reading in (Reading(), measured(COUNTED, COUNTED)):
        resource = in_canary(1, replicas=replicas, status=status)
        made = plan(observed(resource, pods=both(pods_of, pods_of), reading=reading))
        assert bool(condition(made, "Measured")) is said


# A first version


def test_a_first_version_is_stable_as_soon_as_its_pods_answer() -> None:
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": LONG_AGO.isoformat(), "replicas": 1}
    before = observed(
        a_deployment(status={"candidate": arm}), OLD, pods={OLD_REVISION: pods(OLD_REVISION, 1, since=NOW)}
    )
    assert plan(before).status["phase"] == "Stable"


@pytest.mark.parametrize(("failures", "least"), [(1, 60), (50, 60)])
def test_a_first_version_that_has_failed_is_stable_when_its_pods_have_answered_for_a_minute(
    failures: int, least: int
) -> None:
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": LONG_AGO.isoformat(), "replicas": 1}
    [whole] = pods(OLD_REVISION, 1)
    pod: Pod = replace(crashing(failures, ready=True, at=NOW), labels=whole.labels)
    before = observed(a_deployment(status={"candidate": arm}), OLD, pods={OLD_REVISION: [pod]})
    made = plan(before)
    assert made.again == timedelta(seconds=10)
    for seconds, status in ((0, "False"), (least - 1, "False"), (least, "True")):
        later = plans(then(before, made, now=after(seconds=seconds)))
        assert condition(later, "Current")["status"] == status
        assert condition(later, "Ready")["status"] == "True"


def test_without_replicas_nothing_is_current() -> None:
    resource = wanting(serving_old(replicas=0, stable={"replicas": 0}), modelVersion="churn-1")
    made = plan(observed(resource, OLD, pods=both(0, 0)))
    assert [condition(made, one)["reason"] for one in ("Current", "Ready")] == ["ScaledToZero"] * 2
    assert condition(made, "Current")["status"] == "False"


# What all the traffic comes through


@pytest.mark.parametrize("place", [{}, {"finishing": True}, {"repairing": True}])
def test_while_a_service_is_somebody_elses_no_step_ends_and_nothing_takes_over(place: Any) -> None:
    stable = {"unreadySince": LONG_AGO.isoformat()} if "repairing" in place else {}
    world = {**both(3), **({OLD_REVISION: DEAD} if stable else {})}
    before = observed(in_canary(1, candidate=place, stable=stable), pods=world, taken=["churn"], now=after(seconds=30))
    made = plans(before)
    assert (made.status["phase"], condition(made, "Stalled")["reason"]) == ("Paused", "ServiceNameTaken")
    late = then(before, made, now=after(hours=9))
    assert plans(late).status["stable"]["modelVersion"] == "churn-1"
    assert "stopped, since Service churn is somebody else's" in condition(made, "Ready")["message"]
    free = plans(replace(late, taken=()), 0)
    assert ("candidate" in free.status) is not bool(place)
    if not place:
        assert candidate(free)["stepSpent"] == "30s"


def test_who_edits_the_serving_spec_of_a_version_that_goes_out_is_said_to_have_done_it() -> None:
    resource = in_canary(serving={"timeout": "60s"})
    [episode] = plan(observed(resource, pods=both(), editor="kubectl-edit")).status["history"]
    assert (episode["by"], episode["reason"]) == (
        "kubectl-edit",
        "churn-2 is given up: churn-2 is wanted with other spec.serving.",
    )


def test_a_version_that_is_made_anew_under_its_name_is_not_an_edit_of_the_spec() -> None:
    stored = as_stored(NEW)
    stored["spec"]["artifact"]["digest"] = "sha256:" + "b" * 64
    resource = in_canary(status={"observedGeneration": 1})
    made = plan(observed(resource, ModelVersion.model_validate(stored), pods=both(), editor="kubectl-edit"))
    [episode] = made.status["history"]
    assert (episode["by"], episode["reason"]) == ("upright", "churn-2 is given up: churn-2 has been made anew.")


def test_what_is_found_to_serve_is_not_said_to_be_the_first_version() -> None:
    bare = a_deployment("churn-1", replicas=3)
    owned = workloads(serving_old())
    made = plan(observed(bare, OLD, pods=both(0), workloads=owned))
    [told] = [one.message for one in made.events if one.reason == "Serving"]
    assert told == "churn-1 is the stable version."


# A moment decides nothing


def blinking(count: int, **more: Any) -> list[Pod]:
    """Pods that crash again and again, and are ready at this moment."""
    return [replace(crashing(5, ready=True, at=NOW), name=f"blinks-{n}", **more) for n in range(count)]


@pytest.mark.parametrize("condemned", [False, True])
def test_pods_that_are_ready_for_a_moment_replace_nobody(condemned: bool) -> None:
    resource = steep(stable={"replicas": 1}, status=CONDEMNED if condemned else {})
    resource = resource if condemned else wanting(resource, modelVersion="churn-9")
    before = observed(
        resource, NEW if condemned else None, pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3)}
    )
    made = plan(before)
    assert candidate(made)["leaving"]
    moment = then(before, made, pods={**before.pods, OLD_REVISION: blinking(3)}, now=after(seconds=20))
    made = plan(moment)
    assert candidate(made)["leaving"]
    assert not sizes(made)
    assert not made.delete
    back = then(moment, made, pods={**before.pods, OLD_REVISION: pods(OLD_REVISION, 3)}, now=after(seconds=40))
    assert not candidate(plan(back))


def test_one_that_leaves_may_itself_not_answer_for_a_moment() -> None:
    before = observed(
        wanting(steep(stable={"replicas": 1}), modelVersion="churn-9"),
        None,
        pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3)},
    )
    silent = then(before, plan(before), pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3, ready=False)})
    made = plan(silent)
    assert candidate(made)["leaving"]
    assert candidate(made)["downSince"]
    again = then(silent, made, pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3)}, now=after(seconds=59))
    assert "downSince" not in candidate(plan(again))
    assert not candidate(plan(then(silent, made, now=after(seconds=60))))


def restarted(failures: int, ago: int, *, runs: bool = True) -> list[Pod]:
    """Pods that stopped answering so many seconds ago, whose containers have failed so often, by whatever clock."""
    at = after(seconds=-ago)
    pod = replace(crashing(failures, runs=runs, at=LONG_AGO), changed=at, stopped=at)
    return [replace(pod, name=f"restarted-{n}") for n in range(3)]


@pytest.mark.parametrize("wanted", [NEW, OLD, FIX], ids=["rejected", "gone back from", "followed"])
@pytest.mark.parametrize(
    ("silent", "stays"),
    [
        (restarted(1, 3), True),
        (restarted(2, 30), True),  # its next start died after a few seconds
        (restarted(2, 60), False),
        (restarted(2, 30, runs=False), False),
        (restarted(50, 3, runs=False), False),  # however long it had run, by whatever clock
        (pods(NEW_REVISION, 3, ready=False, since=NOW), True),
        (pods(NEW_REVISION, 3, ready=False, since=after(seconds=-59)), True),
        (pods(NEW_REVISION, 3, ready=False, since=after(seconds=-60)), False),
        (pods(NEW_REVISION, 3, ready=False, since=after(seconds=59)), True),  # by a node's clock that is ahead
        (pods(NEW_REVISION, 3, ready=False, since=after(seconds=60)), False),
        (pods(NEW_REVISION, 3, since=NOW, conditions=STARTS), False),
        (fallen(3), False),
    ],
)
def test_what_is_given_up_in_a_moment_in_which_it_does_not_answer_stays(
    wanted: ModelVersion, silent: Sequence[Pod], stays: bool
) -> None:
    resource = wanting(
        steep(stable={"replicas": 1}, status=CONDEMNED if wanted is NEW else {}), modelVersion=wanted.metadata.name
    )
    before = observed(resource, wanted, pods={OLD_REVISION: DEAD, NEW_REVISION: silent})
    made = plan(before)
    assert made.status["history"][0]["outcome"] == ("RolledBack" if wanted is NEW else "Aborted")
    assert bool(candidate(made)) is stays
    assert [one.name for one in made.delete] == [f"churn-{NEW_REVISION}"] * (not stays)
    if stays:
        assert not plan(then(before, made)).delete


@pytest.mark.parametrize("wanted", [OLD, NEW], ids=["late", "another is wanted"])
@pytest.mark.parametrize(
    ("blinks", "stays"),
    [
        *((pods(OLD_REVISION, 1, ready=False, since=after(seconds=-ago)), ago < 60) for ago in (0, 59, 60)),
        (fallen(1), False),
    ],
)
def test_all_that_answers_of_a_first_version_may_not_for_a_moment(
    wanted: ModelVersion, blinks: Sequence[Pod], stays: bool
) -> None:
    clocks = {"since": LONG_AGO.isoformat(), "unreadySince": LONG_AGO.isoformat(), "unreadyPod": "late-0"}
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "replicas": 3, **clocks}
    late = [replace(pod, name=f"late-{n}") for n, pod in enumerate(pods(OLD_REVISION, 2, ready=False))]
    resource = a_deployment(wanted.metadata.name, replicas=3, status={"candidate": arm})
    made = plan(observed(resource, wanted, pods={OLD_REVISION: [*late, *blinks]}))
    assert [one.name for one in made.delete] == [f"churn-{OLD_REVISION}"] * (not stays)
    if stays and wanted is OLD:
        assert str(stalled(made)).startswith("Nothing answers beside churn-1. 0 of 3 pods are ready.")


@pytest.mark.parametrize(
    ("newcomer", "answered"),
    [
        (pods(NEW_REVISION, 1, since=NOW), False),
        ([crashing(50, ready=True, at=NOW)], False),
        (pods(NEW_REVISION, 3), True),  # the stable version has, a moment ago
    ],
)
def test_nothing_is_promoted_for_the_next_in_a_moment(newcomer: Sequence[Pod], answered: bool) -> None:
    clocks = {"unreadySince": LONG_AGO.isoformat()}
    if answered:
        clocks["readySince"] = (NOW - timedelta(seconds=55)).isoformat()
    repairing = in_canary(1, step_since=None, stable=clocks, candidate={"repairing": True})
    resource = wanting(repairing, modelVersion="churn-3")
    made = plan(observed(resource, FIX, pods={OLD_REVISION: DEAD, NEW_REVISION: newcomer}))
    assert made.status["stable"]["modelVersion"] == "churn-1"


def standing_in(more: dict[str, Any]) -> Observed:
    """churn-3 goes out beside churn-2, which was given up and answers for churn-1, of which one pod of ten is there."""
    stuck = [replace(unscheduled(), name=f"stuck-{n}") for n in range(9)]
    arm = {"modelVersion": "churn-3", "revision": FIX_REVISION, "since": NOW.isoformat(), "step": 0, "replicas": 1}
    status = {
        "candidate": {**arm, "unreadySince": NOW.isoformat()},
        "standIn": {"modelVersion": "churn-2", "revision": NEW_REVISION},
        **more,
    }
    resource = wanting(serving_old(replicas=10, stable={"replicas": 10}, status=status), modelVersion="churn-3")
    return observed(
        resource,
        FIX,
        pods={
            OLD_REVISION: [*pods(OLD_REVISION, 1), *stuck],
            NEW_REVISION: pods(NEW_REVISION, 9),
            FIX_REVISION: pods(FIX_REVISION, 1),
        },
    )


def test_what_stands_in_stays_until_others_have_answered_for_a_minute() -> None:
    before = standing_in({})
    young = {**before.pods, FIX_REVISION: pods(FIX_REVISION, 5, since=NOW)}
    assert stands_in(plan(replace(before, pods=young, now=after(seconds=59)))) == NEW_REVISION
    assert stands_in(plan(replace(before, pods=young, now=after(seconds=60)))) is None


@pytest.mark.parametrize(
    ("ready", "stable", "place"),
    [
        ((9, 1), 0, ("churn-3", None, NEW_REVISION)),
        ((9, 0), 0, ("churn-2", True, None)),  # it goes out when something else than the stable version is needed
        ((0, 1), 0, ("churn-3", None, None)),
        ((9, 5), 0, ("churn-3", None, None)),  # half is enough
        ((9, 1), 10, ("churn-3", None, None)),
    ],
)
def test_what_stood_in_goes_on_when_all_that_was_recorded_is_lost(
    ready: tuple[int, int], stable: int, place: tuple[str, bool | None, str | None]
) -> None:
    was_stable = {"deployment": "churn", "revision": OLD_REVISION, "outcome": "Stable", "at": LONG_AGO.isoformat()}
    stored = as_stored(OLD)
    old = ModelVersion.model_validate({**stored, "status": {**stored["status"], "verdicts": [was_stable]}})
    resource, versions = a_deployment("churn-3", replicas=10), {"churn-1": old, "churn-2": NEW, "churn-3": FIX}
    of = {OLD_REVISION: (old, 10), NEW_REVISION: (NEW, 9), FIX_REVISION: (FIX, 1)}
    there = {one: the_workload(resource, version, one, size) for one, (version, size) in of.items()}
    there_ready = {OLD_REVISION: stable, NEW_REVISION: ready[0], FIX_REVISION: ready[1]}
    answering = {one: pods(one, count) for one, count in there_ready.items()}
    before = replace(observed(resource, FIX, pods=answering, workloads=there), versions=versions)
    made = plan(before)
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert (candidate(made)["modelVersion"], candidate(made).get("leaving"), stands_in(made)) == place
    kept = NEW_REVISION in (stands_in(made), candidate(made)["revision"])
    assert (f"churn-{NEW_REVISION}" in [one.name for one in made.delete]) is not kept


def test_the_next_version_takes_nothing_away_that_stands_in() -> None:
    before = standing_in({})
    another = a_model_version("churn-4")
    resource = wanting(before.resource, modelVersion="churn-4")
    named = replace(before, wanted=another, resource=resource, versions={**before.versions, "churn-4": another})
    made = plan(named)
    assert (candidate(made)["modelVersion"], candidate(made)["leaving"]) == ("churn-2", True)
    assert [one.name for one in made.delete] == [f"churn-{FIX_REVISION}"]
    made = plan(then(named, made))
    assert (candidate(made)["modelVersion"], stands_in(made)) == ("churn-4", NEW_REVISION)
    assert not made.delete


@pytest.mark.parametrize(
    ("leaving", "kept"),
    [
        (pods(FIX_REVISION, 3), NEW_REVISION),
        (pods(FIX_REVISION, 6), FIX_REVISION),
        (risen(6), NEW_REVISION),
    ],
)
def test_of_two_that_were_given_up_the_one_with_more_pods_stands_in(leaving: Sequence[Pod], kept: str) -> None:
    another = a_model_version("churn-4")
    arm = {"modelVersion": "churn-3", "revision": FIX_REVISION, "since": NOW.isoformat(), "replicas": 10}
    before = standing_in({"candidate": {**arm, "leaving": True, "unreadySince": LONG_AGO.isoformat()}})
    resource = wanting(before.resource, modelVersion="churn-4")
    given_up = {NEW_REVISION: pods(NEW_REVISION, 4), FIX_REVISION: leaving}
    named = replace(before, wanted=another, resource=resource, pods={**before.pods, **given_up})
    made = plan(named)
    assert (candidate(made)["modelVersion"], stands_in(made)) == ("churn-4", kept)
    blink = {**named.pods, FIX_REVISION: [replace(pod, ready_since=None) for pod in leaving]}
    seen = replace(named, pods=blink)
    made = plan(seen)
    assert (candidate(made)["modelVersion"], stands_in(made), made.delete) == ("churn-3", NEW_REVISION, [])
    again = plan(then(seen, made, pods=named.pods, now=after(seconds=58)))
    assert (candidate(again)["modelVersion"], stands_in(again)) == ("churn-4", kept)
    silent = then(seen, made, pods=blink, now=after(seconds=60))
    assert candidate(plan(silent))["modelVersion"] == "churn-2"
    made = plans(silent, 2, pods=blink)
    assert candidate(made)["modelVersion"] == "churn-4"
    assert f"churn-{NEW_REVISION}" not in [one.name for one in made.delete]


def test_a_bad_one_does_not_stay_for_pods_that_others_stand_in_for() -> None:
    before = standing_in(CONDEMNED)
    made = plan(before)
    assert [one.reason for one in made.events if one.reason == "RolledBack"]
    assert (candidate(made)["modelVersion"], candidate(made)["leaving"]) == ("churn-2", True)
    assert "analysis" not in made.status, "what is known of churn-3 says nothing of churn-2"
    back = then(before, made, wanted=NEW)
    again = plan(replace(back, resource=wanting(back.resource, modelVersion="churn-2")))
    assert "TakenBack" in [one.reason for one in again.events]
    assert "leaving" not in candidate(again)


def test_what_stands_in_is_in_use() -> None:
    before = standing_in({})
    assert uses_of(as_stored(before.resource))["churn-2"].place == "standIn"
    lost = plan(replace(before, workloads={}, versions={"churn-3": FIX}))
    assert "RevisionLost" in [one.reason for one in lost.events]
    assert selector(lost, "churn") == {names.DEPLOYMENT: "churn"}, "its pods have the traffic"


def test_a_rejected_one_that_is_to_stay_is_tried_again_as_it_is() -> None:
    before = observed(steep(stable={"replicas": 1}, status=CONDEMNED), pods={OLD_REVISION: DEAD, **both(3, 0)})
    failed = replace(crashing(7, ready=True, at=LONG_AGO), name="failed")
    before = replace(before, pods={OLD_REVISION: DEAD, NEW_REVISION: [*pods(NEW_REVISION, 2), failed]})
    rejected = then(before, plan(before), now=after(seconds=31))
    stored = as_stored(rejected.resource)
    stored = {**stored, "metadata": {**stored["metadata"], "annotations": {names.RETRY: "1"}}}
    asked = replace(rejected, resource=Deployment.model_validate(stored))
    made = plan(asked)
    assert "leaving" not in candidate(made)
    assert candidate(made)["since"] == after(seconds=31).isoformat().replace("+00:00", "Z")
    assert candidate(made)["comparedFailures"]["own"] == 0, "what it failed of before does not count"
    assert "analysis" not in made.status


def test_an_autoscaler_looks_at_the_version_that_has_the_traffic_of_a_repair() -> None:
    silent = {"unreadySince": LONG_AGO.isoformat()}
    resource = in_canary(1, step_since=None, stable=silent, candidate={"repairing": True})
    made = plan(observed(resource, pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 2)}))
    assert made.status["selector"].endswith(f"={NEW_REVISION}")
    assert made.status["replicas"] == 2


@pytest.mark.parametrize("starting", [pods(NEW_REVISION, 3, ready=False), fallen(3)], ids=["starts", "crashes"])
@pytest.mark.parametrize(("fallback", "goes"), [("churn-1", True), (None, False)])
def test_a_first_version_gives_way_when_it_turns_out_to_have_been_rejected(
    fallback: str | None, goes: bool, starting: Sequence[Pod]
) -> None:
    arm = {"modelVersion": "churn-2", "revision": NEW_REVISION, "since": NOW.isoformat(), "replicas": 3}
    verdict = Rejection(model_version="churn-2", revision=NEW_REVISION, at=LONG_AGO, message="errors is 40 %.")
    resource = a_deployment("churn-2", replicas=3, status={"candidate": arm})
    made = plan(observed(resource, NEW, pods={NEW_REVISION: starting}, rejected=[verdict], fallback=fallback))
    assert ("candidate" not in made.status) is goes
    assert "stable" not in made.status


@pytest.mark.parametrize(("silent", "stays"), [(0, True), (59, True), (60, False)])
def test_what_stands_in_may_not_answer_for_a_moment_when_it_is_what_is_left(silent: int, stays: bool) -> None:
    before = standing_in({})
    silent_pods = {one: pods(one, 9, ready=False) for one in (NEW_REVISION, FIX_REVISION)}
    blinks = {**before.pods, **silent_pods}
    seen = replace(before, pods=blinks)
    made = plan(seen)
    assert made.status["standIn"]["downSince"]
    typo = then(seen, made, wanted=None, now=after(seconds=silent))
    typo = replace(typo, resource=wanting(typo.resource, modelVersion="churn-9"))
    left = plan(typo)
    assert (candidate(left).get("modelVersion") == "churn-2") is stays
    assert ("churn-2 stays, although no pod of it answers" in condition(left, "Ready")["message"]) is stays
    assert (f"churn-{NEW_REVISION}" in [one.name for one in left.delete]) is not stays
    beside = plan(then(seen, made, now=after(seconds=silent)))  # it holds the room that churn-3 may need
    assert candidate(beside)["modelVersion"] == "churn-3"
    assert (stands_in(beside) == NEW_REVISION) is stays
    unwatched = plan(replace(typo, now=after(hours=1), watched_since=after(minutes=59, seconds=59)))
    assert candidate(unwatched).get("modelVersion") == "churn-2"


def test_what_goes_by_time_alone_is_looked_at_in_time() -> None:
    before = standing_in({})
    rollout = {"steps": [{"weight": 25, "for": "9h"}]}
    for ready in (pods(NEW_REVISION, 9), pods(NEW_REVISION, 9, ready=False)):
        made = plan(
            replace(
                before, resource=wanting(before.resource, rollout=rollout), pods={**before.pods, NEW_REVISION: ready}
            )
        )
        assert stands_in(made)
        assert made.again is not None
        assert made.again <= timedelta(minutes=1)


@pytest.mark.parametrize("at", [5, 14, 30, 55])
@pytest.mark.parametrize("ends", ["rejected", "followed", "gone"])
def test_the_turn_comes_when_pods_have_been_ready_for_a_minute(ends: str, at: int) -> None:
    """The stable version's pod has not answered for a moment; a second later its candidate is given up, or later."""
    slow: Any = {"rollout": {"steps": [{"weight": 50, "for": "9h"}]}, "replicas": 1}
    begun = wanting(serving_old(**slow), modelVersion="churn-1")
    if ends != "gone":
        begun = in_canary(**slow, candidate={"replicas": 1})
    silent = {**both(1, 0), OLD_REVISION: pods(OLD_REVISION, 1, ready=False)}
    before = observed(begun, OLD if ends == "gone" else NEW, pods=silent)
    back = {**before.pods, OLD_REVISION: pods(OLD_REVISION, 1, since=NOW)}
    before = then(before, plan(before), now=after(seconds=1), pods=back)
    before = then(before, plan(before), now=after(seconds=at))
    if ends == "rejected":
        stored = as_stored(before.resource)
        before = replace(
            before, resource=Deployment.model_validate({**stored, "status": {**stored["status"], **CONDEMNED}})
        )
    elif ends == "followed":
        before = replace(before, wanted=OLD, resource=wanting(before.resource, modelVersion="churn-1"))
    made = plan(before)
    for _ in range(2):  # what is recorded gives turns of its own
        before = then(before, made)
        made = plan(before)
    while before.now < after(seconds=60):
        assert "unreadySince" in made.status["stable"]
        assert bool(candidate(made)) is (ends != "gone")
        waits = (
            "of its pods again, each ready for a minute." if ends == "rejected" else "its pods again, each ready for"
        )
        assert (waits in condition(made, "Ready")["message"]) is (ends != "gone")
        assert made.again is not None
        before = then(before, made, now=before.now + made.again)
        made = plan(before)
    assert before.now == after(seconds=60)
    assert "unreadySince" not in plans(before, 1).status["stable"]
    assert not candidate(made)


@pytest.mark.parametrize(
    ("size", "failures", "waits"),
    [(0, 0, False), (0, 1, True), (3, 0, True)],
    ids=["up from zero", "up from zero, and failed", "all away for a moment"],
)
def test_pods_that_were_never_asked_for_have_not_failed(size: int, failures: int, waits: bool) -> None:
    sized = {"replicas": size, "readyReplicas": size}
    resource = in_canary(1, stable=sized, candidate={"leaving": True, "replicas": 3})
    starting = [crashing(failures)] * 3 if failures else pods(OLD_REVISION, 3, ready=False)
    silent = {OLD_REVISION: starting if size else [], NEW_REVISION: pods(NEW_REVISION, 3)}
    before = observed(wanting(resource, modelVersion="churn-1"), OLD, pods=silent)
    for second in range(1, 40):
        made = plan(before)
        stable = made.status["stable"]
        assert ("unreadySince" in stable) is (bool(size) or (bool(failures) and second > 1))
        assert ("downSince" in stable) is not size, "it may turn out to be broken"
        before = then(before, made, now=after(seconds=second), pods={**silent, OLD_REVISION: starting})
    ready = {**silent, OLD_REVISION: pods(OLD_REVISION, 3, since=before.now)}
    made = plan(then(before, plan(before), pods=ready))
    assert bool(candidate(made)) is waits
    assert ("unreadySince" in made.status["stable"]) is waits


@pytest.mark.parametrize("fell", [True, False])
@pytest.mark.parametrize("there", [True, False], ids=["scaled to zero", "deleted"])
def test_a_stable_version_whose_workload_somebody_takes_away_does_not_begin_anew(there: bool, fell: bool) -> None:
    clocks = {"unreadySince": LONG_AGO.isoformat(), "readyReplicas": 0} if fell else {}
    resource = in_canary(1, stable=clocks, candidate={"leaving": True, "replicas": 3})
    good = {NEW_REVISION: pods(NEW_REVISION, 3)}
    before = observed(wanting(resource, modelVersion="churn-1"), OLD, pods=good)
    others = {one: owned for one, owned in before.workloads.items() if one != OLD_REVISION}
    left = {OLD_REVISION: the_workload(resource, OLD, OLD_REVISION, 0)} if there else {}
    gone = replace(before, workloads={**others, **left})
    made = plan(gone)
    assert datetime.fromisoformat(made.status["stable"]["unreadySince"]) == (LONG_AGO if fell else NOW)
    back = {**good, OLD_REVISION: pods(OLD_REVISION, 3, since=after(seconds=20))}
    for second, stays in ((21, True), (79, True), (80, False)):
        assert bool(candidate(plan(then(gone, made, pods=back, now=after(seconds=second))))) is stays


def found(old: Sequence[Pod], new: Sequence[Pod], *, was_stable: bool = False) -> Observed:
    """A Deployment without a status, and the workloads of two versions."""
    verdict = {"deployment": "churn", "revision": OLD_REVISION, "outcome": "Stable", "at": LONG_AGO.isoformat()}
    remembers = {**as_stored(OLD)["status"], "verdicts": [verdict] * was_stable}
    version = ModelVersion.model_validate({**as_stored(OLD), "status": remembers})
    resource = a_deployment("churn-1", replicas=3)
    owned = {
        OLD_REVISION: the_workload(resource, OLD, OLD_REVISION, 3),
        NEW_REVISION: the_workload(resource, NEW, NEW_REVISION, 3),
    }
    return observed(resource, version, pods={OLD_REVISION: old, NEW_REVISION: new}, workloads=owned)


@pytest.mark.parametrize("crashing", [fallen(3), risen(3)], ids=["crashes", "is ready for a moment"])
def test_what_crashes_is_not_taken_up_where_something_else_answers(crashing: Sequence[Pod]) -> None:
    made = plan(found(crashing, pods(NEW_REVISION, 2)))
    assert made.status["stable"]["modelVersion"] == "churn-2"


@pytest.mark.parametrize("old", [pods(OLD_REVISION, 3, ready=False), pods(OLD_REVISION, 3, since=NOW)])
def test_what_is_taken_up_must_be_ready_for_a_minute_before_others_go(old: Sequence[Pod]) -> None:
    before = found(old, pods(NEW_REVISION, 3), was_stable=True)
    made = plan(before)
    assert (made.status["stable"]["modelVersion"], candidate(made)["modelVersion"]) == ("churn-1", "churn-2")
    young = {**before.pods, OLD_REVISION: pods(OLD_REVISION, 3, since=NOW)}
    for second, stays in ((1, True), (59, True), (60, False)):
        assert bool(candidate(plan(then(before, made, pods=young, now=after(seconds=second))))) is stays


def test_one_that_stands_in_and_is_named_again_is_no_longer_beside_itself() -> None:
    arm = {"modelVersion": "churn-3", "revision": FIX_REVISION, "since": NOW.isoformat(), "replicas": 10}
    before = standing_in({"candidate": {**arm, "leaving": True, "unreadySince": LONG_AGO.isoformat()}})
    given_up = {NEW_REVISION: pods(NEW_REVISION, 3), FIX_REVISION: pods(FIX_REVISION, 2)}
    resource = wanting(before.resource, modelVersion="churn-2")
    made = plan(replace(before, wanted=NEW, resource=resource, pods={**before.pods, **given_up}))
    assert (candidate(made)["modelVersion"], stands_in(made)) == ("churn-2", FIX_REVISION)


# What could not be started any more


@pytest.mark.parametrize("phase", ["Missing", "Corrupt"])
def test_a_candidate_whose_artifact_is_gone_does_not_take_over(phase: str) -> None:
    gone = a_model_version("churn-2", phase=phase, ready=False)
    resource = in_canary(1, candidate={"finishing": True, "readySince": LONG_AGO.isoformat()})
    before = observed(resource, NEW, pods=both(3), now=after(seconds=30))
    assert plan(before).status["stable"]["modelVersion"] == "churn-2"
    made = plan(replace(before, wanted=gone, versions={**before.versions, "churn-2": gone}))
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert "no pod of churn-2 could be started any more" in condition(made, "Ready")["message"]


@pytest.mark.parametrize("stable", [None, pods(OLD_REVISION, 3), DEAD])
def test_a_rollout_of_a_version_whose_artifact_is_gone_is_stalled(stable: Any) -> None:
    gone = a_model_version("churn-2", phase="Missing", ready=False)
    arm = {"modelVersion": "churn-2", "revision": NEW_REVISION, "since": NOW.isoformat(), "replicas": 3}
    resource = in_canary() if stable else a_deployment("churn-2", replicas=3, status={"candidate": arm})
    made = plans(observed(resource, gone, pods={OLD_REVISION: stable or (), NEW_REVISION: pods(NEW_REVISION, 1)}))
    assert (made.status["phase"], candidate(made)["modelVersion"]) == ("Paused" if stable else "Pending", "churn-2")
    assert [condition(made, one)["reason"] for one in ("Ready", "Stalled")] == ["VersionNotReady"] * 2
    assert "churn-2, which goes out, cannot be loaded by pods that start from now on" in (stalled(made) or "")


def test_no_pod_of_a_stable_version_whose_artifact_is_gone_is_taken_away() -> None:
    gone = a_model_version("churn-1", phase="Missing", ready=False)
    before = observed(steep(), pods=both(3, 3))
    assert sizes(plan(before))[OLD_REVISION] < 3
    assert OLD_REVISION not in sizes(plan(replace(before, versions={**before.versions, "churn-1": gone})))
    for replicas in (0, 1):  # but those that somebody wants no more
        scaled = replace(before, resource=wanting(before.resource, replicas=replicas))
        assert sizes(plan(replace(scaled, versions={**before.versions, "churn-1": gone})))[OLD_REVISION] == replicas
    rejected = plan(replace(before, versions={**before.versions, "churn-1": gone}, wanted=None))
    assert "No pod of churn-1 could be started any more" in condition(rejected, "Ready")["message"]
