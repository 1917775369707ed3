"""What a kind of resource promises the shell, and what the shell offers it.

A kind answers two questions: what is there (`observe`), and what should be done about it (`plan`). The shell
(`upright.controller`) asks them whenever something that the kind watches has changed, and carries the answer out.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol, TypeVar

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON: what the API server sends and takes."""

ALWAYS = datetime.fromtimestamp(0, UTC)
"""Since when the world has been watched where no interruption is known."""


@dataclass(frozen=True)
class ResourceType:
    """A resource of the Kubernetes API, for instance apps/v1 deployments."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class Key:
    """Names one object of a kind: the unit of the queue."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Reference:
    """One object that exists. The UID is a precondition: a namesake made later is never meant."""

    type: ResourceType
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Correction:
    """Set one part of an object that exists to just this value: what somebody has added there goes, too."""

    target: Reference
    path: str
    """A JSON pointer, for instance /spec/selector."""
    value: Any
    event: "Event | None" = None
    """Told when it has changed something."""


@dataclass(frozen=True)
class Event:
    """Something a person should be able to read in `kubectl describe`, on the object that was planned."""

    type: Literal["Normal", "Warning"]
    reason: str
    action: str
    message: str
    at: datetime | None = None
    """When what it tells was decided, as the status records it. Such an event is planned again and again while it is
    news, and told once: a process that ends between recording and telling leaves it to the next one."""


@dataclass(frozen=True)
class Count:
    """One step of a counter of the operator's own /metrics; counted when the plan's status has been written."""

    metric: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What to do: record first, then act, then tell.

    When the status, or what is to be kept beside it, cannot be written because it has changed meanwhile, nothing more
    of the plan is carried out and a new plan is made from fresh data: so what the status records is never acted on
    before it is recorded. What cannot be kept for another reason holds up no decision.

    The shell acts in this order: `apply` and `correct` (where requests go), `create` and `scale` (capacity, and a
    rejected version's pods away), and at last `delete` and the pruning. An act that fails keeps no other from being
    tried, but for one: while something that is there and leads requests could not be changed, nothing is deleted, for
    it may lead to just that. Then the turn fails with what went wrong, and is taken again.
    """

    status: Mapping[str, Any]
    """The whole new status. Conditions come without their times: the shell carries them over."""
    record: bool = True
    """Not where what is created says itself all that was decided: then nothing is written before it, and the next turn,
    which it wakes, records what there is. When it cannot be created, this is recorded after all."""
    keep: Manifest | None = None
    """An owned object, whole, in which the kind keeps what is not for people: written before the status says what
    follows from it, and only if nobody has written it since (by its resourceVersion; it has none if it is new)."""
    create: Sequence[Manifest] = ()
    """Made once and never written again (Jobs, versions, a revision's Deployment). One that exists already is fine when
    it is ours, and is taken up when nobody controls it and it bears our labels; another one is an error."""
    apply: Sequence[Manifest] = ()
    """Whole owned objects, by server-side apply; whatever else of the same types the object controls is deleted."""
    scale: Sequence[Correction] = ()
    """Of `spec.replicas`, which is about capacity."""
    correct: Sequence[Correction] = ()
    """For other parts of an object that is not applied."""
    delete: Sequence[Reference] = ()
    events: Sequence[Event] = ()
    counts: Sequence[Count] = ()
    gauges: Mapping[str, Iterable[tuple[Mapping[str, str], float]]] | None = None
    """The samples, per metric, that this object contributes to the operator's /metrics; replaces its earlier ones."""
    again: timedelta | None = None
    """Look again after this long even if nothing happens."""


@dataclass(frozen=True)
class Index:
    """A question about the objects of a type that is answered without looking at all of them."""

    type: ResourceType
    name: str
    values: Callable[[Manifest], Iterable[str]]
    """Under which values an object is found; none when it is not to be found."""
    order: Callable[[Manifest], Any] = lambda manifest: str(manifest["metadata"]["name"])
    """Objects of one value come in this order, and then by name."""
    reads: Callable[[Manifest], Any] | None = None
    """What is read of an object, and given in its place: where many are found under one value, so that not each of them
    is read again in every turn. None given: the object. An object of which a function of these raises is found nowhere,
    and the log says so."""


class World(Protocol):
    """What is known of the cluster: read from what the watches delivered, so reading costs no request."""

    @property
    def now(self) -> datetime:
        """The time of this observation, in UTC."""
        ...

    def watched_since(self, namespace: str) -> datetime:
        """Since when somebody has watched a namespace without an interruption of more than two minutes. What happened
        before, and for how long, is not known: no deadline counts that time.
        """
        ...

    def get(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        """The object, or None when the watches know none of that name."""
        ...

    def has(self, type: ResourceType, namespace: str, name: str) -> bool:
        """Whether the watches know an object of that name: nothing is read of it."""
        ...

    def owned(self, type: ResourceType, namespace: str, owner_uid: str) -> Sequence[Manifest]:
        """Objects of a type whose controller (owner reference) has this UID, by name: of its own namespace alone, for
        in another one whoever has read the UID may name it.
        """
        ...

    def all(self, type: ResourceType, namespace: str) -> Sequence[Manifest]:
        """Objects of a type in a namespace, by name."""
        ...

    def indexed(self, index: Index, namespace: str, value: str) -> Sequence[Any]:
        """Objects of a namespace that the index has under a value, or what it reads of them, in its order; read from
        either end, each costs the same however many there are. The index must be one that a kind has named.
        """
        ...

    def named(self, index: Index, namespace: str, value: str) -> Sequence[Key]:
        """The keys of what `indexed` gives, for which no object is read."""
        ...

    async def fetch(self, type: ResourceType, namespace: str, name: str) -> Manifest | None:
        """Ask the API server: for objects that are not watched or that others may own. Never in the steady path."""
        ...

    async def fetch_owned(
        self, type: ResourceType, namespace: str, owner_uid: str, label: str, value: str
    ) -> Sequence[Manifest]:
        """As `owned`, but asks the API server for those that bear a label, and gives them without labels and
        annotations: before what is not there decides something for good. Never in the steady path.
        """
        ...

    async def warnings(self, namespace: str, uids: Container[str]) -> Sequence[Manifest] | None:
        """Ask the API server for Warning events about objects of a namespace, whoever told them: of each object the
        newest, each with its involvedObject.uid, reason, message and lastTimestamp, and no more than the beginning of a
        long text. It goes through all events that the namespace has. Never in the steady path: only while something
        that others should do for us does not happen. None when they cannot be had: whatever goes on does so without.
        """
        ...


@dataclass(frozen=True)
class Watch:
    """A watched resource, and which keys of our kind an event of it wakes: its owner's, or whoever waits for it."""

    type: ResourceType
    wakes: Callable[[Manifest, World], Iterable[Key]]
    fields: Sequence[str] = ()
    """What is read of an object beside its apiVersion, kind and metadata, as paths such as `spec.replicas` or, of each
    item of a list, `spec.containers.name`: the stores keep no more than some kind reads. None given: the whole object.
    Of what is applied, only what is kept is compared with what is there."""
    digests: Sequence[str] = ()
    """Paths of which the stores keep only a digest (`upright.api.names.short_hash`) of what is there."""
    metadata: bool = False
    """Only namespace, name, UID, resourceVersion and deletionTimestamp are watched, of all objects of the type, whoever
    made them. Of a type that some kind wants more of, only what we made is watched."""
    reads: Callable[[Manifest], Any] | None = None
    """All that `wakes`, and the turns that it gives, read of an object: a change of anything else wakes nobody. None
    given: any change does."""


Observed = TypeVar("Observed")


class Kind(Protocol[Observed]):
    """One of Upright's kinds of resource."""

    @property
    def type(self) -> ResourceType: ...

    @property
    def watches(self) -> Sequence[Watch]: ...

    @property
    def applies(self) -> Sequence[ResourceType]:
        """The types of objects that plans `apply`: the shell prunes among these."""
        ...

    @property
    def indexes(self) -> Sequence[Index]:
        """The indexes that `observe` and `wakes` ask."""
        ...

    def begin(self, wake: Callable[[Key], None]) -> None:
        """Called once, before the first turn. `wake` gives a key a turn for something that no watch tells of."""
        ...

    def forget(self, key: Key) -> None:
        """The object is no more, or about to be: drop whatever is remembered of it."""
        ...

    async def observe(self, resource: Manifest, world: World) -> Observed:
        """Gather everything that a plan depends on. The only I/O; raises on failures worth another try."""
        ...

    def plan(self, observed: Observed) -> Plan:
        """Decide. Pure: the same `observed` gives an equal plan."""
        ...
