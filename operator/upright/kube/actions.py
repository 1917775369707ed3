"""Carrying out what a plan wants of objects: compared with what is there, so that nothing is written in vain."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from upright.contract import Key, Manifest, Reference, ResourceType, Scale
from upright.kube.client import Client
from upright.kube.errors import ConflictError, NameTakenError, NotFoundError
from upright.kube.objects import (
    APPLIED,
    MANAGED_BY,
    OURS,
    PREFIX,
    contains,
    controller_uid,
    digest,
    holder_of,
    is_being_deleted,
    key_of,
    labels_of,
    meta,
    name_of,
    namespace_of,
    reference,
    uid_of,
    version_of,
)
from upright.kube.store import Stores

REMEMBERED = 8192


class Actions:
    """Writes to objects. Each returns whether anything was written; what the API server answers goes to `seen`."""

    def __init__(
        self,
        client: Client,
        stores: Stores,
        seen: Callable[[ResourceType, Manifest], None],
        gone: Callable[[ResourceType, Manifest], None],
    ) -> None:
        self._client = client
        self._stores = stores
        self._seen = seen
        self._gone = gone
        # The version at which an object was last confirmed to be as it was applied (by UID and digest): what the API
        # server writes otherwise than we do ("1000m" for "1") would look like a difference for ever.
        self._confirmed: OrderedDict[tuple[str, str], int] = OrderedDict()

    async def refresh(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        """What is there now, past the watches."""
        found = await self._client.get(type, namespace, name)
        known = self._stores.get(type, namespace, name)
        if known is not None and (found is None or uid_of(found) != uid_of(known)):
            self._gone(type, known)
        if found is not None:
            self._seen(type, found)
        return found

    async def create(self, type: ResourceType, manifest: Manifest) -> bool:
        """Make an object once. One of that name is fine if it bears our labels: then it was made by an earlier plan."""
        existing = self._stores.get(type, namespace_of(manifest), name_of(manifest))
        if existing is None:
            try:
                self._seen(type, await self._client.create(type, manifest))
            except ConflictError:
                existing = await self.refresh(type, namespace_of(manifest), name_of(manifest))
                if existing is None:  # it was on its way out
                    raise
            else:
                return True
        if not _same_labels(existing, manifest):
            raise NameTakenError(type, namespace_of(manifest), name_of(manifest), holder_of(existing))
        return False

    async def apply(self, type: ResourceType, manifest: Manifest) -> bool:
        """Make an object what the manifest says, unless it is so already."""
        mark = digest(manifest)
        namespace, name = namespace_of(manifest), name_of(manifest)
        live = self._stores.get(type, namespace, name)
        if (
            live is None
            and (live := await self._client.get(type, namespace, name)) is not None
            and _ours(live, manifest)
        ):
            self._seen(type, live)
        if live is not None and not _ours(live, manifest):
            raise NameTakenError(type, namespace, name, holder_of(live))
        if live is not None and self._is_as_applied(live, manifest, mark):
            return False
        try:
            answer = await self._client.apply(type, _marked(manifest, live, mark), force=live is not None)
        except ConflictError:
            await self.refresh(type, namespace, name)
            raise
        self._confirmed[uid_of(answer), mark] = version_of(answer)
        if len(self._confirmed) > REMEMBERED:
            self._confirmed.popitem(last=False)
        self._seen(type, answer)
        return live is None or version_of(answer) != version_of(live)

    async def scale(self, scale: Scale) -> bool:
        target = scale.target
        live = self._stores.get(target.type, target.namespace, target.name)
        if live is None or uid_of(live) != target.uid or live.get("spec", {}).get("replicas") == scale.replicas:
            return False
        try:
            answer = await self._client.merge(target, {"spec": {"replicas": scale.replicas}})
        except (ConflictError, NotFoundError):
            await self.refresh(target.type, target.namespace, target.name)
            raise
        self._seen(target.type, answer)
        return True

    async def delete(self, target: Reference) -> bool:
        live = self._stores.get(target.type, target.namespace, target.name)
        if live is None or uid_of(live) != target.uid or is_being_deleted(live):
            return False
        await self._client.delete(target)
        return True

    def superfluous(
        self, owner: Manifest, applies: Sequence[ResourceType], kept: Mapping[ResourceType, set[Key]]
    ) -> list[Reference]:
        """What `owner` owns by an earlier plan, of the types that its kind applies, and no longer wants."""
        return [
            reference(each, manifest)
            for each in applies
            for manifest in self._stores.owned(each, uid_of(owner))
            if labels_of(manifest).get(MANAGED_BY) == OURS and key_of(manifest) not in kept.get(each, ())
        ]

    def _is_as_applied(self, live: Manifest, manifest: Manifest, mark: str) -> bool:
        if self._confirmed.get((uid_of(live), mark)) == version_of(live):
            return True
        return (meta(live).get("annotations") or {}).get(APPLIED) == mark and contains(live, manifest)


def _ours(live: Manifest, manifest: Manifest) -> bool:
    """An object is ours if we manage it for the same owner."""
    return labels_of(live).get(MANAGED_BY) == OURS and controller_uid(live) == controller_uid(manifest)


def _same_labels(existing: Manifest, manifest: Manifest) -> bool:
    wanted = {label: value for label, value in labels_of(manifest).items() if label.startswith(PREFIX)}
    found = {label: value for label, value in labels_of(existing).items() if label.startswith(PREFIX)}
    return wanted == found


def _marked(manifest: Manifest, live: Manifest | None, mark: str) -> dict[str, Any]:
    metadata = dict(meta(manifest))
    metadata["annotations"] = {**(metadata.get("annotations") or {}), APPLIED: mark}
    if live is not None:
        metadata["uid"] = uid_of(live)  # a namesake made since is not meant
    return {**manifest, "metadata": metadata}
