"""A rollout in bad weather: pods that crash, nothing measured, nobody who wants it any more, too little capacity."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import NOW, a_deployment, a_model_version, a_pod, after, as_stored, exited, waiting
from tests.unit.rollout.world import (
    COUNTED,
    LONG_AGO,
    NEW,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    QUIET,
    STEPS,
    both,
    condition,
    in_canary,
    looks,
    measured,
    observed,
    plans,
    pods,
    serving_old,
    sighted,
    sizes,
    stalled,
    then,
    workloads,
)
from upright.api import names
from upright.api.artifact import REFUSED
from upright.api.deployment import Deployment
from upright.contract import Manifest, Plan
from upright.pods.reading import Pod, of_one_template, read
from upright.rollout.facts import ArmFacts, Facts
from upright.rollout.measuring import Frequent, Measurement, Reading
from upright.rollout.members import lost, with_injected
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.restarts import counted, failed_too_often
from upright.rollout.sightings import Sightings

HALF = {"steps": [{"weight": 50, "for": "10m"}]}
STEEP = {"weight": 90, "for": "1h"}


def crashing(
    count: int,
    *,
    ready: bool = False,
    runs: bool = False,
    reason: str = "OOMKilled",
    exit_code: int = 137,
    at: Any = None,
) -> Pod:
    """A pod whose serving container was killed so often, and runs again or waits for it."""
    pod, runs = a_pod("crashing", ready=ready), runs or ready
    state = {"running": {}} if runs else waiting("CrashLoopBackOff", "back-off")
    pod["status"]["conditions"][0]["lastTransitionTime"] = NOW.isoformat()
    pod["status"]["containerStatuses"] = [
        {
            "name": "serve",
            "image": "i",
            "restartCount": count if runs else count - 1,
            "state": state,
            "lastState": {
                "terminated": {
                    **exited(exit_code, reason=reason)["terminated"],
                    **({"finishedAt": at.isoformat()} if at else {}),
                }
            },
        }
    ]
    return read(pod)


def outcome(made: Plan) -> str:
    return str(made.status["history"][0]["outcome"]) if made.status["history"] else str(made.status["phase"])


# A canary that crashes


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("ready", [True, False])
@pytest.mark.parametrize(("failures", "age"), [(3, 9), (13, 11)])  # that is not chance: one of its start, or so many
def test_a_candidate_whose_containers_fail_again_and_again_is_rejected_in_any_step(
    step: int, ready: bool, failures: int, age: int
) -> None:
    pod = replace(crashing(failures, ready=ready), begun=after(seconds=30, minutes=-age))
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [pod]}
    made = plan(observed(in_canary(step, since=LONG_AGO), pods=world, now=after(seconds=30)))
    assert made.status["phase"] == "RolledBack"
    [rejected] = made.status["rejected"]
    assert f"ran, its own have failed {failures} times (rollout.restarts is 3)" in rejected["message"]
    assert "those of churn-1 have not. Container 'serve'" in rejected["message"]
    assert "OOMKilled" in rejected["message"]


WATCHED = Reading(since=LONG_AGO.timestamp())


def turned(facts: Facts, stable: ArmFacts) -> Facts:
    """What is known once the failures until now have been counted."""
    return replace(facts, stable=stable, candidate=replace(facts.candidate, arm=counted(facts, stable)))


@cache
def _failing(count: int, of: int) -> list[Pod]:
    """So many pods, of which some have failed once, and serve again."""
    once = replace(crashing(1, ready=True, at=NOW), ready_since=LONG_AGO)
    return [once] * count + pods(NEW_REVISION, 1) * (of - count)


def test_a_version_that_fails_no_more_often_is_rejected_in_no_more_rollouts_than_was_promised() -> None:
    resource = in_canary(
        1, replicas=100, since=LONG_AGO, stable={"replicas": 100}, candidate={"replicas": 100}, rollout=HALF
    )

    ours, theirs = resource.status.candidate, resource.status.stable
    assert ours
    assert theirs

    @cache
    def rejected(stable: int, candidate: int) -> bool:
        old = ArmFacts(theirs, _failing(stable, 100), 100)
        facts = Facts(NOW, resource.spec, ArmFacts(ours, _failing(candidate, 100), 100), old, reading=WATCHED)
        return bool(failed_too_often(turned(facts, old)))

    still, gone = {(0, 0): 1.0}, 0.0  # how likely each pair of numbers is, looked at after every failure
    for _ in range(32):
        after_one: dict[tuple[int, int], float] = {}
        for (stable, candidate), likely in still.items():
            for pair in ((stable + 1, candidate), (stable, candidate + 1)):
                if rejected(*pair):
                    gone += likely / 2
                else:
                    after_one[pair] = after_one.get(pair, 0.0) + likely / 2
        still = after_one
    assert 0.001 < gone < 0.01


@cache
def _failed(times: int) -> Pod:
    """A pod that began long ago, has failed so often, and serves again."""
    long_ago = NOW - timedelta(days=1)
    return replace(crashing(times, ready=True, at=NOW), begun=long_ago, created=long_ago, ready_since=LONG_AGO)


def _is_rejected(chance: Random, steps: Sequence[tuple[int, int, int]], for_each: float) -> bool:
    """A rollout of a version that fails as often as the stable one. A step: for how many pods both are asked, and how
    many of the stable version's run. `for_each`: failures of a pod in a step, on average. Of the stable version's pods
    those go first that have failed most, as a ReplicaSet chooses, and those of the candidate's last.
    """
    resource = in_canary(1, since=LONG_AGO)
    assert resource.status.candidate
    assert resource.status.stable
    arm, theirs = resource.status.candidate, resource.status.stable
    old: list[int] = []
    new: list[int] = []
    for stays, asked, running in steps:
        old = [*sorted(old)[:stays], *[0] * (stays - len(old))]
        new = [*sorted(new)[-asked:], *[0] * (asked - len(new))]
        for _ in range(round(for_each * (running + asked))):
            place = chance.randrange(running + asked)
            if place < asked:
                new[place] += 1
            else:
                old[place - asked] += 1
            stable = ArmFacts(theirs, [_failed(times) for times in old[:running]], stays)
            facts = Facts(
                NOW, resource.spec, ArmFacts(arm, [_failed(one) for one in new], asked), stable, None, WATCHED
            )
            if failed_too_often(facts := turned(facts, stable)):
                return True
            arm = facts.candidate.arm
    return False


@pytest.mark.parametrize(
    ("steps", "for_each"),
    [
        ([(20, 20, 20), (13, 20, 13)], 0.5),  # a step above half takes those of the stable version's that have failed
        ([(10, 1, 10), (10, 10, 0), (10, 1, 10)], 2.0),  # its nodes are away, and the candidate carries everything
        ([(2, 10, 2), (10, 1, 10)], 1.0),  # a share that becomes smaller
    ],
)
def test_what_becomes_of_the_stable_versions_pods_condemns_no_more_versions_than_was_promised(
    steps: Sequence[tuple[int, int, int]], for_each: float
) -> None:
    chance = Random(9)
    rejected = sum(_is_rejected(chance, steps, for_each) for _ in range(100))
    assert rejected <= 4  # more than that in less than one of 200 such tests, if it were 1 %


def test_a_canary_of_one_pod_is_judged_by_how_many_pods_the_others_have() -> None:
    resource = in_canary(0, replicas=9, stable={"replicas": 9}, candidate={"replicas": 1}, since=LONG_AGO)
    failing = [replace(crashing(5, ready=True, at=NOW), name=f"s{n}") for n in range(8)]
    world = {OLD_REVISION: [*failing, *pods(OLD_REVISION, 1)], NEW_REVISION: [crashing(3, ready=True)]}
    assert plan(observed(resource, pods=world)).status["phase"] == "Progressing"
    world = {OLD_REVISION: [*failing[:1], *pods(OLD_REVISION, 8)], NEW_REVISION: [crashing(8, ready=True)]}
    made = plan(observed(resource, pods=world))
    assert "those of churn-1 5 times, which is not chance" in made.status["rejected"][0]["message"]


def test_what_an_adopted_candidate_had_failed_before_says_nothing() -> None:
    month = NOW - timedelta(days=30)
    world = {
        OLD_REVISION: pods(OLD_REVISION, 3),
        NEW_REVISION: [replace(crashing(9, ready=True, at=month), ready_since=month)],
    }
    owned = workloads(in_canary())
    begun = plan(observed(serving_old(), pods=world, workloads=owned))
    assert begun.status["candidate"]["ownFailures"] == 9
    adopted = then(observed(serving_old(), pods=world, workloads=owned), begun, workloads=owned)
    assert plan(adopted).status["phase"] == "Progressing"
    more = replace(adopted, pods={**world, NEW_REVISION: [crashing(14, ready=True)]})
    assert plan(more).status["phase"] == "RolledBack"
    fewer = plan(replace(adopted, pods={**world, NEW_REVISION: [crashing(1, ready=True)]}))
    assert fewer.status["candidate"]["ownFailures"] == 1


def _turns(resource: Deployment, worlds: Sequence[tuple[Sequence[Pod], Sequence[Pod]]]) -> Plan:
    """The last plan of as many turns as there are pods of the stable version and of the candidate."""
    now = observed(resource)
    for stable, candidate in worlds:
        now = replace(now, pods={OLD_REVISION: stable, NEW_REVISION: candidate})
        made = plan(now)
        now = then(now, made, workloads=now.workloads)
    return made


def test_failures_of_stable_pods_that_a_step_takes_away_stay_counted() -> None:
    resource = in_canary(1, replicas=20, since=LONG_AGO, stable={"replicas": 20}, candidate={"replicas": 20})
    few, same = [_failed(2)] * 13, pods(OLD_REVISION, 7)
    made = _turns(resource, [([*few, *same], [*few, *same]), (same, [*few, *same])])
    assert made.status["phase"] == "Progressing"
    assert made.status["candidate"]["comparedFailures"] == {"own": 26, "stable": 26, "share": 0.5}
    more = _turns(resource, [([*few, *same], [*few, *same]), (same, [_failed(12)] * 13)])
    assert "its own have failed 156 times" in more.status["rejected"][0]["message"]
    assert "those of churn-1 26 times, which is not chance" in more.status["rejected"][0]["message"]


AWAY = [replace(one, ready_since=None, begun=None) for one in pods(OLD_REVISION, 3)]


@pytest.mark.parametrize(
    ("before", "own"),
    [
        ([(AWAY, [_failed(5)])], 0),  # none of them has run
        ([([*pods(OLD_REVISION, 1, ready=False), *AWAY[1:]], [_failed(5)])], 0),  # one loads the model: nobody asks it
        ([(pods(OLD_REVISION, 3), [_failed(2)]), (AWAY, [_failed(7)])], 2),
    ],
)
def test_what_a_candidate_has_failed_while_it_was_alone_condemns_it_not_when_others_are_back(
    before: Sequence[tuple[Sequence[Pod], Sequence[Pod]]], own: int
) -> None:
    resource, [*_, (_, last)] = in_canary(since=LONG_AGO, step_since=None), before
    back = [*pods(OLD_REVISION, 1), *AWAY[1:]]
    made = _turns(resource, [*before, (back, last)])
    assert made.status["phase"] == "Progressing"
    assert made.status["candidate"]["comparedFailures"]["own"] == own
    failures = last[0].failures
    later = [(pods(OLD_REVISION, 3), [_failed(failures + more)]) for more in range(1, 6 - own)]
    assert _turns(resource, [*before, *later[:-1]]).status["phase"] == "Progressing"
    assert "failed 5 times" in _turns(resource, [*before, *later]).status["rejected"][0]["message"]


def test_a_share_that_was_larger_counts_for_all_failures_until_then_and_after() -> None:
    resource = in_canary(replicas=10, since=LONG_AGO, stable={"replicas": 1}, candidate={"replicas": 1})
    grown = [(pods(OLD_REVISION, 1), [_failed(5)]), (pods(OLD_REVISION, 10), [_failed(5)])]
    made = _turns(resource, grown)
    assert made.status["phase"] == "Progressing"
    assert made.status["candidate"]["comparedFailures"] == {"own": 5, "stable": 0, "share": 0.5}
    assert _turns(resource, [(pods(OLD_REVISION, 10), [_failed(5)])]).status["phase"] == "RolledBack"


@pytest.mark.parametrize(
    ("candidate", "reading"),
    [
        ({"comparedFailures": None, "stableFailures": 9}, WATCHED),  # recorded by an operator that counted otherwise
        ({}, Reading()),  # what was while no operator was there, nobody has seen
    ],
)
def test_failures_of_which_the_share_is_not_known_condemn_nobody(candidate: Any, reading: Reading) -> None:
    resource = in_canary(since=LONG_AGO, candidate=candidate)
    first = observed(resource, pods={OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [_failed(9)]}, reading=reading)
    made = plan(first)
    assert made.status["candidate"]["comparedFailures"] == {"own": 0, "stable": 0, "share": 0.0}
    watched = then(first, made, reading=WATCHED)
    again = plan(watched)
    begun = {"stepSince": again.status["candidate"]["stepSince"], "stepWeight": 25}
    assert again.status["candidate"] == made.status["candidate"] | begun
    more = plan(replace(watched, pods={**watched.pods, NEW_REVISION: [_failed(14)]}))
    assert "its own have failed 5 times" in more.status["rejected"][0]["message"]


def test_only_failures_and_pods_that_go_change_what_is_recorded_of_them() -> None:
    resource = in_canary(since=LONG_AGO, step_since=None)
    world = [([_failed(4), *pods(OLD_REVISION, 2)], [_failed(2)])]
    once, twice, grown = (
        _turns(resource, turns)
        for turns in (world, world * 3, [*world, ([_failed(4), *pods(OLD_REVISION, 5)], [_failed(2)])])
    )
    parts = ("comparedFailures", "ownFailures", "stableFailures")
    for made in (twice, grown):
        assert [made.status["candidate"].get(one) for one in parts] == [
            once.status["candidate"].get(one) for one in parts
        ]


def test_two_failures_are_forgiven_by_default() -> None:
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [crashing(2, ready=True)]}
    assert plan(observed(in_canary(), pods=world)).status["phase"] == "Progressing"


def test_a_sidecar_that_fails_counts_too() -> None:
    [pod] = pods(NEW_REVISION, 1)
    mesh = replace(crashing(5).containers[0], name="mesh")
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [replace(pod, containers=(mesh,))]}
    made = plan(observed(in_canary(), pods=world))
    assert "'mesh'" in made.status["rejected"][0]["message"]


@pytest.mark.parametrize(
    ("container", "exit_code", "phase"),
    [("refresh", 0, "Progressing"), ("refresh", 1, "RolledBack"), ("serve", 0, "RolledBack")],
)
@pytest.mark.parametrize("ready", [True, False])
def test_a_container_that_ends_well_has_not_failed_unless_it_should_serve(
    container: str, exit_code: int, phase: str, ready: bool
) -> None:
    ended = {"name": container, "restartCount": 5, "lastState": exited(exit_code)}
    state = {"running": {}} if ready else exited(exit_code)
    [pod] = pods(NEW_REVISION, 1, containerStatuses=[{**ended, "image": "i", "state": state}])
    made = plan(observed(in_canary(), pods={OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [pod]}))
    assert made.status["phase"] == phase
    assert all(f"with exit code {exit_code} " in one["message"] for one in made.status["rejected"])


def test_when_the_stable_pods_fail_as_often_it_is_not_the_version() -> None:
    world = {OLD_REVISION: [crashing(9, ready=True)] * 3, NEW_REVISION: [crashing(5, ready=True)]}
    assert plan(observed(in_canary(), pods=world)).status["phase"] == "Progressing"
    some = {OLD_REVISION: [*pods(OLD_REVISION, 2), crashing(9, ready=True)], NEW_REVISION: [crashing(15, ready=True)]}
    assert plan(observed(in_canary(), pods=some)).status["phase"] == "RolledBack"
    before = in_canary(since=after(minutes=1), candidate={"stableFailures": 27})  # that was before it went out
    earlier = {**world, OLD_REVISION: [crashing(9, ready=True, at=NOW)] * 3}
    assert plan(observed(before, pods=earlier, now=after(minutes=2))).status["phase"] == "RolledBack"


@pytest.mark.parametrize(("failures", "phase"), [(6, "Progressing"), (50, "RolledBack")])
def test_one_failure_of_the_only_stable_pod_does_not_excuse_fifty(failures: int, phase: str) -> None:
    world = {OLD_REVISION: [crashing(3, ready=True)], NEW_REVISION: [crashing(failures, ready=True)]}
    assert plan(observed(in_canary(replicas=1), pods=world)).status["phase"] == phase


def test_what_stable_pods_had_failed_before_the_candidate_excuses_nothing() -> None:
    leaky = observed(serving_old(replicas=1), pods={OLD_REVISION: [crashing(100, ready=True)]})
    made = plan(leaky)
    assert made.status["candidate"]["stableFailures"] == 100
    begun = then(leaky, made)

    def later(stable: int, candidate: int) -> Plan:
        world = {OLD_REVISION: [crashing(stable, ready=True)], NEW_REVISION: [crashing(candidate, ready=True)]}
        return plan(replace(begun, pods=world, workloads=workloads(begun.resource)))

    assert later(101, 12).status["phase"] == "RolledBack"
    assert later(106, 12).status["phase"] == "Progressing"
    replaced = later(0, 1)  # by another pod, which counts from its beginning
    assert "stableFailures" not in replaced.status["candidate"]
    world = {OLD_REVISION: [crashing(3, ready=True)], NEW_REVISION: [crashing(6, ready=True)]}
    again = replace(then(begun, replaced), pods=world, workloads=workloads(begun.resource))
    assert plan(again).status["phase"] == "Progressing"


@pytest.mark.parametrize(
    ("restarted", "repairing"),
    [
        ({"reason": "Unknown", "exit_code": 255}, False),  # its node was started again, and it loads the model
        ({"at": LONG_AGO, "runs": True}, False),
        ({"at": LONG_AGO}, True),  # by its node's clock: it backs off now
        ({}, True),
        ({"at": NOW - timedelta(minutes=2, seconds=1)}, True),  # just before it was noticed
    ],
)
def test_what_a_stable_pod_died_of_before_says_nothing_of_why_it_is_not_ready(restarted: Any, repairing: bool) -> None:
    resource = in_canary(stable={"unreadySince": (NOW - timedelta(minutes=2)).isoformat()})
    world = {OLD_REVISION: [crashing(1, **restarted)], NEW_REVISION: pods(NEW_REVISION, 1)}
    assert ("repairing" in plan(observed(resource, pods=world)).status["candidate"]) is repairing


LATELY = NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("stable", "repairing"),
    [
        ([crashing(1, runs=True, at=LATELY)], False),  # killed once, and it loads the model
        ([crashing(9, at=LATELY), *pods(OLD_REVISION, 1, ready=False)], False),  # another one is new, and loads it
        ([crashing(9, at=LATELY), crashing(9, runs=True, at=LATELY)], True),
    ],
)
def test_a_stable_pod_that_runs_may_become_ready_unless_others_fail_and_it_did(
    stable: list[Pod], repairing: bool
) -> None:
    resource = in_canary(stable={"unreadySince": (NOW - timedelta(minutes=2)).isoformat()})
    world = {OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 1)}
    assert ("repairing" in plan(observed(resource, pods=world)).status["candidate"]) is repairing


@pytest.mark.parametrize("killed", [0, 1])  # for itself, beside those that ended with their node
def test_that_a_node_was_started_again_is_no_failure(killed: int) -> None:
    rebooted = crashing(9, ready=True, reason="Unknown", exit_code=255)
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [rebooted, *[crashing(1, ready=True)] * killed]}
    assert plan(observed(in_canary(), pods=world)).status["phase"] == "Progressing"


def failed(reason: str, *, began: bool = True, disrupted: bool = True, at: Any = NOW) -> Pod:
    """A pod that failed as a whole then."""
    pod = a_pod("gone", ready=False, phase="Failed", reason=reason, message="The node said why.")
    pod["status"]["conditions"] = [
        {"type": kind, "status": status, "lastTransitionTime": at.isoformat()}
        for kind, status in (("Ready", "False"), ("DisruptionTarget", "True"))
        if kind == "Ready" or disrupted
    ]
    if began:
        pod["status"]["containerStatuses"] = [{"name": "serve", "state": exited(137)}]
    return read(pod)


@pytest.mark.parametrize(
    ("pod", "phase"),
    [
        (failed("Evicted"), "RolledBack"),  # it used more than there was
        (failed("Evicted", disrupted=False), "RolledBack"),  # it used more than it may
        (failed("Evicted", began=False, disrupted=False), "Progressing"),  # a node that is full takes no more
        (failed("Terminated"), "Progressing"),  # the node is shut down
        (failed("Preempting"), "Progressing"),
        (failed("OutOfcpu", began=False, disrupted=False), "Progressing"),
        (failed("NodeAffinity", began=False, disrupted=False), "Progressing"),
        (failed("UnexpectedAdmissionError", began=False, disrupted=False), "Progressing"),
    ],
)
def test_pods_that_were_evicted_have_failed_and_those_refused_by_their_node_or_ended_with_it_have_not(
    pod: Pod, phase: str
) -> None:
    evicted = {NEW_REVISION: [lost(pod)] * 5 if pod.evicted else []}
    made = plan(observed(in_canary(), pods=both(), evicted=evicted, lost={NEW_REVISION: lost(pod)}))
    assert made.status["phase"] == phase
    assert all("(Evicted): The node said why." in one["message"] for one in made.status["rejected"])


@pytest.mark.parametrize(
    ("at", "before", "phase"), [(NOW, 0, "Progressing"), (NOW - timedelta(days=80), 40, "RolledBack")]
)
def test_evictions_of_stable_pods_excuse_a_candidate_only_since_it_went_out(at: Any, before: int, phase: str) -> None:
    evicted = {NEW_REVISION: [lost(failed("Evicted"))] * 5, OLD_REVISION: [lost(failed("Evicted", at=at))] * 40}
    resource = in_canary(candidate={"stableFailures": before})
    assert plan(observed(resource, pods=both(), evicted=evicted)).status["phase"] == phase


@pytest.mark.parametrize(
    ("state", "sidecar", "phase"),
    [
        (exited(0), False, "Progressing"),
        (waiting("CrashLoopBackOff"), False, "Progressing"),
        (waiting("CrashLoopBackOff"), True, "RolledBack"),
    ],
)
def test_an_init_container_that_tries_until_it_has_done_its_work_has_not_failed(
    state: Any, phase: str, *, sidecar: bool
) -> None:
    tried = {"name": "wait", "restartCount": 5, "state": state, "lastState": exited(1)}
    pod = a_pod("new", ready=False, initContainerStatuses=[tried])
    pod["spec"]["initContainers"] = [{"name": "wait", **({"restartPolicy": "Always"} if sidecar else {})}]
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [read(pod)]}
    before = observed(in_canary(), pods=world)
    made = plan(before)
    assert made.status["phase"] == phase
    if phase == "Progressing":
        assert plan(then(before, made, now=after(minutes=10))).status["phase"] == "RolledBack", "its time to start"


def test_a_node_whose_clock_is_behind_hides_no_failure_of_the_candidate() -> None:
    behind = crashing(8, ready=True, at=NOW - timedelta(minutes=2))
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [behind]}
    assert plan(observed(in_canary(), pods=world)).status["phase"] == "RolledBack"


@pytest.mark.parametrize("step", [0, 1])
def test_one_that_is_not_ready_for_longer_than_the_deadline_is_rejected_in_any_step(step: int) -> None:
    starting = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: pods(NEW_REVISION, (1, 3)[step], ready=False)}
    before = observed(in_canary(step, candidate={"stepSpent": "5s"}, step_since=None), pods=starting)
    begun = plan(before)
    assert begun.status["candidate"]["unreadySince"] == "2026-11-22T12:00:00Z"
    assert plan(then(before, begun, now=after(minutes=9))).status["phase"] == "Progressing"
    assert plan(then(before, begun, now=after(minutes=10))).status["phase"] == "RolledBack"


def living(number: int, born: Any, now: Any, *, takes: float = 20, flaps: bool = False) -> Pod:
    """A pod as it is at that moment; `takes`: seconds until it is ready, or again and again when it flaps."""
    age = (now - born).total_seconds()
    pod = a_pod(f"pod-{number}", ready=age % 40 >= takes if flaps else age >= takes)
    since = now - timedelta(seconds=age % 20) if flaps else born + timedelta(seconds=takes if age >= takes else 0)
    pod["status"]["conditions"][0]["lastTransitionTime"] = since.isoformat()
    pod["metadata"]["creationTimestamp"] = born.isoformat()
    return read(pod)


@pytest.mark.parametrize(
    ("every", "takes", "drained", "finishing", "flaps", "phase"),
    [
        (50, 20, False, False, False, "Progressing"),  # an autoscaler follows growing traffic
        (150, 100, False, False, False, "Progressing"),
        (50, 20, False, True, False, "Progressing"),
        (50, 20, True, False, False, "Progressing"),  # nodes are drained, one by one
        (50, 20, False, False, True, "RolledBack"),  # one of the pods is never ready for long
        (10_000, 900, False, False, False, "RolledBack"),
    ],
)
def test_each_pod_has_its_own_time_to_get_ready(
    every: int, takes: float, drained: bool, finishing: bool, flaps: bool, phase: str
) -> None:
    born, replicas = [NOW] * 3, 3
    place = {"replicas": 3, **({"finishing": True} if finishing else {})}
    resource = in_canary(step_since=None, rollout={"steps": [{"weight": 50, "for": "40m"}]}, candidate=place)
    before = observed(resource, pods=both(0))
    for second in range(25, 1200, 25):
        now = after(seconds=second)
        if second % every == 0:
            replicas += 0 if drained else 1
            born = [*born[1:], now] if drained else [*born, now]
        canary = [living(n, at, now, takes=takes, flaps=flaps and n == 0) for n, at in enumerate(born)]
        scaled = wanting(before.resource, replicas=replicas, paused=finishing)
        before = replace(before, now=now, resource=scaled)
        before = replace(before, pods={OLD_REVISION: pods(OLD_REVISION, replicas), NEW_REVISION: canary})
        made = plan(before)
        if made.status["rejected"]:
            break
        before = then(before, made)
    assert made.status["phase"] == ("Paused" if finishing else phase), made.status["rejected"]


def test_a_promotion_needs_pods_that_have_been_ready_without_interruption() -> None:
    resource = in_canary(1, candidate={"finishing": True, "readySince": NOW.isoformat()})
    just_ready = observed(resource, pods=both(3, since=NOW), now=after(seconds=9))
    made = plan(just_ready)
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert "10s without interruption" in condition(made, "Ready")["message"]
    assert plan(replace(just_ready, now=after(seconds=10))).status["stable"]["modelVersion"] == "churn-2"


def test_a_node_whose_clock_is_behind_makes_no_pod_steady_that_has_just_been_seen_ready() -> None:
    begun = observed(in_canary(1, candidate={"finishing": True}), pods=both(3, since=after(minutes=-5)))
    seen = then(begun, plan(begun))
    assert "candidate" in plan(replace(seen, now=after(seconds=9))).status
    assert plan(replace(seen, now=after(seconds=10))).status["stable"]["modelVersion"] == "churn-2"


@pytest.mark.parametrize("behind", [0, 5])
def test_a_pod_that_is_never_ready_for_a_minute_is_rejected_whatever_the_clock_of_its_node(behind: int) -> None:
    """Ready for 20 s of each 80."""
    resource = in_canary(replicas=1, step_since=None, rollout={"steps": [{"weight": 25, "for": "1h"}]})
    seen, sightings = observed(resource), Sightings()
    for second in range(0, 660, 10):
        ready, round_began = second % 80 < 20, second - second % 80
        changed = after(seconds=round_began + (0 if ready else 20), minutes=-behind)
        world = {OLD_REVISION: pods(OLD_REVISION, 1), NEW_REVISION: pods(NEW_REVISION, 1, ready=ready, since=changed)}
        now = after(seconds=second)
        seen = replace(seen, now=now, pods=sighted(sightings, world, now))
        made = plan(seen)
        seen = then(seen, made)
        if made.status["phase"] == "RolledBack":
            break
    assert 600 <= second < 680
    assert "were ready within 10m (rollout.startupDeadline)" in made.status["rejected"][0]["message"]


def test_times_that_a_clock_which_was_ahead_has_recorded_hold_nothing_up() -> None:
    day = after(hours=24).isoformat()
    clocks = dict.fromkeys(("unreadySince", "readySince", "lackingSince"), day)
    before = observed(in_canary(step_since=after(hours=24), candidate=clocks), pods=both())
    made = plan(before)
    assert made.status["candidate"]["stepSince"] == "2026-11-22T12:00:00Z"
    assert plans(then(before, made, now=after(minutes=1))).status["candidate"]["step"] == 1


def test_a_step_does_not_end_by_the_time_for_which_the_operator_stood_still() -> None:
    analysis = {"threshold": 100, "at": (NOW - timedelta(minutes=55)).timestamp()}
    asleep = in_canary(since=LONG_AGO, step_since=LONG_AGO, status={"analysis": analysis}, rollout=HALF)
    still = Reading(since=LONG_AGO.timestamp(), until=(NOW - timedelta(minutes=55)).timestamp())
    before = observed(asleep, pods=both(3), reading=still)
    made = plan(before)  # it has not looked again yet
    assert made.status["candidate"]["step"] == 0
    assert not made.events
    awake = replace(then(before, made), reading=Reading(since=NOW.timestamp(), until=NOW.timestamp()))
    assert plan(awake).status["candidate"]["stepSpent"] == "5m"


@pytest.mark.parametrize("ahead", [30, 3600])
def test_a_node_whose_clock_is_ahead_delays_nothing_by_more_than_the_time_since_its_pods_were_seen(ahead: int) -> None:
    skewed = sighted(Sightings(), both(3, since=after(seconds=ahead)), NOW)
    begun = observed(in_canary(1, candidate={"finishing": True}), pods=skewed)
    seen = then(begun, plan(begun))
    assert "candidate" in plan(replace(seen, now=after(seconds=9))).status
    assert plan(replace(seen, now=after(seconds=10))).status["stable"]["modelVersion"] == "churn-2"
    waited_for = {"unreadySince": after(minutes=-1).isoformat(), "unreadyPod": skewed[NEW_REVISION][0].name}
    steep = observed(in_canary(1, rollout={"steps": [STEEP, STEEP]}, candidate=waited_for), pods=skewed)
    seen = then(steep, plan(steep))
    assert plan(replace(seen, now=after(seconds=9))).status["stable"]["replicas"] == 3
    assert plan(replace(seen, now=after(seconds=10))).status["stable"]["replicas"] == 1
    if ahead > 60:
        assert "unreadySince" in plan(replace(seen, now=after(seconds=59))).status["candidate"]
        assert "unreadySince" not in plan(replace(seen, now=after(seconds=60))).status["candidate"]


@pytest.mark.parametrize(
    ("every", "takes", "most"),
    [
        (10_000, 20, 11),
        (60, 55, 13),
        (30, 25, 13),
        (60, 60, 22),  # one pod is always missing: that is the cluster's doing
    ],
)
def test_pods_that_are_replaced_all_the_time_stop_no_rollout(every: int, takes: float, most: int) -> None:
    before = observed(in_canary(step_since=None, candidate={"replicas": 20}, replicas=20, rollout=HALF), pods=both(0))
    born = [NOW] * 20
    for second in range(5, most * 60, 5):
        now = after(seconds=second)
        if second % every == 0:
            born = [*born[1:], now]
        canary = [living(n, at, now, takes=takes) for n, at in enumerate(born)]
        before = replace(before, now=now, pods={OLD_REVISION: pods(OLD_REVISION, 20), NEW_REVISION: canary})
        made = plan(before)
        if made.status["history"]:
            break
        before = then(before, made)
    assert outcome(made) == "Promoted"


@pytest.mark.parametrize(
    ("replicas", "ready", "minutes", "phase"),
    [
        (20, 20, 2, "Promoted"),
        (20, 18, 9, "Progressing"),  # pods of the other version answer until all of this one's had their time
        (20, 18, 10, "Promoted"),
        (20, 17, 10, "Paused"),
        (9, 8, 60, "Paused"),  # of few pods each counts
    ],
)
def test_a_version_takes_over_without_a_tenth_of_its_pods_when_the_cluster_does_not_have_them(
    replicas: int, ready: int, minutes: int, phase: str
) -> None:
    resource = in_canary(replicas=replicas, candidate={"finishing": True, "replicas": replicas})
    before = observed(resource, pods=both(ready, replicas))
    assert outcome(plan(then(before, plan(before), now=after(minutes=minutes)))) == phase


@pytest.mark.parametrize(("failed", "least"), [(0, 10), (1, 60)])
def test_a_version_whose_containers_have_failed_takes_over_after_a_minute_without_interruption(
    failed: int, least: int
) -> None:
    candidate = [*pods(NEW_REVISION, 3 - failed, since=NOW), *(crashing(1, ready=True) for _ in range(failed))]
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: candidate}
    before = observed(in_canary(candidate={"finishing": True, "replicas": 3}), pods=world)
    made = plan(before)
    assert outcome(plan(then(before, made, now=after(seconds=least - 1)))) == "Progressing"
    assert outcome(plan(then(before, made, now=after(seconds=least)))) == "Promoted"


@pytest.mark.parametrize("behind", [0, 210])
def test_no_step_ends_before_two_looks_at_it_are_told(behind: int) -> None:
    steps = {"steps": [{"weight": weight, "for": "1s"} for weight in (25, 50)]}
    before = observed(in_canary(1, step_since=NOW, rollout=steps), pods=both(3), now=after(seconds=behind + 29))
    before = replace(before, reading=replace(before.reading, behind=timedelta(seconds=behind)))
    assert "finishing" not in plan(before).status["candidate"]
    assert plan(replace(before, now=after(seconds=behind + 30))).status["candidate"]["finishing"]


def test_a_pod_that_never_gets_ready_is_not_tolerated_among_many() -> None:
    world = {OLD_REVISION: pods(OLD_REVISION, 20), NEW_REVISION: pods(NEW_REVISION, 19)}
    world[NEW_REVISION] += [living(19, NOW, NOW, takes=9e9)]
    before = observed(in_canary(step_since=None, candidate={"replicas": 20}, replicas=20, rollout=HALF), pods=world)
    made = plan(before)
    assert made.status["candidate"]["stepSince"]
    assert plan(then(before, made, now=after(minutes=9))).status["phase"] == "Progressing"
    assert outcome(plan(then(before, made, now=after(minutes=10)))) == "RolledBack"


def test_stable_pods_that_are_gone_come_back_for_pods_that_are_missing_and_not_for_young_ones() -> None:
    resource = in_canary(step_since=None, replicas=3, rollout={"steps": [STEEP]}, stable={"replicas": 1})
    for ready, stable in ((3, 1), (2, 1), (1, 2)):
        world = {OLD_REVISION: pods(OLD_REVISION, 1), NEW_REVISION: pods(NEW_REVISION, ready, since=NOW)}
        made = plan(observed(resource, pods=world))
        assert made.status["stable"]["replicas"] == stable


# What says nothing of the version: no room in the cluster


@pytest.mark.parametrize("refused", ["exceeded quota: compute", ""])
def test_a_good_version_is_never_rejected_because_there_is_no_room(refused: str) -> None:
    resource = in_canary(1, step_since=None, candidate={"lackingSince": NOW.isoformat()})
    owned = dict(workloads(resource))
    pod = replace(pods(NEW_REVISION, 1, ready=False)[0], unscheduled="0/3 nodes are available")
    if refused:
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": refused}
        owned[NEW_REVISION] = {**owned[NEW_REVISION], "status": {"conditions": [failure]}}
    some = [] if refused else [pod]
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [*pods(NEW_REVISION, 1), *some]}
    made = plan(observed(resource, pods=world, workloads=owned, now=after(hours=5)))
    assert "candidate" in made.status
    assert (refused or "0/3 nodes") in (stalled(made) or "")
    starting = {
        OLD_REVISION: pods(OLD_REVISION, 3),
        NEW_REVISION: [*pods(NEW_REVISION, 1), *[replace(pod, unscheduled="")] * 2],
    }
    there_is = then(observed(resource, pods=world, workloads=owned), made, pods=starting, now=after(hours=5))
    assert plan(there_is).status["phase"] == "Progressing"


def unstarted(reason: str = "ContainerCreating", message: str = "", **more: Any) -> Pod:
    """A pod of which no container has ever run."""
    return read(a_pod("stuck", ready=False, phase="Pending", containers={"serve": waiting(reason, message)}, **more))


def unscheduled(why: str = "Insufficient cpu") -> Pod:
    nowhere = {"type": "PodScheduled", "status": "False", "message": f"0/3 nodes are available: {why}"}
    return read(a_pod("stuck", ready=False, phase="Pending", conditions=[nowhere]))


def nowhere(why: str) -> Pod:
    """A pod that no node would take if it had fewer others."""
    return unscheduled(f"{why} preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.")


def gated() -> Pod:
    """A pod that a queue holds back."""
    why = {"reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}
    conditions = [{"type": "PodScheduled", "status": "False", **why}]
    return read(a_pod("queued", ready=False, phase="Pending", conditions=conditions))


def kept_out(why: str = "") -> Pod:
    """A pod that runs, and is not asked: its node is away, or a readiness gate says so."""
    runs = {"serve": {"running": {"startedAt": LONG_AGO.isoformat()}}}
    conditions = [
        {"type": "Ready", "status": "False", "message": why, "lastTransitionTime": NOW.isoformat()},
        {"type": "ContainersReady", "status": "True", "lastTransitionTime": LONG_AGO.isoformat()},
    ]
    pod = a_pod("cut-off", containers=runs, conditions=conditions)
    pod["spec"]["nodeName"] = "node-7"
    return read(pod)


def meshed(serve: str = "ready", proxy: str = "unready", *, name: str = "meshed", ours: bool = False) -> Pod:
    """A pod with a mesh's proxy, or one with a sidecar of the user's of that name, in these states."""
    up: dict[str, Any] = {"state": {"running": {"startedAt": NOW.isoformat()}}}
    crashed: dict[str, Any] = {
        "state": waiting("CrashLoopBackOff"),
        "lastState": exited(1, "no certificate"),
        "restartCount": 8,
    }
    states: dict[str, dict[str, Any]] = {
        "ready": {**up, "ready": True},
        "unready": up,
        "crashed": crashed,
        "unpullable": {"state": waiting("ErrImagePull", "manifest unknown: not found")},
        "unstarted": {"state": waiting("PodInitializing")},
    }
    pod = a_pod(name, ready=False)
    pod["status"]["containerStatuses"] = [
        {"name": "serve", "image": "i", **states[serve]},
        {"name": "istio-proxy", "image": "p", **states[proxy]},
    ]
    return with_injected(read(pod), set() if ours else {"istio-proxy"})


def refusing(resource: Deployment, message: str, revision: str = NEW_REVISION) -> dict[str, Any]:
    """The workloads, of which one gets no pods."""
    owned = workloads(resource)
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return {**owned, revision: {**owned[revision], "status": {"conditions": [failure]}}}


@pytest.mark.parametrize(
    ("canary", "refused", "reason"),
    [
        ([], "Internal error occurred: failed calling webhook: connection refused", "NotStarted"),
        ([], "Internal error occurred", "NotStarted"),
        ([], "failed quota: compute: must specify limits.cpu", "NotStarted"),
        ([], "exceeded quota: compute", "NoRoom"),
        ([], "", "NotStarted"),
        ([unscheduled()], "", "NoRoom"),
        ([unscheduled("2 Insufficient nvidia.com/gpu, 1 node(s) had untolerated taint {a: b}.")], "", "NoRoom"),
        ([unscheduled("3 node(s) didn't match pod anti-affinity rules.")], "", "NoRoom"),
        ([unscheduled("3 cannot allocate all claims.")], "", "NoRoom"),
        ([unscheduled("pod group is not ready, 1 Pending, 3 minAvailable")], "", "NoRoom"),  # another scheduler's
        (
            [
                unscheduled(
                    "2 node(s) had untolerated taint {a: b}, 1 Too many pods. preemption: 0/3 nodes are available: "
                    "2 Preemption is not helpful for scheduling, 1 No preemption victims found for incoming pod."
                )
            ],
            "",
            "NoRoom",
        ),
        ([nowhere("3 Insufficient memory. no new claims to deallocate,")], "", "NoRoom"),  # no node has so much
        ([nowhere("3 cannot allocate all claims. still not schedulable,")], "", "NoRoom"),  # others have the devices
        ([nowhere("1 Insufficient cpu, 2 node(s) had untolerated taint {gpu: yes}.")], "", "NotStarted"),
        ([nowhere("1 Insufficient nvidia.com/gpu, 2 Too many pods.")], "", "NoRoom"),
        ([nowhere("3 node(s) didn't match Pod's node affinity/selector.")], "", "NotStarted"),  # no room helps
        ([nowhere("3 node(s) had volume node affinity conflict.")], "", "NotStarted"),
        ([nowhere("3 node(s) had untolerated taint {gpu: yes}.")], "", "NotStarted"),
        ([unstarted()], "", "NotStarted"),  # its volume is attached to another node
        ([unstarted("ErrImagePull", "429: toomanyrequests: You have reached your pull rate limit")], "", "NotStarted"),
        ([unstarted("ImagePullBackOff", "ErrImagePull: 503 Service Unavailable")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "dial tcp 10.0.0.9:443: i/o timeout")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "pulling from host failed with status code: 401 Unauthorized")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "failed to fetch oauth token: 403 Forbidden")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "dial tcp: lookup registry.example: no such host")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "x509: certificate has expired or is not yet valid")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "failed to copy: unexpected EOF")], "", "NotStarted"),
        ([unstarted("ErrImagePull", "failed to extract layer: input/output error")], "", "NotStarted"),
        ([unstarted("ImagePullBackOff", "Back-off pulling image")], "", "NotStarted"),
        ([unstarted("ErrImageNeverPull", "it is not present on this node")], "", "NotStarted"),
        ([unstarted("CreateContainerError", "failed to reserve container name")], "", "NotStarted"),
        ([nowhere('persistentvolumeclaim "models" is being deleted.')], "", "NotStarted"),
        ([kept_out()], "", "KeptOut"),
        ([kept_out("the status of pod readiness gate a is not True")], "", "KeptOut"),
        ([meshed()], "", "KeptOut"),
        ([meshed(proxy="crashed")], "", "KeptOut"),
        ([meshed("unstarted")], "", "KeptOut"),  # it is started after the proxy
        ([meshed("unstarted", "crashed")], "", "KeptOut"),
        ([meshed(proxy="unpullable")], "", "KeptOut"),
        ([meshed("unready")], "", "RolledBack"),  # the proxy may wait for what it is a proxy of
        ([meshed("unready", "ready")], "", "RolledBack"),
        ([meshed("unpullable")], "", "CannotStart"),
        ([meshed(ours=True)], "", "RolledBack"),
        ([meshed(proxy="unpullable", ours=True)], "", "CannotStart"),
        ([unstarted("ErrImagePull", "manifest unknown")], "", "CannotStart"),
        (
            [unstarted("ImagePullBackOff", "Back-off pulling image: ErrImagePull: example/i:7: not found")],
            "",
            "CannotStart",
        ),
        ([unstarted("InvalidImageName", "couldn't parse image name")], "", "CannotStart"),
        ([unstarted("CreateContainerConfigError", 'secret "keys" not found')], "", "CannotStart"),
        ([unstarted("CreateContainerConfigError", "couldn't find key a in Secret shop/keys")], "", "CannotStart"),
        (pods(NEW_REVISION, 1, ready=False), "", "RolledBack"),  # it runs, and does not get ready
        (pods(NEW_REVISION, 1, ready=False), "exceeded quota: compute", "RolledBack"),
        ([unscheduled(), *pods(NEW_REVISION, 1, ready=False)], "", "RolledBack"),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_an_outage_of_the_platform_is_no_verdict_on_a_version(
    canary: Any, refused: str, reason: str, first: bool
) -> None:
    resource = in_canary(step_since=None)
    if first:
        resource = resource.model_copy(update={"status": resource.status.model_copy(update={"stable": None})})
    stable = {} if first else {OLD_REVISION: pods(OLD_REVISION, 3)}
    owned = refusing(resource, refused) if refused else workloads(resource)
    before = observed(resource, pods={**stable, NEW_REVISION: canary}, workloads=owned)
    made = plan(before)
    assert "candidate" in plan(then(before, made, now=after(minutes=9), workloads=owned)).status
    late = plan(then(before, made, now=after(hours=5), workloads=owned))
    if reason == "RolledBack" or (reason == "CannotStart" and not first):
        assert late.status["rejected"]
        return
    assert not late.status["rejected"]
    assert (late.status["phase"], condition(late, "Stalled")["reason"]) == ("Pending" if first else "Paused", reason)
    assert (refused or (canary and canary[0].name) or "not made") in (stalled(late) or "")
    assert condition(late, "Ready")["message"].partition(". ")[2] in (stalled(late) or ""), "the table says it, too"
    if reason == "NotStarted":
        assert "goes on by itself once that is mended, there or in spec.serving" in (stalled(late) or "")
    over = plans(then(before, late, now=after(hours=6), pods={**stable, NEW_REVISION: pods(NEW_REVISION, 3)}))
    assert stalled(over) is None


@pytest.mark.parametrize(("canary", "reason"), [([gated()], None), ([gated(), unstarted()], "NoRoom")])
def test_a_candidate_that_a_queue_holds_back_goes_on_and_is_not_stalled(canary: Any, reason: str | None) -> None:
    before = observed(in_canary(step_since=None), pods={OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: canary})
    late = plan(then(before, plan(before), now=after(hours=5)))
    found = {one["type"]: one["reason"] for one in late.status["conditions"]}
    assert found.get("Stalled") == reason
    if reason is None:
        assert late.status["phase"] == "Progressing"
        assert "Pod queued has no node to run on: Scheduling is blocked" in condition(late, "Reconciling")["message"]


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (
            meshed(),
            "kept from being ready by container istio-proxy, which neither Upright nor spec.serving.pod has put",
        ),
        (meshed(proxy="crashed"), "into it: istio-proxy has ended 9 times, last with exit code 1 (Error): no certif"),
        (meshed("unready", "ready"), "10m (rollout.startupDeadline). Of pod meshed container serve runs without being"),
        (meshed("unready"), "Of pod meshed containers serve, istio-proxy run without being ready."),
        (meshed(ours=True), "Of pod meshed container istio-proxy runs without being ready."),
        (meshed("unready", "crashed", ours=True), "no certificate. Of pod meshed container serve runs without"),
    ],
)
def test_what_is_not_ready_of_a_pod_is_named(pod: Pod, said: str) -> None:
    before = observed(
        in_canary(step_since=None, rollout={"restarts": 99}),
        pods={OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [pod]},
    )
    late = plan(then(before, plan(before), now=after(hours=1)))
    assert said in condition(late, "Ready")["message"]
    assert ("kubectl logs POD -c CONTAINER" in (stalled(late) or "")) is bool(pod.kept_out)


@pytest.mark.parametrize(("ours", "phase"), [(False, "Progressing"), (True, "RolledBack")])
def test_failures_of_a_sidecar_count_and_those_of_what_others_have_put_in_do_not(ours: bool, phase: str) -> None:
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [meshed(proxy="crashed", ours=ours)]}
    made = plan(observed(in_canary(1, since=LONG_AGO), pods=world, now=after(seconds=30)))
    assert made.status["phase"] == phase


# An outage of what both versions need


def stopped(revision: str, count: int, of: int, *, since: Any = NOW, begun: Any = LONG_AGO) -> list[Pod]:
    """Pods of which so many have not been ready since then."""
    silent = [replace(pod, begun=begun) for pod in pods(revision, count, ready=False, since=since)]
    return [*silent, *pods(revision, of - count)]


def outage(stable: list[Pod], canary: list[Pod], minutes: int) -> Plan:
    """The plan so many minutes after pods of the candidate stopped answering, with a turn in each minute."""
    resource = in_canary(candidate={"replicas": 3}, stable={"replicas": len(stable)}, replicas=9)
    seen = observed(resource, pods={OLD_REVISION: stable, NEW_REVISION: canary})
    made = plan(seen)
    for minute in range(1, minutes + 1):
        seen = then(seen, made, now=after(minutes=minute))
        if (made := plan(seen)).status["phase"] == "RolledBack":
            break
    return made


YEAR_AGO = NOW - timedelta(days=365)
SILENT = stopped(NEW_REVISION, 3, 3)


@pytest.mark.parametrize(
    ("stable", "canary", "rejected"),
    [
        (stopped(OLD_REVISION, 9, 9), SILENT, False),
        (stopped(OLD_REVISION, 3, 9), SILENT, False),
        (stopped(OLD_REVISION, 2, 9), SILENT, True),  # it fares more than three times as badly
        (stopped(OLD_REVISION, 1, 9), stopped(NEW_REVISION, 1, 3), False),
        (stopped(OLD_REVISION, 1, 9), stopped(NEW_REVISION, 2, 3), True),
        (stopped(OLD_REVISION, 0, 9), SILENT, True),
        (stopped(OLD_REVISION, 9, 9, since=NOW - timedelta(minutes=9)), SILENT, False),
        (stopped(OLD_REVISION, 3, 9, since=YEAR_AGO), SILENT, True),  # its own trouble, of another time
        (stopped(OLD_REVISION, 3, 9, since=after(minutes=10)), SILENT, True),  # a moment
        (stopped(OLD_REVISION, 3, 9, begun=after(minutes=1)), SILENT, True),  # it is scaled up
        ([replace(pod, kept_out="Its node is away") for pod in stopped(OLD_REVISION, 9, 9)], SILENT, True),
        ([], SILENT, True),  # nothing is asked for
        (stopped(OLD_REVISION, 9, 9), [replace(unstarted("InvalidImageName"), name=f"{n}") for n in range(3)], True),
    ],
)
def test_an_outage_of_both_versions_is_no_verdict_on_the_new_one(
    stable: list[Pod], canary: list[Pod], rejected: bool
) -> None:
    made = outage(stable, canary, 10)
    assert (made.status["phase"] == "RolledBack") is rejected
    assert rejected or "of 9 pods of churn-1" in condition(made, "Ready")["message"]


def test_the_hold_of_an_outage_is_said_and_ends() -> None:
    """The candidate may be what causes it."""
    stable = stopped(OLD_REVISION, 4, 9)
    held = outage(stable, SILENT, 15)
    assert condition(held, "Stalled")["reason"] == "BothNotReady"
    assert "0 of 3 pods are ready. 4 of 9 pods of churn-1 are not ready either" in (stalled(held) or "")
    assert "When those of churn-2 have not for 30m, it is rejected" in (stalled(held) or "")
    assert outage(stable, SILENT, 16).status == held.status, "nothing is written meanwhile"
    assert outage(stable, SILENT, 29).status["phase"] == "Progressing"
    [rejected] = outage(stable, SILENT, 30).status["rejected"]
    assert "(rollout.startupDeadline). 4 of 9 pods of churn-1 are not ready either." in rejected["message"]


@pytest.mark.parametrize(("minutes", "phase"), [(9, "Progressing"), (10, "RolledBack")])
def test_after_an_outage_the_candidate_has_all_its_time_again(minutes: int, phase: str) -> None:
    resource = in_canary(candidate={"replicas": 3}, stable={"replicas": 9}, replicas=9)
    ill = observed(resource, pods={OLD_REVISION: stopped(OLD_REVISION, 9, 9), NEW_REVISION: SILENT})
    during = then(ill, plan(ill), now=after(minutes=12))
    well = then(
        during,
        plan(during),
        now=after(minutes=13),
        pods={OLD_REVISION: pods(OLD_REVISION, 9), NEW_REVISION: SILENT},
    )
    assert stalled(plan(well)) is None
    assert plan(then(well, plan(well), now=after(minutes=13 + minutes))).status["phase"] == phase


@pytest.mark.parametrize(("stable", "phase"), [(9, "Progressing"), (0, "RolledBack")])
def test_that_containers_end_in_an_outage_of_both_versions_is_no_verdict_either(stable: int, phase: str) -> None:
    world = {OLD_REVISION: stopped(OLD_REVISION, stable, 9), NEW_REVISION: [crashing(9)] * 3}
    made = plan(observed(in_canary(1, since=NOW), pods=world, now=after(minutes=2)))
    assert made.status["phase"] == phase


def pulling(name: str, image: str, *, ready: bool) -> Pod:
    """A pod that runs the image, of which the runtime knows a longer name; or one for which it is not found."""
    state = (
        {"running": {"startedAt": LONG_AGO.isoformat()}}
        if ready
        else waiting("ErrImagePull", f"docker.io/{image}: not found")
    )
    pod = a_pod(name, ready=ready, containers={"serve": state}, phase="Running" if ready else "Pending")
    pod["spec"]["containers"][0]["image"] = image
    pod["status"]["containerStatuses"][0]["image"] = f"registry.example/{image}" if ready else image
    pod["status"]["conditions"][0]["lastTransitionTime"] = LONG_AGO.isoformat()
    return read(pod)


@pytest.mark.parametrize(
    ("stable", "canary", "rejected"),
    [
        ("runtime:1", [pulling("c", "runtime:1", ready=False)], False),
        ("runtime:1", [pulling("c", "runtime:2", ready=False)], True),
        ("runtime:1", [pulling("c", "runtime:2", ready=False), pulling("d", "runtime:2", ready=True)], False),
    ],
)
def test_an_image_that_other_pods_run_is_there_whatever_the_registry_says(
    stable: str, canary: Any, rejected: bool
) -> None:
    others = [pulling(f"s{n}", stable, ready=True) for n in range(3)]
    world = {OLD_REVISION: others, NEW_REVISION: of_one_template(canary, others)}
    before = observed(in_canary(step_since=None, candidate={"replicas": len(canary)}, rollout=HALF), pods=world)
    late = plan(then(before, plan(before), now=after(minutes=10)))
    assert bool(late.status["rejected"]) is rejected
    assert "runtime" in (stalled(late) or "")


def test_the_clock_stands_while_a_node_is_away_and_the_node_is_named() -> None:
    before = observed(in_canary(), pods={**both(), NEW_REVISION: [kept_out()]}, now=after(seconds=20))
    away = plan(before)
    assert "stepSince" not in away.status["candidate"]
    assert "Pod cut-off runs, but its node node-7 does not answer." in condition(away, "Ready")["message"]
    late = then(before, away, now=after(hours=9))
    assert "node-7" in (stalled(plan(late)) or "")
    back = plan(then(late, plan(late), pods=both(since=after(hours=9))))
    assert stalled(back) is None
    assert (back.status["candidate"]["stepSpent"], back.status["phase"]) == ("20s", "Progressing")


def test_a_node_that_refuses_pods_is_told_with_what_it_says() -> None:
    gone = {NEW_REVISION: lost(failed("OutOfcpu", began=False, disrupted=False))}
    before = observed(in_canary(step_since=None), pods=both(0), lost=gone)
    made = plan(then(before, plan(before), now=after(hours=1)))
    assert "(OutOfcpu): The node said why." in (stalled(made) or "")


def test_a_pod_that_waited_for_the_cluster_has_all_its_time_from_when_it_began() -> None:
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [*pods(NEW_REVISION, 2, since=NOW), unstarted()]}
    before = observed(in_canary(1, step_since=None), pods=world, now=after(seconds=5))
    runs = {"running": {"startedAt": after(minutes=6).isoformat()}}
    starting = read(a_pod("stuck", ready=False, containers={"serve": runs}))
    world = {**world, NEW_REVISION: [*world[NEW_REVISION][:2], starting]}
    began = then(before, plan(before), now=after(minutes=6), pods=world)
    for minutes, phase in ((10, "Progressing"), (15, "Progressing"), (16, "RolledBack")):
        assert plan(then(began, plan(began), now=after(minutes=minutes))).status["phase"] == phase


# Nothing measured


UNREADABLE = Measurement("Unreadable", "Pod churn-2-0 does not answer on port 3000: let the operator reach it.")
UNREACHED = measured(
    Measurement("NoRequests", requests=1, recent=1, expected=333), Measurement("Counted", requests=9000, recent=1000)
)


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        (UNREADABLE, COUNTED),
        (COUNTED, UNREADABLE),
        (Measurement("Stuck", "Pod churn-2-0 does not answer on port 3000: nothing comes out."), COUNTED),
    ],
)
@pytest.mark.parametrize(
    ("rollout", "phase"),
    [
        ({}, "Paused"),
        ({"onInconclusive": "Hold"}, "Paused"),
        ({"onInconclusive": "Rollback"}, "RolledBack"),
        ({"whenUnmeasured": "Promote"}, "Progressing"),
    ],
)
def test_what_could_not_be_measured_is_not_promoted_unless_somebody_said_so(
    canary: Measurement, stable: Measurement, rollout: Any, phase: str
) -> None:
    before = observed(in_canary(1, rollout=rollout), pods=both(3), reading=measured(canary, stable))
    made = plan(before)
    assert condition(made, "Measured")["status"] == "False"
    assert "does not answer on port 3000" in condition(made, "Measured")["message"]
    soon = plan(then(before, made, now=after(minutes=9)))
    assert soon.status["candidate"]["step"] == 1
    assert not soon.status["candidate"].get("finishing")
    late = plans(then(before, made, now=after(minutes=10)))
    assert late.status["phase"] == phase


def test_the_step_goes_on_when_it_can_be_measured_again_with_the_time_that_was_left() -> None:
    before = observed(in_canary(), pods=both(), now=after(seconds=20), reading=measured(UNREADABLE, COUNTED))
    stands = then(before, plan(before), now=after(minutes=5))
    seen = then(stands, plan(stands), reading=measured(COUNTED, COUNTED))
    made = plan(seen)
    assert made.status["candidate"]["stepSpent"] == "20s"
    assert condition(made, "Measured")["status"] == "True"
    assert plan(then(seen, made, now=after(minutes=5, seconds=39))).status["candidate"]["step"] == 0
    assert plan(then(seen, made, now=after(minutes=5, seconds=40))).status["candidate"]["step"] == 1


def test_that_nobody_asks_is_no_verdict_and_is_said() -> None:
    before = observed(in_canary(1), pods=both(3), reading=measured(QUIET, QUIET), now=after(seconds=30))
    made = plan(before)
    assert "No requests have come in" in condition(made, "Ready")["message"]
    assert condition(made, "Measured")["reason"] == "NoRequests"
    ended = plans(replace(before, now=after(minutes=1)), now=after(minutes=2))
    assert ended.status["stable"]["modelVersion"] == "churn-2"


def test_one_look_does_not_tell_that_nobody_asks() -> None:
    first = replace(measured(QUIET, QUIET), since=NOW.timestamp())
    before = observed(in_canary(1), pods=both(3), reading=first, now=after(seconds=14))
    assert "No requests" not in condition(plan(before), "Ready")["message"]
    assert condition(plan(before), "Measured")["reason"] == "Counted"
    assert "No requests" in condition(plan(replace(before, now=after(seconds=15))), "Ready")["message"]


def test_a_candidate_that_no_request_reaches_is_not_measured_although_its_counters_can_be_read() -> None:
    before = observed(in_canary(), pods=both(), reading=UNREACHED, now=after(seconds=45))
    made = plan(before)
    assert condition(made, "Measured")["status"] == "False"
    assert "about 333" in condition(made, "Measured")["message"]
    assert plan(then(before, made, now=after(hours=1))).status["phase"] == "Paused"


@pytest.mark.parametrize(
    ("canary", "status"),
    [
        (Measurement("NoRequests", expected=40), "False"),
        (Measurement("Counted", requests=1, recent=1, expected=40), "False"),
        (Measurement("Counted", requests=2, recent=2, expected=40), "True"),
        (Measurement("NoRequests", expected=39), "True"),  # too few to tell
        (Measurement("Counted", requests=100, recent=100, expected=5.3), "True"),
    ],
)
def test_by_forty_requests_it_is_known_whether_they_reach_the_candidate(canary: Measurement, status: str) -> None:
    seen = measured(canary, Measurement("Counted", requests=1900, recent=1900))
    assert condition(plan(observed(in_canary(), pods=both(), reading=seen)), "Measured")["status"] == status


@pytest.mark.parametrize(("ready", "status"), [(19, "True"), (20, "False")])
def test_connections_that_clients_keep_to_the_other_pods_have_time_to_end(ready: int, status: str) -> None:
    seen = measured(Measurement("NoRequests", expected=100), Measurement("Counted", requests=1900, recent=1900))
    young = both(since=after(seconds=-ready))
    assert condition(plan(observed(in_canary(), pods=young, reading=seen)), "Measured")["status"] == status


def test_after_a_restart_of_the_operator_a_request_must_reach_a_candidate_that_none_had_reached() -> None:
    before = observed(in_canary(), pods=both(), reading=UNREACHED, now=after(seconds=45))
    stands = then(before, plan(before), now=after(minutes=5))
    for anew in (Measurement("NoRequests"), Measurement("NoRequests", expected=12)):
        made = plan(replace(stands, reading=measured(anew, COUNTED)))
        assert condition(made, "Measured")["status"] == "False"
        assert made.status["candidate"]["unmeasuredSince"] == plan(before).status["candidate"]["unmeasuredSince"]
    made = plan(replace(stands, reading=measured(Measurement("Counted", requests=1, expected=12), COUNTED)))
    assert condition(made, "Measured")["status"] == "True"
    assert "unreached" not in made.status["candidate"]
    assert made.status["candidate"]["stepSpent"] == "45s"


@pytest.mark.parametrize(("ready", "paused"), [(False, False), (True, True)])
def test_no_data_deadline_stands_while_something_else_is_in_the_way_and_then_goes_on(ready: bool, paused: bool) -> None:
    """After nine minutes a pod is not ready, or somebody pauses, for an hour."""
    rollout = {"onInconclusive": "Rollback", "startupDeadline": "9h"}
    before = observed(in_canary(rollout=rollout), pods=both(), reading=measured(UNREADABLE, COUNTED))
    before = then(before, plan(before), now=after(minutes=9))
    hindered = replace(before, resource=wanting(before.resource, paused=paused), pods=both(ready=ready))
    made = plan(hindered)
    assert made.status["candidate"]["unmeasuredSpent"] == "9m"
    assert "unmeasuredSince" not in made.status["candidate"]
    assert condition(made, "Measured")["status"] == "False"
    before = replace(then(hindered, made, now=after(minutes=69)), pods=both())
    before = replace(before, resource=wanting(before.resource, paused=False))
    made = plan(before)
    assert outcome(plan(then(before, made, now=after(minutes=69, seconds=59)))) == "Progressing"
    assert outcome(plan(then(before, made, now=after(minutes=70)))) == "RolledBack"
    seen = plan(replace(before, reading=measured(COUNTED, COUNTED)))
    assert not {"unmeasuredSince", "unmeasuredSpent"} & {*seen.status["candidate"]}


@pytest.mark.parametrize("there", [0, 1])
@pytest.mark.parametrize("stable", [COUNTED, QUIET])
def test_a_candidate_that_has_not_been_looked_at_is_not_said_to_be_measured(there: int, stable: Measurement) -> None:
    starts = both(there, ready=False) if there else both(0)
    before = observed(in_canary(step_since=None), pods=starts, reading=measured(Measurement("Unknown"), stable))
    assert not condition(plan(before), "Measured")
    looked = replace(before, pods=both(), reading=measured(QUIET, stable))
    assert condition(plan(looked), "Measured")["status"] == "True"


def test_a_pod_that_is_ready_again_is_looked_at_before_it_is_said_to_be_measured() -> None:
    before = observed(in_canary(), pods=both(), now=after(seconds=20), reading=measured(UNREADABLE, COUNTED))
    made = plan(before)
    back = then(before, made, now=after(hours=1), reading=measured(Measurement("Unknown"), COUNTED))
    later = plan(back)
    assert condition(later, "Measured") == condition(made, "Measured")
    assert later.status["candidate"] == made.status["candidate"]
    never = observed(in_canary(), pods=both(), now=after(seconds=20), reading=back.reading)
    assert not condition(plan(never), "Measured")


def test_where_nobody_asks_a_restart_of_the_operator_takes_nothing_from_the_step() -> None:
    """Looks at which nothing was counted are recorded as well."""
    resource = in_canary(rollout={"steps": [{"weight": 25, "for": "30m"}]})
    nothing = looks(115, canary=(0, 0), stable=(0, 0))
    before = observed(resource, pods=both(), now=after(minutes=29), looks=nothing)
    made = plan(before)
    anew = replace(measured(QUIET, QUIET), since=after(minutes=29, seconds=50).timestamp())
    later = plan(then(before, made, now=after(minutes=29, seconds=50), reading=anew))
    assert later.status["candidate"] == made.status["candidate"]
    assert "stepSince" in later.status["candidate"]


# Another contract


INPUTS = [{"name": "age", "type": "FP64", "shape": [-1]}]
OPTIONAL = {"name": "region", "type": "BYTES", "missing": True}
OUTPUTS = [{"name": "prediction", "type": "INT64", "shape": [-1]}]


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([*INPUTS, {"name": "plan", "type": "BYTES"}], OUTPUTS, "requires a new input 'plan'"),
        ([{"name": "age", "type": "BYTES", "shape": [-1]}], OUTPUTS, "type BYTES instead of FP64"),
        ([{"name": "age", "type": "FP64", "shape": [-1, 4]}], OUTPUTS, "shape [-1, 4] instead of [-1]"),
        ([{"name": "years", "type": "FP64", "missing": True}], OUTPUTS, "takes no input 'age' any more"),
        ([*INPUTS, {**OPTIONAL, "missing": False}], OUTPUTS, "its input 'region' may be left out no more"),
        (INPUTS, [{"name": "prediction", "type": "FP64"}], "output 'prediction' has the type FP64"),
        (INPUTS, [{"name": "score", "type": "INT64"}], "gives no output 'prediction'"),
        ([*INPUTS, {"name": "plan", "type": "BYTES", "missing": True}], [*OUTPUTS, {"name": "score"}], ""),
        ([{"name": "age", "type": "INT64", "missing": True}], OUTPUTS, ""),
    ],
)
def test_a_version_that_breaks_clients_is_held_before_it_goes_out(inputs: Any, outputs: Any, said: str) -> None:
    known = any(one["name"] == "region" for one in inputs)
    old = a_model_version("churn-1", signature={"inputs": [*INPUTS, *[OPTIONAL] * known], "outputs": OUTPUTS})
    new = a_model_version("churn-2", signature={"inputs": inputs, "outputs": outputs})
    before = observed(serving_old(), new, pods=both(0), versions={"churn-1": old, "churn-2": new})
    made = plan(before)
    if not said:
        assert "candidate" in made.status
        return
    assert made.status["phase"] == "Paused"
    assert said in (stalled(made) or "")
    [told] = plan(then(before, made)).events
    assert told.reason == "ContractChanged"
    for where in (condition(made, "Ready")["message"], stalled(made), told.message):
        assert "rollout.contract: Any lets it out" in (where or "")
    assert told.message == stalled(made)
    anyway = serving_old(rollout={"contract": "Any"})
    assert "candidate" in plan(replace(before, resource=anyway)).status


# What nobody wants any more


def wanting(resource: Deployment, **spec: Any) -> Deployment:
    stored = as_stored(resource)
    return Deployment.model_validate({**stored, "spec": {**stored["spec"], **spec}})


@pytest.mark.parametrize("wanted", ["churn-3", "churn-2"])
def test_a_candidate_that_is_named_no_more_or_was_deleted_does_not_win(wanted: str) -> None:
    resource = wanting(in_canary(1), modelVersion=wanted)
    made = plan(observed(resource, None, pods=both(3), now=after(hours=1), versions={"churn-1": OLD}))
    assert "candidate" not in made.status
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert outcome(made) == "Aborted"
    assert not made.status["rejected"]


def test_steps_that_were_shortened_promote_nothing_by_themselves() -> None:
    resource = in_canary(2, rollout={"steps": [{"weight": 25, "for": "1m"}]})
    before = observed(resource, pods=both(1), now=after(hours=1))
    made = plan(before)
    assert made.status["candidate"]["step"] == 0
    assert plan(then(before, made, now=after(hours=1, seconds=59))).status["candidate"]["step"] == 0


@pytest.mark.parametrize("place", [{"finishing": True}, {"repairing": True}, {}])
def test_nothing_is_promoted_while_paused(place: Any) -> None:
    resource = in_canary(1, paused=True, candidate=place)
    stable = 0 if place.get("repairing") else 3
    made = plans(observed(resource, pods=both(3, stable), now=after(hours=9)))
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert made.status["phase"] == "Paused"


def test_a_pause_takes_none_of_the_steps_time() -> None:
    paused = observed(in_canary(paused=True), pods=both(), now=after(seconds=30))
    later = then(paused, plan(paused), now=after(hours=3))
    on = replace(later, resource=wanting(later.resource, paused=False))
    begun = plan(on)
    assert begun.status["candidate"]["step"] == 0
    assert plan(then(on, begun, now=after(hours=3, seconds=30))).status["candidate"]["step"] == 1


@pytest.mark.parametrize(
    ("before", "asks", "reason", "said"),
    [
        (in_canary(), {"paused": True}, "Paused", "paused by spec.paused"),
        (serving_old(paused=True), {"paused": False}, "Resumed", "spec.paused is no longer true. "),
        (in_canary(paused=True), {"paused": False}, "Resumed", "Step 1 of 2, "),
        (serving_old(paused=True), {"replicas": 0}, "ScaledToZero", "no pod serves churn-1"),
        (in_canary(), {"replicas": 0}, "ScaledToZero", "no pod serves churn-1"),
    ],
)
def test_what_somebody_asks_for_is_told_when_it_is_done_and_once(
    before: Deployment, asks: Any, reason: str, said: str
) -> None:
    was = observed(before, pods=both(1 if before.status.candidate else 0))
    settled = then(was, plans(was), now=after(seconds=10))
    ask = replace(settled, resource=wanting(settled.resource, **asks))
    made = plan(ask)
    [told] = [event for event in made.events if event.reason in {"Paused", "Resumed", "ScaledToZero"}]
    assert (told.type, told.reason) == ("Normal", reason)
    assert said in told.message
    assert reason not in [event.reason for event in plan(then(ask, made)).events]


def test_the_first_step_is_told_when_its_clock_begins_and_no_last_pods_when_there_are_none_to_start() -> None:
    waits = observed(in_canary(step_since=None), pods=both(0))
    begins = plan(replace(waits, pods=both(), now=after(seconds=5)))
    [told] = [event for event in begins.events if event.reason == "StepReached"]
    assert told.message == "churn-2: Step 1 of 2 begins, with 25 % of the traffic."
    assert told.at == after(seconds=5)
    assert "StepReached" not in [event.reason for event in plan(waits).events]
    for place, ready, starts in ((0, 1, True), (1, 3, False)):
        rollout = {"onInconclusive": "Promote", "steps": STEPS[: place + 1]}
        made = plan(observed(in_canary(place, rollout=rollout), pods=both(ready), now=after(minutes=2)))
        assert made.status["candidate"]["finishing"]
        assert any("the last pods start" in event.message for event in made.events) is starts


@pytest.mark.parametrize(
    ("early", "canary", "finishing"),
    [(True, (4000, 40), True), (True, (40, 0), None), (False, (4000, 40), None)],
)
def test_a_version_that_is_shown_to_be_no_worse_is_promoted_before_its_time_where_somebody_wants_that(
    early: bool, canary: tuple[int, int], finishing: bool | None
) -> None:
    rollout = {"steps": [{"weight": 25, "for": "1h"}, {"weight": 50, "for": "1h"}], "promoteEarly": early}
    resource = in_canary(rollout=rollout, monitoring={"metrics": [{"name": "errors", "type": "ErrorRate"}]})
    there = observed(resource, pods=both(), looks=looks(4, canary=canary, stable=(9000, 90)), now=after(minutes=1))
    made = plan(there)
    assert made.status["candidate"].get("finishing") is finishing
    assert made.status["candidate"]["step"] == 0
    assert made.status["stable"]["modelVersion"] == "churn-1"
    if finishing:
        said = "It is shown to be good enough (promoteEarly); the last pods start."
        assert said in made.status["conditions"][0]["message"]
        started = then(there, made, pods=both(3), looks=(), now=after(minutes=9))
        done = plan(then(started, plan(started), now=after(minutes=10)))
        assert done.status["stable"]["modelVersion"] == "churn-2"


@pytest.mark.parametrize(("warm_up", "phase"), [("0s", "RolledBack"), ("1m", "Progressing")])
def test_what_comes_while_a_version_warms_up_does_not_reject_it(warm_up: str, phase: str) -> None:
    there = observed(
        in_canary(monitoring={"warmUp": warm_up}),
        pods=both(),
        looks=looks(3, canary=(100, 50), stable=(900, 9)),
        now=after(seconds=46),
    )
    made = plan(there)
    assert made.status["phase"] == phase
    if phase == "Progressing":
        assert "the version was still warming up" in made.status["conditions"][0]["message"]
        later = [replace(look, time=look.time + 60) for look in looks(2, canary=(100, 50), stable=(900, 9))]
        back = plan(then(there, made, looks=later, now=after(seconds=91)))
        assert back.status["phase"] == "RolledBack"


@pytest.mark.parametrize(("pods", "phase"), [(2, "Progressing"), (1, "RolledBack")])
def test_pods_that_a_later_step_brings_warm_up_as_well(pods: int, phase: str) -> None:
    there = observed(in_canary(1, monitoring={"warmUp": "1m"}), pods=both(2), now=after(minutes=10))
    fine = [replace(look, pods=1) for look in looks(20, canary=(100, 1), stable=(900, 9))]
    made = plan(replace(there, reading=replace(there.reading, looks=fine)))
    cold = [replace(look, time=look.time + 480, pods=pods) for look in looks(4, canary=(100, 50), stable=(900, 9))]
    made = plan(then(there, made, looks=cold, now=after(minutes=10)))
    assert made.status["analysis"]["looks"] == 24
    assert made.status["phase"] == phase


def test_a_version_that_looks_worse_by_now_is_not_promoted_early_by_what_was_shown_once() -> None:
    rollout = {"steps": [{"weight": 25, "for": "1h"}], "promoteEarly": True}
    resource = in_canary(rollout=rollout, monitoring={"metrics": [{"name": "errors", "type": "ErrorRate"}]})
    fine = looks(4, canary=(4000, 40), stable=(9000, 90))
    worse = [replace(look, time=look.time + 300) for look in looks(1, canary=(2000, 60), stable=(9000, 90))]
    made = plan(observed(resource, pods=both(), looks=[*fine, *worse], now=after(minutes=7)))
    assert made.status["analysis"]["verdict"] == "Promote"
    assert 10 <= made.status["analysis"]["evidence"] < 100
    assert "finishing" not in made.status["candidate"]


@pytest.mark.parametrize(
    ("then_", "phase"), [("Hold", "Paused"), ("Rollback", "RolledBack"), ("Promote", "Progressing")]
)
def test_nor_at_the_end_of_the_steps(then_: str, phase: str) -> None:
    rollout = {"steps": [{"weight": 25, "for": "1h"}], "onInconclusive": then_}
    errors = {"metrics": [{"name": "errors", "type": "ErrorRate"}]}
    resource = in_canary(step_since=after(hours=-1), rollout=rollout, monitoring=errors)
    fine = looks(4, canary=(4000, 40), stable=(9000, 90))
    worse = [replace(look, time=look.time + 300) for look in looks(1, canary=(2000, 60), stable=(9000, 90))]
    made = plan(observed(resource, pods=both(), looks=[*fine, *worse], now=after(minutes=7)))
    assert (made.status["analysis"]["verdict"], made.status["phase"]) == ("Promote", phase)


def test_a_new_version_that_waits_for_the_pause_to_end_is_said_to_be_paused() -> None:
    made = plan(observed(serving_old(paused=True), pods=both(0)))
    assert made.status["phase"] == "Paused"
    assert condition(made, "Current")["status"] == "False"
    assert stalled(made) is None


def test_without_replicas_no_step_ends_and_nothing_is_promoted() -> None:
    resource = in_canary(1, replicas=0)
    before = observed(resource, pods=both(0, 0), now=after(hours=8))
    made = plans(before)
    assert made.status["candidate"]["step"] == 1
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert not made.status["rejected"]
    again = replace(then(before, made, now=after(hours=9)), resource=wanting(then(before, made).resource, replicas=3))
    starting = plan(again)
    assert starting.status["candidate"]["step"] == 1
    assert "stepSince" not in starting.status["candidate"]


def test_the_next_version_waits_until_the_pods_of_the_one_before_are_asked_no_more() -> None:
    third = a_model_version("churn-3")
    before = observed(wanting(in_canary(), modelVersion="churn-3"), third, pods=both())
    made = plan(before)
    assert "candidate" not in made.status
    assert all(one["spec"]["selector"].get(names.REVISION) == OLD_REVISION for one in made.apply)
    going = then(before, made, pods=both(0), strangers=("churn-2-0",))
    assert "candidate" not in plan(going).status
    assert plan(replace(going, strangers=())).status["candidate"]["modelVersion"] == "churn-3"
    stays = plan(then(going, plan(going), now=after(minutes=6)))
    assert "kubectl label pod churn-2-0 -n shop" in (stalled(stays) or "")


def test_a_rollout_that_an_older_operator_had_brought_to_its_last_act_goes_on_from_there() -> None:
    stored = as_stored(in_canary(2))
    stored["status"]["conditions"] = []
    made = plans(observed(Deployment.model_validate(stored), pods=both(3)), now=after(seconds=10))
    assert made.status["stable"]["modelVersion"] == "churn-2"


# Capacity first


def steep(**more: Any) -> Deployment:
    return in_canary(rollout={"steps": [{"weight": 90, "for": "1m"}]}, candidate={"replicas": 3}, **more)


def test_a_step_above_half_takes_stable_pods_away_only_as_the_others_become_ready() -> None:
    resource = steep()
    assert not sizes(plan(observed(resource, pods=both(0, 3))))
    assert sizes(plan(observed(resource, pods=both(2, 3)))) == {OLD_REVISION: 1}
    assert sizes(plan(observed(resource, pods=both(3, 3)))) == {OLD_REVISION: 1}
    just_ready = both(3, 3, since=NOW)
    assert not sizes(plan(observed(resource, pods=just_ready, now=after(seconds=5))))
    lost = steep(stable={"replicas": 1})
    assert sizes(plan(observed(lost, pods=both(1, 1)))) == {OLD_REVISION: 2}


def test_a_rejected_version_keeps_pods_while_the_stable_one_gets_its_own_back() -> None:
    bad = looks(2, canary=(900, 180), stable=(100, 1))
    before = observed(steep(stable={"replicas": 1}), pods=both(3, 1), looks=bad, now=after(seconds=31))
    made = plan(before)
    assert made.status["rejected"]
    assert sizes(made) == {OLD_REVISION: 3, NEW_REVISION: 2}
    assert made.status["phase"] == "RolledBack"
    half = plan(then(before, made, pods=both(2, 2), looks=()))
    assert "candidate" not in half.status
    assert [reference.name for reference in half.delete] == [f"churn-{NEW_REVISION}"]
    assert len(half.status["rejected"]) == 1


@pytest.mark.parametrize(
    ("stable", "replicas", "leaving"),
    [(3, 3, False), (3, 4, False), (2, 3, False), (1, 3, True), (0, 3, True), (3, 6, False), (3, 7, True)],
)
def test_a_rejected_version_goes_when_half_of_the_others_answer_however_an_autoscaler_grows(
    stable: int, replicas: int, leaving: bool
) -> None:
    bad = looks(2, canary=(500, 180), stable=(500, 1))
    before = observed(in_canary(1, replicas=replicas), pods=both(3, stable), looks=bad, now=after(seconds=31))
    made = plan(before)
    assert ("candidate" in made.status) is leaving
    fewer = observed(in_canary(1, replicas=7), pods=both(3, 3), looks=bad, now=after(seconds=31))
    again = then(fewer, plan(fewer), looks=(), pods=both(3, stable))
    assert ("candidate" in plan(replace(again, resource=wanting(again.resource, replicas=replicas))).status) is leaving
    later = plan(then(before, made, looks=(), now=after(minutes=11)))
    assert ("candidate" in plan(then(before, later, looks=(), now=after(minutes=22))).status) is (stable == 0)


def given_up() -> Observed:
    """churn-2 has most of the traffic when churn-1 is wanted again, of which one pod is left."""
    back = wanting(steep(stable={"replicas": 1}), modelVersion="churn-1")
    before = observed(back, OLD, pods=both(3, 1), now=after(seconds=31))
    return then(before, plan(before))


def test_a_good_version_that_is_given_up_stays_until_the_other_is_back_and_that_is_said() -> None:
    before = given_up()
    assert before.resource.status.candidate
    assert before.resource.status.candidate.leaving
    half = plan(replace(before, pods=both(2, 2)))
    assert sizes(half) == {NEW_REVISION: 1}
    assert stalled(half) is None
    failing = {
        OLD_REVISION: [*pods(OLD_REVISION, 1), unstarted("ErrImagePull", "gone")],
        NEW_REVISION: both(2)[NEW_REVISION],
    }
    late = then(before, plan(replace(before, pods=failing)), pods=failing, now=after(hours=9))
    waits = plan(late)
    assert waits.status["candidate"]["leaving"]
    assert not waits.delete
    assert condition(waits, "Stalled")["reason"] == "StableNotReady"
    assert "gone" in (stalled(waits) or "")
    assert "name churn-2 again" in (stalled(waits) or "")
    assert "StableNotReady" in [event.reason for event in plan(then(late, waits)).events]
    whole = plan(then(late, waits, pods=both(1, 3)))
    assert "candidate" not in whole.status
    assert stalled(whole) is None


def test_a_version_that_is_leaving_is_taken_back_when_it_is_wanted_again() -> None:
    before = given_up()
    made = plan(replace(before, wanted=NEW, resource=wanting(before.resource, modelVersion="churn-2")))
    candidate = made.status["candidate"]
    assert "leaving" not in candidate
    assert (candidate["step"], candidate["since"]) == (0, NOW.isoformat().replace("+00:00", "Z"))
    assert not made.delete
    assert made.status["phase"] == "Progressing"
    assert "TakenBack" in [event.reason for event in made.events]


@pytest.mark.parametrize("retried", [False, True])
def test_a_rejected_version_that_is_leaving_is_not_taken_back(retried: bool) -> None:
    bad = looks(2, canary=(900, 180), stable=(100, 1))
    before = observed(steep(stable={"replicas": 1}), pods=both(3, 1), looks=bad, now=after(seconds=31))
    rejected = then(before, plan(before), looks=())
    if retried:  # it is tried again with new pods
        stored = as_stored(rejected.resource)
        stored = {**stored, "metadata": {**stored["metadata"], "annotations": {names.RETRY: "1"}}}
        rejected = replace(rejected, resource=Deployment.model_validate(stored))
    assert plan(rejected).status["candidate"]["leaving"]


@given(
    weight=st.integers(1, 99),
    replicas=st.integers(1, 20),
    canary=st.integers(0, 20),
    stable=st.integers(0, 20),
    leaving=st.booleans(),
    late=st.booleans(),
)
def test_pods_that_answer_never_become_fewer_than_asked_for_by_our_doing(
    weight: int, replicas: int, canary: int, stable: int, leaving: bool, late: bool
) -> None:
    resource = in_canary(
        replicas=replicas,
        rollout={"steps": [{"weight": weight, "for": "1m"}]},
        candidate={
            "replicas": canary,
            **({"leaving": True} if leaving else {}),
            **({"unreadySince": LONG_AGO.isoformat()} if late else {}),
        },
        stable={"replicas": stable},
    )
    made = plan(observed(resource, pods=both(canary, stable)))
    left = {OLD_REVISION: stable, NEW_REVISION: canary} | {
        revision: min(size, {OLD_REVISION: stable, NEW_REVISION: canary}[revision])
        for revision, size in sizes(made).items()
    }
    for gone in made.delete:
        left[gone.name.removeprefix("churn-")] = 0
    assert sum(left.values()) >= min(replicas, stable + canary)


# Repair


def test_when_the_stable_version_serves_nothing_the_fix_gets_all_pods_at_once() -> None:
    broken = [crashing(9)]
    resource = serving_old(stable={"unreadySince": LONG_AGO.isoformat()})
    before = observed(resource, pods={OLD_REVISION: broken})
    begun = then(before, plan(before), pods={OLD_REVISION: broken, NEW_REVISION: pods(NEW_REVISION, 1)})
    made = plan(begun)
    assert made.status["candidate"]["repairing"]
    assert sizes(made) == {NEW_REVISION: 3}
    all_there = then(begun, made, pods={OLD_REVISION: broken, NEW_REVISION: pods(NEW_REVISION, 3)})
    assert plans(all_there, now=after(seconds=59)).status["stable"]["modelVersion"] == "churn-1"
    assert plans(all_there, now=after(seconds=60)).status["stable"]["modelVersion"] == "churn-2"
    back = plan(then(begun, made, pods=both(3)))
    assert "repairing" not in back.status["candidate"]
    assert back.status["stable"]["modelVersion"] == "churn-1"


@pytest.mark.parametrize(
    ("stable", "unready_since", "repairing"),
    [
        (3, None, False),
        (1, None, False),  # each keeps the room that the other's last pods wait for
        (3, LONG_AGO, False),  # its pods have been ready for long by now
        (0, LONG_AGO, True),
        (-3, LONG_AGO, True),  # for a moment only, as pods are that crash again and again
    ],
)
def test_a_stable_version_that_answers_again_is_compared_whatever_pods_the_candidate_lacks(
    stable: int, unready_since: Any, repairing: bool
) -> None:
    before = {"unreadySince": unready_since.isoformat()} if unready_since else {}
    resource = in_canary(step_since=None, stable=before, candidate={"repairing": True, "replicas": 3})
    answering = pods(OLD_REVISION, abs(stable))
    if stable < 0:
        answering = [replace(pod, ready_since=NOW - timedelta(seconds=5)) for pod in answering]
    for lacking in ([unscheduled()], []):
        world = {OLD_REVISION: answering, NEW_REVISION: [*pods(NEW_REVISION, 3 - len(lacking)), *lacking]}
        made = plan(observed(resource, pods=world))
        if stable or lacking:
            assert ("repairing" in made.status["candidate"]) is repairing
            assert made.again is not None
            assert made.again <= timedelta(minutes=1)
            assert made.status["stable"]["modelVersion"] == "churn-1"


@pytest.mark.parametrize("trouble", ["", "0/3 nodes are available"])
def test_a_stable_version_whose_pods_start_or_wait_for_room_is_waited_for(trouble: str) -> None:
    moving = [replace(pod, unscheduled=trouble) for pod in pods(OLD_REVISION, 1, ready=False)]
    resource = in_canary(stable={"unreadySince": (NOW - timedelta(minutes=2)).isoformat()})
    before = observed(resource, pods={OLD_REVISION: moving, NEW_REVISION: pods(NEW_REVISION, 1)}, now=after(hours=1))
    made = plan(replace(before, now=NOW))
    assert "repairing" not in made.status["candidate"]
    assert "stepSince" not in made.status["candidate"]


@pytest.mark.parametrize(
    ("stable", "refused", "repairing"),
    [
        (pods(OLD_REVISION, 3, ready=False), "", False),
        ([unscheduled()] * 3, "", False),
        ([*pods(OLD_REVISION, 1, ready=False), unscheduled(), unscheduled()], "", False),
        (pods(OLD_REVISION, 1, ready=False), "exceeded quota: compute", False),
        ([crashing(2), unscheduled()], "", True),
    ],
)
def test_pods_of_the_stable_version_that_start_beside_others_that_wait_for_room_are_waited_for(
    stable: Any, refused: str, repairing: bool
) -> None:
    resource = in_canary(step_since=None, stable={"unreadySince": NOW.isoformat()})
    owned = refusing(resource, refused, OLD_REVISION) if refused else workloads(resource)
    world = {OLD_REVISION: stable, NEW_REVISION: pods(NEW_REVISION, 1)}
    made = plan(observed(resource, pods=world, workloads=owned, now=after(seconds=31)))
    assert ("repairing" in made.status["candidate"]) is repairing


def test_what_was_wrong_with_the_stable_version_is_forgotten_when_it_has_no_pods() -> None:
    evening = in_canary(replicas=0, step_since=None, stable={"replicas": 0, "unreadySince": LONG_AGO.isoformat()})
    night = observed(evening, pods=both(0, 0), workloads=workloads(evening, **{NEW_REVISION: 0}))
    made = plan(night)
    assert "unreadySince" not in made.status["stable"]
    up = replace(then(night, made, now=after(hours=12)), resource=wanting(then(night, made).resource, replicas=3))
    starting = {OLD_REVISION: pods(OLD_REVISION, 3, ready=False), NEW_REVISION: pods(NEW_REVISION, 1)}
    morning = replace(up, pods=starting, workloads=workloads(in_canary()))
    assert "repairing" not in plan(morning).status["candidate"]


def test_the_only_pods_that_answer_are_not_taken_away() -> None:
    nothing = {OLD_REVISION: [crashing(9)], NEW_REVISION: [*pods(NEW_REVISION, 3), crashing(5)]}
    resource = in_canary(
        1,
        replicas=4,
        step_since=None,
        candidate={"repairing": True, "unreadySince": LONG_AGO.isoformat(), "replicas": 4},
    )
    made = plan(observed(resource, pods=nothing))
    assert "candidate" in made.status
    assert not made.delete
    third = then(observed(resource, pods=nothing), made, wanted=a_model_version("churn-3"))
    assert plan(third).status["candidate"]["leaving"], "the stable version may only have blinked"
    third = replace(third, now=after(seconds=30))
    replaced = plan(third)
    assert replaced.status["stable"]["modelVersion"] == "churn-2"
    assert [reference.name for reference in replaced.delete] == [f"churn-{OLD_REVISION}"]
    assert plan(then(third, replaced)).status["candidate"]["modelVersion"] == "churn-3"
    typo = plan(observed(wanting(resource, modelVersion="churn-9"), None, pods=nothing))
    assert typo.status["candidate"]["leaving"]
    assert not typo.delete
    for later in (
        typo,
        plans(observed(wanting(resource, modelVersion="churn-9"), None, pods=nothing), now=after(hours=9)),
    ):
        assert later.status["candidate"]["leaving"]


# An operator that was away


def away(seconds: float, **more: Any) -> Plan:
    """The first plan of a process that begins now; the last look that is recorded is so many seconds old."""
    recorded = {
        "looks": 3,
        "at": (NOW + timedelta(minutes=9) - timedelta(seconds=seconds)).timestamp(),
        "threshold": 100,
    }
    resource = in_canary(1, rollout={"steps": [{"weight": 5, "for": "1m"}, {"weight": 50, "for": "9m"}]})
    stored = as_stored(resource)
    stored["status"]["analysis"] = {**recorded, "state": {}}
    return plan(
        observed(
            Deployment.model_validate(stored), pods=both(3), now=after(minutes=9), **{"reading": Reading(), **more}
        )
    )


def test_a_step_does_not_end_before_somebody_has_looked() -> None:
    assert away(0).status["candidate"]["step"] == 1
    assert "finishing" not in away(3600).status["candidate"]
    first_look = measured(COUNTED, COUNTED)
    just_now = replace(first_look, since=after(minutes=9).timestamp())
    assert "finishing" not in away(0, reading=just_now).status["candidate"]
    assert away(0, reading=first_look).status["candidate"]["finishing"]


@pytest.mark.parametrize(("canary", "phase"), [(COUNTED, "Progressing"), (UNREADABLE, "Paused")])
def test_a_step_stands_still_while_pods_are_only_watched_and_no_longer_than_they_can_be_read(
    canary: Measurement, phase: str
) -> None:
    reading = replace(measured(canary, COUNTED), watching=True)
    before = observed(in_canary(1), pods=both(3), now=after(seconds=50), reading=reading)
    made = plan(before)
    assert "stepSince" not in made.status["candidate"]
    later = plan(then(before, made, now=after(hours=9)))
    assert later.status["candidate"]["step"] == 1
    assert later.status["phase"] == phase
    if canary == COUNTED:
        compared = plan(then(before, later, now=after(hours=9), reading=replace(reading, watching=False)))
        assert compared.status["candidate"]["stepSpent"] == "50s", "and it has its time again"


def test_what_waits_for_a_person_waits_on_while_pods_are_only_watched() -> None:
    """After each restart of the operator, with an image of one's own."""
    there = measured(COUNTED, COUNTED)
    over = in_canary(1, step_since=after(hours=-1), rollout={"onInconclusive": "Hold"})
    before = observed(over, pods=both(3), looks=looks(3, canary=(10, 0), stable=(10, 0)))
    before = replace(before, reading=replace(before.reading, arms=there.arms))
    held = plan(before)
    assert condition(held, "Stalled")["reason"] == "Inconclusive"
    watched = plan(then(before, held, reading=replace(there, watching=True)))
    assert stalled(watched) == stalled(held)
    assert watched.status["phase"] == held.status["phase"] == "Paused"


def test_time_in_which_no_operator_was_there_is_no_time_of_the_step() -> None:
    began = replace(measured(COUNTED, COUNTED), since=after(minutes=8).timestamp())
    made = away(480, reading=began)  # looked at for the first minute, and for the last
    assert made.status["candidate"]["stepSpent"] == "1m"
    assert "finishing" not in made.status["candidate"]


def test_a_process_that_has_not_looked_yet_leaves_what_was_said() -> None:
    before = observed(in_canary(), pods=both(), now=after(seconds=20), reading=measured(UNREADABLE, COUNTED))
    made = plan(before)
    for now in (after(seconds=20), after(minutes=15)):
        settled = plans(then(before, made, now=now))
        restarted = plan(then(then(before, made, now=now), settled, reading=Reading()))
        assert restarted.status == settled.status
        assert bool(stalled(settled)) is (now > after(minutes=1))
    assert not [event for event in restarted.events if event.reason == "Unmeasured"]


def test_a_stable_version_that_crashes_says_why_once_and_stays_stable() -> None:
    resource = wanting(serving_old(), modelVersion="churn-1")
    before = observed(resource, OLD, pods={OLD_REVISION: [crashing(4)]})
    made = plan(before)
    assert made.status["phase"] == "Stable"
    assert condition(made, "Ready")["status"] == "False"
    assert "OOMKilled" in condition(made, "Ready")["message"]
    [warning] = [event for event in made.events if event.type == "Warning"]
    flapping = then(before, made, pods={OLD_REVISION: [crashing(5, ready=True)]}, now=after(seconds=20))
    down = then(flapping, plan(flapping), pods={OLD_REVISION: [crashing(6)]}, now=after(seconds=40))
    [told] = [event for event in plan(down).events if event.type == "Warning"]
    assert (told.reason, told.at) == (warning.reason, warning.at)


# What an autoscaler sees


@pytest.mark.parametrize(
    ("resource", "canary", "stable"),
    [(in_canary(1), 3, 3), (steep(stable={"replicas": 1}), 3, 1), (in_canary(), 1, 3)],
)
def test_an_autoscaler_sees_as_many_pods_as_the_spec_asks_for(resource: Deployment, canary: int, stable: int) -> None:
    made = plan(observed(resource, pods=both(canary, stable)))
    assert made.status["replicas"] == 3
    [revision] = [part for part in made.status["selector"].split(",") if "revision" in part]
    shown = {f"upright.dev/revision={name}": count for name, count in ((OLD_REVISION, stable), (NEW_REVISION, canary))}
    assert shown[revision] == 3


# Telling


def test_what_was_decided_is_told_again_until_it_is_old_with_the_moment_at_which_it_was() -> None:
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    before = observed(in_canary(), pods=both(), looks=bad, now=after(seconds=31))
    made = plan(before)
    [first] = [event for event in made.events if event.reason == "RolledBack"]
    later = plan(then(before, made, looks=(), now=after(minutes=5)))
    assert first in later.events
    assert not plan(then(before, made, looks=(), now=after(minutes=11))).events


def test_history_says_which_revision_why_and_who() -> None:
    resource = wanting(in_canary(), modelVersion="churn-1")
    made = plan(observed(resource, OLD, pods=both(), editor="argocd-controller"))
    [episode] = made.status["history"]
    assert episode["revision"] == NEW_REVISION
    assert episode["by"] == "argocd-controller"
    assert "churn-1 is wanted" in episode["reason"]


def test_current_is_true_only_when_the_wanted_version_serves_with_all_its_pods() -> None:
    resource = wanting(serving_old(), modelVersion="churn-1")
    assert condition(plan(observed(resource, OLD, pods=both(0, 3))), "Current")["status"] == "True"
    assert condition(plan(observed(resource, OLD, pods=both(0, 2))), "Current")["status"] == "False"
    assert condition(plan(observed(in_canary(), pods=both())), "Current")["status"] == "False"


@pytest.mark.parametrize(("replicas", "said"), [(1, "serves with 1 pod."), (3, "serves with 3 pods.")])
def test_one_pod_is_no_pods(replicas: int, said: str) -> None:
    made = plan(observed(serving_old(replicas=replicas), OLD, pods=both(0, replicas)))
    assert condition(made, "Current")["message"].endswith(said)


def test_a_status_full_of_history_stays_small() -> None:
    long = "word " * 140
    episode = {"modelVersion": "churn-1", "revision": "r", "from": NOW.isoformat(), "to": NOW.isoformat()}
    rejection = {"modelVersion": "churn-1", "at": NOW.isoformat(), "message": long}
    full = {
        "history": [{**episode, "outcome": "RolledBack", "reason": long}] * 20,
        "rejected": [{**rejection, "revision": f"r{number}"} for number in range(20)],
    }
    bad = looks(2, canary=(100, 20), stable=(900, 9))
    before = observed(in_canary(status=full), pods=both(), looks=bad, now=after(seconds=31))
    said = Measurement("Counted", failing=Frequent("E" * 64, 20, 20, "w" * 300, "x" * 75))
    made = plan(replace(before, reading=replace(before.reading, arms={"canary": said})))
    assert len(made.status["history"]) == len(made.status["rejected"]) == 20
    assert len(json.dumps(made.status)) < 16 * 1024


# A first version that answers, and is not complete


def beginning(named: str = "churn-1", **candidate: Any) -> Deployment:
    """churn-1 starts with nothing before it, and the spec names that or another by now."""
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": NOW.isoformat(), "replicas": 2, **candidate}
    return a_deployment(named, status={"candidate": arm}, replicas=2)


@pytest.mark.parametrize("wanted", [NEW, None])  # None: somebody misspelt it, or it was deleted
@pytest.mark.parametrize("candidate", [{}, {"leaving": True}])  # leaving: the one before was lost meanwhile
def test_a_first_version_that_answers_is_the_stable_one_for_the_next(wanted: Any, candidate: Any) -> None:
    world = {OLD_REVISION: [*pods(OLD_REVISION, 1), unscheduled()]}
    before = observed(beginning("churn-2", **candidate), wanted, pods=world, now=after(minutes=1))
    made = plan(before)
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert "candidate" not in made.status
    assert not made.delete
    assert condition(made, "Ready")["status"] == "True"
    following = plan(then(before, made))
    assert not following.delete
    assert following.status.get("candidate", {}).get("modelVersion") == (wanted and "churn-2")


def test_a_first_version_that_does_not_answer_makes_way() -> None:
    starting = {OLD_REVISION: pods(OLD_REVISION, 2, ready=False)}
    made = plan(observed(beginning("churn-2"), pods=starting, now=after(minutes=1)))
    assert "stable" not in made.status
    assert [reference.name for reference in made.delete] == [f"churn-{OLD_REVISION}"]
    assert condition(made, "Ready")["status"] == "False"


@pytest.mark.parametrize(("answer", "rejected"), [(1, False), (0, True)])
def test_a_version_whose_pods_are_all_that_answers_is_not_rejected_for_the_others(answer: int, rejected: bool) -> None:
    refusal = exited(REFUSED, '{"reason": "Corrupt", "message": "model.skops is not what it was."}')
    corrupt = read(a_pod("corrupt", ready=False, containers={"serve": refusal}))
    before = observed(beginning(), OLD, pods={OLD_REVISION: [*pods(OLD_REVISION, answer), corrupt]}, now=NOW)
    made = plan(before)
    assert bool(made.status["rejected"]) is rejected
    if rejected:
        return
    assert condition(made, "Ready")["status"] == "True"
    late = plan(then(before, made, now=after(minutes=11)))
    assert not late.delete
    assert condition(late, "Stalled")["reason"] == "NotReady"
    assert "model.skops is not what it was" in (stalled(late) or "")


@pytest.mark.parametrize(("stable", "rejected"), [(0, False), (1, True)])
def test_nor_is_one_that_goes_out_because_nothing_else_answers(stable: int, rejected: bool) -> None:
    refusal = exited(REFUSED, '{"reason": "Corrupt", "message": "model.skops is not what it was."}')
    corrupt = read(a_pod("corrupt", ready=False, containers={"serve": refusal}))
    world = both(2, stable)
    made = plan(observed(in_canary(1), pods={**world, NEW_REVISION: [*world[NEW_REVISION], corrupt]}))
    assert bool(made.status["rejected"]) is rejected


@pytest.mark.parametrize("beside", ["sidecar", "init"])
def test_what_was_held_for_want_of_a_secret_has_all_its_time_once_it_is_there(beside: str) -> None:
    """Its other containers have run all the while."""
    arm = {"modelVersion": "churn-2", "revision": NEW_REVISION, "since": NOW.isoformat(), "replicas": 1}
    resource = a_deployment("churn-2", replicas=1, status={"candidate": {**arm, "unreadySince": NOW.isoformat()}})
    manifest = a_pod(
        "one", ready=False, containers={"serve": {"running": {"startedAt": after(minutes=30).isoformat()}}}
    )
    ran = {"running": {"startedAt": NOW.isoformat()}}
    other = {"name": "other", "image": "other:1", "imageID": "", "restartCount": 0, "ready": True, "state": ran}
    manifest["status"].setdefault("initContainerStatuses" if beside == "init" else "containerStatuses", []).append(
        other
    )
    for minutes, rejected in ((31, False), (39, False), (41, True)):
        made = plan(observed(resource, NEW, pods={NEW_REVISION: [read(manifest)]}, now=after(minutes=minutes)))
        assert bool(made.status["rejected"]) is rejected


def beside(state: Any, *, ready: bool = True, **more: Any) -> Manifest:
    """What stands in a pod's status of a container beside the one that serves."""
    return {"name": "other", "image": "other:1", "ready": ready, "restartCount": 0, "state": state, **more}


WORKED = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": NOW.isoformat()}}
RUNS = {"running": {"startedAt": NOW.isoformat()}}


@pytest.mark.parametrize(
    ("serve", "others", "is_late"),
    [
        ("ContainerCreating", [], False),
        ("PodInitializing", [beside(WORKED)], False),
        ("PodInitializing", [beside(RUNS)], False),  # a sidecar among them
        ("PodInitializing", [beside(WORKED), beside(waiting("PodInitializing"), ready=False)], False),
        ("PodInitializing", [beside(RUNS, ready=False)], True),  # it has not done its work
        ("PodInitializing", [beside(waiting("CrashLoopBackOff"), ready=False, lastState=exited(1))], True),
        ("CrashLoopBackOff", [beside(WORKED)], True),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_pod_waits_for_the_cluster_while_its_next_container_is_yet_to_be_started(
    serve: str, others: list[Manifest], is_late: bool, first: bool
) -> None:
    """Its image is pulled, for longer than a start may take."""
    died = {"lastState": exited(1)} if serve == "CrashLoopBackOff" else {}
    own = {**beside(waiting(serve), ready=False, **died), "name": "serve"}
    manifest = a_pod("one", ready=False, phase="Pending", initContainerStatuses=others, containerStatuses=[own])
    arm = {"modelVersion": "churn-2", "revision": NEW_REVISION, "since": NOW.isoformat(), "replicas": 1}
    clocks = {"unreadySince": NOW.isoformat()}
    resource = (
        a_deployment("churn-2", replicas=1, status={"candidate": {**arm, **clocks}})
        if first
        else in_canary(step_since=None, candidate=clocks)
    )
    world = {NEW_REVISION: [read(manifest)]} | ({} if first else {OLD_REVISION: pods(OLD_REVISION, 3)})
    before = observed(resource, pods=world)
    made = plan(then(before, plan(before), now=after(minutes=11)))
    assert bool(made.status["rejected"]) is is_late
    assert is_late or condition(made, "Stalled")["reason"] == "NotStarted"


def test_a_pod_that_is_ready_is_settled_also_while_others_have_no_room() -> None:
    """Its node's word that it has been ready is older than the time in which it is known not to have been."""
    clocks = {"unreadySince": NOW.isoformat(), "unreadyPod": "a", "downSince": after(seconds=60).isoformat()}
    resource = in_canary(1, step_since=None, candidate={**clocks, "replicas": 3})
    well = replace(pods(NEW_REVISION, 1, since=after(seconds=20))[0], name="a")
    room = [replace(unscheduled(), name=f"waits-{n}") for n in range(2)]
    world = {OLD_REVISION: pods(OLD_REVISION, 3), NEW_REVISION: [well, *room]}
    before = observed(resource, pods=world, workloads=workloads(resource), now=after(minutes=3))
    later = then(before, plan(before), now=after(minutes=15))
    blip = replace(pods(NEW_REVISION, 1, ready=False, since=after(minutes=15))[0], name="a")
    later = replace(later, pods={**world, NEW_REVISION: [blip, *room]})
    assert not plan(later).status["rejected"]


def test_no_step_ends_before_somebody_has_looked_at_pods_that_are_ready() -> None:
    """The last look was taken when the candidate's pod was not: whether it can be measured is not known."""
    resource = in_canary(since=LONG_AGO, step_since=after(minutes=-2))
    unlooked = observed(resource, pods=both(), reading=measured(Measurement("Unknown"), COUNTED))
    assert plan(unlooked).status["candidate"]["step"] == 0
    looked = replace(unlooked, reading=measured(COUNTED, COUNTED))
    assert plan(looked).status["candidate"]["step"] == 1
