"""Has the candidate failed too often? Its containers ended otherwise than well, or its pods were evicted.

What it tests: the number of its failures among all those of both versions since it went out.
Null hypothesis: a pod of either version fails equally often. Given so many failures of both, those of the candidate are
then Binomial: each is one of its with the probability of its share of the pods, as it is now. Steps only ever give it
more pods, so that it had no larger share before.
Guarantee: a version that fails no more often is rejected with at most the probability `falseRollbackProbability` in one
rollout, however many turns look at it. It needs failures that are independent of each other; pods that do not get over
their start are none of these, and judged by themselves.
Method: the evidence is the mean of likelihood ratios, for versions that fail so many times as often. It is a
nonnegative martingale, so that it ever reaches 1/alpha with a probability of alpha at most (Ville 1939).
Source: two Poisson rates are compared given their sum (Przyborowski & Wilenski 1940); the mixture is Robbins' (1970).
"""

import math

from upright.rollout.facts import ArmFacts, Facts, begun

_TIMES_AS_OFTEN = (2, 4, 8, 16)
"""What is bet on."""


def failed_too_often(facts: Facts) -> str:
    """Why a candidate is rejected for its failures, in a sentence; empty when it is not."""
    candidate, stable, rollout = facts.candidate, facts.stable, facts.spec.rollout
    before = candidate.arm.own_failures or 0
    failures = candidate.failures - before
    if stable is None or failures < rollout.restarts or facts.only_candidate_answers or facts.excuses(candidate.pods):
        return ""
    others = stable.failed_since(candidate.arm.since, candidate.arm.stable_failures or 0)
    if others or not _fails_at_its_start(facts, before):
        worse = evidence(failures, others, _share(candidate, stable))
        if worse * facts.spec.monitoring.false_rollback_probability < 1:
            return ""  # chance may have done it
    name = stable.arm.model_version
    compared = f"those of {name} {_times(others)}, which is not chance" if others else f"those of {name} have not"
    crash = next((pod.crash for pod in (*candidate.pods, *candidate.lost) if pod.failures and pod.crash), "")
    return (
        f"Its pods have failed {_times(failures)} since it went out (rollout.restarts is {rollout.restarts}), and "
        f"{compared}. {crash or 'The reason is not known'}."
    )


def _fails_at_its_start(facts: Facts, before: int) -> bool:
    """Whether a pod has failed `restarts` times within the time that its start may take."""
    rollout = facts.spec.rollout
    return any(
        pod.failures - before >= rollout.restarts and facts.now - begun(pod, facts.now) <= rollout.startup_deadline
        for pod in facts.candidate.pods
    )


def _share(candidate: ArmFacts, stable: ArmFacts) -> float:
    """Which share of the pods that may fail is the candidate's, at most: of the others those count that have begun."""
    others = sum(pod.begun is not None for pod in stable.pods)
    return candidate.size / (candidate.size + others) if candidate.size else 1.0


def evidence(failures: int, others: int, share: float) -> float:
    """The e-value against "a pod of the candidate fails no more often than another one".

    Args:
        failures: of the candidate's pods.
        others: failures of the stable version's pods meanwhile.
        share: the candidate's share of the pods, in [0, 1].
    """
    ratios = (
        failures * math.log(times) - (failures + others) * math.log1p(share * (times - 1)) for times in _TIMES_AS_OFTEN
    )
    return sum(math.exp(min(ratio, 600.0)) for ratio in ratios) / len(_TIMES_AS_OFTEN)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
