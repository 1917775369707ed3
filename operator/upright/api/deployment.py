"""Deployment: a model in production."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from pydantic import Field

from upright.api.common import (
    AddedMetadata,
    AnyObject,
    Conditions,
    DnsLabel,
    Duration,
    Metadata,
    Resource,
    Text,
)
from upright.api.monitoring import DEFAULT_TOLERANCES, MetricType
from upright.api.monitoring import Tolerance as Margins
from upright.api.names import RETRY
from upright.api.pod_fields import Environment, PodOverrides
from upright.api.quantities import Resources
from upright.api.schema import Column, Definition, Rule


class Latest(Resource):
    """Follow a model."""

    model: DnsLabel = Field(description="The model whose newest Ready version is served.")


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


class Tolerance(Resource):
    """How much worse the candidate may be. A version is rolled back when it is worse than both margins allow."""

    relative: float | None = Field(
        None, ge=0, le=10, description="As a share of the stable version's rate. Default: 0.25."
    )
    absolute: float | None = Field(
        None, ge=0, lt=1, description="In units of the rate. Default: 0.001 for an ErrorRate, 0.01 for a RefusalRate."
    )


class Metric(Resource):
    """One measure on which the candidate is compared with the stable version."""

    name: DnsLabel = Field(description="Names the metric in status, events and alerts.")
    type: Literal["ErrorRate", "RefusalRate"] = Field(
        description="ErrorRate: answers of 5xx among those of 2xx and 5xx. RefusalRate: answers of 4xx among all."
    )
    tolerance: Tolerance = Field(Tolerance(), description="How much worse the candidate may be.")
    dispersion: float = Field(
        1,
        ge=1,
        le=1000,
        description="How much more the counts scatter than independent requests would, for instance because failed "
        "ones are tried again at once; `upright backtest` estimates it. 1: not at all.",
    )
    boundary: Literal["Mixture", "Exact"] = Field(
        "Mixture",
        description="When the evidence is enough. Mixture: finds regressions of any size that begin at any time. "
        "Exact: for services with few errors, where it finds more of the regressions; it uses the whole "
        "falseRollbackProbability, so it needs errors that are known to be independent, and tolerance.absolute 0.",
    )

    rules: ClassVar[Sequence[Rule]] = (
        Rule(
            "self.boundary != 'Exact' || (has(self.tolerance.absolute) && self.tolerance.absolute == 0.0)",
            "boundary Exact needs a tolerance that is only relative: write tolerance: {relative: 0.25, absolute: 0}",
            field="tolerance",
        ),
        Rule(
            "self.boundary != 'Exact' || self.dispersion == 1.0",
            "boundary Exact holds for independent errors only: remove dispersion, or write boundary: Mixture",
            field="boundary",
        ),
    )

    @property
    def margins(self) -> Margins:
        """The tolerance, with the defaults of the metric's type for what is left out."""
        usual = DEFAULT_TOLERANCES[MetricType(self.type)]
        relative, absolute = self.tolerance.relative, self.tolerance.absolute
        return Margins(
            relative=usual.relative if relative is None else relative,
            absolute=usual.absolute if absolute is None else absolute,
        )


class Monitoring(Resource):
    """What is watched, and how sure we must be."""

    source: Literal["Pods"] = Field("Pods", description="Where measurements come from: the serving pods' /metrics.")
    interval: Duration = Field(
        timedelta(seconds=15), ge=timedelta(seconds=1), description="The time between looks, at least 1s."
    )
    false_rollback_probability: float = Field(
        0.01,
        ge=0.000001,
        le=0.2,
        description="The probability that a healthy version is ever rolled back in one rollout.",
    )
    metrics: list[Metric] = Field(
        [
            Metric(name="errors", type="ErrorRate", tolerance=Tolerance(relative=0.25, absolute=0.001)),
            Metric(name="refusals", type="RefusalRate", tolerance=Tolerance(relative=0.25, absolute=0.01)),
        ],
        min_length=1,
        max_length=10,
        description="What is compared.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
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
    )


class ComparedFailures(Resource):
    """Failures of pods since a candidate went out, while pods of both versions ran."""

    own: int = Field(0, description="Of the candidate's pods; of those that are still there.")
    stable: int = Field(0, description="Of the stable version's pods; also of those that are gone.")
    share: float = Field(0, description="The candidate's share of the pods then, at most; from 0 to 1.")


class Arm(Resource):
    """One of the two versions that share the traffic."""

    model_version: str = Field(description="The ModelVersion.")
    revision: str = Field(description="Hash over what its pods are made of.")
    replicas: int = Field(0, description="Pods wanted.")
    ready_replicas: int = Field(0, description="Pods ready.")
    weight: int = Field(0, description="Its share of the ready pods, in percent.")
    since: datetime = Field(description="When it took this place.")
    step: int | None = Field(None, description="Candidate only: the index of the step it is in.")
    step_since: datetime | None = Field(
        None, description="Candidate only: since when the step's clock runs; empty while pods are missing."
    )
    step_spent: Duration | None = Field(
        None, description="Candidate only: what the step's clock had counted when it stood still for want of pods."
    )
    finishing: bool | None = Field(
        None, description="Candidate only: all steps are done, and it gets the pods for all the traffic."
    )
    leaving: bool | None = Field(
        None, description="Candidate only: it was given up, and goes as the stable version's pods come back."
    )
    unready_since: datetime | None = Field(
        None,
        description="Since when pods of the candidate, or all pods of the stable version, have not been ready for a "
        "minute without interruption.",
    )
    unmeasured_since: datetime | None = Field(
        None, description="Candidate only: since when nothing could be measured of one of the versions."
    )
    unmeasured_spent: Duration | None = Field(
        None, description="Candidate only: for how long that had been so when pods were missing, or it was paused."
    )
    unreached: bool | None = Field(
        None, description="Candidate only: requests that should have reached it have not, and none has since."
    )
    ready_since: datetime | None = Field(
        None,
        description="Since when all pods of the candidate, or nearly all, have been seen ready; or since when one of "
        "the stable version has been again.",
    )
    down_since: datetime | None = Field(
        None,
        description="Since when none of its pods has answered: of the stable version, if one did for a moment after "
        "unreadySince; of a candidate that is leaving.",
    )
    lacking_since: datetime | None = Field(
        None, description="Candidate only: since when the cluster has not made or started all its pods."
    )
    compared_failures: ComparedFailures | None = Field(
        None, description="Candidate only: what is compared for `rollout.restarts`."
    )
    own_failures: int | None = Field(
        None,
        description="Candidate only: how often its pods that are there have failed without counting: before it went "
        "out, while none of the stable version's ran, or while nobody watched; empty when they have not.",
    )
    stable_failures: int | None = Field(
        None,
        description="Candidate only: how often those pods of the stable version have failed that are there, as last "
        "seen; empty when they have not.",
    )
    repairing: bool | None = Field(
        None, description="Candidate only: it gets all pods because the stable version serves nothing."
    )


class StandIn(Resource):
    """A version that was given up, and answers until half of the pods that are wanted do without it."""

    model_version: str = Field(description="The ModelVersion.")
    revision: str = Field(description="The revision.")


class MetricEvidence(Resource):
    """What is known of one metric."""

    name: str = Field(description="The metric.")
    canary: float | None = Field(None, description="The candidate's rate.")
    stable: float | None = Field(None, description="The stable version's rate.")
    ratio: float | None = Field(None, description="The one divided by the other.")
    evidence: float = Field(
        description="The e-value against 'no worse than tolerated' of this metric alone. Of several, each has a share "
        "in analysis.evidence, which decides."
    )


class Analysis(Resource):
    """The comparison of the candidate with the stable version."""

    looks: int = Field(0, description="How many looks have been taken.")
    used: int = Field(0, description="How many of them could be compared.")
    unused: str = Field("", max_length=512, description="Why the last one that could not be compared was not.")
    at: float | None = Field(None, description="Time of the last look that this state contains, in Unix seconds.")
    evidence: float = Field(1, description="The e-value over all metrics, weighed by their shares: what decides.")
    threshold: float = Field(description="Rollback at this value: one over the false-rollback probability.")
    metrics: list[MetricEvidence] = Field([], max_length=10, description="By metric.")
    metric: str = Field("", description="The metric that condemns the candidate; empty while none does.")
    verdict: Literal["Continue", "Rollback", "Promote", "Hold"] = Field(
        "Continue", description="What the evidence says."
    )
    message: Text = Field("", description="The same in a sentence.")
    state: AnyObject = Field({}, description="The evidence so far, for the next look. Not for people.")


class Rejection(Resource):
    """A revision that is not tried again by itself."""

    model_version: str = Field(description="The ModelVersion.")
    revision: str = Field(description="The revision.")
    at: datetime = Field(description="When it was rejected.")
    metric: str = Field("", description="The metric that condemned it; empty when it never served.")
    message: Text = Field(description="Why, in a sentence.")
    retried: datetime | None = Field(
        None, description="When somebody asked for another try: from then on the rejection counts no more."
    )


class Episode(Resource):
    """A time in which a version had traffic."""

    model_version: str = Field(description="The ModelVersion.")
    revision: str = Field("", description="The revision.")
    from_: datetime = Field(alias="from", description="Since when.")
    to: datetime = Field(description="Until when.")
    outcome: Literal["Promoted", "RolledBack", "Aborted", "Replaced"] = Field(
        description="Promoted: was a candidate and became stable. RolledBack: was a candidate and rejected. Aborted: "
        "was a candidate, and another version was wanted. Replaced: was stable."
    )
    reason: Text = Field("", description="Why it ended, in a sentence.")
    by: str = Field(
        "", max_length=128, description="Who brought that about: upright, or the field manager that changed the spec."
    )


class DeploymentStatus(Resource):
    """What is there."""

    observed_generation: int | None = Field(None, description="The generation of the spec that this status is about.")
    phase: Literal["Pending", "Progressing", "Paused", "Stable", "RolledBack", "Failed"] | None = Field(
        None, description="In one word."
    )
    stable: Arm | None = Field(None, description="The version in production.")
    candidate: Arm | None = Field(None, description="The version that is going out.")
    stand_in: StandIn | None = Field(
        None, description="One that was given up before the candidate, and answers beside it for want of others."
    )
    analysis: Analysis | None = Field(None, description="The comparison of the two, or the last one made.")
    rejected: list[Rejection] = Field([], max_length=20, description="Newest first.")
    history: list[Episode] = Field([], max_length=20, description="Newest first.")
    retry: str | None = Field(None, description="The value of the annotation upright.dev/retry that was answered last.")
    replicas: int = Field(0, description="Pods of all versions.")
    selector: str = Field("", description="Selects them, for the scale subresource.")
    url: str = Field("", description="Where the model answers inside the cluster.")
    conditions: Conditions = Field([], description="Ready, Reconciling, Stalled.")


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
        return self.status.phase is not None and self.metadata.annotations.get(RETRY) not in (None, self.status.retry)


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
