"""Questions about our kinds that are answered without looking at all objects.

They read manifests as they lie in the stores: an object that cannot be read as one of ours is its own problem, so
nothing here raises, whatever it is given.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from upright.api import names
from upright.contract import Index, Manifest, World

_TIME = TypeAdapter(datetime)
_NEVER = datetime.min.replace(tzinfo=UTC)


def versions_named(deployment: Manifest) -> Iterable[str]:
    """Every version that a Deployment asks for, serves, brings out or has given up, each once."""
    return dict.fromkeys((*_text(_object(deployment, "spec").get("modelVersion")), *versions_met(deployment)))


PLACES = ("stable", "candidate", "standIn")
"""Where a Deployment's status names a version that may have traffic."""


def versions_met(deployment: Manifest) -> Iterable[str]:
    """Every version that a Deployment serves, brings out or has given up, each once."""
    places = [*(place_of(deployment, place) for place in PLACES), *rejections_of(deployment)]
    return dict.fromkeys(name for place in places for name in _text(place.get("modelVersion")))


def place_of(deployment: Manifest, place: str) -> Mapping[str, Any]:
    """What a Deployment's status says of the version in a place; nothing when there is none."""
    return _object(deployment, "status", place)


def rejections_of(deployment: Manifest) -> Iterable[Mapping[str, Any]]:
    """What a Deployment's status says of the versions that it has given up."""
    return _recorded(deployment, "rejected")


def model_followed(deployment: Manifest) -> Iterable[str]:
    """The model whose newest version a Deployment serves."""
    return _text(_object(deployment, "spec", "latest").get("model"))


def said_of_versions(deployment: Manifest) -> object:
    """All that a Deployment says of versions: which it serves and brings out, and what it has given up."""
    stable = place_of(deployment, "stable")
    return (
        [stable.get(field) for field in ("revision", "since")],
        [place_of(deployment, place).get("modelVersion") for place in PLACES],
        _object(deployment, "status").get("rejected"),
    )


def offered(version: Manifest) -> object:
    """What a version is, and whether it can be served: not who serves it, nor what has become of it there."""
    meta, status = _object(version, "metadata"), _object(version, "status")
    own = [meta.get(field) for field in ("labels", "deletionTimestamp")]
    return *own, version.get("spec"), status.get("phase"), status.get("conditions")


def model_of(version: Manifest) -> Iterable[str]:
    """The model of a version."""
    return _text(_object(version, "spec").get("model"))


def line_of(version: Manifest) -> Iterable[str]:
    """The versions of its model that one TrainingJob has made, among which the number tells which is newer. One that
    none has made is alone in its line.
    """
    maker = _object(version, "spec", "lineage", "trainingJob").get("uid")
    line = f"by {maker}" if isinstance(maker, str) else _name_of(version)
    return [f"{model} {line}" for model in model_of(version)]


def name_and_model(version: Manifest) -> tuple[str, str]:
    """The name of a version, and its model's."""
    return _name_of(version), next(iter(model_of(version)), "")


def phase_of(version: Manifest) -> object:
    """Whether a version can be served, in a word; None while it has not been said."""
    return _object(version, "status").get("phase")


UNDER_WAY = ("Pending", "Running")
"""Phases of a run that has not ended."""


def phases_of_runs(job: Manifest) -> Mapping[str, str]:
    """How far each run is that a TrainingJob still lists, by its name: that of the version that it makes."""
    named = ((each.get("name"), each.get("phase")) for each in _recorded(job, "runs"))
    return {name: phase for name, phase in named if isinstance(name, str) and isinstance(phase, str)}


def runs_under_way(job: Manifest) -> Iterable[str]:
    """The versions that a TrainingJob is making, by the names of its runs that have not ended."""
    return [name for name, phase in phases_of_runs(job).items() if phase in UNDER_WAY]


@dataclass(frozen=True, slots=True)
class Served:
    """A version that Deployments have served."""

    name: str
    since: Mapping[str, datetime]
    """When each of them has begun to, as the version remembers: the last time."""

    @property
    def last(self) -> datetime:
        """When any of them has."""
        return max(self.since.values(), default=_NEVER)


def served(version: Manifest) -> Served:
    since: dict[str, datetime] = {}
    for each in _recorded(version, "verdicts"):
        if each.get("outcome") == "Stable":
            for name in _text(each.get("deployment")):
                since[name] = max(_time(each.get("at")), since.get(name, _NEVER))
    return Served(_name_of(version), since)


def served_in(version: Manifest) -> Iterable[str]:
    """The Deployments that have served a version, as it remembers, and could serve it again."""
    return served(version).since if _is_ready(version) else ()


def claim_of(version: Manifest) -> Iterable[str]:
    """The claim that holds a version's artifact, and whether the version says that it is missing."""
    missing = phase_of(version) == "Missing"
    return [held(claim_in(uri), missing=missing) for uri in _text(_object(version, "spec", "artifact").get("uri"))]


def held(claim: str, *, missing: bool) -> str:
    """Under what versions are found whose artifact is in a claim: a claim may hold all that were ever made."""
    return f"{claim} {'missing' if missing else 'there'}"


def claim_in(uri: str) -> str:
    """The claim that a pvc://CLAIM/PATH names."""
    return uri.removeprefix("pvc://").partition("/")[0]


def made(version: Manifest) -> tuple[datetime, int]:
    """When the model was made, and its number. That was not after its object: whoever writes a later time, by a clock
    that is ahead or a slip in the year, would have what follows the model stay with it until then.
    """
    told, created = (
        _object(version, "spec").get("producedAt"),
        _time(_object(version, "metadata").get("creationTimestamp")),
    )
    return min(_time(told), created) if told else created, _number(version)


def numbered(version: Manifest) -> tuple[int, datetime]:
    """The number of a version, and when the model was made."""
    at, number = made(version)
    return number, at


@dataclass(frozen=True, slots=True)
class Standing:
    """A version among those of its model."""

    name: str
    line: str
    made: datetime
    ready: bool
    """It can be served, and is not being deleted."""
    rejected: bool
    """It remembers that a Deployment has rejected it."""


def standing(version: Manifest) -> Standing:
    return Standing(
        name=_name_of(version),
        line=next(iter(line_of(version)), ""),
        made=made(version)[0],
        ready=_is_ready(version),
        rejected=any(each.get("outcome") == "Rejected" for each in _recorded(version, "verdicts")),
    )


DEPLOYMENTS_BY_VERSION = Index(names.DEPLOYMENTS, "by version", versions_named)
DEPLOYMENTS_BY_MODEL = Index(names.DEPLOYMENTS, "by model", model_followed)
VERSIONS_BY_MODEL = Index(names.MODEL_VERSIONS, "by model", model_of, order=made, reads=standing)
VERSIONS_BY_LINE = Index(names.MODEL_VERSIONS, "by line", line_of, order=numbered, reads=standing)
VERSIONS_BY_SERVED = Index(
    names.MODEL_VERSIONS, "by who has served them", served_in, order=lambda one: served(one).last, reads=served
)
TRAINING_JOBS_BY_RUN = Index(names.TRAINING_JOBS, "by run", phases_of_runs)
VERSIONS_BY_CLAIM = Index(names.MODEL_VERSIONS, "by claim", claim_of)
EVERY = "every"
"""Under what every version of a namespace is found."""
VERSIONS_BY_NAME = Index(names.MODEL_VERSIONS, "by name", lambda _: (EVERY,), reads=name_and_model)


def newest_first(world: World, namespace: str, model: str) -> Iterator[tuple[Standing, datetime]]:
    """The versions of a model, ready or not, each with the time since when there has been one as new.

    Those that one TrainingJob has made come by their numbers. When each was made its node's clock has told, and that
    may have been wrong: so a version is as new as the newest that its TrainingJob had made by then. That is an order
    for all versions of the model, and is read from its end, however many there are.
    """
    lines: dict[str, Iterator[Standing]] = {}
    given: set[str] = set()
    for latest in reversed(world.indexed(VERSIONS_BY_MODEL, namespace, model)):
        if latest.line not in lines:
            lines[latest.line] = reversed(world.indexed(VERSIONS_BY_LINE, namespace, latest.line))
        while latest.name not in given:
            one = next(lines[latest.line])
            given.add(one.name)
            yield one, latest.made


def _object(manifest: Manifest, *path: str) -> Mapping[str, Any]:
    """What stands at a path, when it is an object; else an empty one."""
    found: Any = manifest
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _name_of(version: Manifest) -> str:
    return str(_object(version, "metadata").get("name"))


def _is_ready(version: Manifest) -> bool:
    return phase_of(version) == "Ready" and not _object(version, "metadata").get("deletionTimestamp")


def _recorded(manifest: Manifest, field: str) -> Sequence[Mapping[str, Any]]:
    """The objects in a list of a status; what is none is left out."""
    found = _object(manifest, "status").get(field)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _number(version: Manifest) -> int:
    number = _object(version, "spec").get("number")
    return number if isinstance(number, int) else 0


def _text(value: object) -> Iterable[str]:
    return (value,) if isinstance(value, str) else ()


def _time(text: object) -> datetime:
    try:
        time = _TIME.validate_python(text)
    except ValidationError:
        return _NEVER
    return time if time.tzinfo else time.replace(tzinfo=UTC)
