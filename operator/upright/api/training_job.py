"""TrainingJob: how a model is trained."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from upright.api.artifact import ModelFormat
from upright.api.common import (
    AddedMetadata,
    AnyList,
    AnyObject,
    Conditions,
    Digest,
    DnsLabel,
    Duration,
    Metadata,
    Problem,
    Resource,
    Text,
)
from upright.api.pod_fields import Environment, TrainingPodOverrides
from upright.api.quantities import Resources
from upright.api.schema import Column, Definition, Rule

DataUri = Annotated[
    str,
    Field(
        pattern=r"^(pvc|configmap)://[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[^/].*)?$",
        max_length=1024,
        description="Where it is: pvc://CLAIM[/PATH] or configmap://NAME[/KEY].",
    ),
]
StoreUri = Annotated[
    str,
    Field(
        pattern=r"^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[^/].*)?$",
        max_length=512,
        description="Where artifacts go: pvc://CLAIM[/PATH].",
    ),
]

_NO_DOTS = "must not contain '..': write the path from the root of the claim or ConfigMap"


class DataSource(Resource):
    """One input of training, mounted read-only at /upright/data/NAME."""

    name: DnsLabel = Field(description="The folder under /upright/data.")
    uri: DataUri
    digest: Digest | None = Field(
        None,
        description="Pin: any other content fails the run before training starts. See status of a run for the value.",
    )

    rules: ClassVar[Sequence[Rule]] = (Rule("!self.uri.contains('..')", f"uri {_NO_DOTS}"),)


class Code(Resource):
    """The training program, mounted read-only at /upright/code, the working directory of train."""

    uri: DataUri
    digest: Digest | None = Field(None, description="Pin, as for data.")

    rules: ClassVar[Sequence[Rule]] = (Rule("!self.uri.contains('..')", f"uri {_NO_DOTS}"),)


class Train(Resource):
    """The user's container."""

    image: str = Field(
        "", max_length=512, description="The image; empty: the operator's runtime image, which has scikit-learn."
    )
    command: list[Text] = Field(
        min_length=1, max_length=64, description="The program, for instance [python, train.py]."
    )
    args: list[Text] = Field([], max_length=256, description="Its arguments.")
    env: Environment = Field(
        [], description="Environment, as in a container (core/v1 EnvVar). Names that start with UPRIGHT_ are reserved."
    )
    env_from: AnyList = Field([], description="Environment from ConfigMaps and Secrets (core/v1 EnvFromSource).")
    resources: Resources = Field({}, description="Requests and limits (core/v1 ResourceRequirements).")
    pod: TrainingPodOverrides = Field(
        {},
        description="Further fields of the pod's spec (core/v1 PodSpec), for instance nodeSelector or tolerations. "
        "What Upright itself sets wins. Reserved: the host's namespaces, credentials of the API server, variables "
        "UPRIGHT_*, the securityContext and restart policy of train, all of data and publish but their resources, and "
        "the volumes tmp, work, output, parameters, store, code and data-N.",
    )
    metadata: AddedMetadata = Field(AddedMetadata(), description="Labels and annotations of the Job and of its pods.")


class Output(Resource):
    """Where the result goes, and what it is."""

    store: StoreUri | None = Field(None, description="Where artifacts go; default from the operator's configuration.")
    format: ModelFormat | None = Field(
        None,
        description="The format of the model, where an image of its own reads it (catboost, onnx; runtime.flavours of "
        "the chart): that image publishes it, and runs the program if train names none.",
    )

    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "!has(self.store) || !self.store.contains('..')",
            "store must not contain '..': write the path from the root",
        ),
    )


class TrainingJobSpec(Resource):
    """What is wanted."""

    model: DnsLabel | None = Field(None, description="The model that the versions carry; default: the object's name.")
    problem: Problem | None = Field(None, description="What the model is for; copied into the versions.")
    data: list[DataSource] = Field(
        [],
        max_length=32,
        description="The inputs of training.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    parameters: AnyObject = Field(
        {},
        description="Any JSON object; in /upright/parameters.json and, each, in UPRIGHT_PARAM_<NAME> (upper case). "
        "Names are letters, digits and underscores.",
    )
    code: Code | None = Field(None, description="The training program, when it is not in the image.")
    train: Train = Field(description="How to train.")
    output: Output = Field(Output(), description="Where the result goes, and what it is.")
    suspend: bool = Field(False, description="Start no further run; a run under way is not stopped.")
    retries: int = Field(3, ge=0, le=100, description="How often a failing run is tried again (Job backoffLimit).")
    deadline: Duration = Field(
        timedelta(hours=6),
        ge=timedelta(seconds=1),
        description="The longest that one run may take, retries included.",
    )
    history: int = Field(10, ge=1, le=50, description="How many finished runs are kept in status, with their Jobs.")
    ttl: Duration = Field(timedelta(hours=24), description="How long a finished run's Job and pods are kept.")


Trigger = Literal["Created", "SpecChanged", "SourceChanged", "Requested"]
"""SourceChanged: the spec is the same, and a ConfigMap that it names holds something else."""
RunPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Refused"]


class Run(Resource):
    """One run: one Job, and at most one ModelVersion."""

    name: str = Field(description="Name of the Job and of the ModelVersion.")
    number: int = Field(description="Counts the runs; numbers only go up.")
    trigger: Trigger = Field(
        description="Why it was started. SpecChanged: a field of the spec that decides the outcome. SourceChanged: "
        "what a ConfigMap holds that the spec names. Requested: the annotation upright.dev/run-requested."
    )
    phase: RunPhase = Field(description="How far it is.")
    inputs: str = Field("", description="Hash of the fields of the spec that decide the outcome.")
    settings: str | None = Field(
        None,
        description="Hash of the fields of the spec that decide how it goes, and not what comes of it (resources, "
        "retries, deadline, where its pod runs): a change of these alone starts no run.",
    )
    request: str | None = Field(
        None, description="The value of the annotation upright.dev/run-requested that it answers."
    )
    sources: Annotated[
        dict[str, str], WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}})
    ] = Field(
        {},
        description="The digest of what each ConfigMap that it reads held, by URI: as it was read, once that is known.",
    )
    job: str | None = Field(None, description="The UID of its Job, once there is one.")
    started_at: datetime | None = Field(None, description="When it was started.")
    finished_at: datetime | None = Field(None, description="When it ended.")
    attempts: int = Field(0, description="How many pods have been started for it.")
    model_version: str | None = Field(None, description="The ModelVersion that it produced.")
    metrics: Annotated[
        dict[str, float], WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}})
    ] = Field(
        {},
        description="What the program measured. Of older runs it is on the ModelVersion alone where all is too much.",
    )
    data: Annotated[dict[str, str], WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}})] = (
        Field({}, description="The digest of each input as it was read: what to pin.")
    )
    message: str = Field("", max_length=1024, description="What happened, in a sentence.")


class TrainingJobStatus(Resource):
    """What is there."""

    observed_generation: int | None = Field(None, description="The generation of the spec that this status is about.")
    phase: Literal["Pending", "Running", "Succeeded", "Failed", "Refused", "Suspended"] | None = Field(
        None, description="The phase of the newest run."
    )
    runs: list[Run] = Field([], max_length=51, description="Newest first.")
    last_version: str | None = Field(None, description="The newest ModelVersion.")
    conditions: Conditions = Field([], description="Ready, Reconciling, Stalled.")


class TrainingJob(Resource):
    """How a model is trained. Every run is a Kubernetes Job and ends in a ModelVersion."""

    metadata: Metadata
    spec: TrainingJobSpec
    status: TrainingJobStatus = TrainingJobStatus()

    @property
    def model(self) -> str:
        return self.spec.model or self.metadata.name


DEFINITION = Definition(
    kind="TrainingJob",
    plural="trainingjobs",
    short_names=("tj",),
    spec=TrainingJobSpec,
    status=TrainingJobStatus,
    description="How a model is trained: every run is a Kubernetes Job and ends in a ModelVersion.",
    columns=(
        Column("Phase", ".status.phase"),
        Column("Version", ".status.lastVersion"),
        Column("Runs", ".status.runs[0].number", type="integer"),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
    ),
)
