"""What the watches delivered."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kube.fakes import a_service, a_toy
from upright.contract import Key, Manifest
from upright.kube.objects import key_of, name_of
from upright.kube.store import Store

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


def test_objects_are_found_by_owner_by_label_and_by_namespace() -> None:
    store, bear, doll = Store(), a_toy("bear", uid="b"), a_toy("doll", uid="d")
    store.put(at(1, a_service("bear-2", bear), "s1"))
    store.put(at(2, a_service("bear-1", bear), "s2"))
    store.put(at(3, a_service("doll-1", doll, labels={"upright.dev/model": "other"}), "s3"))
    assert names(store.owned("b")) == ["bear-1", "bear-2"]
    assert names(store.labelled("shop", "upright.dev/model", "bear")) == ["bear-1", "bear-2"]
    assert names(store.labelled("elsewhere", "upright.dev/model", "bear")) == []
    assert names(store.all("shop")) == ["bear-1", "bear-2", "doll-1"]


def test_an_object_whose_labels_changed_is_found_by_the_new_ones_only() -> None:
    store = Store()
    store.put(at(1, a_service("s", labels={"upright.dev/model": "a"}), "s1"))
    store.put(at(2, a_service("s", labels={"upright.dev/model": "b"}), "s1"))
    assert names(store.labelled("shop", "upright.dev/model", "a")) == []
    assert names(store.labelled("shop", "upright.dev/model", "b")) == ["s"]


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
    changed = store.replace([a_toy("bear", uid="b", version=1)], version=5)
    assert names(changed) == ["doll"]
    assert names(store.all("shop")) == ["bear"]


def test_a_list_does_not_take_away_what_was_made_after_it() -> None:
    store = Store()
    store.put(a_toy("doll", uid="d", version=7))
    assert store.replace([], version=5) == []
    assert names(store.all("shop")) == ["doll"]


def test_a_list_does_not_bring_back_what_was_deleted_after_it() -> None:
    store = Store()
    store.put(a_toy(version=1))
    store.remove(a_toy(version=6))
    assert store.replace([a_toy(version=1)], version=5) == []
    assert store.get(BEAR) is None


def test_the_list_of_one_namespace_leaves_the_others_alone() -> None:
    store, elsewhere = Store(), a_toy("doll", uid="d", version=2)
    elsewhere["metadata"]["namespace"] = "market"
    store.put(elsewhere)
    store.replace([], version=5, namespace="shop")
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
