"""A turn costs the same with few objects and with many: counted in calls of functions, not in time."""

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.unit.builders import a_deployment, a_model_version, a_pod, a_training_job, as_stored, exited
from tests.unit.kube.fakes import FakeClient
from tests.unit.rollout.world import NEW, NEW_REVISION, OLD, Unmeasured, in_canary, workloads
from upright.api import names
from upright.api.deployment import Serving
from upright.contract import Manifest
from upright.controller import Controller
from upright.kinds import kinds
from upright.kube.events import Recorder
from upright.kube.store import Stores
from upright.locations import locate
from upright.metrics import Metrics
from upright.pods.reading import read
from upright.rollout.revision import revision
from upright.settings import Settings
from upright.training.inputs import inputs_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SINCE = "2026-11-22T11:00:00Z"
FEW, MANY = 100, 2000


class Cluster:
    """So many versions of as many models, each served by a Deployment that follows its model, and trained by a job."""

    def __init__(self, size: int) -> None:
        jobs, versions, deployments = kinds(Settings(default_store="pvc://models"))
        all_kinds = jobs, versions, replace(deployments, source=Unmeasured())
        client: Any = FakeClient()
        self.client = client
        self.stores = Stores(all_kinds, client, lambda: NOW)
        recorder = Recorder(client, "operator-1", lambda: 0.0, lambda: NOW)
        self.controller = Controller(all_kinds, self.stores, client, recorder, Metrics())
        self._version = 0
        for number in range(size):
            version = as_stored(a_model_version(f"model{number}-1", model=f"model{number}", number=1))
            arm = {"modelVersion": f"model{number}-1", "revision": f"r{number}", "since": SINCE}
            deployment = as_stored(a_deployment(None, latest={"model": f"model{number}"}, status={"stable": arm}))
            job = as_stored(a_training_job(f"model{number}"))
            for each, name in (
                (version, version["metadata"]["name"]),
                (deployment, f"d-{number}"),
                (job, f"t-{number}"),
            ):
                self.put({**each, "metadata": {**each["metadata"], "name": name, "uid": f"{each['kind']}-{number}"}})

    def put(self, manifest: Manifest) -> None:
        """As a watch would deliver it."""
        self._version += 1
        types = (
            *(names.MODEL_VERSIONS, names.DEPLOYMENTS, names.TRAINING_JOBS, names.JOBS, names.PODS),
            *(names.APPS_DEPLOYMENTS, names.CONTROLLER_REVISIONS),
        )
        (type_,) = (
            each for each in types if (each.api_version, each.kind) == (manifest["apiVersion"], manifest["kind"])
        )
        newer = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": str(self._version)}}
        self.controller.seen(type_, newer)

    async def turn(self, number: int, name: str) -> None:
        """Observe one object and plan for it."""
        kind = self.controller._loops[number]._kind
        resource = self.stores.get(kind.type, "shop", name)
        assert resource is not None
        kind.plan(await kind.observe(resource, self.stores))

    def share(self, users: int) -> None:
        """A version that so many Deployments serve."""
        self.put(as_stored(a_model_version("shared-1", model="shared", number=1)))
        arm = {"modelVersion": "shared-1", "revision": "r", "since": SINCE}
        for number in range(users):
            one = as_stored(a_deployment("shared-1", status={"stable": arm}))
            self.put({**one, "metadata": {**one["metadata"], "name": f"user-{number}", "uid": f"user-{number}"}})

    async def change(self, number: int, name: str, **status: Any) -> None:
        """Take in a new status of an object, and find whom it wakes."""
        resource = self.stores.get(self.controller._loops[number]._kind.type, "shop", name)
        assert resource is not None
        self.put({**resource, "status": {**resource["status"], **status}})

    async def deliver(self, number: int, name: str) -> None:
        """Take in a new version of an object, and find whom it wakes."""
        resource = self.stores.get(self.controller._loops[number]._kind.type, "shop", name)
        assert resource is not None
        self.put(resource)

    def roll_out(self, **pods: int) -> None:
        """A Deployment with a candidate, and so many pods of it: `refused`, `evicted`, `ready`, or `strangers`, which
        only bear the label of the Deployment.
        """
        resource = in_canary()
        for each in (OLD, NEW, resource):
            self.put(as_stored(each))
        for workload in workloads(resource).values():
            self.put({**workload, "metadata": {**workload["metadata"], "creationTimestamp": SINCE}})
        for kind, count in pods.items():
            for number in range(count):
                self.put(a_pod_of_a_rollout(kind, number))

    async def arrive(self, kind: str) -> None:
        """A pod comes, and the Deployment has its turn."""
        self.put(a_pod_of_a_rollout(kind, 0))
        await self.turn(2, "churn")

    def keep(self, versions: int) -> None:
        """So many versions that a TrainingJob has made from one spec, each as its rows had changed, all of them in one
        claim and served for a while: by a Deployment that is made anew with the newest, which had been rejected.
        """
        sources = {field: f"configmap://{field}" for field in ("code", "rows")}
        data = [{"name": "rows", "uri": sources["rows"]}]
        job = a_training_job("nightly", code={"uri": sources["code"]}, data=data)
        trained = {"name": "nightly", "uid": "n", "trigger": "SourceChanged", "run": 1}
        for number in range(1, versions + 1):
            version = a_model_version(
                f"nightly-{number}",
                lineage={
                    "trainingJob": {**trained, "inputs": inputs_of(job, {}).spec},
                    "data": [{**data[0], "digest": _digest("rows", number)}],
                    "code": {"name": "code", "uri": sources["code"], "digest": _digest("code", 0)},
                },
            )
            verdict = {"deployment": "again", "revision": revision(version, Serving()), "at": SINCE}
            outcomes = ("Stable", "Rejected") if number == versions else ("Stable",)
            stored = as_stored(version)
            meta = {**stored["metadata"], "uid": f"n-{number}", "labels": {names.TRAINING_JOB: "nightly"}}
            verdicts = [{**verdict, "outcome": outcome} for outcome in outcomes]
            self.put({**stored, "metadata": meta, "status": {**stored["status"], "verdicts": verdicts}})
        self.put(as_stored(job))
        self.put(as_stored(a_deployment(f"nightly-{versions}", name="again")))
        self.put(as_stored(a_deployment("nihgtly-1", name="typo")))
        self.put(as_stored(a_deployment(None, name="other-typo", latest={"model": "chrun"})))
        self.hold("code", 0)

    def hold(self, name: str, number: int) -> None:
        """What a ConfigMap has in it."""
        meta = {"namespace": "shop", "name": name}
        self.controller.seen(names.CONFIG_MAPS, self.client.put(names.CONFIG_MAPS, {"metadata": meta, **_data(number)}))

    async def train(self, rows: int) -> None:
        """The turn of a TrainingJob whose rows are these."""
        self.hold("rows", rows)
        await self.turn(0, "nightly")

    def crowd(self, size: int) -> None:
        """So many objects of strangers that bear our labels, or a name that we would take; and a Job that runs."""
        self.put(as_stored(a_training_job("nightly")))
        self.put(as_stored(a_deployment("churn-1", name="churn")))
        for number in range(1, size + 1):
            for each in STRANGERS:
                self.put(a_stranger(*each, number, foreign=True))
                self.put(a_stranger(*each, number, foreign=False))
            taken = as_stored(a_model_version(f"nightly-{number}"))
            self.put({**taken, "metadata": {**taken["metadata"], "uid": f"taken-{number}", "labels": {}}})

    async def run(self) -> None:
        """The turn of a TrainingJob whose run goes on."""
        await self.turn(0, "running")

    def work(self, pods: int) -> None:
        """A run that has so many pods."""
        owner = {"apiVersion": "upright.dev/v1alpha1", "kind": "TrainingJob", "uid": "uid-of-running"}
        labels = {names.TRAINING_JOB: "running", names.RUN: "1"}
        meta = {"name": "running-1", "namespace": "shop", "uid": "j", "creationTimestamp": SINCE, "labels": labels}
        job = {"metadata": {**meta, "ownerReferences": [{**owner, "controller": True}]}, "status": {}}
        self.put(as_stored(a_training_job("running")))
        self.put({"apiVersion": "batch/v1", "kind": "Job", **job})
        for number in range(pods):
            pod = a_pod(f"worker-{number}", containers={"train": {"running": {"startedAt": SINCE}}})
            of_it = {"ownerReferences": [{"kind": "Job", "uid": "j", "controller": True}]}
            self.put({**pod, "apiVersion": "v1", "kind": "Pod", "metadata": {**pod["metadata"], **of_it}})

    async def claimed(self) -> None:
        """Take in another version of the claim."""
        self._version += 1
        meta = {"namespace": "shop", "name": "models", "uid": "models", "resourceVersion": str(self._version)}
        self.controller.seen(names.CLAIMS, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta})


STRANGERS = (
    ("batch/v1", "Job", names.TRAINING_JOB, names.RUN),
    ("apps/v1", "Deployment", names.DEPLOYMENT, names.REVISION),
    ("apps/v1", "ControllerRevision", names.DEPLOYMENT, names.REVISION),
)
"""What we make of each, the label by which it is found, and one more that it always bears."""


def a_stranger(api: str, kind: str, label: str, mark: str, number: int, *, foreign: bool) -> Manifest:
    """It bears our label, and either is another's, or does not bear what all bear that we make."""
    labels = {label: "nightly" if kind == "Job" else "churn"} | ({mark: "7"} if foreign else {})
    owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "x", "uid": "x", "controller": True}
    meta = {"name": f"s-{number}-{foreign}", "namespace": "shop", "uid": f"{kind}-{number}-{foreign}", "labels": labels}
    made = {"creationTimestamp": SINCE, "ownerReferences": [owner] if foreign else []}
    return {"apiVersion": api, "kind": kind, "metadata": {**meta, **made}}


def a_pod_of_a_rollout(kind: str, number: int) -> Manifest:
    labels = {names.DEPLOYMENT: "churn", names.MODEL_VERSION: "churn-2"}
    if kind != "strangers":
        labels |= {names.REVISION: NEW_REVISION, names.DEPLOYMENT_UID: "uid-of-churn"}
    failed = {"refused": "UnexpectedAdmissionError", "evicted": "Evicted"}.get(kind)
    status: dict[str, Any] = {"phase": "Failed", "reason": failed, "message": "Why."} if failed else {}
    runs = {"serve": exited(137) if failed else {"running": {"startedAt": SINCE}}}
    pod = a_pod(f"{kind}-{number}", ready=not failed, labels=labels, containers=runs, **status)
    return {**pod, "apiVersion": "v1", "kind": "Pod"}


def _data(number: int) -> Mapping[str, Any]:
    return {"data": {"file": f"{number}"}}


def _digest(name: str, number: int) -> str | None:
    return locate(f"configmap://{name}").digest(_data(number))


async def calls(work: Callable[[], Awaitable[None]], of: CodeType | None = None) -> int:
    """How many functions the work calls, of Python or not; or how often one."""
    count = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call" and frame.f_code is of if of else event in ("call", "c_call")

    sys.setprofile(note)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return count


def _reading(work: Callable[[], Awaitable[None]]) -> Awaitable[int]:
    """How many objects it reads as a whole: each may be a MiB."""
    return calls(work, json.loads.__code__)


@pytest.fixture(scope="module")
def clusters() -> tuple[Cluster, Cluster]:
    return Cluster(FEW), Cluster(MANY)


@pytest.mark.parametrize("what", ["turn", "deliver"])
@pytest.mark.parametrize(("number", "name"), [(0, "t-7"), (1, "model7-1"), (2, "d-7")])
async def test_with_twenty_times_the_objects_it_costs_at_most_twice_as_much(
    clusters: tuple[Cluster, Cluster], what: str, number: int, name: str
) -> None:
    few, many = clusters
    await getattr(few, what)(number, name)  # what is computed once is computed now
    small = await calls(lambda: getattr(few, what)(number, name))
    large = await calls(lambda: getattr(many, what)(number, name))
    assert large <= 2 * small


@pytest.mark.parametrize(("kind", "most"), [("refused", 1.2), ("evicted", 1.2), ("strangers", 1.2), ("ready", 30)])
async def test_a_pod_that_comes_costs_the_same_however_many_have_failed_or_only_bear_the_label(
    kind: str, most: float
) -> None:
    """Else the pods that a node refuses, or that anybody gives our label, cost the square of how many they are. Those
    that are to serve are gone through in each turn, and read in none.
    """
    few, many = Cluster(1), Cluster(1)
    few.roll_out(**{kind: 10})
    many.roll_out(**{kind: 1000})
    for each in (few, many):
        await each.arrive(kind)  # what is computed once is computed now
    small, large = await calls(partial(few.arrive, kind)), await calls(partial(many.arrive, kind))
    assert large <= most * small


async def test_what_one_user_of_a_version_says_costs_the_same_however_many_users_it_has() -> None:
    """Else a version that is given to many at once costs the square of how many they are."""
    few, many = Cluster(1), Cluster(1)
    few.share(10)
    many.share(200)
    news: tuple[tuple[int, str, dict[str, Any]], ...] = (
        (2, "user-7", {"message": "Serves."}),
        (1, "shared-1", {"usedBy": []}),
    )
    for number, name, status in news:
        small = await calls(partial(few.change, number, name, **status))
        large = await calls(partial(many.change, number, name, **status))
        assert large <= 1.5 * small


async def test_news_of_a_claim_that_is_there_anyway_wakes_nobody(clusters: tuple[Cluster, Cluster]) -> None:
    """Else whatever is written on it, by whoever has to do with volumes, is a turn of all that use it."""
    few, many = clusters
    for cluster in clusters:
        await cluster.claimed()
    assert await calls(many.claimed) == await calls(few.claimed)


@pytest.fixture(scope="module")
def kept() -> tuple[Cluster, Cluster]:
    few, many = Cluster(0), Cluster(0)
    few.keep(250)
    many.keep(2500)
    return few, many


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("train", [1]),  # what its rows held for the first version of all
        ("train", [9999]),  # what they never held
        ("claimed", []),
        ("turn", [1, "nightly-7"]),
        ("turn", [2, "again"]),
        ("turn", [2, "typo"]),
        ("turn", [2, "other-typo"]),
    ],
)
async def test_what_was_ever_made_costs_nothing(kept: tuple[Cluster, Cluster], what: str, given: list[Any]) -> None:
    measured = []
    for cluster in kept:
        work = partial(getattr(cluster, what), *given)
        await work()  # what is computed once is computed now
        measured.append((await calls(work), await _reading(work)))
    [(small, few), (large, many)] = measured
    assert large <= 1.2 * small
    assert many <= few <= 20


async def test_newer_versions_that_can_never_be_served_are_not_read_however_many_they_are() -> None:
    """Who may make a version decides how large it is."""
    measured = []
    for size in (1, 100):
        cluster = Cluster(0)
        for number in range(1, size + 2):
            phase = {"phase": "Ready"} if number == 1 else {"phase": "NotAllowed", "ready": False}
            version = as_stored(a_model_version(f"churn-{number}", model="churn", number=number, **phase))
            cluster.put({**version, "metadata": {**version["metadata"], "uid": f"v{number}"}})
        arm = {"modelVersion": "churn-1", "revision": "r1", "since": SINCE}
        cluster.put(as_stored(a_deployment(None, latest={"model": "churn"}, status={"stable": arm, "phase": "Stable"})))
        await cluster.turn(2, "churn")  # what is computed once is computed now
        measured.append(await _reading(partial(cluster.turn, 2, "churn")))
    assert measured[0] == measured[1]


@pytest.mark.parametrize("given", [(0, "nightly"), (2, "churn")])
async def test_of_what_only_bears_our_label_or_has_taken_a_name_nothing_is_read(given: tuple[int, str]) -> None:
    measured = []
    for size in (1, 100):
        cluster = Cluster(1)
        cluster.crowd(size)
        await cluster.turn(*given)  # what is computed once is computed now
        measured.append(await _reading(partial(cluster.turn, *given)))
    assert measured[0] == measured[1]


@pytest.mark.parametrize("foreign", [True, False])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_what_only_bears_our_label_wakes_nobody(stranger: tuple[str, str, str, str], foreign: bool) -> None:
    cluster = Cluster(1)
    cluster.crowd(0)
    kind = cluster.controller._loops[0 if stranger[1] == "Job" else 2]._kind
    one = a_stranger(*stranger, 1, foreign=foreign)
    [watch] = [each for each in kind.watches if (each.type.api_version, each.type.kind) == (stranger[0], stranger[1])]
    meta = {**one["metadata"], "ownerReferences": []}
    left = {**one, "metadata": {**meta, "labels": meta["labels"] | {stranger[3]: "7"}}}
    assert not list(watch.wakes(one, cluster.stores))
    assert [key.name for key in watch.wakes(left, cluster.stores)] == [meta["labels"][stranger[2]]]


async def test_a_pod_of_a_run_is_read_once_and_not_in_every_turn() -> None:
    measured = []
    for pods in (1, 100):
        cluster = Cluster(1)
        cluster.work(pods)
        await cluster.run()  # what is computed once is computed now
        measured.append((await _reading(cluster.run), await calls(cluster.run, read.__code__)))
    assert measured[0] == measured[1]
    assert measured[0][1] == 0


def test_what_is_not_read_of_a_pod_wakes_no_kind() -> None:
    cluster = Cluster(1)
    pod = a_pod("churn-1-x", labels={names.TRAINING_JOB: "churn"})
    noted = {**pod, "metadata": {**pod["metadata"], "annotations": {"note": "x"}, "resourceVersion": "2"}}
    orphan = {**pod, "metadata": {**pod["metadata"], "ownerReferences": [{"uid": "j", "controller": True}]}}
    watches = [each for loop in cluster.controller._loops for each in loop._kind.watches if each.type == names.PODS]
    reads = [each.reads for each in watches if each.reads]
    assert len(reads) == len(watches) == 3
    assert all(each(pod) == each(noted) for each in reads)
    assert reads[0](pod) != reads[0](orphan), "whose it is is read of a run's"
