"""Leader election, with a clock that only moves when told."""

import asyncio

import pytest

from tests.unit.kube.fakes import Clock, FakeClient
from upright.contract import Key
from upright.kube.errors import ApiError
from upright.kube.lease import LEASES, Lease, Terms

TERMS = Terms(duration=10, deadline=7, period=2)


def a_lease(client: FakeClient, clock: Clock, identity: str) -> Lease:
    return Lease(
        client,  # type: ignore[arg-type]
        "upright",
        "operator",
        identity,
        terms=TERMS,
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
