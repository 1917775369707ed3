"""An artifact that a user names by its folder."""

import argparse
import os
from dataclasses import dataclass, replace
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
    modules: bool = False
    """Whether its modules may be imported here, whatever the environment says."""

    @property
    def name(self) -> str:
        """Of its folder: what stands for a version where there is none."""
        return self.folder.name

    def load(self) -> LoadedModel:
        """The model, of what may be loaded here. Raises Unusable."""
        try:
            limits = limits_of(os.environ)
            return load_verified(self.folder, self.manifest, replace(limits, modules=limits.modules or self.modules))
        except (RefusedError, LoadError) as problem:
            raise Unusable(f"{self.folder}: {problem}") from problem


def artifact_arguments(parser: argparse.ArgumentParser) -> None:
    """What a command takes that is told of an artifact."""
    parser.add_argument("artifact", type=Path, help="the artifact's folder: STORE/MODEL/sha256-...")
    parser.add_argument(
        "--allow-modules", action="store_true", help="import the modules that go with the model, which runs them"
    )


def artifact_in(folder: Path, *, modules: bool = False) -> Artifact:
    """The artifact in a folder that has its digest for a name. Raises Unusable."""
    real = folder.resolve()
    digest = real.name.replace("-", ":", 1)
    try:
        return Artifact(real, digest, store.verify(real, digest), modules)
    except (store.MissingArtifactError, store.CorruptArtifactError, OSError) as problem:
        raise Unusable(f"{folder}: expected an artifact, STORE/MODEL/sha256-...: {problem}") from problem
