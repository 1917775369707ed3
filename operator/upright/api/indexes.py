"""Questions about our kinds that are answered without looking at all objects.

They read manifests as they lie in the stores: an object that cannot be read as one of ours is its own problem, so
nothing here raises, whatever it is given.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from upright.api import names
from upright.contract import Index, Manifest

_TIME = TypeAdapter(datetime)
_NEVER = datetime.min.replace(tzinfo=UTC)


def versions_named(deployment: Manifest) -> Iterable[str]:
    """Every version that a Deployment asks for, serves, brings out or has given up, each once."""
    status = _object(deployment, "status")
    rejected = status.get("rejected")
    places = [
        status.get("stable"),
        status.get("candidate"),
        *(rejected if isinstance(rejected, Sequence) and not isinstance(rejected, str) else ()),
    ]
    named = [_object(deployment, "spec").get("modelVersion")]
    named += [place.get("modelVersion") for place in places if isinstance(place, Mapping)]
    return dict.fromkeys(name for name in named if isinstance(name, str))


def model_followed(deployment: Manifest) -> Iterable[str]:
    """The model whose newest version a Deployment serves."""
    return _text(_object(deployment, "spec", "latest").get("model"))


def model_of_ready(version: Manifest) -> Iterable[str]:
    """The model of a version that can be served."""
    if _object(version, "status").get("phase") != "Ready":
        return ()
    return _text(_object(version, "spec").get("model"))


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
