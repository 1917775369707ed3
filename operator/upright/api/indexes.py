"""Questions about our kinds that are answered without looking at all objects.

They read manifests as they lie in the stores: an object that cannot be read as one of ours is its own problem, so
nothing here raises, whatever it is given.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from upright.api import names
from upright.contract import Index, Manifest

_TIME = TypeAdapter(datetime)
_NEVER = datetime.min.replace(tzinfo=UTC)


def versions_named(deployment: Manifest) -> Iterable[str]:
    """Every version that a Deployment asks for, serves, brings out or has given up, each once."""
    return dict.fromkeys((*_text(_object(deployment, "spec").get("modelVersion")), *versions_met(deployment)))


def versions_met(deployment: Manifest) -> Iterable[str]:
    """Every version that a Deployment serves, brings out or has given up, each once."""
    places = [place_of(deployment, "stable"), place_of(deployment, "candidate"), *rejections_of(deployment)]
    return dict.fromkeys(name for place in places for name in _text(place.get("modelVersion")))


def place_of(deployment: Manifest, place: str) -> Mapping[str, Any]:
    """What a Deployment's status says of its stable version, or of its candidate; nothing when there is none."""
    return _object(deployment, "status", place)


def rejections_of(deployment: Manifest) -> Iterable[Mapping[str, Any]]:
    """What a Deployment's status says of the versions that it has given up."""
    rejected = _object(deployment, "status").get("rejected")
    return [each for each in rejected if isinstance(each, Mapping)] if isinstance(rejected, list) else []


def model_followed(deployment: Manifest) -> Iterable[str]:
    """The model whose newest version a Deployment serves."""
    return _text(_object(deployment, "spec", "latest").get("model"))


def said_of_versions(deployment: Manifest) -> object:
    """All that a Deployment says of versions: which it serves and brings out, and what it has given up."""
    stable = place_of(deployment, "stable")
    return (
        [stable.get(field) for field in ("modelVersion", "revision", "since")],
        place_of(deployment, "candidate").get("modelVersion"),
        _object(deployment, "status").get("rejected"),
    )


def offered(version: Manifest) -> object:
    """What a version is, and whether it can be served: not who serves it, nor what has become of it there."""
    meta, status = _object(version, "metadata"), _object(version, "status")
    own = [meta.get(field) for field in ("labels", "deletionTimestamp")]
    return *own, version.get("spec"), status.get("phase"), status.get("conditions")


def model_of_ready(version: Manifest) -> Iterable[str]:
    """The model of a version that can be served, and is not being deleted."""
    if phase_of(version) != "Ready" or _object(version, "metadata").get("deletionTimestamp"):
        return ()
    return _text(_object(version, "spec").get("model"))


def phase_of(version: Manifest) -> object:
    """Whether a version can be served, in a word; None while it has not been said."""
    return _object(version, "status").get("phase")


def claim_of(version: Manifest) -> Iterable[str]:
    """The claim that holds a version's artifact."""
    return [claim_in(uri) for uri in _text(_object(version, "spec", "artifact").get("uri"))]


def claim_in(uri: str) -> str:
    """The claim that a pvc://CLAIM/PATH names."""
    return uri.removeprefix("pvc://").partition("/")[0]


def made(version: Manifest) -> tuple[datetime, int]:
    """When the model was made, and its number: the newest is the greatest. As `ModelVersion.made`."""
    spec, meta = _object(version, "spec"), _object(version, "metadata")
    number = spec.get("number")
    return _time(spec.get("producedAt") or meta.get("creationTimestamp")), number if isinstance(number, int) else 0


DEPLOYMENTS_BY_VERSION = Index(names.DEPLOYMENTS, "by version", versions_named)
DEPLOYMENTS_BY_MODEL = Index(names.DEPLOYMENTS, "by model", model_followed)
READY_VERSIONS_BY_MODEL = Index(names.MODEL_VERSIONS, "ready, by model", model_of_ready, order=made)
VERSIONS_BY_CLAIM = Index(names.MODEL_VERSIONS, "by claim", claim_of)


def _object(manifest: Manifest, *path: str) -> Mapping[str, Any]:
    """What stands at a path, when it is an object; else an empty one."""
    found: Any = manifest
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> Iterable[str]:
    return (value,) if isinstance(value, str) else ()


def _time(text: object) -> datetime:
    try:
        time = _TIME.validate_python(text)
    except ValidationError:
        return _NEVER
    return time if time.tzinfo else time.replace(tzinfo=UTC)
