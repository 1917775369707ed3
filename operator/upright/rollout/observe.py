"""What a plan for a Deployment depends on."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from upright.api import names
from upright.api.by_segment import by_segment
from upright.api.common import API_VERSION
from upright.api.deployment import Deployment
from upright.api.deployment_status import DeploymentStatus, Rejection
from upright.api.model_version import ModelVersion
from upright.contract import ALWAYS, Index, Key, Manifest, Reference, ResourceType, World
from upright.defaults import Defaults
from upright.pods.reading import Pod
from upright.rollout import evidence, following, memory
from upright.rollout.following import Absence, Maker
from upright.rollout.measuring import ArmName, Asked, Reading, Source
from upright.rollout.members import Lost, members
from upright.rollout.memory import Memory
from upright.rollout.modes.realtime import template
from upright.rollout.pace import hurry
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import service_names
from upright.rollout.sightings import Sightings
from upright.rollout.template import digest, is_edited, recorded_digest
from upright.rollout.verdict import is_ahead, policy

_MOST_SERVED = 8
"""Versions that are read for the workloads that name them: three at most are a Deployment's own, and anybody can label
others as such. A turn that read them all would take as long as they are many."""


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
    """Why the newest version of a followed model, which is newer than the wanted one or all there is, is not that."""
    absence: Absence | None = None
    """Why there is no version that the spec asks for."""
    maker: Maker | None = None
    """Whose run is making the version that the spec names, or makes it no more."""
    alternatives: Sequence[str] = ()
    """What there is instead of what the spec names, where there is none of that; the most alike first."""
    waiting: str | None = None
    """The newest version of a followed model, which goes out when the candidate that is under way has ended."""
    fallback: str | None = None
    """The version that last had all the traffic of a Deployment of this name, while this one has none."""
    workloads: Mapping[str, Manifest] = field(default_factory=dict)
    """Our apps/v1 Deployments, by revision; ones without an owner, too."""
    hidden: Collection[str] = ()
    """Revisions whose workload somebody has given other labels than those by which it is found and watched."""
    records: Mapping[str, Manifest] = field(default_factory=dict)
    """Our ControllerRevisions, by revision; ones without an owner, too."""
    templates: Mapping[str, Manifest] = field(default_factory=dict)
    """What the pods of a revision are made of, by revision, where its workload or record is missing or changed."""
    pods: Mapping[str, Sequence[Pod]] = field(default_factory=dict)
    """Pods that are not being deleted, of our workloads, by revision."""
    evicted: Mapping[str, Sequence[Lost]] = field(default_factory=dict)
    """Those of our workloads that their nodes have evicted, by revision."""
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """The youngest that failed as a whole, by revision."""
    strangers: Sequence[str] = ()
    """Names of a few pods that bear our label, and belong to no workload of ours."""
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of them by revision, of which they bear the labels: Services take them for pods of that workload."""
    services: Mapping[str, Manifest] = field(default_factory=dict)
    """Our Services, by name."""
    taken: Sequence[str] = ()
    """Names of Services that we would make, but that somebody else has."""
    kept: Manifest | None = None
    """Our Comparison; one without an owner, too."""
    forgotten: Sequence[Reference] = ()
    """What Deployments have left that are no more, where it is too much."""
    reading: Reading = field(default_factory=Reading)
    """What has been measured since the evidence was recorded."""
    editor: str = ""
    """The field manager that last changed the spec."""
    watched_since: datetime = ALWAYS
    """Since when somebody has watched without interruption: what happened before is not known."""

    @property
    def evidence(self) -> Mapping[str, Any] | None:
        """What was recorded of the comparison that is under way; None when there is nothing."""
        return evidence.recorded(self.kept, self.resource.status)

    @property
    def memory(self) -> Memory:
        """What is remembered of Deployments of this name."""
        return memory.recalled(self.kept)


async def observe(
    manifest: Manifest, world: World, defaults: Defaults, source: Source, sightings: Sightings
) -> Observed:
    """Gather it. Asks the API server only for what is not there as it should be.

    Raises pydantic.ValidationError for an object that this schema would not accept.
    """
    resource = Deployment.model_validate(manifest)
    meta, status = resource.metadata, resource.status
    workloads = _ours(names.APPS_DEPLOYMENTS, resource, world)
    hidden = await _hidden(names.APPS_DEPLOYMENTS, resource, workloads, world)
    workloads |= hidden
    records = _ours(names.CONTROLLER_REVISIONS, resource, world)
    records |= await _hidden(names.CONTROLLER_REVISIONS, resource, {**workloads, **records}, world)
    services, taken = await _services(resource, world)
    templates = await _templates(resource, defaults, workloads, records, world)
    # Nothing is waited for from here on: what is read is of one moment, and what is said of versions is not torn.
    kept = _kept(resource, world)
    past = memory.recalled(kept)
    rejected = [*memory.counting(status), *past.beyond(status)]
    wanted = following.wanted(resource, world, rejected)
    versions = {
        name: version
        for name in (arm.model_version for arm in (status.stable, status.candidate) if arm)
        if (version := following.known(world, meta.namespace, name))
    }
    fallback = None
    if wanted:
        versions[wanted.metadata.name] = wanted
        rejected += following.rejected_before(resource, wanted)
        if status.stable is None:
            fallback = following.served_last(resource, wanted, world, past)
    if fallback:
        versions[fallback.metadata.name] = fallback
    if status.stable is None and status.candidate is None:  # what serves all the same
        own_first = sorted(workloads.values(), key=names.has_no_controller)
        served = dict.fromkeys(str(one["metadata"]["labels"].get(names.MODEL_VERSION)) for one in own_first)
        read = ((name, following.known(world, meta.namespace, name)) for name in islice(served, _MOST_SERVED))
        versions |= {name: version for name, version in read if version}
    found = members(resource, workloads, versions, world)
    pods = sightings.dated(Key(meta.namespace, meta.name), found.pods, world.now)
    maker = following.maker(resource, world) if wanted is None else None
    absence = following.absence(resource, world, maker) if wanted is None else None
    return Observed(
        now=world.now,
        watched_since=world.watched_since(meta.namespace),
        defaults=defaults,
        resource=resource,
        wanted=wanted,
        versions=versions,
        rejected=rejected,
        passed_over=following.passed_over(resource, wanted, world, rejected),
        absence=absence,
        maker=maker,
        alternatives=following.alternatives(resource, world) if absence == "Missing" else (),
        waiting=following.waiting(resource, wanted, world, rejected),
        fallback=fallback.metadata.name if fallback else None,
        workloads=workloads,
        hidden=tuple(hidden),
        records=records,
        templates=templates,
        pods=pods,
        evicted=found.evicted,
        lost=found.lost,
        strangers=found.strangers,
        copies=found.copies,
        services=services,
        taken=taken,
        kept=kept,
        forgotten=memory.forgotten(world, meta.namespace) if status.candidate and not past.rejected else (),
        reading=_measure(resource, evidence.recorded(kept, status), pods, source, world.now),
        editor=_editor(manifest),
    )


def _left(manifest: Manifest) -> Iterable[str]:
    name = (manifest["metadata"].get("labels") or {}).get(names.DEPLOYMENT)
    return [name] if name and names.has_no_controller(manifest) and names.can_be_ours(manifest, names.REVISION) else []


NOBODYS = {
    each: Index(each, "by Deployment, owned by nobody", _left)
    for each in (names.APPS_DEPLOYMENTS, names.CONTROLLER_REVISIONS)
}
"""Workloads and records that have lost their owner, by the Deployment that their label names."""


def _ours(type: ResourceType, resource: Deployment, world: World) -> dict[str, Manifest]:
    """What this Deployment owns, and what bears its label and is owned by nobody, by revision."""
    meta = resource.metadata
    found = [
        *world.owned(type, meta.namespace, meta.uid),
        *world.indexed(NOBODYS[type], meta.namespace, meta.name),
    ]
    return {
        str(revision): one
        for one in reversed(found)
        if (revision := one["metadata"].get("labels", {}).get(names.REVISION))
        and one["metadata"]["name"] == names.object_name(meta.name, str(revision))  # and no copy of it
        and _is_there(one, str(revision), resource.status)
    }


def _is_there(one: Manifest, revision_name: str, status: DeploymentStatus) -> bool:
    """Whether it counts. What is being deleted does until it is gone, which somebody's finalizer may put off for ever:
    its pods answer meanwhile. Not where nothing is recorded of it, nor where it was going before the candidate began:
    then it is of an earlier attempt.
    """
    going, candidate = one["metadata"].get("deletionTimestamp"), status.candidate
    if not going:
        return True
    if candidate and candidate.revision == revision_name:
        return datetime.fromisoformat(going) >= candidate.since.replace(microsecond=0)
    return any(arm and arm.revision == revision_name for arm in (status.stable, status.stand_in))


async def _hidden(
    type: ResourceType, resource: Deployment, known: Mapping[str, Manifest], world: World
) -> dict[str, Manifest]:
    """What this Deployment owns of what is recorded, but not `known`: before its absence decides anything, the API
    server is asked. Labels by which objects are found and watched are for anybody to change.
    """
    meta, status = resource.metadata, resource.status
    found = {}
    for arm in filter(None, (status.stable, status.candidate)):
        if arm.revision not in known:
            one = await world.fetch(type, meta.namespace, names.object_name(meta.name, arm.revision))
            if one and names.controlled_by(one, meta.namespace, meta.uid) and _is_there(one, arm.revision, status):
                found[arm.revision] = one
    return found


async def _templates(
    resource: Deployment,
    defaults: Defaults,
    workloads: Mapping[str, Manifest],
    records: Mapping[str, Manifest],
    world: World,
) -> Mapping[str, Manifest]:
    """In full, where something is missing or has been changed: nothing of it is kept in memory. Of a workload that
    somebody else has edited before there was a record, what it would be made of today, if it would be that revision.
    Of a workload that is being deleted, too: it is made again when it is gone.
    """
    templates = {}
    for arm in filter(None, (resource.status.stable, resource.status.candidate)):
        workload, record = workloads.get(arm.revision), records.get(arm.revision)
        right = workload and record and digest(workload["spec"]["template"]) == recorded_digest(record)
        if workload and right and not names.is_going(workload):
            continue
        if record:
            meta = record["metadata"]
            whole = await world.fetch(names.CONTROLLER_REVISIONS, meta["namespace"], meta["name"])
            if whole:
                templates[arm.revision] = whole["data"]
        elif workload:
            meta = workload["metadata"]
            whole = await world.fetch(names.APPS_DEPLOYMENTS, meta["namespace"], meta["name"])
            version = following.known(world, meta["namespace"], arm.model_version)
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
        labels = service["metadata"].get("labels") or {}
        # of one that another tool manages nothing would be written: it would lead to a version whose pods are gone
        of_ours = (labels.get(names.DEPLOYMENT), labels.get(names.MANAGED_BY)) == (meta.name, "upright")
        adopted = names.has_no_controller(service) and of_ours
        if names.controlled_by(service, meta.namespace, meta.uid) or adopted:
            ours[name] = service
        elif not _is_of_a_namesake(service, meta.name):  # that one goes with its owner, and is waited for
            taken.append(name)
    return ours, taken


def _kept(resource: Deployment, world: World) -> Manifest | None:
    meta = resource.metadata
    kept = world.get(names.COMPARISONS, meta.namespace, meta.name)
    ours = kept and (names.controlled_by(kept, meta.namespace, meta.uid) or names.has_no_controller(kept))
    return kept if ours else None


def _is_of_a_namesake(service: Manifest, name: str) -> bool:
    """Whether an earlier Deployment of ours of this name has made it."""
    owner = names.controller_of(service) or {}
    return (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) == (API_VERSION, "Deployment", name)


def _measure(
    resource: Deployment,
    recorded: Mapping[str, Any] | None,
    pods: Mapping[str, Sequence[Pod]],
    source: Source,
    now: datetime,
) -> Reading:
    key, status = Key(resource.metadata.namespace, resource.metadata.name), resource.status
    stable, candidate, comparison = status.stable, status.candidate, evidence.compared(status.stable, status.candidate)
    if stable is None or candidate is None or comparison is None:
        source.forget(key)
        return Reading()
    after, promise = evidence.until(recorded), by_segment(policy(resource.spec))
    arms: Iterable[tuple[ArmName, str]] = (("canary", candidate.revision), ("stable", stable.revision))
    return source.read(
        key,
        Asked(
            comparison=comparison,
            policy=promise,
            pods={arm: pods.get(revision, ()) for arm, revision in arms},
            hurry=hurry(candidate, status.analysis, resource.spec, now),
            timeout=resource.spec.serving.timeout,
            port=resource.spec.monitoring.pods.port,
            path=resource.spec.monitoring.pods.path,
            prometheus=resource.spec.monitoring.measured_by,
            versions={"canary": candidate.model_version, "stable": stable.model_version},
            after=None if is_ahead(after, now) else after,
            resumed=status.analysis is not None and status.analysis.at is not None,
        ),
    )


def _editor(manifest: Manifest) -> str:
    """Who wrote the spec, or the metadata, last: the status is written by others."""
    entries = [one for one in manifest["metadata"].get("managedFields") or () if not one.get("subresource")]
    newest: Manifest = max(entries, key=lambda one: str(one.get("time", "")), default={})
    return str(newest.get("manager", ""))[:128]
