"""The command `publish`: what a training program wrote becomes an artifact in the store, or is refused."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from upright.api.artifact import (
    CARD,
    PROFILE,
    ArtifactManifest,
    FileEntry,
    Framework,
    Inputs,
    ModelFormat,
    PublishReport,
    RunSpec,
    Signature,
    artifact_path,
    canonical_json,
    digest,
)
from upright.runtime import crash, formats, modules, signature, store
from upright.runtime.again import until_done
from upright.runtime.batch import BadInputError, listed
from upright.runtime.environment import Limits, folder_of, limits_of, run_of
from upright.runtime.folder import entry_of
from upright.runtime.formats import FORMATS, LoadedModel
from upright.runtime.inputs import LINEAGE
from upright.runtime.lean import make_lean
from upright.runtime.outcome import FailedError, RefusedError
from upright.runtime.output import Output, read_output, reading
from upright.runtime.predictor import FURTHER, PREDICTION, ModelError, Predictor
from upright.runtime.profile import profile_of
from upright.runtime.reference import NoFeaturesError, Reference, read_reference
from upright.runtime.texts import features_of
from upright.runtime.trial import DifferentAnswerError, Trial, try_out

_ENVIRONMENT = ("joblib", "numpy", "pandas", "scikit-learn", "scipy", "skops")
"""Packages whose versions decide whether a model loads and what it answers, beside the one that reads it."""

_REASON = 300
"""Characters of what a library says: there is room for a sentence."""


@dataclass(frozen=True)
class Checked:
    """A model that may be published: what its artifact is to be."""

    manifest: ArtifactManifest
    contents: Mapping[str, Path | bytes]
    """Of each of the manifest's files."""
    unknown_metrics: tuple[str, ...]
    """The names of those that are no number, and so are not kept."""
    untried: str
    """That the model was not tried out, and why, or that another version has made it; empty where neither is so."""

    @property
    def renamed(self) -> str:
        """That the prediction has a name of signature.json's, which may be meant for something else; empty if not."""
        outputs = self.manifest.signature.outputs if self.manifest.signature else ()
        names = [one.name for one in outputs if one.name not in {PREDICTION, *FURTHER}]
        if not names:
            return ""
        return (
            f"What predict answers is called {', '.join(names)}, as signature.json names it. An output of another "
            f"method is called as that is: {', '.join(FURTHER)}"
        )

    def report(self, stored: store.Stored, uri: str, inputs: Inputs) -> PublishReport:
        """What there is to say once it is in the store that is called `uri`."""
        manifest = self.manifest
        return PublishReport(
            uri=f"{uri.rstrip('/')}/{artifact_path(manifest.model, stored.digest)}",
            digest=stored.digest,
            size_bytes=stored.size_bytes,
            format=manifest.format,
            framework=manifest.framework,
            metrics=manifest.metrics,
            unknown_metrics=self.unknown_metrics,
            untried=self.untried,
            signature=manifest.signature,
            data=inputs.data,
            code=inputs.code,
        )


def publish(environment: Mapping[str, str], wait: Callable[[float], None] = time.sleep) -> PublishReport:
    """Check the output, infer what is missing, store the artifact. A store that fails is tried again, for as long as
    the run may take: `wait` lets so many seconds go by in between. Raises RefusedError or FailedError.
    """
    os.umask(0o002)  # the store's claim is shared through its group
    run, limits = run_of(environment), limits_of(environment)
    inputs = _inputs(run, environment)
    output = read_output(folder_of(environment, "UPRIGHT_OUTPUT"), limits)
    if output.unknown:
        print(f"metrics that are no number, and so are not kept: {', '.join(output.unknown)}", flush=True)
    try:
        with crash.within(crash.TRIAL_SECONDS):
            checked = check(output, run.model, run.parameters, limits)
        for remark in filter(None, (checked.untried, checked.renamed)):
            print(remark, flush=True)
        folder = folder_of(environment, "UPRIGHT_STORE")
        stored = until_done(lambda: _store(folder, run, checked.manifest, checked.contents), wait)
    except (RefusedError, FailedError) as error:  # what was measured is known, whatever becomes of the model
        error.refusal = error.refusal.model_copy(update={"metrics": output.metrics})
        raise
    return checked.report(stored, run.store, inputs)


def check(output: Output, model: str, parameters: Mapping[str, Any], limits: Limits) -> Checked:
    """Try the model out and infer what is missing. Raises RefusedError, or FailedError for want of memory."""
    try:
        own = _modules(output)
        loaded = _load(output, limits, own)
        reference = _reference(output.model.parent, limits, loaded)
        inferred, tried = _signature(loaded, output, reference)
    except MemoryError as error:
        raise FailedError(
            "OutOfMemory",
            f"The model {output.model.name} could not be loaded and tried out for want of memory "
            f"({error or 'no more is said'}): give it more (spec.train.resources, or those of the container publish in "
            "spec.train.pod)",
        ) from error
    except ValidationError as error:  # of an input or output: a column without a name, say
        first = error.errors()[0]
        raise RefusedError(
            "NoSignature",
            f"An input or output of the model cannot be told to clients: its {'.'.join(map(str, first['loc']))} is "
            f"{str(first['input'])[:80]!r}: {first['msg']}",
        ) from error
    contents = _contents(output, reference, own)
    manifest = ArtifactManifest(
        model=model,
        format=output.format,
        framework=_framework(loaded, output.format),
        signature=inferred,
        example=tuple(tried.example) if tried.example else None,
        metrics=output.metrics,
        parameters=dict(parameters),
        files=tuple(_entry(name, content) for name, content in sorted(contents.items())),
        environment=_environment(output.format),
    )
    untried = ". ".join(filter(None, (_made_by_another(loaded, output.format), _untried(tried))))
    return Checked(manifest, contents, output.unknown, untried)


def _inputs(run: RunSpec, environment: Mapping[str, str]) -> Inputs:
    if not run.data and not run.code:
        return Inputs()
    path = folder_of(environment, "UPRIGHT_WORK") / LINEAGE
    try:
        return Inputs.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise FailedError(
            "LineageMissing", f"The digests of the run's inputs cannot be read from {path}: {error}"
        ) from error


def _modules(output: Output) -> Mapping[str, bytes]:
    try:
        with reading():
            return modules.read(output.modules)
    except modules.BadModuleError as error:
        raise RefusedError("BadModule", f"The model is refused: {error}") from error


def _load(output: Output, limits: Limits, own: Mapping[str, bytes]) -> LoadedModel:
    try:
        loaded = formats.load(output.model, output.format, modules.with_modules(limits, own))
    except modules.ModulesNotAllowedError as error:
        raise RefusedError("ModulesNotAllowed", f"The model {output.model.name} is refused: {error}") from error
    except modules.BadModuleError as error:
        raise RefusedError("BadModule", f"The model is refused: {error}") from error
    except formats.FormatNotAllowedError as error:
        raise RefusedError("FormatNotAllowed", f"The model {output.model.name} is refused: {error}") from error
    except formats.ImageLacksError as error:
        raise RefusedError("OtherImage", f"The model {output.model.name} cannot be read here: {error}") from error
    except formats.UntrustedTypesError as error:
        raise RefusedError("UntrustedTypes", f"The model is refused: {error}") from error
    except formats.UnreadableModelError as error:
        raise RefusedError("CorruptModel", f"The model cannot be used: {error}") from error
    if loaded.lost:
        raise RefusedError(
            "CorruptModel",
            f"The model cannot be used: {output.model.name} holds a dict whose keys skops does not keep (true and "
            f"false, or a number and its text), at {loaded.lost}: let its keys be texts, or numbers",
        )
    return loaded


def _reference(folder: Path, limits: Limits, loaded: LoadedModel) -> Reference | None:
    try:
        return read_reference(folder, limits, loaded.estimator, loaded.inputs)
    except NoFeaturesError as error:
        raise RefusedError("NoSignature", f"The model's inputs are not known: {error}") from error


def _untried(tried: Trial) -> str:
    if not tried.untried:
        return ""
    return (
        f"The model was not tried out, and may fail on each request: {tried.untried[:_REASON]}. Write rows that it was "
        "made for beside it, as reference.parquet"
    )


def _made_by_another(loaded: LoadedModel, name: ModelFormat) -> str:
    """Of a file that holds parts of scikit-learn, and no model of its own: what these do changes with each minor."""
    made, (_, here) = _made_elsewhere(loaded, name), formats.reader(FORMATS[name])
    if not made or name != "skops" or str(loaded.version).split(".")[:2] == here.split(".")[:2]:
        return ""
    return (
        f"It {made}, where some models answer otherwise: nobody has compared the two. Make it with scikit-learn {here}"
    )


def _signature(loaded: LoadedModel, output: Output, reference: Reference | None) -> tuple[Signature, Trial]:
    try:
        inferred = signature.infer(loaded.estimator, output.signature, reference, loaded.inputs)
        make_lean(loaded.estimator)  # what is tried out is what will serve
        tried = try_out(Predictor(loaded.estimator, inferred), reference)
        outputs = signature.chosen(inferred.outputs, tried.outputs)
    except signature.NoSignatureError as error:
        raise RefusedError("NoSignature", f"The model's inputs are not known: {error}") from error
    except DifferentAnswerError as error:
        raise RefusedError("DifferentAnswers", f"The model would answer otherwise than in Python: {error}") from error
    except (ModelError, BadInputError) as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from None
        if reference is None and isinstance(error, ModelError) and error.for_the_kind_of_rows:
            raise RefusedError(
                "ModelFails",
                f"The model takes its rows for something else: {error}. predict gets a DataFrame of columns by name if "
                "the model was fitted on one, else an array of shape (rows, features), or texts if it begins with a "
                "vectoriser",
            ) from error
        on = "on its own reference data" if reference is not None else "whatever row it is asked"
        made = _made_elsewhere(loaded, output.format)
        hints = f" (it {made}: make it with that one)" if made else ""
        if isinstance(error, ModelError):
            hints += _of_csv(output, reference)
            if error.for_the_kind_of_rows:
                hints += _gets_arrays(loaded, output)
        raise RefusedError("ModelFails", f"The model fails {on}: {error}{hints}") from error
    return inferred.model_copy(update={"outputs": outputs}), tried


def _gets_arrays(loaded: LoadedModel, output: Output) -> str:
    if not output.modules or features_of(loaded.estimator).names:
        return ""
    return ". It gets arrays: a DataFrame gets what keeps feature_names_in_ when it is fitted"


def _of_csv(output: Output, reference: Reference | None) -> str:
    if reference is None or not (output.model.parent / "reference.csv").exists():
        return ""
    texts = [name for name in reference.features if reference.rows[name].dtype.kind == "O"]
    if not texts:
        return ""
    return (
        f". A CSV tells of no types, so these columns are text: {listed(texts)}. Where the model was fitted on dates "
        "or categories write reference.parquet, which keeps them, as sdk.save does"
    )


def _made_elsewhere(loaded: LoadedModel, name: ModelFormat) -> str:
    """With which version, in words that follow on `it`; empty if with the one that is here, or nobody knows."""
    framework, (_, here) = FORMATS[name].framework, formats.reader(FORMATS[name])
    if loaded.version in {None, here}:
        return ""
    return f"was made with {framework} {loaded.version}, and is asked by {here}"


def _contents(output: Output, reference: Reference | None, own: Mapping[str, bytes]) -> dict[str, Path | bytes]:
    contents: dict[str, Path | bytes] = {output.model.name: output.model, **own}
    if reference is not None:
        contents[PROFILE] = canonical_json(profile_of(reference))
    if output.card is not None:
        contents[CARD] = output.card
    return contents


def _entry(name: str, content: Path | bytes) -> FileEntry:
    if isinstance(content, Path):
        return entry_of(content, PurePosixPath(name))
    return FileEntry(path=name, sha256=digest(content).removeprefix("sha256:"), size=len(content))


def _framework(loaded: LoadedModel, name: ModelFormat) -> Framework:
    _, version = formats.reader(FORMATS[name])
    major, minor, _ = platform.python_version_tuple()
    return Framework(name=FORMATS[name].framework, version=loaded.version or version, python=f"{major}.{minor}")


def _environment(name: ModelFormat) -> tuple[str, ...]:
    package, _ = formats.reader(FORMATS[name])
    return tuple(f"{one}=={metadata.version(one)}" for one in sorted({*_ENVIRONMENT, package}))


def _store(
    folder: Path, run: RunSpec, manifest: ArtifactManifest, contents: Mapping[str, Path | bytes]
) -> store.Stored:
    try:
        return store.add(folder, manifest, contents)
    except store.StoreFullError as error:
        size = sum(entry.size for entry in manifest.files)
        raise FailedError(
            "StoreFull",
            f"The store {run.store} has no room for the artifact of {size} bytes ({error}): "
            "delete versions that are not needed, or enlarge the claim",
        ) from error
    except store.StoreNotWritableError as error:
        raise FailedError(
            "StoreNotWritable",
            f"The store {run.store} cannot be written to ({error}): give that user or one of the groups the right to "
            "write there (on the volume, or by fsGroup in spec.train.pod), or name a claim that is not read-only",
        ) from error
    except store.CorruptArtifactError as error:
        raise RefusedError(
            "CorruptArtifact", f"The store {run.store} holds this very artifact already, but damaged: {error}"
        ) from error
    except OSError as error:
        raise FailedError("StoreFailed", f"The store {run.store} failed: {error}") from error
