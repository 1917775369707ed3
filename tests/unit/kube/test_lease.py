"""Leader election, with a clock that only moves when told."""

import asyncio
import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.kube.fakes import TOYS, Clock, FakeClient
from upright.contract import ALWAYS, Key, Manifest, ResourceType
from upright.kube.errors import ApiError
from upright.kube.lease import LEASES, UNWATCHED, WATCHED_SINCE, Lease, LeaseTimes
from upright.kube.places import Place
from upright.kube.watched import Watched

TIMES = LeaseTimes(duration=10, renew_deadline=7, retry_period=2)


PLACE = Place(TOYS, "")


def watch_of(clock: Clock) -> Watched:
    return Watched([PLACE], lambda: (), clock.now)


def a_lease(client: FakeClient, clock: Clock, identity: str, watched: Watched | None = None) -> Lease:
    return Lease(
        client,  # type: ignore[arg-type]
        "upright",
        "operator",
        identity,
        times=TIMES,
        watched=watched or watch_of(clock),
        monotonic=clock.monotonic,
        clock=clock.now,
    )


async def test_the_first_to_come_leads_and_the_second_waits() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    assert await first.attempt()
    assert not await second.attempt()
    assert first.held
    assert not second.held


async def test_nobody_may_write_before_having_the_lease() -> None:
    assert a_lease(FakeClient(), Clock(), "first").remaining() == 0


@pytest.mark.parametrize("spec", [{}, {"spec": {}}, {"spec": None}], ids=str)
async def test_a_lease_that_was_made_by_hand_and_says_nothing_is_free(spec: Any) -> None:
    client, clock = FakeClient(), Clock()
    client.put(LEASES, {"metadata": {"name": "operator", "namespace": "upright"}, **spec})
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    second._may_be_ours = True  # as after a request that was not answered
    await second.release()
    assert await first.attempt()
    assert first.held
    assert not await second.attempt()


async def test_another_takes_over_when_the_lease_has_not_been_renewed_for_its_duration() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    await second.attempt()
    clock.forward(9.9)
    assert not await second.attempt()
    clock.forward(0.2)
    assert await second.attempt()
    assert second.held


async def test_a_lease_that_somebody_deletes_is_not_free_before_its_end() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    await second.attempt()
    client.objects.clear()
    clock.forward(9.9)
    assert not await second.attempt()
    clock.forward(0.2)
    assert not first.held
    assert await second.attempt()
    client.objects.clear()
    clock.forward(1)
    assert await second.attempt(), "its holder makes it again"
    assert not await first.attempt()


async def test_the_old_leader_has_stopped_writing_before_another_may_begin() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    await second.attempt()
    for _ in range(200):
        clock.forward(0.1)
        assert not (await second.attempt() and first.held)
        if second.held:
            break
    assert second.held
    assert first.remaining() == 0


async def test_no_write_that_begins_may_outlast_the_lease() -> None:
    client, clock = FakeClient(), Clock()
    first = a_lease(client, clock, "first")
    await first.attempt()
    clock.forward(6.9)
    assert first.remaining() == pytest.approx(3.1)
    clock.forward(0.1)
    assert first.remaining() == 0


async def test_a_renewed_lease_is_held_on() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    for _ in range(20):
        assert await first.attempt()
        assert not await second.attempt()
        clock.forward(3)
        assert first.held


async def test_a_leader_that_cannot_renew_stops_writing_by_itself() -> None:
    client, clock = FakeClient(), Clock()
    first = a_lease(client, clock, "first")
    await first.attempt()
    client.unreachable = True
    clock.forward(5)
    with pytest.raises(ApiError):
        await first.attempt()
    assert first.held
    clock.forward(2)
    assert not first.held


async def test_a_leader_that_sees_another_holder_has_lost_at_once() -> None:
    client, clock = FakeClient(), Clock()
    first = a_lease(client, clock, "first")
    await first.attempt()
    thief = a_lease(client, clock, "thief")
    clock.forward(11)
    await thief.attempt()
    clock.forward(11)
    await thief.attempt()
    assert thief.held
    assert not await first.attempt()
    assert not first.held


async def test_of_two_that_try_at_once_one_gets_it() -> None:
    client, clock = FakeClient(), Clock()
    await a_lease(client, clock, "gone").attempt()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    await second.attempt()
    clock.forward(11)
    await asyncio.gather(first.attempt(), second.attempt(), return_exceptions=True)
    assert [first.held, second.held].count(True) == 1


async def test_a_released_lease_is_free_at_once() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    assert not await second.attempt()
    await first.release()
    assert not first.held
    assert await second.attempt()


async def test_a_lease_that_was_taken_though_no_answer_came_is_given_back() -> None:
    """A stop while the request is under way."""

    class Unanswered(FakeClient):
        async def create(self, type: ResourceType, manifest: Manifest) -> Manifest:
            await super().create(type, manifest)
            await asyncio.Event().wait()
            return manifest

    client, clock = Unanswered(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    taking = asyncio.create_task(first.attempt())
    while not client.objects:  # noqa: ASYNC110
        await asyncio.sleep(0)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    assert not first.held
    await first.release()
    assert await second.attempt()


async def test_only_the_holder_releases() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    await second.release()
    assert client.objects[LEASES, Key("upright", "operator")]["spec"]["holderIdentity"] == "first"


async def test_changes_of_the_holder_are_counted_for_people() -> None:
    client, clock = FakeClient(), Clock()
    first, second = a_lease(client, clock, "first"), a_lease(client, clock, "second")
    await first.attempt()
    await first.attempt()
    await first.release()
    await second.attempt()
    spec = client.objects[LEASES, Key("upright", "operator")]["spec"]
    assert spec["leaseTransitions"] == 1
    assert spec["holderIdentity"] == "second"


@dataclass
class Answers:
    """An API server that takes its time, by a clock that moves while somebody waits for it."""

    client: FakeClient
    delays: list[float]

    async def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        await asyncio.sleep(self.delays.pop(0) if self.delays else 0)
        return await self.client.get(type, namespace, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


class Quick(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to what is due next, instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._select = self._selector.select  # type: ignore[attr-defined]
        self._selector.select = self._jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now

    def _jump(self, timeout: float | None) -> Any:
        self._now += timeout or 0.0
        return self._select(0)


def was_held(delays: list[float]) -> list[bool]:
    """Whether the lease is held, ten times a second for half a minute, when the API server takes so long to answer."""

    async def keep() -> list[bool]:
        api, clock = Answers(FakeClient(), []), asyncio.get_running_loop()
        more = {"watched": watch_of(Clock()), "monotonic": clock.time, "clock": Clock().now}
        lease = Lease(api, "upright", "operator", "me", times=TIMES, **more)  # type: ignore[arg-type]
        await lease.attempt()
        api.delays = delays
        keeping, held = asyncio.create_task(lease.keep()), list[bool]()
        for _ in range(300):
            await asyncio.sleep(0.1)
            held.append(lease.held)
        assert keeping.done() is not held[-1]
        keeping.cancel()
        return held

    with asyncio.Runner(loop_factory=Quick) as runner:
        return runner.run(keep())


HUNG = 1000.0


@pytest.mark.parametrize("delays", [[HUNG], [HUNG, 1.9, HUNG, 1.9], [2.9] * 9, [0.0, HUNG, 0.0, HUNG]], ids=str)
def test_one_hung_renewal_or_many_slow_ones_do_not_lose_the_lease(delays: list[float]) -> None:
    assert all(was_held(delays))


@pytest.mark.parametrize("delays", [[HUNG] * 9, [HUNG, 2.1], [3.1] * 9], ids=str)
def test_a_lease_that_was_not_held_for_a_moment_is_lost_for_good(delays: list[float]) -> None:
    """What was to be written in that moment has been left out: only a new beginning makes up for it."""
    held = was_held(delays)
    assert 60 <= held.index(False) <= 70, "it was held until its deadline"
    assert not any(held[held.index(False) :])


@pytest.mark.parametrize("there", [True, False], ids=["in the backup", "made after the backup"])
async def test_a_cluster_that_goes_back_in_time_costs_the_leader_its_lease(there: bool) -> None:
    client, clock = FakeClient(), Clock()
    first = a_lease(client, clock, "first")
    client.versions = itertools.count(1000)
    assert await first.attempt()
    assert await first.attempt()
    client.versions = itertools.count(500)
    [(key, lease)] = client.objects.items()
    if there:
        client.put(LEASES, lease)
    else:
        del client.objects[key]
    assert not await first.attempt()
    assert "restored from a backup" in first.lost
    second = a_lease(client, clock, "first")
    assert await second.attempt(), "the next process begins with what there is"
    assert await second.attempt()


@pytest.mark.parametrize("ends", ["gives it back", "is killed"])
@pytest.mark.parametrize(("away", "was_watched"), [(11, True), (119, True), (121, False), (3600, False)])
async def test_who_takes_over_the_lease_knows_for_how_long_nobody_has_watched(
    ends: str, away: float, was_watched: bool
) -> None:
    client, clock = FakeClient(), Clock()
    client.put(LEASES, {"metadata": {"name": "operator", "namespace": "upright"}, "spec": {"renewTime": _at(clock)}})
    first = a_lease(client, clock, "first", before := watch_of(clock))
    assert await first.attempt()
    assert before.since("shop") == ALWAYS
    if ends == "gives it back":
        await first.release()
    clock.forward(away)
    second = a_lease(client, clock, "second", after := watch_of(clock))
    while not await second.attempt():
        second._seen = (second._seen[0], -1000.0)  # it has waited all the while
    assert after.since("shop") == (ALWAYS if was_watched else clock.now())
    assert await second.attempt()
    assert after.since("shop") == (ALWAYS if was_watched else clock.now())


async def test_an_interruption_is_handed_on_from_leader_to_leader() -> None:
    """Killed before all its objects have had a turn, or so soon that it has not even listed them."""
    client, clock = FakeClient(), Clock()
    await a_lease(client, clock, "first").attempt()
    clock.forward(3600)
    began = clock.now()
    assert await a_lease(client, clock, "first").attempt()
    for _ in range(3):
        clock.forward(30)
        lease = a_lease(client, clock, "first", watched := watch_of(clock))
        assert await lease.attempt()
        assert began <= watched.since("shop")


async def test_leaders_that_end_while_they_list_have_watched_nothing() -> None:
    client, clock = FakeClient(), Clock()
    lease = a_lease(client, clock, "first", watched := watch_of(clock))
    assert await lease.attempt()
    watched.note()
    assert await lease.attempt()
    for _ in range(5):
        clock.forward(30)
        assert await a_lease(client, clock, "first").attempt()
    assert await a_lease(client, clock, "first", last := watch_of(clock)).attempt()
    assert last.since("shop") == clock.now()


@pytest.mark.parametrize(
    ("unwatched", "was_watched"), [(None, True), ("", True), ("barn,farm", True), ("farm,shop", False)]
)
async def test_a_namespace_that_was_not_watched_is_named_on_the_lease(unwatched: str | None, was_watched: bool) -> None:
    client, clock = FakeClient(), Clock()
    said = {WATCHED_SINCE: "2026-01-01T00:00:00Z"} | ({} if unwatched is None else {UNWATCHED: unwatched})
    metadata = {"name": "operator", "namespace": "upright", "annotations": said}
    client.put(LEASES, {"metadata": metadata, "spec": {"renewTime": _at(clock)}})
    watched = Watched([Place(TOYS, "shop")], lambda: (), clock.now)
    assert await a_lease(client, clock, "first", watched).attempt()
    told = client.objects[LEASES, Key("upright", "operator")]["metadata"]["annotations"][UNWATCHED]
    assert told == ("" if was_watched else "shop")
    assert (watched.since("shop") < clock.now()) == was_watched


@pytest.mark.parametrize("since", ["", "soon", 7, None, "9999-12-31T23:59:59-23:59", "2026-11-22T12:00:00Z"], ids=str)
@pytest.mark.parametrize("until", ["", "soon", 7, None, "0001-01-01T00:00:00+23:59"], ids=str)
async def test_what_somebody_has_written_on_the_lease_is_no_reason_to_fail(since: Any, until: Any) -> None:
    client, clock = FakeClient(), Clock()
    metadata = {"name": "operator", "namespace": "upright", "annotations": {WATCHED_SINCE: since, "note": "mine"}}
    client.put(LEASES, {"metadata": metadata, "spec": {"renewTime": until}})
    lease = a_lease(client, clock, "first", watched := watch_of(clock))
    assert await lease.attempt()
    assert watched.since("shop") == clock.now()
    assert client.objects[LEASES, Key("upright", "operator")]["metadata"]["annotations"]["note"] == "mine"


def _at(clock: Clock) -> str:
    return clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
