"""A folder for KServe's scikit-learn server, which loads `model.joblib` from where `storageUri` says."""

import shutil
from pathlib import Path

from upright.cli.artifact import Artifact
from upright.cli.problems import Unusable
from upright.runtime.modules import names_in

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
_WITH_MODULES = """      env:
        - {name: PYTHONPATH, value: /mnt/models}   # where the server finds the folder, with the modules in it
        - {name: KSERVE_ALLOW_UNSAFE_DESERIALIZATION, value: "true"}   # newer servers import none otherwise
"""


def write(artifact: Artifact, _: str, folder: Path) -> str:
    """Write the model as a pickle. Raises Unusable, OSError."""
    import joblib

    manifest = artifact.manifest
    if manifest.framework.name != _FRAMEWORK:
        raise Unusable(f"--as kserve: expected a model of {_FRAMEWORK}, found one of {manifest.framework.name}")
    loaded, own = artifact.load(), names_in(manifest)
    folder.mkdir(parents=True)
    joblib.dump(loaded.estimator, folder / "model.joblib")
    for name in own:
        shutil.copyfile(artifact.folder / name, folder / name)
    service = _INFERENCE_SERVICE.format(model=manifest.model) + (_WITH_MODULES if own else "")
    return (
        "It is a pickle: whoever loads it runs what is in it, and only "
        f"{_FRAMEWORK} {manifest.framework.version} surely loads it, so the server's image must have that. Copy the "
        f"folder to where KServe can read it, and apply:\n\n{service}"
    ).rstrip()
