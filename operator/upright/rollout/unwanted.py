"""Why does nobody want a candidate any more, and who brought that about?"""

from upright.api.deployment_status import Arm
from upright.rollout.draft import Draft
from upright.rollout.observe import Observed
from upright.rollout.obstacle import follows_another_model


def why_unwanted(observed: Observed, draft: Draft, candidate: Arm, wanted: str | None) -> str:
    """Why nobody wants the candidate any more; empty when somebody does."""
    if candidate.revision == wanted:
        rejected = draft.stable is None and any(one.revision == wanted for one in draft.counting())
        instead = observed.fallback if observed.fallback != candidate.model_version else None
        return f"it was rejected before, and {instead} served" if rejected and instead else ""
    if draft.stable is None and observed.fallback == candidate.model_version:
        return ""
    if observed.wanted is not None:
        name = observed.wanted.metadata.name
        if name != candidate.model_version:
            return f"{name} is wanted"
        return f"{name} is wanted with other spec.serving" if _is_edited(observed) else f"{name} has been made anew"
    named = observed.resource.spec.model_version
    if named and named != candidate.model_version:
        return f"{named} is wanted, which does not exist yet"
    if follows_another_model(observed, candidate):
        return "another model is followed, which has no version to serve"
    return "its ModelVersion was deleted or can be served no more"


def by_whom(observed: Observed, candidate: Arm) -> str:
    """Who brought it about that the candidate is wanted no more: we did, when a followed model has another version."""
    named = observed.resource.spec.model_version
    same_name = observed.wanted is not None and observed.wanted.metadata.name == candidate.model_version
    other_serving = same_name and _is_edited(observed)
    another = (named and named != candidate.model_version) or follows_another_model(observed, candidate)
    return observed.editor if other_serving or another else "upright"


def _is_edited(observed: Observed) -> bool:
    """Whether the spec is another one than when something was decided last."""
    return observed.resource.metadata.generation != observed.resource.status.observed_generation
