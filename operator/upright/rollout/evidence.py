"""The evidence of the comparison that is under way, as it is kept from one look to the next, and over restarts; in one
object with what is remembered of earlier ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from upright.api import names
from upright.api.common import API_VERSION
from upright.api.comparison import ComparisonSpec
from upright.api.deployment import Deployment
from upright.api.deployment_status import Arm, DeploymentStatus
from upright.contract import Manifest, Reference
from upright.rollout.memory import Memory, spec_of

_LATEST = 1e15


def compared(stable: Arm | None, candidate: Arm | None) -> str | None:
    """Names the comparison of the two: another candidate's, or the same one's at another time, is another comparison.
    None when nothing is compared.
    """
    if stable is None or candidate is None or candidate.leaving:
        return None
    return f"{stable.revision}-{candidate.revision}-{candidate.since.timestamp()}"


def recorded(kept: Manifest | None, status: DeploymentStatus) -> Mapping[str, Any] | None:
    """The evidence as it was recorded last; None when there is none. What is kept is written before the status, and
    taken away after it: where that knows of no look, it is of another comparison.
    """
    return kept_of(kept, compared(status.stable, status.candidate)) if status.analysis else None


def kept_of(kept: Manifest | None, comparison: str | None) -> Mapping[str, Any] | None:
    """The evidence that an object holds of a comparison; None when it is of another one, or of none."""
    spec = spec_of(kept)
    return spec.state if spec and spec.of == comparison else None


def until(recorded: Mapping[str, Any] | None) -> float | None:
    """When the last look was taken that the evidence contains, in Unix seconds. Whoever has written it for us may have
    written anything.
    """
    last = recorded.get("last") if recorded else None
    return float(last) if isinstance(last, int | float) and abs(last) < _LATEST else None


def looks_in(recorded: Mapping[str, Any]) -> int:
    """How many looks the evidence contains."""
    looks = recorded.get("looks")
    return looks if type(looks) is int else 0


def is_worth_keeping(
    before: DeploymentStatus,
    after: DeploymentStatus,
    recorded: Mapping[str, Any] | None,
    now: Mapping[str, Any] | None,
) -> bool:
    """Whether the evidence of `now` is to be recorded: the status is about to tell of it, or has told of more than was
    `recorded`, which somebody refused.
    """
    told, tells = (status.analysis.at if status.analysis else None for status in (before, after))
    behind = told is not None and told > (until(recorded) or -_LATEST)
    return now is not None and (behind or tells == until(now))


def to_keep(
    resource: Deployment,
    kept: Manifest | None,
    comparison: str | None,
    evidence: Mapping[str, Any] | None,
    memory: Memory,
) -> Manifest | None:
    """The object that keeps it, and what is remembered, from now on: in the place of the one that is there, and of that
    very version of it. None when there is nothing to keep, or nothing new. What is known of a comparison goes after the
    status has recorded its end.
    """
    there, recorded = spec_of(kept), compared(resource.status.stable, resource.status.candidate)
    of, state = (there.of, there.state) if there and there.of in (comparison, recorded) else ("", {})
    if comparison is not None and evidence is not None:
        of, state = comparison, dict(evidence)
    spec = ComparisonSpec(of=of, state=state, rejected=list(memory.rejected), stable=memory.stable)
    if spec == there or not (of or memory.rejected):
        return None
    meta = kept["metadata"] if kept else {}
    owner = names.owner_reference("Deployment", resource.metadata)
    remembered = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, include={"rejected", "stable"})
    return {
        "apiVersion": API_VERSION,
        "kind": names.COMPARISONS.kind,
        "metadata": {
            "name": resource.metadata.name,
            "namespace": resource.metadata.namespace,
            "labels": {names.MANAGED_BY: "upright", names.DEPLOYMENT: resource.metadata.name},
            **({} if memory.rejected else {"ownerReferences": [owner]}),
            **{field: meta[field] for field in ("uid", "resourceVersion") if field in meta},
        },
        "spec": {"of": of, "state": state, **remembered},
    }


def outlived(kept: Manifest | None, comparison: str | None) -> Sequence[Reference]:
    """The object that is there, if it keeps nothing of what is compared now."""
    if kept is None or kept_of(kept, comparison) is not None:
        return ()
    meta = kept["metadata"]
    return (Reference(names.COMPARISONS, meta["namespace"], meta["name"], meta["uid"]),)
