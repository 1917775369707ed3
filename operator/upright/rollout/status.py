"""The status that a decided state gives."""

from collections.abc import Mapping
from typing import Any, Literal

from upright.api import names
from upright.api.deployment import Arm, DeploymentStatus
from upright.conditions import Finding, conditions
from upright.pods.reading import is_ready
from upright.rollout.draft import Draft
from upright.rollout.manifests import selector, url
from upright.rollout.observe import Observed
from upright.rollout.traffic import share
from upright.rollout.verdict import worth_recording

Phase = Literal["Pending", "Progressing", "Paused", "Stable", "RolledBack", "Failed"]


def ready_pods(observed: Observed, arm: Arm | None) -> int:
    """How many pods of an arm answer."""
    return sum(map(is_ready, observed.pods.get(arm.revision, ()))) if arm else 0


def status(observed: Observed, draft: Draft) -> DeploymentStatus:
    """The whole status."""
    resource = observed.resource
    generation, replicas = resource.metadata.generation, draft.replicas()
    stable_ready, candidate_ready = ready_pods(observed, draft.stable), ready_pods(observed, draft.candidate)
    weight = share(candidate_ready, stable_ready)
    phase, finding = _phase(observed, draft, stable_ready, weight)
    serving = draft.stable is not None and (stable_ready > 0 or resource.spec.replicas == 0)
    passing = draft.obstacle is not None and draft.obstacle.passing
    lasting = None if passing else draft.obstacle
    stalled = lasting or (Finding("Inconclusive", draft.progress) if draft.held else None)
    working = passing or draft.candidate is not None or (draft.stable is not None and not serving)
    return DeploymentStatus(
        observed_generation=generation,
        phase=phase,
        stable=_arm(draft.stable, replicas, stable_ready, 100 - weight if stable_ready else 0),
        candidate=_arm(draft.candidate, replicas, candidate_ready, weight),
        analysis=draft.analysis,
        rejected=draft.rejected,
        history=draft.history,
        retry=resource.metadata.annotations.get(names.RETRY),
        replicas=sum(len(pods) for pods in observed.pods.values()),
        selector=selector(resource),
        url=url(resource),
        conditions=conditions(
            generation,
            "True" if serving and not observed.taken else "False",
            finding,
            reconciling=working and not stalled,
            stalled=stalled,
        ),
    )


def sparing(before: DeploymentStatus, after: DeploymentStatus) -> DeploymentStatus:
    """The new status without the newest looks, when they alone would not be worth a write.

    They are not lost: the source of measurements hands them out again until a recorded state contains them.
    """
    if before.analysis is None or after.analysis is None or worth_recording(before.analysis, after.analysis):
        return after
    if _skeleton(before) != _skeleton(after):
        return after
    return before


def as_json(status: DeploymentStatus) -> dict[str, Any]:
    """As it is written."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _skeleton(status: DeploymentStatus) -> dict[str, Any]:
    """All but what every look changes: the figures, and the texts that quote them."""
    whole = as_json(status)
    del whole["analysis"]
    whole["conditions"] = [(one.type, one.status, one.reason, one.observed_generation) for one in status.conditions]
    return whole


def _arm(arm: Arm | None, replicas: Mapping[str, int], ready: int, weight: int) -> Arm | None:
    if arm is None:
        return None
    return arm.model_copy(update={"replicas": replicas[arm.revision], "ready_replicas": ready, "weight": weight})


def _phase(observed: Observed, draft: Draft, stable_ready: int, weight: int) -> tuple[Phase, Finding]:
    """The state in a word, and the sentence that `kubectl get` shows."""
    stable, obstacle, spec = draft.stable, draft.obstacle, observed.resource.spec
    if draft.candidate:
        said = _progress(observed, draft, draft.candidate, weight)
        if spec.paused or draft.held:
            return "Paused", Finding("Paused", said)
        return ("Progressing" if stable else "Pending"), Finding("Progressing", said)
    if stable is None:
        if obstacle is None:
            return "Pending", Finding("Paused", "Nothing serves yet, and spec.paused is true.")
        return ("Failed" if obstacle.reason == "VersionRejected" else "Pending"), obstacle
    if obstacle:
        serving = f"{stable.model_version} serves with {stable_ready} of {spec.replicas} pods ready. {obstacle.message}"
        if obstacle.reason == "VersionRejected":
            return "RolledBack", Finding("RolledBack", serving)
        return "Stable", Finding(obstacle.reason, serving)
    if spec.replicas == 0:
        return "Stable", Finding("ScaledToZero", f"spec.replicas is 0: no pod serves {stable.model_version}.")
    said = f"{stable.model_version} serves with {stable_ready} of {spec.replicas} pods ready."
    return ("Stable" if stable_ready else "Pending"), Finding("Serving", said)


def _progress(observed: Observed, draft: Draft, candidate: Arm, weight: int) -> str:
    if draft.stable is None:
        return f"{candidate.model_version} starts as the first version. {draft.progress}"
    steps, step = observed.resource.spec.rollout.steps, candidate.step or 0
    said = f"{candidate.model_version} has {weight} % of the traffic. {draft.progress}"
    if weight and step < len(steps) and weight != steps[step].weight:
        said += f" The step asks for {steps[step].weight} %; whole pods give {weight} %."
    if draft.analysis:
        analysis = draft.analysis
        said += f" Evidence {analysis.evidence:g} of {analysis.threshold:g} after {analysis.looks} looks."
    return said
