"""The loop: what is planned is recorded, done and told, whatever else goes wrong."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.unit.kube.fakes import NOON, SERVICES, TOYS, Clock, FakeClient, a_service, a_toy
from upright.api.names import EVENTS
from upright.contract import (
    Correction,
    Count,
    Event,
    Index,
    Key,
    Manifest,
    Plan,
    Reference,
    ResourceType,
    Watch,
    World,
)
from upright.controller import SOON, Controller
from upright.kube.errors import ConflictError, RefusedError, UnreachableError
from upright.kube.events import Recorder
from upright.kube.keeping import LARGEST
from upright.kube.store import Stores
from upright.metrics import Metrics

BEAR, DOLL = Key("shop", "bear"), Key("shop", "doll")
CLAIMS = ResourceType("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
STARTED = Event("Normal", "Started", "Start", "Run 7 has started.", at=NOON + timedelta(minutes=1))


def _owner(service: Manifest, _: World) -> Iterable[Key]:
    owner = service["metadata"]["ownerReferences"][0]
    return [Key(service["metadata"]["namespace"], owner["name"])]


@dataclass
class Toys:
    """A kind that plans what it is told to."""

    planned: Callable[[Manifest], Plan] = lambda toy: Plan(status={"seen": True})
    type: ResourceType = TOYS
    watches: Sequence[Watch] = (
        Watch(SERVICES, _owner, fields=("spec.ports", "spec.selector")),
        Watch(CLAIMS, lambda claim, _: [BEAR], metadata=True),
    )
    applies: Sequence[ResourceType] = (SERVICES,)
    indexes: Sequence[Index] = ()
    turns: list[Key] = field(default_factory=list)
    forgotten: list[Key] = field(default_factory=list)
    wake: Callable[[Key], None] = lambda key: None

    def begin(self, wake: Callable[[Key], None]) -> None:
        self.wake = wake

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)

    async def observe(self, resource: Manifest, world: World) -> Manifest:
        self.turns.append(Key("shop", resource["metadata"]["name"]))
        return resource

    def plan(self, observed: Manifest) -> Plan:
        return self.planned(observed)


class Shop:
    """A controller of Toys, and the cluster that it believes in."""

    def __init__(self, kind: Toys | None = None, client: FakeClient | None = None, clock: Clock | None = None) -> None:
        self.kind = kind or Toys()
        self.client = client or FakeClient()
        self.clock = clock or Clock()
        self.metrics = Metrics()
        cluster: Any = self.client
        self.stores = Stores([self.kind], cluster, self.clock.now)
        recorder = Recorder(cluster, "operator-1", self.clock.monotonic, self.clock.now)
        self.blind = set[ResourceType]()
        self.controller = Controller(
            [self.kind],
            self.stores,
            cluster,
            recorder,
            self.metrics,
            lambda types, _: any(each in types for each in self.blind),
        )
        (self.loop,) = self.controller._loops

    def put(self, type: ResourceType, manifest: Manifest) -> Manifest:
        """As if somebody had written it, and the watch had told."""
        written = self.client.put(type, manifest)
        self.controller.seen(type, written)
        return written

    def stored(self, type: ResourceType, name: str) -> dict[str, Any]:
        return self.client.objects[type, Key("shop", name)]

    def condition(self, type: str, name: str = "bear") -> dict[str, Any]:
        conditions = self.stored(TOYS, name).get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == type), {})

    def told(self) -> list[str]:
        """The reasons of the Events that there are."""
        return sorted(event["reason"] for (of, _), event in self.client.objects.items() if of == EVENTS)

    async def turn(self, key: Key = BEAR) -> None:
        await self.loop.work(key)

    def writes(self, type: ResourceType | None = None) -> list[tuple[str, str]]:
        return [(verb, name) for verb, of, name in self.client.writes if of == type or type is None]


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def running(shop: Shop, work: Callable[[], Awaitable[None]]) -> None:
    shop.controller.start()
    await work()
    await shop.controller.stop(1)


async def test_an_object_of_a_namespace_that_is_not_served_has_its_turns_as_soon_as_it_is() -> None:
    shop = Shop()
    elsewhere = a_toy("elsewhere")
    elsewhere["metadata"]["namespace"] = "team"
    shop.controller.start(unserved={"shop"})
    shop.put(TOYS, a_toy("doll"))
    shop.put(TOYS, elsewhere)
    await until(lambda: shop.kind.turns)
    assert {key.name for key in shop.kind.turns} == {"elsewhere"}
    shop.controller.serve("shop")
    await until(lambda: DOLL in shop.kind.turns)
    shop.put(TOYS, a_toy("bear"))
    await until(lambda: BEAR in shop.kind.turns)
    await shop.controller.stop(1)


async def until(question: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not question():  # noqa: ASYNC110 - any question, and nobody tells that its answer has changed
            await asyncio.sleep(0.005)


# What a kind is told


async def test_a_kind_can_wake_an_object_by_itself(shop: Shop) -> None:
    shop.put(TOYS, a_toy())

    async def work() -> None:
        await until(lambda: shop.kind.turns)
        before = len(shop.kind.turns)
        shop.kind.wake(BEAR)
        await until(lambda: len(shop.kind.turns) > before)

    await running(shop, work)


async def test_what_is_gone_or_about_to_be_is_forgotten_and_nothing_else(shop: Shop) -> None:
    toy = shop.put(TOYS, a_toy())
    await shop.turn()
    assert shop.kind.forgotten == []
    shop.controller.gone(TOYS, toy)
    await shop.turn()
    assert shop.kind.forgotten == [BEAR]


async def test_an_object_that_is_being_deleted_is_forgotten(shop: Shop) -> None:
    toy = a_toy()
    shop.put(TOYS, {**toy, "metadata": {**toy["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z"}})
    await shop.turn()
    assert shop.kind.forgotten == [BEAR]
    assert shop.kind.turns == []


async def test_a_namesake_does_not_inherit_what_was_remembered(shop: Shop) -> None:
    shop.put(TOYS, a_toy(uid="first"))
    await shop.turn()
    shop.put(TOYS, a_toy(uid="second"))
    await shop.turn()
    assert shop.kind.forgotten == [BEAR]
    assert len(shop.kind.turns) == 2


async def test_a_namesake_that_is_made_while_a_turn_acts_does_not_get_the_status_of_the_one_before(shop: Shop) -> None:
    apply = shop.client.apply

    async def in_the_meantime(type: ResourceType, manifest: Manifest, *, force: bool) -> Manifest:
        shop.client.apply = apply  # type: ignore[method-assign]
        shop.put(TOYS, a_toy(uid="second"))
        raise RefusedError("patch", "services s", 403, "exceeded quota")

    shop.client.apply = in_the_meantime  # type: ignore[method-assign]
    shop.kind.planned = lambda toy: Plan(status={"of": toy["metadata"]["uid"]}, apply=[a_service("s", toy)])
    shop.put(TOYS, a_toy(uid="first"))
    await shop.turn()
    assert shop.stored(TOYS, "bear")["metadata"]["uid"] == "second"
    assert shop.stored(TOYS, "bear")["status"]["of"] == "second"


async def test_of_what_is_watched_by_name_only_every_object_wakes_whoever_made_it(shop: Shop) -> None:
    claim = {"metadata": {"name": "models", "namespace": "shop", "uid": "u", "resourceVersion": "7"}}
    shop.controller.seen(CLAIMS, claim)
    assert shop.loop.queue.depth == 1
    assert shop.stores.get(CLAIMS, "shop", "models") is not None
    shop.controller.listed(CLAIMS, "shop", {"another"}, 9)
    assert shop.stores.get(CLAIMS, "shop", "models") is None


async def test_a_change_of_what_nobody_reads_wakes_nobody() -> None:
    def wakes(claim: Manifest, _: World) -> list[Key]:
        return [Key("shop", f"of-version-{claim['metadata']['resourceVersion']}")]

    shop = Shop(Toys(watches=(Watch(CLAIMS, wakes, reads=lambda claim: claim["spec"]["size"]),)))
    known = {"name": "models", "namespace": "shop", "uid": "u"}
    news = [
        ({"spec": {"size": 1}}, 1),
        ({"spec": {"size": 1}, "status": {"used": 1}}, 1),
        ({"spec": {"size": 2}, "status": {"used": 1}}, 3),  # woken by the old version, and by the new one
        ({}, 4),  # what cannot be read may have changed
    ]
    for version, (rest, woken) in enumerate(news):
        shop.controller.seen(CLAIMS, {"metadata": {**known, "resourceVersion": str(version)}, **rest})
        assert shop.loop.queue.depth == woken
    shop.controller.gone(CLAIMS, {"metadata": {**known, "resourceVersion": "9"}})
    assert shop.stores.get(CLAIMS, "shop", "models") is None


# Acting


def a_plan(**rest: Any) -> Callable[[Manifest], Plan]:
    return lambda toy: Plan(status={"seen": True}, **rest)


async def test_a_part_that_others_have_changed_is_set_to_what_it_should_be(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    service = a_service("s", a_toy())
    service["spec"]["selector"] = {"app": "s", "team": "added"}
    live = shop.put(SERVICES, service)
    target = Reference(SERVICES, "shop", "s", live["metadata"]["uid"])
    shop.kind.applies = ()
    shop.kind.planned = a_plan(correct=[Correction(target, "/spec/selector", {"app": "s"})])
    await shop.turn()
    assert shop.stored(SERVICES, "s")["spec"]["selector"] == {"app": "s"}
    await shop.turn()
    assert shop.writes(SERVICES) == [("correct", "s")]


async def test_a_part_that_the_api_server_writes_otherwise_is_corrected_once(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    live = shop.put(SERVICES, a_service("s", a_toy()))
    target = Reference(SERVICES, "shop", "s", live["metadata"]["uid"])
    shop.kind.applies = ()
    shop.kind.planned = a_plan(correct=[Correction(target, "/spec/ports", [{"port": 80.5}])])
    shop.client.filled_in = {"protocol": "TCP"}
    for _ in range(3):
        await shop.turn()
    assert shop.writes(SERVICES) == [("correct", "s")]


async def test_another_object_of_that_name_is_not_corrected(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.put(SERVICES, a_service("s", a_toy()))
    shop.kind.applies = ()
    shop.kind.planned = a_plan(correct=[Correction(Reference(SERVICES, "shop", "s", "other"), "/spec/ports", [])])
    await shop.turn()
    assert shop.writes(SERVICES) == []


def refuse(shop: Shop, *names: str, error: Exception) -> None:
    """The API server refuses every write to these Services."""
    shop.client.refused = {(SERVICES, name): error for name in names}


BROKEN_WEBHOOK = RefusedError("patch", "services", 500, "failed calling webhook")


async def test_one_act_that_fails_keeps_no_other_from_being_tried(shop: Shop) -> None:
    """A rejected version's pods go although the Service of the candidate cannot be made."""
    shop.put(TOYS, a_toy())
    shop.kind.watches = (Watch(SERVICES, _owner),)
    old = shop.put(SERVICES, {**a_service("old", a_toy()), "spec": {"replicas": 4}})
    gone = shop.put(SERVICES, a_service("gone", a_toy()))
    shop = another_process(shop)
    refuse(shop, "new", error=RefusedError("patch", "services new", 422, "no address is left"))
    shop.kind.planned = a_plan(
        apply=[a_service("new", a_toy()), a_service("other", a_toy())],
        scale=[Correction(Reference(SERVICES, "shop", "old", old["metadata"]["uid"]), "/spec/replicas", 0)],
        create=[a_service("made", a_toy()), a_service("old", a_toy())],
        delete=[Reference(SERVICES, "shop", "gone", gone["metadata"]["uid"])],
    )
    await shop.turn()
    assert {("scale", "old"), ("apply", "other"), ("create", "made"), ("delete", "gone")} <= {*shop.writes(SERVICES)}
    assert shop.condition("Stalled")["reason"] == "RequestRefused"
    assert "no address is left" in shop.condition("Stalled")["message"]


def another_process(shop: Shop) -> Shop:
    """The same cluster, seen by a process that knows only what is there."""
    fresh = Shop(shop.kind, shop.client, shop.clock)
    for (of, _), manifest in list(shop.client.objects.items()):
        if of in (TOYS, SERVICES):
            fresh.controller.seen(of, manifest)
    return fresh


async def test_nothing_is_deleted_while_what_leads_to_it_could_not_be_changed(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.put(SERVICES, a_service("front", a_toy()))
    gone = shop.put(SERVICES, a_service("gone", a_toy()))
    changed = {**a_service("front", a_toy()), "spec": {"ports": [{"port": 81}]}}
    shop.kind.planned = a_plan(apply=[changed], delete=[Reference(SERVICES, "shop", "gone", gone["metadata"]["uid"])])
    refuse(shop, "front", error=BROKEN_WEBHOOK)
    await shop.turn()
    assert ("delete", "gone") not in shop.writes(SERVICES)
    shop.client.refused = {}
    await shop.turn()
    assert ("delete", "gone") in shop.writes(SERVICES)


# Telling


async def test_what_was_decided_is_told_even_if_acting_on_it_fails(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    undated = Event("Normal", "Decided", "Decide", "Step 2 begins.")
    shop.kind.planned = a_plan(apply=[a_service("s", a_toy())], events=[STARTED, undated])
    refuse(shop, "s", error=BROKEN_WEBHOOK)
    for _ in range(2):
        await shop.turn()
    assert shop.told() == ["Decided", "Started"]


async def test_what_is_its_own_record_is_recorded_by_the_next_turn_and_at_once_if_it_cannot_be_made(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.kind.planned = lambda toy: Plan(status={"phase": "Pending"}, create=[a_service("s", a_toy())], record=False)
    shop.client.refused = {(SERVICES, "s"): UnreachableError("no answer")}
    await shop.turn()
    assert shop.stored(TOYS, "bear")["status"]["phase"] == "Pending"
    shop = Shop(shop.kind)
    shop.put(TOYS, a_toy())
    await shop.turn()
    assert "status" not in shop.stored(TOYS, "bear")
    assert shop.writes(SERVICES) == [("create", "s")]


async def test_an_object_that_is_too_large_says_so_and_gets_no_turn(shop: Shop) -> None:
    shop.put(TOYS, {**a_toy(), "spec": {"notes": "x" * 2**20}})
    await shop.turn()
    await shop.turn()
    assert not shop.kind.turns
    assert shop.condition("Stalled")["reason"] == "TooLarge"
    assert shop.told() == ["TooLarge"]
    assert len(shop.writes(TOYS)) == 1


async def test_what_could_not_be_recorded_is_not_told(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.kind.planned = a_plan(events=[STARTED])
    shop.client.refused = {(TOYS, "bear"): UnreachableError("no answer")}
    await shop.turn()
    assert shop.told() == []
    shop.client.refused = {}
    await shop.turn()
    assert shop.told() == ["Started"]


async def test_that_a_status_cannot_be_written_is_told_by_an_event(shop: Shop) -> None:
    """A rule that an object breaks which was stored before it, or a permission that lacks."""
    shop.put(TOYS, a_toy())
    shop.client.refused[TOYS, "bear"] = ConflictError("patch", "toys", 409, "modified")
    await shop.turn()
    assert shop.told() == []
    shop.client.refused[TOYS, "bear"] = RefusedError("patch", "toys", 422, "metadata.name: must be shorter")
    for _ in range(3):
        await shop.turn()
    assert shop.told() == ["RequestRefused"]


async def test_a_dated_event_is_told_once_by_however_many_turns_and_processes(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.kind.planned = a_plan(events=[STARTED])
    for _ in range(3):
        await shop.turn()
    assert shop.told() == ["Started"]
    writes = len(shop.client.writes)
    second = another_process(shop)
    shop.clock.forward(120)
    for _ in range(3):
        await second.turn()
    assert len(shop.client.writes) == writes, "neither is it told again nor is that tried"


async def test_a_process_that_ends_between_recording_and_telling_leaves_it_to_the_next(shop: Shop) -> None:
    shop.put(TOYS, {**a_toy(), "status": {"seen": True}})
    shop.kind.planned = a_plan(events=[STARTED])
    second = another_process(shop)
    await second.turn()
    assert shop.told() == ["Started"]
    assert second.writes(TOYS) == []


# What goes wrong


async def test_a_mistake_of_ours_is_a_condition_of_that_object_alone(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def plan(toy: Manifest) -> Plan:
        if toy["metadata"]["name"] == "bear":
            raise KeyError("name")
        return Plan(status={"seen": True})

    shop.kind.planned = plan
    shop.put(TOYS, a_toy())
    shop.put(TOYS, a_toy("doll", uid="d"))
    for _ in range(3):
        await shop.turn(BEAR)
    await shop.turn(DOLL)
    stalled = shop.condition("Stalled")
    assert (stalled["status"], stalled["reason"], stalled["observedGeneration"]) == ("True", "InternalError", 1)
    assert "KeyError: 'name'" in stalled["message"]
    assert shop.condition("Ready")["status"] == "Unknown"
    assert shop.writes(TOYS) == [("status", "bear"), ("status", "doll")]
    assert shop.told() == ["InternalError"]
    assert caplog.text.count("Traceback") == 1


async def test_a_mistake_that_words_itself_differently_each_time_is_told_once(shop: Shop) -> None:
    attempts = iter(range(100))

    def plan(toy: Manifest) -> Plan:
        raise RuntimeError(f"attempt {next(attempts)} at {id(object())}")

    shop.kind.planned = plan
    shop.put(TOYS, a_toy())
    for _ in range(5):
        await shop.turn()
    assert shop.writes(TOYS) == [("status", "bear")]


async def test_a_mistake_while_acting_does_not_write_the_status_to_and_fro(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.kind.planned = a_plan(apply=[a_service("s", a_toy())])
    refuse(shop, "s", error=RuntimeError("a mistake"))
    await shop.turn()
    writes = len(shop.writes(TOYS))
    for _ in range(3):
        await shop.turn()
    again = another_process(shop)
    await again.turn()
    assert len(shop.writes(TOYS)) == writes, "nor does a restart"
    shop.client.refused = {}
    await again.turn()
    assert not shop.condition("Stalled")


async def test_what_a_plan_says_itself_is_no_obstacle_of_the_shell(shop: Shop) -> None:
    """Whatever word a kind uses: nothing is written to and fro."""
    ready = {"type": "Ready", "status": "False", "reason": "NameTaken", "message": "It is taken."}
    shop.kind.planned = lambda toy: Plan(status={"conditions": [{**ready, "type": "Stalled", "status": "True"}, ready]})
    shop.put(TOYS, a_toy())
    for _ in range(3):
        await shop.turn()
    assert shop.writes(TOYS) == [("status", "bear")]


async def test_what_fails_rests_although_its_own_writes_come_back_as_news(shop: Shop) -> None:
    counted = iter(range(10**6))

    def plan(toy: Manifest) -> Plan:
        return Plan(status={"turn": next(counted)}, apply=[a_service("s", a_toy())])

    shop.kind.planned = plan
    refuse(shop, "s", error=BROKEN_WEBHOOK)
    shop.put(TOYS, a_toy())

    async def work() -> None:
        await until(lambda: shop.kind.turns)
        for number in range(50):
            await asyncio.sleep(0.002)
            shop.put(SERVICES, a_service(f"other-{number}", a_toy()))

    await running(shop, work)
    assert len(shop.kind.turns) == 1


async def test_what_fails_gets_a_turn_at_once_when_its_spec_changes(shop: Shop) -> None:
    def plan(toy: Manifest) -> Plan:
        if not toy["spec"]:
            raise KeyError("name")
        return Plan(status={"seen": True})

    shop.kind.planned = plan
    shop.put(TOYS, a_toy())

    async def work() -> None:
        await until(lambda: shop.condition("Stalled"))
        corrected = {**shop.stored(TOYS, "bear"), "spec": {"name": "bear"}}
        shop.put(TOYS, {**corrected, "metadata": {**corrected["metadata"], "generation": 2}})
        await until(lambda: shop.stored(TOYS, "bear")["status"].get("seen"))

    await running(shop, work)
    assert len(shop.kind.turns) <= 3


async def test_news_that_cannot_be_read_wakes_nobody_and_harms_nobody(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    orphan = a_service("orphan", labels={"app.kubernetes.io/managed-by": "upright"})
    orphan["metadata"]["uid"] = "o"
    sound = a_service("sound", a_toy())
    for version in (1, 2, 3):
        orphan["metadata"]["resourceVersion"] = str(version)
        sound["metadata"] |= {"uid": "s", "resourceVersion": str(version)}
        with caplog.at_level(logging.WARNING):
            for service in (orphan, sound):
                shop.controller.seen(SERVICES, service)
    assert shop.loop.queue.depth == 1
    assert [record.message for record in caplog.records] == [
        "Service shop/orphan cannot be read, so no Toy is woken by it: KeyError: 'ownerReferences'"
    ]
    labels = {"kind": "Toy", "resource": "services"}
    assert shop.metrics.registry.get_sample_value("upright_unreadable_events_total", labels) == 5


class Toy(BaseModel):
    status: dict[str, int] = {}
    spec: dict[str, int] = {}


@pytest.mark.parametrize(
    ("damage", "reason"), [({"spec": {"a": "x"}}, "InvalidSpec"), ({"status": {"a": "x"}}, "InvalidStatus")]
)
async def test_an_object_that_cannot_be_read_is_told_so(shop: Shop, damage: dict[str, Any], reason: str) -> None:
    class Reading(Toys):
        def plan(self, observed: Manifest) -> Plan:
            Toy.model_validate({"spec": observed["spec"], "status": {"a": observed.get("status", {}).get("a", 1)}})
            return Plan(status={})

    shop = Shop(Reading())
    shop.put(TOYS, a_toy(**damage))
    await shop.turn()
    assert shop.condition("Stalled")["reason"] == reason


async def test_conditions_that_somebody_has_damaged_are_made_anew(shop: Shop) -> None:
    shop.put(TOYS, a_toy(status={"conditions": ["text", {"status": "True"}, None]}))
    ready = {"type": "Ready", "status": "True", "reason": "AsPlanned", "message": "It is well."}
    shop.kind.planned = lambda toy: Plan(status={"conditions": [ready]})
    await shop.turn()
    assert shop.condition("Ready")["status"] == "True"


async def test_what_was_counted_for_an_object_goes_with_it_unless_another_counts_there(shop: Shop) -> None:
    labels = {"namespace": "shop", "model": "churn", "result": "Succeeded"}
    own = {"namespace": "shop", "deployment": "bear", "result": "Promoted"}
    shop.kind.planned = lambda toy: Plan(
        status={"seen": True},
        counts=[
            Count("upright_training_runs_total", labels),
            *([Count("upright_rollouts_total", own)] if toy["metadata"]["name"] == "bear" else []),
        ],
    )
    toys = {each["metadata"]["name"]: each for each in (a_toy(), a_toy("doll", uid="d"))}
    for toy in toys.values():
        shop.put(TOYS, toy)
    await shop.turn(BEAR)
    await shop.turn(DOLL)
    value = shop.metrics.registry.get_sample_value
    shop.controller.gone(TOYS, shop.stored(TOYS, "bear"))
    await shop.turn(BEAR)
    assert value("upright_training_runs_total", labels) == 2
    assert value("upright_rollouts_total", own) is None
    shop.controller.gone(TOYS, shop.stored(TOYS, "doll"))
    await shop.turn(DOLL)
    assert value("upright_training_runs_total", labels) is None


async def test_nothing_is_decided_by_what_is_too_old_and_it_is_looked_at_again_soon(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.blind = {SERVICES}
    await shop.turn()
    assert (shop.kind.turns, shop.writes()) == ([], [])
    [alarm] = shop.loop.queue._alarms.values()
    assert alarm.when() - asyncio.get_running_loop().time() < SOON
    shop.blind = {ResourceType("", "v1", "secrets", "Secret")}
    await shop.turn()
    assert shop.stored(TOYS, "bear")["status"] == {"seen": True}, "of what this kind needs, all is known"


async def test_what_is_too_large_takes_one_worker_however_slow_the_api_server_is_with_it(shop: Shop) -> None:
    for name in ("bear", "doll"):
        shop.put(TOYS, {**a_toy(name, uid=f"uid-{name}"), "spec": {"large": "x" * LARGEST}})
    shop.client.gate.clear()
    first = asyncio.create_task(shop.turn(BEAR))
    async with asyncio.timeout(5):
        await shop.client.asked.wait()
    await shop.turn(DOLL)
    assert list(shop.loop.queue._alarms) == [DOLL]
    shop.client.gate.set()
    await first
    assert shop.condition("Stalled")["reason"] == "TooLarge"
    await shop.turn(DOLL)
    assert shop.condition("Stalled", "doll")["reason"] == "TooLarge"


# What is kept beside the status


def keeping(shop: Shop) -> Callable[[Manifest], Plan]:
    """Plans that count the turns in a Service, of which a kind with something to remember would have one."""
    shop.kind.applies = ()

    def planned(toy: Manifest) -> Plan:
        there = shop.stores.get(SERVICES, "shop", "memory")
        port = there["spec"]["ports"][0]["port"] + 1 if there else 1
        memory = a_service("memory", toy)
        version = {name: there["metadata"][name] for name in ("uid", "resourceVersion")} if there else {}
        kept = {**memory, "metadata": {**memory["metadata"], **version}, "spec": {"ports": [{"port": port}]}}
        return Plan(status={"turns": port}, keep=kept, create=[a_service("made", toy)])

    return planned


def remembered(shop: Shop) -> int:
    return int(shop.stored(SERVICES, "memory")["spec"]["ports"][0]["port"])


async def test_what_is_kept_is_written_before_the_status_says_so_and_then_comes_what_follows(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.kind.planned = keeping(shop)
    await shop.turn()
    await shop.turn()
    assert shop.writes() == [
        ("create", "memory"),
        ("status", "bear"),
        ("create", "made"),
        ("replace", "memory"),
        ("status", "bear"),
    ]
    assert (remembered(shop), shop.stored(TOYS, "bear")["status"]["turns"]) == (2, 2)


@pytest.mark.parametrize("change", ["written", "deleted", "made"])
async def test_what_somebody_has_changed_is_not_written_over_by_a_plan_that_has_not_seen_it(
    shop: Shop, change: str
) -> None:
    """A new plan is made from what is there, before any of the old one is carried out."""
    toy = shop.put(TOYS, a_toy())
    shop.kind.planned = keeping(shop)
    if change == "made":
        shop.client.put(SERVICES, {**a_service("memory", toy), "spec": {"ports": [{"port": 7}]}})
    else:
        await shop.turn()
        live = shop.stored(SERVICES, "memory")
        if change == "written":
            shop.client.put(SERVICES, {**live, "spec": {"ports": [{"port": 7}]}})
        else:
            del shop.client.objects[SERVICES, Key("shop", "memory")]
    shop.client.writes.clear()
    await shop.turn()
    expected = 1 if change == "deleted" else 8
    assert (remembered(shop), shop.stored(TOYS, "bear")["status"]["turns"]) == (expected, expected)
    assert [write for write in shop.writes() if write[0] == "status"] == [("status", "bear")] * (expected > 1)
    assert shop.writes()[0] == ("create" if change == "made" else "replace", "memory")


async def test_what_cannot_be_kept_holds_up_no_decision_and_is_told(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.kind.planned = keeping(shop)
    shop.client.refused[SERVICES, "memory"] = RefusedError("create", "services shop/memory", 403, "exceeded quota")
    await shop.turn()
    assert shop.stored(TOYS, "bear")["status"]["turns"] == 1
    assert (SERVICES, Key("shop", "made")) in shop.client.objects
    assert "exceeded quota" in shop.condition("Stalled")["message"]


async def test_what_somebody_else_has_of_that_name_is_not_written_over(shop: Shop) -> None:
    shop.put(TOYS, a_toy())
    shop.put(SERVICES, a_service("memory"))
    shop.kind.planned = lambda toy: Plan(status={"turns": 1}, keep=a_service("memory", toy))
    await shop.turn()
    assert shop.condition("Stalled")["reason"] == "NameTaken"
    assert shop.writes(SERVICES) == []
