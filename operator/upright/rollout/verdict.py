"""What does the evidence say? The policy of a rollout, and its looks folded into one state."""

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from upright.analysis import Decision, Look, MetricVerdict, Policy, State, StateError, Verdict, begin, update
from upright.analysis import verdict as verdict_of
from upright.api.by_segment import by_segment, is_whole
from upright.api.deployment import DeploymentSpec
from upright.api.deployment_status import Analysis, MetricEvidence
from upright.api.monitoring import Promise
from upright.conditions import cut
from upright.rollout.evidence import looks_in, until
from upright.rollout.measuring import AHEAD
from upright.rollout.pace import RISEN

_KEPT_FOR, _KEPT = 60, 16
"""Seconds, and looks, of evidence that a restart of the operator may cost: a status is not written with every look."""

_GROUPS = 4
"""Shown of those that were compared."""


def policy(spec: DeploymentSpec) -> Policy:
    """What the analysis promises for this Deployment; its horizon is the length of all steps."""
    monitoring = spec.monitoring
    horizon = max(sum((step.for_ for step in spec.rollout.steps), timedelta(0)), monitoring.interval)
    promised = {name: getattr(monitoring, name) for name in Promise.model_fields}
    metrics = [metric.of_deployment() for metric in monitoring.metrics]
    inconclusive = spec.rollout.on_inconclusive
    return Policy.model_validate({**promised, "metrics": metrics, "horizon": horizon, "on_inconclusive": inconclusive})


@dataclass(frozen=True)
class Weighed:
    """What all looks say by now."""

    evidence: State
    """For the next look."""
    analysis: Analysis
    """The same for people."""
    anew: str
    """Why the evidence begins anew, if it does."""


def analyse(
    spec: DeploymentSpec, recorded: Mapping[str, Any] | None, looks: Sequence[Look], told: Analysis | None
) -> Weighed:
    """Weigh some more looks. The evidence begins anew where what is `recorded` of it belongs to other metrics or steps,
    because the spec was changed meanwhile, or cannot be read, or is gone; but not where the looks at hand are all that
    people were `told` of. That is so while it cannot be recorded.
    """
    promise = by_segment(policy(spec))
    state, why = _usable(promise, recorded, looks)
    lacks = told is not None and told.looks > looks_in(state) + sum(look.time <= (told.at or 0.0) for look in looks)
    if lacks:
        state = begin(promise)
    try:
        after, said = _seen(promise, state, looks)
    except StateError as error:
        why, lacks = f"what was recorded of it cannot be read ({error})", True
        after, said = _seen(promise, begin(promise), looks)
    anew = why if lacks else ""
    analysis = Analysis(
        looks=said.looks,
        used=said.used,
        at=until(after),
        evidence=_shown(said.evidence),
        threshold=_shown(said.threshold),
        metrics=[
            MetricEvidence(
                name=metric.name,
                canary=_known(metric.canary),
                stable=_known(metric.stable),
                ratio=_known(metric.ratio),
                dispersion=_shown(metric.dispersion),
                evidence=_shown(metric.evidence),
            )
            for metric in _worth_showing(said)
        ],
        metric=said.metric if said.decision is Decision.ROLLBACK else "",
        verdict=said.decision.value,
        message=cut(said.blame or said.message),
        unused=cut(said.why_unused, 300),
    )
    return Weighed(dict(after), analysis, anew)


def _usable(
    promise: Policy, recorded: Mapping[str, Any] | None, looks: Sequence[Look]
) -> tuple[Mapping[str, Any], str]:
    """What to go on from, and why people may have been told of more."""
    fresh = begin(promise)
    if not recorded:
        return fresh, "what was recorded of it is gone, since its Comparison was deleted or the operator was upgraded"
    if recorded.get("policy") != fresh["policy"]:
        return fresh, "spec.monitoring or the steps have changed, or the operator was upgraded"
    last = until(recorded)
    if last and looks and looks[-1].time < last:  # none would be newer until the clock is there again
        return fresh, "what was recorded of it is of a clock that was ahead"
    return recorded, "what has come to it since could not be recorded"


def is_ahead(look: float | None, now: datetime) -> bool:
    """Whether a look (Unix seconds) is to come: a clock was ahead that is no longer."""
    return (look or 0.0) - now.timestamp() > AHEAD


class _Told(NamedTuple):
    """What looks up to one say."""

    of: tuple[str, float | None, int]
    """What they were weighed for, and from which state on."""
    state: Mapping[str, Any]
    said: Verdict


_TOLD: dict[int, _Told] = {}
"""By the identity of a look that waits to be recorded. Each is weighed once, and not in every turn: of many metrics it
takes milliseconds.
"""


def _seen(promise: Policy, state: Mapping[str, Any], looks: Sequence[Look]) -> tuple[Mapping[str, Any], Verdict]:
    of, weighed = (promise.fingerprint, until(state), looks_in(state)), 0
    for place, look in enumerate(looks, 1):
        if (told := _TOLD.get(id(look))) and told.of == of:
            if place == len(looks):
                return told.state, told.said
            state, weighed = told.state, place
    state = update(promise, state, *looks[weighed:])
    said = verdict_of(promise, state, ends=False)
    if weighed:
        _TOLD.pop(id(looks[weighed - 1]))
    if looks:
        _TOLD[id(looks[-1])] = _Told(of, state, said)
        weakref.finalize(looks[-1], _TOLD.pop, id(looks[-1]), None)
    return state, said


def _worth_showing(said: Verdict) -> Sequence[MetricVerdict]:
    """The metrics as wholes, and after them the groups of which the evidence is largest."""
    groups = [one for one in said.metrics if one.looks and not is_whole(one.name)]
    worst = sorted(groups, key=lambda one: -one.evidence)[:_GROUPS]
    return [*(one for one in said.metrics if is_whole(one.name)), *worst]


def _shown(value: float) -> float:
    """A figure for people: four significant digits."""
    return float(f"{value:.4g}")


def _known(value: float | None) -> float | None:
    return None if value is None else _shown(value)


def worth_recording(recorded: Analysis | None, now: Analysis) -> bool:
    """Whether losing the looks since the recorded state would matter: the verdict has changed, the evidence is ten
    times what it was above 1 or a tenth (below it a canary only looks ever better), or so high that the next looks come
    faster, or a minute has gone by, or so many looks that folding them again costs more than a write. Or what people
    read is no longer so: a look could be compared where none could, or others cannot for another reason; that at most
    once for each doubling of the looks, since reasons may take turns.
    """
    if recorded is None or recorded.verdict != now.verdict:
        return True
    if now.looks <= recorded.looks and now.at != recorded.at:  # it has begun anew
        return True
    if abs((now.at or 0) - (recorded.at or 0)) >= _KEPT_FOR or now.looks - recorded.looks >= _KEPT:
        return True
    if recorded.evidence < RISEN <= now.evidence:
        return True
    if (now.used and not recorded.used) or (now.unused != recorded.unused and now.looks >= 2 * recorded.looks):
        return True
    return abs(math.log(max(now.evidence, 1) / max(recorded.evidence, 1))) >= math.log(10)
