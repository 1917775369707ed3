"""What a Deployment's status says."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from upright.api.common import AnyObject, Asked, Condition, Conditions, Duration, Resource, Text

_GOES_ON = frozenset({"Progressing", "Paused", "ServiceMissing", "ServiceLeadsElsewhere"})
"""The reasons of Current beside a candidate that nothing holds but what somebody wants."""


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
    step_weight: int | None = Field(
        None,
        description="Candidate only: the weight of the step as its clock began; with another one it begins anew.",
    )
    finishing: bool | None = Field(
        None, description="Candidate only: all steps are done, and it gets the pods for all the traffic."
    )
    leaving: bool | None = Field(
        None, description="Candidate only: it was given up, and goes as the stable version's pods come back."
    )
    unready_since: datetime | None = Field(
        None,
        description="Since when a pod of the candidate, or all pods of the stable version, have not been ready for a "
        "minute without interruption.",
    )
    unready_pod: str | None = Field(
        None,
        description="Candidate only: the pod that has not been ready for long since unreadySince, and that "
        "rollout.startupDeadline runs for.",
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
        description="Since when none of its pods has answered: of the stable version, without interruption, and while "
        "not all of them want room; of a candidate that is leaving. Of another candidate: since when unreadyPod was "
        "unready last.",
    )
    lacking_since: datetime | None = Field(
        None,
        description="Since when the cluster has not made or started all pods of the candidate, or has room for none of "
        "the stable version.",
    )
    short_since: datetime | None = Field(
        None,
        description="Candidate only: since when all its pods have been started, whichever they are, and too few ready.",
    )
    short_spent: Duration | None = Field(
        None, description="Candidate only: for how long that had been so when the cluster took pods away."
    )
    barred_since: datetime | None = Field(
        None,
        description="Stable version only: since when no node may take any of its pods, or barredSpent was counted.",
    )
    barred_spent: Duration | None = Field(
        None,
        description="Stable version only: for how long that had been so before barredSince; counted every hour, and "
        "kept when nobody watches.",
    )
    compared_failures: ComparedFailures | None = Field(
        None, description="Candidate only: what is compared for `rollout.restarts`."
    )
    own_failures: int | None = Field(
        None,
        description="Candidate only: how often its pods that are there have failed without counting: before it went "
        "out, or while none of the stable version's ran; and how often they have ended, however, while nobody watched; "
        "empty when they have not.",
    )
    stable_failures: int | None = Field(
        None,
        description="Candidate only: how often those pods of the stable version have failed that are there, as last "
        "seen, or have ended, however, before anybody looked; empty when they have not.",
    )
    repairing: bool | None = Field(
        None, description="Candidate only: it gets all pods because the stable version serves nothing."
    )


class StandIn(Resource):
    """A version that was given up, and answers until half of the pods that are wanted do without it."""

    model_version: str = Field(description="The ModelVersion.")
    revision: str = Field(description="The revision.")
    down_since: datetime | None = Field(None, description="Since when none of its pods answers.")


class MetricEvidence(Resource):
    """What is known of one metric."""

    name: str = Field(description="The metric.")
    canary: float | None = Field(None, description="The candidate's rate.")
    stable: float | None = Field(None, description="The stable version's rate.")
    ratio: float | None = Field(None, description="The one divided by the other.")
    dispersion: float | None = Field(
        None, description="How much more the counts scatter than independent events would, as is reckoned by now."
    )
    evidence: float = Field(
        description="The e-value against 'no worse than tolerated' of this metric alone. Of several, each has a share "
        "in analysis.evidence, which decides."
    )


class Analysis(Resource):
    """The comparison of the candidate with the stable version."""

    looks: int = Field(0, description="How many looks have been taken.")
    used: int = Field(0, description="How many of them could be compared.")
    unused: str = Field("", max_length=512, description="Why the last one that could not be compared was not.")
    at: float | None = Field(None, description="Time of the last look, in Unix seconds.")
    evidence: float = Field(1, description="The e-value over all metrics, weighed by their shares: what decides.")
    threshold: float = Field(description="Rollback at this value: one over the false-rollback probability.")
    metrics: list[MetricEvidence] = Field(
        [],
        max_length=20,
        description="By metric and, of those that are split by segment, the few groups that have most evidence.",
    )
    metric: str = Field("", description="The metric that condemns the candidate; empty while none does.")
    verdict: Literal["Continue", "Rollback", "Promote", "Hold"] = Field(
        "Continue", description="What the evidence says."
    )
    message: Text = Field("", description="The same in a sentence.")
    state: AnyObject | None = Field(
        None,
        description="The evidence of an older operator, which leads until it is replaced. This one keeps it in the "
        "Comparison of this name.",
    )


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
    retry: Asked | None = Field(
        None, description="The value of the annotation upright.dev/retry that was answered last."
    )
    replicas: int = Field(0, description="Pods of all versions.")
    selector: str = Field("", description="Selects them, for the scale subresource.")
    url: str = Field(
        "", description="Where the model answers inside the cluster; empty while no request reaches its pods there."
    )
    conditions: Conditions = Field([], description="Ready, Reconciling, Stalled.")

    @property
    def held(self) -> Condition | None:
        """What holds a candidate under way; not what the shell alone says of the object, for Current is a plan's."""
        said = {one.type: one for one in self.conditions}
        goes_on = "Current" in said and said["Current"].reason in _GOES_ON
        return None if goes_on else said.get("Stalled")
