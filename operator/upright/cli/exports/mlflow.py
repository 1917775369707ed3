"""A folder as MLflow writes one of a scikit-learn model: written by hand, since MLflow's own program would store the
model anew; so it holds the very file whose digest was checked, and MLflow need not be installed.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from upright.api.artifact import ArtifactManifest, Signature, Tensor
from upright.cli.artifact import Artifact
from upright.cli.problems import Unusable
from upright.runtime.batch import is_date, is_matrix
from upright.runtime.formats.skops import SKOPS
from upright.runtime.modules import names_in
from upright.runtime.predictor import FURTHER
from upright.runtime.texts import takes_texts

(_FILE,) = SKOPS.files
_CODE = "code"
"""The folder that MLflow imports from; as its own program calls it."""

_COLUMNS = {
    "BOOL": "boolean",
    "INT8": "integer",
    "INT16": "integer",
    "INT32": "integer",
    "INT64": "long",
    "UINT8": "integer",
    "UINT16": "integer",
    "UINT32": "long",
    "FP32": "float",
    "FP64": "double",
    "BYTES": "string",
}
"""What MLflow calls the type of a column."""

_ARRAYS = {"BOOL": "bool", "FP32": "float32", "FP64": "float64", "BYTES": "str"}
"""What NumPy calls the type of an array, where that is not the protocol's name in small letters."""


def write(artifact: Artifact, _: str, folder: Path) -> str:
    """Write it. Raises Unusable, OSError."""
    import skops.io

    manifest = artifact.manifest
    if manifest.format != SKOPS.name:
        raise Unusable(f"--as mlflow: expected a model in format {SKOPS.name}, found one in {manifest.format}")
    if takes_texts(artifact.load().estimator):
        raise Unusable("--as mlflow: MLflow gives a model a table, and no list of texts, which this one takes")
    model = artifact.folder / _FILE
    trusted = skops.io.get_untrusted_types(file=model)  # those that are trusted here, or it would not have been loaded
    folder.mkdir(parents=True)
    shutil.copyfile(model, folder / _FILE)
    for name in names_in(manifest):
        (folder / _CODE).mkdir(exist_ok=True)
        shutil.copyfile(artifact.folder / name, folder / _CODE / name)
    described = {**_flavours(manifest, trusted), **_example(manifest, folder), **_signature(manifest.signature)}
    (folder / "MLmodel").write_text(yaml.safe_dump(described), encoding="utf-8")
    (folder / "requirements.txt").write_text("\n".join(("mlflow>=3.10", *manifest.environment, "")), encoding="utf-8")
    (folder / "python_env.yaml").write_text(
        yaml.safe_dump({"python": manifest.framework.python, "dependencies": ["-r requirements.txt"]}), encoding="utf-8"
    )
    return f"Serve it: mlflow models serve -m {folder}"


def _flavours(manifest: ArtifactManifest, trusted: Sequence[str]) -> dict[str, Any]:
    code = {"code": _CODE} if names_in(manifest) else {}
    return {
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.sklearn",
                "model_path": _FILE,
                "predict_fn": "predict",
                "python_version": manifest.framework.python,
                "env": {"virtualenv": "python_env.yaml"},
                **code,
            },
            "sklearn": {
                "pickled_model": _FILE,
                "serialization_format": "skops",
                "skops_trusted_types": list(trusted),
                "sklearn_version": manifest.framework.version,
                **code,
            },
        }
    }


def _signature(signature: Signature | None) -> dict[str, Any]:
    """MLflow refuses what has another type, so that nothing is said of a model some of whose types are not known."""
    if signature is None or any(tensor.type not in _COLUMNS for tensor in signature.inputs):
        return {}
    inputs = [_array(signature.inputs[0])] if is_matrix(signature) else [_column(one) for one in signature.inputs]
    answers = [_array(tensor) for tensor in signature.outputs if tensor.name not in FURTHER]
    return {"signature": {"inputs": json.dumps(inputs), **({"outputs": json.dumps(answers)} if answers else {})}}


def _column(tensor: Tensor) -> Mapping[str, Any]:
    """Required also where a value may lack: it is null then, and of a column that is left out MLflow tells the model
    nothing. Its server makes false of null where a column is boolean, which `any` is not.
    """
    if is_date(tensor):
        kind = "datetime"
    else:
        kind = "any" if tensor.missing and tensor.type == "BOOL" else _COLUMNS[_type(tensor)]
    return {"name": tensor.name, "type": kind, "required": True}


def _array(tensor: Tensor) -> Mapping[str, Any]:
    name = _type(tensor)
    return {"type": "tensor", "tensor-spec": {"dtype": _ARRAYS.get(name, name.lower()), "shape": list(tensor.shape)}}


def _type(tensor: Tensor) -> str:
    """Whole numbers of which some lack are doubles in MLflow."""
    return "FP64" if tensor.missing and "INT" in str(tensor.type) else str(tensor.type)


def _example(manifest: ArtifactManifest, folder: Path) -> dict[str, Any]:
    """A row that the model answers, as MLflow keeps it and as its server takes it."""
    row, signature = manifest.example, manifest.signature
    if row is None or signature is None:
        return {}
    frame = {"columns": [tensor.name for tensor in signature.inputs], "data": [row]}
    kept, asked, kind = (
        ([row], {"inputs": [row]}, {"type": "ndarray"})
        if is_matrix(signature)
        else (frame, {"dataframe_split": frame}, {"type": "dataframe", "pandas_orient": "split"})
    )
    for name, content in (("input_example.json", kept), ("serving_input_example.json", asked)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    files = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
    return {"saved_input_example_info": {**files, **kind}}
