"""Status and its conditions: what the shell alone adds to them. Pure."""

from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from upright.api.refusals import sentence
from upright.contract import Manifest
from upright.kube.errors import ContestedError, ForbiddenError, LeavingError, NameTakenError, RefusedError
from upright.kube.objects import meta, plain

TRANSITION = "lastTransitionTime"
SINCE = "reasonSince"
ABOUT = "about"
INTERNAL_ERROR = "InternalError"
"""The reason of what is a mistake of ours."""
OBSTACLES = frozenset(
    {each.reason for each in (RefusedError, ForbiddenError, NameTakenError, ContestedError, LeavingError)}
    | {INTERNAL_ERROR}
)
"""The reasons that the shell, and not a plan, gives for an object's standing still."""


def recorded(resource: Manifest) -> Mapping[str, Any]:
    """The status of an object as far as it can be read: it may be damaged, or written by another version of Upright."""
    status = resource.get("status")
    if not isinstance(status, Mapping):
        return {}
    conditions = status.get("conditions")
    sound = [
        condition
        for condition in (conditions if isinstance(conditions, Sequence) and not isinstance(conditions, str) else ())
        if isinstance(condition, Mapping) and "type" in condition
    ]
    return {**status, "conditions": sound} if "conditions" in status else status


def with_transition_times(status: Mapping[str, Any], old: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """`status` with its times in each condition, carried over from `old` where nothing moved: since when it has had its
    status, in whole seconds as Kubernetes has it, and since when its reason, so finely that events stay in order.
    """
    before = {condition["type"]: condition for condition in old.get("conditions") or ()}
    dated: dict[str, Any] = plain(status)
    for condition in dated.get("conditions", ()):
        was = before.get(condition["type"], {})
        moved = was.get("status") != condition["status"] or TRANSITION not in was
        condition[TRANSITION] = now.strftime("%Y-%m-%dT%H:%M:%SZ") if moved else was[TRANSITION]
        another = ABOUT in was and was[ABOUT] != condition.get(ABOUT)  # an older operator has not said
        if moved or another or was.get("reason") != condition["reason"]:
            condition[SINCE] = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif SINCE in was:  # an older operator has written none
            condition[SINCE] = was[SINCE]
    return dated


def differs(status: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a status says anything new; when its conditions last moved is no news by itself."""
    return _timeless(status) != _timeless(old)


def stalled(status: Mapping[str, Any], reason: str, message: str, generation: int) -> dict[str, Any]:
    """`status` with the news that nothing will go on without somebody's help, whatever else it says. The message of
    Ready, which is what `kubectl get` shows, begins with it, too.
    """
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions", ())
    before = next((str(condition["message"]) for condition in conditions if condition["type"] == "Stalled"), "")
    kept = list[Mapping[str, Any]]()
    for condition in conditions:
        if condition["type"] == "Ready":
            said = str(condition["message"]).removeprefix(before).removeprefix(message).strip()
            kept.append({**condition, "message": cut(f"{message} {said}".strip())})
        elif condition["type"] not in ("Stalled", "Reconciling"):
            kept.append(condition)
    return {**status, "conditions": [*kept, _condition("Stalled", "True", reason, message, generation)]}


def with_obstacle(status: Mapping[str, Any], obstacle: tuple[str, str] | None, resource: Manifest) -> Mapping[str, Any]:
    """A plan's status with the reason and the sentence of what keeps it from being carried out, if it does not give
    that reason by itself.
    """
    conditions: Sequence[Mapping[str, Any]] = status.get("conditions", ())
    said = [condition["reason"] for condition in conditions if condition["type"] == "Stalled"]
    if obstacle is None or obstacle[0] in said:
        return status
    return stalled(status, *obstacle, int(meta(resource).get("generation", 0)))


def invalid(resource: Manifest, error: ValidationError) -> dict[str, Any]:
    """The status of an object that does not say what it must: stored before a rule existed, or past the schema."""
    generation = int(meta(resource).get("generation", 0))
    reason, message = "InvalidSpec", cut(sentences(error))
    if all(detail["loc"][:1] == ("status",) for detail in error.errors(include_url=False)):
        reason = "InvalidStatus"
        message = cut(
            f"What has been recorded of this object cannot be read ({message}): a newer version of Upright wrote it, "
            "or somebody edited it. Upgrade Upright, or correct the status (`kubectl edit --subresource=status`)."
        )
    status = {**recorded(resource), "observedGeneration": generation}
    others: Sequence[Mapping[str, Any]] = [c for c in status.get("conditions", ()) if c["type"] != "Ready"]
    ready = _condition("Ready", "False", reason, message, generation)
    return stalled({**status, "conditions": [ready, *others]}, reason, message, generation)


def halted(resource: Manifest, reason: str, message: str) -> dict[str, Any]:
    """The status of an object for which no plan could be made: what was recorded, and why nothing goes on."""
    generation = int(meta(resource).get("generation", 0))
    status: dict[str, Any] = {**recorded(resource), "observedGeneration": generation}
    if not any(condition["type"] == "Ready" for condition in status.get("conditions", ())):
        unknown = _condition("Ready", "Unknown", reason, message, generation)
        status["conditions"] = [unknown, *status.get("conditions", ())]
    return stalled(status, reason, message, generation)


def told(resource: Manifest, reasons: Container[str]) -> tuple[str, str] | None:
    """For which of these reasons nothing goes on, as the status says, and the sentence."""
    for condition in recorded(resource).get("conditions", ()):
        if condition["type"] == "Stalled" and condition.get("reason") in reasons:
            return str(condition.get("reason")), str(condition.get("message"))
    return None


def mistake(error: Exception, version: str) -> str:
    """The sentence for an object that this version of Upright cannot cope with."""
    said = f"{error.title}: {sentences(error)}" if isinstance(error, ValidationError) else str(error)
    return cut(
        f"Upright {version} made a mistake with this object, so nothing is done for it until it is changed or Upright "
        f"is upgraded; what runs goes on. Please report this sentence and the traceback in the operator's log: "
        f"{type(error).__name__}: {' '.join(said.split())}"
    )


def sentences(error: ValidationError) -> str:
    """Which fields are wrong, and how."""
    return "; ".join(_sentence(detail["loc"], sentence(detail)) for detail in error.errors(include_url=False))


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
        condition.pop(SINCE, None)
    return bare
