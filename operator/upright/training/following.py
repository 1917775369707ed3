"""What follows a run, and what people can do to have another one: in sentences for them."""

from collections.abc import Sequence

from upright.api import names
from upright.api.training_job import Run
from upright.conditions import Finding
from upright.training.observe import Observed
from upright.training.triggers import due, with_baseline

_CHANGED = "What has changed since in the spec starts no run by itself"
_STARTS = "changes data, code, parameters, store or program (image, command, args, env)"
_OTHER = "after any other, as of resources, retries, deadline or nodeSelector, ask for it"


def request(observed: Observed) -> str:
    """The command that asks for a run."""
    meta = observed.resource.metadata
    return names.asks_for_run(meta.name, meta.namespace)


def after(observed: Observed, runs: Sequence[Run], besides: str = "") -> str:
    """What follows the run that is under way as things stand, in a sentence that ends with `besides`, or nothing.
    `runs`: it, and those before it.
    """
    current = with_baseline(runs[0], observed.inputs)
    reason = due(observed.resource, [current, *runs[1:]], observed.inputs, observed.answer)
    if reason is None:
        return ""
    if isinstance(reason, Run):
        made = f"ModelVersion {reason.model_version} was made from"
        return f"The spec is again what {made}, so that no run follows it{besides}."
    since = {"Requested": "Another one was asked for", "SourceChanged": "What it reads has changed since"}
    return f"{since.get(reason, 'The spec has changed since')}: the next run starts when it has ended{besides}."


def instead(observed: Observed, runs: Sequence[Run], *, in_order: bool) -> str:
    """What follows a run that does not go well, and how to give it up for that, in a sentence or nothing. `in_order`:
    there may be nothing to correct.
    """
    delete = f"kubectl delete job {runs[0].name} -n {observed.resource.metadata.namespace}"
    if follows := after(observed, runs, f"; to end it now: {delete}"):
        return follows
    if observed.resource.spec.suspend:
        return "" if in_order else f"To give it up: {delete}."
    if _is_set_otherwise(observed, runs[0]):
        return f"{_CHANGED}; to give this one up for another: {request(observed)} && {delete}."
    if in_order:
        return ""
    return (
        f"A run keeps the spec that it began with; to give it up after a correction: {delete}. The next one starts by "
        f"itself if the correction {_STARTS}; {_OTHER}: {request(observed)}"
    )


def after_failure(observed: Observed, failed: Run) -> Finding:
    """What is said of a run without a model. What starts the next one is the remedy, the same for each such run; where
    somebody waits for one that what they have changed does not start, `kubectl get` shows it.
    """
    if _is_set_otherwise(observed, failed):
        return Finding(failed.phase, f"{failed.message} {_CHANGED}; to have one: {request(observed)}")
    remedy = f"The next run starts by itself if the correction {_STARTS}; {_OTHER}: {request(observed)}"
    return Finding(failed.phase, failed.message, f"Correct the cause. {remedy}")


def after_success(observed: Observed, run: Run) -> Finding:
    """What is said of a run that has made a version: that it is of no use any more, where that is so."""
    if not observed.spoilt:
        return Finding(run.phase, run.message)
    said = f"{run.message} That version {observed.spoilt}, and no run starts for it by itself; to have one: "
    return Finding(run.phase, said + request(observed))


def _is_set_otherwise(observed: Observed, run: Run) -> bool:
    """Whether the spec says something else by now of how a run goes; not known of an older operator's."""
    return run.settings not in (None, observed.inputs.settings)
