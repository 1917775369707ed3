"""Models as LightGBM saves them, model.txt: trees with the names of features, and the categories that pandas gave.

Labels of classes are not in the file, so classes are numbers from 0.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upright.api.artifact import Tensor
from upright.runtime.environment import Limits
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError
from upright.runtime.formats.model import Model, classifier, threads, type_of, typed, unnamed

_CLASSES = ("binary", "multiclass", "multiclassova")


def load(path: Path, _: Limits) -> LoadedModel:
    """Raises UnreadableModelError."""
    try:
        import lightgbm
    except OSError as error:
        raise UnreadableModelError(f"LightGBM does not start here, so {path.name} cannot be read: {error}") from error
    header = _header(path)
    try:
        booster = lightgbm.Booster(model_file=str(path))
        categories = _categories(path, header, booster.pandas_categorical or ())
    except (lightgbm.basic.LightGBMError, ValueError, KeyError, TypeError) as error:
        raise UnreadableModelError(f"{path.name} is not a model of LightGBM: {str(error)[:300]}") from error
    features = booster.num_feature()
    given = header["feature_names"].split(" ")
    names = [] if given == [f"Column_{index}" for index in range(features)] else given

    def values(rows: Any) -> NDArray[Any]:
        return np.asarray(booster.predict(typed(rows, categories), num_threads=threads()))

    objective = header.get("objective", "").partition(" ")[0]
    model = classifier(values, features, names) if objective in _CLASSES else Model(values, features, names)
    return LoadedModel(model, None, _inputs(names, categories) if names else unnamed(features))


def _header(path: Path) -> Mapping[str, str]:
    """What stands before the first tree. A file that was cut would be a model of fewer trees, without a word."""
    header: dict[str, str] = {}
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        if (first := file.readline(16)).strip() != "tree":
            raise UnreadableModelError(f"{path.name} is not a model of LightGBM: its first line is not 'tree'")
        if first.endswith("\r\n"):
            raise UnreadableModelError(
                f"{path.name} has line ends of Windows (CRLF), which LightGBM cannot read: it knows where each tree "
                f"begins by counting bytes. Copy the file as it was saved, as a binary one ({path.name} binary in "
                ".gitattributes)"
            )
        for line in file:
            if line.startswith("Tree="):
                break
            name, _, value = line.rstrip("\n").partition("=")
            header[name] = value
        if not any(line.rstrip("\n") == "end of trees" for line in file):
            raise UnreadableModelError(f"{path.name} is cut: the line 'end of trees' is not there")
    if missing := {"feature_names", "feature_infos", "max_feature_idx"} - header.keys():
        raise UnreadableModelError(f"{path.name} is not a model of LightGBM: it lacks {', '.join(sorted(missing))}")
    return header


def _categories(path: Path, header: Mapping[str, str], told: Sequence[Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The categories of each column that pandas had made one of categories. The file says them in the order of these
    columns, and which features have categories at all: such a feature's info is numbers with colons and no range.
    """
    names, infos = header["feature_names"].split(" "), header["feature_infos"].split(" ")
    split = {name: info for name, info in zip(names, infos, strict=True) if info[:1] not in {"[", "n", ""}}
    if told and (len(told) != len(split) or not all(map(_fits, split.values(), told))):
        raise UnreadableModelError(
            f"{path.name} holds the categories of {len(told)} columns, and which of the {len(split)} features that "
            f"have some ({', '.join([*split][:20])}) these are is not known: leave out columns of one category, give "
            "ordered ones as numbers, and categorical_feature no list"
        )
    return dict(zip(split, told, strict=True)) if told else {}


def _fits(info: str, categories: Sequence[Any]) -> bool:
    """Whether a feature with these codes may have these categories."""
    return max(map(int, info.split(":"))) < len(categories)


def _inputs(names: Sequence[str], categories: Mapping[str, Sequence[Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name=name, type=type_of(categories[name]) if name in categories else "FP64", missing=True)
        for name in names
    )


LIGHTGBM = Format("lightgbm", ("model.txt",), framework="lightgbm", packages=("lightgbm",), runs_code=False, load=load)
