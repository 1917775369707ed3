"""What the ConfigMaps hold that TrainingJobs read."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from upright.contract import Key, Manifest, ResourceType, World
from upright.locations import Location, locate

Locations = Mapping[str, Location]
"""Places in one object, by their URIs."""
Found = tuple[str | None, str | None]
"""What is lacking at a place, and the digest of what is there."""
Place = tuple[ResourceType, Key]
"""An object."""


class Contents:
    """What is known of each object, for all TrainingJobs that read it: it is asked for once for each version of it."""

    def __init__(self) -> None:
        self._objects: dict[Place, _Object] = {}
        self._read: dict[Key, Iterable[Place]] = {}  # by TrainingJob

    def forget(self, key: Key) -> None:
        """Drop what is known of a TrainingJob, and of each object that no other one reads."""
        self._reads(key, {})
        del self._read[key]

    async def read(self, key: Key, uris: Iterable[str], world: World) -> Mapping[str, Found]:
        """Of each URI that the operator can read and whose object exists: what is lacking there, and the digest."""
        wanted: dict[Place, dict[str, Location]] = {}
        for uri in uris:
            location = locate(uri)
            if location.counted:
                wanted.setdefault((location.type, Key(key.namespace, location.name)), {})[uri] = location
        self._reads(key, wanted)
        found: dict[str, Found] = {}
        for place, locations in wanted.items():
            known = await self._objects[place].read(place, locations, world)
            found |= {uri: known[uri] for uri in locations if uri in known}
        return found

    def _reads(self, key: Key, wanted: Mapping[Place, Locations]) -> None:
        for place in self._read.get(key, ()):
            if place not in wanted:
                del self._objects[place].readers[key]
                if not self._objects[place].readers:
                    del self._objects[place]
        for place, locations in wanted.items():
            self._objects.setdefault(place, _Object()).readers[key] = locations
        self._read[key] = wanted.keys()


@dataclass
class _Object:
    """An object, and what it held in the version that was read last."""

    readers: dict[Key, Locations] = field(default_factory=dict)
    """What each TrainingJob reads of it."""
    version: str | None = None
    found: Mapping[str, Found] = field(default_factory=dict)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, place: Place, locations: Locations, world: World) -> Mapping[str, Found]:
        """What is found at these places of it and at others; nothing when it does not exist."""
        type_, key = place
        async with self.asking:
            there = world.get(type_, key.namespace, key.name)
            news = there is None or there["metadata"]["resourceVersion"] != self.version
            if news or not locations.keys() <= self.found.keys():
                content = await world.fetch(type_, key.namespace, key.name)
                self.version = content["metadata"]["resourceVersion"] if content else None
                all_read = {uri: location for each in self.readers.values() for uri, location in each.items()}
                self.found = {uri: _found(location, content) for uri, location in all_read.items()} if content else {}
        return self.found


def _found(location: Location, content: Manifest) -> Found:
    lacks = location.lacks(content)
    return lacks, None if lacks else location.digest(content)
