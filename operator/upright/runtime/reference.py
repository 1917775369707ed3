"""Reference data as a training program wrote it: rows of features, read as the model was fitted on them.

The types come from the model or its file where these tell them, from the schema of reference.parquet where they do
not, and are guessed from reference.csv, as pandas does, where nothing else is left.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upright.api.artifact import Tensor
from upright.runtime.environment import Limits
from upright.runtime.folder import NotAFileError
from upright.runtime.learnt import NOTHING, Learnt, learn
from upright.runtime.outcome import RefusedError
from upright.runtime.output import inside, reading
from upright.runtime.texts import features_of

if TYPE_CHECKING:
    import pandas as pd

ANSWERS = ("prediction", "label", "score")
"""Columns that are no features, unless the model was fitted on one of that name."""

_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What pandas takes for a missing value in a column that the model does not know as text."""


class NoFeaturesError(Exception):
    """The columns of the reference data are not those that the model takes."""


@dataclass(frozen=True)
class Reference:
    """Rows, and which of their columns are features, in the model's order, and which are answers."""

    rows: "pd.DataFrame"
    features: tuple[str, ...]

    @property
    def answers(self) -> Sequence[str]:
        """Those of prediction, label and score that are there."""
        return [name for name in ANSWERS if name in self.rows and name not in self.features]


def read_reference(
    folder: Path, limits: Limits, estimator: Any, filed: tuple[Tensor, ...] | None = None
) -> Reference | None:
    """`filed`: the inputs as the model's own file tells them.

    Raises NoFeaturesError, RefusedError, or FailedError for what cannot be read at all.
    """
    with reading():
        names = [name for name in ("reference.csv", "reference.parquet") if inside(folder, name).exists()]
        if not names:
            return None
        if len(names) == 2:
            raise RefusedError(
                "BadReference", "The training program wrote reference.csv and reference.parquet; write one of them"
            )
        path = inside(folder, names[0])
        if (size := path.stat().st_size) > limits.artifact_bytes:
            raise RefusedError("TooLarge", f"{names[0]} has {size} bytes; at most {limits.artifact_bytes} are allowed")
        if not path.is_file():
            raise NotAFileError(f"{names[0]} is not a file")
        try:
            return (_csv if names[0].endswith(".csv") else _parquet)(path, estimator, filed)
        except (OSError, MemoryError, NoFeaturesError, RefusedError):
            raise
        except Exception as error:  # the readers raise their own parsers' errors
            raise RefusedError("BadReference", f"{names[0]} cannot be read: {str(error)[:200]}") from error


def _csv(path: Path, estimator: Any, filed: tuple[Tensor, ...] | None) -> Reference:
    import pandas as pd

    header = [str(name) for name in pd.read_csv(path, nrows=0).columns]
    features, learnt = _features_of(header, estimator, filed)
    texts = {name for name, known in learnt.items() if known.kind == "text"}
    if _classes_are_text(estimator):
        texts |= {name for name in header if name in ANSWERS[:2] and name not in features}
    types = {name: known.dtype for name, known in learnt.items() if known.dtype is not None}
    rows = pd.read_csv(
        path,
        dtype=dict.fromkeys(texts, "str"),
        keep_default_na=False,
        na_values={name: [""] if name in texts else list(_MISSING) for name in header},
        parse_dates=[name for name in types if learnt[name].kind == "date"],
    )
    for name, tensor in zip(features, filed or (), strict=False):
        if tensor.type is None and {str(value).casefold() for value in rows[name].dropna()} & {"true", "false"}:
            raise RefusedError(
                "BadReference",
                f"{path.name} has True and False in column {name!r}, a category of which the model's file does not "
                "tell whether they are texts or booleans, and each is answered otherwise. Write reference.parquet, "
                "which keeps types",
            )
    return _reference(rows.astype(types), features, learnt, path.name)


def _parquet(path: Path, estimator: Any, filed: tuple[Tensor, ...] | None) -> Reference:
    import pandas as pd

    rows = pd.read_parquet(path)
    rows.columns = [str(name) for name in rows.columns]
    if not rows.columns.is_unique:
        raise RefusedError("BadReference", f"{path.name} names a column twice")
    for name in _categorical(path) & set(rows.columns):
        rows[name] = rows[name].astype("category")
    features, learnt = _features_of(list(rows.columns), estimator, filed)
    return _reference(rows, features, learnt, path.name)


def _categorical(path: Path) -> set[str]:
    """Columns that were categories when pandas wrote them: Parquet keeps that of texts only."""
    import pyarrow.parquet

    told = pyarrow.parquet.read_schema(path).pandas_metadata or {}
    return {str(column["name"]) for column in told.get("columns", ()) if column["pandas_type"] == "categorical"}


def _reference(rows: "pd.DataFrame", features: tuple[str, ...], learnt: Mapping[str, Learnt], name: str) -> Reference:
    if not len(rows) or not len(rows.columns):
        raise RefusedError("BadReference", f"{name} holds no row; write rows of features, or leave it out")
    if not rows.columns.is_unique:
        raise RefusedError("BadReference", f"{name} names a column twice")
    for feature, known in learnt.items():
        column = rows[feature]
        lacks = column.isna()
        if known.null is None and lacks.any() and (column.dtype == object or known.kind == "text"):
            rows[feature] = column.astype(object).where(~lacks, None)
        elif known.null is not None and column.dtype == object and lacks.any():
            rows[feature] = column.where(~lacks, np.nan)
    return Reference(rows.reset_index(drop=True), features)


def _features_of(
    columns: Sequence[str], estimator: Any, filed: tuple[Tensor, ...] | None
) -> tuple[tuple[str, ...], Mapping[str, Learnt]]:
    """The columns that the model takes, in its order, with what it tells of each. Raises NoFeaturesError."""
    names, count, texts = features_of(estimator)
    features = names or tuple(name for name in columns if name not in ANSWERS)
    if absent := [name for name in features if name not in columns]:
        raise NoFeaturesError(
            f"the reference data lacks the column {absent[0]!r}, which the model takes; "
            f"its columns are {', '.join(columns)}"
        )
    if count is not None and len(features) != count:
        raise NoFeaturesError(
            f"the reference data has {len(features)} features ({', '.join(features)}), but the model takes {count}: "
            f"name other columns {', '.join(ANSWERS)} or leave them out; a feature has such a name only where the "
            "model was fitted on a DataFrame"
        )
    if filed:
        learnt = _of_file(filed if len(filed) == len(features) else filed * len(features))
    else:
        learnt = (Learnt("text"),) if texts else learn(estimator)
    told = learnt if len(learnt) == len(features) else (NOTHING,) * len(features)
    return features, dict(zip(features, told, strict=True))


def _of_file(inputs: tuple[Tensor, ...]) -> tuple[Learnt, ...]:
    """What may be of any type is text, too: 00501 is another category than 501."""
    return tuple(Learnt("text") if tensor.type in {"BYTES", None} else NOTHING for tensor in inputs)


def _classes_are_text(estimator: Any) -> bool:
    classes = getattr(estimator, "classes_", None)
    return isinstance(classes, np.ndarray) and all(isinstance(each, str) for each in classes.tolist())
