"""Recordings and policies as files."""

import csv
from collections.abc import Iterable, Iterator, Sequence
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
    for time, arm, pod in looks_of_pods(looks, history, pods):
        rate = canary_rate if arm == "canary" else 0.01
        total = int(rng.poisson(150))
        bad = min(total, cluster * int(rng.poisson(total * rate / cluster)))
        rows.append((time, arm, "errors", total, bad, "", "", pod))
    return rows


def rows_of_values(canary_mean: float, looks: int = 60, history: int = 40, pods: int = 4, seed: int = 1) -> list[Row]:
    """As `rows_of_errors`, with 150 values a look, such as revenues, of mean 10 and deviation 2 in stable."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for time, arm, pod in looks_of_pods(looks, history, pods):
        values = rng.normal(canary_mean if arm == "canary" else 10.0, 2.0, 150)
        rows.append((time, arm, "revenue", 150, values.sum(), (values**2).sum(), pod))
    return rows


def looks_of_pods(looks: int, history: int, pods: int) -> Iterator[tuple[int, str, str]]:
    """Time, arm and name of each pod in each look: the canary's is there from look `history` on."""
    for look in range(looks):
        for pod in range(pods):
            yield 15 * look, "stable", f"stable-{pod}"
        if look >= history:
            yield 15 * look, "canary", "canary-0"


def a_csv(folder: Path, rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> Path:
    path = folder / "looks.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path
