"""Since when somebody has watched, with a clock that only moves when told."""

from datetime import timedelta

import pytest

from tests.unit.kube.fakes import NOON, SERVICES, TOYS, Clock
from upright.contract import ALWAYS
from upright.kube.places import Place
from upright.kube.watched import Handover, Watched

SHOP, FARM, SERVED = Place(TOYS, "shop"), Place(TOYS, "farm"), Place(SERVICES, "shop")


class Shop:
    """What watches two namespaces, and what it does not see."""

    def __init__(self, *places: Place) -> None:
        self.clock = Clock()
        self.unseen = set[Place]()
        self.watched = Watched(places or (SHOP, FARM, SERVED), lambda: self.unseen, self.clock.now)

    def since(self, namespace: str = "shop") -> float | None:
        """In seconds from noon; None: always."""
        at = self.watched.since(namespace)
        return None if at == ALWAYS else (at - NOON).total_seconds()

    def goes_on(self, seconds: float) -> None:
        for _ in range(int(seconds / 10)):
            self.clock.forward(10)
            self.watched.note()


@pytest.mark.parametrize(
    ("ago", "expected"),
    [(None, 0), (1, None), (119, None), (121, 0), (86400, 0), (-5, None), (-3600, 0)],
    ids=str,
)
def test_who_takes_over_soon_goes_on_with_what_was_watched_before(ago: float | None, expected: float | None) -> None:
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, None if ago is None else NOON - timedelta(seconds=ago)))
    assert shop.since() == expected
    shop.goes_on(3600)
    assert shop.since() == expected


def test_who_takes_over_knows_of_interruptions_before() -> None:
    shop = Shop()
    shop.watched.take_over(Handover(NOON - timedelta(minutes=5), NOON - timedelta(seconds=3)))
    assert shop.since() == -300


def test_what_is_listed_late_has_not_been_watched_until_then() -> None:
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, NOON))
    shop.unseen = {FARM}
    shop.goes_on(300)
    assert shop.since() is None
    shop.unseen = set()
    shop.clock.forward(1)
    assert (shop.since("shop"), shop.since("farm")) == (None, 301)


@pytest.mark.parametrize("seconds", [121, 3600, -121, -3600])
def test_a_machine_that_sleeps_and_a_clock_that_jumps_are_interruptions(seconds: float) -> None:
    """The first one who asks after it may ask at once."""
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, NOON))
    shop.goes_on(100)
    shop.clock.forward(seconds)
    assert shop.since() == 100 + seconds
    shop.goes_on(600)
    assert shop.since() == 100 + seconds


@pytest.mark.parametrize("seconds", [110, -110])
def test_a_moment_is_no_interruption_and_nothing_is_watched_since_later_than_now(seconds: float) -> None:
    shop = Shop()
    assert shop.since() == 0
    shop.goes_on(100)
    shop.clock.forward(seconds)
    assert shop.since() == min(0, 100 + seconds)


def test_a_place_that_is_not_seen_for_long_is_watched_anew_and_others_go_on() -> None:
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, NOON))
    shop.unseen = {SERVED}
    shop.goes_on(600)
    assert shop.since("shop") is None, "who asks needs nothing of what is not seen, or would not be asked"
    shop.unseen = set()
    shop.clock.forward(1)
    assert (shop.since("shop"), shop.since("farm")) == (601, None)
    shop.goes_on(600)
    assert (shop.since("shop"), shop.since("farm")) == (601, None)


def test_a_place_of_all_namespaces_counts_in_each() -> None:
    shop = Shop(Place(TOYS, ""))
    assert (shop.since("shop"), shop.since("farm")) == (0, 0)


def test_who_leads_next_is_told_of_what_is_not_seen_now() -> None:
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, NOON))
    assert shop.watched.handover() == Handover(ALWAYS, NOON, [])
    shop.clock.forward(30)
    assert shop.watched.handover() == Handover(ALWAYS, NOON, []), "it has yet to list, and watches nothing"
    shop.goes_on(10)
    shop.unseen = {FARM}
    shop.goes_on(100)
    now = shop.clock.now()
    assert shop.watched.handover() == Handover(ALWAYS, now - timedelta(seconds=100), []), "the older word counts"
    shop.goes_on(100)
    now = shop.clock.now()
    assert shop.watched.handover() == Handover(ALWAYS, now, ["farm"]), "a namespace that is gone interrupts no other"


def test_of_what_is_watched_in_all_namespaces_no_interruption_is_forgotten() -> None:
    shop = Shop(Place(TOYS, ""), Place(SERVICES, ""))
    shop.watched.take_over(Handover(ALWAYS, NOON))
    shop.goes_on(10)
    shop.unseen = {Place(SERVICES, "")}
    shop.goes_on(200)
    now = shop.clock.now()
    assert shop.watched.handover() == Handover(now, now - timedelta(seconds=200), [])


def test_a_place_that_was_never_seen_is_no_interruption_for_others() -> None:
    """A namespace of those to look after that is gone for good."""
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, NOON))
    shop.unseen = {FARM}
    shop.goes_on(3600)
    assert shop.watched.handover() == Handover(ALWAYS, shop.clock.now(), ["farm"])


@pytest.mark.parametrize("leaders", [1, 3])
@pytest.mark.parametrize("seen", [0, 300])
def test_the_next_leader_knows_which_namespaces_were_not_watched(leaders: int, seen: float) -> None:
    """As when a RoleBinding is gone for an hour, and what restores it also starts a new operator."""
    shop = Shop()
    shop.watched.take_over(Handover(ALWAYS, NOON))
    shop.goes_on(seen)
    shop.unseen = {FARM}
    for _ in range(leaders):
        shop.goes_on(3600)
        handed_on = shop.watched.handover()
        shop.watched = Watched((SHOP, FARM, SERVED), lambda: shop.unseen, shop.clock.now)
        shop.watched.take_over(handed_on)
    shop.unseen = set()
    shop.clock.forward(1)
    assert (shop.since("shop"), shop.since("farm")) == (None, seen + leaders * 3600 + 1)


def test_whoever_asks_each_place_is_looked_at_once_a_second() -> None:
    looks = list[str]()
    clock = Clock()

    def unseen() -> tuple[Place, ...]:
        looks.append("")
        return ()

    watched = Watched([SHOP, FARM], unseen, clock.now)
    for _ in range(100):
        watched.since("shop")
    clock.forward(1)
    assert watched.since("shop") == NOON
    assert len(looks) == 2
