"""What a pod is made of, as one short hash: a change of it goes out as a canary."""

from upright.api.deployment import Serving
from upright.api.model_version import ModelVersion
from upright.api.names import short_hash


def revision(version: ModelVersion, serving: Serving) -> str:
    """The revision that serves a version so.

    Only what the user has said is in it, not the operator's defaults: an upgrade of the operator rolls nothing out.
    """
    return short_hash(
        {
            "version": version.metadata.name,
            "digest": version.spec.artifact.digest,
            "serving": serving.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }
    )
