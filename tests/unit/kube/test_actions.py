"""Acts: compared with what is there, taken up when nobody has it, made exact where it must be."""

import asyncio
from typing import Any

import pytest

from tests.unit.kube.fakes import SERVICES, TOYS, Clock, FakeClient, a_service, a_toy
from upright.contract import Correction, Key, Manifest, ResourceType, Watch
from upright.kube import actions as module
from upright.kube.actions import Actions, Done
from upright.kube.errors import ConflictError, ContestedError, LeavingError, NameTakenError, RefusedError
from upright.kube.objects import key_of, reference, uid_of
from upright.kube.store import Stores

OWNER = a_toy()
FIELDS = [
    f"spec.{name}" for name in ("selector", "ports", "replicas", "trafficDistribution", "publishNotReadyAddresses")
]


class Kind:
    type = TOYS
    watches = (Watch(SERVICES, lambda service, world: (), fields=FIELDS),)
    applies = (SERVICES,)
    indexes = ()


class Cluster:
    """Services, and what is known of them."""

    def __init__(self) -> None:
        self.client, self.clock = FakeClient(), Clock()
        kind: Any = Kind()
        client: Any = self.client
        self.stores = Stores([kind], client, self.clock.now)
        self.actions = Actions(client, self.stores, self.seen, self.gone)

    def seen(self, type: ResourceType, manifest: Manifest) -> None:
        self.stores.of(type).put(manifest)

    def gone(self, type: ResourceType, manifest: Manifest) -> None:
        self.stores.of(type).remove(manifest)

    def put(self, service: Manifest) -> Manifest:
        written = self.client.put(SERVICES, service)
        self.seen(SERVICES, written)
        return written

    def change(self, **spec: Any) -> None:
        """As if somebody had written to the Service."""
        live = self.client.objects[SERVICES, Key("shop", "s")]
        self.put({**live, "spec": {**live["spec"], **spec}})

    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.objects[SERVICES, Key("shop", "s")]["spec"]
        return found

    def writes(self) -> list[str]:
        return [verb for verb, _, _ in self.client.writes]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def restored(done: Done) -> str:
    assert done.event is not None
    assert (done.event.type, done.event.reason) == ("Warning", "Restored")
    return done.event.message


def wanted(owner: Manifest = OWNER, **spec: Any) -> dict[str, Any]:
    return {**a_service("s", owner), "spec": {"selector": {"app": "s"}, "ports": [{"port": 80}], **spec}}


async def test_what_is_as_it_was_applied_is_not_written_again_not_even_by_another_process(cluster: Cluster) -> None:
    assert (await cluster.actions.apply(SERVICES, wanted())).wrote
    assert not (await cluster.actions.apply(SERVICES, wanted())).wrote
    other = Actions(cluster.client, cluster.stores, cluster.seen, cluster.gone)  # type: ignore[arg-type]
    assert not (await other.apply(SERVICES, wanted())).wrote
    assert cluster.writes() == ["apply"]


async def test_what_is_not_kept_of_an_object_is_no_difference(cluster: Cluster) -> None:
    manifest = wanted(clusterIP="None")
    await cluster.actions.apply(SERVICES, manifest)
    other = Actions(cluster.client, cluster.stores, cluster.seen, cluster.gone)  # type: ignore[arg-type]
    assert not (await other.apply(SERVICES, manifest)).wrote


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"selector": {"app": "s", "team": "growth"}}, "Service s had spec.selector.team added"),
        ({"selector": {"app": "other"}}, "Service s had another spec.selector.app"),
        ({"ports": [{"port": 80}, {"port": 81}]}, "Service s had another spec.ports, spec.ports[1] added"),
        ({"trafficDistribution": "PreferClose"}, "Service s had spec.trafficDistribution added"),
        ({"publishNotReadyAddresses": True}, "Service s had spec.publishNotReadyAddresses added"),
    ],
)
async def test_what_somebody_has_changed_is_put_back_and_told(
    cluster: Cluster, change: dict[str, Any], told: str
) -> None:
    await cluster.actions.apply(SERVICES, wanted())
    cluster.change(**change)
    assert restored(await cluster.actions.apply(SERVICES, wanted())) == f"Put back what somebody changed: {told}."
    assert cluster.spec() == {"selector": {"app": "s"}, "ports": [{"port": 80}]}
    assert not (await cluster.actions.apply(SERVICES, wanted())).wrote


@pytest.mark.parametrize("status", [409, 422])
async def test_another_object_of_a_name_is_a_conflict_however_the_api_server_words_it(
    cluster: Cluster, status: int
) -> None:
    live = cluster.put(wanted())
    cluster.client.objects[SERVICES, Key("shop", "s")]["metadata"]["uid"] = "another"
    cluster.client.refused = {(SERVICES, "s"): RefusedError("patch", "services", status, "uid is immutable")}
    target = reference(SERVICES, live)
    with pytest.raises(ConflictError, match="it is another object by now"):
        await cluster.actions.correct(Correction(target, "/spec/ports", []))
    found = cluster.stores.get(SERVICES, "shop", "s")
    assert found is not None
    assert uid_of(found) == "another"


@pytest.mark.parametrize("watched", [True, False])
async def test_labels_by_which_what_is_made_once_is_found_are_put_back(cluster: Cluster, watched: bool) -> None:
    """Without them no watch tells of it, or nobody finds it: one would believe that it is gone."""
    labels = {"app.kubernetes.io/managed-by": "upright", "upright.dev/run": "7", "team": "a"}
    made = wanted()
    made["metadata"]["labels"] = labels
    await cluster.actions.create(SERVICES, made)
    live = cluster.client.objects[SERVICES, Key("shop", "s")]
    other = {"app.kubernetes.io/managed-by": "platform", "team": "b"}
    relabelled = cluster.client.put(SERVICES, {**live, "metadata": {**live["metadata"], "labels": other}})
    (cluster.seen if watched else cluster.gone)(SERVICES, relabelled)
    done = await cluster.actions.create(SERVICES, made)
    changed = "another label app.kubernetes.io/managed-by, another label upright.dev/run"
    assert restored(done) == f"Put back what somebody changed: Service s had {changed}."
    found = cluster.stores.get(SERVICES, "shop", "s")
    assert found is not None
    assert found["metadata"]["labels"] == {**labels, "team": "b"}, "what is not ours to say stays"
    assert not (await cluster.actions.create(SERVICES, made)).wrote


async def test_labels_that_somebody_changes_again_and_again_are_let_have_a_truce(cluster: Cluster) -> None:
    made = wanted()
    await cluster.actions.create(SERVICES, made)

    async def change() -> None:
        live = cluster.client.objects[SERVICES, Key("shop", "s")]
        cluster.put({**live, "metadata": {**live["metadata"], "labels": {}}})
        await cluster.actions.create(SERVICES, made)

    for _ in range(module.PUT_BACK_AT_ONCE):
        await change()
    for _ in range(2):
        with pytest.raises(
            ContestedError, match=r"another label app\.kubernetes\.io/managed-by, another label upright\.dev/model"
        ):
            await change()


async def test_what_somebody_has_hidden_from_the_watches_is_scaled_and_deleted_all_the_same(cluster: Cluster) -> None:
    hidden = cluster.client.put(SERVICES, wanted(replicas=5))
    target = reference(SERVICES, hidden)
    assert await cluster.actions.correct(Correction(target, "/spec/replicas", 0))
    assert cluster.spec()["replicas"] == 0
    cluster.gone(SERVICES, cluster.client.objects[SERVICES, Key("shop", "s")])
    assert await cluster.actions.delete(target)
    assert not cluster.client.objects
    assert not await cluster.actions.delete(target)
    assert not await cluster.actions.correct(Correction(target, "/spec/replicas", 0))


async def test_another_owner_beside_ours_is_no_change(cluster: Cluster) -> None:
    service = wanted()
    await cluster.actions.apply(SERVICES, service)
    live = cluster.client.objects[SERVICES, Key("shop", "s")]
    owners = [*live["metadata"]["ownerReferences"], {"apiVersion": "v1", "kind": "App", "name": "all", "uid": "x"}]
    cluster.put({**live, "metadata": {**live["metadata"], "ownerReferences": owners}})
    assert not (await cluster.actions.apply(SERVICES, service)).wrote
    assert cluster.writes() == ["apply"]


async def test_what_the_api_server_has_filled_in_stays(cluster: Cluster) -> None:
    await cluster.actions.apply(SERVICES, wanted())
    cluster.change(type="NodePort", ports=[{"port": 80, "nodePort": 30001}])
    assert not (await cluster.actions.apply(SERVICES, wanted())).wrote
    assert cluster.spec()["ports"] == [{"port": 80, "nodePort": 30001}]


async def test_another_plan_of_ours_is_no_change_of_somebody_else(cluster: Cluster) -> None:
    for app in ("s", "t", "s"):
        assert (await cluster.actions.apply(SERVICES, wanted(selector={"app": app}))).event is None
    assert cluster.spec()["selector"] == {"app": "s"}


async def test_who_changes_it_again_and_again_is_let_have_a_truce(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    await cluster.actions.apply(SERVICES, wanted())

    async def dispute() -> str:
        cluster.change(selector={"app": "s", "team": "growth"})
        try:
            return restored(await cluster.actions.apply(SERVICES, wanted()))
        except ContestedError as error:
            return str(error)

    for _ in range(module.PUT_BACK_AT_ONCE):
        assert "spec.selector.team added" in await dispute()
    contested = await dispute()
    assert "belongs to this object, and somebody changes it again and again: it had" in contested
    assert cluster.spec()["selector"] == {"app": "s", "team": "growth"}
    writes = len(cluster.writes())
    for _ in range(100):
        await dispute()
    assert len(cluster.writes()) == writes
    for _ in range(100):
        now[0] += 60
        await dispute()
    assert 15 <= len(cluster.writes()) - writes <= 2 * 25, "100 minutes, a truce of 5 minutes"
    now[0] += module.PEACE
    assert (await dispute()).startswith("Put back what somebody changed: Service s had")


async def test_a_part_that_somebody_changes_again_and_again_is_let_have_a_truce(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    target = reference(SERVICES, cluster.put(wanted()))

    async def set_to(value: int) -> bool:
        return await cluster.actions.correct(Correction(target, "/spec/replicas", value))

    for value in (3, 1, 3, 1, 3, 1, 3):
        assert await set_to(value), "to want something else is no dispute"
    for _ in range(module.PUT_BACK_AT_ONCE):
        cluster.change(replicas=9)
        assert await set_to(3)
    cluster.change(replicas=9)
    with pytest.raises(ContestedError, match=r"it had another spec\.replicas"):
        await set_to(3)
    assert cluster.spec()["replicas"] == 9
    writes = len(cluster.writes())
    for _ in range(10):
        with pytest.raises(ContestedError):
            await set_to(3)
    assert len(cluster.writes()) == writes
    assert await set_to(0), "what is wanted otherwise is not held up"
    now[0] += module.PEACE
    cluster.change(replicas=9)
    assert await set_to(0)


async def test_who_scales_it_again_and_again_is_named(cluster: Cluster) -> None:
    target = reference(SERVICES, cluster.put(wanted()))
    writers = [
        {"manager": "kubectl", "time": "2026-11-22T12:00:00Z"},
        {"manager": "upright", "subresource": "scale", "time": "2026-11-22T13:00:02Z"},
        {"manager": "kubelet", "subresource": "status", "time": "2026-11-22T13:00:03Z"},
        {"manager": "downscaler", "subresource": "scale", "time": "2026-11-22T13:00:01Z"},
    ]
    assert await cluster.actions.scale(Correction(target, "/spec/replicas", 3))
    assert cluster.spec()["replicas"] == 3

    async def dispute() -> None:
        cluster.change(replicas=0)
        cluster.client.objects[SERVICES, Key("shop", "s")]["metadata"]["managedFields"] = writers
        await cluster.actions.scale(Correction(target, "/spec/replicas", 3))

    for _ in range(module.PUT_BACK_AT_ONCE):
        await dispute()
    with pytest.raises(ContestedError, match="It was field manager downscaler that wrote to it last"):
        await dispute()


async def test_what_the_api_server_adds_to_a_part_is_neither_written_again_nor_told(cluster: Cluster) -> None:
    """A newer API server has another default for templates, say. Others go on writing to the object meanwhile."""
    cluster.client.filled_in = {"protocol": "TCP"}
    service = cluster.put(wanted(ports=[{"port": 80, "protocol": "TCP"}]))
    correction = Correction(reference(SERVICES, service), "/spec/ports", [{"port": 80}])
    for replicas in range(5):
        live = cluster.client.objects[SERVICES, Key("shop", "s")]
        cluster.client.put(SERVICES, {**live, "spec": {**live["spec"], "replicas": replicas}})  # not seen yet
        assert not await cluster.actions.correct(correction), "nothing has changed"
        cluster.change(replicas=replicas + 10)
        assert not await cluster.actions.correct(correction)
    assert cluster.writes() == ["correct"]
    cluster.change(ports=[{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}])
    assert await cluster.actions.correct(correction), "somebody has changed it"
    assert cluster.spec()["ports"] == [{"port": 80, "protocol": "TCP"}]


def left_behind(**metadata: Any) -> dict[str, Any]:
    service = wanted()
    del service["metadata"]["ownerReferences"]
    service["metadata"] |= metadata
    return service


@pytest.mark.parametrize("act", ["apply", "create"])
async def test_what_bears_our_labels_and_has_no_owner_is_taken_up(cluster: Cluster, act: str) -> None:
    before = cluster.put(left_behind())
    event = (await getattr(cluster.actions, act)(SERVICES, wanted())).event
    assert (event.reason, event.message) == ("TakenUp", "Service s had no owner, and is taken up.")
    found = cluster.client.objects[SERVICES, Key("shop", "s")]
    assert uid_of(found) == uid_of(before)
    assert found["metadata"]["ownerReferences"] == wanted()["metadata"]["ownerReferences"]
    writes = cluster.writes()
    await getattr(cluster.actions, act)(SERVICES, wanted())
    assert cluster.writes() == writes


@pytest.mark.parametrize("act", ["apply", "create"])
@pytest.mark.parametrize(
    "theirs",
    [
        left_behind(labels={}),
        left_behind(labels={"app.kubernetes.io/managed-by": "Helm", "upright.dev/model": "bear"}),
        left_behind(labels={"app.kubernetes.io/managed-by": "upright", "upright.dev/model": "doll"}),
        wanted(a_toy("doll", uid="d")),
    ],
)
async def test_what_is_somebody_elses_is_never_touched(cluster: Cluster, act: str, theirs: dict[str, Any]) -> None:
    cluster.put(theirs)
    with pytest.raises(NameTakenError):
        await getattr(cluster.actions, act)(SERVICES, wanted())
    assert cluster.writes() == []


@pytest.mark.parametrize("act", ["apply", "create"])
async def test_what_a_namesake_has_left_to_the_garbage_collector_is_waited_for(cluster: Cluster, act: str) -> None:
    cluster.put(wanted(a_toy(uid="an earlier one")))
    with pytest.raises(LeavingError) as caught:
        await getattr(cluster.actions, act)(SERVICES, wanted())
    assert not caught.value.lasting
    assert cluster.writes() == []


async def test_what_is_controlled_by_its_owner_is_ours_whatever_its_labels_say(cluster: Cluster) -> None:
    service = wanted()
    service["metadata"]["labels"] = {}
    cluster.client.put(SERVICES, service)  # no watch tells of it
    await cluster.actions.apply(SERVICES, wanted())
    assert cluster.client.objects[SERVICES, Key("shop", "s")]["metadata"]["labels"] == wanted()["metadata"]["labels"]
    cluster.put({**a_service("more", OWNER, labels={"no": "label"})})
    theirs = a_service("theirs", OWNER)
    cluster.put({**theirs, "metadata": {**theirs["metadata"], "namespace": "elsewhere"}})
    kept = {SERVICES: {key_of(wanted())}}
    superfluous = cluster.actions.superfluous(OWNER, [SERVICES], kept)
    assert [target.name for target in superfluous] == ["more"]


async def test_what_somebody_holds_while_it_is_deleted_is_told_when_that_lasts(cluster: Cluster) -> None:
    service = wanted()
    service["metadata"] |= {"deletionTimestamp": "2026-11-22T12:00:00Z", "finalizers": ["example.com/held"]}
    cluster.put(service)
    for seconds, lasting in ((1, False), (61, True)):
        cluster.clock.forward(seconds)
        for make in (cluster.actions.apply, cluster.actions.create):
            with pytest.raises(LeavingError, match=r"held by example\.com/held: whoever set that") as caught:
                await make(SERVICES, wanted())
            assert caught.value.lasting is lasting
    assert cluster.writes() == []


async def test_what_waits_for_a_pod_that_cannot_go_is_told_when_that_lasts(cluster: Cluster) -> None:
    service = wanted()
    service["metadata"] |= {"deletionTimestamp": "2026-11-22T12:00:00Z", "finalizers": ["foregroundDeletion"]}
    cluster.put(service)
    for seconds, lasting in ((1, False), (61, True)):
        cluster.clock.forward(seconds)
        with pytest.raises(LeavingError, match="look for a pod with a deletionTimestamp") as caught:
            await cluster.actions.apply(SERVICES, wanted())
        assert caught.value.lasting is lasting
    assert cluster.writes() == []


@pytest.mark.parametrize(
    ("pods", "finalizers", "seconds"),
    [
        ({"terminationGracePeriodSeconds": 310}, ["foregroundDeletion"], 370),
        ({"containers": []}, ["foregroundDeletion"], 90),
        ({"terminationGracePeriodSeconds": 310}, ["foregroundDeletion", "example.com/held"], 60),
    ],
)
async def test_pods_that_answer_their_last_requests_hold_nothing_until_their_grace_period_is_over(
    cluster: Cluster, pods: Manifest, finalizers: list[str], seconds: int
) -> None:
    workload = wanted(template={"spec": pods})
    going = {"deletionTimestamp": "2026-11-22T12:00:00Z", "finalizers": finalizers}
    cluster.put({**workload, "metadata": {**workload["metadata"], **going}})
    for passed, lasting in ((seconds, False), (2, True)):
        cluster.clock.forward(passed)
        for make in (cluster.actions.apply, cluster.actions.create):
            with pytest.raises(LeavingError) as caught:
                await make(SERVICES, workload)
            assert caught.value.lasting is lasting


async def test_what_was_made_anew_while_one_asks_is_not_taken_for_gone(cluster: Cluster) -> None:
    cluster.put(wanted())
    plain = cluster.client.get

    async def get(*target: Any) -> Manifest | None:
        found = await plain(*target)
        old = cluster.client.objects.pop((SERVICES, Key("shop", "s")))
        cluster.gone(SERVICES, old)
        cluster.put({**wanted(), "metadata": {**wanted()["metadata"], "uid": "made-anew"}})  # by the watch, meanwhile
        return found

    cluster.client.get = get  # type: ignore[method-assign, assignment]
    await cluster.actions.refresh(SERVICES, "shop", "s")
    found = cluster.stores.get(SERVICES, "shop", "s")
    assert found is not None
    assert uid_of(found) == "made-anew"


async def test_what_is_created_goes_on_once_the_name_is_free_though_no_watch_tells_of_it(cluster: Cluster) -> None:
    cluster.client.put(SERVICES, left_behind(labels={"app.kubernetes.io/managed-by": "Helm"}))
    for _ in range(2):
        with pytest.raises(NameTakenError):
            await cluster.actions.create(SERVICES, wanted())
    del cluster.client.objects[SERVICES, Key("shop", "s")]
    assert await cluster.actions.create(SERVICES, wanted()) == Done(wrote=True)


# A policy


async def test_what_comes_back_with_the_answer_is_told_and_tried_again_and_not_taken_for_done(cluster: Cluster) -> None:
    """An admission policy adds a key to each selector, until it is gone."""
    policy: dict[str, str] = {"team": "a"}

    class Adding(FakeClient):
        def put(self, type: ResourceType, manifest: Manifest) -> Manifest:
            spec = manifest["spec"]
            return super().put(type, {**manifest, "spec": {**spec, "selector": {**spec["selector"], **policy}}})

    adding: Any = Adding()
    cluster.client = cluster.actions._client = adding
    wanted = {**a_service("s", OWNER), "spec": {"selector": {"app": "s"}, "ports": [{"port": 80}]}}
    for _ in range(2):
        with pytest.raises(ContestedError, match=r"it had spec\.selector\.team added"):
            await cluster.actions.apply(SERVICES, wanted)
    policy.clear()
    await cluster.actions.apply(SERVICES, wanted)
    assert cluster.spec()["selector"] == {"app": "s"}
    cluster.client.writes.clear()
    assert not (await cluster.actions.apply(SERVICES, wanted)).wrote
    assert not cluster.client.writes


async def test_what_cannot_be_merged_is_set_as_it_should_be_first(cluster: Cluster) -> None:
    """Another number under the name of a port of ours: the API server merges by number, and refuses the name twice."""

    class Merging(FakeClient):
        async def apply(self, type: ResourceType, manifest: Manifest, *, force: bool) -> Manifest:
            live = self.objects.get((type, key_of(manifest)))
            if live and live["spec"]["ports"] != manifest["spec"]["ports"]:
                raise RefusedError("patch", "services", 422, 'spec.ports[1].name: Duplicate value: "http"')
            return await super().apply(type, manifest, force=force)

    merging: Any = Merging()
    cluster.client = cluster.actions._client = merging
    ports = [{"name": "http", "port": 80}]
    wanted = {**a_service("s", OWNER), "spec": {"selector": {"app": "s"}, "ports": ports}}
    await cluster.actions.apply(SERVICES, wanted)
    cluster.change(ports=[{"name": "http", "port": 8080}])
    assert (await cluster.actions.apply(SERVICES, wanted)).wrote
    assert cluster.spec()["ports"] == ports
