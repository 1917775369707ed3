"""How often pods have failed, of which the kubelet tells how they ended the last time alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.builders import NOW, after
from tests.unit.rollout.test_deciding import crashing
from tests.unit.rollout.world import LONG_AGO, NEW_REVISION, OLD_REVISION, in_canary, observed, pods, sighted, then
from upright.contract import Plan
from upright.pods.reading import Pod
from upright.rollout.measuring import Reading
from upright.rollout.plan import plan
from upright.rollout.sightings import Sightings

REBOOT: Mapping[str, Any] = {"reason": "Unknown", "exit_code": 255}
WELL: Mapping[str, Any] = {"reason": "Completed", "exit_code": 0}
WATCHED = Reading(since=LONG_AGO.timestamp())


def ended(times: int, name: str = "new", **last: Any) -> Pod:
    """A pod that began long ago, of which a container has ended so often; `last`: how, the last time."""
    pod = crashing(times, ready=True, **last) if times else crashing(1, ready=True, **REBOOT)
    containers = tuple(replace(one, restarts=times) for one in pod.containers)
    return replace(
        pod, uid=name, name=name, begun=LONG_AGO, scheduled=LONG_AGO, ready_since=LONG_AGO, containers=containers
    )


def with_sidecar(times: int, **last: Any) -> Pod:
    [sidecar] = ended(times, **last).containers
    [pod] = pods(NEW_REVISION, 1)
    return replace(pod, containers=(*pod.containers, replace(sidecar, name="reload", serves=False)))


OLD, NEW = pods(OLD_REVISION, 3), ended(0)
_Turn = tuple[Pod, Pod] | None
"""What a pod of the stable version and that of the candidate are; None: the operator is started again."""


def rolled(*turns: _Turn, candidate: Any = None) -> list[Plan]:
    """The plans of these turns. The operator has just been started when the first one comes."""
    now, sightings, made = observed(in_canary(since=LONG_AGO, step_since=None, candidate=candidate)), Sightings(), []
    reading = Reading()
    for number, turn in enumerate(turns):
        if turn is None:
            sightings, reading = Sightings(), Reading()
            continue
        world = {OLD_REVISION: [turn[0], *OLD[1:]], NEW_REVISION: [turn[1]]}
        at = after(seconds=number)
        now = replace(now, pods=sighted(sightings, world, at), reading=reading, now=at)
        made.append(plan(now))
        now, reading = then(now, made[-1], workloads=now.workloads), WATCHED
    return made


def compared(made: Plan) -> tuple[int, int]:
    """How often the candidate has failed, and the stable version."""
    found = made.status["candidate"]["comparedFailures"]
    return found["own"], found["stable"]


def counts(made: Plan) -> list[Any]:
    """All that is recorded of that."""
    return [made.status["candidate"].get(one) for one in ("comparedFailures", "ownFailures", "stableFailures")]


def test_one_failure_after_many_ends_with_the_node_is_one_and_hides_none_of_the_candidate() -> None:
    rebooted = [ended(30, "old", **REBOOT), ended(31, "old")]
    first, second = rolled((rebooted[0], NEW), (rebooted[1], ended(2)))
    assert compared(first) == (0, 0)
    assert compared(second) == (2, 1)
    [*_, last] = rolled((rebooted[0], NEW), *((rebooted[1], ended(times)) for times in range(1, 7)))
    assert "its own have failed 6 times" in last.status["rejected"][0]["message"]
    assert "those of churn-1 once" in last.status["rejected"][0]["message"]


def test_one_failure_of_a_sidecar_that_has_ended_well_again_and_again_is_one() -> None:
    ends = [*(with_sidecar(times, **WELL) for times in range(1, 7)), with_sidecar(7)]
    [*_, last] = rolled((OLD[0], NEW), *((OLD[0], one) for one in ends))
    assert last.status["phase"] == "Progressing"
    assert compared(last) == (1, 0)


def test_that_its_node_is_started_again_forgives_no_failure() -> None:
    failed, rebooted = ended(4), ended(5, **REBOOT)
    [*_, last] = rolled((OLD[0], NEW), (OLD[0], failed), (OLD[0], rebooted))
    assert compared(last) == (4, 0)
    [*_, last] = rolled((OLD[0], NEW), (OLD[0], failed), (OLD[0], rebooted), (OLD[0], ended(6)))
    assert "its own have failed 5 times" in last.status["rejected"][0]["message"]


def test_an_operator_that_is_started_again_holds_against_each_what_it_did_and_no_more() -> None:
    """Also on the node that was started again."""
    before = [(ended(30, "old", **REBOOT), NEW), (ended(31, "old"), ended(3))]
    rebooted = ended(32, "old", **REBOOT), ended(4, **REBOOT)
    again, steady, more = rolled(*before, None, rebooted, rebooted, (ended(33, "old"), ended(5)))[2:]
    assert compared(again) == compared(steady) == (3, 1)
    assert counts(again) == counts(steady)
    assert compared(more) == (4, 2)


@pytest.mark.parametrize("last", [REBOOT, {}])
def test_what_an_operator_has_recorded_that_took_all_ends_for_such_as_the_last_is_read_on(last: Any) -> None:
    counted = {"comparedFailures": {"own": 3, "stable": 1, "share": 0.25}, "stableFailures": None if last else 31}
    told = (ended(31, "old", **last), ended(3))
    first, second = rolled(told, told, candidate=counted)
    assert compared(first) == compared(second) == (3, 1)
    assert counts(first) == counts(second)
    [_, more] = rolled(told, (ended(32, "old"), ended(4)), candidate=counted)
    assert compared(more) == (4, 2)


def test_failures_of_a_stable_pod_that_is_gone_stay_counted() -> None:
    turns = [(ended(30, "old", **REBOOT), NEW), (ended(31, "old"), NEW), (OLD[0], NEW)]
    assert compared(rolled(*turns)[-1]) == (0, 1)
    assert compared(rolled(*turns, (ended(2, "next"), NEW))[-1]) == (0, 3)


def seen(*ends: Pod, first: Sequence[Pod] = ()) -> list[int]:
    """How often a pod has failed, each time that it is looked at; `first`: what there is when the process begins."""
    sightings = Sightings()
    sighted(sightings, {NEW_REVISION: first}, NOW)
    return [sighted(sightings, {NEW_REVISION: [one]}, NOW)[NEW_REVISION][0].seen_failures for one in ends]


def injected(pod: Pod) -> Pod:
    return replace(pod, containers=tuple(replace(one, injected=True) for one in pod.containers))


def untold(pod: Pod) -> Pod:
    return replace(pod, containers=tuple(replace(one, ended=None) for one in pod.containers))


def test_all_ends_since_the_last_look_are_like_the_last_one() -> None:
    assert seen(ended(2), ended(4, **REBOOT), ended(5)) == [2, 2, 3]
    assert seen(ended(3, **REBOOT), ended(3, **REBOOT), ended(6)) == [0, 0, 3]
    assert seen(ended(1), ended(1)) == [1, 1]


def test_what_has_been_cleared_away_is_like_the_next_that_is_told() -> None:
    assert seen(ended(1), untold(ended(3)), ended(4)) == [1, 1, 4]
    assert seen(ended(1), untold(ended(3)), ended(4, **REBOOT), ended(5)) == [1, 1, 1, 2]


def test_a_kubelet_that_has_lost_count_makes_no_failures() -> None:
    assert seen(ended(5), ended(0), ended(1)) == [5, 0, 1]
    assert seen(ended(30, **REBOOT), ended(1, **REBOOT), ended(2), first=[ended(30, **REBOOT)]) == [30, 1, 2]


def test_a_container_that_turns_out_to_be_injected_has_not_failed_before_or_after() -> None:
    assert seen(ended(2), injected(ended(3)), ended(3), ended(4)) == [2, 0, 0, 1]
    known = [ended(30, **REBOOT)]
    assert seen(injected(ended(31)), ended(31), ended(32), first=known) == [30, 30, 31]
    assert seen(injected(ended(31)), ended(31), first=[injected(ended(30))]) == [0, 0]
