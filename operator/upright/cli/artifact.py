"""An artifact that a user names by its folder."""

from dataclasses import dataclass
from pathlib import Path

from upright.api.artifact import ArtifactManifest
from upright.cli.problems import Unusable
from upright.runtime import store


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


def artifact_in(folder: Path) -> Artifact:
    """The artifact in a folder that has its digest for a name. Raises Unusable."""
    real = folder.resolve()
    digest = real.name.replace("-", ":", 1)
    try:
        return Artifact(real, digest, store.verify(real, digest))
    except (store.MissingArtifactError, store.CorruptArtifactError, OSError) as problem:
        raise Unusable(f"{folder}: expected an artifact, STORE/MODEL/sha256-...: {problem}") from problem
