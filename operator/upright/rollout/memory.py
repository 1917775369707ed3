"""What outlives a Deployment and its versions: what it has rejected, and which version was stable.

A Deployment that is made anew, together with its versions, has no status, and neither have they. So what the status
says is copied to where nobody replaces it: into the Comparison of the Deployment's name, which then has no owner. It is
written before the status is, and what that does not say yet is carried out by who comes next. Where nothing was
rejected, nothing need be known.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upright.api import names
from upright.api.comparison import LONGEST_MESSAGE, MOST_REJECTED, ComparisonSpec, LastStable, Rejected
from upright.api.deployment_status import Arm, DeploymentStatus, Rejection
from upright.api.model_version import ModelVersion
from upright.conditions import cut
from upright.contract import Index, Manifest, Reference, World
from upright.rollout.decision import Reject

_MOST_LEFT = 64
"""Of Deployments that are no more, so many are remembered in a namespace: for how long they have been gone nothing
tells, and one that is being replaced is gone for a moment, too."""


@dataclass(frozen=True)
class Memory:
    """What is remembered of a Deployment's name."""

    rejected: Sequence[Rejected] = ()
    """Newest first."""
    stable: LastStable | None = None

    def beyond(self, status: DeploymentStatus) -> Sequence[Rejection]:
        """The rejections of which a status says nothing: those of an earlier Deployment, or of long ago."""
        own = {one.revision for one in status.rejected}
        return [Rejection(**dict(one)) for one in self.rejected if one.revision not in own]


def spec_of(kept: Manifest | None) -> ComparisonSpec | None:
    """What a Comparison holds; None when there is none, or it is too large to be taken in."""
    return ComparisonSpec.model_validate(kept["spec"]) if kept and "spec" in kept else None


def recalled(kept: Manifest | None) -> Memory:
    """What is remembered in a Comparison."""
    spec = spec_of(kept)
    return Memory(spec.rejected, spec.stable) if spec else Memory()


def remembered(before: Memory, status: DeploymentStatus, versions: Mapping[str, ModelVersion]) -> Memory:
    """What is to be remembered from now on, with a status. `versions`: by name, those of which anything is known. What
    somebody wants tried again counts no more.
    """
    said = map(_rejected, counting(status))
    # what is remembered already stays as it is: a status shortens what it says of the older ones
    oldest_first = sorted((*said, *before.rejected), key=lambda one: one.at)
    last = {one.revision: one for one in oldest_first if not _is_lifted(one, status)}
    rejected = sorted(last.values(), key=lambda one: (one.at, one.revision), reverse=True)[:MOST_REJECTED]
    return Memory(rejected, _last_stable(before.stable, status, versions)) if rejected else Memory()


def unrecorded(memory: Memory, status: DeploymentStatus, candidate: Arm) -> Reject | None:
    """That a candidate was rejected by an operator which has ended before the status said so."""
    if candidate.leaving:
        return None
    own = (one for one in memory.rejected if one.revision == candidate.revision and one.at >= candidate.since)
    return next((Reject(one.metric, one.message) for one in own if not _is_lifted(one, status)), None)


def counting(status: DeploymentStatus) -> Sequence[Rejection]:
    """The rejections that count, as the status says."""
    return [one for one in status.rejected if one.retried is None]


def _is_lifted(rejected: Rejected, status: DeploymentStatus) -> bool:
    """Whether somebody has wanted it tried again since. The clock by which it was rejected may have been ahead."""
    lifted = (max(one.at, one.retried) for one in status.rejected if one.retried and one.revision == rejected.revision)
    return any(rejected.at <= at for at in lifted)


def _rejected(one: Rejection) -> Rejected:
    return Rejected.model_validate({**dict(one), "message": cut(one.message, LONGEST_MESSAGE)})


def _last_stable(
    before: LastStable | None, status: DeploymentStatus, versions: Mapping[str, ModelVersion]
) -> LastStable | None:
    arm = status.stable
    version = versions.get(arm.model_version) if arm else None
    if arm is None or version is None or (before and before.revision == arm.revision):
        return before
    digest = version.spec.artifact.digest
    return LastStable(model_version=arm.model_version, digest=digest, revision=arm.revision, since=arm.since)


def _stable_in(kept: Manifest) -> Iterable[str]:
    name = (_spec(kept).get("stable") or {}).get("modelVersion")
    return [name] if isinstance(name, str) else []


def _left(kept: Manifest) -> Iterable[str]:
    return [_ALL] if names.has_no_controller(kept) else []


def _last_rejected(kept: Manifest) -> str:
    return next((str(one.get("at")) for one in _spec(kept).get("rejected") or ()), "")


def _spec(kept: Manifest) -> Mapping[str, Any]:
    return kept.get("spec") or {}


_ALL = "all"
BY_STABLE = Index(names.COMPARISONS, "by the version that was stable", _stable_in)
LEFT = Index(names.COMPARISONS, "without an owner", _left, order=_last_rejected)


def forgotten(world: World, namespace: str) -> Sequence[Reference]:
    """Of what Deployments have left that are no more, the oldest, where it is too much. It goes through the names of
    all that have rejected something, so it is for when another one may.
    """
    all_names = (key.name for key in world.named(LEFT, namespace, _ALL))
    left = [name for name in all_names if not world.has(names.DEPLOYMENTS, namespace, name)]
    found = filter(None, (world.get(names.COMPARISONS, namespace, name) for name in left[:-_MOST_LEFT]))
    return [Reference(names.COMPARISONS, namespace, (meta := one["metadata"])["name"], meta["uid"]) for one in found]
