"""What the ConfigMaps hold that TrainingJobs read."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from upright.contract import Key, Manifest, World
from upright.locations import Location, is_counted, locate
from upright.training.inputs import USERS, place_of

Found = tuple[str | None, str | None]
"""What is lacking at a place, and the digest of what is there."""
Place = tuple[str, str]
"""A namespace, and `SCHEME://NAME` of an object in it."""


class Contents:
    """What is known of each object, for all TrainingJobs that read it: it is asked for once for each version of it."""

    def __init__(self) -> None:
        self._objects: dict[Place, _Object] = {}
        self._read: dict[Key, Collection[Place]] = {}  # by TrainingJob

    def forget(self, key: Key) -> None:
        """Drop what is known of a TrainingJob, and of each object that no other one reads."""
        self._reads(key, ())
        del self._read[key]

    async def read(self, key: Key, uris: Iterable[str], world: World) -> Mapping[str, Found]:
        """Of each URI that the operator can read and whose object exists: what is lacking there, and the digest."""
        asked: dict[Place, dict[str, Location]] = {}
        for uri in uris:
            if is_counted(uri):
                asked.setdefault((key.namespace, place_of(uri)), {})[uri] = locate(uri)
        self._reads(key, asked.keys())
        found: dict[str, Found] = {}
        for place, locations in asked.items():
            known = await self._objects[place].read(place, locations.values(), world)
            found |= {uri: known[location] for uri, location in locations.items() if location in known}
        return found

    def _reads(self, key: Key, places: Collection[Place]) -> None:
        for place in self._read.get(key, ()):
            if place not in places:
                self._objects[place].readers.remove(key)
                if not self._objects[place].readers:
                    del self._objects[place]
        for place in places:
            self._objects.setdefault(place, _Object()).readers.add(key)
        self._read[key] = places


@dataclass
class _Object:
    """An object, and what it held in the version that was read last.

    A tenant decides how much is read of it, and by how many: no step does all of that at one go, for others wait.
    """

    readers: set[Key] = field(default_factory=set)
    """The TrainingJobs for which it is kept."""
    version: str | None = None
    found: Mapping[Location, Found] = field(default_factory=dict)
    """However a URI spells the location."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, place: Place, asked: Collection[Location], world: World) -> Mapping[Location, Found]:
        """What is found at these locations in it and at others; nothing when it does not exist."""
        namespace, one = place[0], next(iter(asked))
        async with self.asking:
            there = world.get(one.type, namespace, one.name)
            news = there is None or there["metadata"]["resourceVersion"] != self.version
            if news or not self.found.keys() >= set(asked):
                content = await world.fetch(one.type, namespace, one.name)
                if content is None:
                    self.version, self.found = None, {}
                    return self.found
                version = content["metadata"]["resourceVersion"]
                known = self.found if version == self.version else {}
                read = {*asked, *await _read_by_all(place, world)}
                found = {location: known[location] for location in read & known.keys()}
                for location in read - known.keys():
                    found[location] = _found(location, content)
                    await asyncio.sleep(0)
                self.version, self.found = version, found
        return self.found


async def _read_by_all(place: Place, world: World) -> Collection[Location]:
    """What is read of an object by anybody, also by those whose turn is yet to come."""
    namespace, object_ = place
    read = set[Location]()
    for uris in world.indexed(USERS, namespace, object_):
        read |= {locate(uri) for uri in uris if place_of(uri) == object_}
        await asyncio.sleep(0)
    return read


def _found(location: Location, content: Manifest) -> Found:
    lacks = location.lacks(content)
    return lacks, None if lacks else location.digest(content)
