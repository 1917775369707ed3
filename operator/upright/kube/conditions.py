"""Status and its conditions: what the shell alone adds to them. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from upright.contract import Manifest
from upright.kube.objects import meta, plain

TRANSITION = "lastTransitionTime"


def with_transition_times(status: Mapping[str, Any], old: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """`status` with a transition time in each condition: carried over from `old` where the status did not move."""
    before = {condition.get("type"): condition for condition in old.get("conditions") or ()}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    dated: dict[str, Any] = plain(status)
    for condition in dated.get("conditions", ()):
        was = before.get(condition["type"], {})
        moved = was.get("status") != condition["status"] or TRANSITION not in was
        condition[TRANSITION] = stamp if moved else was[TRANSITION]
    return dated


def differs(status: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a status says anything new; when its conditions last moved is no news by itself."""
    return _timeless(status) != _timeless(old)


def stalled(status: Mapping[str, Any], reason: str, message: str, generation: int) -> dict[str, Any]:
    """`status` with the news that nothing will go on without somebody's help, whatever else it says."""
    kept = [
        condition for condition in status.get("conditions", ()) if condition["type"] not in ("Stalled", "Reconciling")
    ]
    return {**status, "conditions": [*kept, _condition("Stalled", "True", reason, message, generation)]}


def invalid(resource: Manifest, error: ValidationError) -> dict[str, Any]:
    """The status of an object that does not say what it must: stored before a rule existed, or past the schema."""
    generation = int(meta(resource).get("generation", 0))
    message = cut("; ".join(_sentence(detail["loc"], detail["msg"]) for detail in error.errors(include_url=False)))
    status = {**(resource.get("status") or {}), "observedGeneration": generation}
    others: Sequence[Mapping[str, Any]] = [c for c in status.get("conditions", ()) if c["type"] != "Ready"]
    ready = _condition("Ready", "False", "InvalidSpec", message, generation)
    return stalled({**status, "conditions": [ready, *others]}, "InvalidSpec", message, generation)


def cut(text: str, limit: int = 1024) -> str:
    """A status is bounded, and so is the note of an event."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _condition(type: str, status: str, reason: str, message: str, generation: int) -> dict[str, Any]:
    return {
        "type": type,
        "status": status,
        "reason": reason,
        "message": cut(message),
        "observedGeneration": generation,
    }


def _sentence(location: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{path}: {message}" if path else message


def _timeless(status: Mapping[str, Any]) -> dict[str, Any]:
    bare: dict[str, Any] = plain(status)
    for condition in bare.get("conditions", ()):
        condition.pop(TRANSITION, None)
    return bare
