"""The state of a rollout while it is being decided: what the status says, and what this plan changes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from upright.api.deployment import Deployment
from upright.api.deployment_status import Analysis, Arm, Episode, Rejection, StandIn
from upright.conditions import Finding, cut
from upright.contract import Count, Event
from upright.rollout.decision import Shape
from upright.rollout.facts import called

_MOST = 20
"""Rejections and episodes that a status keeps."""
_WORDY, _TERSE = 800, 165
"""Characters of why the newest of them was so, and of why the older ones were: a status stays under 16 KiB."""

_UPRIGHT = "upright"
_OF_STEP = ("step_since", "step_spent", "step_weight", "finishing")
"""What a candidate has come to in its step."""


def _tersely(message: str) -> str:
    """Of what was measured the numbers, which come first; and the cause, which may stand at the end."""
    return cut(message.replace("The canary is worse than the tolerance allows: ", ""), _TERSE, first=2 / 3)


@dataclass
class Draft:
    """Begun from the recorded status; what it holds at the end is recorded, and then acted on."""

    resource: Deployment
    now: datetime
    stable: Arm | None
    candidate: Arm | None
    stand_in: StandIn | None
    analysis: Analysis | None
    rejected: list[Rejection]
    remembered: Sequence[Rejection]
    """What counts as rejected by the memory of the versions, or of this name, beyond what the status has."""
    history: list[Episode]
    evidence: Mapping[str, Any] | None = None
    """What is known of the comparison that is under way, for the next look."""
    shape: Shape = field(default_factory=lambda: Shape(0, 0))
    """The pods of both, as the strategy wants them."""
    events: list[Event] = field(default_factory=list)
    counts: list[Count] = field(default_factory=list)
    progress: str = ""
    held: Finding | None = None
    unmeasured: str = ""
    unseen: bool = False
    """Nothing has been measured by this process yet: what was said before still stands."""
    obstacle: Finding | None = None
    again: timedelta | None = None

    def serves(self, revision: str | None) -> bool:
        """Whether a revision is the stable one or on its way."""
        coming = None if self.candidate and self.candidate.leaving else self.candidate
        return any(arm is not None and arm.revision == revision for arm in (self.stable, coming))

    def counting(self) -> Sequence[Rejection]:
        """The rejections that count."""
        return [*(one for one in self.rejected if one.retried is None), *self.remembered]

    def say(self, type: Literal["Normal", "Warning"], reason: str, message: str, at: datetime | None = None) -> None:
        """Tell what has been decided."""
        self.events.append(Event(type, reason, "Rollout", message, at))

    def retry(self, revision: str | None) -> None:
        """Somebody wants a rejected revision tried again."""
        old = next((one for one in self.counting() if one.revision == revision), None)
        if old:
            others = [one for one in self.rejected if one.revision != revision]
            self.rejected = [old.model_copy(update={"retried": self.now}), *others][:_MOST]
            self.remembered = [one for one in self.remembered if one.revision != revision]

    def promote(self, candidate: Arm) -> None:
        """The candidate becomes the stable version."""
        if self.stable:
            compared = self.analysis.message if self.analysis else "Nothing could be compared."
            name, stable = called(candidate, self.stable), called(self.stable, candidate)
            self._remember(self.stable, "Replaced", f"{name} replaces it.", _UPRIGHT)
            said = f"{name} replaces {stable}. {compared}"
            self._end(candidate, "Promoted", said, _UPRIGHT)
        self.stable = Arm(model_version=candidate.model_version, revision=candidate.revision, since=self.now)
        self.candidate = None

    def reject(
        self, candidate: Arm, metric: str, message: str, where: str, *, leaving: bool, stable_answers: bool
    ) -> None:
        """The candidate is given up and not tried again by itself. `where`: where more is said of why."""
        rejection = Rejection(
            model_version=candidate.model_version,
            revision=candidate.revision,
            at=self.now,
            metric=metric,
            message=cut(message, _WORDY),
        )
        stable = called(self.stable, candidate) if self.stable else ""
        kept = f"no pod of {stable} answers" if stable else "nothing serves"
        if leaving:
            kept = f"goes as pods of {stable} come back"
        elif stable_answers:
            kept = f"{stable} serves all traffic again"
        self.counts.append(Count("upright_rollbacks_total", {**self.labels(), "metric": metric or "none"}))
        said = f"{called(candidate, self.stable)} is rejected and {kept}. {message}"
        if len(said) + len(where) < _WORDY:  # or what was found would lose its middle
            said = f"{said} {where}".strip()
        self._end(candidate, "RolledBack", said, _UPRIGHT)
        others = [
            one.model_copy(update={"message": _tersely(one.message)})
            for one in self.rejected
            if one.revision != candidate.revision
        ]
        self.rejected = [rejection, *others][:_MOST]
        self._give_up(candidate, leaving=leaving)

    def abort(self, candidate: Arm, why: str, by: str, *, leaving: bool) -> None:
        """The candidate is given up because it is wanted no more."""
        self._end(candidate, "Aborted", f"{called(candidate, self.stable)} is given up: {why}.", by)
        self._give_up(candidate, leaving=leaving)
        self.analysis = None

    def take_back(self, candidate: Arm) -> None:
        """A candidate that is leaving is wanted again: its step, of which the evidence is gone, begins anew."""
        gone = ("leaving", "unready_since", "down_since", "repairing", *_OF_STEP)
        self.candidate, self.analysis = candidate.model_copy(update=dict.fromkeys(gone)), None
        self.say("Normal", "TakenBack", f"{called(candidate, self.stable)} is wanted again, and its step begins anew.")

    def in_step(self, candidate: Arm, anew: str) -> Arm:
        """The candidate in its step, which begins anew with the evidence (`anew`: why that does), lest time alone end
        it; and when the spec has another step there. Of steps that were taken away the last that is left is gone
        through in full.
        """
        steps, step, name = self.resource.spec.rollout.steps, candidate.step or 0, called(candidate, self.stable)
        there = min(step, len(steps) - 1)
        place = f"tep {there + 1} of {len(steps)}"
        if anew:
            said = f"The evidence about {name} begins anew, and s{place} with it: {anew}."
            self.say("Normal", "EvidenceBegunAnew", said)
        elif there != step or candidate.step_weight not in (None, steps[there].weight):
            self.say("Normal", "StepBegunAnew", f"{name}: S{place} begins anew, since the steps have changed.")
        else:
            return candidate
        return candidate.model_copy(update={"step": there, **dict.fromkeys(_OF_STEP)})

    def was_rejected(self, candidate: Arm) -> bool:
        """Whether that is how a candidate which is leaving has ended, as this status or a memory says."""
        ended = next((one.outcome for one in self.history if one.revision == candidate.revision), "")
        counts = any(one.revision == candidate.revision for one in self.counting())
        return bool(candidate.leaving) and (ended == "RolledBack" or counts)

    def is_retried(self, candidate: Arm) -> bool:
        """Whether somebody wants one that was rejected tried again."""
        return any(one.revision == candidate.revision and one.retried for one in self.rejected)

    def labels(self) -> dict[str, str]:
        """The labels of this Deployment's metrics."""
        return {"namespace": self.resource.metadata.namespace, "deployment": self.resource.metadata.name}

    def _give_up(self, candidate: Arm, *, leaving: bool) -> None:
        """`leaving`: its pods are needed until the stable version has its own again. What it had come to is over."""
        clocks = ("ready_since", "unready_since", "unmeasured_since", "unmeasured_spent", "unreached", "repairing")
        pods = ("unready_pod", "down_since", "lacking_since", "short_since", "short_spent")
        stopped = dict.fromkeys((*clocks, *pods, *_OF_STEP))
        going = {"leaving": True, **stopped}
        self.candidate = candidate.model_copy(update=going) if leaving else None

    def _end(self, candidate: Arm, outcome: str, reason: str, by: str) -> None:
        self._remember(candidate, outcome, reason, by)
        self.counts.append(Count("upright_rollouts_total", {**self.labels(), "result": outcome}))
        self.evidence = None

    def _remember(self, arm: Arm, outcome: str, reason: str, by: str) -> None:
        episode = Episode.model_validate(
            {
                "modelVersion": arm.model_version,
                "revision": arm.revision,
                "from": arm.since,
                "to": self.now,
                "outcome": outcome,
                "reason": cut(reason, _WORDY),
                "by": by,
            }
        )
        older = [one.model_copy(update={"reason": _tersely(self._found(one))}) for one in self.history]
        self.history = [episode, *older][:_MOST]

    def _found(self, episode: Episode) -> str:
        """Why an episode ended; of a rollback what was found alone, not what became of the traffic, nor what to do."""
        of = (episode.revision, episode.to)
        return next((one.message for one in self.rejected if (one.revision, one.at) == of), episode.reason)
