"""Which version serves where nothing is recorded of any: the Deployment was orphaned, or restored from a backup."""

from collections.abc import Container, Mapping

from upright.api import names
from upright.api.deployment_status import Arm
from upright.api.model_version import ModelVersion
from upright.rollout import status as statuses
from upright.rollout.draft import Draft
from upright.rollout.facts import answers, counts
from upright.rollout.observe import Observed
from upright.rollout.revision import revision


def taken_up(observed: Observed, draft: Draft) -> Arm | None:
    """The version that serves although nothing is recorded of it: the Deployment was orphaned, or restored from a
    backup without its status. The one that is known to have been stable last goes before one with more pods, also while
    its pods start, or it has none. Where nothing is known, one that answers goes before one that does not, and then one
    that the spec does not want: the other was going out, and taken for stable it would have been compared with nothing.
    If only a rejected one answers and all that was decided is lost, it is what served before; or that one, where
    nothing did.
    """
    name = observed.resource.metadata.name
    verdicts = [one for version in observed.versions.values() for one in version.status.verdicts]
    last = {one.revision: one for one in sorted(verdicts, key=lambda one: one.at) if one.deployment == name}
    rejected = {one.revision for one in draft.counting()} | {
        one for one, verdict in last.items() if verdict.outcome == "Rejected"
    }
    stable = {one: verdict.at.timestamp() for one, verdict in last.items() if one not in rejected}
    if (before := observed.memory.stable) and before.revision not in rejected:
        stable.setdefault(before.revision, before.since.timestamp())
    now_answering = answering(observed)
    best = max(
        (
            one
            for one in observed.workloads
            if one in stable
            or (one in now_answering and (one not in rejected or observed.resource.status.phase is None))
            or (one not in rejected and _was_there_before(observed, one))
        ),
        key=lambda one: (
            one not in rejected,
            stable.get(one, 0.0),
            one in now_answering,
            _was_there_before(observed, one),
            now_answering.get(one, (0, 0)),
            one,
        ),
        default=None,
    )
    if best is None:
        return None
    if best in rejected and (served := _served_before(observed, stable)):
        return Arm(
            model_version=served.metadata.name,
            revision=revision(served, observed.resource.spec.serving),
            since=observed.now,
            unready_since=observed.now,
        )
    return arm_of(observed, best)


def _was_there_before(observed: Observed, revision_name: str) -> bool:
    """Whether nothing was ever recorded, and a workload that is to have pods is not what the spec wants, as far as that
    is known: the versions may be restored after it. Recorded without any version, what is there was given up.
    """
    if observed.resource.status.phase is not None:
        return False
    owned, wanted = observed.workloads[revision_name], observed.wanted
    version = (owned["metadata"].get("labels") or {}).get(names.MODEL_VERSION)
    if wanted is None:
        other = observed.resource.spec.latest is not None or observed.resource.spec.model_version != version
    else:
        other = revision(wanted, observed.resource.spec.serving) != revision_name
    return other and owned["spec"].get("replicas", 1) > 0


def _served_before(observed: Observed, stable: Container[str]) -> ModelVersion | None:
    """The version to go back to from a rejected one, as the versions remember."""
    if observed.fallback:
        return observed.versions[observed.fallback]
    wanted = observed.wanted
    return wanted if wanted and revision(wanted, observed.resource.spec.serving) in stable else None


def also_carrying(observed: Observed, draft: Draft, target: str | None) -> Arm | None:
    """Another version than the one that is to go out which answers although nothing is recorded of it, while what was
    taken up lacks pods.
    """
    before, stable = observed.resource.status, statuses.arm_facts(observed, draft.stable)
    if before.stable or before.candidate or stable is None:
        return None
    if stable.relied_upon(observed.now) >= observed.resource.spec.replicas:
        return None
    others = {one: ready for one, ready in answering(observed).items() if one not in (stable.arm.revision, target)}
    if not others:
        return None
    most = max(others, key=lambda one: (others[one], one))
    return arm_of(observed, most)


def answering(observed: Observed) -> Mapping[str, tuple[int, int]]:
    """Of each workload of which any pod answers: how many do for more than a moment, and how many do or did until a
    moment ago. These are asked only where the former are as many.
    """
    now = observed.now
    return {
        one: (sum(counts(pod, now) for pod in pods), sum(answers(pod, now) for pod in pods))
        for one, pods in observed.pods.items()
        if any(answers(pod, now) for pod in pods)
    }


def arm_of(observed: Observed, revision_name: str) -> Arm:
    """What is taken up. Nobody has seen it answer: that may be for a moment only."""
    version = observed.workloads[revision_name]["metadata"]["labels"].get(names.MODEL_VERSION, "")
    return Arm(model_version=version, revision=revision_name, since=observed.now, unready_since=observed.now)
