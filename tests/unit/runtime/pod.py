"""Builders: the folders of a run's pod, and small real models."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from upright.api.artifact import Inputs, Refusal, read_report

PROGRAM = "from upright.runtime.main import main; main()"
PLANS = ["prepaid", "basic", "premium"]


@dataclass
class Pod:
    """The folders of a run's pod and the environment of its containers."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    run: dict[str, Any] = field(
        default_factory=lambda: {
            "model": "churn",
            "run": "churn-7",
            "namespace": "production",
            "store": "pvc://models",
            "parameters": {"depth": 4},
        }
    )

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of `data` and `publish`."""
        return {
            "UPRIGHT_RUN": json.dumps(self.run),
            "UPRIGHT_DATA": str(self.data),
            "UPRIGHT_CODE": str(self.code),
            "UPRIGHT_OUTPUT": str(self.output),
            "UPRIGHT_STORE": str(self.store),
            "UPRIGHT_WORK": str(self.work),
            "UPRIGHT_TERMINATION_LOG": str(self.root / "termination-log"),
            **self.environment,
        }

    def execute(self, command: str, program: str = PROGRAM) -> tuple[int, dict[str, Any]]:
        """Run a command as a container does: its exit status and termination message."""
        done = subprocess.run(
            [sys.executable, "-c", program, command],
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        log = self.root / "termination-log"
        return done.returncode, told(log.read_text()) if log.exists() else {}

    @contextmanager
    def running(self, command: str, **how: Any) -> Iterator[subprocess.Popen[str]]:
        """A command as a container runs it, with what it prints to read; ended in the end."""
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, command],
            **{"env": self.variables, **how},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def trained(self, model: Any, **files: str) -> "Pod":
        """The training program has written a model and further files, by name with _ for the dot."""
        skops.io.dump(model, self.output / "model.skops")
        for name, content in files.items():
            (self.output / name.replace("_", ".")).write_text(content)
        return self


def told(message: str) -> dict[str, Any]:
    """What a termination message says."""
    if '"reason"' in message:
        return Refusal.model_validate_json(message).model_dump(exclude_defaults=True)
    if message.startswith('{"data":'):
        return Inputs.model_validate_json(message).model_dump(mode="json", exclude_none=True)
    return read_report(message).model_dump(mode="json", by_alias=True, exclude_none=True)


def a_pod(root: Path) -> Pod:
    """A pod of a run of model churn, with nothing in any folder yet."""
    pod = Pod(root)
    for folder in (pod.data, pod.code, pod.output, pod.store, pod.work):
        folder.mkdir()
    return pod


def customers() -> pd.DataFrame:
    """A few customers; some have no known income."""
    rows = [(PLANS[i % 3], i % 36, None if i % 7 == 0 else 1000.0 + 10 * i, i % 5 == 0, i % 2) for i in range(120)]
    return pd.DataFrame(rows, columns=["plan", "tenure", "income", "paperless", "label"])


def a_matrix_model() -> LogisticRegression:
    """Four features without names; the answer is whether the first is above the second."""
    rows = [[i % 7, i % 5, i % 3, 1.0] for i in range(60)]
    return LogisticRegression().fit(rows, [int(a > b) for a, b, *_ in rows])


def a_pipeline(known: list[str] | None = None, *, handle_unknown: str = "error") -> Pipeline:
    """Named columns of several types. `known`: the plans that training has seen."""
    data = customers()
    data = data[data["plan"].isin(known or PLANS)]
    columns = ColumnTransformer(
        [
            ("plan", OneHotEncoder(handle_unknown=handle_unknown), ["plan"]),
            ("numbers", StandardScaler(), ["tenure"]),
            ("rest", "passthrough", ["income", "paperless"]),
        ]
    )
    features = data[["plan", "tenure", "income", "paperless"]]
    return make_pipeline(columns, DecisionTreeClassifier(max_depth=4, random_state=0)).fit(features, data["label"])


def reference_csv(model: Any) -> str:
    """The model's reference data as a training program writes it."""
    data = customers()
    features = data.drop(columns="label")
    scores = model.predict_proba(features)[:, 1]
    return data.assign(prediction=model.predict(features), score=scores).to_csv(index=False)
