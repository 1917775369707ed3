"""TrainingJob: what is said of the next run while one is held up, when one has failed, and when it was given up."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.builders import NOW, after, exited, metadata, waiting
from tests.unit.test_training import run_of
from tests.unit.test_training_runs import QUOTA, Cluster, again, refused
from upright.api import names
from upright.contract import Plan

ASK = "kubectl annotate --overwrite trainingjob churn -n shop upright.dev/run-requested=$(date +%s)"
DELETE = "kubectl delete job churn-1 -n shop"
STARTS_NONE = "What has changed since in the spec starts no run by itself"
EITHER = (
    "The next run starts by itself if the correction changes data, code, parameters, store or program (image, command, "
    f"args, env); after any other, as of resources, retries, deadline or nodeSelector, ask for it: {ASK}"
)
ANOTHER = "the next run starts when it has ended"


def with_train(**fields: Any) -> dict[str, Any]:
    return {"train": {"image": "some/image:1", "command": ["python", "train.py"], **fields}}


RESOURCES = with_train(resources={"limits": {"memory": "1Gi"}})
NODES = with_train(pod={"nodeSelector": {"gpu": "yes"}})
LABELS = with_train(metadata={"labels": {"kueue.x-k8s.io/queue-name": "day"}})


def shown(cluster: Cluster | Plan, type: str = "Ready") -> str:
    """What `kubectl get` shows, or what another condition says."""
    status = cluster.status if isinstance(cluster, Plan) else cluster.manifest["status"]
    return next(str(one["message"]) for one in status["conditions"] if one["type"] == type)


async def a_cluster() -> Cluster:
    cluster = Cluster(**with_train())
    await cluster.settle()
    return cluster


async def failed() -> Cluster:
    cluster = await a_cluster()
    cluster.pod("churn-1", {"train": exited(137, reason="OOMKilled")}, phase="Failed")
    cluster.has("churn-1", "Failed", "BackoffLimitExceeded")
    await cluster.settle()
    return cluster


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ([], f"Correct the cause. {EITHER}"),
        *(
            ([change], f"{STARTS_NONE}; to have one: {ASK}")
            for change in (RESOURCES, NODES, LABELS, {"deadline": "5m"}, {"retries": 9})
        ),
        ([RESOURCES, with_train()], f"Correct the cause. {EITHER}"),
        ([{"ttl": "1h", "history": 3, "problem": {"goal": "Keep them"}}], f"Correct the cause. {EITHER}"),
    ],
)
@pytest.mark.parametrize("job_is_kept", [True, False])
async def test_what_starts_the_next_run_after_one_that_failed_is_told_and_shown_where_a_change_does_not(
    changes: list[dict[str, Any]], remedy: str, *, job_is_kept: bool
) -> None:
    cluster = await failed()
    if not job_is_kept:
        del cluster.objects[names.JOBS, "churn-1"]
    for change in changes:
        cluster.change(**change)
        await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    assert shown(cluster).startswith("Run churn-1: the training program ran out of memory")
    message = cluster.runs[0]["message"]
    assert shown(cluster) == (f"{message} {remedy}" if remedy.startswith(STARTS_NONE) else message)
    assert shown(cluster, "Stalled") == f"{message} {remedy}"
    cluster.annotate(run_requested="1")
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-2", "churn-1"]


async def test_what_a_run_was_set_to_is_known_by_its_job_and_not_claimed_of_an_older_operators() -> None:
    cluster = await failed()
    cluster.change(**RESOURCES)
    job = cluster.job("churn-1")
    job["metadata"] = {**job["metadata"], "ownerReferences": []}
    again(cluster)
    for _ in range(3):  # it does not settle here, where nobody carries out that the Job is taken up
        await cluster.turn()
    assert len(cluster.runs) == 1
    assert STARTS_NONE in shown(cluster)
    old = await failed()
    old.manifest["status"]["runs"] = [{key: old.runs[0][key] for key in old.runs[0] if key != "settings"}]
    old.change(**RESOURCES)
    before = (await old.settle()).status
    assert shown(old, "Stalled").endswith(f"Correct the cause. {EITHER}")
    assert (await old.turn()).status == before


def no_image(cluster: Cluster) -> None:
    cluster.pod("churn-1", {"train": waiting("ImagePullBackOff", "not found")}, phase="Pending")


def no_node(cluster: Cluster) -> None:
    cluster.pod("churn-1", {}, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}])


def no_room(cluster: Cluster) -> None:
    cluster.told = [refused(QUOTA)]
    cluster.job("churn-1")["metadata"]["creationTimestamp"] = NOW.isoformat()
    cluster.now = after(minutes=1)


def no_store(cluster: Cluster) -> None:
    cluster.pod("churn-1", {"train": exited(0), "publish": {"running": {"startedAt": NOW.isoformat()}}})
    cluster.now = after(minutes=4)


def queued(cluster: Cluster) -> None:
    cluster.job("churn-1")["spec"] = {**cluster.job("churn-1")["spec"], "suspend": True}


def elsewhere(cluster: Cluster) -> None:
    cluster.job("churn-1")["spec"] = {**cluster.job("churn-1")["spec"], "managedBy": "kueue.x-k8s.io/multikueue"}


def tried(cluster: Cluster) -> None:
    cluster.pod("churn-1", {"train": exited(137, reason="OOMKilled")}, phase="Failed")


def overdue(cluster: Cluster) -> None:
    cluster.pod("churn-1", {"train": {"running": {}}}, meta={"deletionTimestamp": NOW.isoformat()})
    cluster.now = after(minutes=2)


def ending(cluster: Cluster) -> None:
    going = {"deletionTimestamp": after(minutes=9).isoformat()}
    cluster.pod("churn-1", {"train": {"running": {}}}, meta=going)
    cluster.has("churn-1", "FailureTarget", "DeadlineExceeded")


HELD_UP = [
    (no_image, "RunHindered"),
    (no_node, "RunHindered"),
    (no_room, "NoPod"),
    (no_store, "RunHindered"),
    (elsewhere, "ManagedElsewhere"),
]
IN_ORDER = [(queued, "Queued"), (tried, "Running")]
LEFT_ALONE = [(overdue, "RunHindered"), (ending, "RunEnding")]
GIVE_UP = f" A run keeps the spec that it began with; to give it up after a correction: {DELETE}. "


@pytest.mark.parametrize(("happens", "reason"), [*HELD_UP, *IN_ORDER, *LEFT_ALONE])
@pytest.mark.parametrize(
    ("change", "held_up", "in_order", "left_alone"),
    [
        (lambda _: None, GIVE_UP + EITHER.replace("The next run", "The next one"), "", ""),
        (
            lambda cluster: cluster.change(parameters={"depth": 9}),
            *[f" The spec has changed since: {ANOTHER}; to end it now: {DELETE}."] * 2,
            f" The spec has changed since: {ANOTHER}.",
        ),
        (
            lambda cluster: cluster.annotate(run_requested="2"),
            *[f" Another one was asked for: {ANOTHER}; to end it now: {DELETE}."] * 2,
            f" Another one was asked for: {ANOTHER}.",
        ),
        (
            lambda cluster: cluster.change(**RESOURCES),
            *[f" {STARTS_NONE}; to give this one up for another: {ASK} && {DELETE}."] * 2,
            "",
        ),
        (lambda cluster: cluster.change(**RESOURCES, suspend=True), f" To give it up: {DELETE}.", "", ""),
    ],
)
async def test_what_follows_a_run_that_does_not_go_on_is_shown(
    happens: Callable[[Cluster], None],
    reason: str,
    change: Callable[[Cluster], None],
    held_up: str,
    in_order: str,
    left_alone: str,
) -> None:
    cluster = await a_cluster()
    happens(cluster)
    change(cluster)
    plan = await cluster.settle()
    assert plan.status["conditions"][0]["reason"] == reason
    told = held_up if (happens, reason) in HELD_UP else in_order if (happens, reason) in IN_ORDER else left_alone
    assert shown(plan).endswith(told)
    for only_when_told in ("kubectl delete job", "kubectl annotate", "next run"):
        assert shown(plan).count(only_when_told) == told.count(only_when_told)
    assert "kubectl annotate" not in run_of(plan)["message"]  # which is quoted when it has ended
    assert (await cluster.turn()).status == plan.status


@pytest.mark.parametrize(
    ("happens", "said", "may_be_stored"),
    [
        (no_image, "Run churn-1 was given up: its Job was deleted while image 'some/image:1' of container", False),
        (no_node, "Run churn-1 was given up: its Job was deleted while pod churn-1-x has no node to run on", False),
        (no_room, "Run churn-1 was given up: its Job was deleted while it gets no pod: exceeded quota", False),
        (no_store, "Run churn-1 was given up: its Job was deleted while it has trained its model, which is not", True),
        (queued, "Run churn-1 was given up: its Job was deleted while it is held back: its Job is suspended", True),
        (elsewhere, "Run churn-1 was given up: its Job was deleted while its Job is run by kueue", True),
        (overdue, "Run churn-1 was given up: its Job was deleted while pod churn-1-x should have ended", True),
        (ending, "Run churn-1 took longer than spec.deadline allows and was stopped. Its Job was deleted before", True),
        (tried, "Job churn-1 was deleted before it was known how its run ended.", True),
        (lambda _: None, "Job churn-1 was deleted before it was known how its run ended.", True),
    ],
)
@pytest.mark.parametrize("in_the_foreground", [False, True])
async def test_a_run_whose_job_is_deleted_ends_with_what_was_known_of_it(
    happens: Callable[[Cluster], None], said: str, *, may_be_stored: bool, in_the_foreground: bool
) -> None:
    cluster = await a_cluster()
    happens(cluster)
    await cluster.settle()
    known = cluster.runs[0]["message"]
    cluster.change(**RESOURCES)
    cluster.objects.pop((names.PODS, "churn-1-x"), None)
    if in_the_foreground:
        job = cluster.job("churn-1")
        job["metadata"] = {**job["metadata"], **metadata("churn-1", deletionTimestamp=NOW.isoformat())}
        await cluster.settle()
    del cluster.objects[names.JOBS, "churn-1"]
    await cluster.settle()
    message = cluster.runs[0]["message"]
    assert [run["phase"] for run in cluster.runs] == ["Failed"]
    if not in_the_foreground:
        assert message.startswith(said)
        assert ("What it has published, if anything, is in the store" in message) == may_be_stored
        assert (". Before: Run churn-1 is under way. One attempt has failed" in message) == (happens == tried)
    assert known.removeprefix("Run churn-1").lstrip(": ")[1:] in message
    assert shown(cluster) == f"{message} {STARTS_NONE}; to have one: {ASK}"
