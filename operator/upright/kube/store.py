"""What the watches have delivered: one store per resource, indexed by owner and by our labels."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from upright.contract import Index, Key, Manifest, Reference, ResourceType
from upright.kube.client import Client
from upright.kube.objects import (
    PREFIX,
    controller_uid,
    key_of,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
    version_of,
    without_managed_fields,
)

REMEMBERED_DELETIONS = 4096


class Store:
    """The objects of one resource, each in its newest version that was seen."""

    def __init__(self) -> None:
        self._objects: dict[Key, Manifest] = {}
        self._by_index: defaultdict[tuple[str, ...], set[Key]] = defaultdict(set)
        # A UID never comes back: what is late about a deleted object (our own write's answer, a list) is ignored.
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> Manifest | None:
        return self._objects.get(key)

    def owned(self, owner_uid: str) -> Sequence[Manifest]:
        return self._indexed("owner", owner_uid)

    def labelled(self, namespace: str, label: str, value: str) -> Sequence[Manifest]:
        return self._indexed("label", namespace, label, value)

    def all(self, namespace: str) -> Sequence[Manifest]:
        return self._indexed("namespace", namespace)

    def put(self, manifest: Manifest) -> Sequence[Manifest]:
        """Take in a version of an object. Returns the versions (old, new), or nothing if it is no news."""
        key, old = key_of(manifest), self._objects.get(key_of(manifest))
        if uid_of(manifest) in self._deleted or (old is not None and version_of(old) >= version_of(manifest)):
            return ()
        new = without_managed_fields(manifest)
        if old is not None:
            self._forget(key, old)
        self._objects[key] = new
        for index in _indexes(new):
            self._by_index[index].add(key)
        return (new,) if old is None else (old, new)

    def remove(self, manifest: Manifest) -> Sequence[Manifest]:
        """The object with this UID is gone. Returns what was known of it, or nothing if that is no news."""
        uid = uid_of(manifest)
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        key = key_of(manifest)
        old = self._objects.get(key)
        if old is None or uid_of(old) != uid:
            return ()
        self._forget(key, old)
        return (old,)

    def replace(self, listed: Iterable[Manifest], version: int, namespace: str = "") -> list[Manifest]:
        """Take in a whole list that is as of `version`. Returns the objects that turn out to have changed or gone."""
        present, changed = set(), list[Manifest]()
        for manifest in listed:
            present.add(uid_of(manifest))
            changed.extend(self.put(manifest))
        known = self.all(namespace) if namespace else list(self._objects.values())
        for manifest in known:
            if uid_of(manifest) not in present and version_of(manifest) <= version:
                changed.extend(self.remove(manifest))
        return changed

    def _indexed(self, *index: str) -> Sequence[Manifest]:
        found = (self._objects[key] for key in self._by_index.get(index, ()))
        return sorted(found, key=lambda manifest: (namespace_of(manifest), name_of(manifest)))

    def _forget(self, key: Key, manifest: Manifest) -> None:
        del self._objects[key]
        for index in _indexes(manifest):
            self._by_index[index].discard(key)
            if not self._by_index[index]:
                del self._by_index[index]


class Stores:
    """The stores of all watched resources: the `World` that kinds observe."""

    def __init__(self, types: Iterable[ResourceType], client: Client, clock: Callable[[], datetime]) -> None:
        self._stores = {each: Store() for each in types}
        self._client = client
        self._clock = clock

    @property
    def now(self) -> datetime:
        return self._clock()

    @property
    def types(self) -> Sequence[ResourceType]:
        return tuple(self._stores)

    def of(self, type: ResourceType) -> Store:
        return self._stores[type]

    def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return self._stores[type].get(Key(namespace, name))

    def owned(self, type: ResourceType, owner_uid: str) -> Sequence[Manifest]:
        return self._stores[type].owned(owner_uid)

    def labelled(self, type: ResourceType, namespace: str, label: str, value: str) -> Sequence[Manifest]:
        return self._stores[type].labelled(namespace, label, value)

    def all(self, type: ResourceType, namespace: str) -> Sequence[Manifest]:
        return self._stores[type].all(namespace)

    def indexed(self, index: Index, namespace: str, value: str) -> Sequence[Manifest]:
        found = [one for one in self.all(index.type, namespace) if value in index.values(one)]
        return sorted(found, key=lambda one: (index.order(one), name_of(one)))

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        return await self._client.get(type, namespace, name)

    async def warnings(self, of: Reference) -> Sequence[Manifest]:
        return await self._client.warnings(of)


def _indexes(manifest: Manifest) -> Iterable[tuple[str, ...]]:
    namespace = namespace_of(manifest)
    yield ("namespace", namespace)
    if owner := controller_uid(manifest):
        yield ("owner", owner)
    for label, value in labels_of(manifest).items():
        if label.startswith(PREFIX):
            yield ("label", namespace, label, value)
