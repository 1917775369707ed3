"""Prints drift alarms and estimated performance on recorded data.

    python -m tests.bench.analysis.drift

NannyML's synthetic car loans (the change starts at row 25,000 of the analysis period); the employment of people in
Massachusetts by the US census, which NannyML's wheel holds too (a model of 2015, people of 2016 to 2018; the file of
2017 ends and that of 2018 begins with all who live in dormitories, homes and prisons, mixed in before); and river's
image segments, whose second half is given other classes. River's Elec2 is not in its wheel (river fetches it).
"""

import zipfile
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.bench.analysis.packages import from_wheel
from upright.analysis.drift import Feature, begin_drift, drifts, update_drift
from upright.analysis.unlabelled import calibrated, estimated, realised

BINS = 20
BETWEEN_FALSE_ALARMS = 1000  # batches
CAR_LOANS = "nannyml/datasets/data/synthetic_car_loan_"


def main() -> None:
    """Print the tables."""
    console = Console(width=120)
    reference, analysis, target = (_car_loans(part) for part in ("reference", "analysis", "analysis_target"))
    columns = _features(reference, "timestamp", "repaid", "y_pred")
    title = "Car loans: alarms in batches of 500 rows; the change is at row 25,000"
    console.print(_alarms(title, reference[columns], analysis[columns], batch=500, change=25_000))
    calm = analysis[columns].iloc[:25_000]
    title = "Car loans: the 25,000 rows before the change, three times over"
    console.print(_alarms(title, reference[columns], pd.concat([calm] * 3), batch=500, change=75_000))
    console.print(_performance("Car loans", reference, analysis, target, "repaid", chunk=5000))
    reference, analysis, target = (_employment(part) for part in ("reference", "analysis", "analysis_target"))
    columns = _features(reference, "year", "employed", "y_pred")
    change = _first_in_a_block(analysis["RELP"].astype(str).isin(("16", "17")))
    title = f"Employment: alarms in batches of 500 rows; the block begins at row {change}"
    console.print(_alarms(title, reference[columns], analysis[columns], batch=500, change=change))
    console.print(_performance("Employment", reference, analysis, target, "employed", chunk=10_000))
    known, stream, change = _segments()
    console.print(_alarms("Image segments: other classes from the change on", known, stream, batch=50, change=change))


def _car_loans(part: str) -> pd.DataFrame:
    return pd.read_csv(from_wheel("nannyml", f"{CAR_LOANS}{part}.csv"))


def _employment(part: str) -> pd.DataFrame:
    rows = pd.read_parquet(from_wheel("nannyml", f"nannyml/datasets/data/employment_MA_{part}.pq"))
    return rows.rename(columns={"prediction": "y_pred", "predicted_probability": "y_pred_proba"})


def _first_in_a_block(chosen: pd.Series, length: int = 1000) -> int:
    return int(np.flatnonzero(chosen.rolling(length).sum() == length)[0]) - length + 1


def _features(rows: pd.DataFrame, *others: str) -> list[str]:
    return [str(name) for name in rows if name not in ("id", *others)]


def _segments() -> tuple[pd.DataFrame, pd.DataFrame, int]:
    with zipfile.ZipFile(from_wheel("river", "river/datasets/segment.csv.zip")) as archive:
        rows = pd.read_csv(
            archive.open("segment.csv.zip" if "segment.csv.zip" in archive.namelist() else "segment.csv")
        )
    shuffled = rows.sample(frac=1, random_state=1)
    first = shuffled["category"].isin(["path", "foliage", "cement", "window"])
    features = shuffled.drop(columns=["category", "region-pixel-count"], errors="ignore")
    old, new = features[first], features[~first]
    half = len(old) // 2
    return old.iloc[:half], pd.concat([old.iloc[half:], new]), len(old) - half


def _alarms(title: str, reference: pd.DataFrame, stream: pd.DataFrame, batch: int, change: int) -> Table:
    cuts = {str(name): _cuts(values) for name, values in reference.items()}
    features = {name: _feature(reference[name], cuts[name]) for name in cuts}
    state = begin_drift(features, BETWEEN_FALSE_ALARMS)
    for start in range(0, len(stream), batch):
        rows = stream.iloc[start : start + batch]
        counts = {name: _counts(rows[name], cuts[name]).tolist() for name in features}
        state = update_drift(features, state, float(start + len(rows)), counts)
    table = Table("feature", "alarm", "PSI", "Jensen-Shannon", "W1 / sigma", title=title)
    for standing in drifts(features, state):
        at, size = standing.alarmed_at, standing.effect
        assert size is not None
        when = "none" if at is None else f"FALSE, row {at:.0f}" if at <= change else f"{at - change:.0f} rows after"
        distance = "-" if size.wasserstein is None else f"{size.wasserstein:.3f}"
        table.add_row(standing.feature, when, f"{size.psi:.3f}", f"{size.jensen_shannon:.3f}", distance)
    return table


Cuts = NDArray[np.float64] | Sequence[str]  # inner edges of numbers, or the categories


def _cuts(values: pd.Series) -> Cuts:
    if values.dtype.kind == "f" or (values.dtype.kind == "i" and values.nunique() > BINS):
        return np.unique(np.quantile(values.to_numpy(), np.linspace(0, 1, BINS + 1)[1:-1]))
    return sorted(values.astype(str).unique())


def _feature(values: pd.Series, cuts: Cuts) -> Feature:
    counts = tuple(_counts(values, cuts).tolist())
    if not isinstance(cuts, np.ndarray):
        return Feature(counts)
    numbers = values.to_numpy()
    edges = np.concatenate(([numbers.min()], cuts, [numbers.max()]))
    return Feature(counts, tuple(((edges[1:] + edges[:-1]) / 2).tolist()))


def _counts(values: pd.Series, cuts: Cuts) -> NDArray[np.int64]:
    if isinstance(cuts, np.ndarray):
        return np.bincount(np.searchsorted(cuts, values.to_numpy(), side="right"), minlength=len(cuts) + 1)
    seen = values.astype(str).value_counts()
    return np.array([int(seen.get(category, 0)) for category in cuts])


def _performance(
    name: str, reference: pd.DataFrame, analysis: pd.DataFrame, target: pd.DataFrame, label: str, chunk: int
) -> Table:
    calibration = calibrated(reference["y_pred_proba"], reference[label])
    title = f"{name}: performance estimated without labels (CBPE) and realised, by chunk"
    table = Table("rows", "AUC estimated", "AUC realised", "accuracy estimated", "accuracy realised", title=title)
    for start in range(0, len(analysis), chunk):
        rows = analysis.iloc[start : start + chunk]
        labels = target[label].iloc[start : start + chunk]
        without = estimated(calibration, rows["y_pred_proba"], rows["y_pred"])
        known = realised(rows["y_pred_proba"], rows["y_pred"], labels)
        pairs = ((without.auc, known.auc), (without.accuracy, known.accuracy))
        table.add_row(str(start), *(f"{value:.4f}" for pair in pairs for value in pair if value is not None))
    return table


if __name__ == "__main__":
    main()
