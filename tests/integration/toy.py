"""An operator with one small kind, to try the shell: `python -m tests.integration.toy` runs it.

A Toy owns the Services in `spec.applied` (name to port) and, made once and of which only the selector is kept as it was
made, those in `spec.created`. `spec.mistake` is one of ours, and `spec.decided` a time of which it tells.
Of the ConfigMap `spec.waitsFor` its status says whether it exists.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upright.contract import Correction, Event, Key, Manifest, Plan, Reference, ResourceType, Watch, World
from upright.main import log_to_stderr, run
from upright.settings import read_settings

TOYS = ResourceType("upright.test", "v1", "toys", "Toy")
SERVICES = ResourceType("", "v1", "services", "Service")
CONFIG_MAPS = ResourceType("", "v1", "configmaps", "ConfigMap")
UNREADABLE = "upright.test/unreadable"
"""Annotation of a Service that this kind cannot read."""

_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SCHEMA = {"type": "object", "properties": {"spec": _ANYTHING, "status": _ANYTHING}}
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "toys.upright.test"},
    "spec": {
        "group": "upright.test",
        "scope": "Namespaced",
        "names": {"plural": "toys", "singular": "toy", "kind": "Toy"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "properties": {"spec": _ANYTHING, "status": _ANYTHING}}
                },
            }
        ],
    },
}


@dataclass(frozen=True)
class Observed:
    toy: Manifest
    services: Sequence[Manifest]
    found: bool


class Toys:
    type = TOYS
    watches = (
        Watch(SERVICES, lambda service, world: _owner(service), fields=("spec.selector", "spec.ports")),
        Watch(CONFIG_MAPS, lambda config_map, world: _waiting(config_map, world), metadata=True),
    )
    applies = (SERVICES,)
    indexes = ()

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Nothing but the watches wakes it."""

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""

    async def observe(self, resource: Manifest, world: World) -> Observed:
        meta, wanted = resource["metadata"], resource["spec"].get("waitsFor", "")
        found = world.get(CONFIG_MAPS, meta["namespace"], wanted) is not None
        return Observed(resource, world.owned(SERVICES, meta["namespace"], meta["uid"]), found)

    def plan(self, observed: Observed) -> Plan:
        applied: Mapping[str, int] = observed.toy["spec"].get("applied", {})
        created: Mapping[str, int] = observed.toy["spec"].get("created", {})
        if observed.toy["spec"].get("mistake"):
            raise KeyError("mistake")
        decided = observed.toy["spec"].get("decided")
        there = len(observed.services) == len(applied) + len(created)
        condition = {
            "type": "Ready",
            "status": str(there),
            "reason": "Counted",
            "message": f"{len(observed.services)} there.",
        }
        return Plan(
            status={"conditions": [condition], "services": len(observed.services), "found": observed.found},
            apply=[_service(observed.toy, name, port) for name, port in applied.items()],
            create=[_service(observed.toy, name, port) for name, port in created.items()],
            correct=[
                Correction(_reference(service), "/spec/selector", {"app": service["metadata"]["name"]})
                for service in observed.services
                if service["metadata"]["name"] in created
            ],
            events=[
                Event("Normal", "Counted", "Count", f"Counted {len(observed.services)}."),
                *([_decided(decided)] if decided else ()),
            ],
        )


def _service(toy: Manifest, name: str, port: int) -> Manifest:
    owner = {
        "apiVersion": "upright.test/v1",
        "kind": "Toy",
        "name": toy["metadata"]["name"],
        "uid": toy["metadata"]["uid"],
    }
    labels = {"app.kubernetes.io/managed-by": "upright", "upright.dev/model": toy["metadata"]["name"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": toy["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [owner | {"controller": True}],
        },
        "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": port}]},
    }


def _reference(service: Manifest) -> Reference:
    meta = service["metadata"]
    return Reference(SERVICES, meta["namespace"], meta["name"], meta["uid"])


def _decided(at: str) -> Event:
    return Event("Normal", "Decided", "Decide", f"Decided at {at}.", at=datetime.fromisoformat(at))


def _owner(service: Manifest) -> Iterable[Key]:
    if UNREADABLE in service["metadata"].get("annotations", {}):
        raise ValueError("it is as no Service should be")
    for owner in service["metadata"].get("ownerReferences", ()):
        if owner["kind"] == "Toy":
            yield Key(service["metadata"]["namespace"], owner["name"])


def _waiting(config_map: Manifest, world: World) -> Iterable[Key]:
    metadata = config_map["metadata"]
    for toy in world.all(TOYS, metadata["namespace"]):
        if toy["spec"].get("waitsFor") == metadata["name"]:
            yield Key(metadata["namespace"], toy["metadata"]["name"])


if __name__ == "__main__":
    settings = read_settings()
    log_to_stderr(settings)
    sys.exit(asyncio.run(run(settings, [Toys()])))
