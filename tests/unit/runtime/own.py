"""Builders: a training program with modules of its own, of which its model is made."""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.unit.runtime.pod import Pod
from upright.runtime import sdk

FEATURES = """
from os import system
from shutil import rmtree

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Clipper(TransformerMixin, BaseEstimator):
    def __init__(self, most=1.0):
        self.most = most

    def fit(self, rows, classes=None):
        self.feature_names_in_ = np.asarray(rows.columns, dtype=object)
        return self

    def transform(self, rows):
        return rows.assign(a=rows["a"].clip(0, self.most))


def doubled(rows):
    return rows * 2
"""
ROWS = pd.DataFrame({"a": [i % 7 - 2.0 for i in range(60)], "b": [i % 5 + 0.5 for i in range(60)]})
CLASSES = [int(a > b) for a, b in zip(ROWS["a"], ROWS["b"], strict=True)]
ALLOWED = {"UPRIGHT_ALLOW_MODULES": "true"}


def a_model(features: Any) -> Pipeline:
    return make_pipeline(features.Clipper(3.0), FunctionTransformer(features.doubled), LogisticRegression())


def trained(pod: Pod, modules: Mapping[str, str] | None = None, features: str = FEATURES) -> list[Any]:
    """The program has saved its model, made of features.py, with that or with other modules; the model's answers to
    ROWS.
    """
    (pod.code / "features.py").write_text(features)
    with patch.object(sys, "path", [str(pod.code), *sys.path]), patch.dict("os.environ", pod.variables):
        model = a_model(import_module("features")).fit(ROWS, CLASSES)
        sdk.save(
            model,
            metrics={"accuracy": 0.97},
            reference=ROWS,
            modules=[pod.code / "features.py"] if modules is None else (),
        )
        answers: list[Any] = model.predict(ROWS).tolist()
    del sys.modules["features"]
    for name, source in (modules or {}).items():
        path = pod.output / "modules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return answers


def forget(*names: str) -> None:
    """What has been imported is the process's for ever, and tests share one."""
    for name in ("features", *names):
        sys.modules.pop(name, None)


def served(pod: Pod, uri: str, digest: str) -> dict[str, str]:
    """The environment of a pod that serves what has been published."""
    return {
        "UPRIGHT_ARTIFACT": str(pod.store / uri.removeprefix("pvc://models/")),
        "UPRIGHT_DIGEST": digest,
        "UPRIGHT_MODEL": "churn",
        "UPRIGHT_MODEL_VERSION": "churn-7",
        "UPRIGHT_TERMINATION_LOG": str(pod.root / "termination-log"),
    }


def module_in(environment: Mapping[str, str], name: str = "features.py") -> Path:
    """The file in an artifact, which may be changed."""
    path = Path(environment["UPRIGHT_ARTIFACT"]) / name
    path.chmod(0o644)
    return path
