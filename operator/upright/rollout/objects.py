"""The objects that make a decided state so: pods for each version, Services, and nothing of any other revision."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from upright.api import names
from upright.api.deployment_status import Arm
from upright.contract import Correction, Event, Manifest, Reference, ResourceType
from upright.rollout.draft import Draft
from upright.rollout.modes.realtime import FOLLOWING, template, workload
from upright.rollout.observe import Observed
from upright.rollout.revision import revision
from upright.rollout.routing.replicas import services
from upright.rollout.template import digest, record, recorded_digest, restored


@dataclass
class Objects:
    """What is to be done about objects."""

    create: list[Manifest] = field(default_factory=list)
    apply: Sequence[Manifest] = ()
    scale: list[Correction] = field(default_factory=list)
    correct: list[Correction] = field(default_factory=list)
    delete: list[Reference] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


def objects(observed: Observed, draft: Draft) -> Objects:
    """What brings the world to the drafted state."""
    resource, made = observed.resource, Objects()
    sizes = {arm.revision: size for arm, size in _sizes(draft)}
    for arm, size in _sizes(draft):
        owned = observed.workloads.get(arm.revision)
        if owned is None:
            _make(observed, arm.revision, arm.model_version, size, made)
        elif names.is_going(owned):  # nothing heeds a change of it; who makes it finds out who holds it
            if pods := observed.templates.get(arm.revision):
                made.create.append(workload(resource, arm.revision, pods, size))
        else:
            _keep(observed, arm.revision, owned, size, arm.replicas, made)
    stable, candidate = (arm.revision if arm else None for arm in (draft.stable, draft.candidate))
    serving = {*sizes, *([draft.stand_in.revision] if draft.stand_in else [])}
    made.apply = [
        service
        for service in services(
            resource,
            stable,
            candidate,
            observed.services,
            alone=not (stable and candidate) and draft.stand_in is None,
            # pods of the stable version that are not there just now come again, and may answer
            grpc=not observed.pods.get(stable or "")
            or any(pod.grpc for each in observed.pods.values() for pod in each),
        )
        if service["metadata"]["name"] not in observed.taken
    ]
    made.delete = [
        _reference(kind, owned)
        for kind, all_owned in (
            (names.APPS_DEPLOYMENTS, observed.workloads),
            (names.CONTROLLER_REVISIONS, observed.records),
        )
        for revision, owned in all_owned.items()
        if revision not in serving
    ]
    return made


def _sizes(draft: Draft) -> list[tuple[Arm, int]]:
    arms = ((draft.stable, draft.shape.stable), (draft.candidate, draft.shape.candidate))
    return [(arm, size) for arm, size in arms if arm]


def is_lost(observed: Observed, revision_name: str, model_version: str) -> bool:
    """Whether the pods of a revision cannot be made again as they were: no record, and another spec."""
    version = observed.versions.get(model_version)
    return (
        revision_name not in observed.workloads
        and revision_name not in observed.templates
        and (version is None or revision(version, observed.resource.spec.serving) != revision_name)
    )


def _make(observed: Observed, revision_name: str, model_version: str, size: int, made: Objects) -> None:
    """From the record if there is one; else it is new."""
    resource, recorded = observed.resource, observed.templates.get(revision_name)
    version = observed.versions.get(model_version)
    if recorded:
        said = f"The workload of {model_version} was gone; it is made again as it was."
        made.events.append(Event("Warning", "Restored", "Restore", said))
        made.create.append(workload(resource, revision_name, recorded, size))
    elif version:
        pods = template(resource, version, revision_name, observed.defaults)
        made.create.append(workload(resource, revision_name, pods, size))


def _keep(
    observed: Observed, revision_name: str, owned: Manifest, size: int, recorded_size: int, made: Objects
) -> None:
    """As big as it should be, ours, and made of what was recorded."""
    target, name = _reference(names.APPS_DEPLOYMENTS, owned), owned["metadata"]["name"]
    if revision_name in observed.hidden:  # who makes it finds it there, and gives it back its labels
        pods = observed.templates.get(revision_name, owned["spec"]["template"])
        made.create.append(workload(observed.resource, revision_name, pods, size))
    kept = observed.records.get(revision_name)
    found = owned["spec"].get("replicas", 1)
    if found != size:
        by_hand = Event("Warning", "Restored", "Restore", f"{name} had {found} replicas, and has {size} again.")
        made.scale.append(Correction(target, "/spec/replicas", size, by_hand if recorded_size == size else None))
    if owned["spec"].get("paused"):  # its pods would go on as they are, whatever its template is
        said = (
            f"{name} was paused, so that its pods did not follow its template, and is no more. "
            f"Set spec.paused of Deployment {observed.resource.metadata.name} instead."
        )
        goes_on = Event("Warning", "Restored", "Restore", said)
        made.correct.append(Correction(target, "/spec/paused", False, goes_on))
    for how, right in FOLLOWING.items():  # by `Recreate` all pods would go at once, be it for a correction of ours
        if owned["spec"].get(how, right) != right:
            said = f"{name} had another spec.{how}, by which its pods follow its template; it is put back."
            made.correct.append(
                Correction(target, f"/spec/{how}", right, Event("Warning", "Restored", "Restore", said))
            )
    for kind, one in ((names.APPS_DEPLOYMENTS, owned), (names.CONTROLLER_REVISIONS, kept)):
        if one and names.has_no_controller(one):
            owners = names.taken_up_by(names.owner_reference("Deployment", observed.resource.metadata), one)
            taken_up = Event("Normal", "TakenUp", "Restore", f"{kind.kind} {name} had no owner, and is taken up.")
            made.correct.append(Correction(_reference(kind, one), "/metadata/ownerReferences", owners, taken_up))
    full = observed.templates.get(revision_name)
    if full is None:
        return
    right = recorded_digest(kept) if kept else digest(full)
    if digest(owned["spec"]["template"]) == right:
        if kept is None:
            made.create.append(record(observed.resource, revision_name, full))
    else:
        changed = Event(
            "Warning", "Restored", "Restore", f"The pod template of {name} was changed by hand; it is put back."
        )
        made.correct.append(Correction(target, "/spec/template", restored(full, owned["spec"]["template"]), changed))


def _reference(of: ResourceType, owned: Manifest) -> Reference:
    meta = owned["metadata"]
    return Reference(of, meta["namespace"], meta["name"], meta["uid"])
