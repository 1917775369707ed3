"""What a plan for a ModelVersion depends on."""

from collections.abc import Sequence
from dataclasses import dataclass

from upright.api import names
from upright.api.deployment import DeploymentStatus
from upright.api.model_version import ModelVersion
from upright.contract import Manifest, World
from upright.defaults import Defaults


@dataclass(frozen=True)
class Observed:
    """A ModelVersion and those who serve it, at one moment."""

    defaults: Defaults
    resource: ModelVersion
    pods: Sequence[Manifest]
    """The pods that serve it."""
    used_by: Sequence[str]
    """The Deployments in which it is stable or candidate, as NAMESPACE/NAME."""


async def observe(manifest: Manifest, world: World, defaults: Defaults) -> Observed:
    """Gather it, without a request. Raises pydantic.ValidationError for an object that this schema would not accept."""
    resource = ModelVersion.model_validate(manifest)
    namespace, name = resource.metadata.namespace, resource.metadata.name
    return Observed(
        defaults=defaults,
        resource=resource,
        pods=[
            pod
            for pod in world.labelled(names.PODS, namespace, names.MODEL_VERSION, name)
            if names.DEPLOYMENT in pod["metadata"]["labels"]
        ],
        used_by=[
            f"{namespace}/{deployment['metadata']['name']}"
            for deployment in world.all(names.DEPLOYMENTS, namespace)
            if _serves(deployment, name)
        ],
    )


def _serves(deployment: Manifest, version: str) -> bool:
    status = DeploymentStatus.model_validate(deployment.get("status", {}))
    return any(arm is not None and arm.model_version == version for arm in (status.stable, status.candidate))
