"""What does the evidence say? The policy of a rollout, and its looks folded into one state."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from upright.analysis import Decision, Look, Policy, StateError, Verdict, begin, update
from upright.analysis import verdict as verdict_of
from upright.api.common import format_duration
from upright.api.deployment import DeploymentSpec
from upright.api.deployment_status import Analysis, MetricEvidence
from upright.conditions import cut
from upright.rollout.measuring import AHEAD

_FOLDED = 16
"""Looks since the recorded state: each turn folds all of them again."""
_KEPT_FOR = 60
"""Seconds of evidence that a restart of the operator may cost: a status is not written with every look."""


def policy(spec: DeploymentSpec) -> Policy:
    """What the analysis promises for this Deployment; its horizon is the length of all steps."""
    monitoring = spec.monitoring
    horizon = max(sum((step.for_ for step in spec.rollout.steps), timedelta(0)), monitoring.interval)
    return Policy.model_validate(
        {
            "falseRollbackProbability": monitoring.false_rollback_probability,
            "interval": format_duration(monitoring.interval),
            "horizon": format_duration(horizon),
            "onInconclusive": spec.rollout.on_inconclusive,
            "metrics": [
                {
                    "name": metric.name,
                    "type": metric.type,
                    "tolerance": metric.margins,
                    "dispersion": metric.dispersion,
                    "boundary": metric.boundary,
                }
                for metric in monitoring.metrics
            ],
        }
    )


def analyse(spec: DeploymentSpec, before: Analysis | None, looks: Sequence[Look]) -> tuple[Analysis, str]:
    """The analysis of a rollout after some more looks, and why it begins anew, if it does: the state belongs to other
    metrics or steps, because the spec was changed meanwhile, or it cannot be read.
    """
    promise = policy(spec)
    anew = ""
    state = begin(promise)
    if before and before.state:
        if before.state.get("policy") == state["policy"]:
            state = before.state
        else:
            anew = "spec.monitoring or the steps have changed, or the operator was upgraded"
        if before.at and looks and looks[-1].time < before.at:  # none would be newer until the clock is there again
            state, anew = begin(promise), "what was recorded of it is of a clock that was ahead"
    try:
        after, said = _seen(promise, state, looks)
    except StateError as error:
        anew = f"what was recorded of it cannot be read ({error})"
        after, said = _seen(promise, begin(promise), looks)
    return (
        Analysis(
            looks=said.looks,
            used=said.used,
            at=after.get("last"),
            evidence=_shown(said.evidence),
            threshold=_shown(said.threshold),
            metrics=[
                MetricEvidence(
                    name=metric.name,
                    canary=_known(metric.canary),
                    stable=_known(metric.stable),
                    ratio=_known(metric.ratio),
                    evidence=_shown(metric.evidence),
                )
                for metric in said.metrics
            ],
            metric=said.metric if said.decision is Decision.ROLLBACK else "",
            verdict=said.decision.value,
            message=cut(said.blame or said.message),
            unused=cut(said.why_unused, 300),
            state=dict(after),
        ),
        anew,
    )


def is_ahead(recorded: Analysis, now: datetime) -> bool:
    """Whether its last look is to come: a clock was ahead that is no longer."""
    return (recorded.at or 0.0) - now.timestamp() > AHEAD


def _seen(promise: Policy, state: Mapping[str, Any], looks: Sequence[Look]) -> tuple[Mapping[str, Any], Verdict]:
    for look in looks:
        state = update(promise, state, look)
    return state, verdict_of(promise, state, ends=False)


def _shown(value: float) -> float:
    """A figure for people: four significant digits."""
    return float(f"{value:.4g}")


def _known(value: float | None) -> float | None:
    return None if value is None else _shown(value)


def worth_recording(recorded: Analysis | None, now: Analysis) -> bool:
    """Whether losing the looks since the recorded state would matter: the verdict has changed, the evidence has doubled
    or halved above 1 (below it a canary only looks ever better), or a minute has gone by, or so many looks that folding
    them again costs more than a write. Or what people read is no longer so: a look could be compared where none could,
    or others cannot for another reason; that at most once for each doubling of the looks, since reasons may take turns.
    """
    if recorded is None or recorded.verdict != now.verdict or recorded.state.get("policy") != now.state.get("policy"):
        return True
    if abs((now.at or 0) - (recorded.at or 0)) >= _KEPT_FOR or now.looks - recorded.looks >= _FOLDED:
        return True
    if (now.used and not recorded.used) or (now.unused != recorded.unused and now.looks >= 2 * recorded.looks):
        return True
    return abs(math.log(max(now.evidence, 1) / max(recorded.evidence, 1))) > math.log(2)
