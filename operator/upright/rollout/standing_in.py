"""Which pods are needed where the stable version lacks some? What answers is taken away only where enough else does.

A candidate that was given up stands in for pods that the stable version lacks. It goes when enough others answer, and
is in nobody's way: the next version goes out beside whatever answers.
"""

from datetime import timedelta

from upright.conditions import Finding
from upright.pods.reading import Pod
from upright.rollout.decision import Decision, Left, Stay
from upright.rollout.facts import LASTING, OUTAGE, Facts, answers, begun, elapsed, some_pods

BROKEN_FOR = timedelta(seconds=30)
"""A stable version of which no pod has answered for so long, and whose pods say why, has nothing to compare with."""
BARRED_FOR = timedelta(days=1)
"""What keeps every node from taking pods for so long does not pass: nodes that are drained, under pressure or away come
back sooner, or others for them. Where nodes are replaced daily, the operator is, too: what is counted is kept."""
_NOW_AND_THEN = timedelta(minutes=1)
_ZERO = timedelta(0)


def silent_for(facts: Facts) -> timedelta:
    """For how long no pod of the stable version has answered, without interruption. While all want room, it is not the
    version that is silent; where no node may take them, it may be.
    """
    down = facts.stable.arm.down_since if facts.stable else None
    return max(_ZERO, facts.now - down) if down else _ZERO


def is_silent_for_long(facts: Facts) -> bool:
    """Whether it has been for twice as long as a start may take, however often its pods were made anew meanwhile. Where
    no node may take them, they wait.
    """
    barred = facts.stable is not None and facts.stable.barred
    return not barred and silent_for(facts) >= OUTAGE * facts.spec.rollout.startup_deadline


def is_broken(facts: Facts) -> bool:
    """Whether the stable version does not answer, and will not by itself: pods that have a node, and load the model
    there or wait for what they start with, may until the oldest of them has had its time, whatever others died of or
    lack. What they died of before, or with their node, says nothing. Those that no node may take will not in the end.
    """
    stable, silent, now = facts.stable, silent_for(facts), facts.now
    if stable is None or silent < BROKEN_FOR:
        return False
    if stable.arm.lacking_since:
        return stable.barred and elapsed(stable.arm.barred_since, stable.arm.barred_spent, now) >= BARRED_FOR
    failing: list[Pod] = []
    coming: list[Pod] = []
    for pod in stable.pods:
        fails = not pod.waits and (pod.hindrance or pod.down or pod.failed_since(now - silent - BROKEN_FOR))
        if fails or pod.placed:
            (failing if fails else coming).append(pod)
    if not coming and any(pod.hindrance or pod.down for pod in failing):
        return True
    waited = max((now - begun(pod, now) for pod in coming), default=silent)
    return min(silent, waited) >= facts.spec.rollout.startup_deadline


def is_needed(facts: Facts, *, bad: bool) -> bool:
    """Whether pods of a candidate that is given up must stay until more of others answer, and not for a moment only:
    half of them, or all, where the stable version has made room for it; and beside a bad one that has waited for long,
    any.
    """
    stable, candidate, replicas = facts.stable, facts.candidate, facts.spec.replicas
    if stable is None or not _answers(facts):
        return False
    others = stable.relied_upon(facts.now) + facts.standing_in
    if bad and _left(facts) <= _ZERO:
        return others == 0
    arm = candidate.arm
    made_room = arm.leaving or arm.repairing or arm.replicas > stable.arm.replicas
    return others * (1 if made_room and not bad else 2) < replicas


def is_base_of_next(facts: Facts, *, coming: bool) -> bool:
    """Whether a candidate that is given up is the stable version for the next one all the same: nothing else answers,
    for there is nothing else, or because what there is does not, and will not in a moment. A rejected one is not, where
    there is another. `coming`: there is a next one, and it can go out.
    """
    if not facts.only_candidate_answers or facts.stable is None:
        return facts.only_candidate_answers
    return coming and not facts.rejected and facts.candidate.steady(facts.now, LASTING) > 0 and is_broken(facts)


def makes_way(facts: Facts) -> bool:
    """Whether the next version goes out beside the pods of one that is leaving: they are needed, and what they stand in
    for does not come back. Not in a moment in which they do not answer, while those of another do that was given up
    before: only one of the two is kept.
    """
    if facts.standing_in and not facts.candidate.ready:
        return False
    return is_needed(facts, bad=facts.rejected) and (is_broken(facts) or _left(facts) <= _ZERO)


def leave(facts: Facts) -> Decision:
    """It goes as the pods come back for which it stands in: a bad one waits for as long as a start may take, if
    anything else answers; a good one for as long as it must.
    """
    candidate, stable, bad, left = facts.candidate, facts.stable, facts.rejected, _left(facts)
    if stable is None or not is_needed(facts, bad=bad):
        return Left()
    leaving, name = facts.name, facts.stable_name
    lasting = ", each ready for a minute" if stable.ready > stable.relied_upon(facts.now) else ""
    until = f"until {name} has {'half of' if bad else 'all'} its pods again{lasting}."
    said = f"Traffic still goes to {some_pods(candidate.ready)} of {leaving}, {until}"
    if not candidate.ready:
        said = f"{leaving} stays, although no pod of it answers at this moment, {until}"
    held = None
    if left <= _ZERO:
        remedy = (
            f"Correct what keeps pods of {name} from starting{'' if bad else f', name {leaving} again'}, or name "
            "another version."
        )
        held = Finding("StableNotReady", f"{said} {stable.ready} answer.{stable.trouble}", remedy)
    arm, down = candidate.arm, None if candidate.ready else candidate.arm.down_since or facts.now
    arm = arm.model_copy(update={"unready_since": arm.unready_since or facts.now, "down_since": down})
    due = (left, down + LASTING - facts.now if down else _NOW_AND_THEN)
    return Stay(arm, said, min((one for one in due if one > _ZERO), default=_NOW_AND_THEN), held)


def _answers(facts: Facts) -> bool:
    """Whether a candidate answers, or did until a moment ago; of one that is leaving, that is recorded."""
    arm, now = facts.candidate.arm, facts.now
    recorded = arm.leaving and now - (arm.down_since or now) < LASTING
    return bool(recorded) or any(answers(pod, now) for pod in facts.candidate.pods)


def _left(facts: Facts) -> timedelta:
    """For how long one that is leaving has yet to wait until it is said that nothing comes back."""
    arm, deadline = facts.candidate.arm, facts.spec.rollout.startup_deadline
    since = arm.unready_since if arm.leaving else None
    return (since or facts.now) + deadline - facts.now
