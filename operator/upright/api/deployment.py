"""Deployment: a model in production."""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import Field

from upright.api.common import (
    AddedMetadata,
    AnyObject,
    DnsLabel,
    Duration,
    Metadata,
    Resource,
)
from upright.api.deployment_status import DeploymentStatus
from upright.api.monitoring import Promise
from upright.api.names import RETRY
from upright.api.pod_fields import Environment, PodOverrides
from upright.api.quantities import Resources
from upright.api.schema import Column, Definition, Rule, readable
from upright.api.segments import SEGMENT_RULES
from upright.api.serving import GRPC_PORT


class Latest(Resource):
    """Follow a model."""

    model: DnsLabel = Field(description="The model whose newest Ready version is served.")


class Batching(Resource):
    """Requests that come within a moment of each other are answered by one call of the model."""

    rows: int = Field(64, ge=2, le=4096, description="The model is called when so many rows have come.")
    wait: Duration = Field(
        timedelta(milliseconds=2),
        gt=timedelta(0),
        le=timedelta(seconds=1),
        description="It is called so long after the first request at the latest; at most 1s.",
    )


class Serving(Resource):
    """The container that answers."""

    image: str = Field("", max_length=512, description="The image; empty: the operator's runtime image.")
    port: int = Field(3000, ge=1, le=65535, description="The port that the container listens on.")
    resources: Resources = Field({}, description="Requests and limits (core/v1 ResourceRequirements).")
    env: Environment = Field(
        [], description="Environment (core/v1 EnvVar). Names that start with UPRIGHT_ are reserved."
    )
    pod: PodOverrides = Field(
        {},
        description="Further fields of the pod's spec (core/v1 PodSpec). What Upright itself sets wins; the host's "
        "namespaces, credentials, and the names of Upright's own volumes are reserved.",
    )
    metadata: AddedMetadata = Field(AddedMetadata(), description="Labels and annotations of the pods and the Services.")
    timeout: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(seconds=1),
        description="The longest that one request may take, at least 1s: then it is answered by 504 and counts "
        "as failed.",
    )
    queue: int = Field(
        64,
        ge=1,
        le=1024,
        description="Requests that may wait for the model in each worker. More are answered 503 at once, which counts "
        "as a refusal and not as an error.",
    )
    workers: int = Field(
        1,
        ge=1,
        le=16,
        description="Processes that serve in each pod; the model's memory is theirs together. When one dies, the "
        "container fails.",
    )
    batching: Batching | None = Field(
        None,
        description="Micro-batching, for models whose calls are dear and hardly dearer with more rows: forests.",
    )
    grpc: bool = Field(
        False, description=f"The Open Inference Protocol over gRPC as well, at port {GRPC_PORT} of pods and Services."
    )

    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            f"!has(self.grpc) || !self.grpc || !has(self.port) || self.port != {GRPC_PORT}",
            f"port {GRPC_PORT} is where the container listens for gRPC: give HTTP another port, or leave grpc out",
            field="port",
        ),
    )


class Step(Resource):
    """One step of a rollout."""

    weight: int = Field(ge=1, le=99, description="The candidate's share of the traffic, in percent.")
    for_: Duration = Field(alias="for", gt=timedelta(0), description="How long the step lasts.")


class Rollout(Resource):
    """How a new version goes out."""

    strategy: Literal["Canary"] = Field("Canary", description="A new version gets its share in steps.")
    steps: list[Step] = Field(
        [
            Step(weight=5, for_=timedelta(minutes=10)),
            Step(weight=25, for_=timedelta(minutes=10)),
            Step(weight=50, for_=timedelta(minutes=10)),
        ],
        min_length=1,
        max_length=20,
        description="The shares, rising, and how long each lasts.",
        json_schema_extra={
            "x-kubernetes-validations": [
                Rule(
                    "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(o, o.weight == s.weight))",
                    "the weights must rise from step to step, for instance 5, 25, 50",
                ).manifest()
            ]
        },
    )
    traffic: Literal["Replicas"] = Field(
        "Replicas", description="How traffic is split: by the ratio of ready replicas behind one Service."
    )
    startup_deadline: Duration = Field(
        timedelta(minutes=10),
        description="A candidate with a pod that was started and is not ready for so long, in any step, is rejected.",
    )
    restarts: int = Field(
        3,
        ge=1,
        le=1000,
        description="A candidate whose containers have failed so often since it went out is rejected, unless chance "
        "may have done it: the stable version's fail, too, or its pods are few.",
    )
    no_data_deadline: Duration = Field(
        timedelta(minutes=10),
        description="When nothing could be measured for so long, onInconclusive decides; but see whenUnmeasured.",
    )
    on_inconclusive: Literal["Promote", "Hold", "Rollback"] = Field(
        "Promote", description="What happens at the end of the steps without a verdict."
    )
    promote_early: bool = Field(
        False,
        description="Promote before the steps are over, when every metric is shown to be less than "
        "monitoring.inferiorityRatio times as bad as the stable version's, or worse by less than tolerance.absolute.",
    )
    when_unmeasured: Literal["Hold", "Promote"] = Field(
        "Hold",
        description="What onInconclusive: Promote means when nothing could be measured. Hold: a person decides. "
        "Promote: the candidate goes on unseen.",
    )
    contract: Literal["Compatible", "Any"] = Field(
        "Compatible",
        description="Compatible: a version that wants other inputs or gives other outputs than the stable one, so that "
        "today's clients could break, does not go out. Any: it does.",
    )


class MetricsPage(Resource):
    """Where pods say what they count."""

    port: int | None = Field(
        None, ge=1, le=65535, description="The port, of a container or a sidecar; left out: serving.port."
    )
    path: str = Field(
        "/metrics",
        max_length=256,
        pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$",
        description="The page, in Prometheus' text format or OpenMetrics.",
    )


_LABEL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]*$"


class Prometheus(Resource):
    """Which series of a Prometheus server are those of which version."""

    server: DnsLabel = Field("default", description="One of the servers that the platform's chart names.")
    pod_label: str = Field(
        "pod", max_length=128, pattern=_LABEL_NAME, description="The label whose value is the name of the pod."
    )
    version_label: str | None = Field(
        None,
        max_length=128,
        pattern=_LABEL_NAME,
        description="Instead of podLabel: the label whose value is the name of the ModelVersion, of counters that "
        "others than the version's own pods count.",
    )


class Monitoring(Promise):
    """What is watched, and how sure we must be: what `upright backtest` reads as a policy, and where it is measured."""

    false_rollback_probability: float = Field(  # one over less is no number that a status can hold
        0.01, ge=0.000001, le=0.5, description=Promise.model_fields["false_rollback_probability"].description
    )
    source: Literal["Pods", "Prometheus"] = Field(
        "Pods",
        description="Where measurements come from. Pods: the pods' page of metrics. Prometheus: a server that the "
        "platform names, which is later by its scrapes.",
    )
    pods: MetricsPage = Field(MetricsPage(), description="Where the pods' page of metrics is.")
    prometheus: Prometheus | None = Field(
        None, description="Of source Prometheus: which server, and which series are those of which version."
    )

    @property
    def measured_by(self) -> Prometheus | None:
        """Who is asked in the place of the pods."""
        return (self.prometheus or Prometheus()) if self.source == "Prometheus" else None

    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "!has(self.metrics) || self.metrics.all(metric, metric.type != 'Mean')",
            "type Mean is for `upright backtest` as yet",
            field="metrics",
        ),
        Rule(
            "!has(self.metrics) || "
            "self.metrics.all(metric, !(metric.type in ['Quality', 'Ratio', 'Limit']) || has(metric.total))",
            "types Quality, Ratio and Limit need bad and total: which counters are meant",
            field="metrics",
        ),
        Rule(
            "!has(self.prometheus) || self.source == 'Prometheus'",
            "prometheus belongs to source Prometheus: write source: Prometheus, or remove it",
            field="prometheus",
        ),
        Rule(
            "!has(self.metrics) || self.metrics.all(metric, !has(metric.weight) || metric.weight >= 0.001)",
            "weight must be at least 0.001",
            field="metrics",
        ),
        *SEGMENT_RULES,
    )


_KUSTOMIZE = "Ignored: kustomize writes common labels here, into whatever is called Deployment."


class DeploymentSpec(Resource):
    """What is wanted."""

    model_version: DnsLabel | None = Field(None, description="The ModelVersion to serve.")
    latest: Latest | None = Field(None, description="Follow the newest Ready version of a model.")
    mode: Literal["Realtime"] = Field("Realtime", description="Realtime: an HTTP API.")
    replicas: int = Field(1, ge=0, le=1000, description="How many pods serve.")
    serving: Serving = Field(Serving(), description="The container that answers.")
    rollout: Rollout = Field(Rollout(), description="How a new version goes out.")
    monitoring: Monitoring = Field(Monitoring(), description="What is watched while it goes out.")
    selector: AnyObject | None = Field(None, description=f"{_KUSTOMIZE} Pods are selected by labels of their own.")
    template: AnyObject | None = Field(None, description=f"{_KUSTOMIZE} For labels of pods see serving.metadata.")
    paused: bool = Field(
        False,
        description="Start no rollout and take no further step. A version that proves worse is still rolled back.",
    )

    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "has(self.modelVersion) != has(self.latest)",
            "exactly one of modelVersion and latest must be given: name a ModelVersion, or the model to follow",
        ),
        Rule(
            f"!has(self.monitoring) || !has(self.monitoring.warmUp) || !{readable('self.monitoring.warmUp')} || "
            f"(has(self.rollout) && has(self.rollout.steps) ? self.rollout.steps.all(s, !{readable('s.__for__')} || "
            "duration(self.monitoring.warmUp) < duration(s.__for__)) "
            ": duration(self.monitoring.warmUp) < duration('10m'))",
            "monitoring.warmUp must be shorter than each step, which brings pods that warm up, or it compares nothing",
            field="monitoring.warmUp",
            unless_kept=("monitoring.warmUp", "rollout.steps"),
        ),
    )


class Deployment(Resource):
    """A model in production."""

    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()

    @property
    def wants_retry(self) -> bool:
        """Whether somebody asks for another try, and has not been answered yet. What is there before the first status
        was asked of an earlier object, from which this one was copied.
        """
        return self.status.phase is not None and self.metadata.asks(RETRY) not in (None, self.status.retry)


DEFINITION = Definition(
    kind="Deployment",
    plural="deployments",
    short_names=("mdep",),
    spec=DeploymentSpec,
    status=DeploymentStatus,
    description="A model in production: a new version goes out in steps and comes back by itself when it is worse.",
    columns=(
        Column("Phase", ".status.phase"),
        Column("Stable", ".status.stable.modelVersion"),
        Column("Candidate", ".status.candidate.modelVersion"),
        Column("Weight", ".status.candidate.weight", type="integer"),
        Column("Ready", ".status.stable.readyReplicas", type="integer"),
        Column("Evidence", ".status.analysis.evidence", type="number", priority=1),
        Column("Message", ".status.conditions[?(@.type=='Ready')].message"),
        Column("Age", ".metadata.creationTimestamp", type="date"),
    ),
    scale={
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
)
