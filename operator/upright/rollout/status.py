"""The status that a decided state gives."""

from typing import Any, Literal

from upright.api import names
from upright.api.common import Condition
from upright.api.deployment_status import Analysis, Arm, DeploymentStatus
from upright.conditions import Finding, condition, conditions
from upright.contract import Manifest
from upright.rollout.blindness import was_unmeasured
from upright.rollout.draft import Draft
from upright.rollout.facts import ArmFacts, called, some_pods
from upright.rollout.observe import Observed
from upright.rollout.obstacle import is_gone, retry_waits, was_rejected
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import service_names, share, split, url
from upright.rollout.verdict import worth_recording

Phase = Literal["Pending", "Progressing", "Paused", "Stable", "RolledBack", "Failed"]


def arm_facts(observed: Observed, arm: Arm | None) -> ArmFacts | None:
    """What is known of one of the two versions."""
    if arm is None:
        return None
    workload = observed.workloads.get(arm.revision, {})
    refused = next(
        (
            str(one.get("message", ""))
            for one in workload.get("status", {}).get("conditions", ())
            if one["type"] == "ReplicaFailure" and one["status"] == "True"
        ),
        "",
    )
    size = int(workload["spec"].get("replicas", 1)) if workload else 0
    return ArmFacts(
        arm,
        observed.pods.get(arm.revision, ()),
        size,
        refused,
        observed.evicted.get(arm.revision, ()),
        observed.lost.get(arm.revision),
    )


def status(observed: Observed, draft: Draft) -> DeploymentStatus:
    """The whole status."""
    resource = observed.resource
    generation = resource.metadata.generation
    stable, candidate = arm_facts(observed, draft.stable), arm_facts(observed, draft.candidate)
    stable_ready, candidate_ready = (arm.ready if arm else 0 for arm in (stable, candidate))
    beside = standing_in(observed, draft)
    weight = share(candidate_ready, stable_ready + beside)
    phase, finding = _phase(observed, draft, stable, weight)
    unreached = _unreached(observed, draft)
    answering = stable_ready + candidate_ready + beside > 0 and not observed.taken and not unreached
    if draft.unseen and (said := _condition(observed, "Ready")) and (said.status == "True") is answering:
        finding = Finding(said.reason, said.message)
    elif unreached:
        finding = Finding(unreached.reason, f"{unreached.message} {finding.message}")
    obstacle = draft.obstacle
    stalled = draft.held or (obstacle if obstacle and not obstacle.passing and not obstacle.waits else None)
    working = (
        (obstacle is not None and obstacle.passing)
        or draft.candidate is not None
        or unreached is not None
        or (stable is not None and stable.ready < resource.spec.replicas)
    )
    scaled = _scaled_arm(observed, draft)
    return DeploymentStatus(
        observed_generation=generation,
        phase=phase,
        stable=_arm(draft.stable, draft.shape.stable, stable_ready, share(stable_ready, candidate_ready + beside)),
        candidate=_arm(draft.candidate, draft.shape.candidate, candidate_ready, weight),
        stand_in=draft.stand_in,
        analysis=draft.analysis,
        rejected=draft.rejected,
        history=draft.history,
        retry=resource.status.retry if retry_waits(observed) else resource.metadata.asks(names.RETRY),
        replicas=len(observed.pods.get(scaled, ())) if scaled else 0,
        selector=_selector(observed, scaled),
        url=url(resource) if _of_all_traffic(observed) and not unreached else "",
        conditions=[
            *conditions(
                generation,
                "True" if answering else "False",
                finding,
                reconciling=working and not stalled,
                stalled=stalled,
            ),
            _current(observed, draft, stable, finding, reached=not unreached),
            *_measured(observed, draft),
        ],
    )


def sparing(before: DeploymentStatus, after: DeploymentStatus) -> DeploymentStatus:
    """The new status without the newest looks, when they alone would not be worth a write.

    They are not lost: the source of measurements hands them out again until a recorded state contains them.
    """
    if before.analysis is None or after.analysis in (None, before.analysis):
        return after  # no look is in it
    planned = _as_planned(before, after)
    if worth_recording(before.analysis, after.analysis) or _skeleton(planned) != _skeleton(after):
        return after
    return planned


def tells_only_what_is_made(observed: Observed, after: DeploymentStatus) -> bool:
    """Whether all that is new is that the Service of all traffic is gone. The turn that finds so makes it again, and
    there is something to record only when it cannot.
    """
    before, gone = observed.resource.status, _of_all_traffic(observed) is None and not observed.taken
    return gone and bool(before.url) and _unrelated(before) == _unrelated(after)


def as_json(status: DeploymentStatus) -> dict[str, Any]:
    """As it is written."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _as_planned(before: DeploymentStatus, after: DeploymentStatus) -> DeploymentStatus:
    """The recorded status without what the shell has told by it: that stands in the place of Stalled and Reconciling,
    and at the beginning of Ready. Who tells it adds it again, for as long as it is so.
    """
    said, says = ({one.type: one for one in each.conditions} for each in (before, after))
    ready, told = said.get("Ready"), said.pop("Stalled", None)
    if not (ready and told) or ("Stalled" in says and says["Stalled"].reason == told.reason):
        return before
    message = ready.message.removeprefix(told.message).strip() or says["Ready"].message
    said["Ready"] = ready.model_copy(update={"message": message})
    return before.model_copy(update={"conditions": [said.get(one.type, one) for one in after.conditions]})


def _skeleton(status: DeploymentStatus) -> dict[str, Any]:
    """All but what every look changes: the figures, and the texts that quote them."""
    whole = as_json(status)
    del whole["analysis"]
    whole["conditions"] = [(one.type, one.status, one.reason, one.observed_generation) for one in status.conditions]
    return whole


def _unrelated(status: DeploymentStatus) -> dict[str, Any]:
    """All that does not follow from whether requests reach the pods, but for texts."""
    following = ("Ready", "Current", "Reconciling")
    others = [(one.type, one.status, one.reason) for one in status.conditions if one.type not in following]
    return {**as_json(status), "url": "", "conditions": others}


def standing_in(observed: Observed, draft: Draft) -> int:
    """How many pods answer of what was given up before the candidate."""
    pods = observed.pods.get(draft.stand_in.revision, ()) if draft.stand_in else ()
    return sum(pod.ready for pod in pods)


def _arm(arm: Arm | None, replicas: int, ready: int, weight: int) -> Arm | None:
    if arm is None:
        return None
    return arm.model_copy(update={"replicas": replicas, "ready_replicas": ready, "weight": weight})


def _scaled_arm(observed: Observed, draft: Draft) -> str | None:
    """The revision that has as many pods as `spec.replicas` says: what an autoscaler must look at, and only at it."""
    stable, candidate = draft.stable, draft.candidate
    if stable and candidate and candidate.repairing:
        return candidate.revision  # all the traffic is its
    if stable and (candidate is None or draft.shape.stable >= observed.resource.spec.replicas):
        return stable.revision
    return candidate.revision if candidate else None


def _selector(observed: Observed, revision_name: str | None) -> str:
    one = f",{names.REVISION}={revision_name}" if revision_name else ""
    return f"{names.DEPLOYMENT}={observed.resource.metadata.name}{one}"


def _current(
    observed: Observed, draft: Draft, stable: ArmFacts | None, finding: Finding, *, reached: bool
) -> Condition:
    """Whether what is wanted is what serves, with everything that it should have."""
    spec, generation = observed.resource.spec, observed.resource.metadata.generation
    wanted = revision(observed.wanted, spec.serving) if observed.wanted else None
    done = (
        stable is not None
        and stable.arm.revision == wanted
        and draft.candidate is None
        and stable.ready == spec.replicas > 0
        and not draft.obstacle
        and reached
    )
    if done and stable:
        said = f"{stable.arm.model_version} is the version that is wanted, and serves with {some_pods(stable.ready)}."
        return condition("Current", "True", Finding("AsWanted", said), generation)
    return condition("Current", "False", finding, generation)


def _unreached(observed: Observed, draft: Draft) -> Finding | None:
    """Why no request reaches any of the pods that are ready; None when one may, and when none is ready. That the name
    is somebody else's is an obstacle, and said as that.
    """
    serving = {arm.revision for arm in (draft.stable, draft.candidate, draft.stand_in) if arm}
    ready = [pod for one in serving for pod in observed.pods.get(one, ()) if pod.ready]
    if observed.taken or not ready:
        return None
    name, service = service_names(observed.resource.metadata.name)[0], _of_all_traffic(observed)
    if service is None:
        return Finding("ServiceMissing", f"This Deployment has no Service {name}, so no request reaches its pods.")
    selector = service.get("spec", {}).get("selector") or {}
    if selector and any(selector.items() <= pod.labels.items() for pod in ready):
        return None
    selected = ", ".join(f"{label}={value}" for label, value in sorted(selector.items()))
    return Finding(
        "ServiceLeadsElsewhere",
        f"Service {name} selects {selected or 'nothing'}, and none of the ready pods, so no request reaches them.",
    )


def _of_all_traffic(observed: Observed) -> Manifest | None:
    """The Service through which all requests come; None when there is none that is ours."""
    return observed.services.get(service_names(observed.resource.metadata.name)[0])


def _measured(observed: Observed, draft: Draft) -> list[Condition]:
    """Whether the two versions can be compared; only while there are two, each with pods."""
    pods = draft.shape.stable and draft.shape.candidate
    if not draft.stable or not draft.candidate or draft.candidate.leaving or not (pods or draft.unmeasured):
        return []
    generation, arms = observed.resource.metadata.generation, observed.reading.arms.values()
    if draft.unmeasured:
        return [condition("Measured", "False", Finding("Unmeasured", draft.unmeasured), generation)]
    if not arms or was_unmeasured(draft.candidate) or any(one.state == "Unknown" for one in arms):  # not looked at yet
        return [said] if (said := _condition(observed, "Measured")) else []
    if observed.reading.quiet(observed.now, observed.resource.spec.monitoring.interval):
        return [condition("Measured", "True", Finding("NoRequests", "No requests have come in."), generation)]
    return [condition("Measured", "True", Finding("Counted", "Requests are counted."), generation)]


def _condition(observed: Observed, type: str) -> Condition | None:
    """What the recorded status says, without its time: the shell carries that over."""
    found = next((one for one in observed.resource.status.conditions if one.type == type), None)
    return found.model_copy(update={"last_transition_time": None, "reason_since": None}) if found else None


def _phase(observed: Observed, draft: Draft, stable: ArmFacts | None, weight: int) -> tuple[Phase, Finding]:
    """The state in a word, and the sentence that `kubectl get` shows."""
    obstacle, spec, candidate = draft.obstacle, observed.resource.spec, draft.candidate
    if candidate and not candidate.leaving:
        said = _progress(observed, draft, candidate, weight)
        if draft.stand_in and (beside := standing_in(observed, draft)):
            version = draft.stand_in.model_version
            said += f" {some_pods(beside)} of {version}, which was given up, answer{'s' * (beside == 1)} beside it."
        if observed.waiting:
            said += f" {observed.waiting}, which is newer, goes out after it."
        halts = obstacle and (observed.taken or obstacle.about == candidate.model_version)
        held = draft.held or (obstacle if halts else None)
        if spec.paused or (held and stable):
            return "Paused", Finding(held.reason if held else "Paused", said)
        return ("Progressing" if stable else "Pending"), Finding(held.reason if held else "Progressing", said)
    if stable is None:
        if obstacle is None:
            return "Pending", Finding("Pending", "Nothing serves yet.")
        waits = obstacle.passing or obstacle.waits
        return ("Paused" if obstacle.reason == "Paused" else "Pending" if waits else "Failed"), obstacle
    name = called(stable.arm, candidate)
    serving = f"{name} serves with {stable.ready} of {spec.replicas} pods ready."
    if not stable.ready:
        serving = f"No pod of {name} answers."
    if spec.replicas == 0:
        serving = f"spec.replicas is 0: no pod serves {stable.arm.model_version}."
    elif stable.ready < spec.replicas:
        serving += stable.trouble
    if not is_gone(observed.versions.get(stable.arm.model_version)):
        serving += _backed_off(stable)
    elif obstacle is None or obstacle.reason != "VersionNotReady":
        serving += f" No pod of {stable.arm.model_version} could be started any more: its artifact is gone."
    leaving = f" {draft.progress}" if candidate else ""
    if obstacle:
        phase: Phase = {"VersionRejected": "RolledBack", "Paused": "Paused", "ContractChanged": "Paused"}.get(  # type: ignore[assignment]
            obstacle.reason, "Stable"
        )
        reason = "RolledBack" if phase == "RolledBack" else obstacle.reason
        return phase, Finding(reason, f"{serving} {obstacle.message}{leaving}", about=obstacle.about)
    if spec.replicas == 0:
        return "Stable", Finding("ScaledToZero", serving)
    paused = " No other version goes out while spec.paused is true." if spec.paused else ""
    return "Stable", Finding("Serving" if stable.ready else "NotServing", f"{serving}{leaving}{paused}")


def _backed_off(stable: ArmFacts) -> str:
    """That pods of which none answers may be as they are only because nobody has started them again yet."""
    if stable.ready or not any(pod.failures for pod in stable.pods):
        return ""
    return " A container that failed is started again after up to 5 minutes, or at once with `kubectl delete pod`."


def _progress(observed: Observed, draft: Draft, candidate: Arm, weight: int) -> str:
    progress = draft.held.message if draft.held else draft.progress
    if draft.stable is None:
        said = f"{candidate.model_version} starts as the first version. {progress}"
        if observed.passed_over:
            said += f" {was_rejected(observed.passed_over)}"
        elif draft.obstacle and draft.obstacle.reason == "VersionRejected":
            said += f" {draft.obstacle.message}"
        return said
    steps, step = observed.resource.spec.rollout.steps, candidate.step or 0
    said = f"{called(candidate, draft.stable)} has {weight} % of the traffic. {progress}"
    if weight and not candidate.finishing and step < len(steps):
        pods, asked = split(observed.resource.spec.replicas, steps[step].weight), steps[step].weight
        if (given := share(pods.candidate, pods.stable)) != asked:
            said += f" The step asks for {asked} %; whole pods give {given} %."
    if draft.analysis:
        analysis = draft.analysis
        looks = f"{analysis.looks} look{'s' * (analysis.looks != 1)}"
        said += f" Evidence {analysis.evidence:g} of {analysis.threshold:g} after {looks}{_unused(analysis)}."
    return said


def _unused(analysis: Analysis) -> str:
    """How many looks could not be compared, and why not the last of these."""
    unused = analysis.looks - analysis.used
    if not unused:
        return ""
    if not analysis.used:
        return f"; none could be compared: {analysis.unused}"
    return f"; {unused} could not be compared, the last of these: {analysis.unused}"
