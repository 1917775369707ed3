"""The state of a rollout while it is being decided: what the status says, and what this plan changes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from upright.api.deployment import Analysis, Arm, Deployment, Episode, Rejection
from upright.conditions import Finding, cut
from upright.contract import Count, Event
from upright.rollout.steps import replicas_at

_MOST = 20
"""Rejections and episodes that a status keeps."""


@dataclass
class Draft:
    """Begun from the recorded status; what it holds at the end is recorded, and then acted on."""

    resource: Deployment
    now: datetime
    stable: Arm | None
    candidate: Arm | None
    analysis: Analysis | None
    rejected: list[Rejection]
    history: list[Episode]
    events: list[Event] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    progress: str = ""
    held: bool = False
    obstacle: Finding | None = None
    again: timedelta | None = None

    def serves(self, revision: str | None) -> bool:
        """Whether a revision is one of the two that have traffic."""
        return any(arm is not None and arm.revision == revision for arm in (self.stable, self.candidate))

    def replicas(self) -> Mapping[str, int]:
        """The pods that each revision should have; other revisions should not be there."""
        spec = self.resource.spec
        wanted = {self.stable.revision: spec.replicas} if self.stable else {}
        if self.candidate and self.stable:
            both = replicas_at(spec, self.candidate.step or 0)
            wanted |= {self.stable.revision: both.stable, self.candidate.revision: both.candidate}
        elif self.candidate:
            wanted[self.candidate.revision] = spec.replicas
        return wanted

    def say(self, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Tell what has been decided."""
        self.events.append(Event(type, reason, "Rollout", message))

    def promote(self, candidate: Arm) -> None:
        """The candidate becomes the stable version."""
        if self.stable:
            self._remember(self.stable, "Replaced")
            compared = self.analysis.message if self.analysis else "Nothing could be compared."
            self.say(
                "Normal", "Promoted", f"{candidate.model_version} replaces {self.stable.model_version}. {compared}"
            )
            self._end(candidate, "Promoted")
        else:
            self.say("Normal", "Serving", f"{candidate.model_version} serves as the first version.")
        self.stable = Arm(model_version=candidate.model_version, revision=candidate.revision, since=self.now)
        self.candidate = None

    def reject(self, candidate: Arm, metric: str, message: str) -> None:
        """The candidate is given up and not tried again by itself."""
        rejection = Rejection(
            model_version=candidate.model_version,
            revision=candidate.revision,
            at=self.now,
            metric=metric,
            message=cut(message),
        )
        self.rejected = [rejection, *self.rejected][:_MOST]
        kept = f"{self.stable.model_version} serves all traffic again" if self.stable else "nothing serves"
        self.say("Warning", "RolledBack", f"{candidate.model_version} is rejected and {kept}. {message}")
        self.counts.append(Count("upright_rollbacks_total", {**self.labels(), "metric": metric or "startup"}))
        self._end(candidate, "RolledBack")
        self.candidate = None

    def replace(self, candidate: Arm) -> None:
        """The candidate is given up because another version is wanted now."""
        self.say("Normal", "RolloutReplaced", f"{candidate.model_version} is given up: another version is wanted.")
        self._end(candidate, "Replaced")
        self.candidate = self.analysis = None

    def labels(self) -> dict[str, str]:
        """The labels of this Deployment's metrics."""
        return {"namespace": self.resource.metadata.namespace, "deployment": self.resource.metadata.name}

    def _end(self, candidate: Arm, outcome: str) -> None:
        self._remember(candidate, outcome)
        self.counts.append(Count("upright_rollouts_total", {**self.labels(), "result": outcome}))
        if self.analysis:
            self.analysis = self.analysis.model_copy(update={"state": {}})

    def _remember(self, arm: Arm, outcome: str) -> None:
        episode = Episode.model_validate(
            {
                "modelVersion": arm.model_version,
                "from": arm.since,
                "to": self.now,
                "outcome": outcome,
            }
        )
        self.history = [episode, *self.history][:_MOST]
