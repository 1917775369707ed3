"""Files of skops as a stranger would write them: builders of nodes, and fitted models whose state is changed."""

import importlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

from upright.runtime.environment import Limits
from upright.runtime.formats.skops import SKOPS

LIMITS = Limits(frozenset({"skops"}), artifact_bytes=10_000_000)
ROWS = np.random.default_rng(0).uniform(0, 1, (40, 3))
CLASSES = (ROWS[:, 0] > 0.5).astype(int)

Change = Callable[[dict[str, Any]], None]


def a_name(name: str) -> tuple[str, str]:
    module, _, kind = name.rpartition(".")
    return module, kind


def the_type(name: str) -> Any:
    module, kind = a_name(name)
    return getattr(importlib.import_module(module), kind)


def a_node(name: str, loader: str, **more: Any) -> dict[str, Any]:
    module, kind = a_name(name)
    return {"__class__": kind, "__module__": module, "__loader__": loader, **more}


def a_value(value: Any) -> dict[str, Any]:
    """A text, a number or a list of these, as skops writes it."""
    if isinstance(value, list):
        return a_node("builtins.list", "ListNode", content=[a_value(one) for one in value])
    if isinstance(value, dict):
        return a_dict({key: a_value(one) for key, one in value.items()})
    return a_node("builtins.str", "JsonNode", content=json.dumps(value))


def a_dict(nodes: Mapping[str, Any]) -> dict[str, Any]:
    keys = a_node("builtins.list", "ListNode", content=[a_node("builtins.str", "TypeNode") for _ in nodes])
    return a_node("builtins.dict", "DictNode", content=dict(nodes), key_types=keys)


def a_tuple(*nodes: dict[str, Any]) -> dict[str, Any]:
    return a_node("builtins.tuple", "TupleNode", content=list(nodes))


def a_model_that_holds(node: dict[str, Any], attribute: str = "held") -> dict[str, Any]:
    """A model that predicts, and holds something else besides."""
    return a_node("sklearn.dummy.DummyClassifier", "ObjectNode", content=a_dict({attribute: node}))


def loaded(path: Path, schema: dict[str, Any], files: Mapping[str, bytes] | None = None, protocol: int = 2) -> Any:
    with zipfile.ZipFile(path / "model.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps({**schema, "protocol": protocol, "_skops_version": "0.16.0"}))
        for name, content in (files or {}).items():
            archive.writestr(name, content)
    return SKOPS.load(path / "model.skops", LIMITS).estimator


def changed(path: Path, model: Any, change: Change) -> Any:
    """A fitted model, stored, and loaded with its state changed before: `change` gets each node with a file's name for
    an array, as an array.
    """
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        schema = json.loads(archive.read("schema.json"))
        files = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    change(schema)
    for node in nodes_of(schema):
        if isinstance(array := node.pop("array", None), np.ndarray):
            buffer = io.BytesIO()
            np.save(buffer, array)
            node["file"] = f"{node['__id__']}-changed.npy"
            files[node["file"]] = buffer.getvalue()
    for number, node in enumerate(nodes_of(schema)):
        node["__id__"] = number + 1
    return loaded(path, schema, files)


def nodes_of(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "__loader__" in node:
            yield node
        for one in list(node.values()):
            yield from nodes_of(one)
    elif isinstance(node, list):
        for one in node:
            yield from nodes_of(one)


def named(schema: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [node for node in nodes_of(schema) if node["__class__"] == kind and node["__loader__"] != "TypeNode"]


def attributes(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    content: dict[str, Any] = named(schema, kind)[0]["content"]["content"]
    return content
