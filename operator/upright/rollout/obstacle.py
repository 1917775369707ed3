"""Why can the wanted version not go out?"""

from datetime import timedelta

from upright.api import names
from upright.api.deployment import Arm, Rejection
from upright.conditions import Finding
from upright.rollout.compatibility import incompatible
from upright.rollout.draft import Draft
from upright.rollout.observe import Observed

_NAMED = 5
_PATIENCE = timedelta(minutes=5)
MOMENTARY = frozenset({"VersionUnchecked", "OldPodsGoing"})
"""Reasons that nobody need be told of."""


def obstacle(observed: Observed, wanted: str | None, draft: Draft) -> Finding | None:
    """What is in the way of the wanted revision, with what to do about it; None when nothing is."""
    if observed.taken:
        return _name_taken(observed)
    version = observed.wanted
    if version is None:
        return _not_found(observed, draft)
    if draft.serves(wanted):
        return _passed_over(observed) if draft.candidate is None else None
    name, spec = version.metadata.name, observed.resource.spec
    rejection = next((one for one in draft.counting() if one.revision == wanted), None)
    if rejection:
        return Finding(
            "VersionRejected",
            _rejected(rejection),
            "Correct spec.serving, with which it was rejected and without which it serves."
            if draft.stable and draft.stable.model_version == name
            else f"Name another version, or {_another_try(observed)}",
        )
    if version.status.phase is None:
        return Finding("VersionUnchecked", f"ModelVersion {name} has not been looked at yet.", passing=True)
    said = next((one for one in version.status.conditions if one.type == "Ready"), None)
    if said and said.status != "True":
        return Finding("VersionNotReady", f"ModelVersion {name} cannot be served: {said.message}")
    if (changed := _contract_changed(observed, draft)) is not None:
        return changed
    if spec.replicas == 0:
        return Finding(
            "ScaledToZero",
            f"spec.replicas is 0, so {name} cannot be tried: scale up, and the rollout starts by itself.",
            waits=True,
        )
    if spec.paused:
        return Finding("Paused", f"spec.paused is true, so {name} does not go out.", waits=True)
    if observed.strangers:
        return _old_pods(observed, name)
    return None


def _passed_over(observed: Observed) -> Finding | None:
    """The newest version of a followed model was rejected: what serves is wanted only because of that."""
    if observed.passed_over is None:
        return None
    remedy = f"A newer version goes out by itself; or {_another_try(observed)}"
    return Finding("VersionRejected", _rejected(observed.passed_over), remedy)


def _rejected(one: Rejection) -> str:
    return f"{one.model_version} was rejected at {one.at:%Y-%m-%d %H:%M:%S} UTC: {one.message}"


def _another_try(observed: Observed) -> str:
    meta = observed.resource.metadata
    return (
        "try again: kubectl annotate --overwrite deployments.upright.dev "
        f"{meta.name} -n {meta.namespace} {names.RETRY}=$(date +%s)"
    )


def _old_pods(observed: Observed, name: str) -> Finding:
    """They would get requests of the Service of all traffic. Usually they are gone in a moment."""
    conditions = observed.resource.status.conditions
    waits = next((one for one in conditions if (one.type, one.reason) == ("Reconciling", "OldPodsGoing")), None)
    since = (waits.last_transition_time if waits else None) or observed.now
    pods = ", ".join(observed.strangers[:3])
    if observed.now - since < _PATIENCE:
        return Finding(
            "OldPodsGoing", f"{name} goes out when pods that are not of its workload have gone: {pods}.", passing=True
        )
    return Finding(
        "OldPods",
        f"{name} does not go out: pods {pods} bear the label {names.DEPLOYMENT} of this Deployment, would get its "
        "requests, and are not of its workload.",
        "Delete them, or take the label away: "
        f"kubectl label pod {observed.strangers[0]} -n {observed.resource.metadata.namespace} {names.DEPLOYMENT}-",
    )


def _contract_changed(observed: Observed, draft: Draft) -> Finding | None:
    """Clients of the stable version would get the candidate's answers, too."""
    before = observed.versions.get(draft.stable.model_version) if draft.stable else None
    if before is None or observed.wanted is None or observed.resource.spec.rollout.contract == "Any":
        return None
    found = incompatible(before, observed.wanted)
    if not found:
        return None
    told = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return Finding(
        "ContractChanged",
        f"Clients of {before.metadata.name} may fail with {observed.wanted.metadata.name}: {told}. If they are ready "
        "for it, rollout.contract: Any lets it out.",
        "Else name another version.",
    )


def _name_taken(observed: Observed) -> Finding:
    return Finding(
        "ServiceNameTaken",
        f"Service {', '.join(observed.taken)} exists in namespace {observed.resource.metadata.namespace} and does not "
        "belong to this Deployment: give one of the two another name. (Each Deployment has three: NAME, NAME-stable, "
        "NAME-canary.)",
    )


def _not_found(observed: Observed, draft: Draft) -> Finding:
    spec, namespace = observed.resource.spec, observed.resource.metadata.namespace
    if spec.latest and not draft.stable and (last := next(iter(draft.counting()), None)):
        return Finding(
            "VersionRejected",
            f"Every version of model {spec.latest.model} that is Ready was rejected, {last.model_version} at "
            f"{last.at:%Y-%m-%d %H:%M:%S} UTC: {last.message}",
            _another_try(observed),
        )
    few = observed.alternatives[:_NAMED]
    more = ", among others" if len(observed.alternatives) > _NAMED else ""
    others = "there are versions of" if spec.latest else "there is"
    there = f" ({others} {', '.join(few)}{more})" if few else ""
    absent = observed.absence == "Missing"
    if spec.latest and absent:
        missing = f"No ModelVersion of model {spec.latest.model} exists in namespace {namespace}"
    elif spec.latest:
        newer = f", and is surely newer than {draft.stable.model_version}, which serves" if draft.stable else ""
        missing = (
            f"Model {spec.latest.model} has no version in namespace {namespace} that is Ready and not rejected"
            f"{'' if follows_another_model(observed, draft.stable) else newer}"
        )
    else:
        missing = (
            f"ModelVersion {spec.model_version} does not exist in namespace {namespace}, is being deleted, or cannot "
            "be read"
        )
    field = f"spec.{'latest.model' if spec.latest else 'modelVersion'}"
    do = f". Correct {field}, or wait: the" if absent else ": the"
    return Finding(
        "VersionNotFound",
        f"{missing}{there}{do} rollout starts by itself when there is one.",
        f"Until then {draft.stable.model_version} serves." if draft.stable else "",
        passing=True,
    )


def follows_another_model(observed: Observed, arm: Arm | None) -> bool:
    """Whether a version is known to be of another model than the one that is followed."""
    version, latest = observed.versions.get(arm.model_version) if arm else None, observed.resource.spec.latest
    return version is not None and latest is not None and version.spec.model != latest.model
