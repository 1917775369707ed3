"""What a plan for a ModelVersion depends on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from upright.api import names
from upright.api.indexes import DEPLOYMENTS_BY_VERSION, claim_in
from upright.api.model_version import ModelVersion
from upright.contract import Manifest, World
from upright.defaults import Defaults
from upright.pods.reading import Pod, read
from upright.versions.deployments import Use, use


@dataclass(frozen=True)
class Observed:
    """A ModelVersion and those who serve it, at one moment."""

    now: datetime
    defaults: Defaults
    resource: ModelVersion
    claim: str
    """The claim that holds the artifact."""
    claim_exists: bool
    pods: Sequence[Pod]
    """The pods that serve it. Those made before it served a namesake that is no more."""
    uses: Sequence[Use]
    """What Deployments say of it, by their names."""


async def observe(manifest: Manifest, world: World, defaults: Defaults) -> Observed:
    """Gather it, without a request. Raises pydantic.ValidationError for an object that this schema would not accept."""
    resource = ModelVersion.model_validate(manifest)
    meta = resource.metadata
    claim = claim_in(resource.spec.artifact.uri)
    pods = [
        read(pod)
        for pod in world.labelled(names.PODS, meta.namespace, names.MODEL_VERSION, meta.name)
        if names.DEPLOYMENT in pod["metadata"]["labels"]
    ]
    return Observed(
        now=world.now,
        defaults=defaults,
        resource=resource,
        claim=claim,
        claim_exists=world.get(names.CLAIMS, meta.namespace, claim) is not None,
        pods=[pod for pod in pods if pod.created >= meta.creation_timestamp],
        uses=[use(each, meta.name) for each in world.indexed(DEPLOYMENTS_BY_VERSION, meta.namespace, meta.name)],
    )
