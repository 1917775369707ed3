"""What is watched: each resource, in each namespace that is looked after."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upright.api import names
from upright.api.common import GROUP
from upright.contract import Kind, ResourceType
from upright.kube.objects import MANAGED_BY, OURS


@dataclass(frozen=True)
class Place:
    """One resource in one namespace, or in all of them when `namespace` is empty: one list, and one watch."""

    type: ResourceType
    namespace: str
    selector: str = ""
    metadata: bool = False
    """Only the metadata of the objects is asked for."""

    def __str__(self) -> str:
        return f"{self.type} in {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"


def places(kinds: Sequence[Kind[Any]], namespaces: Iterable[str]) -> list[Place]:
    """Of our own types, whatever their labels, and of what is watched by metadata all objects; of others those that we
    made.
    """
    own = [kind.type for kind in kinds]
    watched = [watch for kind in kinds for watch in kind.watches]
    whole = [*own, *(watch.type for watch in watched if not watch.metadata)]
    whole += [applied for kind in kinds for applied in kind.applies]
    partial = [watch.type for watch in watched if watch.metadata and watch.type not in whole]
    all_of_them = {*own, *partial, *(each for each in whole if each.group == GROUP)}
    return [
        Place(each, namespace, "" if each in all_of_them else _selector(each), each in partial)
        for each in dict.fromkeys([*whole, *partial])
        for namespace in dict.fromkeys(namespaces) or ("",)
    ]


def _selector(type: ResourceType) -> str:
    """By which labels we know what we made. Pods that others have marked as theirs get requests all the same."""
    return names.MODEL if type == names.PODS else f"{MANAGED_BY}={OURS}"


def sentences(troubles: Mapping[Place, str]) -> str:
    """What is wrong, each thing once."""
    return " ".join(dict.fromkeys(troubles.values()))


def everywhere(troubles: Mapping[Place, str], places: Iterable[Place]) -> bool:
    """Whether there is something wrong in each namespace."""
    return {place.namespace for place in troubles} == {place.namespace for place in places}


def one_each(troubles: Mapping[Place, str]) -> Mapping[Place, str]:
    """One thing that is wrong in each namespace: one that is gone would be told of again for each resource."""
    return {place: troubles[place] for place in {place.namespace: place for place in troubles}.values()}
