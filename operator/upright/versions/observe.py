"""What a plan for a ModelVersion depends on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from upright.api import names
from upright.api.indexes import claim_in, versions_met
from upright.api.model_version import ModelVersion
from upright.contract import Index, Manifest, World
from upright.defaults import Defaults
from upright.versions.deployments import Use, uses_of
from upright.versions.inspection import Witness, witness


def version_served(pod: Manifest) -> Iterable[str]:
    """The version that a pod of a Deployment serves. One that its workload has not made only bears the labels of such:
    whoever copies them is no witness.
    """
    labels = pod["metadata"].get("labels") or {}
    serves = names.DEPLOYMENT in labels and names.MODEL_VERSION in labels
    made = names.controller_of(pod) is not None and names.is_of_workload(pod)
    return [labels[names.MODEL_VERSION]] if serves and made else []


# A version may have thousands of each.
USES = Index(names.DEPLOYMENTS, "uses, by version", versions_met, reads=uses_of)
WITNESSES = Index(names.PODS, "by version", version_served, reads=witness)


@dataclass(frozen=True)
class Observed:
    """A ModelVersion and those who serve it, at one moment."""

    now: datetime
    defaults: Defaults
    resource: ModelVersion
    claim: str
    """The claim that holds the artifact."""
    claim_exists: bool
    """A claim that is being deleted takes no more pods."""
    pods: Sequence[Witness]
    """The pods of these Deployments that serve it. Those made before it served a namesake that is no more."""
    uses: Sequence[Use]
    """What Deployments say of it, by their names."""


def claim_exists(world: World, namespace: str, name: str) -> bool:
    claim = world.get(names.CLAIMS, namespace, name)
    return claim is not None and not names.is_going(claim)


async def observe(manifest: Manifest, world: World, defaults: Defaults) -> Observed:
    """Gather it, without a request. Raises pydantic.ValidationError for an object that this schema would not accept."""
    resource = ModelVersion.model_validate(manifest)
    meta = resource.metadata
    claim = claim_in(resource.spec.artifact.uri)
    uses = [uses[meta.name] for uses in world.indexed(USES, meta.namespace, meta.name)]
    users = {use.deployment for use in uses}
    return Observed(
        now=world.now,
        defaults=defaults,
        resource=resource,
        claim=claim,
        claim_exists=claim_exists(world, meta.namespace, claim),
        pods=[
            pod
            for pod in world.indexed(WITNESSES, meta.namespace, meta.name)
            if pod.deployment in users and pod.created >= meta.creation_timestamp
        ],
        uses=uses,
    )
