"""Why can the wanted version not go out?"""

from collections.abc import Sequence
from datetime import timedelta

from upright.api import names
from upright.api.deployment import DeploymentSpec
from upright.api.deployment_status import Arm, Rejection
from upright.api.model_version import ModelVersion
from upright.conditions import Finding, said_since
from upright.rollout.compatibility import incompatible, not_split_by
from upright.rollout.draft import Draft
from upright.rollout.facts import called
from upright.rollout.following import Maker
from upright.rollout.observe import Observed
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import lead_to_grpc

_NAMED = 5
_PATIENCE = timedelta(minutes=5)
OLD_PODS_GOING, _OLD_PODS = "OldPodsGoing", "OldPods"
MOMENTARY = frozenset({"VersionUnchecked", "VersionInTraining", OLD_PODS_GOING})
"""Reasons that nobody need be told of."""


def obstacle(observed: Observed, wanted: str | None, draft: Draft) -> Finding | None:
    """What is in the way of the wanted revision, with what to do about it; None when nothing is."""
    if observed.taken:
        return _name_taken(observed)
    version = observed.wanted
    if version is None:
        return _not_found(observed, draft)
    if draft.serves(wanted):
        passed_over = _passed_over(observed) if draft.candidate is None else None
        return _gone(version, wanted, draft) or _copied(observed, draft) or passed_over
    name, spec = version.metadata.name, observed.resource.spec
    said, mend = _unfit(version)
    rejection = next((one for one in draft.counting() if one.revision == wanted), None)
    if rejection:
        do = f"{mend} When it is Ready," if mend else "Name another version, or another spec.serving, or"
        told = was_rejected(rejection, draft.stable)
        return Finding("VersionRejected", told, f"{do} {_another_try(observed)}", about=name)
    if version.status.phase is None:
        return Finding("VersionUnchecked", f"ModelVersion {name} has not been looked at yet.", passing=True)
    if said:
        return Finding("VersionNotReady", f"ModelVersion {name} cannot be served: {said}", mend, about=name)
    if (changed := _contract_changed(observed, draft)) is not None:
        return changed
    if (split := _not_split(observed.resource.spec, version)) is not None:
        return split
    if spec.replicas == 0:
        return Finding(
            "ScaledToZero",
            f"spec.replicas is 0, so {name} cannot be tried: scale up, and the rollout starts by itself.",
            waits=True,
        )
    if spec.paused:
        return Finding("Paused", f"spec.paused is true, so {name} does not go out.", waits=True)
    old = _old(observed, wanted, draft)
    return _old_pods(observed, name, old) if old else None


def old_pods_may_go_for(observed: Observed) -> timedelta:
    """How long until old pods that are still there are named; once they are, they stay so."""
    recorded, now = observed.resource.status.conditions, observed.now
    if said_since(recorded, _OLD_PODS):
        return timedelta(0)
    since = max(said_since(recorded, OLD_PODS_GOING) or now, observed.watched_since)
    return max(timedelta(0), _PATIENCE - max(timedelta(0), now - since))


def is_gone(version: ModelVersion | None) -> bool:
    """Whether its artifact is known not to be there, or not to be what it was."""
    return version is not None and version.status.phase in ("Missing", "Corrupt")


def _unfit(version: ModelVersion) -> tuple[str, str]:
    """Why it cannot be served, and what can be done about that, as it says itself; both empty when it can be."""
    conditions = {one.type: one for one in version.status.conditions}
    ready, stalled = conditions.get("Ready"), conditions.get("Stalled")
    if ready is None or ready.status == "True":
        return "", ""
    return ready.message, stalled.message.removeprefix(ready.message).strip() if stalled else ""


def _gone(version: ModelVersion, wanted: str | None, draft: Draft) -> Finding | None:
    """What is stable or goes out could not be loaded again: its pods, if there are any, go on as long as they run."""
    name, (said, mend) = version.metadata.name, _unfit(version)
    if not is_gone(version) or not said:
        return None
    does = "is the stable version" if draft.stable and draft.stable.revision == wanted else "goes out"
    return Finding(
        "VersionNotReady",
        f"ModelVersion {name}, which {does}, cannot be loaded by pods that start from now on: {said}",
        mend,
        about=name,
    )


def _passed_over(observed: Observed) -> Finding | None:
    """The newest version of a followed model was rejected: what serves, or nothing, is wanted only because of that."""
    if observed.passed_over is None:
        return None
    one, again = observed.passed_over, f"or {_another_try(observed)}"
    if retry_waits(observed):
        again = f"and {one.model_version} is tried again, as somebody has asked, when it is Ready."
    remedy = f"A newer version goes out by itself; {again}"
    return Finding("VersionRejected", was_rejected(one), remedy, about=one.model_version)


def retry_waits(observed: Observed) -> bool:
    """Whether somebody asks for another try of the newest version, which was rejected and is not Ready (yet): to be
    answered when it is. Not while anything else is wanted than what serves: that would be tried again, too, if it was
    rejected meanwhile.
    """
    resource, wanted, stable = observed.resource, observed.wanted, observed.resource.status.stable
    if not resource.wants_retry or wanted is None or stable is None or observed.passed_over is None:
        return False
    return revision(wanted, resource.spec.serving) == stable.revision


def was_rejected(one: Rejection, stable: Arm | None = None) -> str:
    """When and why, in a sentence."""
    return f"{called(one, stable)} was rejected at {one.at:%Y-%m-%d %H:%M:%S} UTC: {one.message}"


def _another_try(observed: Observed) -> str:
    meta = observed.resource.metadata
    return (
        "try again: kubectl annotate --overwrite deployments.upright.dev "
        f"{meta.name} -n {meta.namespace} {names.RETRY}=$(date +%s)"
    )


def _old(observed: Observed, wanted: str | None, draft: Draft) -> Sequence[str]:
    """Names of a few pods that would get requests beside those of the two versions: strangers, and those of a version
    that was given up whose workload is still there, be it that it could not be deleted. What a Deployment without a
    record finds may serve.
    """
    before = observed.resource.status
    if before.stable is None and before.candidate is None:
        return observed.strangers
    arms = {arm.revision for arm in (draft.stable, draft.candidate, draft.stand_in) if arm} | {wanted}
    others = (observed.pods.get(one, ()) for one in observed.workloads if one not in arms)
    return [*observed.strangers, *(pod.name for pods in others for pod in pods)]


def _old_pods(observed: Observed, name: str, old: Sequence[str]) -> Finding:
    """They would get requests of the Service of all traffic. Usually they are gone in a moment."""
    meta, pods = observed.resource.metadata, ", ".join(old[:3])
    if old_pods_may_go_for(observed):
        return Finding(
            OLD_PODS_GOING, f"{name} goes out when pods that are not of its workload have gone: {pods}.", passing=True
        )
    return Finding(
        _OLD_PODS,
        f"{name} does not go out: pods {pods} bear the label {names.DEPLOYMENT} of this Deployment, would get its "
        "requests, and are not of its workload.",
        "Delete what makes them, perhaps left by an earlier object of this name (kubectl get deployments.apps,services "
        f"-n {meta.namespace} -l {names.DEPLOYMENT}={meta.name} shows it), or take the label away from a pod that "
        f"nothing makes: kubectl label pod {old[0]} -n {meta.namespace} {names.DEPLOYMENT}-",
    )


def _copied(observed: Observed, draft: Draft) -> Finding | None:
    """Pods that Services take for pods of a version, and that another workload makes: what they answer is not what was
    rolled out, and nobody has compared it.
    """
    meta = observed.resource.metadata
    for arm in filter(None, (draft.stable, draft.candidate)):
        if copies := observed.copies.get(arm.revision):
            return Finding(
                "PodsOfOthers",
                f"Pods {', '.join(copies)} bear the labels of {arm.model_version} and get its requests, but are not of "
                f"its workload {names.object_name(meta.name, arm.revision)}.",
                f"Take the label {names.DEPLOYMENT} away from what makes them, or delete it: kubectl get pod "
                f"{copies[0]} -n {meta.namespace} -o jsonpath='{{.metadata.ownerReferences}}' tells what that is.",
            )
    return None


def _contract_changed(observed: Observed, draft: Draft) -> Finding | None:
    """Clients of the stable version would get the candidate's answers, too."""
    stable, wanted, spec = draft.stable, observed.wanted, observed.resource.spec
    if stable is None or wanted is None or spec.rollout.contract == "Any":
        return None
    before = observed.versions.get(stable.model_version)
    found = [*incompatible(before, wanted)] if before else []
    mends = ["name another version"] if found else []
    pods, led = observed.pods.get(stable.revision), lead_to_grpc(observed.services.values())
    alike = before is not None and revision(before, spec.serving) == stable.revision  # then it never had gRPC either
    if led and not (spec.serving.grpc or alike) and (not pods or any(pod.grpc for pod in pods)):
        found = ["it does not answer over gRPC any more, as spec.serving.grpc has it", *found]
        mends = ["set spec.serving.grpc to true again", *mends]
    if not found:
        return None
    changes = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return Finding(
        "ContractChanged",
        f"Clients of {stable.model_version} may fail with {_new(wanted, stable)}: {changes}. If they are ready for it, "
        "rollout.contract: Any lets it out.",
        f"Else {' and '.join(mends)}.",
        about=wanted.metadata.name,
    )


def _not_split(spec: DeploymentSpec, version: ModelVersion) -> Finding | None:
    """Its pods would count nothing by a segment whose feature it does not have, and nobody would know."""
    segment, signature, name = not_split_by(version, spec), version.spec.signature, version.metadata.name
    if segment is None or signature is None:
        return None
    inputs = [str(one.get("name")) for one in signature.inputs]
    others = f" and {len(inputs) - 10} more" if len(inputs) > 10 else ""
    return Finding(
        "SegmentNotFound",
        f"Segment {segment.name} of spec.monitoring.segments splits by feature {segment.feature}, and {name} "
        f"has no such input; it has {', '.join(inputs[:10])}{others}.",
        "Correct the feature, remove the segment, or name another version.",
        about=name,
    )


def _new(wanted: ModelVersion, stable: Arm) -> str:
    name = wanted.metadata.name
    return f"what spec.serving makes of {name} now" if name == stable.model_version else name


def _name_taken(observed: Observed) -> Finding:
    return Finding(
        "ServiceNameTaken",
        f"Service {', '.join(observed.taken)} exists in namespace {observed.resource.metadata.namespace} and does not "
        "belong to this Deployment: give one of the two another name. (Each Deployment has three: NAME, NAME-stable, "
        "NAME-canary.)",
    )


def _not_found(observed: Observed, draft: Draft) -> Finding:
    spec = observed.resource.spec
    if not draft.stable and (rejected := _passed_over(observed)):
        return rejected
    if observed.maker and observed.maker.goes_on:
        return Finding(
            "VersionInTraining",
            f"{_absent(observed, draft)} yet. A run of TrainingJob {observed.maker.job} is to make it, and the "
            "rollout starts by itself when it has.",
            passing=True,
        )
    until = f"Until then {draft.stable.model_version} serves." if draft.stable else ""
    if observed.maker and observed.maker.gave_up:
        return _made_no_more(observed, draft, observed.maker, until)
    anew = "Name another version. One that is made anew under this name goes out by itself."
    field = f"spec.{'latest.model' if spec.latest else 'modelVersion'}"
    do = {
        "Missing": f"Correct {field}, or wait: the rollout starts by itself when there is one.",
        "Deleted": anew,
        "Going": anew,
        "Unfit": _when_fit(observed) if spec.latest else "Upgrade Upright, or name another version.",
    }[observed.absence or "Missing"]
    return Finding(
        "VersionNotFound",
        f"{_absent(observed, draft)}. {do}",
        f"{_instead(observed)} {until}".strip(),
        passing=True,
        about=spec.latest.model if spec.latest else spec.model_version or "",
    )


def _when_fit(observed: Observed) -> str:
    meta = observed.resource.metadata
    rejected = f"; of one that was rejected here, {_another_try(observed)}."
    return (
        f"The rollout starts by itself when there is one{rejected if observed.resource.status.rejected else '.'} "
        f"What is in the way of each tells kubectl get modelversions -n {meta.namespace}"
    )


def _made_no_more(observed: Observed, draft: Draft, maker: Maker, until: str) -> Finding:
    """The run of the named version has ended without it: waiting would not help."""
    name, meta = observed.resource.spec.model_version or "", observed.resource.metadata
    became = "was refused" if maker.phase == "Refused" else "has failed"
    return Finding(
        "VersionNotFound",
        f"{_absent(observed, draft)}, and no run will make it: {name} of TrainingJob {maker.job} {became}, and this "
        "TrainingJob uses no number twice.",
        f"Name a version that exists (`kubectl get mv -n {meta.namespace}`) or comes of a later run (`kubectl describe "
        f"trainingjob {maker.job} -n {meta.namespace}`), or follow its model with spec.latest. {until}".strip(),
        about=name,
    )


def _absent(observed: Observed, draft: Draft) -> str:
    """What is not there of what the spec names."""
    spec, where = observed.resource.spec, f"in namespace {observed.resource.metadata.namespace}"
    if spec.latest and observed.absence == "Missing":
        return f"No ModelVersion of model {spec.latest.model} exists {where}"
    if spec.latest:
        newer = f", and is surely newer than {draft.stable.model_version}, which serves" if draft.stable else ""
        newer = "" if follows_another_model(observed, draft.stable) else newer
        return f"Model {spec.latest.model} has no version {where} that is Ready and not rejected{newer}"
    why = {
        "Deleted": "was deleted",
        "Going": "is being deleted",
        "Unfit": "cannot be read by this version of Upright",
    }
    return f"ModelVersion {spec.model_version} {why.get(observed.absence or '', 'does not exist')} {where}"


def _instead(observed: Observed) -> str:
    """What there is now. An event says so: in the status it would soon be untrue, or be written again and again."""
    if not observed.alternatives:
        return ""
    more = ", among others" if len(observed.alternatives) > _NAMED else ""
    there = "There are versions of" if observed.resource.spec.latest else "There is"
    return f"{there} {', '.join(observed.alternatives[:_NAMED])}{more}."


def follows_another_model(observed: Observed, arm: Arm | None) -> bool:
    """Whether a version is known to be of another model than the one that is followed."""
    version, latest = observed.versions.get(arm.model_version) if arm else None, observed.resource.spec.latest
    return version is not None and latest is not None and version.spec.model != latest.model
