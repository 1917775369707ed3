"""What the watches have delivered: one store per resource, indexed by owner and as kinds ask."""

import json
import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast, overload

from upright.api import names
from upright.contract import ALWAYS, Index, Key, Kind, Manifest, ResourceType
from upright.kube.client import Client
from upright.kube.errors import ApiError
from upright.kube.keeping import bare, kept, kept_name, kept_with_writers, shape
from upright.kube.memory import Memory
from upright.kube.objects import (
    controller_uid,
    key_of,
    name_of,
    namespace_of,
    uid_of,
    version_of,
)

REMEMBERED_DELETIONS = 4096
REMEMBERED_COMPLAINTS = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An object as it is kept: as JSON it takes a third of the memory that it takes as dicts."""

    uid: str
    version: int
    text: bytes

    @property
    def manifest(self) -> Manifest:
        found: Manifest = json.loads(self.text)
        return found


Entry = tuple[Any, str, Any]
"""An object at its place in an index: its order there, its name, and the object as it is kept or what is read of it."""


class Store:
    """The objects of one resource, each in its newest version that was seen, of which `keep` says what to keep."""

    def __init__(
        self,
        keep: Callable[[Manifest], Manifest] = lambda manifest: kept(manifest, None),
        indexes: Iterable[Index] = (),
    ) -> None:
        self._keep = keep
        self._indexes = tuple(dict.fromkeys(indexes))
        self._objects: dict[Key, _Kept] = {}
        self._found: defaultdict[tuple[Hashable, ...], _Sorted] = defaultdict(_Sorted)
        # What is late about an object that is gone (our own write's answer, a list) is ignored: up to which version, by
        # UID. One may come back with its UID, newer, when it bears our label again, by which it is watched.
        self._deleted: Memory[str, int] = Memory(REMEMBERED_DELETIONS)
        self._complaints: Memory[tuple[str, str], str] = Memory(REMEMBERED_COMPLAINTS)

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def get(self, key: Key) -> Manifest | None:
        found = self._objects.get(key)
        return None if found is None else found.manifest

    def kept(self, manifest: Manifest) -> Manifest:
        """What the store would keep of an object."""
        return self._keep(manifest)

    def owned(self, namespace: str, owner_uid: str) -> Sequence[Manifest]:
        return self._at("owner", namespace, owner_uid)

    def all(self, namespace: str) -> Sequence[Manifest]:
        return self._at("namespace", namespace)

    def indexed(self, index: Index, namespace: str, value: str) -> Sequence[Any]:
        return self._at(*self._place_of(index, namespace, value))

    def named(self, index: Index, namespace: str, value: str) -> Sequence[Key]:
        found = self._found.get(self._place_of(index, namespace, value))
        return [Key(namespace, name) for name in found.names()] if found else ()

    def put(self, manifest: Manifest, as_of: int = 0) -> Sequence[Manifest]:
        """Take in a version of an object, which was there as of that version of a list.

        Returns the versions (old, new), or nothing if it is no news.
        """
        key = key_of(manifest)
        before, uid, version = self._objects.get(key), uid_of(manifest), version_of(manifest)
        if before is not None and before.version >= version:
            return ()  # most of a list is known, and lists are long
        if (self._deleted.get(uid) or -1) >= max(version, as_of):
            return ()
        new = self._keep(manifest)
        text = json.dumps(new, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
        kept = self._objects[key] = _Kept(uid, version, text)
        old = None if before is None else before.manifest
        self._place(old, new, kept)
        return (new,) if old is None else (old, new)

    def remove(self, manifest: Manifest, version: int = 0) -> Sequence[Manifest]:
        """The object with this UID is gone, in this version or at `version`. Returns what was known if that is news."""
        uid, gone = uid_of(manifest), max(version, version_of(manifest))
        self._deleted.set(uid, max(gone, self._deleted.get(uid) or 0))
        key = key_of(manifest)
        before = self._objects.get(key)
        if before is None or before.uid != uid:
            return ()
        del self._objects[key]
        old = before.manifest
        self._place(old, None, before)
        return (old,)

    def retain(self, there: Container[str], version: int, namespace: str = "") -> Sequence[Manifest]:
        """As of `version` there were just the objects with these UIDs. Returns those that turn out to be gone."""
        gone = [
            kept.manifest
            for key, kept in self._objects.items()
            if namespace in ("", key.namespace) and kept.uid not in there and kept.version <= version
        ]
        return [removed for manifest in gone for removed in self.remove(manifest, version)]

    def _place_of(self, index: Index, namespace: str, value: str) -> tuple[Hashable, ...]:
        if index not in self._indexes:
            raise LookupError(f"no kind has named the index {index.name!r} of {index.type}")
        return index, namespace, value

    def _at(self, *place: Hashable) -> Sequence[Any]:
        found = self._found.get(place)
        return found.view() if found else ()

    def _place(self, old: Manifest | None, new: Manifest | None, kept: _Kept) -> None:
        """Take the old version out of where it is found, and put the new one where it will be."""
        before = {} if old is None else self._places(old, None)
        after = {} if new is None else self._places(new, kept)
        for place, entry in before.items():
            if place not in after or after[place][0] != entry[0]:
                self._found[place].remove(entry)
                if not self._found[place]:
                    del self._found[place]
        for place, entry in after.items():
            assert new is not None
            try:
                self._found[place].put(entry)
            except TypeError as error:
                self._complain(place, new, error)

    def _places(self, manifest: Manifest, kept: _Kept | None) -> Mapping[tuple[Hashable, ...], Entry]:
        """Where an object is found, and its entry there; without what is read of it when it is not `kept` any more.
        Each place is one of the object's namespace, in which no other has its name.
        """
        namespace, name = namespace_of(manifest), name_of(manifest)
        plain: Entry = ("", name, kept)
        places: dict[tuple[Hashable, ...], Entry] = {("namespace", namespace): plain}
        if owner := controller_uid(manifest):
            places["owner", namespace, owner] = plain
        for index in self._indexes:
            try:
                values, order = set(index.values(manifest)), index.order(manifest)
                found = index.reads(manifest) if values and kept and index.reads else kept
            except Exception as error:  # noqa: BLE001 - an object that cannot be read is not found, and harms no other
                self._complain((index,), manifest, error)
            else:
                places.update({(index, namespace, value): (order, name, found) for value in values})
        return places

    def _complain(self, place: tuple[Hashable, ...], manifest: Manifest, error: Exception) -> None:
        """Once for each object."""
        index, said = cast(Index, place[0]), f"{type(error).__name__}: {error}"
        if self._complaints.get((index.name, uid_of(manifest))) != said:
            self._complaints.set((index.name, uid_of(manifest)), said)
            what = f"{manifest.get('kind')} {key_of(manifest)}"
            logger.warning("%s cannot be read, so it is not found %s: %s", what, index.name, said)


class _Sorted:
    """Objects in an order. Who was given them goes on seeing them as they were."""

    def __init__(self) -> None:
        self._entries: list[Any] = []
        self._given = False

    def __len__(self) -> int:
        return len(self._entries)

    def view(self) -> Sequence[Any]:
        self._given = True
        return _View(self._entries)

    def names(self) -> Iterable[str]:
        return (name for _, name, _ in self._entries)

    def put(self, entry: Entry) -> None:
        """Raises TypeError if its order cannot be compared with those that are there."""
        entries = self._own()
        at = bisect_left(entries, entry[:2])
        if at < len(entries) and entries[at][:2] == entry[:2]:
            entries[at] = entry
        else:
            entries.insert(at, entry)

    def remove(self, entry: Entry) -> None:
        entries = self._own()
        with suppress(TypeError):  # then it was never taken in
            at = bisect_left(entries, entry[:2])
            if at < len(entries) and entries[at][:2] == entry[:2]:
                del entries[at]

    def _own(self) -> list[Any]:
        if self._given:
            self._entries, self._given = self._entries.copy(), False
        return self._entries


class _View(Sequence[Any]):
    """The objects of entries that nobody changes any more, or what is read of them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, at: int) -> Any: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Any]: ...

    def __getitem__(self, at: int | slice) -> Any:
        return _given(self._entries[at]) if isinstance(at, int) else _View(self._entries[at])

    def __iter__(self) -> Iterator[Any]:
        return map(_given, self._entries)


def _given(entry: Entry) -> Any:
    found = entry[2]
    return found.manifest if isinstance(found, _Kept) else found


class Stores:
    """The stores of everything that kinds watch: the `World` that they observe."""

    def __init__(
        self,
        kinds: Sequence[Kind[Any]],
        client: Client,
        clock: Callable[[], datetime],
        watched_since: Callable[[str], datetime] = lambda _namespace: ALWAYS,
    ) -> None:
        indexes = [index for kind in kinds for index in kind.indexes]
        self._stores = {
            each: Store(_keeper(each, kinds), [index for index in indexes if index.type == each])
            for each in watched_types(kinds)
        }
        self._client = client
        self._clock = clock
        self._watched_since = watched_since
        self._unheard: Memory[str, str] = Memory(REMEMBERED_COMPLAINTS)

    @property
    def now(self) -> datetime:
        return self._clock()

    def watched_since(self, namespace: str) -> datetime:
        return self._watched_since(namespace)

    @property
    def types(self) -> Sequence[ResourceType]:
        return tuple(self._stores)

    def of(self, type: ResourceType) -> Store:
        return self._stores[type]

    def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return self.of(type).get(Key(namespace, name))

    def has(self, type: ResourceType, namespace: str, name: str) -> bool:
        return Key(namespace, name) in self.of(type)

    def owned(self, type: ResourceType, namespace: str, owner_uid: str) -> Sequence[Manifest]:
        return self.of(type).owned(namespace, owner_uid)

    def all(self, type: ResourceType, namespace: str) -> Sequence[Manifest]:
        return self.of(type).all(namespace)

    def indexed(self, index: Index, namespace: str, value: str) -> Sequence[Any]:
        return self.of(index.type).indexed(index, namespace, value)

    def named(self, index: Index, namespace: str, value: str) -> Sequence[Key]:
        return self.of(index.type).named(index, namespace, value)

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return await self._client.get(type, namespace, name)

    async def fetch_owned(
        self, type: ResourceType, namespace: str, owner_uid: str, label: str, value: str
    ) -> Sequence[Manifest]:
        return [
            bare(self.of(type).kept(manifest))
            async for page in self._client.pages(type, namespace, f"{label}={value}")
            for manifest in page.items
            if names.controlled_by(manifest, namespace, owner_uid)
        ]

    async def warnings(self, namespace: str, uids: Container[str]) -> Sequence[Manifest] | None:
        try:
            return await self._client.warnings(namespace, uids)
        except ApiError as error:  # they only say why something does not happen
            if self._unheard.get(namespace) != str(error):
                self._unheard.set(namespace, str(error))
                logger.warning("what events say is not known: %s", error)
            return None


def watched_types(kinds: Sequence[Kind[Any]]) -> list[ResourceType]:
    """Every resource that some kind needs to know about, in a stable order."""
    wanted = [each for kind in kinds for each in (kind.type, *(watch.type for watch in kind.watches), *kind.applies)]
    return list(dict.fromkeys(wanted))


def _keeper(type: ResourceType, kinds: Sequence[Kind[Any]]) -> Callable[[Manifest], Manifest]:
    """What is kept of the objects of a resource: what some kind reads."""
    if type in [kind.type for kind in kinds]:
        return kept_with_writers
    wanted = [watch for kind in kinds for watch in kind.watches if watch.type == type and not watch.metadata]
    if not wanted and not any(type in kind.applies for kind in kinds):
        return kept_name
    paths = [path for watch in wanted for path in watch.fields]
    digests = [path for watch in wanted for path in watch.digests]
    fields = shape(paths, digests) if all(watch.fields for watch in wanted) else None
    return lambda manifest: kept(manifest, fields)
