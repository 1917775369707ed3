"""What the watches delivered."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kube.fakes import SERVICES, TOYS, FakeClient, a_service, a_toy
from upright.contract import Index, Key, Manifest
from upright.kube.answers import Page
from upright.kube.objects import key_of, name_of
from upright.kube.store import Store, Stores

BEAR = Key("shop", "bear")


def names(manifests: Any) -> list[str]:
    return [name_of(manifest) for manifest in manifests]


def at(version: int, manifest: Manifest, uid: str = "") -> dict[str, Any]:
    metadata = {**manifest["metadata"], "resourceVersion": str(version)}
    return {**manifest, "metadata": metadata | ({"uid": uid} if uid else {})}


def test_the_newest_version_stays_whatever_the_order_of_arrival() -> None:
    store = Store()
    assert store.put(a_toy(version=9, spec={"newest": True}))
    assert not store.put(a_toy(version=10 - 2))
    assert not store.put(a_toy(version=9))
    found = store.get(BEAR)
    assert found is not None
    assert found["spec"] == {"newest": True}


def test_versions_are_compared_as_numbers() -> None:
    store = Store()
    store.put(a_toy(version=99))
    assert store.put(a_toy(version=100))


def test_an_update_concerns_the_old_version_too_for_it_may_have_had_another_owner() -> None:
    store = Store()
    store.put(a_toy(version=1, spec={"n": 1}))
    assert [version["spec"] for version in store.put(a_toy(version=2, spec={"n": 2}))] == [{"n": 1}, {"n": 2}]


BY_MODEL = Index(SERVICES, "by model", lambda service: [service["metadata"]["labels"]["upright.dev/model"]])


def test_objects_are_found_by_owner_by_index_and_by_namespace() -> None:
    store, bear, doll = Store(indexes=[BY_MODEL]), a_toy("bear", uid="b"), a_toy("doll", uid="d")
    store.put(at(1, a_service("bear-2", bear), "s1"))
    store.put(at(2, a_service("bear-1", bear), "s2"))
    store.put(at(3, a_service("doll-1", doll, labels={"upright.dev/model": "other"}), "s3"))
    assert names(store.owned("shop", "b")) == ["bear-1", "bear-2"]
    assert names(store.indexed(BY_MODEL, "shop", "bear")) == ["bear-1", "bear-2"]
    assert names(store.indexed(BY_MODEL, "elsewhere", "bear")) == []
    assert names(store.all("shop")) == ["bear-1", "bear-2", "doll-1"]


@pytest.mark.parametrize("name", ["s", "another"])
def test_an_object_of_another_namespace_is_found_beside_none_of_this_one(name: str) -> None:
    """Whatever it says: UIDs of owners, labels and names are for everybody to read."""

    def found(namespace: str) -> list[list[str]]:
        by_owner, every = store.owned(namespace, "b"), store.all(namespace)
        by_index = store.indexed(BY_MODEL, namespace, "bear")
        return [[one["metadata"]["uid"] for one in each] for each in (by_owner, by_index, every)]

    store, ours = Store(indexes=[BY_MODEL]), at(1, a_service("s", a_toy(uid="b")), "ours")
    theirs = at(2, {**ours, "metadata": {**ours["metadata"], "name": name, "namespace": "elsewhere"}}, "theirs")
    store.put(ours)
    store.put(theirs)
    assert (found("shop"), found("elsewhere")) == ([["ours"]] * 3, [["theirs"]] * 3)
    store.remove(theirs, 3)
    assert (found("shop"), found("elsewhere")) == ([["ours"]] * 3, [[]] * 3)


def test_an_object_whose_labels_changed_is_found_by_the_new_ones_only() -> None:
    store = Store(indexes=[BY_MODEL])
    store.put(at(1, a_service("s", labels={"upright.dev/model": "a"}), "s1"))
    store.put(at(2, a_service("s", labels={"upright.dev/model": "b"}), "s1"))
    assert names(store.indexed(BY_MODEL, "shop", "a")) == []
    assert names(store.indexed(BY_MODEL, "shop", "b")) == ["s"]


def test_labels_that_no_kind_asks_for_take_no_place() -> None:
    """Anybody may give an object thousands of them, also of upright.dev/."""
    few, many = Store(indexes=[BY_MODEL]), Store(indexes=[BY_MODEL])
    labels = {"upright.dev/model": "bear"}
    few.put(at(1, a_service("s", labels=labels), "s"))
    many.put(at(1, a_service("s", labels=labels | {f"upright.dev/{n}": "" for n in range(1000)}), "s"))
    assert len(many._found) == len(few._found)


async def test_of_what_strangers_label_nothing_is_held_while_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bear, held = a_toy("bear", uid="b"), list[str]()

    class Listing(FakeClient):
        async def pages(self, *asked: Any) -> AsyncIterator[Page]:
            assert asked == (SERVICES, "shop", "upright.dev/model=bear")
            strangers = [a_service(f"s-{n}", a_toy("other", uid="o")) for n in range(9)]
            yield Page([a_service("nobodys", labels={}), *strangers], (), 7, "more")
            yield Page([{**a_service("ours", bear), "spec": {"ports": []}}], (), 7, None)

    client: Any = Listing()
    kind: Any = SimpleNamespace(type=TOYS, watches=(), applies=(SERVICES,), indexes=())
    stores = Stores([kind], client, lambda: datetime.now(UTC))
    keep = stores.of(SERVICES).kept

    def note(manifest: Manifest) -> Manifest:
        held.append(name_of(manifest))
        return keep(manifest)

    monkeypatch.setattr(stores.of(SERVICES), "kept", note)
    [found] = await stores.fetch_owned(SERVICES, "shop", "b", "upright.dev/model", "bear")
    assert (name_of(found), held) == ("ours", ["ours"])
    assert {"labels", "annotations"}.isdisjoint(found["metadata"])


BY_COLOUR = Index(TOYS, "by colour", lambda toy: toy["spec"]["colours"], order=lambda toy: toy["spec"]["size"])


def coloured(name: str, size: Any, *colours: str, version: int = 1) -> dict[str, Any]:
    return a_toy(name, uid=name, version=version, spec={"size": size, "colours": sorted(colours)})


def test_an_index_finds_objects_by_value_in_its_order() -> None:
    store = Store(indexes=[BY_COLOUR])
    for toy in (
        coloured("a", 3, "red"),
        coloured("b", 1, "red", "blue"),
        coloured("c", 2, "red"),
        coloured("d", 2, "red"),
    ):
        store.put(toy)
    found = store.indexed(BY_COLOUR, "shop", "red")
    assert names(found) == ["b", "c", "d", "a"]
    assert (name_of(found[-1]), names(found[1:3]), names(reversed(found))[0]) == ("a", ["c", "d"], "a")
    assert names(store.indexed(BY_COLOUR, "shop", "blue")) == ["b"]
    assert names(store.indexed(BY_COLOUR, "market", "red")) == []
    store.put(coloured("b", 9, "red", version=2))
    store.remove(coloured("c", 2, version=2))
    assert names(store.indexed(BY_COLOUR, "shop", "red")) == ["d", "a", "b"]
    assert names(store.indexed(BY_COLOUR, "shop", "blue")) == []


def test_what_was_found_stays_as_it_was_while_somebody_reads_it() -> None:
    store = Store(indexes=[BY_COLOUR])
    store.put(coloured("a", 1, "red"))
    found, every = store.indexed(BY_COLOUR, "shop", "red"), store.all("shop")
    store.put(coloured("a", 2, "red", version=2))
    store.put(coloured("b", 1, "red", version=3))
    assert [toy["spec"]["size"] for toy in found] == [1]
    assert names(every) == ["a"]


def test_an_index_that_no_kind_has_named_is_a_mistake_of_ours() -> None:
    with pytest.raises(LookupError, match="by colour"):
        Store().indexed(BY_COLOUR, "shop", "red")


def test_an_object_that_an_index_cannot_read_is_not_found_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(indexes=[BY_COLOUR])
    store.put(coloured("good", 1, "red"))
    for version in (1, 2):
        store.put(a_toy("odd", uid="odd", version=version, spec={"newer": "field"}))
        store.put(coloured("text", "large", "red", version=version))
    assert names(store.indexed(BY_COLOUR, "shop", "red")) == ["good"]
    assert store.get(Key("shop", "odd")) is not None
    assert [record.message.split(" cannot")[0] for record in caplog.records] == ["Toy shop/odd", "Toy shop/text"]
    store.put(coloured("text", 0, "red", version=3))
    store.put(coloured("odd", 5, "red", version=3))
    assert names(store.indexed(BY_COLOUR, "shop", "red")) == ["text", "good", "odd"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.sets(st.sampled_from("abc")), st.booleans())))
def test_an_index_finds_what_looking_at_every_object_would_find(
    changes: list[tuple[int, int, set[str], bool]],
) -> None:
    store, there = Store(indexes=[BY_COLOUR]), dict[str, dict[str, Any]]()
    for version, (number, size, colours, removed) in enumerate(changes, start=1):
        name = f"toy-{number}"
        toy = a_toy(name, uid=f"{name}-{version}", version=version, spec={"size": size, "colours": sorted(colours)})
        if removed and name in there:
            store.remove(there.pop(name))
        elif not removed:
            store.put(toy)
            there[name] = toy
    for colour in "abc":
        wanted = [toy for toy in there.values() if colour in toy["spec"]["colours"]]
        wanted.sort(key=lambda toy: (toy["spec"]["size"], name_of(toy)))
        assert names(store.indexed(BY_COLOUR, "shop", colour)) == names(wanted)
    assert names(store.all("shop")) == sorted(there)


def test_an_object_that_bears_our_label_again_is_known_again() -> None:
    """Its watch, which selects by that label, has told that it was gone."""
    store = Store()
    store.put(a_toy(version=1))
    store.remove(a_toy(version=3))
    assert not store.put(a_toy(version=3))
    assert store.put(a_toy(version=4))
    assert store.get(BEAR) is not None


class Counted:
    """A value that counts how often its kind has been compared."""

    comparisons = 0

    def __init__(self, value: int) -> None:
        self.value = value

    def __lt__(self, other: "Counted") -> bool:
        Counted.comparisons += 1
        return self.value < other.value

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return isinstance(other, Counted) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def comparisons(objects: int) -> int:
    """What one more object, and a look at the end of an index, cost with so many objects there."""
    index = Index(TOYS, "by size", lambda toy: ["all"], order=lambda toy: Counted(toy["spec"]["size"]))
    store = Store(indexes=[index])
    for number in range(objects):
        store.put(a_toy(f"t-{number}", uid=str(number), version=number, spec={"size": number * 7919 % objects}))
    Counted.comparisons = 0
    store.put(a_toy("t-1", uid="1", version=objects + 1, spec={"size": objects // 2}))
    found = store.indexed(index, "shop", "all")
    assert found[-1]["spec"]["size"] == objects - 1
    assert len(found) == objects
    return Counted.comparisons


def test_with_twenty_times_the_objects_a_change_and_a_look_cost_at_most_twice_as_much() -> None:
    assert comparisons(2000) <= 2 * comparisons(100)


def test_what_is_late_about_a_deleted_object_is_ignored() -> None:
    store = Store()
    store.put(a_toy(version=1))
    assert store.remove(a_toy(version=3))
    assert not store.put(a_toy(version=2))
    assert store.get(BEAR) is None
    assert not store.remove(a_toy(version=3))


def test_the_end_of_a_namesake_is_not_the_end_of_its_successor() -> None:
    store = Store()
    store.put(a_toy(uid="first", version=1))
    store.put(a_toy(uid="second", version=3))
    store.remove(a_toy(uid="first", version=2))
    found = store.get(BEAR)
    assert found is not None
    assert found["metadata"]["uid"] == "second"


def test_a_list_takes_away_what_it_no_longer_has() -> None:
    store = Store()
    store.put(a_toy("bear", uid="b", version=1))
    store.put(a_toy("doll", uid="d", version=2))
    assert names(store.retain({"b"}, version=5)) == ["doll"]
    assert names(store.all("shop")) == ["bear"]


def test_a_list_does_not_take_away_what_was_made_after_it() -> None:
    store = Store()
    store.put(a_toy("doll", uid="d", version=7))
    assert store.retain(set(), version=5) == []
    assert names(store.all("shop")) == ["doll"]


def test_a_list_does_not_bring_back_what_was_deleted_after_it() -> None:
    store = Store()
    store.put(a_toy(version=1))
    store.remove(a_toy(version=6))
    assert store.put(a_toy(version=1)) == ()
    assert store.get(BEAR) is None


def test_what_was_taken_for_gone_is_there_again_by_a_list_that_has_it_later() -> None:
    store = Store()
    store.put(a_toy(version=3))
    store.remove(a_toy(version=3))
    assert not store.put(a_toy(version=3), as_of=3)
    assert store.put(a_toy(version=3), as_of=4)
    assert BEAR in store
    store.remove(a_toy(version=6))
    assert not store.put(a_toy(version=3), as_of=5)


def test_the_list_of_one_namespace_leaves_the_others_alone() -> None:
    store, elsewhere = Store(), a_toy("doll", uid="d", version=2)
    elsewhere["metadata"]["namespace"] = "market"
    store.put(elsewhere)
    store.retain(set(), version=5, namespace="shop")
    assert names(store.all("market")) == ["doll"]


def test_the_bookkeeping_of_field_managers_is_not_kept() -> None:
    store, toy = Store(), a_toy()
    toy["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    store.put(toy)
    found = store.get(BEAR)
    assert found is not None
    assert "managedFields" not in found["metadata"]
    assert "managedFields" in toy["metadata"], "what was given is not changed"


@given(st.permutations(range(1, 7)), st.integers(0, 6))
def test_any_order_of_events_ends_with_the_same_object(order: list[int], deleted_after: int) -> None:
    """Six versions of an object and, maybe, its end, in any order: as if they had come in the right one."""
    store = Store()
    for number, version in enumerate(order):
        if number == deleted_after:
            store.remove(a_toy(version=7))
        store.put(a_toy(version=version, spec={"n": version}))
    if deleted_after == 6:
        found = store.get(BEAR)
        assert found is not None
        assert found["spec"] == {"n": 6}
        assert [key_of(manifest) for manifest in store.all("shop")] == [BEAR]
    else:
        assert store.get(BEAR) is None
        assert not store.all("shop")


def test_what_an_index_reads_is_given_in_the_objects_place_and_is_of_its_newest_version() -> None:
    def size(toy: Manifest) -> int:
        found: int = toy["spec"]["size"]
        return found

    sizes = Index(TOYS, "sizes", lambda toy: ["all"], reads=size)
    store = Store(indexes=[sizes])
    for version, (name, read) in enumerate([("bear", 1), ("doll", 2), ("bear", 3)]):
        toy = a_toy(name, uid=f"uid-{name}")
        toy["metadata"]["resourceVersion"] = str(version + 1)
        store.put({**toy, "spec": {"size": read}})
    assert list(store.indexed(sizes, "shop", "all")) == [3, 2]
    assert store.indexed(sizes, "shop", "all")[0] == 3
    toy["metadata"]["resourceVersion"] = "9"
    store.put({**toy, "spec": {}})
    assert list(store.indexed(sizes, "shop", "all")) == [2], "what cannot be read is not found"
    assert store.named(sizes, "shop", "all") == [Key("shop", "doll")]
