"""ModelVersion: one immutable, verified, traceable model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from upright.api.artifact import ModelFormat
from upright.api.common import (
    AnyList,
    AnyObject,
    Asked,
    Conditions,
    Digest,
    DnsLabel,
    Metadata,
    Problem,
    Resource,
    Text,
)
from upright.api.schema import Column, Definition, Rule
from upright.api.training_job import Trigger

Numbers = Annotated[
    dict[str, float],
    WithJsonSchema({"type": "object", "maxProperties": 4096, "additionalProperties": {"type": "number"}}),
]
Images = Annotated[
    dict[str, str],
    WithJsonSchema(
        {"type": "object", "maxProperties": 256, "additionalProperties": {"type": "string", "maxLength": 1024}}
    ),
]


_DAY = "[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_HOUR = "([01][0-9]|2[0-3]):[0-5][0-9]"
Time = Annotated[
    datetime,
    WithJsonSchema(
        {
            "type": "string",
            "format": "date-time",
            "pattern": rf"^{_DAY}T{_HOUR}:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]{_HOUR})$",
        }
    ),
]
"""A time that users write. What the API server takes for a `date-time` is more than what can be read as one: the year
0, and offsets of 99 hours."""


class Artifact(Resource):
    """Where the model is, and what it is."""

    uri: str = Field(
        pattern=r"^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?/[^/].*$",
        max_length=1024,
        description="The artifact's folder: pvc://CLAIM/PATH.",
    )
    digest: Digest = Field(description="Digest of the artifact's manifest, which lists each file with its own digest.")
    size_bytes: int = Field(0, ge=0, description="Size of all its files together.")
    format: ModelFormat = Field(description="How the model is stored.")

    rules: ClassVar[Sequence[Rule]] = (
        Rule("!self.uri.contains('..')", "uri must not contain '..': write the path from the root of the claim"),
    )


class Framework(Resource):
    """What the model was trained with."""

    name: Text = Field("", description="For instance scikit-learn.")
    version: Text = Field("", description="Its version.")
    python: Text = Field("", description="The version of Python.")


class Signature(Resource):
    """The model's inputs and outputs, in the types of the Open Inference Protocol."""

    inputs: AnyList = Field([], description="Each with name and type.")
    outputs: AnyList = Field([], description="Each with name and type.")


class Producer(Resource):
    """The run that made the version."""

    name: str = Field(max_length=253, description="The TrainingJob.")
    uid: str = Field(max_length=128, description="Its UID.")
    run: int = Field(description="The number of the run.")
    trigger: Trigger = Field(description="Why the run was started.")
    inputs: str = Field("", max_length=64, description="Hash of the fields of the spec that decided the outcome.")
    request: str | None = Field(
        None,
        max_length=1024,
        description="The value of the annotation upright.dev/run-requested that the run answered.",
    )


class UsedData(Resource):
    """One input, as it was read."""

    name: str = Field(max_length=253, description="The name in the TrainingJob.")
    uri: Text = Field(description="Where it came from.")
    digest: Digest = Field(description="What it was.")


class Lineage(Resource):
    """Where the version comes from."""

    training_job: Producer | None = Field(None, description="The run that made it.")
    data: list[UsedData] = Field([], max_length=32, description="What it was trained on.")
    code: UsedData | None = Field(None, description="The program that trained it.")
    images: Images = Field({}, description="The images that ran, by container, with digests.")
    parent: DnsLabel | None = Field(None, description="The version in production when this one was trained.")


class ModelVersionSpec(Resource):
    """What the version is. Immutable."""

    model: DnsLabel = Field(description="The model that this is a version of.")
    number: int = Field(1, ge=1, description="Newer versions of one TrainingJob have higher numbers.")
    produced_at: Time | None = Field(
        None,
        description="When the model was made, for instance 2026-11-28T20:00:00Z; what follows the model takes the "
        "newest, of one TrainingJob the one with the highest number. Default: when this object was, which counts for a "
        "later time, too.",
    )
    artifact: Artifact = Field(description="Where the model is, and what it is.")
    framework: Framework | None = Field(None, description="What the model was trained with.")
    signature: Signature | None = Field(None, description="The model's inputs and outputs.")
    metrics: Numbers = Field({}, description="What was measured when it was trained.")
    parameters: AnyObject = Field({}, description="The parameters it was trained with.")
    lineage: Lineage | None = Field(None, description="Where it comes from.")
    problem: Problem | None = Field(None, description="What the model is for.")

    rules: ClassVar[Sequence[Rule]] = (
        Rule("self == oldSelf", "a ModelVersion is immutable: create one with another name instead"),
    )


class Verdict(Resource):
    """What became of the version in a Deployment. It outlives the Deployment."""

    deployment: str = Field(description="The Deployment's name, in the version's namespace.")
    revision: str = Field(description="Hash over what its pods were made of.")
    outcome: Literal["Stable", "Rejected"] = Field(
        description="Stable: it had all the traffic. Rejected: it was given up."
    )
    at: datetime = Field(description="Since when.")
    metric: str = Field("", description="The metric that condemned it.")
    message: Text = Field("", description="Why it was rejected.")


Refused = Literal["Corrupt", "Missing"]
"""What pods say of an artifact that they would not load."""


class Inspection(Resource):
    """What the pod found that read the artifact last."""

    outcome: Literal["Intact", "Corrupt", "Missing"] = Field(
        description="Intact: it is what the digest names. Corrupt: it is not. Missing: it is not there."
    )
    at: datetime = Field(description="When: Intact since the pod's start, the others when the pod gave up.")
    message: Text = Field("", description="What the pod says of it, or what was the matter before.")


class ModelVersionStatus(Resource):
    """What is known of it."""

    observed_generation: int | None = Field(None, description="The generation of the spec that this status is about.")
    phase: Literal["Ready", "NotAllowed", "Corrupt", "Missing"] | None = Field(
        None,
        description="Ready: it can be served. NotAllowed: the operator does not allow its format. Corrupt: the "
        "artifact is not what the digest names. Missing: the artifact, or the claim that holds it, is not there.",
    )
    retry: Asked | None = Field(
        None, description="The value of the annotation upright.dev/retry that was answered last."
    )
    retried: datetime | None = Field(None, description="When: what pods complained of before then counts no more.")
    inspection: Inspection | None = Field(None, description="What the pod found that read the artifact last.")
    used_by: list[str] = Field([], max_length=64, description="The Deployments that serve it now, as NAMESPACE/NAME.")
    rejected_by: list[str] | None = Field(
        None,
        max_length=64,
        description="The Deployments, by name, that gave it up last and do not serve it, also those that are no more.",
    )
    verdicts: list[Verdict] = Field(
        [], max_length=64, description="What became of it in Deployments, also in those that are no more. Newest first."
    )
    conditions: Conditions = Field([], description="Ready, Verified, Reconciling, Stalled.")


class ModelVersion(Resource):
    """One immutable model."""

    metadata: Metadata
    spec: ModelVersionSpec
    status: ModelVersionStatus = ModelVersionStatus()


DEFINITION = Definition(
    kind="ModelVersion",
    plural="modelversions",
    short_names=("mv",),
    spec=ModelVersionSpec,
    status=ModelVersionStatus,
    description="One immutable, verified, traceable version of a model.",
    columns=(
        Column("Model", ".spec.model"),
        Column("Phase", ".status.phase"),
        Column("Verified", ".status.conditions[?(@.type=='Verified')].status", priority=1),
        Column("Format", ".spec.artifact.format", priority=1),
        Column("Digest", ".spec.artifact.digest", priority=1),
        Column("Used-By", ".status.usedBy[0]"),
        Column("Rejected-By", ".status.rejectedBy[0]"),
        Column("Metrics", ".spec.metrics", priority=1),
        Column("Parameters", ".spec.parameters", priority=1),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
    ),
)
