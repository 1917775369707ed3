"""The evidence is kept beside the status, and what is kept of it is never lost, doubled or taken for another's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.builders import DEFAULTS, NOW, AWorld, after, as_stored
from tests.unit.rollout.world import (
    NEW_REVISION,
    OLD,
    Unmeasured,
    both,
    in_canary,
    kept_after,
    looks,
    observed,
    then,
)
from upright.analysis import Counts, Look, begin, update
from upright.api import names
from upright.api.deployment import Deployment
from upright.contract import Manifest, Plan
from upright.rollout.evidence import until
from upright.rollout.observe import Observed, observe
from upright.rollout.plan import plan
from upright.rollout.sightings import Sightings
from upright.rollout.verdict import analyse, policy

WORSE, ALIKE = (100, 3), (100, 1)
"""Requests and errors of the canary in a look; of 900 of the stable version's nine fail."""


def state_of(made: Plan) -> Any:
    assert made.keep
    return made.keep["spec"]["state"]


def with_evidence(count: int = 3) -> Observed:
    first = observed(in_canary(), pods=both(), looks=looks(count, canary=WORSE, stable=(900, 9)))
    return then(first, plan(first), looks=())


def told_anew(made: Plan) -> list[str]:
    return [event.message for event in made.events if event.reason == "EvidenceBegunAnew"]


def looked(there: Observed, *taken: Look) -> Observed:
    return replace(there, reading=replace(there.reading, looks=taken))


def the_fourth(canary: tuple[int, int] = WORSE) -> Look:
    return looks(4, canary=canary, stable=(900, 9))[3]


def deleted(made: Plan) -> list[str]:
    return [target.name for target in made.delete if target.type == names.COMPARISONS]


def test_a_counter_that_jumps_costs_a_look_and_no_evidence() -> None:
    spec, taken, far = in_canary().spec, looks(6, canary=WORSE, stable=(900, 9)), Counts((1e17, 0), (1, 1))
    taken[3] = replace(taken[3], measurements={"errors": Counts((100, 1), (1e17, 1))}, halves={"errors": far})
    weighed = analyse(spec, None, taken[:5], None)
    again = analyse(spec, weighed.evidence, taken[5:], weighed.analysis)
    assert (again.anew, again.analysis.looks, again.analysis.used) == ("", 6, 5)


# Whoever kills the operator


@given(
    fares=st.lists(st.sampled_from([WORSE, ALIKE]), min_size=3, max_size=30),
    kills=st.lists(st.sampled_from([None, None, "before", "between"]), min_size=30, max_size=30),
)
@example(fares=[WORSE] * 12, kills=[None] * 12)
@example(fares=[WORSE] * 12, kills=[*[None] * 10, "between", None])
def test_who_kills_the_operator_at_any_write_loses_only_what_was_not_worth_recording(
    fares: Sequence[tuple[int, int]], kills: Sequence[str | None]
) -> None:
    """What is kept is to the bit what the looks give that it contains: none is lost of these, and none counts twice."""
    every = [
        replace(look, time=NOW.timestamp() + 15 * n)
        for n, fare in enumerate(fares, 1)
        for look in looks(1, canary=fare, stable=(900, 9))
    ]
    promise, there, seen, contained = (
        policy(in_canary().spec),
        observed(in_canary(), pods=both()),
        list[Look](),
        list[Look](),
    )
    for look, kill in zip(every, kills, strict=False):
        seen = [one for one in seen if one.time > (until(there.evidence) or 0)] + [look]
        there = replace(
            there, now=after(seconds=look.time - NOW.timestamp()), reading=replace(there.reading, looks=seen)
        )
        made = plan(there)
        if made.keep and kill != "before":
            contained += seen if made.status.get("candidate") else []  # the turn that rejects keeps that alone
            assert made.keep["spec"]["state"] == update(promise, begin(promise), *contained)
        match kill:
            case "before":
                seen = []
            case "between":
                there, seen = replace(there, kept=kept_after(there.kept, made)), []
            case _:
                there = then(there, made)
        if there.resource.status.candidate is None:
            break
        assert there.evidence is None or there.evidence == update(promise, begin(promise), *contained)
        if there.resource.status.analysis is None:  # the first look was kept, and nobody has been told of it
            contained = []


def test_nothing_is_kept_again_that_is_kept_already() -> None:
    there = with_evidence()
    made = plan(there)
    assert (made.keep, deleted(made)) == (None, [])
    assert (
        plan(replace(there, reading=replace(there.reading, looks=looks(4, canary=ALIKE, stable=(900, 9))[3:]))).keep
        is None
    )


# Where it cannot be kept


def test_evidence_that_cannot_be_kept_goes_on_while_its_looks_are_at_hand() -> None:
    """A quota or a webhook refuses the object. The source hands out again what was not recorded."""
    every, there = looks(12, canary=ALIKE, stable=(900, 9)), observed(in_canary(), pods=both())
    since = there.resource.status.candidate
    assert since
    for count in range(1, len(every) + 1):
        there = looked(replace(there, now=after(seconds=15 * count)), *every[:count])
        made = plan(there)
        assert not told_anew(made)
        assert made.status["analysis"]["looks"] in range(1, count + 1)
        there = replace(then(there, made), kept=None)
    assert there.resource.status.candidate
    assert there.resource.status.candidate.step == 1, "the first step has ended meanwhile"
    restarted = plan(looked(replace(there, now=after(seconds=200)), *looks(13, canary=ALIKE, stable=(900, 9))[12:]))
    assert len(told_anew(restarted)) == 1


def refusing_updates(turns: int, *, edited_at: int | None = None) -> tuple[Observed, list[Plan]]:
    """What many turns with a look each have made where the first one could be kept and none after it."""
    every, there, made = looks(turns, canary=ALIKE, stable=(900, 9)), observed(in_canary(), pods=both()), list[Plan]()
    kept = None
    for turn in range(1, turns + 1):
        at_hand = [look for look in every[:turn] if look.time > (until(there.evidence) or 0)]
        if edited_at is not None and turn > edited_at:  # the source drops what was counted for other metrics
            at_hand = [look for look in at_hand if look.time > every[edited_at - 1].time]
        there = looked(replace(there, now=after(seconds=15 * turn)), *at_hand)
        made.append(plan(there))
        there = then(there, made[-1])
        kept = kept or there.kept
        there = replace(there, kept=kept)
        if turn == edited_at:
            stored = as_stored(there.resource)
            stored["spec"]["monitoring"] = {**stored["spec"].get("monitoring", {}), "falseRollbackProbability": 0.02}
            there = replace(there, resource=Deployment.model_validate(stored))
    return there, made


def test_what_is_not_kept_is_tried_again_in_each_turn_until_it_is() -> None:
    _, made = refusing_updates(12)
    first = next(place for place, one in enumerate(made) if place and one.keep)
    assert all(one.keep for one in made[first:])


def test_looks_that_were_told_and_could_not_be_kept_are_gone_with_their_process_and_that_is_said() -> None:
    there, made = refusing_updates(12)
    assert not any(map(told_anew, made))
    again = plan(looked(replace(there, now=after(seconds=300)), *looks(20, canary=ALIKE, stable=(900, 9))[19:]))
    [said] = told_anew(again)
    assert "what has come to it since could not be recorded" in said
    begun = again.status["candidate"]
    assert "stepSpent" not in begun
    assert begun.get("stepSince") in (None, after(seconds=300).isoformat().replace("+00:00", "Z"))
    assert not told_anew(plan(replace(then(there, again, looks=()), kept=there.kept)))


def test_evidence_that_cannot_be_kept_begins_anew_once_with_the_metrics() -> None:
    _, made = refusing_updates(12, edited_at=4)
    assert [turn for turn, one in enumerate(made, 1) if told_anew(one)] == [5]
    assert made[-1].status["analysis"]["looks"] in range(1, 9)


# Whoever changes what is kept


def test_evidence_that_somebody_has_deleted_begins_anew_and_so_does_the_step_and_it_is_told_once() -> None:
    there = replace(with_evidence(), kept=None)
    assert not told_anew(plan(there)), "there is nothing to weigh before the next look"
    again = looked(there, the_fourth())
    made = plan(again)
    [said] = told_anew(made)
    assert "what was recorded of it is gone, since its Comparison was deleted" in said
    assert "resourceVersion" not in (made.keep or {})["metadata"]
    assert made.status["analysis"]["looks"] == 1
    assert not told_anew(plan(then(again, made, looks=())))


@pytest.mark.parametrize(
    "state",
    [
        {"policy": policy(in_canary().spec).fingerprint, "looks": "many"},
        {"last": "never"},
        {"last": float("inf")},
        {"last": 10**400},
        {},
        {"policy": 3, "last": True},
        None,
    ],
)
def test_what_somebody_has_written_there_is_no_evidence(state: Any) -> None:
    """Nor is what is so large that nothing is known of it (None)."""
    there = with_evidence()
    kept = there.kept or {}
    written = {"spec": {**kept["spec"], "state": state}} if state is not None else {}
    edited = replace(there, kept={**{name: part for name, part in kept.items() if name != "spec"}, **written})
    made = plan(looked(edited, the_fourth()))
    assert len(told_anew(made)) == 1
    assert state_of(made)["looks"] == 1


def test_what_is_kept_of_another_comparison_is_written_over() -> None:
    there = with_evidence()
    kept = there.kept or {}
    other = replace(
        observed(in_canary(), pods=both()), kept={**kept, "spec": {**kept["spec"], "of": "churn-0-churn-1-0.0"}}
    )
    made = plan(other)
    assert (deleted(made), made.keep) == (["churn"], None)
    made = plan(looked(other, *looks(1, canary=WORSE, stable=(900, 9))))
    assert made.keep
    assert made.keep["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"]
    assert (state_of(made)["looks"], deleted(made)) == (1, [])


# The end


def test_what_is_kept_goes_with_the_comparison() -> None:
    there = with_evidence()
    made = plan(replace(there, wanted=OLD))
    assert (deleted(made), made.keep) == (["churn"], None)
    assert not deleted(plan(then(there, made, looks=())))


@pytest.mark.parametrize("earlier", [[], [{"revision": "earlier", "modelVersion": "churn-0", "message": "It fails."}]])
def test_of_a_comparison_that_ends_with_a_rejection_that_alone_stays(earlier: list[dict[str, str]]) -> None:
    """And the evidence until the status has recorded the rejection, lest both be lost with the process in between."""
    there, before = with_evidence(), [{**one, "at": NOW.isoformat()} for one in earlier]
    if there.kept and before:
        there = replace(there, kept={**there.kept, "spec": {**there.kept["spec"], "rejected": before}})
    made = plan(looked(there, *looks(5, canary=(100, 60), stable=(900, 9))[3:]))
    assert made.status["analysis"]["verdict"] == "Rollback"
    assert deleted(made) == []
    assert state_of(made) == (there.kept or {})["spec"]["state"]
    there = then(there, made, looks=())
    made = plan(there)
    assert made.keep
    assert (made.keep["spec"]["of"], state_of(made)) == ("", {})
    rejected = {one["revision"]: one["metric"] for one in made.keep["spec"]["rejected"] if "metric" in one}
    assert rejected == {NEW_REVISION: "errors"}
    assert len(made.keep["spec"]["rejected"]) == 1 + len(earlier)
    rest = plan(then(there, made))
    assert (deleted(rest), rest.keep) == ([], None)


# Whose it is


def owned_by(owners: Any) -> Manifest:
    kept = with_evidence().kept or {}
    return {**kept, "metadata": {**kept["metadata"], "ownerReferences": owners}}


@pytest.mark.parametrize(
    ("owners", "ours"),
    [
        (None, True),
        ([], True),
        ([{"kind": "Deployment", "name": "churn", "uid": "another", "controller": True}], False),
    ],
)
async def test_only_its_own_and_what_nobody_owns_is_taken_for_its_evidence(owners: Any, ours: bool) -> None:
    kept = with_evidence().kept if owners is None else owned_by(owners)
    assert kept
    world, source = AWorld((names.COMPARISONS, kept)), Unmeasured()
    resource = with_evidence().resource
    found = await observe(as_stored(resource), world, DEFAULTS, source, Sightings())
    assert (found.evidence is not None) is ours
    [asked] = source.asked.values()
    assert (asked.after is not None) is ours
    assert asked.resumed
