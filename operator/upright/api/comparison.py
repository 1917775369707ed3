"""Comparison: the evidence about a candidate, as the operator keeps it for itself.

An object of its own beside the Deployment, whose status is for people: it has the Deployment's name, is made with the
first look, and is gone when the rollout has ended. It is no ConfigMap: the operator would need the right to write those
of everybody, and everybody who may edit a namespace could write evidence.
"""

from pydantic import Field

from upright.api.common import AnyObject, Resource
from upright.api.schema import Column, Definition


class ComparisonSpec(Resource):
    """What is compared, and what is known of it."""

    of: str = Field(max_length=128, description="The revisions of both versions, and since when the second goes out.")
    state: AnyObject = Field(description="The evidence so far, for the next look.")


DEFINITION = Definition(
    kind="Comparison",
    plural="comparisons",
    short_names=(),
    spec=ComparisonSpec,
    status=None,
    description="The evidence about a version that is going out, by which the operator goes on after a restart. It is "
    "the operator's own: what people read of it is in status.analysis of the Deployment of this name.",
    columns=(Column("Compares", ".spec.of"), Column("Age", ".metadata.creationTimestamp", type="date")),
    categories=(),
)
