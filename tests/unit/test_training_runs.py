"""TrainingJob: what starts a run, what a version says of it, and what is taken up of an earlier object of the name."""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Awaitable, Collection, Container, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builders import (
    DEFAULTS,
    DIGEST,
    NOW,
    AWorld,
    a_model_version,
    a_pod,
    a_training_job,
    after,
    as_stored,
    exited,
    metadata,
    waiting,
)
from tests.unit.test_training import REPORT, run_of, said, stalled
from upright.api import names
from upright.api.artifact import PublishReport, digest_of_files, termination_message
from upright.api.training_job import TrainingJob
from upright.contract import Correction, Event, Index, Key, Manifest, Plan, Reference, ResourceType
from upright.kube.conditions import with_transition_times
from upright.locations import Location, locate
from upright.locations.config_map import ConfigMap
from upright.runtime.folder import entries
from upright.training import observe as observing
from upright.training.contents import Contents
from upright.training.inputs import inputs_of
from upright.training.kind import TrainingJobs

ROOT = Path(__file__).parents[2]
CODE: dict[str, Any] = {"code": {"uri": "configmap://code"}}


class Counting(AWorld):
    """Counts what the API server is asked for; the watches are late with some types."""

    fetched = 0
    asked = 0
    indexes = 0
    late: Collection[ResourceType] = ()

    def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return None if type in self.late else super().get(type, namespace, name)

    def indexed(self, index: Index, namespace: str, value: str) -> list[Any]:
        self.indexes += 1
        return super().indexed(index, namespace, value)

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        self.fetched += 1
        return super().get(type, namespace, name)

    async def warnings(self, namespace: str, uids: Container[str]) -> list[Manifest] | None:
        self.asked += 1
        return await super().warnings(namespace, uids)


class Cluster:
    """What a TrainingJob lives in: plans are carried out, and what others do is said by the test."""

    def __init__(self, resource: TrainingJob | None = None, **spec: Any) -> None:
        self.now = NOW
        self.manifest: dict[str, Any] = dict(as_stored(resource or a_training_job(**spec)))
        self.kind = TrainingJobs(DEFAULTS)
        self.objects: dict[tuple[ResourceType, str], dict[str, Any]] = {}
        self.told: list[Manifest] = []
        self.fetched = self.asked = 0
        self.late: Collection[ResourceType] = ()
        self.version_of_all = 0
        self.put(names.CLAIMS, "models")

    def put(self, type: ResourceType, name: str, **more: Any) -> None:
        """An object as the watches deliver it; another resourceVersion each time."""
        self.version_of_all += 1
        meta = metadata(name, resourceVersion=str(self.version_of_all))
        self.objects[type, name] = {"metadata": {**meta, **more.pop("metadata", {})}, **more}

    def change(self, **spec: Any) -> None:
        self.manifest["spec"] = {**self.manifest["spec"], **spec}

    def annotate(self, **annotations: str) -> None:
        changed = {f"upright.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        self.manifest["metadata"] = {**self.manifest["metadata"], "annotations": changed}

    async def turn(self) -> Plan:
        """One turn, carried out."""
        world = Counting(*((key[0], one) for key, one in self.objects.items()), now=self.now, told=self.told)
        world.late = self.late
        plan = self.kind.plan(await self.kind.observe(self.manifest, world))
        self.fetched += world.fetched
        self.asked += world.asked
        if plan.record:
            self.manifest["status"] = dict(plan.status)
        for made in plan.create:
            of, name = names.JOBS if made["kind"] == "Job" else names.MODEL_VERSIONS, made["metadata"]["name"]
            assert (of, name) not in self.objects, f"{name} is made twice"
            self.put(of, name, **{**made, "metadata": {**made["metadata"], "creationTimestamp": self.now.isoformat()}})
        for gone in plan.delete:
            del self.objects[gone.type, gone.name]
        return plan

    async def settle(self) -> Plan:
        """Turns until nothing changes; returns the last one that did something."""
        last = await self.turn()
        for _ in range(10):
            before = self.manifest.get("status")
            plan = await self.turn()
            if plan.status == before and not (plan.create or plan.delete or plan.correct):
                return last
            last = plan
        raise AssertionError("it never settles")

    @property
    def runs(self) -> list[Any]:
        found: list[Any] = self.manifest["status"]["runs"]
        return found

    def job(self, name: str) -> dict[str, Any]:
        return self.objects[names.JOBS, name]

    def version(self, name: str) -> Any:
        return self.objects[names.MODEL_VERSIONS, name]["spec"]

    def has(self, job: str, condition: str, reason: str = "") -> None:
        self.job(job)["status"] = {"conditions": [{"type": condition, "status": "True", "reason": reason}]}

    def pod(self, job: str, containers: Any, suffix: str = "x", meta: Any = None, **status: Any) -> None:
        made = dict(a_pod(f"{job}-{suffix}", containers=containers, **status))
        owner = {"kind": "Job", "uid": self.job(job)["metadata"]["uid"], "controller": True}
        of_it = {**made["metadata"], "ownerReferences": [owner], **(meta or {})}
        self.objects[names.PODS, f"{job}-{suffix}"] = {**made, "metadata": of_it}

    async def publish(self, job: str, **read: Any) -> None:
        """Its run ends in a version."""
        self.pod(job, {"publish": published(**read)}, phase="Succeeded")
        self.has(job, "Complete")
        await self.settle()


def published(**read: Any) -> Any:
    ended = exited(0, json.dumps({**json.loads(REPORT), **read}))
    return {"terminated": {**ended["terminated"], "finishedAt": "2026-11-22T11:59:00Z"}}


async def trained(**spec: Any) -> Cluster:
    """Its first run has succeeded."""
    cluster = Cluster(**spec)
    for field in ("code", "data"):
        if field in spec:
            cluster.put(names.CONFIG_MAPS, field, data={"a": "1"})
    await cluster.settle()
    await cluster.publish("churn-1")
    assert cluster.manifest["status"]["phase"] == "Succeeded"
    return cluster


# Lineage is what ran


async def test_a_version_says_what_its_run_was_started_with_whatever_the_spec_says_by_now() -> None:
    cluster = Cluster(parameters={"depth": 4}, problem={"goal": "old"}, model="calls")
    await cluster.settle()
    cluster.change(parameters={"depth": 9}, problem={"goal": "new"}, model="letters")
    cluster.job("churn-1")["metadata"]["creationTimestamp"] = after(minutes=-5).isoformat()
    await cluster.publish("churn-1")
    version = cluster.version("churn-1")
    assert version["parameters"] == {"depth": 4}
    assert version["problem"]["goal"] == "old"
    assert version["model"] == "calls"
    assert version["lineage"]["trainingJob"]["inputs"] == cluster.runs[1]["inputs"]
    assert version["producedAt"] == "2026-11-22T11:59:00+00:00"
    assert [run["trigger"] for run in cluster.runs] == ["SpecChanged", "Created"]
    await cluster.publish("churn-2")
    assert cluster.version("churn-2")["parameters"] == {"depth": 9}


@pytest.mark.parametrize(
    ("told", "produced"), [(-60, 0), (3, 3), (60, 5)], ids=["its node is behind", "right", "its node is ahead"]
)
async def test_when_a_model_was_made_is_not_before_its_job_nor_still_to_come(told: int, produced: int) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.now = after(minutes=5)
    ended = {**published()["terminated"], "finishedAt": after(minutes=told).isoformat()}
    cluster.pod("churn-1", {"publish": {"terminated": ended}}, phase="Succeeded")
    await cluster.settle()
    assert cluster.version("churn-1")["producedAt"] == after(minutes=produced).isoformat()


async def test_the_job_of_an_older_operator_has_its_parameters_and_falls_back_for_the_rest() -> None:
    cluster = Cluster(parameters={"depth": 4}, problem={"goal": "told"})
    await cluster.settle()
    del cluster.job("churn-1")["metadata"]["annotations"]
    cluster.change(parameters={"depth": 9})
    await cluster.publish("churn-1")
    assert cluster.version("churn-1")["parameters"] == {"depth": 4}
    assert cluster.version("churn-1")["problem"]["goal"] == "told"


async def test_what_runs_have_measured_does_not_make_a_status_too_large() -> None:
    cluster = Cluster(history=50)
    measured = {f"metric {k:030}": float(k) for k in range(1000)}
    ended = {"trigger": "Created", "phase": "Succeeded", "finishedAt": NOW.isoformat(), "metrics": measured}
    recorded = [{**ended, "name": f"churn-{number}", "number": number} for number in range(40, 0, -1)]
    cluster.manifest["status"] = {"runs": recorded}
    await cluster.settle()
    runs = cluster.manifest["status"]["runs"]
    assert [run["number"] for run in runs] == [41, *range(40, 0, -1)]
    assert len(json.dumps(runs)) < 300 * 1024
    assert [bool(run.get("metrics")) for run in runs] == [False, *[True] * 5, *[False] * 35]


async def test_a_version_of_another_object_ends_no_run_and_takes_nothing_that_it_has_published() -> None:
    """One from a backup, or a colleague's from another namespace, of the name that the run's will have."""
    cluster = Cluster()
    await cluster.settle()
    other = {names.TRAINING_JOB: "churn", names.TRAINING_JOB_UID: "uid-of-another"}
    spec = {**a_model_version().model_dump(mode="json", by_alias=True)["spec"], "metrics": {"accuracy": 0.5}}
    cluster.put(names.MODEL_VERSIONS, "churn-1", metadata={"labels": other}, spec=spec)
    await cluster.settle()
    assert (names.JOBS, "churn-1") in cluster.objects
    assert cluster.manifest["status"]["phase"] == "Running"

    await cluster.publish("churn-1")
    assert "ModelVersion churn-1 is there already, which it has not made. Delete that" in str(
        cluster.manifest["status"]
    )
    assert (names.JOBS, "churn-1") in cluster.objects

    del cluster.objects[names.MODEL_VERSIONS, "churn-1"]
    await cluster.settle()
    [run] = cluster.manifest["status"]["runs"]
    assert (run["phase"], run["metrics"]) == ("Succeeded", {"accuracy": 0.9})


async def test_a_copy_of_a_runs_job_that_somebody_made_to_look_into_it_is_left_alone() -> None:
    cluster = Cluster()
    await cluster.settle()
    made = cluster.objects[names.JOBS, "churn-1"]
    copy = {field: part for field, part in made["metadata"].items() if field not in ("name", "uid", "ownerReferences")}
    cluster.put(names.JOBS, "churn-debug", **{**made, "metadata": {**copy, "name": "churn-debug"}})
    await cluster.settle()
    assert (names.JOBS, "churn-debug") in cluster.objects
    assert [run["number"] for run in cluster.manifest["status"]["runs"]] == [1]


@pytest.mark.parametrize("number", [10**12, 2**63 - 1, 10**40])
async def test_numbers_that_nobody_can_count_up_to_are_no_runs(number: int) -> None:
    cluster = Cluster()
    of = {names.TRAINING_JOB: "churn"}
    cluster.put(
        names.MODEL_VERSIONS, "churn-import", metadata={"labels": of}, spec={"number": number, "model": "churn"}
    )
    name = names.run_name("churn", number + 1)
    cluster.put(names.JOBS, name, metadata={"labels": {**of, names.RUN: str(number + 1)}})
    await cluster.settle()
    assert [run["number"] for run in cluster.manifest["status"]["runs"]] == [1]


async def test_a_run_that_waits_starts_with_the_newest_spec_and_says_so() -> None:
    cluster = Cluster(output={"store": "pvc://later"}, parameters={"depth": 4})
    await cluster.settle()
    first = cluster.runs[0]["inputs"]
    cluster.change(parameters={"depth": 9})
    await cluster.settle()
    assert cluster.runs[0]["inputs"] != first
    cluster.put(names.CLAIMS, "later")
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    await cluster.publish("churn-1")
    assert cluster.version("churn-1")["parameters"] == {"depth": 9}
    assert cluster.version("churn-1")["lineage"]["trainingJob"]["inputs"] == cluster.runs[0]["inputs"]


async def test_a_run_is_recorded_as_its_job_tells_whatever_the_spec_says_by_then() -> None:
    cluster = Cluster(parameters={"depth": 4})
    [job] = (await cluster.turn()).create
    assert not cluster.manifest["status"].get("runs")
    cluster.change(parameters={"depth": 9})
    plan = await cluster.turn()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    assert f'"inputs":"{cluster.runs[0]["inputs"]}"' in job["metadata"]["annotations"][names.RUN_RECORD]
    assert [event.reason for event in plan.events] == ["RunStarted"]


async def test_a_run_begins_after_the_end_of_the_one_before_and_is_told_so() -> None:
    """The API server tells in whole seconds when a Job was made."""
    cluster = Cluster()
    await cluster.settle()
    cluster.now = after(seconds=9.4)
    await cluster.publish("churn-1")
    await cluster.settle()
    cluster.change(parameters={"depth": 9})
    cluster.now = after(seconds=9.6)
    await cluster.turn()
    cluster.job("churn-2")["metadata"]["creationTimestamp"] = after(seconds=9).isoformat()
    at = {event.reason: event.at for event in (await cluster.settle()).events}
    assert at == {"RunSucceeded": after(seconds=9.4), "RunStarted": after(seconds=9.6)}


@pytest.mark.parametrize("ahead", [0, 1.5, 300])
async def test_what_a_first_run_does_is_told_also_where_the_api_server_s_clock_is_ahead(ahead: float) -> None:
    cluster = Cluster()
    cluster.manifest["metadata"]["creationTimestamp"] = after(seconds=ahead).isoformat()
    cluster.now = after(seconds=0.4)
    await cluster.turn()
    cluster.job("churn-1")["metadata"]["creationTimestamp"] = after(seconds=ahead).isoformat()
    assert [event.reason for event in (await cluster.settle()).events] == ["RunStarted"]
    await cluster.publish("churn-1")
    assert [event.reason for event in (await cluster.settle()).events] == ["RunSucceeded"]


async def test_a_run_that_waited_is_recorded_as_its_job_tells() -> None:
    cluster = Cluster(output={"store": "pvc://later"}, parameters={"depth": 4})
    await cluster.settle()
    waited = cluster.runs[0]["inputs"]
    cluster.put(names.CLAIMS, "later")
    cluster.change(parameters={"depth": 9})
    await cluster.settle()
    assert cluster.runs[0]["inputs"] != waited
    assert (
        f'"inputs":"{cluster.runs[0]["inputs"]}"' in cluster.job("churn-1")["metadata"]["annotations"][names.RUN_RECORD]
    )


async def test_of_a_job_without_a_record_the_recorded_run_knows_better() -> None:
    """An operator of before the record ended between making the Job and its next write."""
    cluster = Cluster(output={"store": "pvc://later"}, parameters={"depth": 4})
    cluster.annotate(run_requested="monday")
    await cluster.settle()
    waited = cluster.runs[0]
    cluster.put(names.CLAIMS, "later")
    await cluster.turn()
    del cluster.job("churn-1")["metadata"]["annotations"]
    cluster.change(parameters={"depth": 9})
    await cluster.turn()
    assert {name: cluster.runs[0][name] for name in ("inputs", "request")} == {
        name: waited[name] for name in ("inputs", "request")
    }


async def test_parameters_made_invalid_while_a_run_waits_are_said_and_mended() -> None:
    cluster = Cluster(output={"store": "pvc://later"})
    await cluster.settle()
    cluster.change(parameters={"max-depth": 4})
    plan = await cluster.settle()
    assert '"max-depth"' in (stalled(plan) or "")
    cluster.put(names.CLAIMS, "later")
    cluster.change(parameters={"max_depth": 4})
    await cluster.settle()
    assert (names.JOBS, "churn-1") in cluster.objects


async def test_a_waiting_run_that_nobody_wants_any_more_is_given_up() -> None:
    cluster = await trained(parameters={"depth": 4})
    cluster.change(parameters={"depth": 9}, output={"store": "pvc://later"})
    await cluster.settle()
    assert cluster.runs[0]["phase"] == "Pending"
    cluster.change(parameters={"depth": 4}, output={})
    plan = await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    assert plan.status["phase"] == "Succeeded"


async def test_a_waiting_run_does_not_start_while_suspended() -> None:
    cluster = Cluster(output={"store": "pvc://later"})
    await cluster.settle()
    cluster.change(suspend=True)
    cluster.put(names.CLAIMS, "later")
    plan = await cluster.settle()
    assert plan.status["phase"] == "Suspended"
    assert (names.JOBS, "churn-1") not in cluster.objects


# What starts a run


@pytest.mark.parametrize(
    "change",
    [
        {"model": "calls"},
        {"data": [{"name": "more", "uri": "pvc://models"}]},
        {"code": {"uri": "configmap://code", "digest": DIGEST}},
        {"parameters": {"depth": 9}},
        {"output": {"store": "pvc://models/elsewhere"}},
        {"output": {"format": "onnx"}},
        *(
            {"train": {"command": ["python"], **more}}
            for more in (
                {"command": ["sh"]},
                {"image": "mine:2"},
                {"args": ["-v"]},
                {"env": [{"name": "A", "value": "1"}]},
                {"envFrom": [{"configMapRef": {"name": "a"}}]},
                {"pod": {"initContainers": [{"name": "fetch", "image": "fetch:2"}]}},
                {"pod": {"volumes": [{"name": "cache", "emptyDir": {}}]}},
            )
        ),
    ],
    ids=str,
)
async def test_what_decides_the_outcome_starts_a_run(change: Any) -> None:
    cluster = await trained(**CODE, train={"command": ["python"]})
    cluster.change(**change)
    await cluster.settle()
    assert [run["trigger"] for run in cluster.runs] == ["SpecChanged", "Created"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "churn"},  # the default, written out
        {"problem": {"goal": "another"}},
        *({field: "2h"} for field in ("deadline", "ttl")),
        *({field: 2} for field in ("retries", "history")),
        *(
            {"train": {"command": ["python"], **more}}
            for more in (
                {"image": "", "args": [], "env": [], "pod": {}},  # as the API server fills it in
                {"resources": {"limits": {"memory": "8Gi"}}},
                {"metadata": {"labels": {"team": "growth"}, "annotations": {"cost": "12"}}},
                {"pod": {"tolerations": [{"key": "gpu"}], "nodeSelector": {"gpu": "yes"}}},
                {"pod": {"imagePullSecrets": [{"name": "registry"}], "priorityClassName": "night"}},
                {"pod": {"containers": [{"name": "publish", "resources": {"limits": {"cpu": "1"}}}]}},
                {"pod": {"initContainers": [{"name": "data", "resources": {"limits": {"cpu": "1"}}}]}},
            )
        ),
    ],
    ids=str,
)
async def test_what_decides_nothing_starts_none(change: Any) -> None:
    cluster = await trained(**CODE, train={"command": ["python"]})
    before = cluster.manifest["status"]
    cluster.change(**change)
    await cluster.turn()
    assert cluster.runs == before["runs"]


async def test_how_large_a_volume_is_starts_none_and_what_is_in_it_does() -> None:
    def train(size: str, claim: str) -> Any:
        claimed = {"spec": {"storageClassName": claim, "resources": {"requests": {"storage": size}}}}
        shared = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}}
        scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": claimed}}
        return {"command": ["python"], "pod": {"volumes": [shared, scratch]}}

    cluster = await trained(**CODE, train=train("1Gi", "fast"))
    cluster.change(train=train("2Gi", "fast"))
    await cluster.settle()
    assert len(cluster.runs) == 1
    cluster.change(train=train("2Gi", "slow"))
    await cluster.settle()
    assert len(cluster.runs) == 2


@pytest.mark.parametrize(
    ("uri", "before", "now", "starts"),
    [
        ("configmap://code", {"data": {"a": "1"}}, {"data": {"a": "2"}}, True),
        ("configmap://code", {"data": {"a": "1"}}, {"data": {"a": "1"}, "metadata": {"labels": {"x": "y"}}}, False),
        ("configmap://code", {"data": {"a": "1"}}, {"binaryData": {"a": base64.b64encode(b"1").decode()}}, False),
        ("configmap://code/a", {"data": {"a": "1", "b": "1"}}, {"data": {"a": "1", "b": "2"}}, False),
        ("configmap://code/a.b-c", {"data": {"a.b-c": "1"}}, {"data": {"a.b-c": "2"}}, True),
    ],
)
async def test_a_config_map_counts_by_its_content(uri: str, before: Any, now: Any, starts: bool) -> None:
    cluster = Cluster(code={"uri": uri})
    cluster.put(names.CONFIG_MAPS, "code", **before)
    await cluster.settle()
    await cluster.publish("churn-1")
    cluster.put(names.CONFIG_MAPS, "code", **now)
    await cluster.turn()
    plan = await cluster.turn()
    assert [run["name"] for run in cluster.runs] == (["churn-2", "churn-1"] if starts else ["churn-1"])
    if starts:
        assert plan.events[0].message == f"Created Job churn-2 (SourceChanged: {uri} has changed)."
        assert cluster.runs[0]["trigger"] == "SourceChanged"


ANOTHER = ": the next run starts when it has ended."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cluster: cluster.change(parameters={"depth": 9}), f" The spec has changed since{ANOTHER}"),
        (lambda cluster: cluster.annotate(run_requested="2"), f" Another one was asked for{ANOTHER}"),
        (
            lambda cluster: cluster.put(names.CONFIG_MAPS, "code", data={"a": "9"}),
            f" What it reads has changed since{ANOTHER}",
        ),
        (
            lambda cluster: cluster.change(parameters={"depth": 1}),
            " The spec is again what ModelVersion churn-1 was made from, so that no run follows it.",
        ),
        (lambda cluster: cluster.change(retries=9), ""),
        (lambda cluster: cluster.change(parameters={"depth": 9}, suspend=True), ""),
    ],
)
async def test_what_changes_while_a_run_is_under_way_is_seen_at_once(change: Any, said: str) -> None:
    cluster = await trained(**CODE, parameters={"depth": 1})
    cluster.change(parameters={"depth": 2})
    await cluster.settle()
    change(cluster)
    [shown] = [one["message"] for one in (await cluster.settle()).status["conditions"] if one["type"] == "Ready"]
    assert shown == f"Run churn-2 is under way (SpecChanged).{said}"


async def test_a_config_map_that_changes_during_a_run_starts_another_one_after_it() -> None:
    cluster = Cluster(**CODE)
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "1"})
    await cluster.settle()
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "2"})
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    await cluster.publish("churn-1")
    assert [run["name"] for run in cluster.runs] == ["churn-2", "churn-1"]


def code_of(text: str) -> str:
    """The digest of a ConfigMap's content."""
    return locate("configmap://code").digest({"data": {"a": text}}) or ""


def read(text: str) -> dict[str, str]:
    """The code as a report tells of it."""
    return {"name": "code", "uri": "configmap://code", "digest": code_of(text)}


@pytest.mark.parametrize("reverted", [True, False])
async def test_what_a_run_has_read_counts_and_not_what_was_there_when_its_job_was_made(*, reverted: bool) -> None:
    cluster = Cluster(**CODE)
    for text in ("good", "bad", *(["good"] if reverted else [])):  # its pod starts while it is bad
        cluster.put(names.CONFIG_MAPS, "code", data={"a": text})
        await cluster.settle()
    await cluster.publish("churn-1", code=read("bad"))
    if not reverted:
        assert [run["name"] for run in cluster.runs] == ["churn-1"]  # what is there now has been trained
        cluster.put(names.CONFIG_MAPS, "code", data={"a": "good"})
        await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-2", "churn-1"]
    assert [run["sources"]["configmap://code"] for run in cluster.runs] == [code_of("good"), code_of("bad")]


@pytest.mark.parametrize("reverted", [True, False])
async def test_a_run_that_failed_with_code_that_is_no_more_does_not_stand_for_what_is_there(*, reverted: bool) -> None:
    cluster = Cluster(**CODE)
    for text in ("good", "bad", *(["good"] if reverted else [])):
        cluster.put(names.CONFIG_MAPS, "code", data={"a": text})
        await cluster.settle()
    said = exited(0, json.dumps({"data": [{"name": "d", "uri": "pvc://lake", "digest": DIGEST}], "code": read("bad")}))
    cluster.pod("churn-1", {"data": said, "train": exited(1)}, phase="Failed")
    cluster.has("churn-1", "Failed", "BackoffLimitExceeded")
    await cluster.settle()
    assert [run["phase"] for run in cluster.runs] == (["Running", "Failed"] if reverted else ["Failed"])
    assert cluster.runs[-1]["sources"] == {"configmap://code": code_of("bad")}


@pytest.mark.parametrize("message", ["", "nonsense", '{"reason": "DataMissing", "message": "No file."}', "[]"])
async def test_what_data_did_not_tell_stays_as_it_was_when_the_job_was_made(message: str) -> None:
    cluster = Cluster(**CODE)
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "good"})
    await cluster.settle()
    cluster.pod("churn-1", {"data": exited(0, message), "train": {"running": {}}})
    await cluster.settle()
    assert cluster.runs[0]["sources"] == {"configmap://code": code_of("good")}


@pytest.mark.parametrize("late", [False, True])
async def test_a_run_whose_version_is_there_has_succeeded_whatever_became_of_its_job(*, late: bool) -> None:
    cluster = Cluster(**CODE)
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "good"})
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published(code=read("bad"))}, phase="Succeeded")
    [made] = (await cluster.turn()).create
    assert made["kind"] == "ModelVersion"
    for gone in (names.JOBS, "churn-1"), (names.PODS, "churn-1-x"):
        del cluster.objects[gone]
    cluster.late = {names.MODEL_VERSIONS} if late else set()
    plan = await cluster.turn()
    assert plan.status["lastVersion"] == "churn-1"
    run = run_of(plan)
    assert (run["phase"], run["modelVersion"], run["metrics"]) == ("Succeeded", "churn-1", {"accuracy": 0.9})
    assert run["sources"]["configmap://code"] == code_of("bad")
    assert [event.reason for event in plan.events] == ["RunSucceeded"]


async def test_a_config_map_that_is_gone_starts_nothing() -> None:
    cluster = await trained(**CODE)
    del cluster.objects[names.CONFIG_MAPS, "code"]
    await cluster.settle()
    assert len(cluster.runs) == 1


async def test_a_claim_that_the_watches_have_not_told_of_yet_is_asked_for_before_it_is_missed() -> None:
    there = [
        (names.CLAIMS, {"metadata": metadata("models")}),
        (names.CONFIG_MAPS, {"metadata": metadata("code", resourceVersion="1"), "data": {"a": "1"}}),
    ]
    world = Counting(*there)
    world.late = (names.CLAIMS, names.CONFIG_MAPS)
    seen = await TrainingJobs(DEFAULTS).observe(as_stored(a_training_job(**CODE)), world)
    assert seen.obstacles == []
    assert seen.inputs.sources.keys() == {"configmap://code"}


async def test_of_a_config_map_that_does_not_exist_nothing_else_is_looked_for() -> None:
    """Else a turn of each of many TrainingJobs that name it costs all of them."""
    contents, world = Contents(), Counting()
    assert await contents.read(Key("shop", "a"), ["configmap://code/a"], world) == {}
    assert (world.fetched, world.indexes) == (1, 0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_one_version_of_a_config_map_is_asked_for_once_whoever_reads_whatever_of_it(*, at_once: bool) -> None:
    uris = [f"configmap://code/{number}" for number in range(32)]
    each = {"a": uris, "b": uris[:2], "c": [*uris[30:], "configmap://code"]}
    jobs = [
        a_training_job(name, data=[{"name": f"d{at}", "uri": uri} for at, uri in enumerate(read)])
        for name, read in each.items()
    ]
    contents = Contents()

    def there(version: int, files: int) -> Counting:
        data = {f"{number}": f"{version}" for number in range(files)}
        meta = metadata("code", resourceVersion=f"{version}")
        known = [(names.TRAINING_JOBS, as_stored(job)) for job in jobs]
        return Counting((names.CONFIG_MAPS, {"metadata": meta, "data": data}), *known)

    async def read(world: Counting) -> list[Any]:
        turns = [contents.read(Key("shop", name), read, world) for name, read in each.items()]
        return await asyncio.gather(*turns) if at_once else [await turn for turn in turns]

    first = there(1, 31)
    found = await read(first)
    assert [list(one) for one in found] == list(each.values())
    assert found[0][uris[1]] == found[1][uris[1]] == (None, locate(uris[1]).digest({"data": {"1": "1"}}))
    lacks, digest = found[2][uris[31]]
    assert (lacks or "").startswith("has no key '31', only 0, 1")
    assert digest is None
    assert await read(first) == found
    assert first.fetched == 1
    changed = there(2, 32)
    assert (await read(changed))[0] != found[0]
    await read(changed)
    assert changed.fetched == 1
    for name in each:
        contents.forget(Key("shop", name))
    assert not contents._objects
    assert not contents._read


class Looks:
    """What was looked for in ConfigMaps, and in which rounds of the event loop it was, and URIs were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        self.rounds: list[int] = []
        self.located: list[int] = []
        self._round, lacks = 0, ConfigMap.lacks

        def located(uri: str) -> Location:
            self.located.append(self._round)
            return locate(uri)

        def noted(location: ConfigMap, content: Manifest) -> str | None:
            self.paths.append(location.path)
            self.rounds.append(self._round)
            return lacks(location, content)

        monkeypatch.setattr(ConfigMap, "lacks", noted)
        monkeypatch.setattr("upright.training.contents.locate", located)

    async def during(self, turns: Awaitable[Any]) -> Any:
        async def count() -> None:
            while True:
                self._round += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        found = await turns
        counting.cancel()
        return found


async def test_no_step_looks_for_more_than_one_thing_in_a_config_map_and_nothing_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks, contents, ways = Looks(monkeypatch), Contents(), {f"job-{job}": [f"{job}", f"x{job}"] for job in range(20)}
    there = {"metadata": metadata("code", resourceVersion="1"), "data": {f"{number}": "" for number in range(20)}}
    jobs = [
        a_training_job(name, data=[{"name": f"d{way}", "uri": f"configmap://code/{way}"} for way in read])
        for name, read in ways.items()
    ]
    world = Counting((names.CONFIG_MAPS, there), *((names.TRAINING_JOBS, as_stored(job)) for job in jobs))

    async def turns() -> None:
        for name, read in ways.items():
            await contents.read(Key("shop", name), [f"configmap://code/{way}" for way in read], world)

    for version in ("1", "2"):
        there["metadata"]["resourceVersion"] = version
        looks.paths, looks.rounds, looks.located, world.fetched = [], [], [], 0
        await looks.during(turns())
        assert world.fetched == 1
        assert sorted(looks.paths) == sorted(way for read in ways.values() for way in read)
        assert len(set(looks.rounds)) == len(looks.rounds)
        of_others = Counter(looks.located[2 : 2 + 2 * 20])  # the first turn reads its own two, and then what all read
        assert max(of_others.values()) == 2


async def test_a_path_is_looked_for_once_however_it_is_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, contents = Looks(monkeypatch), Contents()
    there = {"metadata": metadata("code", resourceVersion="1"), "data": {"a": "1"}}
    world = Counting((names.CONFIG_MAPS, there))
    ways = [f"configmap://code/a{'/' * slashes}" for slashes in range(30)]
    found = [await looks.during(contents.read(Key("shop", f"job-{job}"), ways[job:], world)) for job in range(29)]
    assert list(found[0]) == ways
    assert {one for each in found for one in each.values()} == {(None, ConfigMap("code", "a").digest(there))}
    assert world.fetched == 1
    assert looks.paths == ["a"]


async def test_of_what_was_read_that_is_kept_which_is_still_read(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, contents, key = Looks(monkeypatch), Contents(), Key("shop", "churn")
    there = {"metadata": metadata("code", resourceVersion="1"), "data": {"a": "1"}}
    for number in range(5):
        uris = [f"configmap://code/{each}" for each in (number, number + 1)]
        await contents.read(key, uris, AWorld((names.CONFIG_MAPS, there)))
    assert sorted(looks.paths) == ["0", "1", "2", "3", "4", "5"]
    [known] = contents._objects.values()
    assert known.found.keys() == {ConfigMap("code", "4"), ConfigMap("code", "5")}


class Keys(dict[str, str]):
    """The files of a ConfigMap; counts those that somebody walks past."""

    walked = 0

    def __iter__(self) -> Iterator[str]:
        for key in super().__iter__():
            self.walked += 1
            yield key


def test_what_is_said_and_done_for_one_key_does_not_grow_with_the_others() -> None:
    held = Keys({f"{number:04}": "" for number in range(1000)})
    for path, lacks in (
        ("0999", None),
        ("x", f"has no key 'x', only {', '.join(f'{number:04}' for number in range(10))}, and 990 more: add it"),
    ):
        location = ConfigMap("code", path)
        assert str(location.lacks({"data": held})).startswith(str(lacks))
        location.digest({"data": held})
    assert held.walked <= 11
    assert str(ConfigMap("code", "x").lacks({})).startswith("has no key 'x', only none: ")


async def test_a_config_map_is_asked_for_once_for_each_version_of_it() -> None:
    cluster = await trained(**CODE)
    assert cluster.fetched == 1
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "1"})
    await cluster.settle()
    assert cluster.fetched == 2
    cluster.kind.forget(Key("shop", "churn"))
    await cluster.settle()
    assert cluster.fetched == 3


@pytest.mark.parametrize("uri", ["configmap://code", "configmap://code/b.bin"])
def test_the_operator_and_the_pod_compute_the_same_digest(tmp_path: Path, uri: str) -> None:
    content = {"data": {"a.py": "π\r\n"}, "binaryData": {"b.bin": base64.b64encode(b"\0\xff").decode()}}
    files = {"a.py": "π\r\n".encode(), "b.bin": b"\0\xff"}
    location = locate(uri)
    for name, text in files.items():
        if location.path in ("", name):
            (tmp_path / name).write_bytes(text)
    assert location.digest(content) == digest_of_files(entries(tmp_path))


async def test_going_back_to_what_a_kept_version_was_made_from_uses_it() -> None:
    cluster = await trained(**CODE, parameters={"depth": 4})
    cluster.change(parameters={"depth": 9})
    await cluster.settle()
    await cluster.publish("churn-2")
    cluster.change(parameters={"depth": 4})
    plan = await cluster.turn()
    assert [event.reason for event in plan.events if event.at is None] == ["VersionReused"]
    assert plan.status["lastVersion"] == "churn-1"
    assert "churn-1 was made from this very spec" in (said(plan, "Ready") or "")
    assert len(cluster.runs) == 2
    plan = await cluster.turn()
    assert "VersionReused" not in [event.reason for event in plan.events]
    cluster.annotate(run_requested="now")
    await cluster.settle()
    assert cluster.runs[0]["trigger"] == "Requested"


async def test_of_versions_that_cannot_be_read_only_a_few_are_in_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can label as many as they like, of up to 1 MiB each, and say that they were made from these inputs."""
    read: list[str] = []
    reading = observing.made_by

    def made_by(version: Manifest) -> Any:
        read.append(version["metadata"]["name"])
        return reading(version)

    cluster = await trained(history=50)
    made = cluster.version("churn-1")["lineage"]["trainingJob"]
    for number in range(2, 100):
        stored = as_stored(a_model_version(f"x-{number}", lineage={"trainingJob": {**made, "run": number}}))
        labels = {"labels": {names.TRAINING_JOB: "churn"}}
        spec = {**stored["spec"], "producedAt": "0000-01-01T00:00:00Z"}
        cluster.put(names.MODEL_VERSIONS, f"x-{number}", metadata=labels, spec=spec, status=stored["status"])
    cluster.manifest["status"] = {}
    monkeypatch.setattr("upright.training.observe.made_by", made_by)
    await cluster.turn()
    assert 0 < len(read) < 20


@pytest.mark.parametrize("again", [False, True])  # the TrainingJob is made again, with the old spec
async def test_a_version_answers_however_many_there_have_been_since(*, again: bool) -> None:
    cluster = await trained(history=2, parameters={"depth": 1})
    for number in range(2, 6):
        cluster.change(parameters={"depth": number})
        await cluster.settle()
        await cluster.publish(f"churn-{number}")
    if again:
        cluster.manifest["status"] = {}
    cluster.change(parameters={"depth": 1})
    plan = await cluster.turn()
    assert "VersionReused" in [event.reason for event in plan.events]
    cluster.change(history=1)
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-5"]
    assert cluster.manifest["status"]["lastVersion"] == "churn-1"


async def test_a_version_that_answers_is_the_last_one_until_there_is_a_next() -> None:
    cluster = await trained(**CODE, parameters={"depth": 1})
    cluster.change(parameters={"depth": 2})
    await cluster.settle()
    await cluster.publish("churn-2")

    async def last(**spec: Any) -> str:
        cluster.change(**spec)
        await cluster.settle()
        return str(cluster.manifest["status"]["lastVersion"])

    assert await last(parameters={"depth": 1}) == "churn-1"
    assert await last(suspend=True, parameters={"depth": 3}) == "churn-1"
    assert await last(suspend=False) == "churn-1"
    assert cluster.runs[0]["name"] == "churn-3"
    await cluster.publish("churn-3")
    assert await last() == "churn-3"
    assert await last(parameters={"depth": 1}) == "churn-1"
    assert await last(parameters={"depth": 3}) == "churn-3"  # that is what the newest run has made


@pytest.mark.parametrize("phase", ["Corrupt", "Missing", "its claim is missing", "going", None])
async def test_a_version_that_is_gone_or_cannot_be_served_answers_nothing(phase: str | None) -> None:
    cluster = await trained(parameters={"depth": 4})
    cluster.change(parameters={"depth": 9})
    await cluster.settle()
    await cluster.publish("churn-2")
    if phase is None:
        del cluster.objects[names.MODEL_VERSIONS, "churn-1"]
    elif phase == "going":
        cluster.objects[names.MODEL_VERSIONS, "churn-1"]["metadata"]["deletionTimestamp"] = NOW.isoformat()
    elif phase == "its claim is missing":  # or was, as far as its status tells: a run would mend nothing
        cluster.objects[names.MODEL_VERSIONS, "churn-1"]["status"] = {"phase": "Missing"}
    else:
        cluster.objects[names.MODEL_VERSIONS, "churn-1"]["status"] = {"phase": phase, "inspection": {"outcome": phase}}
    cluster.change(parameters={"depth": 4})
    await cluster.settle()
    assert cluster.runs[0]["name"] == ("churn-2" if phase == "its claim is missing" else "churn-3")


@pytest.mark.parametrize(
    ("became", "runs"),
    [
        ({"status": {"phase": "Missing"}}, 2),
        ({"status": {"phase": "Missing", "inspection": {"outcome": "Missing"}}}, 2),
        ({"status": {"phase": "Corrupt", "inspection": {"outcome": "Corrupt"}}}, 2),
        ({"metadata": {"deletionTimestamp": NOW.isoformat()}}, 3),
    ],
)
async def test_what_becomes_of_a_version_that_is_used_again_starts_no_run_while_it_is_there(
    became: dict[str, Any], runs: int
) -> None:
    cluster = await trained(parameters={"depth": 4})
    cluster.change(parameters={"depth": 9})
    await cluster.settle()
    await cluster.publish("churn-2")
    cluster.change(parameters={"depth": 4})
    await cluster.settle()
    version = cluster.objects[names.MODEL_VERSIONS, "churn-1"]
    for part, fields in became.items():
        version[part] = {**version.get(part, {}), **fields}
    await cluster.settle()
    assert len(cluster.runs) == runs


@pytest.mark.parametrize("default", [False, True])
async def test_no_run_begins_whose_version_could_not_say_where_it_is(*, default: bool) -> None:
    cluster = Cluster(output={} if default else {"store": "pvc://models/a..b"})
    if default:
        cluster.kind = TrainingJobs(replace(DEFAULTS, store="pvc://models/a..b"))
    plan = await cluster.settle()
    assert plan.create == []
    assert "write the path from the root of the claim into spec.output.store" in (stalled(plan) or "")
    cluster.change(output={"store": "pvc://models/a.b"})
    await cluster.settle()
    assert cluster.runs[0]["phase"] == "Running"


async def test_a_run_of_which_no_version_can_be_made_ends_with_the_reason_and_the_next_begins() -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published(uri="pvc://models/a..b/x")}, phase="Succeeded")
    plan = await cluster.turn()
    assert plan.create == []
    assert run_of(plan)["phase"] == "Failed"
    assert "spec.artifact.uri: must not contain '..'" in run_of(plan)["message"]
    cluster.change(parameters={"depth": 5})
    await cluster.settle()
    assert cluster.runs[0]["name"] == "churn-2"


async def test_the_old_code_in_its_config_map_again_needs_no_run() -> None:
    cluster = await trained(**CODE)
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "2"})
    await cluster.settle()
    await cluster.publish("churn-2")
    cluster.put(names.CONFIG_MAPS, "code", data={"a": "1"})
    await cluster.settle()
    assert len(cluster.runs) == 2
    assert cluster.manifest["status"]["lastVersion"] == "churn-1"


OLD_SPEC: dict[str, Any] = {
    "data": [
        {"name": "train", "uri": "configmap://rows/train.csv"},
        {"name": "more", "uri": "pvc://lake/a", "digest": DIGEST},
    ],
    "code": {"uri": "configmap://churn-code"},
    "parameters": {"max_depth": 4, "ratio": 0.5, "nested": {"any": ["json", None]}},
    "train": {
        "command": ["python", "train.py"],
        "args": ["-v"],
        "env": [{"name": "A", "value": "1"}],
        "envFrom": [{"configMapRef": {"name": "x"}}],
        "resources": {"limits": {"memory": "1Gi"}},
        "pod": {"nodeSelector": {"gpu": "yes"}},
    },
    "output": {"store": "pvc://models"},
}
OLD_STATUS = {
    "observedGeneration": 1,
    "phase": "Succeeded",
    "runs": [
        {
            "name": "churn-1",
            "number": 1,
            "trigger": "Created",
            "phase": "Succeeded",
            "inputs": "a7e798ab70",
            "startedAt": "2026-11-20T12:00:00Z",
            "finishedAt": "2026-11-20T12:01:00Z",
            "attempts": 1,
            "modelVersion": "churn-1",
            "metrics": {"accuracy": 0.9},
            "data": {"train": DIGEST, "more": DIGEST},
            "message": "Run churn-1 produced ModelVersion churn-1.",
        }
    ],
    "lastVersion": "churn-1",
}
"""As the operator of commit 1831db3 wrote it."""
SIZED_SPEC: dict[str, Any] = {
    "train": {
        "command": ["python"],
        "pod": {
            "initContainers": [{"name": "data", "resources": {"limits": {"memory": "8Gi"}}}],
            "volumes": [{"name": "shm", "emptyDir": {"sizeLimit": "2Gi"}}],
        },
    }
}
"""Of which operators counted the name of the container, and the size."""


async def test_an_upgrade_starts_no_run_and_takes_what_is_there_as_what_was_trained_on() -> None:
    cluster = Cluster(a_training_job(status=OLD_STATUS, **OLD_SPEC))
    cluster.put(names.CONFIG_MAPS, "rows", data={"train.csv": "1"})
    cluster.put(names.CONFIG_MAPS, "churn-code", data={"train.py": "1"})
    cluster.put(names.CLAIMS, "lake")
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    cluster.change(train={**OLD_SPEC["train"], "resources": {}})
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    cluster.put(names.CONFIG_MAPS, "churn-code", data={"train.py": "2"})
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-2", "churn-1"]


async def test_an_upgrade_starts_no_run_where_sizes_were_counted() -> None:
    runs: Any = OLD_STATUS["runs"]
    status = {**OLD_STATUS, "runs": [{**runs[0], "inputs": "63b6360b03"}]}
    cluster = Cluster(a_training_job(status=status, **SIZED_SPEC))
    await cluster.settle()
    cluster.change(train={"command": ["python"], "pod": {"volumes": [{"name": "shm", "emptyDir": {}}]}})
    await cluster.settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]


@pytest.mark.parametrize(
    ("spec", "hash"),
    [
        (SIZED_SPEC, "63b6360b03"),
        (OLD_SPEC, "a7e798ab70"),
        ({"train": {"command": ["python", "train.py"]}}, "6f93016d57"),
        ({**OLD_SPEC, "model": "other"}, "7fb139e238"),
    ],
)
def test_the_hashes_of_older_operators_are_recognised(spec: Any, hash: str) -> None:
    assert hash in inputs_of(a_training_job(**spec), {}).older
    described = {**spec, "train": {**spec["train"], "metadata": {"labels": {"a": "b"}}}}
    assert hash in inputs_of(a_training_job(**described), {}).older


def test_a_hash_is_over_what_somebody_has_written_so_that_a_new_field_of_ours_changes_none() -> None:
    written = {"model": "churn", "train": {"command": ["python", "train.py"]}}
    assert inputs_of(a_training_job(), {}).spec == names.short_hash(written)


async def test_the_kind_is_woken_for_whoever_uses_a_name_or_waits_for_it() -> None:
    kind = TrainingJobs(DEFAULTS)
    jobs = [
        a_training_job("a", code={"uri": "configmap://code/train.py"}),
        a_training_job("b", data=[{"name": "d", "uri": "pvc://code"}], output={"store": "pvc://own/x"}),
    ]
    world = AWorld(*((names.TRAINING_JOBS, as_stored(one)) for one in jobs))
    woken = {
        (watch.type.plural, name): [key.name for key in watch.wakes({"metadata": metadata(name)}, world)]
        for watch in kind.watches
        if watch.metadata
        for name in ("code", "own", "models", "other")
    }
    assert {what: who for what, who in woken.items() if who} == {
        ("configmaps", "code"): ["a"],
        ("persistentvolumeclaims", "code"): ["b"],
        ("persistentvolumeclaims", "own"): ["b"],
        ("persistentvolumeclaims", "models"): ["a"],  # the default store
    }


@pytest.mark.parametrize("spec", [{}, {"data": 3, "code": "x", "output": []}, {"data": [1, {"uri": 7}]}, None])
def test_an_object_that_makes_no_sense_is_found_nowhere_and_harms_nobody(spec: Any) -> None:
    for index in TrainingJobs(DEFAULTS).indexes:
        list(index.values({"metadata": metadata("churn"), "spec": spec}))


# What is taken up


def again(cluster: Cluster, **more: Any) -> Cluster:
    """The object was deleted and made again, or restored: another UID, and no status."""
    made = {"uid": "uid-of-another", "generation": 1, **more}
    cluster.manifest = {**cluster.manifest, "metadata": {**cluster.manifest["metadata"], **made}, "status": {}}
    return cluster


async def test_an_object_that_was_made_again_trains_nothing_twice() -> None:
    cluster = await trained(**CODE)
    del cluster.objects[names.JOBS, "churn-1"]
    await again(cluster).settle()
    assert [run["name"] for run in cluster.runs] == ["churn-1"]
    assert cluster.manifest["status"]["phase"] == "Succeeded"
    assert cluster.manifest["status"]["lastVersion"] == "churn-1"
    cluster.change(parameters={"depth": 9})
    await cluster.settle()
    assert cluster.runs[0]["name"] == "churn-2"


@pytest.mark.parametrize(
    ("left", "told"), [("Missing", "cannot be served any more"), ("", "is not there any more"), ("Intact", "")]
)
async def test_an_object_that_takes_up_a_version_that_is_lost_says_so_and_how_to_have_another(
    left: str, told: str
) -> None:
    """`kubectl delete -f` of a folder with its claim, and `kubectl apply -f` of the same."""
    cluster = await trained(**CODE)
    del cluster.objects[names.JOBS, "churn-1"]
    key = names.MODEL_VERSIONS, "churn-1"
    if left:
        inspection = {"outcome": left, "at": NOW.isoformat(), "message": "", "pod": "p"}
        cluster.objects[key] = {**cluster.objects[key], "status": {"inspection": inspection}}
    await again(cluster).settle()
    if not left:
        del cluster.objects[key]
    cluster.now += timedelta(minutes=2)
    plan = await cluster.turn()
    message = said(plan, "Ready") or ""
    assert message.startswith("Run churn-1 produced ModelVersion churn-1.")
    assert told in message
    assert ("kubectl annotate --overwrite trainingjob churn -n shop upright.dev/run-requested" in message) is bool(told)
    assert not plan.create


async def test_a_request_that_was_answered_before_is_not_answered_again() -> None:
    cluster = Cluster()
    cluster.annotate(run_requested="monday")
    await cluster.settle()
    await cluster.publish("churn-1")
    del cluster.objects[names.JOBS, "churn-1"]
    await again(cluster).settle()
    assert len(cluster.runs) == 1
    cluster.annotate(run_requested="tuesday" * 1000)
    await cluster.settle()
    assert cluster.runs[0]["name"] == "churn-2"
    await cluster.publish("churn-2")
    assert len(cluster.version("churn-2")["lineage"]["trainingJob"]["request"]) == 1024
    assert len(cluster.runs) == 2


async def test_a_job_that_has_lost_its_owner_is_taken_up_and_its_version_is_made() -> None:
    cluster = Cluster(parameters={"depth": 4})
    await cluster.settle()
    job = cluster.job("churn-1")
    another = {"apiVersion": "v1", "kind": "ConfigMap", "name": "bundle", "uid": "uid-of-bundle"}
    job["metadata"] = {**job["metadata"], "ownerReferences": [another]}
    again(cluster).change(parameters={"depth": 9})
    plan = await cluster.turn()
    target = Reference(names.JOBS, "shop", "churn-1", "uid-of-churn-1")
    owner = names.owner_reference("TrainingJob", TrainingJob.model_validate(cluster.manifest).metadata)
    [correction] = plan.correct
    assert replace(correction, event=None) == Correction(target, "/metadata/ownerReferences", [another, owner])
    assert not plan.create
    assert [run["phase"] for run in cluster.runs] == ["Running"]
    job["metadata"] = {**job["metadata"], "ownerReferences": [owner]}
    await cluster.publish("churn-1")
    assert cluster.version("churn-1")["parameters"] == {"depth": 4}
    assert cluster.runs[0]["name"] == "churn-2"


@pytest.mark.parametrize("labels", [{}, {names.RUN: "x"}, {names.RUN: "²"}])
async def test_a_job_that_only_looks_like_ours_is_left_alone(labels: Any) -> None:
    cluster = Cluster()
    cluster.put(names.JOBS, "mine", metadata={"labels": {names.TRAINING_JOB: "churn", **labels}})
    plan = await cluster.settle()
    assert not plan.correct
    assert (names.JOBS, "mine") in cluster.objects
    assert [run["name"] for run in cluster.runs] == ["churn-1"]


async def test_a_job_of_an_earlier_object_that_is_on_its_way_out_is_neither_counted_nor_in_the_way() -> None:
    cluster = Cluster()
    await cluster.settle()
    await again(cluster).settle()
    assert [run["name"] for run in cluster.runs] == ["churn-2"]


async def test_a_report_that_the_kubelet_cut_makes_a_version_all_the_same() -> None:
    report = PublishReport.model_validate_json(REPORT)
    whole = termination_message(report)
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"publish": exited(0, whole[: len(whole) - 20])}, phase="Succeeded")
    await cluster.settle()
    assert cluster.version("churn-1")["artifact"]["digest"] == report.digest


@pytest.mark.parametrize("meta", [{}, {"deletionTimestamp": after(minutes=1).isoformat()}])
async def test_no_pod_of_another_namespace_says_anything_of_a_run(meta: dict[str, str]) -> None:
    """Whoever may read the Job can name it as the owner of their pod, and keep that by a finalizer."""
    cluster, alone = Cluster(), Cluster()
    for one in (cluster, alone):
        await one.settle()
    theirs = {**meta, "namespace": "elsewhere"}
    cluster.pod("churn-1", {"publish": published()}, "a", theirs, phase="Succeeded")
    cluster.pod("churn-1", {"train": exited(1)}, "b", theirs, phase="Failed")
    for one in (cluster, alone):
        one.pod("churn-1", {"train": {"running": {}}})
        await one.settle()
    assert cluster.manifest["status"] == alone.manifest["status"]
    assert [run["phase"] for run in cluster.runs] == ["Running"]
    assert (names.MODEL_VERSIONS, "churn-1") not in cluster.objects


# What holds a run up


async def test_a_container_that_never_ends_costs_no_version_and_the_job_is_ended() -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published(), "proxy": {"running": {}}})
    await cluster.settle()
    assert cluster.manifest["status"]["phase"] == "Succeeded"
    assert (names.JOBS, "churn-1") in cluster.objects
    cluster.now = after(seconds=31)
    plan = await cluster.turn()
    assert [one.name for one in plan.delete] == ["churn-1"]
    assert "proxy would go on" in plan.events[-1].message
    await cluster.settle()
    assert [run["phase"] for run in cluster.runs] == ["Succeeded"]


@pytest.mark.parametrize(
    ("pods", "kept"),
    [
        # The phases of pods, oldest first, and whether they have published; for how long the Job is kept, in seconds.
        ([("Failed", False), ("Succeeded", True)], 24 * 3600),
        ([("Failed", False), ("Failed", False), ("Succeeded", True)], 24 * 3600),
        ([("Failed", False), ("Running", True)], 30),
        ([("Failed", True)], 0),
        ([("Failed", False), ("Failed", True)], 0),
        ([("Running", True), ("Pending", False)], 0),
    ],
)
async def test_a_run_that_has_succeeded_keeps_its_pods_whatever_attempts_have_failed(
    pods: list[tuple[str, bool]], kept: int
) -> None:
    """Kubernetes has yet to say that the Job is complete."""
    cluster = Cluster()
    await cluster.settle()
    for n, (phase, done) in enumerate(pods):
        ended = {"publish": published()} if done else {"train": exited(1) if phase == "Failed" else {"running": {}}}
        meta = {"creationTimestamp": after(minutes=n - 9).isoformat()}
        cluster.pod("churn-1", ended, suffix=f"x{n}", meta=meta, phase=phase)
    plan = await cluster.turn()  # makes the version
    while cluster.runs[0]["phase"] == "Running":
        plan = await cluster.turn()
    assert cluster.runs[0]["phase"] == "Succeeded"
    assert [one.name for one in plan.delete] == ([] if kept else ["churn-1"])
    assert any(event.reason == "JobEnded" for event in plan.events) == (not kept)
    if kept:
        assert plan.again == timedelta(seconds=kept)
        cluster.now = after(seconds=kept)
        assert [one.name for one in (await cluster.turn()).delete] == ["churn-1"]


async def test_a_container_that_fails_after_the_model_is_published_does_not_train_again() -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published(), "proxy": exited(1)}, phase="Failed")
    await cluster.settle()
    assert cluster.manifest["status"]["phase"] == "Succeeded"
    assert (names.JOBS, "churn-1") not in cluster.objects


async def test_a_model_that_was_published_before_the_deadline_counts() -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published(), "proxy": exited(137)}, phase="Failed")
    cluster.has("churn-1", "Failed", "DeadlineExceeded")
    await cluster.settle()
    assert cluster.manifest["status"]["phase"] == "Succeeded"


@pytest.mark.parametrize("suspended", [True, False])
async def test_a_job_that_another_cluster_runs_is_told_from_the_beginning_and_needs_somebody(suspended: bool) -> None:
    """MultiKueue: of what runs elsewhere only the Job's status comes back, and never a report."""
    cluster = Cluster()
    await cluster.settle()
    job = cluster.job("churn-1")
    job["spec"] = {**job["spec"], "managedBy": "kubernetes.io/job-controller"}
    assert stalled(await cluster.turn()) is None
    job["spec"] = {**job["spec"], "managedBy": "kueue.x-k8s.io/multikueue", "suspend": suspended}
    cluster.now = after(minutes=20)
    plan = await cluster.turn()
    for words in ("is run by kueue.x-k8s.io/multikueue", "becomes no version", "kueue.x-k8s.io/queue-name"):
        assert words in (stalled(plan) or "")
    assert (cluster.asked, plan.again) == (0, None)
    cluster.pod("churn-1", {"train": {"running": {}}})
    assert suspended or stalled(await cluster.turn()) is None, "who manages it may have its pods here"
    del cluster.objects[names.PODS, "churn-1-x"]
    cluster.has("churn-1", "Complete")
    await cluster.settle()
    assert cluster.manifest["status"]["phase"] == "Failed"
    message = cluster.runs[0]["message"]
    assert "completed where kueue.x-k8s.io/multikueue (spec.managedBy of its Job) had it run" in message
    assert "run it again" not in message


async def test_a_model_that_does_not_get_into_its_store_is_told_while_it_is_tried_again() -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"train": exited(0), "publish": {"running": {"startedAt": NOW.isoformat()}}})
    where = "`kubectl logs churn-1-x -n shop -c publish` says why"
    for minutes, reconciling, needs_somebody in ((0, False, False), (3, True, False), (10, False, True)):
        cluster.now = after(minutes=minutes)
        plan = await cluster.turn()
        assert plan.status["phase"] == "Running"
        assert (where in (said(plan, "Reconciling") or "")) == reconciling
        assert (where in (stalled(plan) or "")) == needs_somebody
        assert plan.again == {0: timedelta(minutes=3), 3: timedelta(minutes=7), 10: None}[minutes]
    cluster.now = after(minutes=30)
    assert (await cluster.turn()).status == plan.status
    cluster.has("churn-1", "Failed", "DeadlineExceeded")
    del cluster.objects[names.PODS, "churn-1-x"]
    await cluster.settle()
    assert where in cluster.runs[0]["message"]


async def test_a_pod_that_its_own_deadline_ends_is_not_said_to_be_lost_to_its_node() -> None:
    cluster = Cluster()
    await cluster.settle()
    why = {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}
    cluster.pod("churn-1", {"train": exited(137)}, phase="Failed", **why)
    plan = await cluster.turn()
    sentence = "pod churn-1-x ran longer than activeDeadlineSeconds in spec.train.pod allows."
    assert sentence in run_of(plan)["message"]
    assert "node" not in run_of(plan)["message"]
    cluster.has("churn-1", "Failed", "BackoffLimitExceeded")
    await cluster.settle()
    assert cluster.runs[0]["message"].startswith(f"Run churn-1: {sentence}")


async def test_of_a_run_whose_job_cannot_be_made_it_is_not_said_that_it_is_under_way() -> None:
    plan = await Cluster().turn()
    assert not plan.record, "read only where the Job cannot be made"
    [ready] = [one["message"] for one in plan.status["conditions"] if one["type"] == "Ready"]
    assert ready == "Run churn-1 has no Job yet (Created)."


async def test_a_job_that_a_queue_holds_back_is_queued() -> None:
    cluster = Cluster(train={"command": ["x"], "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "night"}}})
    await cluster.settle()
    job = cluster.job("churn-1")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "night"
    job["spec"] = {**job["spec"], "suspend": True}
    cluster.now = after(hours=3)
    plan = await cluster.turn()
    assert plan.status["phase"] == run_of(plan)["phase"] == "Pending"
    assert "queue 'night'" in (said(plan, "Reconciling") or "")
    describe = "`kubectl describe workloads.kueue.x-k8s.io -n shop -l kueue.x-k8s.io/job-uid=uid-of-churn-1` tells why"
    assert f"{describe} it waits: if Kueue has deactivated it, until" in (said(plan, "Reconciling") or "")
    assert "kubectl" not in run_of(plan)["message"]
    assert stalled(plan) is None
    assert plan.again is None
    job["spec"] = {**job["spec"], "suspend": False}
    assert run_of(await cluster.turn())["phase"] == "Running"


@pytest.mark.parametrize("late", [names.PODS, names.JOBS])
async def test_no_run_is_given_up_because_one_watch_is_late(
    late: ResourceType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published()}, phase="Succeeded")
    cluster.objects[names.PODS, "churn-1-x"]["metadata"]["labels"] = {names.TRAINING_JOB: "churn"}
    cluster.has("churn-1", "Complete")
    with monkeypatch.context() as patched:
        plain = AWorld._found
        patched.setattr(AWorld, "_found", lambda of, index, *at: [] if index.type == late else plain(of, index, *at))
        await cluster.settle()
    assert run_of(await cluster.turn())["phase"] == "Succeeded"


async def test_a_queued_job_that_somebody_deleted_is_a_failed_run() -> None:
    cluster = Cluster()
    await cluster.settle()
    job = cluster.job("churn-1")
    job["spec"] = {**job["spec"], "suspend": True}
    await cluster.settle()
    del cluster.objects[names.JOBS, "churn-1"]
    plan = await cluster.settle()
    assert "was deleted" in run_of(plan)["message"]
    assert "What it has published, if anything, is in the store" in run_of(plan)["message"]
    assert "docs/versions.md, Importing a model by hand" in run_of(plan)["message"]
    assert "\n## Importing a model by hand\n" in (ROOT / "docs" / "versions.md").read_text()
    assert "before it ended" not in run_of(plan)["message"]  # as far as anybody knows


QUOTA = (
    'Error creating: pods "churn-1-abcde" is forbidden: exceeded quota: compute, requested: limits.memory=1Gi, '
    "used: limits.memory=2Gi, limited: limits.memory=2Gi"
)


def refused(note: str, at: str = "2026-11-22T12:00:01Z") -> Manifest:
    return an_event("churn-1", "FailedCreate", note, at)


def an_event(of: str, reason: str, note: str, at: str = "2026-11-22T12:00:01Z") -> Manifest:
    return {"involvedObject": {"uid": f"uid-of-{of}"}, "reason": reason, "message": note, "lastTimestamp": at}


@pytest.mark.parametrize(
    ("note", "told", "passing"),
    [
        (QUOTA, "gets no pod: exceeded quota: compute, requested: limits.memory=1Gi, used", True),
        (f"(combined from similar events): {QUOTA}", "gets no pod: exceeded quota: compute", True),
        ('Error creating: pods "churn-1-x" is forbidden: violates PodSecurity "restricted"', "violates", False),
        ('Error creating: pods "churn-1-x" is forbidden: failed quota: must specify limits.cpu', "must specify", False),
        ('Error creating: admission webhook "policy.example.com" denied the request: no', "denied", False),
        ('Error creating: admission webhook "k" denied the request: connection refused', "denied", False),
        ('Error creating: pods "churn-1-" is forbidden: unable to validate against any SCC: []', "validate", False),
        ('Error creating: pods "churn-1-" is forbidden: status unknown for quota: q', "goes on by itself once", True),
        (
            'Error creating: Internal error occurred: failed calling webhook "mesh.example.com": dial tcp: refused',
            "It is tried again and again",
            True,
        ),
        ("Error creating: etcdserver: request timed out", "goes on by itself once", True),
        ("Error creating: Timeout: request did not complete within requested timeout", "goes on by itself once", True),
        ("Error creating: the server is currently unable to handle the request", "goes on by itself once", True),
        (
            "Error creating: the server was unable to return a response in the time allotted, but may still",
            "goes on by itself once",
            True,
        ),
    ],
)
async def test_why_no_pod_can_be_made_is_said(note: str, told: str, passing: bool) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.told = [refused("Error creating: another", "2026-11-22T12:00:00Z"), refused(note)]
    cluster.job("churn-1")["metadata"]["creationTimestamp"] = NOW.isoformat()
    assert said(await cluster.turn(), "Reconciling") == "Run churn-1 is under way (Created)."
    waits = []
    for seconds in (10, 20, 40, 3600):
        cluster.now = after(seconds=seconds)
        plan = await cluster.turn()
        assert told in (said(plan, "Reconciling" if passing else "Stalled") or "")
        assert "churn-1-" not in (run_of(plan)["message"])
        await cluster.turn()  # whatever wakes it: events are not asked for again yet
        waits.append(plan.again.total_seconds() if plan.again else None)
    assert waits == [10, 20, 40, 300]
    assert cluster.asked == 4
    cluster.pod("churn-1", {"train": {"running": {}}})
    assert stalled(await cluster.turn()) is None


UNMOUNTED = 'MountVolume.SetUp failed for volume "cred" : secret "lake" not found'
BOUND = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-22T12:00:00Z"}]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([("FailedMount", UNMOUNTED)], f"pod churn-1-x cannot begin: {UNMOUNTED}. It goes on by itself"),
        (
            [("FailedScheduling", "0/3 nodes")],
            "has not begun yet: `kubectl describe pod churn-1-x -n shop` may tell why.",
        ),
        ([], "has not begun yet: `kubectl describe pod churn-1-x -n shop` may tell why."),
    ],
)
@pytest.mark.parametrize(
    "containers", [{}, {"train": waiting("PodInitializing"), "publish": waiting("PodInitializing")}]
)
async def test_why_a_pod_does_not_begin_is_said(containers: Any, events: Any, told: str) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.told = [an_event("churn-1-x", *event) for event in events]
    new = {"creationTimestamp": NOW.isoformat()}
    cluster.pod("churn-1", containers, meta=new, phase="Pending", conditions=BOUND)
    first = await cluster.turn()
    assert first.again == timedelta(minutes=1)
    assert run_of(first)["message"] == ""
    for seconds in (59, 60, 61, 100, 120, 240, 400, 480, 700, 780, 1080):
        cluster.now = after(seconds=seconds)
        plan = await cluster.turn()
        assert (told in (said(plan, "Reconciling") or "")) == (seconds >= 60)
        assert stalled(plan) is None
    assert cluster.asked == 6  # at 60, 120, 240, 480, 780 and 1080
    assert plan.again == timedelta(minutes=5)
    cluster.pod("churn-1", {"train": {"running": {}}, "publish": waiting("PodInitializing")}, meta=new)
    plan = await cluster.turn()
    assert (run_of(plan)["message"], plan.again, cluster.asked) == ("", None, 6)


STARTING = {"state": {"running": {"startedAt": NOW.isoformat()}}, "started": False}
CRASHING = {"state": waiting("CrashLoopBackOff", "back-off"), "lastState": exited(1, "no route"), "restartCount": 4}
PROBED = "Startup probe failed: connection refused"
YET = {"state": waiting("PodInitializing")}


@pytest.mark.parametrize(
    ("proxy", "train", "told"),
    [
        (STARTING, YET, f"wait for it: {PROBED}. `kubectl logs churn-1-x -n shop -c proxy` may say more."),
        (CRASHING, YET, f"{PROBED}. It has ended 5 times, last with exit code 1 (Error): no route. `kubectl logs"),
        ({**CRASHING, **STARTING}, YET, "It has ended 4 times, last with exit code 1 (Error): no route."),  # once again
        ({**STARTING, "started": True}, YET, ""),  # it is up, or a fetch that takes its time
        ({"state": STARTING["state"]}, YET, ""),
        ({"state": exited(0)}, YET, ""),
        (CRASHING, STARTING | {"started": True}, ""),  # the program runs all the same
        ({"state": exited(0)}, CRASHING, "container 'train' of pod churn-1-x is not up"),  # in place, as was possible
    ],
)
async def test_a_container_that_has_begun_and_keeps_the_next_from_it_is_told_with_its_last_words(
    proxy: Any, train: Any, told: str
) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.told = [
        an_event("churn-1-x", "Unhealthy", PROBED),
        an_event("churn-1-x", "BackOff", "Back-off restarting failed container", "2026-11-22T12:00:02Z"),
    ]
    init = [{"name": name, "image": "i", **one} for name, one in (("proxy", proxy), ("train", train))]
    states: Any = {"conditions": BOUND, "initContainerStatuses": init, "meta": {"creationTimestamp": NOW.isoformat()}}
    cluster.pod("churn-1", {"publish": YET["state"]}, phase="Pending", **states)
    for minutes in (0.9, 1, 9, 10, 300):
        cluster.now = after(minutes=minutes)
        plan = await cluster.turn()
        found = said(plan, "Stalled" if minutes >= 10 and told else "Reconciling") or ""
        assert ("is not up, and those after it wait for it" in found) == (bool(told) and minutes >= 1)
        assert (stalled(plan) is None) == (not told or minutes < 10)
        if told and minutes >= 1:
            assert told in found
            assert told.partition(":")[0] in run_of(plan)["message"], "which is quoted when its deadline is over"
        if told and minutes == 9:
            assert plan.again == timedelta(minutes=1)
    assert cluster.asked == (3 if told else 0)  # at 1, 9 and 300


@pytest.mark.parametrize("proxy", [{"state": exited(0)}, {**STARTING, "started": True}, CRASHING])
async def test_containers_that_do_not_wait_for_each_other_are_not_said_to(proxy: Any) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod(
        "churn-1",
        {"notify": exited(0), "publish": YET["state"], "zipper": YET["state"]},
        phase="Pending",
        conditions=BOUND,
        initContainerStatuses=[{"name": "proxy", "image": "i", **proxy}],
    )
    for minutes in (1, 300):
        cluster.now = after(minutes=minutes)
        plan = await cluster.turn()
        assert (run_of(plan)["message"], stalled(plan), cluster.asked) == ("", None, 0)


@pytest.mark.parametrize(
    ("minutes", "phase", "stuck"),
    [(0, "Running", False), (1, "Running", True), (85, "Pending", True), (85, "Failed", False)],
)
async def test_a_pod_that_its_node_does_not_end_is_told_of(minutes: int, phase: str, *, stuck: bool) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"train": {"running": {}}}, meta={"deletionTimestamp": NOW.isoformat()}, phase=phase)
    cluster.job("churn-1")["status"] = {"active": 0, "terminating": 1}
    cluster.now = after(minutes=minutes)
    plan = await cluster.turn()
    why = said(plan, "Reconciling") or ""
    assert ("pod churn-1-x should have ended by 2026-11-22T12:00:00+00:00; its node" in why) == stuck
    assert ("kubectl delete pod churn-1-x -n shop --force" in why) == stuck
    assert stalled(plan) is None
    assert plan.again == (timedelta(minutes=1) if minutes == 0 else None)
    assert run_of(plan)["attempts"] == 1


@pytest.mark.parametrize(
    ("condition", "reason", "ended"),
    [
        ("FailureTarget", "DeadlineExceeded", "took longer than spec.deadline allows and was stopped."),
        ("FailureTarget", "BackoffLimitExceeded", "failed: BackoffLimitExceeded."),
        ("SuccessCriteriaMet", "CompletionsReached", "completed, but the pod that could report the version is gone."),
    ],
)
@pytest.mark.parametrize("phase", ["Running", "Failed"])
async def test_a_run_that_is_decided_ends_with_its_pod_or_when_that_should_have_ended(
    phase: str, condition: str, reason: str, ended: str
) -> None:
    """Since Kubernetes 1.31 its Job has ended no sooner than its pods."""
    cluster = Cluster()
    await cluster.settle()
    before = an_event("churn-1-x", "FailedMount", UNMOUNTED)
    cluster.told, cluster.now = [before], after(minutes=1)
    cluster.pod("churn-1", {}, phase="Pending", conditions=BOUND)
    await cluster.turn()
    assert UNMOUNTED in run_of(await cluster.turn())["message"]
    cluster.pod(
        "churn-1", {"train": {"running": {}}}, meta={"deletionTimestamp": after(minutes=3).isoformat()}, phase=phase
    )
    cluster.has("churn-1", condition, reason)
    cluster.annotate(run_requested="now")
    for minutes in (2, 3):
        cluster.now = after(minutes=minutes)
        plan = await cluster.turn()
        assert (plan.status["phase"] == "Running") == (phase == "Running")
        if phase == "Running":
            assert f"Run churn-1 {ended}" in (said(plan, "Reconciling") or "")
            assert "It ends when its pod has: churn-1-x." in (said(plan, "Reconciling") or "")
            assert plan.again == timedelta(minutes=4 - minutes)
    cluster.now = after(minutes=4)
    await cluster.settle()
    assert [(run["name"], run["phase"]) for run in cluster.runs] == [("churn-2", "Running"), ("churn-1", "Failed")]
    message = cluster.runs[1]["message"]
    assert message.startswith(f"Run churn-1 {ended}")
    assert (UNMOUNTED in message) == (reason == "DeadlineExceeded")
    assert ("kubectl delete pod churn-1-x -n shop --force" in message) == (phase == "Running")
    assert "goes on" not in message.partition("But pod")[2]
    assert (names.JOBS, "churn-1") in cluster.objects  # to be looked at until its ttl


async def test_a_run_that_publishes_while_its_pods_are_ended_has_succeeded() -> None:
    cluster = Cluster()
    await cluster.settle()
    going = {"deletionTimestamp": after(minutes=1).isoformat()}
    cluster.pod("churn-1", {"publish": {"running": {}}}, meta=going)
    cluster.has("churn-1", "FailureTarget", "DeadlineExceeded")
    await cluster.settle()
    cluster.pod("churn-1", {"publish": published()}, meta=going)
    await cluster.settle()
    assert cluster.manifest["status"]["phase"] == "Succeeded"


NO_DEVICE = {"reason": "UnexpectedAdmissionError", "message": "Allocate failed: no healthy devices."}
TOLD_IN_A_CONDITION = {
    "conditions": [
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": "The node was low on resource: memory.",
        }
    ]
}
EVICTED = {"reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}


@pytest.mark.parametrize(
    ("whole", "containers", "told"),
    [
        (NO_DEVICE, {}, "(UnexpectedAdmissionError): Allocate failed: no healthy devices."),
        (EVICTED, {"train": exited(137)}, "(Evicted): The node was low on resource: ephemeral-storage."),
        (TOLD_IN_A_CONDITION, {"train": exited(137)}, "(Evicted): The node was low on resource: memory."),
    ],
)
@pytest.mark.parametrize(("ended", "crash"), [(False, False), (True, False), (True, True)])
async def test_what_nodes_refused_or_ended_is_counted_and_told_and_not_laid_upon_the_program(
    whole: Any, containers: Any, told: str, *, ended: bool, crash: bool
) -> None:
    cluster = Cluster()
    await cluster.settle()
    for n in range(3):
        meta = {"creationTimestamp": after(minutes=n).isoformat()}
        cluster.pod("churn-1", containers, suffix=f"x{n}", meta=meta, phase="Failed", **whole)
    if crash:
        cluster.pod("churn-1", {"train": exited(1, "no rows")}, phase="Failed")
    if ended:
        cluster.has("churn-1", "Failed", "BackoffLimitExceeded")
    else:
        cluster.pod("churn-1", {"train": {"running": {}}}, meta={"creationTimestamp": after(minutes=9).isoformat()})
        cluster.job("churn-1")["status"] = {"active": 1}
    run = run_of(await cluster.settle())
    assert run["phase"] == ("Failed" if ended else "Running")
    assert run["attempts"] == 3 + (crash or not ended)
    if crash:
        assert "the training program exited with 1, its last words: no rows" in run["message"]
    else:
        assert "lost 3 pods. Pod churn-1-x2 " in run["message"]
        assert told in run["message"]
        assert "program" not in run["message"]


async def test_a_job_without_a_pod_of_which_nobody_says_why_is_pointed_at() -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.job("churn-1")["metadata"]["creationTimestamp"] = NOW.isoformat()
    cluster.now = after(seconds=59)
    assert run_of(await cluster.turn())["message"] == ""
    cluster.now = after(seconds=60)
    plan = await cluster.turn()
    assert "has no pod yet: `kubectl describe job churn-1 -n shop`" in (said(plan, "Reconciling") or "")
    cluster.job("churn-1")["status"] = {"failed": 2}  # and their pods have been removed
    plan = await cluster.turn()
    assert "has no pod now, after 2 attempts: `kubectl" in (said(plan, "Reconciling") or "")
    assert not [event for event in plan.events if event.type == "Warning"]


async def test_a_pod_without_a_node_may_get_one_and_an_image_that_is_not_there_needs_somebody() -> None:
    cluster = Cluster()
    await cluster.settle()
    unscheduled = [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]
    cluster.pod("churn-1", {}, conditions=unscheduled)
    plan = await cluster.turn()
    assert "0/3 nodes" in (said(plan, "Reconciling") or "")
    assert stalled(plan) is None
    scheduled = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW.isoformat()}]
    for minutes, why, passing in (
        (0, "docker.io/team/train:1: not found", False),
        (9, "parent snapshot sha256:0b16 does not exist: not found", True),  # by the node
        (9, "toomanyrequests: you have reached your limit", True),
        (9, "401 Unauthorized", True),
        (10, "401 Unauthorized", False),  # whatever it is, it needs somebody
    ):
        cluster.now = after(minutes=minutes)
        cluster.pod("churn-1", {"train": waiting("ImagePullBackOff", why)}, conditions=scheduled)
        plan = await cluster.turn()
        assert f"cannot be pulled (ImagePullBackOff): {why}" in (stalled(plan) or said(plan, "Reconciling") or "")
        assert (stalled(plan) is None) is passing


async def test_what_runs_in_another_pod_of_the_run_is_hindered_by_a_node_there() -> None:
    cluster = Cluster()
    await cluster.settle()
    newer = {"creationTimestamp": after(seconds=5).isoformat(), "uid": "uid-of-newer"}
    absent = waiting("ErrImagePull", "docker.io/team/train:1: not found")
    cluster.pod("churn-1", {"train": absent}, "newer", meta=newer, phase="Pending")
    assert stalled(await cluster.turn())
    cluster.pod("churn-1", {"train": {"running": {"startedAt": NOW.isoformat()}}})
    plan = await cluster.turn()
    assert stalled(plan) is None
    assert "docker.io/team/train:1: not found" in (said(plan, "Reconciling") or "")


async def test_an_image_that_stays_away_needs_somebody_after_ten_minutes_whatever_the_kubelet_calls_it() -> None:
    cluster = Cluster()
    await cluster.settle()
    denied = "pull access denied, repository does not exist or may require authorization"
    for minutes in (0, 1, 4, 9, 9.9, 10, 12, 20):
        cluster.now = after(minutes=minutes)
        conditions = [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW.isoformat()},
            # Its sandbox was made anew: that is no news of the image.
            {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": cluster.now.isoformat()},
        ]
        words = {0.0: "ErrImagePull", 4.0: "RegistryUnavailable", 10.0: "RegistryUnavailable"}
        reason = words.get(minutes, "ImagePullBackOff")
        cluster.pod("churn-1", {"train": waiting(reason, denied)}, phase="Pending", conditions=conditions)
        plan = await cluster.turn()
        assert (stalled(plan) is None) == (minutes < 10)
        assert plan.again == (timedelta(minutes=10 - minutes) if minutes < 10 else None), "nobody else wakes it then"
        assert plan.status["phase"] == "Running", "the run is not given up"


EDITS: dict[str, Any] = {
    "parameters": lambda cluster, n: cluster.change(parameters={"depth": n}),
    "code": lambda cluster, n: cluster.put(names.CONFIG_MAPS, "code", data={"a": str(n)}),
    "no code": lambda cluster, _: cluster.objects.pop((names.CONFIG_MAPS, "code"), None),
    "request": lambda cluster, n: cluster.annotate(run_requested=str(n)),
    "suspend": lambda cluster, n: cluster.change(suspend=n == 0),
    "history": lambda cluster, n: cluster.change(history=n + 1),
    "version gone": lambda cluster, n: cluster.objects.pop((names.MODEL_VERSIONS, f"churn-{n + 1}"), None),
    "job gone": lambda cluster, n: cluster.objects.pop((names.JOBS, f"churn-{n + 1}"), None),
    "later": lambda cluster, n: setattr(cluster, "now", cluster.now + timedelta(hours=12 * n)),
}


@given(
    st.lists(st.tuples(st.sampled_from([*EDITS, "turn", "publish", "fail", "again"]), st.integers(0, 2)), max_size=25)
)
def test_whatever_happens_it_settles_and_one_run_goes_on_at_a_time(steps: list[tuple[str, int]]) -> None:
    async def live() -> None:
        cluster = Cluster(**CODE, ttl="24h")
        for step, n in steps:
            jobs = [name for (of, name), one in cluster.objects.items() if of == names.JOBS and "status" not in one]
            if step in EDITS:
                EDITS[step](cluster, n)
            elif step == "again":
                for name in jobs:
                    del cluster.objects[names.JOBS, name]
                again(cluster)
            elif step == "turn":
                await cluster.turn()
            elif jobs and step == "publish":
                await cluster.publish(jobs[-1])
            elif jobs:
                cluster.has(jobs[-1], "Failed", "BackoffLimitExceeded")
            runs = cluster.manifest.get("status", {}).get("runs", [])
            numbers = [run["number"] for run in runs]
            assert numbers == sorted(set(numbers), reverse=True)
            assert sum("finishedAt" not in run for run in runs) <= 1
        await cluster.settle()

    asyncio.run(live())


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (exited(2, "no such file"), "One attempt has failed: the training program exited with 2"),
        (
            {"terminated": {**exited(128, "pyhton: not found")["terminated"], "reason": "StartError"}},
            "the training program could not be started: pyhton: not found.",
        ),
    ],
)
async def test_attempts_that_have_failed_are_told_while_others_go_on(ended: Any, said: str) -> None:
    cluster = Cluster()
    await cluster.settle()
    cluster.pod("churn-1", {"train": ended}, phase="Failed")
    cluster.pod(
        "churn-1", {"train": {"running": {}}}, suffix="y", meta={"creationTimestamp": after(minutes=1).isoformat()}
    )
    await cluster.settle()
    assert said in run_of(await cluster.turn())["message"]


async def test_each_attempt_that_has_failed_is_an_event_at_its_time() -> None:
    cluster = Cluster()
    await cluster.settle()
    for n in range(2):
        ended = {**exited(1, f"ValueError: {n}")["terminated"], "finishedAt": after(minutes=n).isoformat()}
        cluster.pod("churn-1", {"train": {"terminated": ended}}, suffix=f"x{n}", phase="Failed")
    cluster.pod("churn-1", {"train": {"running": {}}}, meta={"creationTimestamp": after(minutes=2).isoformat()})
    cluster.now = after(minutes=10.5)
    told = [event for event in (await cluster.turn()).events if event.reason == "AttemptFailed"]
    assert [(event.type, event.at) for event in told] == [("Warning", after(minutes=1))]  # the other is no news
    assert told[0].message.startswith("Run churn-1: the training program exited with 1, its last words: ValueError: 1.")


async def test_what_hinders_a_run_is_told_once_and_after_what_came_before_it() -> None:
    """Whatever the kubelet calls it meanwhile: events of one reason and time are one."""
    cluster = Cluster()
    events: list[Event] = []

    async def turn(**time: float) -> None:
        cluster.now = after(**time)
        old = cluster.manifest.get("status") or {}
        events.extend((await cluster.turn()).events)
        cluster.manifest["status"] = with_transition_times(cluster.manifest.get("status") or {}, old, cluster.now)

    for seconds in (0.2, 0.3, 0.4):
        await turn(seconds=seconds)
    for seconds, reason in (
        (0.9, "ErrImagePull"),
        (1.0, "ErrImagePull"),
        (9, "ImagePullBackOff"),
        (60, "ErrImagePull"),
    ):
        cluster.pod("churn-1", {"train": waiting(reason, "not found")}, phase="Pending")
        await turn(seconds=seconds)
    told = {(event.reason, event.at) for event in events}
    assert told == {("RunStarted", after(seconds=0.2)), ("RunHindered", after(seconds=0.9))}
    cluster.pod("churn-1", {"train": {"running": {}}})
    await turn(seconds=300)
    cluster.pod("churn-1", {}, conditions=[{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}])
    for seconds in (301.5, 302):  # another trouble, while the run is Reconciling all the time
        await turn(seconds=seconds)
    assert {(event.reason, event.at) for event in events} - told == {("RunHindered", after(seconds=301.5))}


async def test_what_an_earlier_object_of_this_name_did_is_not_told_again() -> None:
    cluster = await trained()
    cluster.manifest = {**cluster.manifest, "status": {}}
    cluster.manifest["metadata"] = {**cluster.manifest["metadata"], "creationTimestamp": after(seconds=1).isoformat()}
    cluster.now = after(seconds=2)
    plan = await cluster.turn()
    assert [run["phase"] for run in cluster.runs] == ["Succeeded"]
    assert not plan.events
