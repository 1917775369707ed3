"""The reference profile: what the data looked like that a model was made for, small enough to keep for ever."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import canonical_json
from upright.runtime.reference import ANSWERS, Reference

if TYPE_CHECKING:
    import pandas as pd

_BINS = 20
_CATEGORIES = 64
_NAME_LENGTH = 64
_CLASSES = 64
_PROFILE_BYTES = 1_000_000


def profile_of(reference: Reference) -> dict[str, Any]:
    """Describe each feature, the predictions and the scores of the reference data.

    A numeric column has quantile bins: `edges` e0 < ... < en and n + 2 `counts`: below e0, from e(i-1) up to below ei
    (the last with en), above en; the outer two are 0 here and there for what comes later. A categorical column has the
    counts of its most frequent values. Both count what is missing. At most _PROFILE_BYTES as canonical JSON: rare
    categories become `other` until it fits.
    """
    categories = _CATEGORIES
    while True:
        profile = _profile(reference, categories)
        if len(canonical_json(profile)) <= _PROFILE_BYTES or categories == 1:
            return profile
        categories //= 2


def _profile(reference: Reference, categories: int) -> dict[str, Any]:
    rows, answers = reference.rows, reference.answers
    features = {str(name): _column(rows[name], categories) for name in rows.columns if name not in answers}
    profile: dict[str, Any] = {"schemaVersion": 1, "rows": len(rows), "features": features}
    if "prediction" in answers:
        profile["predictions"] = _predictions(rows["prediction"])
    if len(answers) == len(ANSWERS) and (scores := _scores(rows)) is not None:
        profile["scores"] = scores
    return profile


def _column(column: "pd.Series[Any]", categories: int) -> dict[str, Any]:
    return _numeric(column) if _is_numeric(column) else _categorical(column, categories)


def _predictions(column: "pd.Series[Any]") -> dict[str, Any]:
    if _is_numeric(column) and not _is_whole(column) and column.nunique() > _CLASSES:
        return _numeric(column)
    return _categorical(column, _CLASSES)


def _is_numeric(column: "pd.Series[Any]") -> bool:
    import pandas as pd

    dtype = column.dtype
    return pd.api.types.is_numeric_dtype(dtype) and not (
        pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_complex_dtype(dtype)
    )


def _is_whole(column: "pd.Series[Any]") -> bool:
    import pandas as pd

    return pd.api.types.is_integer_dtype(column.dtype)


def _numeric(column: "pd.Series[Any]") -> dict[str, Any]:
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    finite = values[np.isfinite(values)]
    edges = _edges(finite)
    return {"edges": edges.tolist(), "counts": _counts(finite, edges).tolist(), "missing": len(values) - len(finite)}


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        return np.array([], dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.quantile(values, np.linspace(0, 1, _BINS + 1))
    return np.unique(edges[np.isfinite(edges)])  # the span of the largest doubles is infinite


def _bins(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """0 below the first edge, len(edges) above the last; a value on the last edge is in the last bin but one."""
    return np.where(values == edges[-1], max(len(edges) - 1, 1), np.searchsorted(edges, values, side="right"))


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    if not len(edges):
        return np.zeros(0, dtype=np.intp)
    return np.bincount(_bins(values, edges), minlength=len(edges) + 1)


def _categorical(column: "pd.Series[Any]", categories: int) -> dict[str, Any]:
    present = column.dropna().astype(str).str.slice(0, _NAME_LENGTH)
    counts = present.value_counts(sort=False).to_dict()
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:categories]
    return {
        "categories": dict(frequent),
        "other": len(present) - sum(count for _, count in frequent),
        "missing": len(column) - len(present),
    }


def _scores(rows: "pd.DataFrame") -> dict[str, Any] | None:
    """How often the prediction was right, by quantile bin of the score; rows without one or a label are left out, and
    so is all of it where scores are no numbers.
    """
    if not _is_numeric(rows["score"]):
        return None
    known = rows.dropna(subset=["prediction", "label", "score"])
    known = known[np.isfinite(known["score"].to_numpy(dtype=np.float64))]
    scores = known["score"].to_numpy(dtype=np.float64)
    right = (known["prediction"].astype(object) == known["label"].astype(object)).to_numpy(dtype=bool)
    edges = _edges(scores)
    return {
        "edges": edges.tolist(),
        "counts": _counts(scores, edges).tolist(),
        "right": _counts(scores[right], edges).tolist(),
    }
