"""What is watched, where, and how much of it."""

from types import SimpleNamespace
from typing import Any

from tests.unit.kube.fakes import SERVICES, TOYS
from upright.api import names
from upright.api.common import GROUP
from upright.contract import ResourceType, Watch
from upright.kinds import kinds
from upright.kube.places import Place, everywhere, one_each, places, sentences
from upright.settings import Settings

CONFIG_MAPS = ResourceType("", "v1", "configmaps", "ConfigMap")
JOBS = ResourceType("batch", "v1", "jobs", "Job")
OURS = "app.kubernetes.io/managed-by=upright"


def a_kind(type: ResourceType, *watches: Watch, applies: tuple[ResourceType, ...] = ()) -> Any:
    return SimpleNamespace(type=type, watches=watches, applies=applies)


def a_watch(type: ResourceType, *, metadata: bool = False) -> Watch:
    return Watch(type, lambda manifest, world: (), metadata=metadata)


def test_all_of_our_kinds_what_we_made_of_others_and_the_metadata_of_what_anybody_made() -> None:
    kind = a_kind(TOYS, a_watch(JOBS), a_watch(CONFIG_MAPS, metadata=True), applies=(SERVICES,))
    assert places([kind], ()) == [
        Place(TOYS, ""),
        Place(JOBS, "", OURS),
        Place(SERVICES, "", OURS),
        Place(CONFIG_MAPS, "", metadata=True),
    ]


def test_pods_are_known_by_a_label_that_nobody_else_has_a_word_for() -> None:
    [_, pods] = places([a_kind(TOYS, a_watch(names.PODS))], ())
    assert pods == Place(names.PODS, "", "upright.dev/model")


def test_each_namespace_once() -> None:
    found = places([a_kind(TOYS, a_watch(JOBS))], ("a", "b", "a"))
    assert [(place.type, place.namespace) for place in found] == [(TOYS, "a"), (TOYS, "b"), (JOBS, "a"), (JOBS, "b")]


def test_a_resource_that_some_kind_needs_whole_is_watched_once_and_whole() -> None:
    one, another = a_kind(TOYS, a_watch(JOBS, metadata=True)), a_kind(SERVICES, a_watch(JOBS))
    assert [place for place in places([one, another], ()) if place.type == JOBS] == [Place(JOBS, "", OURS)]


def test_of_troubles_one_is_told_for_each_namespace_and_none_twice() -> None:
    here, there = (Place(JOBS, namespace) for namespace in ("a", "b"))
    troubles = {here: "no jobs.", Place(TOYS, "a"): "no toys.", there: "no jobs."}
    assert sentences(troubles) == "no jobs. no toys."
    assert [place.namespace for place in one_each(troubles)] == ["a", "b"]
    assert everywhere(troubles, [here, there])
    assert not everywhere({there: "no jobs."}, [here, there])
    assert not everywhere({}, [here])


def test_all_objects_of_our_own_types_are_watched_whatever_their_labels() -> None:
    """What is asked for by a label is out of sight once somebody else has changed it."""
    found = {place.type: place.selector for place in places(kinds(Settings()), ())}
    ours = {each for each in found if each.group == GROUP}
    assert names.COMPARISONS in ours
    assert [each for each in ours if found[each]] == []
