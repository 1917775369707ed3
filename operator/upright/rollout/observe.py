"""What a plan for a Deployment depends on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from upright.api import names
from upright.api.common import API_VERSION
from upright.api.deployment import Deployment, Rejection
from upright.api.indexes import VERSIONS_BY_MODEL, newest_first
from upright.api.model_version import ModelVersion
from upright.contract import Key, Manifest, ResourceType, World
from upright.defaults import Defaults
from upright.pods.reading import Pod, read
from upright.rollout.measuring import ArmName, Asked, Reading, Source
from upright.rollout.modes.realtime import template
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import service_names
from upright.rollout.template import digest, is_edited, recorded_digest


@dataclass(frozen=True)
class Observed:
    """A Deployment and everything around it, at one moment."""

    now: datetime
    defaults: Defaults
    resource: Deployment
    wanted: ModelVersion | None
    """The version that the spec asks for; None when there is none."""
    versions: Mapping[str, ModelVersion]
    """The versions in question, by name: the wanted one, those that serve, and the one to fall back on."""
    rejected: Sequence[Rejection]
    """What counts as rejected: by this Deployment, or by one of its name that is no more."""
    passed_over: Rejection | None = None
    """Why the newest version of a followed model, which is newer than the wanted one, is not that."""
    waiting: str | None = None
    """The newest version of a followed model, which goes out when the candidate that is under way has ended."""
    fallback: str | None = None
    """The version that last had all the traffic of a Deployment of this name, while this one has none."""
    workloads: Mapping[str, Manifest] = field(default_factory=dict)
    """Our apps/v1 Deployments, by revision; ones without an owner, too."""
    records: Mapping[str, Manifest] = field(default_factory=dict)
    """Our ControllerRevisions, by revision; ones without an owner, too."""
    templates: Mapping[str, Manifest] = field(default_factory=dict)
    """What the pods of a revision are made of, by revision, where its workload or record is missing or changed."""
    pods: Mapping[str, Sequence[Pod]] = field(default_factory=dict)
    """Pods that are not being deleted, of our workloads, by revision."""
    lost: Mapping[str, Sequence[Pod]] = field(default_factory=dict)
    """Pods of our workloads that failed as a whole, by revision."""
    strangers: Sequence[str] = ()
    """Names of such pods that bear our label, and belong to no workload of ours."""
    services: Mapping[str, Manifest] = field(default_factory=dict)
    """Our Services, by name."""
    taken: Sequence[str] = ()
    """Names of Services that we would make, but that somebody else has."""
    reading: Reading = field(default_factory=Reading)
    """What has been measured since the recorded state of the analysis."""
    editor: str = ""
    """The field manager that last changed the spec."""


async def observe(manifest: Manifest, world: World, defaults: Defaults, source: Source) -> Observed:
    """Gather it. Asks the API server only for what is not there as it should be.

    Raises pydantic.ValidationError for an object that this schema would not accept.
    """
    resource = Deployment.model_validate(manifest)
    meta, status = resource.metadata, resource.status
    rejected = list(filter(_counts, status.rejected))
    wanted = _wanted(resource, world, rejected)
    versions = {
        name: version
        for name in (arm.model_version for arm in (status.stable, status.candidate) if arm)
        if (version := _known(world, meta.namespace, name))
    }
    fallback = None
    if wanted:
        versions[wanted.metadata.name] = wanted
        rejected += _rejected_before(resource, wanted)
        if status.stable is None:
            fallback = _served_last(resource, wanted, world, rejected)
    if fallback:
        versions[fallback.metadata.name] = fallback
    workloads = _ours(names.APPS_DEPLOYMENTS, resource, world)
    if status.stable is None and status.candidate is None:  # what serves all the same
        served = {str(one["metadata"]["labels"].get(names.MODEL_VERSION)) for one in workloads.values()}
        versions |= {name: version for name in served if (version := _known(world, meta.namespace, name))}
    records = _ours(names.CONTROLLER_REVISIONS, resource, world)
    pods, lost, strangers = _pods(resource, workloads, world)
    services, taken = await _services(resource, world)
    return Observed(
        now=world.now,
        defaults=defaults,
        resource=resource,
        wanted=wanted,
        versions=versions,
        rejected=rejected,
        passed_over=_passed_over(resource, wanted, world, rejected) if wanted else None,
        waiting=_waiting(resource, world, rejected),
        fallback=fallback.metadata.name if fallback else None,
        workloads=workloads,
        records=records,
        templates=await _templates(resource, versions, defaults, workloads, records, world),
        pods=pods,
        lost=lost,
        strangers=strangers,
        services=services,
        taken=taken,
        reading=_measure(resource, pods, source),
        editor=_editor(manifest),
    )


def _counts(rejection: Rejection) -> bool:
    return rejection.retried is None


def _wanted(resource: Deployment, world: World, rejected: Sequence[Rejection]) -> ModelVersion | None:
    """The version that is asked for: the named one, or the newest that can be served and was not rejected. Somebody who
    asks for another try means the newest, rejected or not.
    """
    spec = resource.spec
    if spec.model_version:
        named, stable = _version(world, resource.metadata.namespace, spec.model_version), resource.status.stable
        return named or (_serving(resource, world) if stable and stable.model_version == spec.model_version else None)
    return _under_way(resource, world) or _newest(resource, world, rejected)


def _waiting(resource: Deployment, world: World, rejected: Sequence[Rejection]) -> str | None:
    going = None if resource.spec.model_version else _under_way(resource, world)
    newest = _newest(resource, world, rejected) if going else None
    if going is None or newest is None:
        return None
    both = {going.metadata.name, newest.metadata.name}
    newer = (one.name for one, _ in newest_first(world, going.metadata.namespace, going.spec.model) if one.name in both)
    return name if (name := next(newer, None)) != going.metadata.name else None


def _newest(resource: Deployment, world: World, rejected: Sequence[Rejection]) -> ModelVersion | None:
    """The version of a followed model that would go out now, were none under way."""
    spec, namespace, stable = resource.spec, resource.metadata.namespace, resource.status.stable
    if spec.latest is None:
        return None
    gone = stable is not None and _known(world, namespace, stable.model_version) is None
    for one, at in newest_first(world, namespace, spec.latest.model):
        if stable and one.name == stable.model_version:
            break  # never back to an older one by itself
        version = _version(world, namespace, one.name) if one.ready else None
        if version is None:
            continue
        if stable and gone and at <= stable.since:
            return None  # the one that serves is no more, and this one may be older
        if resource.wants_retry or _rejection(resource, version, rejected) is None:
            return version
    return _serving(resource, world)


def _serving(resource: Deployment, world: World) -> ModelVersion | None:
    """The stable version. One that is being deleted goes on as it serves, and not with another serving spec."""
    arm, namespace = resource.status.stable, resource.metadata.namespace
    known = _known(world, namespace, arm.model_version) if arm else None
    if arm is None or known is None or revision(known, resource.spec.serving) == arm.revision:
        return known
    return _version(world, namespace, arm.model_version)


def _passed_over(
    resource: Deployment, wanted: ModelVersion, world: World, rejected: Sequence[Rejection]
) -> Rejection | None:
    """The rejection of the newest version of a followed model, unless that is the wanted one."""
    spec = resource.spec
    if spec.model_version or spec.latest is None:
        return None
    namespace = resource.metadata.namespace
    for one, _ in newest_first(world, namespace, spec.latest.model):
        if one.name == wanted.metadata.name:
            break
        if one.ready and (version := _version(world, namespace, one.name)):
            return _rejection(resource, version, rejected)
    return None


def _under_way(resource: Deployment, world: World) -> ModelVersion | None:
    """The candidate of a followed model whose pods have been ready, and which nothing holds: it goes on to its end
    whatever is made meanwhile. Else versions that come faster than the steps would end each other for ever.
    Any candidate stays while paused, since nothing could go out in its place.
    """
    spec, status, arm = resource.spec, resource.status, resource.status.candidate
    held = any(one.type == "Stalled" for one in status.conditions)
    if arm is None or arm.leaving or spec.latest is None or resource.wants_retry:
        return None
    begun = arm.step or arm.step_since or arm.step_spent is not None or arm.finishing or arm.repairing
    if not spec.paused and (held or not begun):
        return None
    version = _version(world, resource.metadata.namespace, arm.model_version)
    if version is None or version.status.phase != "Ready" or version.spec.model != spec.latest.model:
        return None
    return version if revision(version, spec.serving) == arm.revision else None


def _rejection(resource: Deployment, version: ModelVersion, rejected: Sequence[Rejection]) -> Rejection | None:
    """Why a version, as it would be served now, counts as rejected; None when it does not."""
    mine = revision(version, resource.spec.serving)
    return next((one for one in (*rejected, *_rejected_before(resource, version)) if one.revision == mine), None)


def _rejected_before(resource: Deployment, version: ModelVersion) -> Sequence[Rejection]:
    """What the version remembers of Deployments of this name, but for what this one has since decided otherwise."""
    own = {one.revision for one in resource.status.rejected}
    return [
        Rejection(
            model_version=version.metadata.name,
            revision=verdict.revision,
            at=verdict.at,
            metric=verdict.metric,
            message=verdict.message,
        )
        for verdict in version.status.verdicts
        if verdict.deployment == resource.metadata.name
        and verdict.outcome == "Rejected"
        and verdict.revision not in own
    ]


def _served_last(
    resource: Deployment, wanted: ModelVersion, world: World, rejected: Sequence[Rejection]
) -> ModelVersion | None:
    """A Deployment that was made anew, with a version that had been rejected: which one served before? None when that
    one, as it would be served now, was rejected, too: it may be what is served that is wrong, or how, and then no other
    model is any better.
    """
    mine = revision(wanted, resource.spec.serving)
    if not any(one.revision == mine for one in _rejected_before(resource, wanted)):
        return None
    namespace = resource.metadata.namespace
    known = [
        (verdict.at, version)
        for one in world.indexed(VERSIONS_BY_MODEL, namespace, wanted.spec.model)
        if one.ready and (version := _version(world, namespace, one.name))
        for verdict in version.status.verdicts
        if verdict.deployment == resource.metadata.name and verdict.outcome == "Stable"
    ]
    last = max(known, key=lambda one: one[0], default=(None, None))[1]
    return None if last is None or _rejection(resource, last, rejected) else last


def _version(world: World, namespace: str, name: str) -> ModelVersion | None:
    """The version, to be brought out: one that is being deleted counts as gone."""
    manifest = world.get(names.MODEL_VERSIONS, namespace, name)
    return _readable(manifest) if manifest and not names.is_going(manifest) else None


def _known(world: World, namespace: str, name: str) -> ModelVersion | None:
    """The version, also while it is being deleted."""
    manifest = world.get(names.MODEL_VERSIONS, namespace, name)
    return _readable(manifest) if manifest else None


def _readable(manifest: Manifest) -> ModelVersion | None:
    """The version; None when it was written for a newer Upright. That is its own trouble, and told on it."""
    try:
        return ModelVersion.model_validate(manifest)
    except ValidationError:
        return None


def _ours(type: ResourceType, resource: Deployment, world: World) -> dict[str, Manifest]:
    """What this Deployment owns, and what bears its label and is owned by nobody, by revision."""
    meta = resource.metadata
    found = [
        *world.owned(type, meta.uid),
        *(
            one
            for one in world.labelled(type, meta.namespace, names.DEPLOYMENT, meta.name)
            if names.has_no_controller(one)
        ),
    ]
    return {
        str(revision): one
        for one in reversed(found)
        if (revision := one["metadata"].get("labels", {}).get(names.REVISION))
        and not one["metadata"].get("deletionTimestamp")
    }


def _pods(
    resource: Deployment, workloads: Mapping[str, Manifest], world: World
) -> tuple[Mapping[str, Sequence[Pod]], Mapping[str, Sequence[Pod]], Sequence[str]]:
    """The pods of our workloads; those of them that have failed; and the names of other pods.

    One of the candidate's that is older than both it and its workload is of an earlier attempt. One that is only older
    than its workload, which was made again, has been taken over by it.
    """
    meta, candidate = resource.metadata, resource.status.candidate
    pods: dict[str, list[Pod]] = {name: [] for name in workloads}
    lost: dict[str, list[Pod]] = {name: [] for name in workloads}
    strangers = []
    for manifest in world.labelled(names.PODS, meta.namespace, names.DEPLOYMENT, meta.name):
        pod = read(manifest)
        if pod.going or pod.phase == "Succeeded":
            continue
        revision_name = pod.labels.get(names.REVISION, "")
        workload: Manifest = workloads.get(revision_name, {}).get("metadata", {})
        ours = bool(workload) and pod.labels.get(names.DEPLOYMENT_UID) == (workload.get("annotations") or {}).get(
            names.DEPLOYMENT_UID
        )
        if ours and candidate and revision_name == candidate.revision:
            made = datetime.fromisoformat(workload["creationTimestamp"])
            ours = pod.created >= min(made, candidate.since.replace(microsecond=0))
        if ours:
            (lost if pod.phase == "Failed" else pods)[revision_name].append(pod)
        elif pod.phase != "Failed":
            strangers.append(pod.name)
    return pods, lost, strangers


async def _templates(
    resource: Deployment,
    versions: Mapping[str, ModelVersion],
    defaults: Defaults,
    workloads: Mapping[str, Manifest],
    records: Mapping[str, Manifest],
    world: World,
) -> Mapping[str, Manifest]:
    """In full, where something is missing or has been changed: nothing of it is kept in memory. Of a workload that
    somebody else has edited before there was a record, what it would be made of today, if it would be that revision.
    """
    templates = {}
    for arm in filter(None, (resource.status.stable, resource.status.candidate)):
        workload, record = workloads.get(arm.revision), records.get(arm.revision)
        if workload and record and digest(workload["spec"]["template"]) == recorded_digest(record):
            continue
        if record:
            meta = record["metadata"]
            whole = await world.fetch(names.CONTROLLER_REVISIONS, meta["namespace"], meta["name"])
            if whole:
                templates[arm.revision] = whole["data"]
        elif workload:
            meta = workload["metadata"]
            whole = await world.fetch(names.APPS_DEPLOYMENTS, meta["namespace"], meta["name"])
            version = versions.get(arm.model_version)
            if whole and is_edited(whole) and version and revision(version, resource.spec.serving) == arm.revision:
                templates[arm.revision] = template(resource, version, arm.revision, defaults)
            elif whole:
                templates[arm.revision] = whole["spec"]["template"]
    return templates


async def _services(resource: Deployment, world: World) -> tuple[Mapping[str, Manifest], Sequence[str]]:
    """Our Services by name, and the names that others have. Asks only for those that are not known."""
    meta = resource.metadata
    ours, taken = {}, []
    for name in service_names(meta.name):
        service = world.get(names.SERVICES, meta.namespace, name) or await world.fetch(
            names.SERVICES, meta.namespace, name
        )
        if service is None:
            continue
        adopted = (
            names.has_no_controller(service)
            and service["metadata"].get("labels", {}).get(names.DEPLOYMENT) == meta.name
        )
        if names.controlled_by(service, meta.uid) or adopted:
            ours[name] = service
        elif not _is_of_a_namesake(service, meta.name):  # that one goes with its owner, and is waited for
            taken.append(name)
    return ours, taken


def _is_of_a_namesake(service: Manifest, name: str) -> bool:
    """Whether an earlier Deployment of ours of this name has made it."""
    owner = names.controller_of(service) or {}
    return (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) == (API_VERSION, "Deployment", name)


def _measure(resource: Deployment, pods: Mapping[str, Sequence[Pod]], source: Source) -> Reading:
    key, status = Key(resource.metadata.namespace, resource.metadata.name), resource.status
    stable, candidate = status.stable, status.candidate
    if stable is None or candidate is None or candidate.leaving:
        source.forget(key)
        return Reading()
    arms: Iterable[tuple[ArmName, str]] = (("canary", candidate.revision), ("stable", stable.revision))
    return source.read(
        key,
        Asked(
            comparison=f"{stable.revision}-{candidate.revision}-{candidate.since.timestamp()}",
            pods={arm: pods.get(revision, ()) for arm, revision in arms},
            metrics={metric.name: metric.type for metric in resource.spec.monitoring.metrics},
            interval=resource.spec.monitoring.interval,
            timeout=resource.spec.serving.timeout,
            after=status.analysis.at if status.analysis else None,
        ),
    )


def _editor(manifest: Manifest) -> str:
    """Who wrote the spec, or the metadata, last: the status is written by others."""
    entries = [one for one in manifest["metadata"].get("managedFields") or () if not one.get("subresource")]
    newest: Manifest = max(entries, key=lambda one: str(one.get("time", "")), default={})
    return str(newest.get("manager", ""))[:128]
