"""Recordings and policies as files."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

COLUMNS = ("time", "arm", "metric", "total", "bad", "le", "count", "pod")
MEANS = ("time", "arm", "metric", "number", "sum", "sumsq", "pod")
Row = Sequence[Any]
A_DEPLOYMENT = """
apiVersion: upright.dev/v1alpha1
kind: Deployment
metadata: {name: churn}
spec:
  modelVersion: churn-2
  rollout: {steps: [{weight: 25, for: 5m}, {weight: 50, for: 10m}]}
  monitoring: {interval: 30s, metrics: [{name: errors, type: ErrorRate}]}
"""


def a_policy_file(folder: Path, *metrics: dict[str, Any], **fields: Any) -> Path:
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump({"metrics": list(metrics) or [{"name": "errors", "type": "ErrorRate"}], **fields}))
    return path


def rows_of_errors(
    canary_rate: float, looks: int = 60, history: int = 40, pods: int = 4, cluster: int = 1, seed: int = 1
) -> list[Row]:
    """One canary pod from look `history` on and some stable pods, 150 requests each a look."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for look in range(looks):
        names = [("stable", f"stable-{pod}", 0.01) for pod in range(pods)]
        if look >= history:
            names.append(("canary", "canary-0", canary_rate))
        for arm, pod, rate in names:
            total = int(rng.poisson(150))
            bad = min(total, cluster * int(rng.poisson(total * rate / cluster)))
            rows.append((15 * look, arm, "errors", total, bad, "", "", pod))
    return rows


def rows_of_values(canary_mean: float, looks: int = 60, history: int = 40, pods: int = 4, seed: int = 1) -> list[Row]:
    """As `rows_of_errors`, with 150 values a look, such as revenues, of mean 10 and deviation 2 in stable."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for look in range(looks):
        names = [("stable", f"stable-{pod}", 10.0) for pod in range(pods)]
        if look >= history:
            names.append(("canary", "canary-0", canary_mean))
        for arm, pod, mean in names:
            values = rng.normal(mean, 2.0, 150)
            rows.append((15 * look, arm, "revenue", 150, values.sum(), (values**2).sum(), pod))
    return rows


def a_csv(folder: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> Path:
    path = folder / "looks.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
