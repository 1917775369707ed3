"""A page of convenience for training programs; what it reads and writes is documented, so nobody needs it.

from upright.runtime import sdk

model = train(sdk.data("train"), **sdk.parameters())
sdk.save(model, metrics={"accuracy": 0.97}, reference=rows)
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, SupportsFloat

if TYPE_CHECKING:
    import pandas as pd


def parameters() -> dict[str, Any]:
    """The run's parameters."""
    content: dict[str, Any] = json.loads(Path(os.environ["UPRIGHT_PARAMETERS"]).read_text(encoding="utf-8"))
    return content


def data(name: str) -> Path:
    """The folder of a data source."""
    return Path(os.environ["UPRIGHT_DATA"]) / name


def code() -> Path:
    """The folder of the training program."""
    return Path(os.environ["UPRIGHT_CODE"])


def check(model: Any, *, modules: Sequence[str | Path] = ()) -> None:
    """Say what `publish` would refuse of a model, before hours of training: it need not be fitted. `modules`: the files
    that are to go with it.

    Raises UntrustedTypesError with each type that is not trusted and where in the model it is, ModulesNotAllowedError,
    BadModuleError, UnreadableModelError for what else is wrong with it, and TypeError for what skops cannot store.
    """
    from upright.runtime import formats
    from upright.runtime.environment import limits_of
    from upright.runtime.modules import read, with_modules

    limits = limits_of({**os.environ, "UPRIGHT_ALLOWED_FORMATS": "skops"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skops"
        _dump(model, path)
        formats.load(path, "skops", with_modules(limits, read([Path(module) for module in modules])))


def save(
    model: Any,
    *,
    metrics: Mapping[str, SupportsFloat | None] | None = None,
    reference: "pd.DataFrame | None" = None,
    modules: Sequence[str | Path] = (),
) -> None:
    """Write a scikit-learn model, its metrics, and reference data: rows of features, with columns prediction, label and
    score where known. They are Parquet, which keeps their types; where that has no place for a column (mixed or sparse
    values), they are CSV. `modules`: the files of the program that define parts of the model.

    Raises TypeError for what skops cannot store.
    """
    from upright.runtime.modules import FOLDER

    if len({Path(module).name for module in modules}) < len(modules):
        raise ValueError(f"modules: two have the same name; give one of them another: {', '.join(map(str, modules))}")
    # float: of other libraries they are numbers that JSON has no word for
    numbers = {name: value if value is None else float(value) for name, value in (metrics or {}).items()}
    output = Path(os.environ["UPRIGHT_OUTPUT"])
    _dump(model, output / "model.skops")
    for module in modules:
        (output / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(module, output / FOLDER / Path(module).name)
    if metrics is not None:
        (output / "metrics.json").write_text(json.dumps(numbers), encoding="utf-8")
    if reference is not None:
        try:
            content = reference.to_parquet(index=False)
        except Exception:  # noqa: BLE001 - whatever Parquet has no place for: a program that has trained goes on
            reference.to_csv(output / "reference.csv", index=False)
        else:
            (output / "reference.parquet").write_bytes(content)


def _dump(model: Any, path: Path) -> None:
    """Raises TypeError."""
    import skops.io

    try:
        skops.io.dump(model, path)
    except TypeError as error:
        raise TypeError(f"skops cannot store a {type(model).__name__}: {error}") from error
    except RecursionError as error:
        raise TypeError(
            f"skops cannot store a {type(model).__name__}: it holds itself, or is nested too deeply{_ring(error)}. "
            "Delete the attribute that leads back before the model is saved"
        ) from None


def _ring(error: RecursionError) -> str:
    """The names by which skops was led back to what it was already writing; empty if it was not."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "get_state"]
    names, met = "", set[int]()
    for holder, held in pairwise(frame.f_locals.get("value") for frame in frames):
        met.add(id(holder))
        if isinstance(holder, dict):
            names += "".join(f".{name}" for name, value in holder.items() if value is held)
        if id(held) in met:
            return f" (at {names})"
    return ""
