"""Has the candidate failed too often? Its containers ended otherwise than well, or its pods were evicted.

What it tests: the number of its failures among all those of both versions, of the time in which pods of both ran.
Null hypothesis: a pod of either version fails equally often. A failure is then one of the candidate's with the
probability of its share of the pods at that moment.
Guarantee: a version that fails no more often is rejected with at most the probability `falseRollbackProbability` in one
rollout, however many turns look at it. It needs failures that are independent of each other; pods that do not get over
their start are none of these, and judged by themselves.
Method: the evidence is the mean of likelihood ratios, for versions that fail so many times as often. With the share of
each failure it is a nonnegative martingale, so that it ever reaches 1/alpha with a probability of alpha at most (Ville
1939). With the largest of these shares for all of them it is less, and with failures of the candidate left out, too. So
it suffices to record that share, all failures of the stable version, those of pods that are gone included, and those of
the candidate's pods that are there.
Source: two Poisson rates are compared given their sum (Przyborowski & Wilenski 1940); the mixture is Robbins' (1970).
"""

import math

from upright.api.deployment_status import Arm, ComparedFailures
from upright.rollout.facts import ArmFacts, Facts, begun

_TIMES_AS_OFTEN = (2, 4, 8, 16)
"""What is bet on."""


def counted(facts: Facts, stable: ArmFacts) -> Arm:
    """The candidate with the failures until now. What has failed while none of the stable version's pods ran is not
    compared; nor is what failed before this process has watched, or was recorded without a share.
    """
    candidate, arm = facts.candidate, facts.candidate.arm
    known = arm.compared_failures or ComparedFailures()
    watched = arm.compared_failures is not None and facts.reading.since is not None
    beside = sum(pod.ready or pod.failures > 0 for pod in stable.pods)  # one that loads the model is asked nothing
    failed, others_failed = candidate.seen_failures, stable.seen_failures
    own = failed - min(arm.own_failures or 0, failed)
    if not watched or not beside:
        own = min(own, known.own)
    others = max(0, others_failed - (arm.stable_failures or 0))  # less when pods of it are there no more
    if not watched or all(pod.begun is None for pod in candidate.pods):
        others = 0
    share = _share(candidate, beside) if own > known.own or others else 0.0
    compared = ComparedFailures(own=own, stable=known.stable + others, share=max(known.share, share))
    return arm.model_copy(
        update={
            "compared_failures": compared,
            "own_failures": failed - own or None,
            "stable_failures": others_failed or None,
        }
    )


def _share(candidate: ArmFacts, beside: int) -> float:
    """Which share of the pods that may fail is the candidate's, at most. One of the stable version that has just failed
    may be there no more.
    """
    own = max(candidate.size, len(candidate.pods), 1)
    return own / (own + max(beside, 1))


def failed_too_often(facts: Facts) -> str:
    """Why a candidate is rejected for its failures, in a sentence; empty when it is not."""
    candidate, stable, rollout = facts.candidate, facts.stable, facts.spec.rollout
    compared = candidate.arm.compared_failures
    if stable is None or compared is None or compared.own < rollout.restarts:
        return ""
    if facts.only_candidate_answers or facts.excuses(candidate.pods):
        return ""
    if not _fails_at_its_start(facts, stable, compared):
        worse = evidence(compared.own, compared.stable, compared.share)
        if worse * facts.spec.monitoring.false_rollback_probability < 1:
            return ""  # chance may have done it
    name, others = facts.stable_name, compared.stable
    theirs = f"those of {name} {_times(others)}, which is not chance" if others else f"those of {name} have not"
    crashes = (*(pod.crash for pod in candidate.pods if pod.failures), *(pod.crash for pod in candidate.evicted))
    crash = next(filter(None, crashes), "")
    return (
        f"While pods of both versions ran, its own have failed {_times(compared.own)} (rollout.restarts is "
        f"{rollout.restarts}), and {theirs}. {crash or 'The reason is not known'}."
    )


def _fails_at_its_start(facts: Facts, stable: ArmFacts, compared: ComparedFailures) -> bool:
    """Whether a pod has failed `restarts` times within the time that its start may take, and no pod of the stable
    version has failed since the candidate went out, as far as is known.
    """
    rollout, arm = facts.spec.rollout, facts.candidate.arm
    if compared.stable or any(pod.failed_since(arm.since) for pod in stable.pods if pod.failures):
        return False
    if any(one.changed >= arm.since for one in stable.evicted):
        return False
    return any(
        pod.seen_failures - (arm.own_failures or 0) >= rollout.restarts
        and facts.now - begun(pod, facts.now) <= rollout.startup_deadline
        for pod in facts.candidate.pods
    )


def evidence(failures: int, others: int, share: float) -> float:
    """The e-value against "a pod of the candidate fails no more often than another one".

    Args:
        failures: of the candidate's pods.
        others: failures of the stable version's pods meanwhile.
        share: the candidate's share of the pods, in [0, 1]; the largest, where it has changed.
    """
    ratios = (
        failures * math.log(times) - (failures + others) * math.log1p(share * (times - 1)) for times in _TIMES_AS_OFTEN
    )
    return sum(math.exp(min(ratio, 600.0)) for ratio in ratios) / len(_TIMES_AS_OFTEN)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
