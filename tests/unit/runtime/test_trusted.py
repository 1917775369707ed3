"""What a file made by a stranger can do to who loads it: attempts on each type that is trusted."""

import io
import json
import time
import zipfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.unit.runtime.pod import Pod
from tests.unit.runtime.schema import (
    CLASSES,
    LIMITS,
    ROWS,
    a_dict,
    a_model_that_holds,
    a_node,
    a_tuple,
    a_value,
    loaded,
    the_type,
)
from tests.unit.runtime.server import of_store, serving
from upright.runtime.environment import Limits
from upright.runtime.formats import UnreadableModelError, UntrustedTypesError
from upright.runtime.formats.skops import SKOPS
from upright.runtime.formats.trusted import PARTS, TYPES

NAMES = sorted(PARTS)
MADE = sorted(name for name, part in PARTS.items() if part.way == "ObjectNode")
FUNCTIONS = sorted(name for name, part in PARTS.items() if part.way == "FunctionNode")


@pytest.mark.parametrize("name", [*NAMES, *TYPES])
def test_each_name_is_of_something_that_is_there(name: str) -> None:
    assert the_type(name) is not None
    assert {**TYPES, **PARTS}[name].reason


@pytest.mark.parametrize("name", MADE)
def test_making_an_object_runs_nothing_of_what_it_is_given(name: str) -> None:
    """Read before you change: what `__new__` and `__setstate__` of these do was looked at."""
    kind = the_type(name)
    sets = getattr(kind, "__setstate__", None)

    plain = kind.__new__ is object.__new__ and (sets is None or sets is BaseEstimator.__setstate__)
    read = {
        "TreePredictor": "turns an array into another type of numbers",
        "KDTree": "keeps arrays",
        "BallTree": "keeps arrays",
    }

    assert plain or name.rpartition(".")[2] in read or name.startswith("sklearn.metrics._dist_metrics.")


STATES: list[Any] = [
    None,
    0,
    -1,
    1e300,
    "text",
    [],
    ["x"] * 20,
    {},
    {"__class__": "x", "__dict__": "y", "__reduce__": "z", "0": 0},
]


@pytest.mark.parametrize("name", [name for name in NAMES if PARTS[name].way in {"ObjectNode", "TreeNode", "TupleNode"}])
def test_any_state_gives_an_object_or_a_refusal_at_once(tmp_path: Path, name: str) -> None:
    for state in STATES:
        content = a_value(state)
        for node in (
            a_node(name, "ObjectNode", content=content),
            a_node(name, "ObjectNode"),
            a_node(name, "ObjectNode", content=a_tuple(*[content] * 13)),
            a_node(name, "TreeNode", content=content, __reduce__={"args": a_tuple(*[content] * 3)}),
            a_node(name, "TupleNode", content=[content]),
        ):
            begun = time.process_time()
            with suppress(UnreadableModelError, UntrustedTypesError):
                loaded(tmp_path, a_model_that_holds(node))
            assert time.process_time() - begun < 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_never_called_while_loading(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def trap(*_: Any, **__: Any) -> None:
        pytest.fail(f"{name} was called")

    monkeypatch.setattr(name, trap)
    within = min(PARTS[name].within or {"held"})
    function, text = a_node(name, "FunctionNode"), a_value("x")
    attempts = [
        a_node(name, "ConstructorFromReduceNode", content=a_tuple(text)),
        a_node(name, "LossNode", content=text, __reduce__={"args": a_tuple(text)}),
        a_node(name, "ListNode", content=[text]),
        a_node(name, "SetNode", content=[text]),
        a_node(name, "DictNode", content={}, key_types=a_value([])),
        a_node(name, "ObjectNode", content=text),
        a_node(name, "NdArrayNode", type="numpy", file="0.npy"),
        a_node(name, "TypeNode"),
        {**a_dict({"x": text}), "key_types": a_node("builtins.list", "ListNode", content=[function])},
        a_node("collections.defaultdict", "DefaultDictNode", content={"main": a_dict({}), "default_factory": function}),
        a_node("builtins.map", "ListNode", content=[function, text]),
    ]
    array = io.BytesIO()
    np.save(array, np.arange(3))

    for attempt in attempts:
        with pytest.raises((UntrustedTypesError, UnreadableModelError)):
            loaded(tmp_path, a_model_that_holds(attempt, within), {"0.npy": array.getvalue()})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_stands_only_where_training_kept_it(tmp_path: Path, name: str) -> None:
    within = min(PARTS[name].within or {""})

    assert loaded(tmp_path, a_model_that_holds(a_node(name, "FunctionNode"), within))
    with pytest.raises(UntrustedTypesError, match=f"outside of .*{within}"):
        loaded(tmp_path, a_model_that_holds(a_node(name, "FunctionNode"), "transform"))


def test_a_partial_makes_no_function_more_trusted(tmp_path: Path) -> None:
    def partly(function: dict[str, Any]) -> dict[str, Any]:
        given = {"func": function, "args": a_tuple(), "kwds": a_dict({}), "namespace": a_value(None)}
        return a_node("functools.partial", "PartialNode", content=given)

    score = a_node("sklearn.feature_selection._univariate_selection.chi2", "FunctionNode")

    assert loaded(tmp_path, a_model_that_holds(partly(score), "score_func"))
    with pytest.raises(UntrustedTypesError, match="chi2"):
        loaded(tmp_path, a_model_that_holds(partly(score), "transform"))
    with pytest.raises(UntrustedTypesError, match=r"os\.system"):
        loaded(tmp_path, a_model_that_holds(partly(a_node("os.system", "FunctionNode")), "score_func"))


def test_a_distribution_whose_state_is_run_as_text_is_refused(tmp_path: Path) -> None:
    import scipy.stats
    from sklearn.model_selection import RandomizedSearchCV

    search = RandomizedSearchCV(LogisticRegression(), {"C": scipy.stats.loguniform(0.1, 1)}, n_iter=1, cv=2)
    skops.io.dump(search.fit(ROWS, CLASSES), tmp_path / "model.skops")

    with pytest.raises(UntrustedTypesError, match=r"rv_continuous_frozen \(at \.param_distributions\.C\)"):
        SKOPS.load(tmp_path / "model.skops", LIMITS)


def test_objects_that_hold_one_another_over_and_over_are_refused_at_once(tmp_path: Path) -> None:
    node = a_value("x")
    for depth in range(60):
        node = {
            **a_node("builtins.list", "ListNode", content=[node, {"__id__": depth}] if depth else [node]),
            "__id__": depth + 1,
        }
    begun = time.process_time()

    with pytest.raises(UnreadableModelError, match="hold one another"):
        loaded(tmp_path, a_model_that_holds(node))

    assert time.process_time() - begun < 1


def test_an_object_that_holds_itself_is_refused(tmp_path: Path) -> None:
    node = {**a_node("builtins.list", "ListNode", content=[{"__id__": 7}]), "__id__": 7}

    with pytest.raises(UnreadableModelError, match="holds itself"):
        loaded(tmp_path, a_model_that_holds(node))


def test_an_array_that_is_read_over_and_over_counts_each_time(tmp_path: Path) -> None:
    arrays = [
        {**a_node("numpy.ndarray", "NdArrayNode", type="numpy", file="0.npy"), "__id__": number}
        for number in range(1, 30)
    ]
    held = a_model_that_holds(a_node("builtins.list", "ListNode", content=arrays))

    with pytest.raises(UnreadableModelError, match="reads 29000000 bytes of arrays; at most 10000000"):
        loaded(tmp_path, held, {"0.npy": b"x" * 1_000_000})


def test_a_matrix_that_unpacks_to_more_than_allowed_is_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", b"\0" * 20_000_000)
    held = a_node("scipy.sparse._csr.csr_matrix", "SparseMatrixNode", type="scipy", file="0.npz")

    with pytest.raises(UnreadableModelError, match="unpacks to 20000000 bytes"):
        loaded(tmp_path, a_model_that_holds(held), {"0.npz": inner.getvalue()})


def test_the_oldest_files_which_name_a_function_twice_are_refused(tmp_path: Path) -> None:
    held = a_node("numpy.clip", "FunctionNode", content={"module_path": "os", "function": "system"})

    with pytest.raises((UnreadableModelError, UntrustedTypesError)):
        loaded(tmp_path, a_model_that_holds(held, "func"), protocol=0)


def test_a_reference_to_another_object_is_refused(tmp_path: Path) -> None:
    known = {**a_value("x"), "__id__": 5}
    reference = {"__class__": "str", "__module__": "builtins", "__loader__": "CachedNode", "__id__": 6}

    with pytest.raises((UnreadableModelError, UntrustedTypesError)):
        loaded(tmp_path, a_model_that_holds(a_node("builtins.list", "ListNode", content=[known, reference])))


def test_a_refusal_says_where_in_the_model_the_type_is(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(np.log1p), FunctionTransformer(json.dumps))
    skops.io.dump(model, tmp_path / "model.skops")

    with pytest.raises(UntrustedTypesError) as raised:
        SKOPS.load(tmp_path / "model.skops", LIMITS)

    assert "json.dumps (at .steps['functiontransformer-2'].func)" in str(raised.value)
    assert "trustedTypes" in str(raised.value)


def test_the_platform_trusts_exactly_the_names_that_it_says(tmp_path: Path) -> None:
    skops.io.dump(FunctionTransformer(json.dumps), tmp_path / "model.skops")

    def limits(*names: str) -> Limits:
        return Limits(frozenset({"skops"}), 10_000_000, frozenset(names))

    assert SKOPS.load(tmp_path / "model.skops", limits("json.dumps")).estimator.func is json.dumps
    for other in ("json.*", "json", "*", "json.dump", "JSON.DUMPS"):
        with pytest.raises(UntrustedTypesError):
            SKOPS.load(tmp_path / "model.skops", limits(other))


def test_a_package_that_the_platform_trusts_finds_pandas_in_a_pod_as_when_it_was_published(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop.py").write_text(
        "def lengths(rows):\n    return rows.assign(plan=rows.plan.astype('string[pyarrow]').str.len().astype(float))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    rows = pd.DataFrame({"plan": ["prepaid", "basic"] * 20})
    model = make_pipeline(FunctionTransformer(import_module("shop").lengths), LogisticRegression())
    pod.trained(model.fit(rows, [0, 1] * 20))
    rows.to_parquet(pod.output / "reference.parquet")
    pod.environment["UPRIGHT_TRUSTED_TYPES"] = "shop.lengths"

    with serving(pod, {**of_store(pod), **pod.environment, "PYTHONPATH": str(tmp_path)}) as server:
        answer = server.predict({"instances": [{"plan": "basic"}, {"plan": "prepaid"}]})

    assert answer.json() == {"predictions": [1, 0]}
