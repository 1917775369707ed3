"""An artifact that a user names by its folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from upright.api.artifact import ArtifactManifest
from upright.cli.problems import Unusable
from upright.runtime import store
from upright.runtime.artifact import load_verified
from upright.runtime.environment import limits_of
from upright.runtime.formats import LoadedModel
from upright.runtime.outcome import LoadError, RefusedError


@dataclass(frozen=True)
class Artifact:
    """An artifact, every file of which is what the digest says."""

    folder: Path
    digest: str
    manifest: ArtifactManifest

    @property
    def name(self) -> str:
        """Of its folder: what stands for a version where there is none."""
        return self.folder.name

    def load(self) -> LoadedModel:
        """The model, of what may be loaded here. Raises Unusable."""
        try:
            return load_verified(self.folder, self.manifest, limits_of(os.environ))
        except (RefusedError, LoadError) as problem:
            raise Unusable(f"{self.folder}: {problem}") from problem


def artifact_in(folder: Path) -> Artifact:
    """The artifact in a folder that has its digest for a name. Raises Unusable."""
    real = folder.resolve()
    digest = real.name.replace("-", ":", 1)
    try:
        return Artifact(real, digest, store.verify(real, digest))
    except (store.MissingArtifactError, store.CorruptArtifactError, OSError) as problem:
        raise Unusable(f"{folder}: expected an artifact, STORE/MODEL/sha256-...: {problem}") from problem
