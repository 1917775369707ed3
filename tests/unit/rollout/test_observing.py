"""What a Deployment takes for its own, and which version it follows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.unit.builders import (
    DEFAULTS,
    NOW,
    AWorld,
    a_deployment,
    a_model_version,
    a_pod,
    a_training_job,
    after,
    as_stored,
    exited,
    metadata,
    waiting,
)
from tests.unit.rollout.test_deciding import wanting
from tests.unit.rollout.world import (
    LONG_AGO,
    NEW,
    NEW_REVISION,
    OLD,
    OLD_REVISION,
    Unmeasured,
    condition,
    dated,
    in_canary,
    serving_old,
    stalled,
    workloads,
)
from upright.api import names
from upright.api.deployment import Deployment
from upright.api.model_version import ModelVersion, Signature
from upright.api.names import run_name
from upright.contract import Key, Manifest, Plan, ResourceType
from upright.kube.conditions import halted, with_obstacle, with_transition_times
from upright.rollout.kind import Deployments
from upright.rollout.modes.realtime import template, workload
from upright.rollout.observe import Observed, observe
from upright.rollout.plan import plan
from upright.rollout.revision import revision
from upright.rollout.sightings import Sightings
from upright.rollout.template import record

THIRD, FOURTH = a_model_version("churn-3"), a_model_version("churn-4")


async def seen(resource: Deployment, *others: tuple[ResourceType, Manifest], now: datetime = NOW) -> Observed:
    return await observe(as_stored(resource), AWorld(*others, now=now), DEFAULTS, Unmeasured(), Sightings())


def a_version(version: ModelVersion, **status: Any) -> tuple[ResourceType, Manifest]:
    stored = as_stored(version)
    return names.MODEL_VERSIONS, {**stored, "status": {**stored["status"], **status}}


def a_workload(
    resource: Deployment,
    *,
    owner: str | None = "uid-of-churn",
    made_for: str | None = "uid-of-churn",
    replicas: int = 3,
    created: str = "2026-11-22T11:00:00Z",
) -> dict[str, Any]:
    """Of churn-1."""
    made = workload(resource, OLD_REVISION, template(resource, OLD, OLD_REVISION, DEFAULTS), replicas)
    return {
        **made,
        "metadata": {
            **made["metadata"],
            "uid": "uid-of-workload",
            "creationTimestamp": created,
            "annotations": {names.DEPLOYMENT_UID: made_for} if made_for else {},
            "ownerReferences": [{"controller": True, "uid": owner}] if owner else [],
        },
    }


def a_record_of(owned: Manifest, *, owned_by_us: bool = True) -> dict[str, Any]:
    made = dict(record(serving_old(), OLD_REVISION, owned["spec"]["template"]))
    nobody: dict[str, Any] = {} if owned_by_us else {"ownerReferences": []}
    return {**made, "metadata": {**made["metadata"], "uid": "uid-of-record", **nobody}}


def a_pod_of(made_for: str | None, *, created: str = "2026-11-22T11:00:05Z", **more: Any) -> Manifest:
    labels = {names.DEPLOYMENT: "churn", names.REVISION: OLD_REVISION, "pod-template-hash": "8d7867d7"}
    pod = a_pod("churn-1-0", labels=labels | ({names.DEPLOYMENT_UID: made_for} if made_for else {}))
    return {**pod, "metadata": {**pod["metadata"], "creationTimestamp": created, **more}}


def made_by(workload: str) -> dict[str, Any]:
    """The owner of a pod: the ReplicaSet of a workload."""
    name = f"{workload}-8d7867d7"
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": f"uid-of-{name}", "controller": True}


# Whose pods?


@pytest.mark.parametrize(
    ("owner", "made_for", "pod", "counts"),
    [
        ("uid-of-churn", "uid-of-churn", a_pod_of("uid-of-churn"), True),
        ("uid-of-churn", "uid-of-churn", a_pod_of("uid-of-a-deleted-one"), False),
        ("uid-of-churn", "uid-of-churn", a_pod_of("uid-of-churn", created="2026-11-22T10:59:59Z"), True),
        ("uid-of-churn", "uid-of-churn", a_pod_of("uid-of-churn", deletionTimestamp="2026-11-22T11:59:00Z"), False),
        (None, "uid-before-the-backup", a_pod_of("uid-before-the-backup"), True),
        ("uid-of-churn", None, a_pod_of("uid-of-churn"), True),  # somebody has dropped the annotation
        ("uid-of-churn", None, a_pod_of("uid-of-a-deleted-one"), False),
        ("uid-of-a-deleted-one", "uid-of-a-deleted-one", a_pod_of("uid-of-a-deleted-one"), False),
    ],
)
async def test_pods_count_by_the_workload_that_they_were_made_for(
    owner: str | None, made_for: str | None, pod: Manifest, counts: bool
) -> None:
    owned = a_workload(serving_old(), owner=owner, made_for=made_for)
    found = await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.PODS, pod))
    assert bool(found.pods.get(OLD_REVISION)) is counts


@pytest.mark.parametrize(
    ("others", "waits"),
    [
        ([], False),
        ([{"running": {"startedAt": "2026-11-22T11:00:20Z"}}], True),
        ([exited(1)], True),
        ([exited(128, reason="StartError")], False),
    ],
)
async def test_what_runs_in_one_pod_of_a_workload_is_kept_from_it_in_another_by_the_cluster(
    others: list[Any], waits: bool
) -> None:
    states = [waiting("CreateContainerConfigError", 'secret "keys" not found'), *others]
    there = [a_pod_of("uid-of-churn", name=f"churn-1-{number}") for number, _ in enumerate(states)]
    for pod, state in zip(there, states, strict=True):
        pod["status"]["containerStatuses"] = [{"name": "serve", "image": "i", "state": state}]
    owned = a_workload(serving_old())
    found = await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), *((names.PODS, pod) for pod in there))
    assert next(pod for pod in found.pods[OLD_REVISION] if pod.name == "churn-1-0").waits is waits


@pytest.mark.parametrize(
    ("state", "image", "waits"),
    [
        (waiting("ErrImagePull", "manifest unknown"), "i", True),
        (waiting("ErrImagePull", "manifest unknown"), "another", False),
        (waiting("CreateContainerConfigError", 'secret "keys" not found'), "i", False),
    ],
)
async def test_an_image_that_a_pod_of_another_version_runs_was_there(state: Any, image: str, waits: bool) -> None:
    found, there = a_workload(serving_old()), list[tuple[ResourceType, Manifest]]()
    for version, one in ((OLD_REVISION, state), (NEW_REVISION, {"running": {"startedAt": "2026-11-22T11:00:20Z"}})):
        labels = {**found["metadata"]["labels"], names.REVISION: version}
        owned = {**found, "metadata": {**found["metadata"], "name": f"churn-{version}", "labels": labels}}
        pod = a_pod_of("uid-of-churn", name=version, labels={**labels, names.DEPLOYMENT_UID: "uid-of-churn"})
        pod["spec"]["containers"][0]["image"] = image if version == OLD_REVISION else "i"
        pod["status"]["containerStatuses"] = [{"name": "serve", "image": "i", "state": one}]
        there += [(names.APPS_DEPLOYMENTS, owned), (names.PODS, pod)]
    [hindered] = (await seen(serving_old(), *there)).pods[OLD_REVISION]
    assert hindered.waits is waits


@pytest.mark.parametrize(
    ("sidecar", "revision_name", "injected"),
    [
        (None, OLD_REVISION, {"istio-init", "istio-proxy"}),
        ("istio-proxy", "", {"istio-init"}),  # the user's own
        ("logs", "", {"istio-init", "istio-proxy"}),
        ("logs", OLD_REVISION, set()),  # of an earlier spec.serving, which may have named it
    ],
)
async def test_what_others_put_into_pods_is_told_from_what_was_asked_for(
    sidecar: str | None, revision_name: str, injected: set[str]
) -> None:
    serving = {"pod": {"containers": [{"name": sidecar}]}} if sidecar else {}
    resource = serving_old(serving=serving)
    revision_name = revision_name or revision(OLD, resource.spec.serving)
    owned, pod = a_workload(serving_old()), dict(a_pod_of("uid-of-churn"))
    for one in (owned, pod):
        one["metadata"]["labels"] = {**one["metadata"]["labels"], names.REVISION: revision_name}
    owned["metadata"]["name"] = f"churn-{revision_name}"
    pod["spec"] = {
        "initContainers": [{"name": "istio-init"}],
        "containers": [{"name": name} for name in ("serve", "istio-proxy")],
    }
    statuses = {
        f"{kind}Statuses": [{"name": one["name"]} for one in pod["spec"][f"{kind}s"]]
        for kind in ("initContainer", "container")
    }
    pod["status"] = {**pod["status"], **statuses}
    known = [a_version(OLD), (names.APPS_DEPLOYMENTS, owned), (names.PODS, pod)]
    [found] = (await seen(resource, *known)).pods[revision_name]
    assert {one.name for one in found.containers if one.injected} == injected


def a_pod_that_is(phase: str, reason: str = "", *, minute: int = 1, uid: str = "uid-of-churn") -> Manifest:
    ran = [{"name": "serve", "state": exited(137)}]
    status = {"phase": phase, "reason": reason, "conditions": [], "containerStatuses": ran}
    pod = a_pod_of(uid, created=f"2026-11-22T11:{minute:02}:00Z", name=f"{reason or phase}-{minute}")
    return {**pod, "status": status}


@pytest.mark.parametrize("candidate", [False, True])
async def test_of_pods_that_failed_as_a_whole_the_evicted_count_and_the_youngest_tells_why(candidate: bool) -> None:
    there = [
        a_pod_that_is("Failed", "OutOfcpu", minute=4),
        a_pod_that_is("Failed", "Evicted", minute=1),  # of an earlier attempt, where it is the candidate's
        a_pod_that_is("Failed", "Evicted", minute=3),
        a_pod_that_is("Failed", "Evicted", minute=5, uid="uid-of-a-deleted-one"),
        a_pod_that_is("Succeeded", minute=6),
        a_pod_that_is("Running", minute=3),
        *(a_pod_that_is("Pending", minute=minute, uid="uid-of-a-deleted-one") for minute in range(10, 50)),
    ]
    resource = serving_old()
    if candidate:
        arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": "2026-11-22T11:02:00Z"}
        resource = a_deployment("churn-1", status={"candidate": arm})
    owned = a_workload(resource, created="2026-11-22T11:02:00Z")
    found = await seen(resource, (names.APPS_DEPLOYMENTS, owned), *((names.PODS, pod) for pod in there))
    assert [pod.name for pod in found.pods[OLD_REVISION]] == ["Running-3"]
    assert [pod.name for pod in found.evicted[OLD_REVISION]] == ["Evicted-1", "Evicted-3"][candidate:]
    assert found.lost[OLD_REVISION].name == "OutOfcpu-4"
    assert 1 <= len(found.strangers) < 10, "a few are enough"


async def test_pods_of_an_older_operator_without_the_label_still_count() -> None:
    owned = a_workload(serving_old())
    owned["metadata"].pop("annotations")
    found = await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.PODS, a_pod_of(None)))
    assert found.pods[OLD_REVISION]


async def test_no_version_goes_out_while_pods_of_another_revision_are_still_asked() -> None:
    stray = a_pod("stray", labels={names.DEPLOYMENT: "churn", names.REVISION: "of-before"})
    found = await seen(
        serving_old(),
        a_version(OLD),
        a_version(NEW),
        (names.APPS_DEPLOYMENTS, a_workload(serving_old())),
        (names.PODS, stray),
    )
    made = plan(found)
    assert "candidate" not in made.status
    assert "stray" in condition(made, "Ready")["message"]


async def test_what_somebody_else_makes_in_the_name_of_a_deployment_is_not_its_own() -> None:
    """In another namespace, where whoever may read the Deployment can name it as the owner."""

    def elsewhere(one: Manifest) -> Manifest:
        meta = {
            **one["metadata"],
            "namespace": "elsewhere",
            "uid": "theirs",
            "annotations": {names.TEMPLATE_DIGEST: "x"},
        }
        return {**one, "metadata": meta, **({"data": {"spec": "theirs"}} if "data" in one else {})}

    workload = a_workload(serving_old())
    ours = [(names.APPS_DEPLOYMENTS, workload), (names.CONTROLLER_REVISIONS, a_record_of(workload))]
    theirs = [(of, elsewhere(one)) for of, one in ours]
    pod = (names.PODS, a_pod_of("uid-of-churn"))
    alone = await seen(serving_old(), *ours, pod)
    assert alone.pods[OLD_REVISION]
    for there in ([*ours, *theirs], [*theirs, *ours]):
        assert await seen(serving_old(), *there, pod) == alone
    nothing = await seen(serving_old(), *theirs)
    assert (nothing.workloads, nothing.records, nothing.templates) == ({}, {}, {})


async def test_what_was_orphaned_is_taken_up() -> None:
    orphan = a_workload(serving_old(), owner=None)
    another = {"kind": "ConfigMap", "uid": "uid-of-bundle"}
    orphan = {**orphan, "metadata": {**orphan["metadata"], "ownerReferences": [another]}}
    kept = a_record_of(orphan, owned_by_us=False)
    found = await seen(serving_old(), (names.APPS_DEPLOYMENTS, orphan), (names.CONTROLLER_REVISIONS, kept))
    made = plan(found)
    assert [[owner["uid"] for owner in one.value][:-1] for one in made.correct] == [["uid-of-bundle"], []]
    assert [(one.target.uid, one.path) for one in made.correct] == [
        ("uid-of-workload", "/metadata/ownerReferences"),
        ("uid-of-record", "/metadata/ownerReferences"),
    ]
    assert not made.create


@pytest.mark.parametrize(
    ("verdicts", "serves"),
    [
        ([], "churn-1"),  # churn-2, which the spec wants, was going out beside it
        ([{"outcome": "Stable", "revision": OLD_REVISION}], "churn-1"),
        (
            [
                {"outcome": "Stable", "revision": OLD_REVISION},
                {"outcome": "Stable", "revision": NEW_REVISION, "at": LONG_AGO.isoformat()},  # on its way out again
            ],
            "churn-1",
        ),
        ([{"outcome": "Rejected", "revision": NEW_REVISION, "message": "It fails."}], "churn-1"),
    ],
)
async def test_what_was_stable_last_is_taken_up_before_what_has_more_pods_and_never_what_was_rejected(
    verdicts: list[dict[str, str]], serves: str
) -> None:
    found = await seen(a_deployment("churn-2"), *orphaned(verdicts, churn_1=2, churn_2=3))
    assert plan(found).status["stable"]["modelVersion"] == serves


@pytest.mark.parametrize("restored", [True, False])
async def test_what_was_going_out_when_the_backup_was_made_goes_out_again_and_is_not_taken_for_stable(
    *, restored: bool
) -> None:
    """Pods start, and the versions may come after the Deployment."""
    there = [one for one in orphaned([], churn_1=0, churn_2=0) if restored or one[0] is not names.MODEL_VERSIONS]
    made = plan(await seen(a_deployment("churn-2"), *there))
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert f"churn-{OLD_REVISION}" not in [one.name for one in made.delete]


@pytest.mark.parametrize(("old", "new", "stable"), [(0, 3, "churn-2"), (3, 0, "churn-1"), (1, 3, "churn-1")])
async def test_what_answers_is_stable_before_what_does_not_whichever_the_spec_wants(
    old: int, new: int, stable: str
) -> None:
    """It was taken back in Git while nothing was recorded, or goes out."""
    made = plan(await seen(a_deployment("churn-2"), *orphaned([], churn_1=old, churn_2=new)))
    assert made.status["stable"]["modelVersion"] == stable


async def test_a_first_version_that_was_given_up_is_not_taken_for_stable_while_its_workload_is_still_there() -> None:
    """Its deletion was refused, or the operator ended before it."""
    resource = a_deployment("churn-2", status={"phase": "Pending"})
    made = plan(await seen(resource, *orphaned([], churn_1=0)))
    assert "stable" not in made.status
    assert f"churn-{OLD_REVISION}" in [one.name for one in made.delete]


async def test_of_what_only_bears_its_label_no_more_versions_are_read_than_could_be_its_own() -> None:
    there = [(names.APPS_DEPLOYMENTS, a_workload(serving_old())), a_version(OLD)]
    for number in range(1, 31):
        stranger = a_workload(serving_old(), owner=None, created="2026-11-22T11:30:00Z")
        labels = {**stranger["metadata"]["labels"], names.REVISION: f"{number}", names.MODEL_VERSION: f"a-{number}"}
        stranger["metadata"] |= {"name": f"churn-{number}", "labels": labels}
        there += [(names.APPS_DEPLOYMENTS, stranger), a_version(a_model_version(f"a-{number}"))]
    found = await seen(a_deployment("churn-2"), *there)
    assert "churn-1" in found.versions
    assert len(found.versions) == 8


def orphaned(verdicts: list[dict[str, str]], **ready: int) -> list[tuple[ResourceType, Manifest]]:
    """Versions that remember this, workloads without an owner, and so many of their pods that answer."""
    said = [{"deployment": "churn", "at": NOW.isoformat(), **verdict} for verdict in verdicts]
    there: list[tuple[ResourceType, Manifest]] = [a_version(THIRD)]
    for version, of in ((OLD, OLD_REVISION), (NEW, NEW_REVISION)):
        there.append(a_version(version, verdicts=[one for one in said if one["revision"] == of]))
        if (count := ready.get(version.metadata.name.replace("-", "_"))) is None:
            continue
        orphan = a_workload(serving_old(), owner=None)
        labels = {names.DEPLOYMENT: "churn", names.REVISION: of, names.MODEL_VERSION: version.metadata.name}
        orphan["metadata"] |= {"name": f"churn-{of}", "labels": labels}
        of_ours = {**labels, names.DEPLOYMENT_UID: "uid-of-churn"}
        there.append((names.APPS_DEPLOYMENTS, orphan))
        there += [(names.PODS, a_pod(f"{of}-{number}", labels=of_ours)) for number in range(count)]
    return there


WAS_STABLE = {"outcome": "Stable", "revision": OLD_REVISION, "at": LONG_AGO.isoformat()}
WAS_REJECTED = {"outcome": "Rejected", "revision": NEW_REVISION, "message": "It fails."}


@pytest.mark.parametrize(
    ("verdicts", "ready", "wanted", "stable", "candidate", "leaves", "goes"),
    [
        ([WAS_STABLE], {"churn_1": 1, "churn_2": 3}, "churn-3", "churn-1", "churn-2", True, False),
        ([WAS_STABLE], {"churn_1": 1, "churn_2": 3}, "churn-1", "churn-1", "churn-2", True, False),
        ([WAS_STABLE], {"churn_1": 1, "churn_2": 3}, "churn-2", "churn-1", "churn-2", None, False),
        ([WAS_STABLE], {"churn_1": 1, "churn_2": 3}, "churn-2, paused", "churn-1", "churn-2", True, False),
        ([WAS_STABLE], {"churn_1": 3, "churn_2": 3}, "churn-3", "churn-1", "churn-3", None, True),
        ([WAS_STABLE], {"churn_1": 1, "churn_2": 0}, "churn-3", "churn-1", "churn-3", None, True),
        # what was stable last does not answer yet
        ([WAS_STABLE], {"churn_1": 0, "churn_2": 0}, "churn-2", "churn-1", "churn-2", None, False),
        ([WAS_STABLE], {"churn_1": 0, "churn_2": 0}, "churn-2, paused", "churn-1", None, None, True),
        ([WAS_STABLE], {"churn_1": 0, "churn_2": 3}, "churn-2", "churn-1", "churn-2", None, False),
        ([WAS_STABLE], {"churn_1": 0, "churn_2": 3}, "churn-3", "churn-1", "churn-2", True, False),
        # only a rejected one answers
        ([WAS_STABLE, WAS_REJECTED], {"churn_2": 3}, "churn-2", "churn-1", "churn-2", True, False),
        ([WAS_STABLE, WAS_REJECTED], {"churn_1": 0, "churn_2": 3}, "churn-2", "churn-1", "churn-2", True, False),
        ([WAS_STABLE, WAS_REJECTED], {"churn_2": 3}, "churn-1", "churn-1", "churn-2", True, False),
        ([WAS_REJECTED], {"churn_2": 3}, "churn-3", "churn-2", "churn-3", None, False),
        ([WAS_REJECTED], {"churn_2": 3}, "churn-2", "churn-2", None, None, False),
    ],
)
async def test_what_carries_traffic_and_has_lost_its_status_goes_only_as_other_pods_come(
    verdicts: Any, ready: Any, wanted: str, stable: str, candidate: str | None, leaves: bool | None, goes: bool
) -> None:
    named, _, paused = wanted.partition(", ")
    resource = a_deployment(named, replicas=3, paused=bool(paused))
    made = plan(await seen(resource, *orphaned(verdicts, **ready)))
    arm = made.status.get("candidate", {})
    assert made.status["stable"]["modelVersion"] == stable
    assert (arm.get("modelVersion"), arm.get("leaving")) == (candidate, leaves)
    assert [one.name for one in made.delete] == [f"churn-{NEW_REVISION}"] * goes
    if leaves:
        later = a_deployment(named, replicas=3, paused=bool(paused), status=made.status)
        still = plan(await seen(later, *orphaned(verdicts, **ready)))
        assert not still.delete
        assert ("leaving" in still.status["candidate"]) is (named != "churn-2" or WAS_REJECTED in verdicts)
        gone = plan(await seen(later, *orphaned(verdicts, **{**ready, "churn_1": 3})))
        assert "candidate" not in gone.status or "leaving" not in gone.status["candidate"]


@pytest.mark.parametrize("answering", [{"churn_2": 3}, {"churn_1": 0, "churn_2": 3}])
async def test_what_follows_a_model_goes_back_to_what_was_stable_before_the_rejected_version(answering: Any) -> None:
    there = [one for one in orphaned([WAS_STABLE, WAS_REJECTED], **answering) if one != a_version(THIRD)]
    status: Any = {}
    for _ in range(3):
        made = plan(await seen(a_deployment(None, latest={"model": "churn"}, replicas=3, status=status), *there))
        status = made.status
        assert (status["stable"]["modelVersion"], status["candidate"]["modelVersion"]) == ("churn-1", "churn-2")
        assert not made.delete


async def test_what_was_stable_last_is_taken_up_without_replicas() -> None:
    made = plan(await seen(a_deployment("churn-2", replicas=0), *orphaned([WAS_STABLE], churn_1=0)))
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert f"churn-{OLD_REVISION}" not in [one.name for one in made.delete]


async def test_an_orphaned_workload_that_serves_goes_on_although_another_version_is_wanted_by_now() -> None:
    orphan = a_workload(serving_old(), owner=None)
    pod = a_pod_of("uid-of-churn")
    objects = (a_version(OLD), a_version(NEW), (names.APPS_DEPLOYMENTS, orphan), (names.PODS, pod))
    made = plan(await seen(a_deployment("churn-2", replicas=3), *objects))
    assert made.status["stable"]["modelVersion"] == "churn-1"
    assert not [target for target in made.delete if target.type == names.APPS_DEPLOYMENTS]


@pytest.mark.parametrize(
    ("since", "workload", "pod", "counts"),
    [
        ("10:59:58.7", "10:59:59", "11:00:00", True),
        ("10:59:58.7", "10:59:59", "10:59:50", False),  # of an earlier attempt
        ("10:59:58.7", "11:30:00", "10:59:58", True),  # the workload was made again, and has taken over its pods
        ("10:59:58.7", "11:30:00", "10:59:50", False),
        ("11:05:00", "10:59:59", "11:00:00", True),  # the operator's clock is ahead
    ],
)
async def test_pods_of_an_earlier_attempt_do_not_count_for_the_candidate(
    since: str, workload: str, pod: str, counts: bool
) -> None:
    day = "2026-11-22T{}Z".format
    status = {"candidate": {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": day(since)}}
    owned = a_workload(serving_old(), created=day(workload))
    theirs = a_pod_of("uid-of-churn", created=day(pod))
    found = await seen(a_deployment("churn-1", status=status), (names.APPS_DEPLOYMENTS, owned), (names.PODS, theirs))
    assert bool(found.pods[OLD_REVISION]) is counts
    assert bool(found.strangers) is not counts


@pytest.mark.parametrize("owner", ["uid-of-churn", None])
@pytest.mark.parametrize("candidate", [True, False])
async def test_a_copy_of_a_workload_is_none_of_it_and_neither_are_its_pods(
    owner: str | None, *, candidate: bool
) -> None:
    """Made to look into it, of another image and with all the labels: it sorts before the workload."""
    owned = a_workload(serving_old(), created="2026-11-22T11:00:00Z")
    copied = a_workload(serving_old(), owner=owner)
    copied["metadata"] |= {"name": "aaa-debug", "uid": "uid-of-the-copy"}
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": "2026-11-22T11:00:00Z"}
    status = {"candidate": {**arm, "step": 0}} if candidate else {"stable": arm}
    makers = {"churn-1-0": f"churn-{OLD_REVISION}", "aaa-debug-0": "aaa-debug"}
    pods = [a_pod_of("uid-of-churn", name=name, ownerReferences=[made_by(maker)]) for name, maker in makers.items()]
    workloads = [(names.APPS_DEPLOYMENTS, one) for one in (copied, owned)]
    resource = a_deployment("churn-1", status=status, replicas=1)
    found = await seen(resource, a_version(OLD), *workloads, *((names.PODS, pod) for pod in pods))
    assert found.workloads[OLD_REVISION]["metadata"]["name"] == f"churn-{OLD_REVISION}"
    assert [pod.name for pod in found.pods[OLD_REVISION]] == ["churn-1-0"]
    assert list(found.strangers) == ["aaa-debug-0"]
    made = plan(found)
    said = "Pods aaa-debug-0 bear the labels of churn-1 and get its requests, but are not of its workload churn-"
    assert said in (stalled(made) or "")
    assert not stalled(plan(replace(found, copies={})))


@pytest.mark.parametrize("maker", [{"name": f"churn-{OLD_REVISION}-evil"}, {"kind": "StatefulSet"}])
async def test_pods_of_what_is_called_almost_like_the_workload_are_none_of_it(maker: Mapping[str, str]) -> None:
    owned = a_workload(serving_old())
    pod = a_pod_of("uid-of-churn", ownerReferences=[{**made_by(f"churn-{OLD_REVISION}"), **maker}])
    found = await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.PODS, pod))
    assert not found.pods.get(OLD_REVISION)
    assert list(found.strangers) == ["churn-1-0"]


async def test_a_pod_of_a_copy_that_failed_is_no_failure_of_the_version() -> None:
    owned = a_workload(serving_old())
    failed = a_pod_of("uid-of-churn", ownerReferences=[made_by("churn-debug")])
    ended = {**failed, "status": {**failed["status"], "phase": "Failed", "reason": "UnexpectedAdmissionError"}}
    found = await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.PODS, ended))
    assert not found.lost
    assert not found.copies


@pytest.mark.parametrize("owned", [True, False])
async def test_a_pod_that_its_replica_set_has_released_is_no_pod_of_the_version(*, owned: bool) -> None:
    """Somebody looks into it, and another is there in its place. Where nobody owns any, all count."""
    makers = [[made_by(f"churn-{OLD_REVISION}")] if owned else [], []]
    pods = [
        a_pod_of("uid-of-churn", name=f"churn-1-{number}", uid=f"pod-{number}", ownerReferences=owners)
        for number, owners in enumerate(makers)
    ]
    owned_by_us = (names.APPS_DEPLOYMENTS, a_workload(serving_old()))
    found = await seen(serving_old(), owned_by_us, *((names.PODS, pod) for pod in pods))
    assert [pod.name for pod in found.pods[OLD_REVISION]] == (["churn-1-0"] if owned else ["churn-1-0", "churn-1-1"])
    assert list(found.strangers) == (["churn-1-1"] if owned else [])


@pytest.mark.parametrize(
    ("pod", "now", "makers", "counts"),
    [
        ("10:59:57", "11:01:00", ["rs-new"], True),
        ("10:59:57", "11:00:30", ["rs-new"], False),  # it may be an earlier attempt's, and about to go
        ("10:59:57", "11:01:00", ["rs-old", "rs-new"], False),  # another has made pods since
        ("10:58:50", "11:01:00", ["rs-new"], False),  # no clock is that wrong
        ("10:59:57", "11:01:00", [None], False),  # nobody says whose it is
    ],
)
async def test_pods_of_a_server_whose_clock_is_a_little_behind_count_for_the_candidate(
    pod: str, now: str, makers: list[str | None], counts: bool
) -> None:
    day = "2026-11-22T{}Z".format
    status = {"candidate": {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": day("10:59:59.7")}}
    owned = a_workload(serving_old(), created=day("11:00:00"))
    pods = [
        a_pod_of(
            "uid-of-churn",
            created=day(created),
            name=f"churn-1-{number}",
            ownerReferences=[{**made_by(f"churn-{OLD_REVISION}"), "uid": maker}] if maker else [],
        )
        for number, (created, maker) in enumerate(zip((pod, "11:00:05"), makers, strict=False))
    ]
    objects = [(names.APPS_DEPLOYMENTS, owned), *((names.PODS, one) for one in pods)]
    found = await seen(a_deployment("churn-1", status=status), *objects, now=datetime.fromisoformat(day(now)))
    assert ("churn-1-0" in {one.name for one in found.pods[OLD_REVISION]}) is counts


# What is ours is put back


async def test_what_the_pods_are_made_of_is_kept_as_the_api_server_filled_it_in() -> None:
    owned = a_workload(serving_old())
    owned["spec"]["template"]["spec"]["dnsPolicy"] = "ClusterFirst"
    made = plan(await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned)))
    [kept] = [one for one in made.create if one["kind"] == "ControllerRevision"]
    assert kept["data"]["spec"]["dnsPolicy"] == "ClusterFirst"


def kept_and(change: Mapping[str, Any], **labels: str) -> tuple[Manifest, Manifest]:
    """The record of a workload, and the workload with something changed."""
    owned = a_workload(serving_old())
    kept = a_record_of(owned)
    pods = owned["spec"]["template"]
    changed = {**pods, "metadata": {**pods["metadata"], **labels}, "spec": {**pods["spec"], **change}}
    return kept, {**owned, "spec": {**owned["spec"], "template": changed}}


@pytest.mark.parametrize("change", [{"hostNetwork": True}, {"containers": [{"name": "serve", "image": "another"}]}])
async def test_a_pod_template_that_was_changed_by_hand_is_put_back_and_told(change: Mapping[str, Any]) -> None:
    kept, owned = kept_and(change)
    made = plan(await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.CONTROLLER_REVISIONS, kept)))
    [correction] = made.correct
    assert correction.path == "/spec/template"
    assert correction.value["spec"] == kept["data"]["spec"]
    assert correction.event
    assert correction.event.reason == "Restored"


async def test_a_workload_that_somebody_has_paused_goes_on_and_that_is_told() -> None:
    kept, owned = kept_and({})
    owned["spec"]["paused"] = True
    made = plan(await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.CONTROLLER_REVISIONS, kept)))
    [correction] = made.correct
    assert (correction.path, correction.value) == ("/spec/paused", False)
    assert correction.event
    assert correction.event.reason == "Restored"
    assert "Set spec.paused of Deployment churn instead" in correction.event.message


@pytest.mark.parametrize(
    ("field", "given", "right"),
    [
        ("strategy", {"type": "Recreate"}, "RollingUpdate"),
        ("minReadySeconds", 3600, "0"),
    ],
)
async def test_how_the_pods_of_a_workload_follow_its_template_is_put_back(field: str, given: Any, right: str) -> None:
    kept, owned = kept_and({})
    usual = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    owned["spec"]["strategy"] = usual  # as the API server fills it in
    there = (names.CONTROLLER_REVISIONS, kept)
    assert not plan(await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), there)).correct
    owned["spec"][field] = given
    [correction] = plan(await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), there)).correct
    assert correction.path == f"/spec/{field}"
    assert right in str(correction.value)
    assert correction.event
    assert "it is put back" in correction.event.message


@pytest.mark.parametrize(
    ("written", "edited"),
    [
        ({"f:spec": {"f:template": {"f:spec": {"f:containers": {}}}}}, True),
        ({"f:spec": {"f:template": {"f:metadata": {"f:labels": {}}}}}, True),
        ({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {}}}}}, False),
        ({"f:spec": {"f:replicas": {}}}, False),
    ],
)
async def test_what_was_edited_by_hand_before_its_record_is_not_recorded_but_put_back(
    written: dict[str, Any], *, edited: bool
) -> None:
    resource = serving_old()
    owned = a_workload(resource)
    owned["spec"]["template"]["spec"]["containers"][0]["image"] = "evil:1"
    writers = [{"manager": "upright", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {}}}}}]
    owned["metadata"]["managedFields"] = [*writers, {"manager": "kubectl-edit", "fieldsV1": written}]
    made = plan(await seen(resource, a_version(OLD), (names.APPS_DEPLOYMENTS, owned)))
    recorded = [one["kind"] for one in made.create]
    assert recorded == ([] if edited else ["ControllerRevision"])
    images = [one.value["spec"]["containers"][0]["image"] for one in made.correct if one.path == "/spec/template"]
    assert images == (
        [template(resource, OLD, OLD_REVISION, DEFAULTS)["spec"]["containers"][0]["image"]] if edited else []
    )


async def test_a_service_of_a_deleted_namesake_is_waited_for_and_not_said_to_be_somebody_elses() -> None:
    def service(name: str, owner: dict[str, Any]) -> tuple[ResourceType, Manifest]:
        return names.SERVICES, {"metadata": metadata(name, ownerReferences=[{"controller": True, "uid": "x", **owner}])}

    earlier = {"apiVersion": "upright.dev/v1alpha1", "kind": "Deployment", "name": "churn"}
    found = await seen(serving_old(), service("churn", earlier), service("churn-stable", {**earlier, "name": "other"}))
    assert found.taken == ["churn-stable"]


async def test_pods_may_be_started_again_by_hand() -> None:
    kept, owned = kept_and({})
    owned["spec"]["template"]["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "2026"}
    made = plan(await seen(serving_old(), (names.APPS_DEPLOYMENTS, owned), (names.CONTROLLER_REVISIONS, kept)))
    assert not made.correct


async def test_a_lost_revision_comes_back_as_it_was_and_not_as_the_spec_says_today() -> None:
    kept, _ = kept_and({})
    changed = serving_old(serving={"image": "another:2"})
    made = plan(await seen(changed, a_version(OLD), (names.CONTROLLER_REVISIONS, kept)))
    [again] = [one for one in made.create if one["kind"] == "Deployment"]
    assert again["spec"]["template"] == kept["data"]
    assert any(event.reason == "Restored" for event in made.events)


async def test_what_is_being_deleted_and_held_serves_until_it_is_gone() -> None:
    """Somebody's finalizer holds the workload of the stable version: its pods answer, and nothing of it was lost."""
    kept, owned = kept_and({})
    held = {**owned, "metadata": {**owned["metadata"], **GOING}}
    mine = (names.CONTROLLER_REVISIONS, kept), (names.PODS, a_pod_of("uid-of-churn"))
    found = await seen(serving_old(replicas=1), a_version(OLD), (names.APPS_DEPLOYMENTS, held), *mine)
    made = plan(found)
    assert made.status["stable"]["readyReplicas"] == 1
    assert not found.strangers
    [again] = made.create  # of which the shell says that it is being deleted, and by whom it is held
    assert again["spec"]["template"] == kept["data"]
    assert not made.scale
    assert not any(event.reason == "Restored" for event in made.events)
    gone = plan(await seen(serving_old(replicas=1), a_version(OLD), *mine))
    assert any(event.reason == "Restored" for event in gone.events)


@pytest.mark.parametrize(("began", "counts"), [("2026-11-22T11:58:00Z", True), ("2026-11-22T11:59:30Z", False)])
async def test_what_was_going_before_the_candidate_began_is_of_an_earlier_attempt(began: str, *, counts: bool) -> None:
    owned = a_workload(serving_old())
    arm = {"modelVersion": "churn-1", "revision": OLD_REVISION, "since": began}
    resource = a_deployment("churn-1", status={"candidate": {**arm, **UNDER_WAY}})
    held = {**owned, "metadata": {**owned["metadata"], **GOING}}
    pod = (names.PODS, a_pod_of("uid-of-churn"))
    found = await seen(resource, a_version(OLD), (names.APPS_DEPLOYMENTS, held), pod)
    assert (list(found.workloads) == [OLD_REVISION]) is counts
    assert (not found.strangers) is counts


async def test_a_lost_revision_of_which_nothing_is_known_serves_no_more() -> None:
    changed = serving_old(serving={"image": "another:2"})
    made = plan(await seen(changed, a_version(OLD), a_version(NEW)))
    assert "stable" not in made.status
    assert made.status["candidate"]["modelVersion"] == "churn-2"
    assert any(event.reason == "RevisionLost" for event in made.events)


class Hidden(AWorld):
    """A cluster in which somebody has given workloads and records another `managed-by`, by which they are watched."""

    def all(self, type: ResourceType, namespace: str) -> list[Manifest]:
        return [] if self._hides(type) else super().all(type, namespace)

    def owned(self, type: ResourceType, namespace: str, owner_uid: str) -> list[Manifest]:
        return [] if self._hides(type) else super().owned(type, namespace, owner_uid)

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return AWorld(*self._manifests).get(type, namespace, name)

    def _hides(self, type: ResourceType) -> bool:
        return type in (names.APPS_DEPLOYMENTS, names.CONTROLLER_REVISIONS)


@pytest.mark.parametrize("there", ["workload", "record", "both"])
async def test_what_somebody_has_hidden_by_other_labels_is_not_taken_for_gone(there: str) -> None:
    kept, owned = kept_and({})
    changed = serving_old(serving={"image": "another:2"})
    pods = [(names.PODS, a_pod(f"a-{n}", labels={**owned["spec"]["template"]["metadata"]["labels"]})) for n in range(3)]
    workload, record = (names.APPS_DEPLOYMENTS, owned), (names.CONTROLLER_REVISIONS, kept)
    world = Hidden(
        a_version(OLD), *pods, *([workload] if there != "record" else []), *([record] if there != "workload" else [])
    )
    found = await observe(as_stored(changed), world, DEFAULTS, Unmeasured(), Sightings())
    made = plan(found)
    assert made.status["stable"]["revision"] == OLD_REVISION
    assert not any(event.reason == "RevisionLost" for event in made.events)
    [again] = [one for one in made.create if one["kind"] == "Deployment" and OLD_REVISION in one["metadata"]["name"]]
    assert again["metadata"]["labels"][names.REVISION] == OLD_REVISION
    assert again["spec"]["template"] == kept["data"]
    assert len(found.pods.get(OLD_REVISION, ())) == (0 if there == "record" else 3)


async def test_replicas_changed_by_hand_are_put_back_and_told_and_our_own_changes_are_not() -> None:
    recorded = serving_old(status={}, stable={"replicas": 3})
    made = plan(await seen(recorded, a_version(OLD), (names.APPS_DEPLOYMENTS, a_workload(recorded, replicas=1))))
    [scale] = made.scale
    assert (scale.value, scale.event and scale.event.reason) == (3, "Restored")
    ours = serving_old(stable={"replicas": 1})
    made = plan(await seen(ours, a_version(OLD), (names.APPS_DEPLOYMENTS, a_workload(ours, replicas=1))))
    assert [scale.event for scale in made.scale] == [None]


# Rejections outlive the object


def verdict(outcome: str, version: ModelVersion, *, minutes: int = 0) -> dict[str, Any]:
    return {
        "deployment": "churn",
        "revision": revision(version, a_deployment().spec.serving),
        "outcome": outcome,
        "at": (NOW + timedelta(minutes=minutes)).isoformat(),
        "message": "errors is 25 %",
    }


@pytest.mark.parametrize("model", ["churn", "churn-lgb"])
async def test_a_deployment_that_is_made_anew_remembers_what_was_rejected_and_serves_what_served(model: str) -> None:
    versions = (
        a_version(a_model_version("churn-1", model=model), verdicts=[verdict("Stable", OLD)]),
        a_version(NEW, verdicts=[verdict("Rejected", NEW)]),
    )
    made = plan(await seen(a_deployment("churn-2"), *versions))
    assert made.status["candidate"]["modelVersion"] == "churn-1"
    assert "25 %" in condition(made, "Stalled")["message"]
    next_plan = plan(await seen(a_deployment("churn-2", status=made.status), *versions))
    assert next_plan.status["candidate"]["since"] == made.status["candidate"]["since"]
    rejection = {"modelVersion": "churn-1", "revision": OLD_REVISION, "at": NOW, "message": "never ready"}
    unfit_too = await seen(
        a_deployment("churn-2", status={**next_plan.status, "candidate": None, "rejected": [rejection]}), *versions
    )
    assert "candidate" not in plan(unfit_too).status


async def test_made_anew_with_another_serving_spec_that_was_rejected_it_serves_no_other_model() -> None:
    served = {**verdict("Stable", NEW, minutes=5), "revision": "with-other-serving"}
    versions = (
        a_version(OLD, verdicts=[verdict("Stable", OLD)]),
        a_version(NEW, verdicts=[served, verdict("Rejected", NEW, minutes=9)]),
    )
    made = plan(await seen(a_deployment("churn-2"), *versions))
    assert "candidate" not in made.status
    assert made.status["phase"] == "Failed"


async def test_what_it_served_last_itself_is_what_served_whoever_has_served_another_since() -> None:
    by_another = {**verdict("Stable", OLD, minutes=8), "deployment": "other"}
    served = {  # when, by it
        "churn-1": (5, "Ready"),
        "churn-3": (3, "Ready"),
        "churn-4": (6, "Corrupt"),
        "churn-5": (4, "Ready"),
    }
    versions = [
        a_version(
            a_model_version(name, phase=phase),
            verdicts=[verdict("Stable", OLD, minutes=at), *([by_another] if name == "churn-3" else [])],
        )
        for name, (at, phase) in served.items()
    ]
    made = plan(await seen(a_deployment("churn-2"), *versions, a_version(NEW, verdicts=[verdict("Rejected", NEW)])))
    assert made.status["candidate"]["modelVersion"] == "churn-1"


async def test_without_anything_that_served_before_the_rejected_version_still_does_not() -> None:
    made = plan(await seen(a_deployment("churn-2"), a_version(NEW, verdicts=[verdict("Rejected", NEW)])))
    assert made.status["phase"] == "Failed"
    assert "candidate" not in made.status


async def test_another_try_is_remembered_against_the_memory_of_the_version() -> None:
    rejected = a_version(NEW, verdicts=[verdict("Rejected", NEW)])
    before = plan(await seen(a_deployment("churn-2"), rejected))
    asked = a_deployment("churn-2", annotations={"upright.dev/retry": "1"}, status=before.status)
    made = plan(await seen(asked, rejected))
    assert made.status["candidate"]["modelVersion"] == "churn-2"
    assert made.status["rejected"][0]["retried"]
    again = a_deployment("churn-2", annotations={"upright.dev/retry": "1"}, status=made.status)
    assert plan(await seen(again, rejected)).status["candidate"]["modelVersion"] == "churn-2"


async def test_of_what_asks_for_another_try_the_status_keeps_no_more_than_it_needs() -> None:
    long = {"upright.dev/retry": "1" * 250_000}
    made = plan(await seen(a_deployment("churn-2", annotations=long), a_version(NEW)))
    assert made.status["retry"] == "1" * 1024
    for answered in (made.status, {**made.status, "retry": "1" * 250_000}):  # an earlier operator kept the whole
        assert not a_deployment("churn-2", annotations=long, status=answered).wants_retry
    assert a_deployment("churn-2", annotations={"upright.dev/retry": "2"}, status=made.status).wants_retry


@pytest.mark.parametrize("follows", [False, True])
async def test_what_was_asked_of_an_earlier_object_forgives_nothing(*, follows: bool) -> None:
    rejected = a_version(NEW, verdicts=[verdict("Rejected", NEW)])

    def made_again(retry: str, status: Any = None) -> Deployment:
        wanted: Any = {"latest": {"model": "churn"}} if follows else {}
        return a_deployment(
            None if follows else "churn-2", annotations={"upright.dev/retry": retry}, status=status or {}, **wanted
        )

    first = plan(await seen(made_again("1"), rejected))
    second = plan(await seen(made_again("1", first.status), rejected))
    for made in (first, second):
        assert "candidate" not in made.status
        assert made.status["retry"] == "1"
        assert condition(made, "Current")["reason"] == "VersionRejected"
    asked = plan(await seen(made_again("2", second.status), rejected))
    assert asked.status["candidate"]["modelVersion"] == "churn-2"


# Following a model


def following(serving: Any = None, model: str = "churn", **more: Any) -> Deployment:
    stable = {"modelVersion": "churn-2", "revision": NEW_REVISION, "since": NOW.isoformat(), "replicas": 1}
    return a_deployment(None, latest={"model": model}, serving=serving or {}, status={"stable": stable, **more})


def made_at(version: ModelVersion, minutes: int, **status: Any) -> tuple[ResourceType, Manifest]:
    of, stored = a_version(version, **status)
    at = (NOW + timedelta(minutes=minutes)).isoformat()
    meta = {**stored["metadata"], "creationTimestamp": max(at, NOW.isoformat())}
    return of, {**stored, "metadata": meta, "spec": {**stored["spec"], "producedAt": at}}


def trained(version: tuple[ResourceType, Manifest], job: str = "uid-of-job") -> tuple[ResourceType, Manifest]:
    """By a TrainingJob."""
    of, stored = version
    by = {"name": job, "uid": job, "run": stored["spec"]["number"], "trigger": "Created"}
    return of, {**stored, "spec": {**stored["spec"], "lineage": {"trainingJob": by}}}


@pytest.mark.parametrize(
    ("third", "current"),
    [({"verdicts": [verdict("Rejected", THIRD)]}, "VersionRejected"), ({"phase": "NotAllowed"}, ""), (None, "")],
)
async def test_that_the_newest_version_was_rejected_is_said_and_is_not_what_a_pipeline_waits_for(
    third: dict[str, Any] | None, current: str
) -> None:
    versions = [made_at(NEW, 0), *([made_at(THIRD, 1, **third)] if third is not None else [])]
    found = plan(await seen(following(), *versions))
    assert (found.status["phase"] == "RolledBack") is bool(current)
    stalled = [one["reason"] for one in found.status["conditions"] if one["type"] == "Stalled"]
    assert stalled == ([current] if current else [])
    assert "candidate" not in found.status


@pytest.mark.parametrize(
    ("versions", "wanted"),
    [
        ([made_at(NEW, 0), made_at(THIRD, 1), made_at(FOURTH, 2)], "churn-4"),
        ([made_at(NEW, 0), made_at(THIRD, 2), made_at(FOURTH, 1)], "churn-3"),  # numbers of two TrainingJobs
        ([made_at(NEW, 0), made_at(OLD, -1)], "churn-2"),
        ([made_at(NEW, 0), made_at(THIRD, -1)], "churn-2"),
        ([made_at(NEW, 0), made_at(THIRD, 1, verdicts=[verdict("Rejected", THIRD)]), made_at(OLD, -1)], "churn-2"),
        ([made_at(NEW, 0), made_at(THIRD, 1), made_at(FOURTH, 2, verdicts=[verdict("Rejected", FOURTH)])], "churn-2"),
        ([made_at(NEW, 0), made_at(THIRD, 1, phase="NotAllowed")], "churn-2"),
        ([made_at(OLD, -1)], None),  # the one that serves was deleted: never back by itself
        ([made_at(THIRD, 1)], "churn-3"),
        ([made_at(NEW, 0), made_at(THIRD, 1), made_at(FOURTH, 2, verdicts=[{"outcome": "Unheard"}])], "churn-3"),
        ([trained(made_at(NEW, 60)), trained(made_at(THIRD, 30))], "churn-3"),  # the first one's node was ahead
        ([trained(made_at(NEW, 0)), trained(made_at(OLD, 30))], "churn-2"),
        ([made_at(NEW, 0, phase="Corrupt"), made_at(OLD, -1)], "churn-2"),
        (
            [
                trained(made_at(NEW, 60)),
                trained(made_at(THIRD, 30, verdicts=[verdict("Rejected", THIRD)])),
                trained(made_at(FOURTH, 50), "another"),
            ],
            "churn-2",
        ),
    ],
)
async def test_the_newest_version_is_followed_and_never_an_older_one(versions: Any, wanted: str | None) -> None:
    found = await seen(following(), *versions)
    assert (found.wanted.metadata.name if found.wanted else None) == wanted


@pytest.mark.parametrize("remembers", [False, True])
async def test_no_older_version_goes_out_where_a_rejected_one_cannot_be_served_any_more(*, remembers: bool) -> None:
    """It says so; nor does another try, which means the rejected one, or another spec.serving, bring one out."""
    mine = revision(FOURTH, a_deployment().spec.serving)
    rejection = {"modelVersion": "churn-4", "revision": mine, "at": after(minutes=3).isoformat(), "message": "errors"}
    fourth = made_at(FOURTH, 2, phase="Missing", verdicts=[verdict("Rejected", FOURTH)] if remembers else [])
    versions = made_at(NEW, 0), made_at(THIRD, 1), fourth
    rejected: dict[str, Any] = {} if remembers else {"rejected": [rejection]}
    found = await seen(following(**rejected), *versions)
    assert found.wanted
    assert found.wanted.metadata.name == "churn-2"
    assert plan(found).status["phase"] == "RolledBack"

    asked = dict(as_stored(following(phase="Stable", **rejected)))
    asked["metadata"] = {**asked["metadata"], "annotations": {names.RETRY: "1"}}
    for other in (Deployment.model_validate(asked), following(serving={"port": 3001}, **rejected)):
        again = await seen(other, *versions)
        assert again.wanted
        assert again.wanted.metadata.name == "churn-2"


@pytest.mark.parametrize("remembers", [False, True])
async def test_another_try_of_a_rejected_version_that_is_not_ready_waits_until_it_is(*, remembers: bool) -> None:
    """As when its ModelVersion, which was asked first, has not looked again."""
    rejection = {"modelVersion": "churn-4", "revision": revision(FOURTH, a_deployment().spec.serving), "at": NOW}
    verdicts = [verdict("Rejected", FOURTH)] if remembers else []
    rejected: dict[str, Any] = {} if remembers else {"rejected": [{**rejection, "message": "errors"}]}
    asked = dict(as_stored(following(phase="RolledBack", retry="1", **rejected)))
    asked["metadata"] = {**asked["metadata"], "annotations": {names.RETRY: "2"}}
    others = made_at(NEW, 0), made_at(THIRD, 1)
    missing, ready = (made_at(FOURTH, 2, phase=phase, verdicts=verdicts) for phase in ("Missing", "Ready"))

    found = await seen(Deployment.model_validate(asked), *others, missing)
    made = plan(found)
    assert made.status["retry"] == "1"
    told = condition(made, "Stalled")
    assert (told["reason"], "kubectl annotate" in told["message"]) == ("VersionRejected", False)
    assert " and churn-4 is tried again, as somebody has asked, when it is Ready." in told["message"]

    waits = recorded(found.resource, made)
    again = await seen(waits, *others, ready)
    assert again.wanted
    assert again.wanted.metadata.name == "churn-4"
    made = plan(again)
    assert (made.status["retry"], bool(made.status["rejected"][0]["retried"])) == ("2", True)
    assert made.status["candidate"]["modelVersion"] == "churn-4"

    other = await seen(wanting(waits, serving={"port": 3001}), *others, missing)
    assert plan(other).status["retry"] == "2", "what goes out meanwhile is not tried again when it is rejected"
    newer = await seen(waits, *others, missing, made_at(a_model_version("churn-5"), 3))
    assert plan(newer).status["retry"] == "2"


async def test_a_version_that_was_made_anew_under_the_name_of_a_rejected_one_is_another() -> None:
    """One that was restored, with the same artifact, is the same."""
    rejection = {"modelVersion": "churn-4", "revision": revision(FOURTH, a_deployment().spec.serving), "at": NOW}
    resource = following(rejected=[{**rejection, "message": "errors"}])
    of, stored = made_at(FOURTH, 2, phase="Corrupt")
    stored = {**stored, "metadata": {**stored["metadata"], "creationTimestamp": after(minutes=1).isoformat()}}
    artifact = {**stored["spec"]["artifact"], "digest": "sha256:" + "e" * 64}
    other = {**stored, "spec": {**stored["spec"], "artifact": artifact}}
    for fourth, wanted, said in ((other, "churn-3", False), (stored, "churn-2", True)):
        found = await seen(resource, made_at(NEW, 0), made_at(THIRD, 1), (of, fourth))
        assert found.wanted
        assert found.wanted.metadata.name == wanted
        assert bool(found.passed_over) is said


async def test_where_nothing_serves_an_older_version_than_a_rejected_one_is_tried() -> None:
    versions = made_at(THIRD, 1), made_at(FOURTH, 2, verdicts=[verdict("Rejected", FOURTH)])
    found = await seen(a_deployment(None, latest={"model": "churn"}), *versions)
    assert found.wanted
    assert found.wanted.metadata.name == "churn-3"


async def test_what_was_made_since_the_rollout_of_a_deleted_stable_version_is_newer() -> None:
    [stable, third] = [as_stored(following())["status"]["stable"], made_at(THIRD, -5)]
    promoted = {"modelVersion": "churn-2", "revision": NEW_REVISION, "to": NOW.isoformat(), "outcome": "Promoted"}
    for began, wanted in ((-10, "churn-3"), (-1, None)):
        episode = {**promoted, "from": (NOW + timedelta(minutes=began)).isoformat()}
        found = await seen(following(stable=stable, phase="Stable", history=[episode]), third)
        assert (found.wanted.metadata.name if found.wanted else None) == wanted
    made = plan(replace(found, workloads=workloads(found.resource)))
    assert "surely newer than churn-2, which serves" in condition(made, "Ready")["message"]


UNDER_WAY = {"step": 0, "stepSince": NOW.isoformat()}
HELD = {"conditions": [{"type": "Stalled", "status": "True", "reason": "Inconclusive", "message": ""}]}


def the_shell_says(reason: str, *, beside: str) -> dict[str, Any]:
    """A status whose plan has given Current the one reason, and the shell Stalled the other."""
    said = (("Current", "False", beside), ("Stalled", "True", reason))
    return {"conditions": [{"type": one, "status": is_so, "reason": why, "message": ""} for one, is_so, why in said]}


@pytest.mark.parametrize(
    ("candidate", "status", "spec", "wanted"),
    [
        (UNDER_WAY, {}, {}, "churn-3"),
        ({"step": 0, "stepSpent": "0s"}, {}, {}, "churn-3"),  # its clock stands still
        ({"step": 1}, {}, {}, "churn-3"),
        ({"step": 2, "finishing": True}, {}, {}, "churn-3"),
        ({"step": 0}, {}, {}, "churn-3"),  # its pods start
        (UNDER_WAY, HELD, {}, "churn-4"),
        (UNDER_WAY, the_shell_says("Contested", beside="Inconclusive"), {}, "churn-4"),
        (UNDER_WAY, the_shell_says("Contested", beside="Progressing"), {}, "churn-3"),
        (UNDER_WAY, the_shell_says("Contested", beside="Paused"), {}, "churn-3"),  # until now
        (UNDER_WAY, the_shell_says("RequestRefused", beside="ServiceMissing"), {}, "churn-3"),
        (UNDER_WAY, the_shell_says("InvalidSpec", beside="Progressing"), {}, "churn-3"),  # corrected by now
        (UNDER_WAY, HELD, {"replicas": 0}, "churn-3"),
        (UNDER_WAY, HELD, {"paused": True}, "churn-3"),  # nothing could go out in its place
        ({"step": 0}, {}, {"paused": True}, "churn-3"),
        ({**UNDER_WAY, "leaving": True}, {}, {}, "churn-4"),
        ({**UNDER_WAY, "revision": "of-another-spec"}, {}, {}, "churn-4"),
        (UNDER_WAY, {}, {"annotations": {names.RETRY: "1"}}, "churn-4"),
        (UNDER_WAY, {}, {"latest": {"model": "another"}}, None),
        (UNDER_WAY, {}, {"latest": None, "model_version": "churn-4"}, "churn-4"),
    ],
)
async def test_a_candidate_that_is_under_way_is_not_given_up_for_a_newer_version(
    candidate: Any, status: Any, spec: Any, wanted: str | None
) -> None:
    arm = {"modelVersion": "churn-3", "revision": revision(THIRD, a_deployment().spec.serving), "since": NOW}
    versions = (made_at(NEW, 0), made_at(THIRD, 1), made_at(FOURTH, 2))
    stable = as_stored(following())["status"]["stable"]
    named = {"model_version": None, "latest": {"model": "churn"}, **spec}
    resource = a_deployment(
        named.pop("model_version"),
        status={"phase": "Progressing", "stable": stable, "candidate": {**arm, **candidate}, **status},
        **named,
    )
    found = await seen(resource, *versions)
    assert (found.wanted.metadata.name if found.wanted else None) == wanted
    promoted = following(stable={**stable, "modelVersion": "churn-3", "revision": arm["revision"]})
    newest = (await seen(promoted, *versions)).wanted
    assert newest
    assert newest.metadata.name == "churn-4"


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize(("fourth", "waits"), [({}, True), ({"phase": "NotAllowed"}, False), (None, False)])
async def test_the_newer_version_that_waits_for_the_one_under_way_is_named(
    fourth: dict[str, Any] | None, waits: bool, paused: bool
) -> None:
    mine = revision(THIRD, a_deployment().spec.serving)
    arm = {"modelVersion": "churn-3", "revision": mine, "since": NOW, **UNDER_WAY}
    stable = as_stored(following())["status"]["stable"]
    resource = a_deployment(None, latest={"model": "churn"}, paused=paused, status={"stable": stable, "candidate": arm})
    versions = (made_at(NEW, 0), made_at(THIRD, 1), *([made_at(FOURTH, 2, **fourth)] if fourth is not None else []))
    made = plan(await seen(resource, *versions))
    assert made.status["candidate"]["modelVersion"] == "churn-3"
    assert ("churn-4, which is newer, goes out after it." in condition(made, "Ready")["message"]) is waits


@pytest.mark.parametrize(("contract", "wanted"), [("Compatible", "churn-3"), ("Any", "churn-4")])
async def test_a_candidate_that_is_held_gives_way_to_nothing_that_could_not_go_out(contract: str, wanted: str) -> None:
    def takes(version: ModelVersion, name: str) -> ModelVersion:
        signature = Signature(inputs=[{"name": name, "type": "FP64"}])
        return version.model_copy(update={"spec": version.spec.model_copy(update={"signature": signature})})

    arm = {"modelVersion": "churn-3", "revision": revision(THIRD, a_deployment().spec.serving), "since": NOW}
    status = {"stable": as_stored(following())["status"]["stable"], "candidate": {**arm, **UNDER_WAY}, **HELD}
    resource = a_deployment(None, latest={"model": "churn"}, rollout={"contract": contract}, status=status)
    found = await seen(resource, made_at(takes(NEW, "age"), 0), made_at(THIRD, 1), made_at(takes(FOURTH, "size"), 2))
    assert found.wanted
    assert found.wanted.metadata.name == wanted
    by_age = {"segments": [{"name": "age", "feature": "age", "edges": [30]}]}
    resource = a_deployment(
        None, latest={"model": "churn"}, rollout={"contract": contract}, status=status, monitoring=by_age
    )
    found = await seen(resource, made_at(takes(NEW, "age"), 0), made_at(THIRD, 1), made_at(takes(FOURTH, "size"), 2))
    assert found.wanted
    assert found.wanted.metadata.name == "churn-3", "the newer one lacks the feature of a segment"


@pytest.mark.parametrize("serves", [False, True])
async def test_versions_that_come_faster_than_pods_start_end_each_other_never(*, serves: bool) -> None:
    versions = [made_at(NEW, 0), made_at(THIRD, 1)]
    stable = {"stable": as_stored(following())["status"]["stable"]} if serves else {}
    resource = a_deployment(None, latest={"model": "churn"}, status={"phase": "Pending", **stable})
    begun = await seen(resource, *versions)
    starts = Deployment.model_validate({**as_stored(resource), "status": dated(plan(begun), NOW)})
    versions.append(made_at(FOURTH, 2))
    made = plan(await seen(starts, *versions))
    assert made.status["candidate"]["modelVersion"] == "churn-3"
    assert not made.status["history"]


@pytest.mark.parametrize("by", [partial(with_obstacle, obstacle=("Contested", "A Service is changed.")), None])
async def test_what_the_shell_says_of_the_object_ends_no_candidate(by: Any) -> None:
    """That it could not carry a plan out, or make one."""
    versions = [made_at(NEW, 0), made_at(THIRD, 1)]
    stable = as_stored(following())["status"]["stable"]
    resource = a_deployment(None, latest={"model": "churn"}, status={"phase": "Pending", "stable": stable})
    stored = {**as_stored(resource), "status": dated(plan(await seen(resource, *versions)), NOW)}
    told = by(stored["status"], resource=stored) if by else halted(stored, "TooLarge", "It has 2 MiB.")
    made = plan(await seen(Deployment.model_validate({**stored, "status": told}), *versions, made_at(FOURTH, 2)))
    assert made.status["candidate"]["modelVersion"] == "churn-3"
    assert not made.status["history"]


async def test_a_candidate_that_can_be_served_no_more_gives_way() -> None:
    arm = {"modelVersion": "churn-3", "revision": revision(THIRD, a_deployment().spec.serving), "since": NOW}
    found = await seen(
        following(candidate={**arm, **UNDER_WAY}),
        made_at(NEW, 0),
        made_at(THIRD, 1, phase="Corrupt"),
        made_at(FOURTH, 2),
    )
    assert found.wanted
    assert found.wanted.metadata.name == "churn-4"


@pytest.mark.parametrize(
    ("phase", "serves", "goes_on"),
    [("Missing", True, True), ("Corrupt", True, True), ("NotAllowed", True, False), ("Missing", False, False)],
)
async def test_a_followed_candidate_whose_artifact_is_away_waits_for_it_where_another_version_serves(
    phase: str, serves: bool, goes_on: bool
) -> None:
    arm = {"modelVersion": "churn-3", "revision": revision(THIRD, a_deployment().spec.serving), "since": NOW}
    told: list[Any] = [{}, HELD]
    for status in told:  # also in the turn after that
        before = following(candidate={**arm, **UNDER_WAY}, **status)
        if not serves:
            stored = as_stored(before)
            lone = {key: value for key, value in stored["status"].items() if key != "stable"}
            before = Deployment.model_validate({**stored, "status": lone})
        versions = (made_at(OLD, -1), made_at(NEW, 0), made_at(THIRD, 1, phase=phase))
        found = await seen(before, *versions)
        assert found.wanted
        assert found.wanted.metadata.name == ("churn-3" if goes_on else "churn-2")


GOING = {"deletionTimestamp": "2026-11-22T11:59:00Z", "finalizers": ["example.com/erase-artifact"]}


def going(version: tuple[ResourceType, Manifest]) -> tuple[ResourceType, Manifest]:
    """It is being deleted, and something holds it."""
    of, stored = version
    return of, {**stored, "metadata": {**stored["metadata"], **GOING}}


@pytest.mark.parametrize(
    ("resource", "versions", "wanted"),
    [
        (serving_old(), [a_version(OLD), going(a_version(NEW))], None),
        (following(), [made_at(NEW, 0), going(made_at(THIRD, 1))], "churn-2"),
        (following(), [made_at(OLD, -1), going(made_at(NEW, 0))], "churn-2"),  # it serves: never back
        (following(), [going(made_at(NEW, 0)), made_at(THIRD, 1)], "churn-3"),
        (following(serving={"image": "another:2"}), [going(made_at(NEW, 0))], None),
    ],
)
async def test_a_version_that_is_being_deleted_does_not_go_out_and_serves_on_where_it_serves(
    resource: Deployment, versions: Any, wanted: str | None
) -> None:
    found = await seen(resource, *versions)
    assert (found.wanted.metadata.name if found.wanted else None) == wanted


async def test_that_a_named_version_is_being_deleted_is_said_where_it_does_not_serve() -> None:
    versions = (a_version(OLD), going(a_version(NEW)))
    owned = (names.APPS_DEPLOYMENTS, a_workload(serving_old()))
    made = plan(await seen(serving_old(), *versions, owned))
    assert "candidate" not in made.status
    assert condition(made, "Current")["reason"] == "VersionNotFound"
    assert (
        "ModelVersion churn-2 is being deleted in namespace shop. Name another "
        in condition(made, "Current")["message"]
    )
    serves = await seen(a_deployment("churn-2", status=as_stored(following())["status"]), *versions)
    assert serves.wanted == serves.versions["churn-2"]


async def test_a_candidate_that_is_being_deleted_gives_way() -> None:
    arm = {"modelVersion": "churn-3", "revision": revision(THIRD, a_deployment().spec.serving), "since": NOW}
    found = await seen(
        following(candidate={**arm, **UNDER_WAY}), made_at(NEW, 0), going(made_at(THIRD, 1)), made_at(FOURTH, 2)
    )
    assert found.wanted
    assert found.wanted.metadata.name == "churn-4"


async def test_another_try_works_for_a_followed_model_too() -> None:
    rejection = {
        "modelVersion": "churn-3",
        "revision": revision(THIRD, a_deployment().spec.serving),
        "at": NOW,
        "message": "",
    }
    versions = (made_at(NEW, 0), made_at(THIRD, 1))
    resource = following(phase="Stable", rejected=[rejection])
    assert (await seen(resource, *versions)).wanted == (await seen(following(), made_at(NEW, 0))).wanted
    asked = dict(as_stored(resource))
    asked["metadata"] = {**asked["metadata"], "annotations": {names.RETRY: "1"}}
    found = await seen(Deployment.model_validate(asked), *versions)
    assert found.wanted
    assert found.wanted.metadata.name == "churn-3"
    assert plan(replace(found, pods={}, strangers=())).status["rejected"][0]["retried"]


async def test_services_of_others_are_taken_and_ours_without_an_owner_are_not() -> None:
    def service(name: str, **more: Any) -> tuple[ResourceType, Manifest]:
        return names.SERVICES, {"metadata": {**metadata(name), **more}, "spec": {}}

    found = await seen(
        serving_old(),
        service("churn"),
        service("churn-stable", labels={names.DEPLOYMENT: "churn", names.MANAGED_BY: "upright"}),
        service("churn-canary", ownerReferences=[{"controller": True, "uid": "uid-of-churn"}]),
    )
    assert found.taken == ["churn"]
    assert set(found.services) == {"churn-stable", "churn-canary"}
    other = service("churn", labels={names.DEPLOYMENT: "churn", names.MANAGED_BY: "argocd"})
    assert (await seen(serving_old(), other)).taken == ["churn"], "nothing would be written to it"


@pytest.mark.parametrize(
    ("spec", "others", "said"),
    [
        (
            {"modelVersion": "chrun-1"},
            ["other-1", "churn-1"],
            " when there is one. There is churn-1, other-1.",
        ),
        ({"latest": {"model": "chrun"}}, ["other-1", "churn-1", "churn-2"], "There are versions of churn, other."),
        ({"latest": {"model": "chrun"}}, [f"m{n}-1" for n in range(9)], " of m0, m1, m2, m3, m4, among others."),
        (
            {"latest": {"model": "churn"}},
            ["other-1"],
            "No ModelVersion of model churn exists in namespace shop. Correct ",
        ),
        ({"latest": {"model": "churn"}}, [], " in namespace shop. Correct spec.latest.model, or wait: the rollout "),
        ({"latest": {"model": "churn"}}, ["other-1", "churn-1 Corrupt"], " Ready and not rejected. The rollout starts"),
    ],
)
async def test_of_what_does_not_exist_it_is_said_what_does(spec: Any, others: Any, said: str) -> None:
    made = []
    for name, _, phase in (other.partition(" ") for other in others):
        version = a_version(a_model_version(name, model=name.partition("-")[0]), phase=phase or "Ready")
        made.append(version)
    resource = a_deployment(spec.get("modelVersion"), **spec)
    first = plan(await seen(resource, *made))
    again = plan(await seen(recorded(resource, first), *made))
    [told] = [one.message for one in again.events if one.reason == "VersionNotFound"]
    assert said in told
    later = plan(await seen(recorded(resource, first), a_version(a_model_version("more-1", model="more")), *made))
    assert later.status["conditions"] == first.status["conditions"], "what comes meanwhile is no reason to write"


@pytest.mark.parametrize(
    ("versions", "candidate", "wanted", "said"),
    [
        ([NEW], False, None, "No ModelVersion of model fraud exists in namespace shop. Correct "),
        ([NEW, THIRD], True, None, "No ModelVersion of model fraud exists in namespace shop. Correct "),
        (
            [NEW, a_model_version("fraud-1", model="fraud", phase="Corrupt")],
            False,
            None,
            "is Ready and not rejected. The ",
        ),
        ([NEW, a_model_version("fraud-2", model="fraud")], False, "fraud-2", None),
        ([NEW, a_model_version("fraud-1", model="fraud")], False, "churn-2", "fraud-1 was rejected"),
    ],
)
async def test_another_model_of_which_nothing_can_go_out_is_no_reason_to_say_that_all_is_as_wanted(
    versions: Any, candidate: bool, wanted: str | None, said: str | None
) -> None:
    fraud = revision(a_model_version("fraud-1", model="fraud"), a_deployment().spec.serving)
    rejection = {"modelVersion": "fraud-1", "revision": fraud, "at": NOW, "message": "It failed."}
    arm = {"modelVersion": "churn-3", "revision": revision(THIRD, a_deployment().spec.serving), "since": NOW}
    coming = {"candidate": arm} if candidate else {}
    resource = following(model="fraud", rejected=[rejection], **coming)
    found = await seen(resource, *(a_version(one) for one in versions))
    assert (found.wanted.metadata.name if found.wanted else None) == wanted
    made = plan(found)
    assert not [one for one in made.delete if one.name.endswith(NEW_REVISION)]
    if said:
        current = condition(made, "Current")
        assert (current["status"], said in current["message"]) == ("False", True), current["message"]
        assert current["message"].startswith("No pod of churn-2 answers.")
    if candidate:
        assert [one["reason"] for one in made.status["history"]] == [
            "churn-3 is given up: another model is followed, which has no version to serve."
        ]
    if wanted is None:
        again = plan(replace(found, resource=recorded(resource, made)))
        [told] = [event for event in again.events if event.reason == "VersionNotFound"]
        assert told.message.endswith(" Until then churn-2 serves.")
        assert not condition(again, "Stalled")


@pytest.mark.parametrize(
    ("versions", "reason", "said"),
    [
        ([], "VersionNotFound", "No ModelVersion of model fraud exists in namespace shop. Correct spec.latest.model"),
        (["Corrupt"], "VersionNotFound", "Model fraud has no version in namespace shop that is Ready and not rejected"),
        (["Ready"], "VersionRejected", "fraud-1 was rejected at 2026-11-22 12:00:00 UTC: It failed."),
    ],
)
async def test_nothing_serves_and_only_rejections_of_the_followed_model_are_told(
    versions: Sequence[str], reason: str, said: str
) -> None:
    there = [a_model_version("fraud-1", model="fraud"), NEW]
    rejected = [
        {"modelVersion": one.metadata.name, "revision": revision(one, a_deployment().spec.serving), "at": NOW}
        | {"message": "It failed."}
        for one in there
    ]
    resource = a_deployment(None, latest={"model": "fraud"}, status={"rejected": rejected[not versions :]})
    found = [a_version(NEW), *(a_version(there[0], phase=phase) for phase in versions)]
    made = plan(await seen(resource, *found))
    assert condition(made, "Current")["reason"] == reason
    assert said in condition(made, "Current")["message"]
    remedy = " A newer version goes out by itself; or try again: kubectl annotate"
    assert (remedy in (condition(made, "Stalled").get("message") or "")) is (reason == "VersionRejected")


LONG = "fraud-detection-gradient-boosting-europe-central-nightly-retrain"
YET = "does not exist in namespace shop yet. A run of TrainingJob {} is to make it, "
NO_MORE = "does not exist in namespace shop, and no run will make it: "
PERHAPS = "does not exist in namespace shop. Correct spec.modelVersion, or wait"


@pytest.mark.parametrize("name", ["churn", LONG])  # of the long one the names of runs are cut
@pytest.mark.parametrize(
    ("phase", "number", "reason", "said"),
    [
        ("Pending", 2, "VersionInTraining", YET),
        ("Running", 2, "VersionInTraining", YET),
        ("Failed", 1, "VersionNotFound", PERHAPS),
        ("Failed", 2, "VersionNotFound", NO_MORE + "{run} of TrainingJob {} has failed, and this TrainingJob uses no "),
        (
            "Refused",
            2,
            "VersionNotFound",
            NO_MORE + "{run} of TrainingJob {} was refused, and this TrainingJob uses no ",
        ),
        ("Succeeded", 2, "VersionNotFound", "{run} was deleted in namespace shop. Name another version."),
        ("Running", 3, "VersionNotFound", PERHAPS),  # one made by hand, or restored, may come of a run no longer listed
    ],
)
async def test_a_version_is_waited_for_while_it_may_come(
    name: str, phase: str, number: int, reason: str, said: str
) -> None:
    run = {"name": run_name(name, number), "number": number, "trigger": "Created", "phase": phase}
    job = as_stored(a_training_job(name, status={"runs": [run]}))
    resource = wanting(serving_old(), modelVersion=run_name(name, 2))
    deployment = (names.DEPLOYMENTS, as_stored(resource))
    found = await seen(resource, a_version(OLD), (names.TRAINING_JOBS, job), deployment)
    made, said = plan(found), said.format(name, run=run_name(name, 2))
    current = condition(made, "Current")
    assert (current["reason"], said in current["message"]) == (reason, True), current["message"]
    again = plan(replace(found, resource=recorded(resource, made)))
    assert [event.reason for event in again.events] == ([] if reason == "VersionInTraining" else [reason])
    assert bool(condition(made, "Stalled")) == (NO_MORE in said) != bool(condition(made, "Reconciling"))
    if NO_MORE in said:
        told = condition(made, "Stalled")["message"]
        assert "Name a version that exists (`kubectl get mv -n shop`)" in told
        assert told.endswith("or follow its model with spec.latest. Until then churn-1 serves.")
    [watch] = [one for one in Deployments(DEFAULTS, Unmeasured()).watches if one.type == names.TRAINING_JOBS]
    woken = list(watch.wakes(job, AWorld(deployment)))
    assert woken == ([Key("shop", "churn")] if reason == "VersionInTraining" else [])


@pytest.mark.parametrize("phase", ["Running", "Succeeded", "Failed"])
async def test_a_version_that_is_there_is_not_what_its_run_makes(phase: str) -> None:
    run = {"name": "churn-2", "number": 2, "trigger": "Created", "phase": phase}
    job = (names.TRAINING_JOBS, as_stored(a_training_job(status={"runs": [run]})))
    made = plan(await seen(a_deployment("churn-2"), job, going(a_version(NEW))))
    current = condition(made, "Current")
    assert "churn-2 is being deleted in namespace shop. Name another version." in current["message"]
    assert (current["reason"], stalled(made)) == ("VersionNotFound", None)


async def test_a_version_that_serves_and_was_deleted_is_no_typo() -> None:
    resource = wanting(serving_old(), modelVersion="churn-1")
    found = await seen(resource, a_version(NEW), (names.APPS_DEPLOYMENTS, a_workload(resource)))
    again = plan(replace(found, resource=recorded(resource, plan(found))))
    [told] = [event.message for event in again.events if event.reason == "VersionNotFound"]
    assert told == (
        "ModelVersion churn-1 was deleted in namespace shop. Name another version. One that is made anew under this "
        "name goes out by itself. Until then churn-1 serves."
    )


class Changing(AWorld):
    """A cluster in which all else has changed when something has been asked for."""

    def __init__(self, before: Sequence[Any], after: Sequence[Any]) -> None:
        super().__init__(*before)
        self._after = after

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        self._manifests = tuple(self._after)
        return None


@pytest.mark.parametrize("spec", [{"modelVersion": "churn-2"}, {"latest": {"model": "churn"}}])
@pytest.mark.parametrize("comes", [True, False])
async def test_versions_that_come_or_go_while_something_is_asked_for_are_there_or_not(spec: Any, comes: bool) -> None:
    with_it, without = [a_version(NEW)], list[Any]()
    world = Changing(*((without, with_it) if comes else (with_it, without)))
    found = await observe(as_stored(a_deployment(None, **spec)), world, DEFAULTS, Unmeasured(), Sightings())
    assert (found.wanted is not None, found.absence) == ((True, None) if comes else (False, "Missing"))


async def test_a_version_that_this_upright_cannot_read_is_no_typo() -> None:
    of, stored = a_version(NEW)
    made = plan(await seen(serving_old(), a_version(OLD), (of, {**stored, "spec": {"model": 7}})))
    assert "ModelVersion churn-2 cannot be read by this version of Upright in " in condition(made, "Current")["message"]


@pytest.mark.parametrize("field", ["modelVersion", "latest"])
async def test_each_wrong_name_is_told_once(field: str) -> None:
    """However the process ends: each is told by the moment since when the status is about it."""
    told = list[tuple[datetime, str]]()
    old: Mapping[str, Any] = {}
    for minute, name in enumerate(("chrun", "chrun", "chrun1", "chrun1", "churn-11", "churn-11", "chrun", "chrun")):
        spec: Any = {"latest": {"model": name}} if field == "latest" else {"modelVersion": name}
        resource = a_deployment(None, **spec, status={"stable": as_stored(following())["status"]["stable"]})
        if old:
            resource = Deployment.model_validate({**as_stored(resource), "status": old})
        now = after(minutes=minute)
        made = plan(replace(await seen(resource, a_version(NEW), a_version(OLD)), now=now))
        told += [(one.at or now, one.message) for one in made.events if one.reason == "VersionNotFound"]
        old = with_transition_times(made.status, old, now)
    assert [at for at, _ in told] == [after(minutes=minute) for minute in (0, 2, 4, 6)]
    assert " chrun1 " in told[1][1]


def recorded(resource: Deployment, made: Plan, at: datetime = NOW) -> Deployment:
    """With the status that was planned then."""
    return Deployment.model_validate({**as_stored(resource), "status": dated(made, at)})


@pytest.mark.parametrize("boundary", ["Exact", "Mixture"])
async def test_counts_must_be_whole_where_a_metric_has_the_exact_boundary(boundary: str) -> None:
    errors = {"name": "errors", "type": "ErrorRate", "boundary": boundary, "tolerance": {"absolute": 0}}
    resource = in_canary(monitoring={"metrics": [{"name": "refusals", "type": "RefusalRate"}, errors]})
    source = Unmeasured()
    await observe(as_stored(resource), AWorld(), DEFAULTS, source, Sightings())
    [asked] = source.asked.values()
    assert asked.whole == (boundary == "Exact")
