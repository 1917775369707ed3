"""From a mounted artifact to a model that can be served: nothing is opened before it has been verified."""

import errno
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upright.api.artifact import ArtifactManifest, Signature
from upright.runtime import formats, modules, store
from upright.runtime.environment import Limits, folder_of, limits_of, text_of, this_user
from upright.runtime.formats import LoadedModel
from upright.runtime.lean import make_lean, spoils_others
from upright.runtime.outcome import FailedError, LoadError, RefusedError
from upright.runtime.predictor import PREDICTION, Predictor
from upright.runtime.scratch import prefix_of


@dataclass(frozen=True)
class ServedModel:
    """A verified model and what to call it."""

    model: str
    version: str
    platform: str
    predictor: Predictor
    example: tuple[Any, ...] | None
    alone: bool = False
    """Whether calls beside each other might spoil each other's answers, as those of a step do that keeps its rows."""

    @property
    def outputs(self) -> Sequence[str]:
        """The names of what can be asked for; the first is the answer to who asks for none."""
        return [tensor.name for tensor in self.predictor.signature.outputs] or [PREDICTION]


def load_artifact(environment: Mapping[str, str]) -> ServedModel:
    """Verify and load the artifact that the environment names. Raises RefusedError or FailedError."""
    folder, limits = folder_of(environment, "UPRIGHT_ARTIFACT"), limits_of(environment)
    version = text_of(environment, "UPRIGHT_MODEL_VERSION")
    try:
        manifest, loaded = _verified(folder, text_of(environment, "UPRIGHT_DIGEST"), limits)
    except store.MissingArtifactError as error:
        raise RefusedError("Missing", f"The artifact of {version} is not in the store: {error}") from error
    except store.CorruptArtifactError as error:
        raise RefusedError("Corrupt", f"The artifact of {version} is not what was published: {error}") from error
    except formats.FormatNotAllowedError as error:
        raise RefusedError("FormatNotAllowed", f"The model of {version} is refused: {error}") from error
    except modules.ModulesNotAllowedError as error:
        raise RefusedError("ModulesNotAllowed", f"The model of {version} is refused: {error}") from error
    except LoadError as error:
        raise RefusedError("Unloadable", f"The model of {version} cannot be loaded: {error}") from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise FailedError(
                "NoSpace",
                f"The artifact of {version} cannot be loaded: there is no space for a copy of it in "
                f"{tempfile.gettempdir()}: {error}. In a pod that is the node's disk: free some of it",
            ) from error
        raise FailedError(
            "Unreadable",
            f"The artifact of {version} cannot be read by {this_user()}: {error}. "
            "Let that user or group read the claim: on the volume, or by securityContext in spec.serving.pod",
        ) from error
    make_lean(loaded.estimator)
    return ServedModel(
        model=text_of(environment, "UPRIGHT_MODEL"),
        version=version,
        platform=manifest.framework.name,
        predictor=Predictor(loaded.estimator, _signature(manifest, version)),
        example=manifest.example,
        alone=bool(modules.names_in(manifest)) or spoils_others(loaded.estimator),
    )


def _verified(folder: Path, digest: str, limits: Limits) -> tuple[ArtifactManifest, LoadedModel]:
    """Read every file once, check it, and load the model from a private copy of the very bytes that were checked: what
    the store holds a moment later does not matter.
    """
    manifest = store.read_manifest(folder, digest)
    size = sum(entry.size for entry in manifest.files)
    if size > limits.artifact_bytes:
        raise formats.UnreadableModelError(f"it has {size} bytes; at most {limits.artifact_bytes} are allowed")
    with tempfile.TemporaryDirectory(prefix=prefix_of("artifact")) as private:
        for entry in manifest.files:
            store.copy_verified(folder, entry, Path(private) / entry.path)
        return manifest, load_verified(Path(private), manifest, limits)


def load_verified(folder: Path, manifest: ArtifactManifest, limits: Limits) -> LoadedModel:
    """The model of an artifact that has been verified, once the modules that go with it have been imported.

    Raises LoadError.
    """
    own = modules.read([folder / name for name in modules.names_in(manifest)])
    model = folder / formats.model_in(manifest)
    return formats.load(model, manifest.format, modules.with_modules(limits, own))


def _signature(manifest: ArtifactManifest, version: str) -> Signature:
    if manifest.signature is None:
        raise RefusedError("Unloadable", f"The manifest of {version} has no signature, so requests cannot be checked")
    return manifest.signature
