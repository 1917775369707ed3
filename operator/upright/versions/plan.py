"""What to say of a ModelVersion. Nothing is done about it: pods verify what they load, and tell."""

from typing import Literal

from pydantic import ValidationError

from upright.api import names
from upright.api.artifact import Refusal
from upright.api.model_version import ModelVersionStatus
from upright.conditions import Finding, condition, conditions
from upright.contract import Event, Plan
from upright.pods.reading import is_ready, termination
from upright.versions.observe import Observed

SERVING_CONTAINER = "serve"
_MOST_USERS = 64

Condemned = Literal["Corrupt", "Missing"]


def plan(observed: Observed) -> Plan:
    """The plan for what was observed."""
    resource, before = observed.resource, observed.resource.status
    generation = resource.metadata.generation
    asked = resource.metadata.annotations.get(names.RETRY)
    remembered = before if asked == before.retry and before.phase != "Ready" else None
    condemned = _condemned(observed) or (
        (remembered.phase, next((c.message for c in remembered.conditions if c.type == "Ready"), ""))
        if remembered and remembered.phase
        else None
    )
    served = any(is_ready(pod) for pod in observed.pods) or any(
        c.type == "Verified" and c.status == "True" for c in before.conditions
    )
    artifact = resource.spec.artifact
    stalled = None
    if condemned:
        stalled = Finding(condemned[0], condemned[1])
        finding = stalled
    elif artifact.format not in observed.defaults.allowed_formats:
        finding = Finding(
            "FormatNotAllowed",
            f"The operator does not allow models in the format {artifact.format}, only "
            f"{', '.join(observed.defaults.allowed_formats)}: store the model in one of these, or allow the format.",
        )
        stalled = finding
    else:
        origin = "Imported" if resource.spec.lineage is None else "Trained"
        finding = Finding(origin, "Can be served. Every pod verifies its digest before it loads the model.")
    verified = (
        condition("Verified", "False", stalled, generation)
        if condemned and stalled
        else condition(
            "Verified", "True", Finding("DigestMatched", "A pod has read it and found its digest right."), generation
        )
        if served
        else condition(
            "Verified", "Unknown", Finding("NotServedYet", "No pod has read it yet to check its digest."), generation
        )
    )
    status = ModelVersionStatus(
        observed_generation=generation,
        phase=condemned[0] if condemned else "Ready",
        retry=asked,
        used_by=list(observed.used_by[:_MOST_USERS]),
        conditions=[*conditions(generation, "False" if stalled else "True", finding, stalled=stalled), verified],
    )
    return Plan(
        status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
        events=[Event("Warning", condemned[0], "Verify", condemned[1])]
        if condemned and before.phase != condemned[0]
        else [],
    )


def _condemned(observed: Observed) -> tuple[Condemned, str] | None:
    """What a pod that would not load the artifact says of it."""
    for pod in observed.pods:
        ended = termination(pod, SERVING_CONTAINER)
        if ended is None or ended["exitCode"] == 0:
            continue
        try:
            refusal = Refusal.model_validate_json(ended.get("message", ""))
        except ValidationError:
            continue
        match refusal.reason:
            case "Corrupt" | "Missing" as reason:
                return reason, (
                    f"{refusal.message} Restore the artifact and set the annotation {names.RETRY} to a new value, "
                    "or serve another version."
                )
    return None
