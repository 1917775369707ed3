"""Why a run starts. Pure."""

from collections.abc import Mapping, Sequence

from upright.api import names
from upright.api.training_job import Run, TrainingJob, Trigger
from upright.training.inputs import Inputs


def due(resource: TrainingJob, runs: Sequence[Run], inputs: Inputs, answer: Run | None) -> Trigger | Run | None:
    """Why a run should start now, when none is under way. None: nothing asks for one, or it is suspended. A Run: the
    spec has changed back to what that one was made from, and its version answers.

    `runs`: those that have ended, newest first. `answer`: the one that was made from just this, if its version may
    answer.
    """
    if resource.spec.suspend:
        return None
    request = requested(resource)
    latest = runs[0] if runs else None
    if latest and latest.inputs == inputs.spec and agree(latest.sources, inputs.sources):
        return "Requested" if request not in (None, latest.request) else None
    asked = request is not None and latest is not None and request != latest.request
    if answer:
        return "Requested" if asked else answer
    if latest is None:
        return "Created"
    return "SourceChanged" if latest.inputs == inputs.spec else "SpecChanged"


def requested(resource: TrainingJob) -> str | None:
    """What asks for a run."""
    return resource.metadata.asks(names.RUN_REQUESTED)


def agree(sources: Mapping[str, str], today: Mapping[str, str]) -> bool:
    """Whether no source is known to hold something else than it did."""
    return all(sources.get(uri, digest) == digest for uri, digest in today.items())


def with_baseline(run: Run, inputs: Inputs) -> Run:
    """The newest run, with today's content where an older operator has recorded none, so that it starts nothing."""
    if run.inputs not in (inputs.spec, *inputs.older):
        return run
    sources = {**{uri: digest for uri, digest in inputs.sources.items() if uri not in run.sources}, **run.sources}
    if run.inputs == inputs.spec and sources == run.sources:
        return run
    return run.model_copy(update={"inputs": inputs.spec, "sources": sources})
