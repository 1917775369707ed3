"""What is said of a candidate whose pods are not ready, and which is not rejected."""

from upright.api.common import format_duration
from upright.conditions import Finding
from upright.rollout.facts import OUTAGE, Facts, some_pods


def held_up(facts: Facts, said: str) -> Finding:
    """Nothing is known of a version whose pods the cluster has not started. It goes on when it does."""
    candidate, name = facts.candidate, facts.name
    if candidate.lacks_room:
        remedy = "It goes on by itself when there is room: a rollout needs room for pods of both versions at a time."
        return Finding("NoRoom", f"{name} waits for room in the cluster. {said}", remedy)
    if kept_out := [pod for pod in candidate.pods if pod.kept_out]:
        remedy = "It goes on by itself when they are asked again, or are replaced."
        if any(one.injected and not one.ready for pod in kept_out for one in pod.containers):
            remedy = (
                "It goes on by itself when they are. Ask whoever puts these containers into pods, such as a mesh: "
                "`kubectl logs POD -c CONTAINER` says more."
            )
        return Finding("KeptOut", f"{name} waits for pods that run and are not asked. {said}", remedy)
    if facts.stable and facts.excuses(candidate.pods):
        patience = format_duration((OUTAGE + 1) * facts.spec.rollout.startup_deadline)
        remedy = (
            "It goes on by itself when pods answer again: see to what both versions need. When those of "
            f"{name} have not for {patience}, it is rejected, lest it be the cause."
        )
        return Finding("BothNotReady", f"Pods of {facts.stable_name} fail as those of {name} do. {said}", remedy)
    pod = next((pod.name for pod in candidate.pods if facts.waits(pod)), "")
    return Finding(
        "NotStarted",
        f"{name} waits for the cluster, which has not {f'started pod {pod}' if pod else 'made all its pods'}. {said}",
        "It goes on by itself once that is mended, there or in spec.serving; events of pods and ReplicaSet say more.",
    )


def disturbed(facts: Facts, said: str) -> Finding:
    """Nothing is known of a version whose pods are not left alone until they are ready, either."""
    deadline, name = facts.spec.rollout.startup_deadline, facts.name
    return Finding(
        "NotReady",
        f"Pods of {name} have run for {format_duration(OUTAGE * deadline)} in all, each for less than "
        f"{format_duration(deadline)}, and never were enough of them ready. {said}",
        "It goes on by itself when they are left alone for as long as they take to start: events of pods and nodes say "
        "who takes them away.",
    )


def incomplete(facts: Facts, said: str) -> Finding:
    """Not rejected, since nothing else answers; and not complete."""
    others = f", or those of {facts.stable_name}," if facts.stable else ""
    return Finding(
        "NotReady",
        f"Nothing answers beside {facts.name}. {said}",
        f"Correct what keeps its other pods{others} from getting ready, or name another version.",
    )


def alike(facts: Facts) -> str:
    """That the stable version's pods are not ready either, in a sentence with a space before it, or nothing."""
    if facts.stable is None or not facts.suffers_alike:
        return ""
    stopped, of = facts.suffering
    are = "is" if stopped == 1 else "are"
    return f" {stopped} of {some_pods(of)} of {facts.stable_name} {are} not ready either."
