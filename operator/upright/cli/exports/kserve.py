"""A folder for KServe's scikit-learn server, which loads `model.joblib` from where `storageUri` says."""

import os
from pathlib import Path

from upright.cli.artifact import Artifact
from upright.cli.problems import Unusable
from upright.runtime import formats
from upright.runtime.environment import limits_of

_FRAMEWORK = "scikit-learn"
_INFERENCE_SERVICE = """apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {{name: {model}}}
spec:
  predictor:
    model:
      modelFormat: {{name: sklearn}}
      storageUri: pvc://CLAIM/PATH   # where you have copied the folder to
"""


def write(artifact: Artifact, _: str, folder: Path) -> str:
    """Write the model as a pickle. Raises Unusable, OSError."""
    import joblib

    manifest = artifact.manifest
    if manifest.framework.name != _FRAMEWORK:
        raise Unusable(f"--as kserve: expected a model of {_FRAMEWORK}, found one of {manifest.framework.name}")
    name = formats.model_in(manifest)
    try:
        loaded = formats.load(artifact.folder / name, manifest.format, limits_of(os.environ))
    except (formats.FormatNotAllowedError, formats.UntrustedTypesError, formats.UnreadableModelError) as problem:
        raise Unusable(f"{artifact.folder}: {problem}") from problem
    folder.mkdir(parents=True)
    joblib.dump(loaded.estimator, folder / "model.joblib")
    return (
        "It is a pickle: whoever loads it runs what is in it, and only "
        f"{_FRAMEWORK} {manifest.framework.version} surely loads it, so the server's image must have that. Copy the "
        f"folder to where KServe can read it, and apply:\n\n{_INFERENCE_SERVICE.format(model=manifest.model)}"
    ).rstrip()
