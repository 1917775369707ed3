"""Which version does a Deployment ask for? What it follows, what is under way, and what counts as rejected."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, pairwise
from typing import Literal

from pydantic import ValidationError

from upright.api import names
from upright.api.comparison import LastStable
from upright.api.deployment import Deployment
from upright.api.deployment_status import Arm, Rejection
from upright.api.indexes import (
    EVERY,
    TRAINING_JOBS_BY_RUN,
    UNDER_WAY,
    VERSIONS_BY_MODEL,
    VERSIONS_BY_NAME,
    VERSIONS_BY_SERVED,
    Standing,
    newest_first,
    phases_of_runs,
)
from upright.api.model_version import ModelVersion
from upright.contract import ALWAYS, Manifest, World
from upright.rollout.compatibility import incompatible, not_split_by
from upright.rollout.memory import Memory, counting
from upright.rollout.revision import revision

_LOOKED_THROUGH = 200

Absence = Literal["Missing", "Deleted", "Going", "Unfit"]
"""There is none of what the spec names; or no more, although it serves or a run made it; it is being deleted; or it
cannot be read, or none of the model can be served and was not rejected."""


def wanted(resource: Deployment, world: World, rejected: Sequence[Rejection]) -> ModelVersion | None:
    """The version that is asked for: the named one, or the newest that can be served and was not rejected. Somebody who
    asks for another try means the newest, rejected or not.
    """
    spec = resource.spec
    if spec.model_version:
        named, stable = _version(world, resource.metadata.namespace, spec.model_version), resource.status.stable
        return named or (_serving(resource, world) if stable and stable.model_version == spec.model_version else None)
    newest = _newest(resource, world, rejected)
    return _under_way(resource, world, newest) or newest


def waiting(
    resource: Deployment, wanted: ModelVersion | None, world: World, rejected: Sequence[Rejection]
) -> str | None:
    """The newest version of a followed model, where the wanted one is another, which is under way and older."""
    if resource.spec.model_version or wanted is None or resource.status.candidate is None:
        return None
    newest = _newest(resource, world, rejected)
    if newest is None or newest.metadata.name == wanted.metadata.name:
        return None
    first = _newer_of(wanted.metadata.name, newest.metadata.name, wanted.spec.model, world, wanted.metadata.namespace)
    return first if first != wanted.metadata.name else None


def _newer_of(one: str, other: str, model: str, world: World, namespace: str) -> str | None:
    order = (each.name for each, _ in newest_first(world, namespace, model))
    return next((name for name in order if name in (one, other)), None)


def _newest(resource: Deployment, world: World, rejected: Sequence[Rejection]) -> ModelVersion | None:
    """The version of a followed model that would go out now, were none under way."""
    spec, namespace, stable = resource.spec, resource.metadata.namespace, resource.status.stable
    if spec.latest is None:
        return None
    gone = stable is not None and known(world, namespace, stable.model_version) is None
    rejects = False
    for one, at in newest_first(world, namespace, spec.latest.model):
        if stable and one.name == stable.model_version:
            break  # never back to an older one by itself
        version = _version(world, namespace, one.name) if one.ready else None
        if version is None:
            if stable and _once_rejected(resource, one, world, rejected):
                break
            continue
        if stable and gone and at <= _was_newest(resource, stable):
            return None  # the one that serves is no more, and this one may be older
        if resource.wants_retry or _rejection(resource, version, rejected) is None:
            return version
        rejects = True
        if stable:
            break  # what was followed by a worse one is tried by whoever names it, and not on clients by itself
    serving = _serving(resource, world)
    # One of another model is not what is asked for; but it is what is gone back to when all that is was rejected.
    return serving if serving and (rejects or serving.spec.model == spec.latest.model) else None


def _was_newest(resource: Deployment, stable: Arm) -> datetime:
    """When the stable version was the newest one: as its rollout began, as far as that is remembered."""
    began = (
        one.from_ for one in resource.status.history if (one.outcome, one.revision) == ("Promoted", stable.revision)
    )
    return next(began, stable.since)


def _serving(resource: Deployment, world: World) -> ModelVersion | None:
    """The stable version. One that is being deleted goes on as it serves, and not with another serving spec."""
    arm, namespace = resource.status.stable, resource.metadata.namespace
    found = known(world, namespace, arm.model_version) if arm else None
    if arm is None or found is None or revision(found, resource.spec.serving) == arm.revision:
        return found
    return _version(world, namespace, arm.model_version)


def passed_over(
    resource: Deployment, wanted: ModelVersion | None, world: World, rejected: Sequence[Rejection]
) -> Rejection | None:
    """The rejection of the newest version of a followed model that is Ready, or that was rejected and is not any more,
    unless that is the wanted one.
    """
    spec = resource.spec
    if spec.model_version or spec.latest is None:
        return None
    namespace = resource.metadata.namespace
    for one, _ in newest_first(world, namespace, spec.latest.model):
        if wanted and one.name == wanted.metadata.name:
            break
        if one.ready and (version := _version(world, namespace, one.name)):
            return _rejection(resource, version, rejected)
        if wanted and (rejection := _once_rejected(resource, one, world, rejected)):
            return rejection
    return None


def _once_rejected(
    resource: Deployment, one: Standing, world: World, rejected: Sequence[Rejection]
) -> Rejection | None:
    """Why a version that is not Ready was rejected, as whatever it was served. One that was made anew under the name of
    a rejected one is another; one that was restored is the same. Only those are read of which that may be so: there may
    be as many others as somebody likes, and as large.
    """
    own = [each for each in rejected if each.model_version == one.name]
    if not own and not one.rejected:
        return None
    there = known(world, resource.metadata.namespace, one.name)
    if there is None:
        return next(iter(own), None)
    mine, made = revision(there, resource.spec.serving), there.metadata.creation_timestamp
    # a rejection does not have the digest alone, which only as part of what it was served as can be told from another
    own = [each for each in own if made <= each.at or each.revision == mine]
    return next(iter((*own, *rejected_before(resource, there))), None)


def _under_way(resource: Deployment, world: World, newest: ModelVersion | None) -> ModelVersion | None:
    """The candidate of a followed model: it goes on to its end whatever is made meanwhile, be it that its pods still
    start. Else versions that come faster than pods start, or than the steps, would end each other for ever. One that
    something holds gives way, but to nothing older, nor to what could not go out itself. One whose artifact is away is
    held, as a named one is, while another serves.
    """
    spec, status, arm = resource.spec, resource.status, resource.status.candidate
    if arm is None or arm.leaving or spec.latest is None or resource.wants_retry:
        return None
    namespace, model, name = resource.metadata.namespace, spec.latest.model, arm.model_version
    version = _version(world, namespace, name)
    if version is None or version.spec.model != model:
        return None
    ready = version.status.phase == "Ready"
    if not ready and (status.stable is None or version.status.phase == "NotAllowed"):
        return None
    held = not ready or status.held is not None
    if held and newest and _may_go_out(newest, resource, world):
        other = newest.metadata.name
        if other == name or _newer_of(name, other, model, world, namespace) == other:
            return None
    return version if revision(version, spec.serving) == arm.revision else None


def _may_go_out(version: ModelVersion, resource: Deployment, world: World) -> bool:
    """Whether nothing in the spec or in the contract with its clients is in its way."""
    spec, stable = resource.spec, resource.status.stable
    before = known(world, resource.metadata.namespace, stable.model_version) if stable else None
    breaks = before is not None and spec.rollout.contract != "Any" and bool(incompatible(before, version))
    return not (spec.paused or spec.replicas == 0 or breaks or not_split_by(version, spec))


def _rejection(resource: Deployment, version: ModelVersion, rejected: Sequence[Rejection]) -> Rejection | None:
    """Why a version, as it would be served now, counts as rejected; None when it does not."""
    mine = revision(version, resource.spec.serving)
    return next((one for one in (*rejected, *rejected_before(resource, version)) if one.revision == mine), None)


def rejected_before(resource: Deployment, version: ModelVersion) -> Sequence[Rejection]:
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


def served_last(resource: Deployment, wanted: ModelVersion, world: World, memory: Memory) -> ModelVersion | None:
    """A Deployment that was made anew, with a version that had been rejected: which one served before? None when that
    one, as it would be served now, was rejected, too: it may be what is served that is wrong, or how, and then no other
    model is any better.
    """
    mine, before = revision(wanted, resource.spec.serving), memory.beyond(resource.status)
    if not any(one.revision == mine for one in (*before, *rejected_before(resource, wanted))):
        return None
    namespace, name = resource.metadata.namespace, resource.metadata.name
    last, since = None, ALWAYS
    for one in reversed(world.indexed(VERSIONS_BY_SERVED, namespace, name)):
        if one.last <= since:
            break  # neither it nor any that is left was served later
        if one.since[name] > since and (version := _version(world, namespace, one.name)):
            last, since = version, one.since[name]
    if memory.stable and memory.stable.since > since:  # made anew, versions do not tell whom they have served
        last = _same(memory.stable, world, namespace) or last
    return None if last is None or _rejection(resource, last, (*counting(resource.status), *before)) else last


def _same(stable: LastStable, world: World, namespace: str) -> ModelVersion | None:
    """The version that is remembered, if it is there, that very one, and can be served."""
    version = _version(world, namespace, stable.model_version)
    same = version is not None and version.spec.artifact.digest == stable.digest
    return version if version and same and version.status.phase == "Ready" else None


@dataclass(frozen=True)
class Maker:
    """The TrainingJob that lists the run of a version."""

    job: str
    phase: str
    """Of the run."""

    @property
    def goes_on(self) -> bool:
        return self.phase in UNDER_WAY

    @property
    def gave_up(self) -> bool:
        """No run makes the version, for a TrainingJob uses no number twice, unless it is deleted and made again."""
        return self.phase in ("Failed", "Refused")


def absence(resource: Deployment, world: World, making: Maker | None) -> Absence:
    """Why there is no version that the spec asks for, when there is none. `making`: who lists its run."""
    spec, namespace = resource.spec, resource.metadata.namespace
    if spec.latest:
        return "Unfit" if world.indexed(VERSIONS_BY_MODEL, namespace, spec.latest.model) else "Missing"
    manifest = world.get(names.MODEL_VERSIONS, namespace, spec.model_version or "")
    if manifest is not None:
        return "Going" if names.is_going(manifest) else "Unfit"
    stable = resource.status.stable
    was_there = making.phase == "Succeeded" if making else stable and stable.model_version == spec.model_version
    return "Deleted" if was_there else "Missing"


def maker(resource: Deployment, world: World) -> Maker | None:
    """Whose run is, or was, to make the named version, which is not there; None when no TrainingJob lists it."""
    namespace, name = resource.metadata.namespace, resource.spec.model_version or ""
    if world.has(names.MODEL_VERSIONS, namespace, name):
        return None
    jobs = world.indexed(TRAINING_JOBS_BY_RUN, namespace, name)
    return next((Maker(job["metadata"]["name"], phases_of_runs(job)[name]) for job in jobs), None)


def alternatives(resource: Deployment, world: World) -> Sequence[str]:
    """What a typo may have been meant for, where there is none of what the spec names: the names of what there is, the
    most alike first. Of a namespace with thousands of versions only some are looked through.
    """
    spec, namespace = resource.spec, resource.metadata.namespace
    asked = spec.latest.model if spec.latest else spec.model_version or ""
    there = islice(world.indexed(VERSIONS_BY_NAME, namespace, EVERY), _LOOKED_THROUGH)
    found = {model if spec.latest else name for name, model in there} - {""}
    return sorted(found, key=lambda name: (-_likeness(asked, name), name))


def _likeness(one: str, other: str) -> float:
    """The share of pairs of neighbouring letters that two names have in common, from 0 to 1 (Dice's coefficient): its
    time is linear in their lengths, which are a tenant's to choose.
    """
    pairs, others = (Counter(pairwise(name)) for name in (one, other))
    return 2 * (pairs & others).total() / max(1, pairs.total() + others.total())


def _version(world: World, namespace: str, name: str) -> ModelVersion | None:
    """The version, to be brought out: one that is being deleted counts as gone."""
    manifest = world.get(names.MODEL_VERSIONS, namespace, name)
    return _readable(manifest) if manifest and not names.is_going(manifest) else None


def known(world: World, namespace: str, name: str) -> ModelVersion | None:
    """The version, also while it is being deleted."""
    manifest = world.get(names.MODEL_VERSIONS, namespace, name)
    return _readable(manifest) if manifest else None


def _readable(manifest: Manifest) -> ModelVersion | None:
    """The version; None when it was written for a newer Upright. That is its own trouble, and told on it."""
    try:
        return ModelVersion.model_validate(manifest)
    except ValidationError:
        return None
