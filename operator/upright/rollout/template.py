"""What a revision's pods are made of, kept in a ControllerRevision as StatefulSets do it.

A workload that is lost is made again from there, whatever the spec says by then, and one that somebody has changed is
put back.
"""

from collections.abc import Mapping
from typing import Any

from upright.api import names
from upright.api.deployment import Deployment
from upright.contract import Manifest


def record(owner: Deployment, revision: str, template: Manifest) -> Manifest:
    """The record of a template, as the API server has filled it in."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": names.object_name(owner.metadata.name, revision),
            "namespace": owner.metadata.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "upright",
                names.DEPLOYMENT: owner.metadata.name,
                names.REVISION: revision,
            },
            "annotations": {names.TEMPLATE_DIGEST: digest(template)},
            "ownerReferences": [names.owner_reference("Deployment", owner.metadata)],
        },
        "revision": 1,
        "data": template,
    }


DIGESTED = ("spec.template.metadata.labels", "spec.template.spec")
"""Of a workload, for the stores."""


def digest(template: Manifest) -> str:
    """Stands for a template but for its annotations, which `kubectl rollout restart` and others may add to. What the
    stores keep of one, digests of its labels and its spec, gives the same.
    """
    parts = (template.get("metadata", {}).get("labels", {}), template.get("spec", {}))
    return "-".join(part if isinstance(part, str) else names.short_hash(part) for part in parts)


def recorded_digest(record: Manifest) -> str:
    """The digest of the template that a record holds."""
    annotations: Mapping[str, str] = record["metadata"].get("annotations") or {}
    return annotations.get(names.TEMPLATE_DIGEST, "")


def is_edited(workload: Manifest) -> bool:
    """Whether somebody else has written to the template of a workload, but for its annotations: `kubectl rollout
    restart` does that.
    """
    for writer in workload["metadata"].get("managedFields") or ():
        written = writer.get("fieldsV1", {}).get("f:spec", {}).get("f:template", {})
        others = {*written, *written.get("f:metadata", {})} - {"f:metadata", "f:annotations"}
        if others and writer.get("manager") != names.FIELD_MANAGER:
            return True
    return False


def restored(template: Manifest, live: Manifest) -> dict[str, Any]:
    """The recorded template with the annotations that pods have now."""
    metadata = {**template["metadata"], "annotations": live.get("metadata", {}).get("annotations", {})}
    return {**template, "metadata": metadata}
