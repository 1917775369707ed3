"""Why can the versions not be compared, although pods of both answer?"""

from datetime import timedelta

from upright.api.by_segment import is_whole
from upright.api.deployment_status import Arm
from upright.rollout.facts import Facts
from upright.rollout.measuring import EXPECTED

_SCARCE = 20
"""Fewer than one in so many of the requests that should have reached the candidate has. Of EXPECTED, where each is sent
anew, that has a probability of less than e^-30."""
_KEPT = timedelta(seconds=20)
"""For how long a pod has been ready by when clients have found it: a served pod ends connections after 10 s."""


def was_unmeasured(arm: Arm) -> bool:
    """Whether it was so when that was known last."""
    return arm.unmeasured_since is not None or arm.unmeasured_spent is not None


def unmeasured(facts: Facts, arm: Arm) -> tuple[Arm, str]:
    """Why the versions cannot be compared, if they cannot, and the candidate with the time since when."""
    arms = facts.reading.arms
    why = next((one.message for one in arms.values() if one.state in {"Unreadable", "Stuck"}), "")
    if not why and not facts.reading.quiet(facts.now, facts.spec.monitoring.interval):
        why = next((said for name, said in facts.reading.unmeasured.items() if is_whole(name)), "")
    unreached = "" if why else _unreached(facts, arm)
    if not why and not unreached:
        none = dict.fromkeys(("unmeasured_since", "unmeasured_spent", "unreached"))
        return arm.model_copy(update=none), ""
    since = arm.unmeasured_since or facts.now
    update = {"unmeasured_since": since, "unreached": True if unreached else arm.unreached}
    return arm.model_copy(update=update), why or unreached


def _unreached(facts: Facts, arm: Arm) -> str:
    """That requests which should reach the candidate do not: one has to, before it is believed that they do again."""
    canary, stable = facts.reading.arms.get("canary"), facts.reading.arms.get("stable")
    if not canary or not stable or not facts.stable:
        return ""
    name, others = facts.name, facts.stable_name
    found = facts.candidate.steady(facts.now, _KEPT) > 0
    if found and canary.expected >= EXPECTED and canary.recent * _SCARCE < canary.expected:
        said = (
            f"Lately about {canary.expected:.0f} requests should have reached {name}, and {canary.recent:.0f} did; "
            f"{others} has answered {stable.recent:.0f}."
        )
    elif arm.unreached and not canary.requests:
        said = f"Requests reached {others} and not {name}, and none has been seen to reach {name} since."
    else:
        return ""
    return f"{said} A NetworkPolicy may keep clients from its pods, or they keep their connections to the others."
