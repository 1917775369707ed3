"""Stand-ins for the parts of the shell that talk to an API server."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from upright.contract import Key, Manifest, Reference, ResourceType
from upright.kube.errors import ConflictError, NotFoundError, UnreachableError
from upright.kube.objects import key_of, meta, plain, uid_of

TOYS = ResourceType("upright.test", "v1", "toys", "Toy")
SERVICES = ResourceType("", "v1", "services", "Service")
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.seconds - 1000)

    def forward(self, seconds: float) -> None:
        self.seconds += seconds


def open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass
class FakeClient:
    """Objects in memory, with UIDs, versions and the conflicts that come of them. Remembers each write."""

    objects: dict[tuple[ResourceType, Key], dict[str, Any]] = field(default_factory=dict)
    writes: list[tuple[str, ResourceType, str]] = field(default_factory=list)
    unreachable: bool = False
    gate: asyncio.Event = field(default_factory=open_gate)
    """While it is not set no request is answered."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first request."""
    refusal: Exception | None = None
    refused: dict[tuple[ResourceType, str], Exception] = field(default_factory=dict)
    """What is raised instead of a write to an object of a type and name."""
    filled_in: Mapping[str, Any] = field(default_factory=dict)
    """What the API server adds to each item of a list that is corrected."""
    versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def put(self, type: ResourceType, manifest: Manifest) -> Manifest:
        """As if somebody else had written it."""
        stored = plain(manifest)
        number = next(self.versions)
        stored["metadata"].setdefault("uid", f"uid-{number}")
        stored["metadata"]["resourceVersion"] = str(number)
        self.objects[type, key_of(stored)] = stored
        return dict(plain(stored))

    async def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        await self._arrive()
        found = self.objects.get((type, Key(namespace, name)))
        return None if found is None else plain(found)

    async def create(self, type: ResourceType, manifest: Manifest) -> Manifest:
        await self._write("create", type, manifest)
        if (type, key_of(manifest)) in self.objects:
            raise ConflictError("create", str(type), 409, "it exists")
        return self.put(type, manifest)

    async def apply(self, type: ResourceType, manifest: Manifest, *, force: bool) -> Manifest:
        await self._write("apply", type, manifest)
        old = self.objects.get((type, key_of(manifest)))
        if old is None:
            return self.put(type, manifest)
        if not force or uid_of(manifest) != uid_of(old):
            raise ConflictError("patch", str(type), 409, "another object")
        return self.put(type, _merged(old, manifest))

    async def patch_status(self, type: ResourceType, resource: Manifest, status: Mapping[str, Any]) -> Manifest:
        await self._write("status", type, resource)
        old = self._existing(type, key_of(resource))
        if meta(old)["resourceVersion"] != meta(resource)["resourceVersion"]:
            raise ConflictError("patch", str(type), 409, "the object has been modified")
        return self.put(type, {**old, "status": status})

    async def merge(self, target: Reference, change: Mapping[str, Any]) -> Manifest:
        key = Key(target.namespace, target.name)
        await self._write("merge", target.type, {"metadata": {"name": target.name}})
        old = self._existing(target.type, key)
        return self.put(target.type, _merged(old, change))

    async def correct(self, target: Reference, parts: Mapping[str, Any]) -> Manifest:
        key = Key(target.namespace, target.name)
        await self._write("correct", target.type, {"metadata": {"name": target.name}})
        corrected = plain(self._existing(target.type, key))
        if uid_of(corrected) != target.uid:
            raise ConflictError("patch", str(target.type), 409, "another object")
        for pointer, value in parts.items():
            *parents, last = pointer.strip("/").split("/")
            place = corrected
            for name in parents:
                place = place[name]
            place[last] = [{**item, **self.filled_in} for item in value] if isinstance(value, list) else plain(value)
            if value is None:  # as the API server reads it
                del place[last]
        if corrected == self._existing(target.type, key):
            return dict(corrected)  # still the same version
        return self.put(target.type, corrected)

    async def scale(self, target: Reference, replicas: int) -> None:
        await self._write("scale", target.type, {"metadata": {"name": target.name}})
        live = self._existing(target.type, Key(target.namespace, target.name))
        if uid_of(live) != target.uid:
            raise ConflictError("patch", str(target.type), 422, "another object")
        self.put(target.type, {**live, "spec": {**live["spec"], "replicas": replicas}})

    async def replace(self, type: ResourceType, manifest: Manifest) -> Manifest:
        await self._write("replace", type, manifest)
        if meta(self._existing(type, key_of(manifest)))["resourceVersion"] != meta(manifest)["resourceVersion"]:
            raise ConflictError("update", str(type), 409, "the object has been modified")
        return self.put(type, manifest)

    async def delete(self, target: Reference) -> None:
        await self._write("delete", target.type, {"metadata": {"name": target.name}})
        self.objects.pop((target.type, Key(target.namespace, target.name)), None)

    def _existing(self, type: ResourceType, key: Key) -> dict[str, Any]:
        if (type, key) not in self.objects:
            raise NotFoundError("patch", f"{type} {key}", 404, "not found")
        return self.objects[type, key]

    async def _write(self, verb: str, type: ResourceType, manifest: Manifest) -> None:
        await self._arrive()
        if self.refusal is not None and verb != "status":
            raise self.refusal
        if error := self.refused.get((type, str(meta(manifest)["name"]))):
            raise error
        self.writes.append((verb, type, str(meta(manifest)["name"])))

    async def _arrive(self) -> None:
        self.asked.set()
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.unreachable:
            raise UnreachableError("no connection")


def _merged(old: Any, new: Any) -> Any:
    """What server-side apply makes of it: what others have added to a map stays."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{name: _merged(old.get(name), value) for name, value in new.items()}}
    return new


def a_toy(name: str = "bear", *, uid: str = "uid-bear", version: int = 1, **rest: Any) -> dict[str, Any]:
    """A Toy as the API server would send it."""
    metadata = {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": str(version), "generation": 1}
    return {"apiVersion": "upright.test/v1", "kind": "Toy", "metadata": metadata, "spec": {}} | rest


def a_service(name: str, owner: Manifest | None = None, *, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A Service as a plan would have it, or without an owner as somebody else would."""
    ours = {"app.kubernetes.io/managed-by": "upright", "upright.dev/model": "bear"} if owner else {}
    metadata: dict[str, Any] = {"name": name, "namespace": "shop", "labels": dict(labels or ours)}
    if owner is not None:
        reference = {"apiVersion": "upright.test/v1", "kind": "Toy", "name": meta(owner)["name"], "uid": uid_of(owner)}
        metadata["ownerReferences"] = [reference | {"controller": True}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}
