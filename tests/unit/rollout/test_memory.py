"""What is rejected stays so when the Deployment is made anew together with its versions, and until somebody asks."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import DEFAULTS, NOW, AWorld, a_deployment, a_model_version, after, as_stored
from tests.unit.rollout.cluster import Fares
from tests.unit.rollout.simulation import Simulation
from tests.unit.rollout.test_observing import a_version, orphaned, seen
from tests.unit.rollout.world import (
    LONG_AGO,
    NEW,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    STEPS,
    Unmeasured,
    both,
    condition,
    in_canary,
    kept_after,
    looks,
    observed,
    serving_old,
    then,
)
from upright.api import names
from upright.api.comparison import MOST_REJECTED
from upright.api.deployment import Deployment
from upright.api.deployment_status import DeploymentStatus, Rejection
from upright.contract import Key, Manifest, Plan, ResourceType
from upright.rollout.kind import Deployments
from upright.rollout.memory import Memory, recalled, remembered
from upright.rollout.observe import Observed
from upright.rollout.plan import plan
from upright.rollout.revision import revision

REJECTED = {
    "modelVersion": "churn-2",
    "revision": NEW_REVISION,
    "at": NOW.isoformat(),
    "metric": "errors",
    "message": "errors is 40 %.",
}
OTHER_DIGEST = {"uri": "pvc://models/churn/another", "digest": "sha256:" + "cd" * 32, "format": "skops"}
BOTH = a_version(OLD), a_version(NEW)


def having_rejected(**more: Any) -> Deployment:
    """churn-1 serves, and churn-2 was rejected."""
    return serving_old(status={"rejected": [REJECTED]}, **more)


async def a_memory(resource: Deployment | None = None) -> Manifest:
    """The Comparison as it is kept beside a Deployment."""
    kept = kept_after(None, plan(await seen(resource or having_rejected(), *BOTH)))
    assert kept
    return kept


def forgets(made: Plan) -> list[str]:
    return [one.name for one in made.delete if one.type == names.COMPARISONS]


async def made_anew(*others: tuple[ResourceType, Manifest], resource: Deployment | None = None) -> Plan:
    """What is planned for a Deployment that is made anew, with versions that remember nothing."""
    memory = names.COMPARISONS, await a_memory()
    return plan(await seen(resource or a_deployment("churn-2"), *others, memory))


# What is written


async def test_what_is_rejected_is_written_once_to_an_object_that_nobody_owns() -> None:
    made = plan(await seen(having_rejected(), *BOTH))
    assert made.keep
    meta, spec = made.keep["metadata"], made.keep["spec"]
    assert (meta["name"], "ownerReferences" in meta) == ("churn", False)
    assert spec == {
        "of": "",
        "state": {},
        "rejected": [{**REJECTED, "at": "2026-11-22T12:00:00Z"}],
        "stable": {
            "modelVersion": "churn-1",
            "digest": OLD.spec.artifact.digest,
            "revision": OLD_REVISION,
            "since": "2026-11-22T11:00:00Z",
        },
    }
    again = plan(await seen(having_rejected(), *BOTH, (names.COMPARISONS, await a_memory())))
    assert (again.keep, forgets(again)) == (None, [])


async def test_where_nothing_was_rejected_nothing_is_written() -> None:
    assert plan(await seen(serving_old(), *BOTH)).keep is None


async def test_a_new_stable_version_is_one_write_more() -> None:
    third = a_model_version("churn-3")
    its = revision(third, a_deployment().spec.serving)
    stable = {"modelVersion": "churn-3", "revision": its, "since": NOW.isoformat()}
    memory = names.COMPARISONS, await a_memory()
    made = plan(await seen(having_rejected(stable=stable), *BOTH, a_version(third), memory))
    now = recalled(made.keep)
    assert [one.model_version for one in (*now.rejected, now.stable) if one] == ["churn-2", "churn-3"]
    kept = kept_after(memory[1], made)
    assert kept
    again = plan(await seen(having_rejected(stable=stable), *BOTH, a_version(third), (names.COMPARISONS, kept)))
    assert again.keep is None


# The Deployment and its versions are made anew


async def test_made_anew_with_its_versions_it_serves_what_served_and_not_what_was_rejected() -> None:
    made = await made_anew(*BOTH)
    assert made.status["candidate"]["modelVersion"] == "churn-1"
    assert "churn-2 was rejected at 2026-11-22 12:00:00 UTC: errors is 40 %." in condition(made, "Stalled")["message"]
    assert made.keep is None


@pytest.mark.parametrize(
    ("stable", "why"),
    [
        ([a_version(OLD, phase=None)], "it is not known yet whether it can be served"),
        ([a_version(OLD, phase="Missing")], "it cannot be served"),
        ([], "it is not there"),
        ([a_version(a_model_version("churn-1", artifact=OTHER_DIGEST))], "it is another one"),
    ],
)
@pytest.mark.parametrize("phase", ["Ready", None])
async def test_the_rejected_version_does_not_go_out_for_want_of_another(
    stable: Sequence[tuple[ResourceType, Manifest]], why: str, phase: str | None
) -> None:
    made = await made_anew(*stable, a_version(NEW, phase=phase))
    assert "candidate" not in made.status, why
    assert condition(made, "Stalled")["reason"] == "VersionRejected"


async def test_the_version_that_served_wakes_it_when_it_can_be_served() -> None:
    memory = names.COMPARISONS, await a_memory()
    [watch] = [one for one in Deployments(DEFAULTS, Unmeasured()).watches if one.type == names.MODEL_VERSIONS]
    assert list(watch.wakes(BOTH[0][1], AWorld(memory))) == [Key("shop", "churn")]


async def test_what_follows_a_model_takes_the_newest_that_was_not_rejected() -> None:
    follows = a_deployment(None, latest={"model": "churn"})
    made = await made_anew(*BOTH, resource=follows)
    assert made.status["candidate"]["modelVersion"] == "churn-1"
    alone = await made_anew(a_version(OLD, phase=None), BOTH[1], resource=follows)
    assert "candidate" not in alone.status


@pytest.mark.parametrize(
    ("version", "serving", "why"),
    [
        (a_model_version("churn-2", artifact=OTHER_DIGEST), {}, "another artifact under its name"),
        (a_model_version("churn-3"), {}, "the same artifact under another name"),
        (NEW, {"workers": 2}, "served otherwise"),
    ],
)
async def test_another_revision_is_not_rejected(version: Any, serving: Any, why: str) -> None:
    resource = a_deployment(version.metadata.name, serving=serving)
    made = await made_anew(BOTH[0], a_version(version), resource=resource)
    assert made.status["candidate"]["modelVersion"] == version.metadata.name, why
    assert not condition(made, "Stalled")


@pytest.mark.parametrize("rejected", [NEW_REVISION, "another"])
async def test_of_what_serves_without_a_status_that_is_stable_which_was_however_few_pods_it_has(rejected: str) -> None:
    there = orphaned([], churn_1=1, churn_2=3)
    assert plan(await seen(a_deployment("churn-3"), *there)).status["stable"]["modelVersion"] == "churn-2"
    memory = await a_memory(serving_old(status={"rejected": [{**REJECTED, "revision": rejected}]}))
    made = plan(await seen(a_deployment("churn-3"), *there, (names.COMPARISONS, memory)))
    assert made.status["stable"]["modelVersion"] == "churn-1"


@pytest.mark.parametrize("of", ["another name", "another namespace", "another owner"])
async def test_nobody_rejects_for_another_deployment(of: str) -> None:
    kept = await a_memory()
    differs: dict[str, dict[str, Any]] = {
        "another name": {"name": "other", "labels": {names.DEPLOYMENT: "churn"}},
        "another namespace": {"namespace": "market"},
        "another owner": {"ownerReferences": [{"kind": "Deployment", "uid": "another", "controller": True}]},
    }
    others = (names.COMPARISONS, {**kept, "metadata": {**kept["metadata"], **differs[of]}})
    made = plan(await seen(a_deployment("churn-2"), *BOTH, others))
    assert made.status["candidate"]["modelVersion"] == "churn-2"


# Forgetting


async def test_another_try_takes_the_rejection_out_and_with_the_last_one_the_object() -> None:
    memory = names.COMPARISONS, await a_memory()
    first = plan(await seen(a_deployment("churn-2"), BOTH[1], memory))
    asks = {"upright.dev/retry": "1"}
    made = plan(await seen(a_deployment("churn-2", annotations=asks, status=first.status), BOTH[1], memory))
    assert made.status["candidate"]["modelVersion"] == "churn-2"
    assert (made.keep, forgets(made)) == (None, ["churn"]), "when the status has recorded it"
    after_it = a_deployment("churn-2", annotations=asks, status=made.status)
    killed_before_that = plan(await seen(after_it, BOTH[1], memory))
    assert (killed_before_that.keep, forgets(killed_before_that)) == (None, ["churn"])
    assert killed_before_that.status["candidate"]["since"] == made.status["candidate"]["since"]
    assert forgets(plan(await seen(after_it, BOTH[1]))) == []
    made = plan(await seen(a_deployment("churn-2"), BOTH[1]))
    assert made.status["candidate"]["modelVersion"] == "churn-2", "made anew once more, nothing speaks against it"


REJECTIONS = st.lists(
    st.builds(
        Rejection,
        modelVersion=st.just("churn-2"),
        revision=st.sampled_from([f"{number:02}" for number in range(90)]),
        at=st.integers(0, 99).map(lambda minutes: after(minutes=minutes)),
        message=st.sampled_from(["It fails.", "x" * 800]),
        retried=st.sampled_from([None, None, None, NOW]),
    ),
    max_size=20,
    unique_by=lambda one: one.revision,
)


@given(statuses=st.lists(REJECTIONS, min_size=1, max_size=8))
def test_what_is_remembered_is_bounded_newest_first_each_once_and_what_was_lifted_is_not(
    statuses: Sequence[list[Rejection]],
) -> None:
    memory = Memory()
    for rejected in statuses:
        status = DeploymentStatus(rejected=rejected)
        memory = remembered(memory, status, {})
        assert remembered(memory, status, {}) == memory
        revisions = [one.revision for one in memory.rejected]
        assert len(revisions) == len(set(revisions)) <= MOST_REJECTED
        assert [one.at for one in memory.rejected] == sorted((one.at for one in memory.rejected), reverse=True)
        lifted = {one.revision: max(one.at, one.retried) for one in rejected if one.retried}
        assert all(one.at > lifted.get(one.revision, LONG_AGO) for one in memory.rejected)
        assert all(len(one.message) <= 512 for one in memory.rejected)
        if len(revisions) < MOST_REJECTED:
            assert {one.revision for one in rejected if not one.retried} <= set(revisions)
    assert remembered(memory, DeploymentStatus(), {}).rejected == memory.rejected


async def test_of_deployments_that_are_no_more_the_oldest_are_forgotten_when_another_may_have_to_be_remembered() -> (
    None
):
    kept = await a_memory()

    def left(number: int, **more: Any) -> tuple[ResourceType, Manifest]:
        at = (LONG_AGO + timedelta(seconds=number)).isoformat()
        meta = {**kept["metadata"], "name": f"old-{number:02}", "uid": f"uid-{number}", **more}
        return names.COMPARISONS, {**kept, "metadata": meta, "spec": {**kept["spec"], "rejected": [{"at": at}]}}

    lives = (names.DEPLOYMENTS, as_stored(a_deployment("churn-1", name="old-00")))
    owned = left(99, ownerReferences=[{"kind": "Deployment", "uid": "another", "controller": True}])
    there = [*BOTH, lives, owned, *(left(number) for number in range(67))]
    assert forgets(plan(await seen(in_canary(), *there))) == ["old-01", "old-02"]
    assert forgets(plan(await seen(serving_old(), *there))) == []
    assert forgets(plan(await seen(in_canary(), *there, (names.COMPARISONS, kept)))) == []


# Whoever kills the operator


@pytest.mark.parametrize("cut", ["before all", "after what is kept", "after the status", "after all"])
@pytest.mark.parametrize("looks_are", ["lost", "there"])
@pytest.mark.parametrize("turn", [0, 1])
def test_who_kills_the_operator_at_any_write_loses_no_rejection(turn: int, looks_are: str, cut: str) -> None:
    """The turns are the one that rejects, and the next. Whoever starts then has what was seen since, or not."""
    bad = looks(5, canary=(100, 60), stable=(900, 9))
    there = observed(in_canary(), pods=both(), looks=bad)
    for _ in range(turn):
        there = then(there, plan(there), looks=())
    there = carried_out(there, plan(there), cut)
    if (turn, cut) != (0, "before all"):
        assert plan(made_anew_of(there)).status["candidate"]["modelVersion"] == "churn-1"
    elif looks_are == "lost":
        return  # nobody knows of it
    there = replace(there, reading=replace(there.reading, looks=bad if looks_are == "there" else ()))
    for _ in range(3):
        there = then(there, plan(there), looks=())
    [rejected] = there.resource.status.rejected
    assert (rejected.revision, rejected.metric) == (NEW_REVISION, "errors")
    assert [one.outcome for one in there.resource.status.history] == ["RolledBack"]
    assert [one.revision for one in there.memory.rejected] == [NEW_REVISION]
    rest = plan(there)
    assert (rest.keep, forgets(rest)) == (None, [])
    assert plan(made_anew_of(there)).status["candidate"]["modelVersion"] == "churn-1"


def made_anew_of(there: Observed) -> Observed:
    """What is observed when the Deployment and its versions have been made anew, and churn-1 can be served."""
    resource = a_deployment("churn-2")
    known = there.memory.stable is not None and there.memory.stable.model_version == "churn-1"
    rejected = there.memory.beyond(resource.status)
    fallback = "churn-1" if known else None
    return replace(there, resource=resource, workloads={}, pods={}, rejected=rejected, fallback=fallback)


def carried_out(there: Observed, made: Plan, cut: str) -> Observed:
    """What is observed when the operator has ended so far in a plan, or done all of it. What it saw is gone with it."""
    if cut == "before all":
        return there
    kept = kept_after(there.kept, replace(made, delete=()))
    if cut == "after what is kept":
        return replace(there, kept=kept)
    recorded = then(there, made, looks=())
    return recorded if cut == "after all" else replace(recorded, kept=kept)


@pytest.mark.parametrize("fares", [Fares.FAILING, Fares.CRASHING, Fares.NEVER_READY])
def test_a_rejected_version_never_goes_out_again_however_often_everything_is_replaced(fares: Fares) -> None:
    rollout = {"steps": STEPS, "startupDeadline": "4m"}
    world = Simulation(Random(1), {"churn-1": Fares.WELL, "churn-2": fares}, [10, 10, 10], replicas=3, rollout=rollout)

    def lives(minutes: int) -> list[str]:
        """Which versions have had pods asked for."""
        end, named = world.now + 60 * minutes, set()
        while world.now < end:
            for turn in world.step():
                named |= {one["metadata"]["labels"][names.MODEL_VERSION] for one in turn.plan.create}
        assert not world.restless
        return sorted(named)

    assert lives(5) == ["churn-1"]
    world.want(modelVersion="churn-2")
    assert lives(15) == ["churn-2"]
    for restarted in (False, True):
        world.replace()
        if restarted:
            world.restart()
        assert lives(5) == ["churn-1"]
        stable = world.resource.status.stable
        assert stable
        assert stable.model_version == "churn-1"
        assert world.cluster.ready(stable.revision) == 3
