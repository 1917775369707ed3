"""Comparison: what the operator keeps of a Deployment for itself.

An object of its own beside the Deployment, whose status is for people. It has the Deployment's name, holds the evidence
about a candidate from the first look on, and is gone when the rollout has ended; unless something was rejected: that
stays in it, and then it has no owner, so that it outlives the Deployment. It is no ConfigMap: the operator would need
the right to write those of everybody, and everybody who may edit a namespace could write evidence, or what counts as
rejected.
"""

from datetime import datetime

from pydantic import Field

from upright.api.common import AnyObject, Digest, Resource
from upright.api.schema import Column, Definition

MOST_REJECTED = 64
LONGEST_MESSAGE = 512


class Rejected(Resource):
    """A revision that is not tried again by itself."""

    model_version: str = Field(max_length=63, description="The ModelVersion.")
    revision: str = Field(max_length=63, description="The revision.")
    at: datetime = Field(description="When it was rejected.")
    metric: str = Field("", max_length=256, description="The metric that condemned it; empty when none did.")
    message: str = Field(max_length=LONGEST_MESSAGE, description="Why, in a sentence.")


class LastStable(Resource):
    """The version that had all the traffic last."""

    model_version: str = Field(max_length=63, description="The ModelVersion.")
    digest: Digest = Field(description="Digest of its artifact: a namesake with another one is another version.")
    revision: str = Field(max_length=63, description="The revision.")
    since: datetime = Field(description="Since when.")


class ComparisonSpec(Resource):
    """What is compared, what is known of it, and what came of earlier ones."""

    of: str = Field(
        max_length=128,
        description="The revisions of both versions, and since when the second goes out; empty when none does.",
    )
    state: AnyObject = Field(description="The evidence so far, for the next look.")
    rejected: list[Rejected] = Field(
        [],
        max_length=MOST_REJECTED,
        description="Revisions that a Deployment of this name does not try by itself, newest first; also one that is "
        "made anew, with its versions. While there are any, the object has no owner.",
    )
    stable: LastStable | None = Field(
        None, description="What such a Deployment serves instead; known where something was rejected."
    )


DEFINITION = Definition(
    kind="Comparison",
    plural="comparisons",
    short_names=(),
    spec=ComparisonSpec,
    status=None,
    description="The evidence about a version that is going out, by which the operator goes on after a restart, and "
    "what was rejected, by which that does not go out again when the Deployment of this name is made anew. It is the "
    "operator's own: what people read of it is in status.analysis and status.rejected of the Deployment.",
    columns=(Column("Compares", ".spec.of"), Column("Age", ".metadata.creationTimestamp", type="date")),
    categories=(),
)
