"""What to say of a ModelVersion. Nothing is done about it: pods verify what they load, and tell."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from upright.api import names
from upright.api.common import Condition
from upright.api.model_version import Inspection, ModelVersionStatus
from upright.conditions import Finding, condition, conditions
from upright.contract import Event, Plan
from upright.versions.inspection import inspection, remedy, retried
from upright.versions.observe import Observed
from upright.versions.verdicts import rejected_by, remembered

_MOST_USERS = 64
_APPLIED_TOGETHER = timedelta(minutes=1)
"""A claim that is applied together with a version may come a little later."""
_NEWS = timedelta(hours=1)
"""For so long an event is told to those who have not heard of it: the API server keeps events no longer."""

Phase = Literal["Ready", "NotAllowed", "Corrupt", "Missing"]


def plan(observed: Observed) -> Plan:
    """The plan for what was observed."""
    resource, before = observed.resource, observed.resource.status
    generation = resource.metadata.generation
    since = retried(resource, observed.pods, observed.now)
    found = inspection(resource, observed.pods, since)
    held = observed.claim_exists or any(pod.ready for pod in observed.pods)
    if found and found.outcome == "Intact" and not held:
        found = None  # on a claim that is no more: the next one with its name may hold anything
    phase, finding = _finding(observed, found)
    left = resource.metadata.creation_timestamp + _APPLIED_TOGETHER - observed.now
    waiting = finding.passing and left > timedelta(0)
    stalled = None if phase == "Ready" or waiting else finding
    verdicts = remembered(before.verdicts, observed.uses)
    status = ModelVersionStatus(
        observed_generation=generation,
        phase=phase,
        retry=resource.metadata.asks(names.RETRY),
        retried=since,
        inspection=found,
        used_by=_used_by(observed),
        rejected_by=rejected_by(verdicts, observed.uses)[:_MOST_USERS] or None,
        verdicts=verdicts,
        conditions=[
            *conditions(
                generation, "True" if phase == "Ready" else "False", finding, reconciling=waiting, stalled=stalled
            ),
            _verified(found, generation),
        ],
    )
    return Plan(
        status=status.model_dump(mode="json", by_alias=True, exclude_none=True),
        events=_events(observed, found, stalled),
        again=left if waiting else None,
    )


def _finding(observed: Observed, found: Inspection | None) -> tuple[Phase, Finding]:
    artifact, allowed = observed.resource.spec.artifact, observed.defaults.allowed_formats
    namespace = observed.resource.metadata.namespace
    if not observed.claim_exists:
        return "Missing", Finding(
            "ClaimMissing",
            f"Claim {observed.claim}, which holds the artifact, does not exist in namespace {namespace}, or is being "
            "deleted.",
            "Restore it with what it held, and the version is Ready again; or serve another version.",
            passing=True,
        )
    if found and found.outcome != "Intact":
        return found.outcome, Finding(found.outcome, f"{found.message.rstrip('.')}.", remedy(observed.resource))
    if artifact.format not in allowed:
        return "NotAllowed", Finding(
            "FormatNotAllowed",
            f"The operator does not allow models in the format {artifact.format}, only {', '.join(allowed)}.",
            "Store the model in one of these, or have the format allowed.",
        )
    origin = "Imported" if observed.resource.spec.lineage is None else "Trained"
    return "Ready", Finding(origin, "Can be served. Every pod verifies its digest before it loads the model.")


def _verified(found: Inspection | None, generation: int) -> Condition:
    if found is None:
        finding = Finding("NotServedYet", "No pod has read it yet to check its digest.")
        return condition("Verified", "Unknown", finding, generation)
    if found.outcome == "Intact":
        said = found.message or "A pod has read it and found its digest right."
        return condition("Verified", "True", Finding("DigestMatched", said), generation)
    return condition("Verified", "False", Finding(found.outcome, found.message), generation)


def _used_by(observed: Observed) -> Sequence[str]:
    """The Deployments that serve it: as their stable version, or beside that from the first ready pod on."""
    meta = observed.resource.metadata
    answering = {pod.deployment for pod in observed.pods if pod.ready}
    users = []
    for use in observed.uses:
        user = f"{meta.namespace}/{use.deployment}"
        known = user in observed.resource.status.used_by
        if use.place == "stable" or (use.place and (known or use.deployment in answering)):
            users.append(user)
    return users[:_MOST_USERS]


def _events(observed: Observed, found: Inspection | None, stalled: Finding | None) -> list[Event]:
    """What the recorded status says, while it is news."""
    before = observed.resource.status
    events = []
    recorded = next((one for one in before.conditions if one.type == "Stalled"), None)
    if stalled and recorded and recorded.reason == stalled.reason and stalled.reason != "FormatNotAllowed":
        said = f"{stalled.message} {stalled.remedy}"
        events = [Event("Warning", stalled.reason, "Verify", said, at=recorded.since)]
    elif found and found == before.inspection and found.outcome == "Intact" and found.message:
        events = [Event("Normal", "Verified", "Verify", found.message, at=found.at)]
    return [event for event in events if event.at and _is_news(event.at, observed.now)]


def _is_news(at: datetime, now: datetime) -> bool:
    return now - at < _NEWS
