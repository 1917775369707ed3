"""The objects that make a decided state so: pods for each version, Services, and nothing of any other revision."""

from collections.abc import Sequence
from dataclasses import dataclass

from upright.api import names
from upright.contract import Manifest, Reference, Scale
from upright.rollout.draft import Draft
from upright.rollout.manifests import revision_deployment, services
from upright.rollout.observe import Observed


@dataclass(frozen=True)
class Objects:
    """What is to be done about objects."""

    create: Sequence[Manifest]
    apply: Sequence[Manifest]
    scale: Sequence[Scale]
    delete: Sequence[Reference]


def objects(observed: Observed, draft: Draft) -> Objects:
    """What brings the world to the drafted state."""
    resource, wanted = observed.resource, draft.replicas()
    create, scale = [], []
    for arm in filter(None, (draft.stable, draft.candidate)):
        owned, replicas = observed.revisions.get(arm.revision), wanted[arm.revision]
        version = observed.versions.get(arm.model_version)
        if owned is None and version:
            create.append(revision_deployment(resource, version, arm.revision, replicas, observed.defaults))
        elif owned is not None and owned["spec"].get("replicas", 1) != replicas:
            scale.append(Scale(_reference(owned), replicas))
    stable, candidate = (arm.revision if arm else None for arm in (draft.stable, draft.candidate))
    return Objects(
        create=create,
        apply=[
            service
            for service in services(resource, stable, candidate)
            if service["metadata"]["name"] not in observed.taken
        ],
        scale=scale,
        delete=[
            _reference(owned)
            for revision, owned in observed.revisions.items()
            if revision not in wanted and not owned["metadata"].get("deletionTimestamp")
        ],
    )


def _reference(owned: Manifest) -> Reference:
    meta = owned["metadata"]
    return Reference(names.APPS_DEPLOYMENTS, meta["namespace"], meta["name"], meta["uid"])
