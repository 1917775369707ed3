"""Carrying out what a plan wants of objects: compared with what is there, so that nothing is written in vain."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upright.api import names
from upright.api.common import GROUP
from upright.contract import Correction, Event, Key, Manifest, Reference, ResourceType
from upright.kube.client import Client
from upright.kube.errors import (
    ConflictError,
    ContestedError,
    LeavingError,
    NameTakenError,
    NotFoundError,
    RefusedError,
)
from upright.kube.exact import added, changes, exactly
from upright.kube.memory import Memory
from upright.kube.objects import (
    MANAGED_BY,
    OURS,
    Whose,
    digest,
    holder_of,
    key_of,
    lost_labels,
    meta,
    name_of,
    namespace_of,
    part,
    reference,
    uid_of,
    version_of,
    whose,
)
from upright.kube.store import Stores

REMEMBERED = 8192
HELD = timedelta(minutes=1)
"""An object that is being deleted for longer than this waits for somebody who does not come. Where it waits for its
pods, they have their grace period first, of so many seconds where none is set:"""
_GRACE = 30

_COLLECTORS = ("foregroundDeletion", "orphan")
"""Finalizers of the garbage collector, which needs no help."""

PUT_BACK_AT_ONCE = 3
FIRST_TRUCE = 10.0
LONGEST_TRUCE = 300.0
PEACE = 900.0
"""What somebody changes is put back at once so often; then after a truce, in seconds, that doubles each time. Whoever
leaves it alone for as long as PEACE is forgiven."""


@dataclass(frozen=True)
class Done:
    """What making an object came to."""

    wrote: bool
    event: Event | None = None
    """What is to be told of it: that it was taken up, or what somebody else had changed and is as it was again."""


@dataclass(frozen=True)
class _Dispute:
    times: int
    at: float


class Actions:
    """Writes to objects, each only when it is needed; what the API server answers goes to `seen`."""

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
        # By UID, the digest of what was applied, and the version that the API server made of it. What it writes
        # otherwise than we do ("1000m" for "1") would look like a change for ever.
        self._confirmed: Memory[str, tuple[str, int]] = Memory(REMEMBERED)
        # By UID and path the same of a part, and the digest of what is kept of it: others go on writing to the rest.
        self._corrected: Memory[tuple[str, str], tuple[str, str]] = Memory(REMEMBERED)
        self._disputes: Memory[str, _Dispute] = Memory(REMEMBERED)

    async def refresh(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        """What is there now, past the watches. What they would not tell the end of is not kept."""
        known = self._stores.of(type).get(Key(namespace, name))  # what comes while we ask is not judged by the answer
        found = await self._client.get(type, namespace, name)
        if known is not None and (found is None or uid_of(found) != uid_of(known)):
            self._gone(type, known)
        if found is not None and _is_watched(type, found):
            self._seen(type, found)
        return found

    async def create(self, type: ResourceType, manifest: Manifest) -> Done:
        """Make an object once. One of that name is fine if it is ours: then it was made by an earlier plan. Raises
        LeavingError while that is being deleted.
        """
        namespace, name = namespace_of(manifest), name_of(manifest)
        existing = self._stores.of(type).get(Key(namespace, name))
        if existing is None:
            try:
                self._seen(type, await self._client.create(type, manifest))
            except ConflictError:
                existing = await self.refresh(type, namespace, name)
                if existing is None:  # it was on its way out
                    raise
            else:
                return Done(wrote=True)
        found = self._must_be_ours(type, existing, manifest)
        if names.is_going(existing):
            raise self._leaving(type, existing, manifest)
        if found is Whose.NOBODYS and (owner := names.controller_of(manifest)):
            await self._take_up(type, existing, owner)
            return Done(wrote=True, event=_taken_up(existing))
        # Of our own kinds all objects are watched, whatever their labels, and users may label them as they like.
        if type.group != GROUP and (lost := lost_labels(existing, manifest)):
            return await self._label(type, existing, lost)
        return Done(wrote=False)

    async def apply(self, type: ResourceType, manifest: Manifest) -> Done:
        """Make an object what the manifest says, unless it is so already."""
        store, mark = self._stores.of(type), digest(manifest)
        namespace, name = namespace_of(manifest), name_of(manifest)
        live = store.get(Key(namespace, name))
        if live is None and (live := await self._client.get(type, namespace, name)) is not None:
            self._must_be_ours(type, live, manifest)
            self._seen(type, live)
        marked = _marked(manifest, live, mark)
        if live is None:
            await self._write(type, marked, mark, force=False)
            return Done(wrote=True)
        found = self._must_be_ours(type, live, manifest)
        if names.is_going(live):
            raise self._leaving(type, live, manifest)
        confirmed = self._confirmed.get(uid_of(live))
        wanted = store.kept(marked)
        changed = changes(type, live, wanted)
        if confirmed == (mark, version_of(live)) or not changed:
            return Done(wrote=False)
        made_so = _mark_of(live) == mark or (confirmed is not None and confirmed[0] == mark)
        if made_so:
            await self._keep_truce(type, live, changed)
        answer = await self._write(type, marked, mark, force=True)
        if version_of(answer) == version_of(live):
            return Done(wrote=False)
        left = changes(type, answer, wanted)
        mended = [change for change in changed if change not in left]
        if found is Whose.NOBODYS:
            return Done(wrote=True, event=_taken_up(live))
        if not (made_so and mended):
            return Done(wrote=True)
        await self._dispute(type, live, mended)
        return Done(wrote=True, event=_put_back(live, mended))

    async def keep(self, type: ResourceType, manifest: Manifest) -> None:
        """Write an object whole. Raises ConflictError if there is another version of it than the plan was made from."""
        namespace, name = namespace_of(manifest), name_of(manifest)
        if "resourceVersion" not in meta(manifest):
            if not (await self.create(type, manifest)).wrote:
                raise ConflictError("create", f"{type} {namespace}/{name}", 409, "it is there by now")
            return
        try:
            answer = await self._client.replace(type, manifest)
        except (ConflictError, NotFoundError) as error:
            await self.refresh(type, namespace, name)
            raise ConflictError("update", f"{type} {namespace}/{name}", error.status, "it has changed") from error
        self._seen(type, answer)

    async def correct(self, correction: Correction) -> bool:
        """Make one part of an object just what it should be, unless it is so already. Returns whether it was not."""
        return await self._correct(
            correction, lambda: self._client.correct(correction.target, {correction.path: correction.value})
        )

    async def scale(self, correction: Correction) -> bool:
        """The same of how many pods a workload has."""
        return await self._correct(correction, lambda: self._rescaled(correction.target, correction.value))

    async def _rescaled(self, target: Reference, replicas: int) -> Manifest:
        await self._client.scale(target, replicas)
        found = await self._client.get(target.type, target.namespace, target.name)
        if found is None:
            raise ConflictError("patch", str(target.type), 404, "it is gone by now")
        return found

    async def _correct(self, correction: Correction, write: Callable[[], Awaitable[Manifest]]) -> bool:
        target, path = correction.target, correction.path
        live, mark = await self._existing_now(target), digest({path: correction.value})
        if live is None or (before := part(live, path)) == correction.value:
            return False
        corrected, changed = self._corrected.get((target.uid, path)), f"another {path.strip('/').replace('/', '.')}"
        if corrected == (mark, digest({path: before})):
            return False
        made_so = corrected is not None and corrected[0] == mark
        if made_so:
            await self._keep_truce(target.type, live, [changed])
        answer = await self._existing(target, write())
        made = part(self._stores.of(target.type).kept(answer), path)
        self._corrected.set((target.uid, path), (mark, digest({path: made})))
        if made == before:  # the API server has added to it what it adds to every one
            return False
        if made_so:
            await self._dispute(target.type, live, [changed])
        return True

    async def delete(self, target: Reference) -> bool:
        live = await self._existing_now(target)
        if live is None or names.is_going(live):
            return False
        left = await self._client.delete(target)
        # known at once, lest the next plan takes what is going for something that is there
        if left is None:
            self._gone(target.type, live)
        else:
            self._seen(target.type, left)
        return True

    def superfluous(
        self, owner: Manifest, applies: Sequence[ResourceType], kept: Mapping[ResourceType, set[Key]]
    ) -> list[Reference]:
        """What `owner` controls by an earlier plan, of the types that its kind applies, and no longer wants."""
        return [
            reference(each, manifest)
            for each in applies
            for manifest in self._stores.owned(each, namespace_of(owner), uid_of(owner))
            if key_of(manifest) not in kept.get(each, ())
        ]

    async def _existing_now(self, target: Reference) -> Manifest | None:
        """The very object that is meant, also one that somebody has hidden from the watches by other labels."""
        live = self._stores.of(target.type).get(Key(target.namespace, target.name))
        if live is None:
            live = await self._client.get(target.type, target.namespace, target.name)
        return live if live is not None and uid_of(live) == target.uid else None

    async def _existing(self, target: Reference, writing: Awaitable[Manifest]) -> Manifest:
        """Write to an object that exists; when it does not, or is another one, find out what there is.

        The API server says of another UID that it is a conflict, or that a UID cannot be changed.
        """
        try:
            answer = await writing
        except RefusedError as error:
            if error.status not in (404, 409, 422):
                raise
            found = await self.refresh(target.type, target.namespace, target.name)
            if found is not None and uid_of(found) == target.uid:
                raise
            what = f"{target.type} {target.namespace}/{target.name}"
            raise ConflictError("patch", what, error.status, "it is another object by now") from error
        self._seen(target.type, answer)
        return answer

    async def _write(self, type: ResourceType, marked: Manifest, mark: str, *, force: bool) -> Manifest:
        """Apply, and take out of what must be exact whatever others have put there. Raises ContestedError when it comes
        back with the answer: an admission policy adds it.
        """
        try:
            answer = await self._client.apply(type, marked, force=force)
        except ConflictError:
            await self.refresh(type, namespace_of(marked), name_of(marked))
            raise
        except RefusedError as error:
            live = self._stores.of(type).get(key_of(marked)) if error.status == 422 else None
            if live is None or not (parts := exactly(type, live, marked)):
                raise
            # what is there cannot be merged with what is to be: a port of the same name, and of another number
            await self._set(type, live, parts)
            answer = await self._client.apply(type, marked, force=force)
        self._seen(type, answer)
        if parts := exactly(type, answer, marked):
            answer = await self._set(type, answer, parts)
            if exactly(type, answer, marked):
                raise await self._contested(type, answer, added(type, answer, marked))
        self._confirmed.set(uid_of(answer), (mark, version_of(answer)))
        return answer

    async def _set(self, type: ResourceType, live: Manifest, parts: Mapping[str, Any]) -> Manifest:
        target = reference(type, live)
        return await self._existing(target, self._client.correct(target, parts))

    def _must_be_ours(self, type: ResourceType, existing: Manifest, wanted: Manifest) -> Whose:
        found = whose(existing, wanted)
        if found is Whose.FOREIGN:
            raise NameTakenError(type, namespace_of(wanted), name_of(wanted), holder_of(existing))
        if found is Whose.LEFT:
            raise self._leaving(type, existing, wanted)
        return found

    async def _take_up(self, type: ResourceType, existing: Manifest, owner: Mapping[str, Any]) -> None:
        owners = names.taken_up_by(owner, existing)
        change = {"resourceVersion": meta(existing)["resourceVersion"], "ownerReferences": owners}
        target = reference(type, existing)
        await self._existing(target, self._client.merge(target, {"metadata": change}))

    async def _label(self, type: ResourceType, existing: Manifest, labels: Mapping[str, str]) -> Done:
        """Put back labels by which an object is found and watched. Raises ContestedError, as for what is applied."""
        changed = [f"another label {label}" for label in labels]
        await self._keep_truce(type, existing, changed)
        await self._existing(
            reference(type, existing), self._client.merge(reference(type, existing), {"metadata": {"labels": labels}})
        )
        await self._dispute(type, existing, changed)
        return Done(wrote=True, event=_put_back(existing, changed))

    def _leaving(self, type: ResourceType, live: Manifest, wanted: Manifest) -> LeavingError:
        held = [name for name in meta(live).get("finalizers") or () if name not in _COLLECTORS]
        error = LeavingError(type, namespace_of(live), name_of(live), held)
        since = meta(live).get("deletionTimestamp")
        if since and (held or "foregroundDeletion" in (meta(live).get("finalizers") or ())):  # that waits for pods
            pods = None if held else part(wanted, "/spec/template/spec")
            grace = timedelta(seconds=pods.get("terminationGracePeriodSeconds", _GRACE) if pods else 0)
            error.lasting = self._stores.now - datetime.fromisoformat(str(since)) > HELD + grace
        return error

    async def _keep_truce(self, type: ResourceType, live: Manifest, changed: Sequence[str]) -> None:
        """Raises ContestedError while an object that others change again and again is not to be put back."""
        dispute = self._disputes.get(uid_of(live))
        if dispute is None or dispute.times < PUT_BACK_AT_ONCE:
            return
        truce = min(FIRST_TRUCE * 2.0 ** min(dispute.times - PUT_BACK_AT_ONCE, 16), LONGEST_TRUCE)
        if asyncio.get_running_loop().time() - dispute.at < truce:
            raise await self._contested(type, live, changed)

    async def _dispute(self, type: ResourceType, live: Manifest, mended: Sequence[str]) -> None:
        """Remember that it had to be put back. Raises ContestedError once that has been so often."""
        now, before = asyncio.get_running_loop().time(), self._disputes.get(uid_of(live))
        times = before.times + 1 if before and now - before.at < PEACE else 1
        self._disputes.set(uid_of(live), _Dispute(times, now))
        if times > PUT_BACK_AT_ONCE:
            raise await self._contested(type, live, mended)

    async def _contested(self, type: ResourceType, live: Manifest, changed: Sequence[str]) -> ContestedError:
        namespace, name = namespace_of(live), name_of(live)
        found = await self._client.get(type, namespace, name) or {}
        return ContestedError(type, namespace, name, ", ".join(changed), _last_writer(found))


def _taken_up(live: Manifest) -> Event:
    return Event("Normal", "TakenUp", "Apply", f"{live['kind']} {name_of(live)} had no owner, and is taken up.")


def _put_back(live: Manifest, changed: Sequence[str]) -> Event:
    message = f"Put back what somebody changed: {live['kind']} {name_of(live)} had {', '.join(changed)}."
    return Event("Warning", "Restored", "Apply", message)


def _mark_of(live: Manifest) -> str | None:
    mark: str | None = (meta(live).get("annotations") or {}).get(names.APPLIED)
    return mark


def _marked(manifest: Manifest, live: Manifest | None, mark: str) -> dict[str, Any]:
    metadata = dict(meta(manifest))
    metadata["annotations"] = {**(metadata.get("annotations") or {}), names.APPLIED: mark}
    if live is not None:
        metadata["uid"] = uid_of(live)  # a namesake made since is not meant
    return {**manifest, "metadata": metadata}


def _last_writer(found: Manifest) -> str:
    """The field manager, other than we are, that wrote to an object last; empty when there is none."""
    writers = [
        (str(entry.get("time")), str(entry.get("manager")))
        for entry in meta(found).get("managedFields") or ()
        if entry.get("subresource") in (None, "", "scale") and entry.get("manager") != names.FIELD_MANAGER
    ]
    return f"field manager {max(writers)[1]}" if writers else ""


def _is_watched(type: ResourceType, manifest: Manifest) -> bool:
    """Whether a watch would tell of its end: of our own kinds all objects are watched, of others what has our label."""
    return type.group == GROUP or (meta(manifest).get("labels") or {}).get(MANAGED_BY) == OURS
