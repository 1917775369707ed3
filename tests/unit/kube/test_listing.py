"""Lists of our own: which, when, and what becomes of those that cannot be had."""

import asyncio
from collections.abc import AsyncIterator, Container, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.kube.fakes import SERVICES, TOYS, a_toy
from tests.unit.kube.test_lease import Quick
from upright.contract import ResourceType
from upright.kube.answers import Page
from upright.kube.errors import ApiError, ForbiddenError, UnreachableError
from upright.kube.listing import RELIST, RETRY, Lister, take_in
from upright.kube.places import Place


@dataclass
class Lists:
    """An API server that lists nothing, or refuses to."""

    refused: dict[Place, ApiError] = field(default_factory=dict)
    asked: list[Place] = field(default_factory=list)
    listed: list[Place] = field(default_factory=list)
    """Of which everything has been listed, not just one object."""

    async def pages(
        self, type: ResourceType, namespace: str, selector: str, size: int = 0, **_: Any
    ) -> AsyncIterator[Page]:
        place = Place(type, namespace, selector)
        self.asked.append(place)
        if size != 1:
            self.listed.append(place)
        await asyncio.sleep(0)
        if error := self.refused.get(place):
            raise error
        yield Page((), (), 5, None)


def everything(*namespaces: str) -> list[Place]:
    return [Place(each, namespace) for each in (TOYS, SERVICES) for namespace in namespaces]


def forbidden(place: Place) -> ApiError:
    return ForbiddenError("list", place.type, place.namespace, 'User "op" cannot list')


def a_lister(lists: Lists, places: Sequence[Place], served: list[str] | None = None) -> Lister:
    def listed(type: ResourceType, namespace: str, there: Container[str], version: int) -> None:
        """Nothing is there."""

    told: list[str] = [] if served is None else served
    return Lister(lists, places, lambda *_: None, listed, told.append)  # type: ignore[arg-type]


def quickly(work: Coroutine[Any, Any, None]) -> None:
    """With a clock that jumps to what is due next."""
    with asyncio.Runner(loop_factory=Quick) as runner:
        runner.run(work)


async def for_seconds(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    await asyncio.sleep(seconds)
    assert not task.done()
    task.cancel()


def test_each_namespace_is_served_once_everything_in_it_has_been_listed(caplog: pytest.LogCaptureFixture) -> None:
    places, served = everything("a", "b", "c"), list[str]()
    gone, partly = Place(TOYS, "a"), Place(SERVICES, "c")
    lists = Lists({place: forbidden(place) for place in (gone, partly)})
    lister = a_lister(lists, places, served)

    async def work() -> None:
        await lister.until_possible()
        assert lister.troubles == {}, "a process that waits for the Lease is ready"
        await lister.until_complete()
        assert (served, lister.unserved) == (["b"], {"a", "c"})
        assert set(lister.troubles) == {gone, partly}
        lists.asked.clear()
        await for_seconds(10.5 * RETRY, lister.now_and_then())
        assert lists.asked == [gone, partly] * 10, "one request each"
        del lists.refused[partly]
        await for_seconds(1.5 * RETRY, lister.now_and_then())
        assert (served, lister.unserved, set(lister.troubles)) == (["b", "c"], {"a"}, {gone})
        del lists.refused[gone]
        await for_seconds(1.5 * RETRY, lister.now_and_then())
        assert (served, lister.unserved, lister.troubles) == (["b", "c", "a"], set(), {})

    quickly(work())
    first, *more = [each.message for each in caplog.records if each.message.startswith("not served")]
    for part in ("may not list toys.upright.test in namespace a", "may not list services in namespace c", "grant"):
        assert part in first
    assert len(more) == 1, "and once more what is left"
    assert "namespace c" not in more[0]


def test_with_one_namespace_everything_that_is_missing_is_said_and_waited_for() -> None:
    places, served = everything("a"), list[str]()
    lists = Lists({place: forbidden(place) for place in places})
    lister = a_lister(lists, places, served)

    async def work() -> None:
        await for_seconds(2.5 * RETRY, lister.until_possible())
        assert set(lister.troubles) == set(places)
        lists.refused.pop(places[0])
        await for_seconds(2.5 * RETRY, lister.until_complete())
        assert (served, set(lister.troubles)) == ([], {places[1]})
        lists.refused.clear()
        await lister.until_complete()
        assert (served, lister.troubles) == (["a"], {})

    quickly(work())


@pytest.mark.parametrize("namespaces", [("",), ("a", "b")])
def test_what_cannot_be_listed_does_not_have_all_else_listed_again_and_again(namespaces: tuple[str, ...]) -> None:
    places = everything(*namespaces)
    blocked = [place for place in places if place.type == SERVICES]
    lists = Lists({place: forbidden(place) for place in blocked})
    lister = a_lister(lists, places)

    async def work() -> None:
        await for_seconds(10.5 * RETRY, lister.until_complete())
        assert [place for place in lists.listed if place not in blocked] == [
            place for place in places if place not in blocked
        ], "once"
        lists.refused.clear()
        lists.listed.clear()
        await lister.until_complete()
        assert set(lists.listed) == set(places), "what has changed meanwhile is known before anything is decided"

    quickly(work())


def test_everything_is_listed_every_ten_minutes_whatever_else_is_asked_for() -> None:
    """A watch begins anew every few minutes, and asks for its place alone."""
    toys, services = everything("")
    lists = Lists()
    lister = a_lister(lists, [toys, services])

    async def work() -> None:
        await lister.until_complete()
        lists.asked.clear()
        relisting = asyncio.create_task(lister.now_and_then())
        for _ in range(20):
            await asyncio.sleep(RELIST / 2.5)
            lister.again(services)
        relisting.cancel()

    quickly(work())
    assert lists.asked.count(toys) in (7, 8)
    assert lists.asked.count(services) > 20


def test_a_place_that_cannot_be_listed_keeps_no_other_from_being_listed_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    places = everything("a", "b")
    lists = Lists()
    lister = a_lister(lists, places)

    async def work() -> None:
        await lister.until_complete()
        lists.refused[places[0]] = forbidden(places[0])
        lists.asked.clear()
        await for_seconds(3.5 * RELIST, lister.now_and_then())
        assert sorted(map(str, lists.asked)) == sorted(map(str, places * 3))

    quickly(work())
    assert [each.message.split(":")[0] for each in caplog.records] == ["relisting"], "once"


def test_a_list_that_was_asked_for_and_failed_is_tried_again_soon() -> None:
    """Its watch tells only of what happens from now on."""
    toys, services = everything("")
    lists = Lists()
    lister = a_lister(lists, [toys, services])

    async def work() -> None:
        await lister.until_complete()
        lists.asked.clear()
        lists.refused[toys] = UnreachableError("no connection")
        lister.again(toys)
        relisting = asyncio.create_task(lister.now_and_then())
        await asyncio.sleep(2.5 * RETRY)
        assert lists.asked == [toys] * 3
        lists.refused.clear()
        await asyncio.sleep(10 * RETRY)
        assert lists.asked == [toys] * 4
        relisting.cancel()

    quickly(work())


def test_what_is_too_large_to_be_read_is_named_once_and_not_taken_for_gone(caplog: pytest.LogCaptureFixture) -> None:
    giant = {"metadata": {"name": "giant", "namespace": "a", "uid": "uid-giant"}}
    listed = list[set[str]]()

    class Large(Lists):
        async def pages(
            self, type: ResourceType, namespace: str, selector: str, size: int = 0, **_: Any
        ) -> AsyncIterator[Page]:
            yield Page((), [giant], 5, None)

    lister = Lister(
        Large(),  # type: ignore[arg-type]
        [Place(TOYS, "a")],
        lambda *_: pytest.fail("nothing of it is known"),
        lambda _type, _namespace, there, _version: listed.append(there),  # type: ignore[arg-type]
        lambda _: None,
    )

    async def work() -> None:
        await lister.until_complete()
        await for_seconds(2.5 * RELIST, lister.now_and_then())

    quickly(work())
    assert listed == [{"uid-giant"}] * 3
    assert [record.message for record in caplog.records] == [
        "Toy a/giant is too large to be read: nothing is done for it"
    ]


async def test_of_what_a_list_has_is_told_as_of_when_it_was_there() -> None:
    class One(Lists):
        async def pages(self, *_: Any, **__: Any) -> AsyncIterator[Page]:
            yield Page([a_toy(version=3)], (), 7, None)

    seen = list[int]()
    place = Place(TOYS, "shop")
    await take_in(One(), place, lambda _type, _manifest, as_of=0: seen.append(as_of), lambda *_: None)  # type: ignore[arg-type]
    assert seen == [7]
