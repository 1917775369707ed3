"""Time in which nobody watched, and times that a wrong clock has recorded, decide nothing."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import DEFAULTS, NOW, AWorld, a_deployment, a_pod, after, as_stored
from tests.unit.rollout.test_deciding import HALF, UNREADABLE, crashing, outcome, steep, wanting
from tests.unit.rollout.test_observing import a_pod_of, a_workload
from tests.unit.rollout.test_standing_in import CONDEMNED, DEAD
from tests.unit.rollout.world import (
    COUNTED,
    LONG_AGO,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    Unmeasured,
    both,
    dated,
    in_canary,
    looks,
    measured,
    observed,
    plans,
    pods,
    serving_old,
    sighted,
    then,
)
from upright.api import names
from upright.contract import Key, Plan
from upright.pods.reading import Pod, read
from upright.rollout.evidence import compared, to_keep
from upright.rollout.kind import Deployments
from upright.rollout.measuring import Reading
from upright.rollout.memory import Memory
from upright.rollout.observe import Observed, observe
from upright.rollout.plan import plan
from upright.rollout.sightings import Sightings

BACK = after(hours=1)
"""When somebody watches again."""


def loading(name: str = "loading") -> Pod:
    """It has begun now, and is not ready yet."""
    manifest = a_pod(name, ready=False, containers={"serve": {"running": {"startedAt": NOW.isoformat()}}})
    manifest["metadata"]["creationTimestamp"] = NOW.isoformat()
    return read(manifest)


def a_candidate_that_starts() -> Observed:
    resource = in_canary(0, step_since=None, candidate={"unreadySince": NOW.isoformat()})
    return observed(resource, pods={OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [loading()]})


def a_first_version_that_starts() -> Observed:
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": NOW.isoformat(), "replicas": 1}
    resource = a_deployment(status={"candidate": {**arm, "unreadySince": NOW.isoformat()}})
    return observed(resource, OLD, pods={OLD_REVISION: [loading()]})


def a_stable_version_that_does_not_answer_for_a_moment(**clocks: str) -> Observed:
    one: dict[str, Any] = {"replicas": 1}
    steps = {"steps": [{"weight": 50, "for": "9h"}]}
    resource = in_canary(replicas=1, step_since=None, stable={**one, **clocks}, candidate=one, rollout=steps)
    silent = [replace(crashing(1), name="silent")]
    return observed(resource, pods={OLD_REVISION: silent, NEW_REVISION: pods(NEW_REVISION, 1)})


def a_candidate_that_cannot_be_measured() -> Observed:
    resource = in_canary(
        0, rollout={"onInconclusive": "Rollback", "noDataDeadline": "10m", **HALF}, candidate={"replicas": 3}
    )
    return observed(resource, pods=both(3), reading=measured(UNREADABLE, COUNTED))


def a_bad_one_that_stands_in() -> Observed:
    before = observed(steep(stable={"replicas": 1}, status=CONDEMNED), pods=both(3, 1))
    loads = [replace(loading(), name=f"loading-{n}") for n in range(2)]
    return then(before, plan(before), pods={**before.pods, OLD_REVISION: [*before.pods[OLD_REVISION], *loads]})


def one_that_takes_over_and_lacks_a_tenth() -> Observed:
    arm = {"finishing": True, "replicas": 10}
    resource = in_canary(1, step_since=None, replicas=10, stable={"replicas": 10}, candidate=arm)
    return observed(resource, pods={OLD_REVISION: pods(OLD_REVISION, 10), NEW_REVISION: pods(NEW_REVISION, 9)})


def decided(made: Plan) -> Any:
    """What cannot be taken back."""
    arms = [made.status.get(arm) or {} for arm in ("stable", "candidate")]
    places = [(arm.get("modelVersion"), arm.get("leaving"), arm.get("repairing")) for arm in arms]
    return places, len(made.status["history"]), [one.name for one in made.delete]


def turns(before: Observed, *times: datetime, **more: Any) -> list[Plan]:
    """The plan at each of these times, and that of the present before them."""
    made = [plan(before)]
    for now in times:
        if before.reading.arms:
            more["reading"] = replace(before.reading, since=now.timestamp(), until=now.timestamp())
        before = then(before, made[-1], now=now, **more)
        made.append(plan(before))
    return made


@pytest.mark.parametrize(
    ("before", "deadline"),
    [
        (a_candidate_that_starts(), timedelta(minutes=10)),
        (a_first_version_that_starts(), timedelta(minutes=10)),
        (a_stable_version_that_does_not_answer_for_a_moment(), timedelta(seconds=30)),
        (
            a_stable_version_that_does_not_answer_for_a_moment(
                unreadySince=LONG_AGO.isoformat(), downSince=NOW.isoformat()
            ),
            timedelta(seconds=30),
        ),
        (a_candidate_that_cannot_be_measured(), timedelta(minutes=10)),
        (a_bad_one_that_stands_in(), timedelta(minutes=10)),
        (one_that_takes_over_and_lacks_a_tenth(), timedelta(minutes=10)),
    ],
    ids=["start", "first start", "no answer", "none again", "measuring", "standing in", "taking over"],
)
def test_time_in_which_nobody_watched_counts_for_no_deadline(before: Observed, deadline: timedelta) -> None:
    """A laptop sleeps, a clock jumps, the operator is away: what was so before is so again, for all that is known."""
    soon, late = BACK + deadline - timedelta(seconds=1), BACK + deadline
    at_first, *back = turns(before, BACK, BACK, soon, watched_since=BACK)
    assert [decided(made) for made in back] == [decided(at_first)] * 3
    assert decided(turns(before, BACK, late, late, watched_since=BACK)[-1]) != decided(at_first), "it begins anew"
    assert decided(turns(before, BACK, BACK)[-1]) != decided(at_first), "had somebody watched, it would be over"


def test_a_pod_that_fails_as_the_operator_comes_back_has_not_been_unready_all_the_while() -> None:
    before = a_candidate_that_starts()
    failed = replace(crashing(1, ready=False), created=NOW, begun=NOW)
    there = {**before.pods, NEW_REVISION: [failed]}
    back = turns(before, BACK, after(hours=1, minutes=9), watched_since=BACK, pods=there)
    assert not back[-1].status["history"]


def test_a_step_keeps_the_time_that_was_watched_and_gets_none_that_was_not() -> None:
    """Whatever its pods do as somebody watches again."""
    analysis = {"threshold": 100, "looks": 20, "at": after(minutes=5).timestamp()}
    before = observed(in_canary(step_since=NOW, status={"analysis": analysis}, rollout=HALF), pods=both(3))
    for there, reading in ((both(0), Reading()), (both(3), Reading()), (both(3), before.reading)):
        now = replace(before, now=BACK, watched_since=BACK, pods=there, reading=reading)
        assert plan(now).status["candidate"]["stepSpent"] == "5m"
    looked = Reading(since=BACK.timestamp(), until=BACK.timestamp())
    again = replace(before, now=BACK, watched_since=BACK, reading=looked)
    assert "finishing" not in plan(then(again, plan(again), now=BACK + timedelta(minutes=4))).status["candidate"]
    later = replace(looked, until=(BACK + timedelta(minutes=5)).timestamp())
    ended = then(again, plan(again), now=BACK + timedelta(minutes=5), reading=later)
    assert plan(ended).status["candidate"]["finishing"]


def test_nothing_is_written_of_what_has_no_clocks_when_somebody_watches_again() -> None:
    before = observed(wanting(serving_old(), modelVersion="churn-1"), OLD, pods={OLD_REVISION: pods(OLD_REVISION, 3)})
    settled = plans(before, 9)
    again = then(before, settled, now=BACK, watched_since=BACK)
    assert dated(plan(again), NOW) == dated(settled, NOW)


def test_what_does_not_answer_for_long_is_written_once_when_somebody_watches_again() -> None:
    resource = wanting(serving_old(), modelVersion="churn-1")
    before = observed(resource, OLD, pods={OLD_REVISION: DEAD})
    _, first, *others = turns(
        before, *[BACK + timedelta(minutes=n, microseconds=7) for n in range(3)], watched_since=BACK
    )
    assert first.status["stable"]["unreadySince"] == BACK.isoformat().replace("+00:00", "Z")
    assert [made.status["stable"] for made in others] == [first.status["stable"]] * 2


# A clock that was ahead


@pytest.mark.parametrize("ahead", [timedelta(seconds=5), timedelta(hours=1), timedelta(days=1)], ids=str)
def test_a_stable_version_that_is_down_since_a_time_to_come_is_repaired(ahead: timedelta) -> None:
    clocks = {"unreadySince": LONG_AGO.isoformat(), "downSince": (NOW + ahead).isoformat()}
    resource = in_canary(1, step_since=None, stable=clocks, candidate={"replicas": 3})
    before = observed(resource, pods={OLD_REVISION: DEAD, NEW_REVISION: pods(NEW_REVISION, 3)})
    assert turns(before, after(seconds=29))[-1].status["candidate"].get("repairing") is None
    assert turns(before, after(seconds=30))[-1].status["candidate"]["repairing"]


def test_a_candidate_that_went_out_at_a_time_to_come_is_judged_by_the_failures_of_both() -> None:
    def failing(number: int, name: str) -> Pod:
        pod = crashing(number, ready=True, at=after(seconds=5))
        return replace(pod, name=name, ready_since=after(seconds=6), created=LONG_AGO)

    there = {revision: [failing(3, f"{revision}-{n}") for n in range(3)] for revision in (OLD_REVISION, NEW_REVISION)}
    resource = in_canary(1, since=after(minutes=50), candidate={"replicas": 3})
    before = observed(resource, pods=both(3))
    first, later = turns(before, after(seconds=10), pods=there)
    assert first.status["candidate"]["since"] == NOW.isoformat().replace("+00:00", "Z")
    assert first.status["candidate"]["readySince"], "it is judged at once"
    assert outcome(later) == "Progressing"


@pytest.mark.parametrize("back", [61, 3600])
def test_evidence_of_a_time_to_come_begins_anew_when_there_are_looks(back: float) -> None:
    resource = in_canary(1, since=LONG_AGO, candidate={"replicas": 3})
    before = observed(resource, pods=both(3), looks=looks(4, canary=(100, 1), stable=(100, 1)))
    made = plan(before)
    assert made.status["analysis"]["looks"] == 4
    earlier = [replace(look, time=look.time - 15 - back) for look in before.reading.looks[:3]]
    later = plan(then(before, made, looks=earlier))
    assert later.status["analysis"]["looks"] == 3
    [said] = [event.message for event in later.events if event.reason == "EvidenceBegunAnew"]
    assert "a clock that was ahead" in said


@pytest.mark.parametrize(("seconds", "spent"), [(20, "20s"), (3600, "0s")])
def test_a_look_of_a_time_to_come_gives_a_step_no_time_in_which_nobody_watched(seconds: float, spent: str) -> None:
    analysis = {"threshold": 100, "looks": 9, "at": after(seconds=seconds).timestamp()}
    back = after(minutes=30)
    reading = Reading(since=back.timestamp(), until=back.timestamp())
    resource = in_canary(status={"analysis": analysis})
    made = plan(observed(resource, pods=both(), now=back, watched_since=back, reading=reading))
    assert made.status["candidate"]["stepSpent"] == spent


@pytest.mark.parametrize(("ahead", "after_it"), [(-60.0, True), (59.0, True), (61.0, False), (3600.0, False)])
async def test_looks_are_asked_for_after_the_last_one_unless_a_clock_was_ahead(ahead: float, after_it: bool) -> None:
    last, source = NOW.timestamp() + ahead, Unmeasured()
    resource = in_canary(status={"analysis": {"threshold": 100, "at": last}})
    comparison = compared(resource.status.stable, resource.status.candidate)
    kept = to_keep(resource, None, comparison, {"last": last}, Memory())
    assert kept
    await observe(as_stored(resource), AWorld((names.COMPARISONS, kept)), DEFAULTS, source, Sightings())
    [asked] = source.asked.values()
    assert asked.after == (last if after_it else None)
    assert asked.resumed, "what pods have counted may be recorded, whatever the clock says"


# Clocks of nodes that are behind, or ahead

WRONG = [timedelta(0), timedelta(minutes=-2), timedelta(hours=-1), timedelta(hours=1)]


def in_turns(second: int, wrong: timedelta, *phases: int, up: int, of_each: int, failures: int = 0) -> list[Pod]:
    """Pods of the candidate, each ready for the last seconds of each round, as nodes with such a clock tell of them."""
    found = []
    for number, phase in enumerate(phases):
        at = (second + phase) % of_each
        ready = at >= of_each - up
        changed = after(seconds=max(0, second - (at - (of_each - up) if ready else at))) + wrong
        like = crashing(failures, ready=ready, at=changed) if failures else pods(NEW_REVISION, 1, ready=ready)[0]
        since = changed if ready else None
        found.append(replace(like, name=f"{number}", uid=f"{number}", changed=changed, ready_since=since, created=NOW))
    return found


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_pods_take_the_place_of_others_when_they_have_been_seen_ready_for_long_enough(wrong: timedelta) -> None:
    sightings = Sightings()
    for second, stable in ((0, 3), (60, 3), (69, 3), (70, 1)):  # ready as of then
        made = in_turns(second, wrong, 0, 0, 0, up=600, of_each=660)
        world = sighted(sightings, both(0) | {NEW_REVISION: made}, after(seconds=second))
        shape = plan(observed(steep(), pods=world, now=after(seconds=second))).status
        assert shape["stable"]["replicas"] == stable, second


def test_a_pod_has_begun_once_whatever_the_kubelet_forgets_of_containers_that_are_started_again() -> None:
    """Of two containers the second began later, and is the only one that the kubelet remembers when the first dies."""
    sightings, pod = Sightings(), pods(NEW_REVISION, 1)[0]
    began = {
        second: sighted(sightings, {NEW_REVISION: [replace(pod, begun=at)]}, after(seconds=second))[NEW_REVISION][
            0
        ].begun
        for second, at in ((0, after(minutes=-60)), (600, after(minutes=-59)))
    }

    assert began == {0: after(minutes=-60), 600: after(minutes=-60)}


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_stands_in_stays_while_stable_pods_that_crash_are_ready_for_a_moment(wrong: timedelta) -> None:
    sightings, since = Sightings(), (NOW - timedelta(minutes=5)).isoformat()
    stable = {"unreadySince": since, "downSince": since, "replicas": 3}
    resource = in_canary(1, step_since=None, stable=stable, candidate={"leaving": True, "replicas": 3})
    before = observed(wanting(resource, modelVersion="churn-1"), OLD)
    for second, stays in ((0, True), (60, True), (110, True), (120, False)):
        crashed = in_turns(second, wrong, 0, 0, 0, up=600, of_each=660, failures=50)
        now, world = after(seconds=second), {OLD_REVISION: crashed, NEW_REVISION: pods(NEW_REVISION, 3)}
        before = replace(before, now=now, pods=sighted(sightings, world, now))
        made = plan(before)
        assert ("candidate" in made.status and not made.delete) is stays, second
        before = then(before, made)


@pytest.mark.parametrize("wrong", WRONG, ids=str)
@pytest.mark.parametrize("failures", [0, 3])
def test_two_that_take_turns_in_not_being_ready_are_rejected(wrong: timedelta, failures: int) -> None:
    sightings, slow = Sightings(), {"steps": [{"weight": 50, "for": "9h"}], "restarts": 100}
    resource = in_canary(0, step_since=None, replicas=4, rollout=slow, candidate={"replicas": 2})
    before = observed(resource, reading=measured(COUNTED, COUNTED))
    for second in range(0, 900, 5):
        taking = in_turns(second, wrong, 0, 40, up=20, of_each=80, failures=failures)
        now = after(seconds=second)
        before = replace(before, now=now, pods=sighted(sightings, both(0) | {NEW_REVISION: taking}, now))
        made = plan(before)
        if outcome(made) == "RolledBack":
            break
        before = then(before, made)
    assert 600 <= second < 720


async def test_pods_are_as_they_are_since_that_was_seen_but_for_those_that_a_process_finds_when_it_begins() -> None:
    resource, sooner, later = serving_old(), after(minutes=-9), after(hours=1)

    async def since(kind: Deployments, minute: int, told: datetime, *, ready: bool = True) -> datetime:
        """Since when it has been as it is, for whoever looks at that minute; as `told` by its node."""
        pod = a_pod_of("uid-of-churn")
        pod["status"]["conditions"] = [{"type": "Ready", "status": str(ready), "lastTransitionTime": told.isoformat()}]
        world = AWorld((names.APPS_DEPLOYMENTS, a_workload(resource)), (names.PODS, pod), now=after(minutes=minute))
        [found] = (await kind.observe(as_stored(resource), world)).pods[OLD_REVISION]
        assert found.ready_since == (found.changed if ready else None)
        return found.changed

    for told in (sooner, later):
        kind = Deployments(DEFAULTS, Unmeasured())
        assert await since(kind, 0, LONG_AGO, ready=False) == LONG_AGO
        assert [await since(kind, minute, told) for minute in (1, 2, 3)] == [after(minutes=1)] * 3
        assert await since(kind, -1, told) == after(minutes=-1)  # the clock of who looks is put back
        kind.forget(Key("shop", "churn"))
        assert await since(kind, 4, told) == min(told, after(minutes=4))


async def test_what_is_measured_is_dated_likewise() -> None:
    resource, source, pod = in_canary(), Unmeasured(), a_pod_of("uid-of-churn")
    ahead = after(hours=1).isoformat()
    pod["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": ahead}]
    world = AWorld((names.APPS_DEPLOYMENTS, a_workload(resource)), (names.PODS, pod), now=NOW)
    found = await Deployments(DEFAULTS, source).observe(as_stored(resource), world)
    [measured_pod] = source.asked[Key("shop", "churn")].pods["stable"]
    assert measured_pod.ready_since == NOW
    assert found.pods[OLD_REVISION] == [measured_pod]


ANY_TIME = st.one_of(st.none(), st.timedeltas(timedelta(days=-2), timedelta(days=2)).map(NOW.__add__))


@given(st.data(), st.timedeltas(timedelta(0), timedelta(days=1)))
def test_no_clock_of_a_status_is_ahead_or_counts_time_in_which_nobody_watched(data: Any, watched: timedelta) -> None:
    stable, candidate = (
        {field: at.isoformat() for field in fields if (at := data.draw(ANY_TIME))}
        for fields in (
            ("unreadySince", "readySince", "lackingSince", "downSince"),
            ("unreadySince", "readySince", "lackingSince", "unmeasuredSince", "stepSince"),
        )
    )
    resource = in_canary(1, step_since=None, stable=stable, candidate=candidate)
    there = data.draw(st.sampled_from([both(3), both(1), both(0), both(3, 0), both(0, 0)]))
    made = plan(observed(resource, pods=there, watched_since=NOW - watched, reading=measured(COUNTED, COUNTED)))
    for arm in (made.status.get("stable") or {}, made.status.get("candidate") or {}):
        for field, at in arm.items():
            if field.endswith("Since"):
                assert NOW - watched <= datetime.fromisoformat(at) <= NOW, field


@pytest.mark.parametrize("says", ["Promote", "Hold", "Rollback"])
def test_looks_that_go_on_while_the_steps_clock_stands_end_no_step(says: str) -> None:
    rollout = {"onInconclusive": says}
    compared = looks(40, canary=(9, 0), stable=(27, 0))
    paused = observed(in_canary(paused=True, rollout=rollout), pods=both(), looks=compared, now=after(minutes=10))
    made = plan(paused)
    assert made.status["phase"] == "Paused"
    assert made.status["analysis"]["verdict"] == "Continue"
    assert made.status["analysis"]["message"].startswith("No verdict after 40 looks")


def test_a_candidate_whose_steps_end_without_a_verdict_is_rejected_for_that_and_for_no_metric() -> None:
    compared = looks(40, canary=(9, 0), stable=(27, 0))
    resource = in_canary(1, step_since=after(minutes=9), rollout={"onInconclusive": "Rollback"})
    made = plan(observed(resource, pods=both(3), looks=compared, now=after(minutes=10)))
    rejected = made.status["rejected"][0]
    assert "metric" not in rejected or not rejected["metric"]
    assert rejected["message"].startswith("The steps ended without a verdict, and onInconclusive is Rollback.")
