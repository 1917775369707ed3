"""What a skops file would have made: its tree of nodes, looked through before anything is made of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from upright.runtime.formats.trusted import PARTS, TYPES


class Untrusted(NamedTuple):
    """A type that is not trusted, or not to be made in this way or here, and where in the model it is wanted."""

    name: str
    where: str
    why: str


_OF_FITTING = "class_weight"
"""Fitting alone reads it, and what a search tries out for it ends so."""


class EndlessError(Exception):
    """The nodes hold one another, or one another so often that going through them would take for ever."""


@dataclass(frozen=True)
class Found:
    """What a walk through the nodes finds."""

    untrusted: Sequence[Untrusted]
    """One for each name, where it is wanted first."""
    parts: Sequence[Any]
    """The nodes whose objects have to be looked at when they have been made."""
    matrices: Sequence[Any]
    """The nodes of sparse matrices."""
    confused: Sequence[str]
    """Where dicts are whose keys skops does not keep as they were."""


def look_through(root: Any, most: int, allowed: frozenset[str]) -> Found:
    """Look at each node once for each attribute that would hold it. `root` is of skops.io._audit.Node; `most`: how many
    nodes there are if each is counted as often as it is held, as skops counts when it looks through them; `allowed`:
    names that may be made in any way.

    Raises EndlessError.
    """
    found: dict[str, Untrusted] = {}
    parts: dict[int, Any] = {}
    matrices: dict[int, Any] = {}
    confused = list[str]()
    counted: dict[tuple[int, str], int] = {}

    def visit(node: Any, held_by: str, where: str) -> int:
        key = (id(node), held_by)
        if key in counted:
            if not counted[key]:
                raise EndlessError("an object in it holds itself")
            return counted[key]
        counted[key] = 0
        if fault := _fault(node, held_by, allowed):
            found.setdefault(fault[0], Untrusted(fault[0], where or "the model itself", fault[1]))
        if type(node).__name__ in {"ObjectNode", "TreeNode"} and _name(node) not in allowed:
            parts[id(node)] = node
        elif type(node).__name__ == "SparseMatrixNode":
            matrices[id(node)] = node
        elif type(node).__name__ == "DictNode" and not held_by.endswith(_OF_FITTING) and _confuses_keys(node):
            confused.append(where)
        count = 1
        for child, holder, step in _children(node, held_by):
            count += visit(child, holder, where + step)
            if count > most:
                raise EndlessError("objects in it hold one another more often than it says")
        counted[key] = count
        return count

    visit(root, "", "")
    return Found(sorted(found.values()), list(parts.values()), list(matrices.values()), confused)


def _confuses_keys(node: Any) -> bool:
    """Skops writes keys as JSON does, as text, and each type makes of its text what it makes: `bool("false")` is True.
    Those with the same text are one.
    """
    types = {one.class_name for one in node.key_types.content}
    return bool(types & {"bool", "bool_"}) or len(node.key_types.content) != len(node.content)


def _fault(node: Any, held_by: str, allowed: frozenset[str]) -> tuple[str, str] | None:
    """What of a node is not trusted, and why."""
    way, name = type(node).__name__, _name(node)
    if way == "CachedNode":  # skops writes none, and looks at none
        return name, " as a reference"
    if way == "MethodNode":
        name = f"{name}.{node.func}"
        return None if name in allowed else (name, "")
    if name in allowed:
        return None
    part = (TYPES if way == "TypeNode" else PARTS).get(name)
    if part is None and name not in PARTS:
        return None if way == "SliceNode" or node.is_self_safe() else (name, "")
    if part is None or way != part.way:
        return name, f" as a {way.removesuffix('Node')}, which it is not"
    if part.within is not None and held_by not in part.within:
        return name, f" outside of {' and '.join(sorted(part.within))}"
    return None


def _children(node: Any, held_by: str) -> Iterator[tuple[Any, str, str]]:
    """The nodes in a node, the names of the attributes that hold them, and how that is written behind the path."""
    way = type(node).__name__
    for name, child in node.children.items():
        if name == "constructor":  # of a type that has been looked at: it is the node's own
            continue
        if isinstance(child, dict):
            for key, one in child.items():
                yield one, str(key), f".{key}" if str(key).isidentifier() else f"[{str(key)[:64]!r}]"
        elif isinstance(child, list):
            for index, one in enumerate(child):
                yield one, held_by, _step(node, way, index, one)
        elif hasattr(child, "children"):
            if way in {"ObjectNode", "TreeNode", "PartialNode", "NdArrayNode", "DTypeNode", "MaskedArrayNode"}:
                yield child, held_by, ".func" if name == "func" else ""
            else:
                yield child, name, ""


def _step(node: Any, way: str, index: int, one: Any) -> str:
    """An entry of a list: by the name that it begins with, as steps and transformers do."""
    if way == "TupleNode" and index == 1 and _text(node.content[0]):
        return ""
    if type(one).__name__ == "TupleNode" and one.content and (name := _text(one.content[0])):
        return f"[{name[:64]!r}]"
    return f"[{index}]"


def _name(node: Any) -> str:
    return f"{node.module_name}.{node.class_name}"


def _text(node: Any) -> str:
    content = node.content if type(node).__name__ == "JsonNode" else ""
    return content[1:-1] if isinstance(content, str) and content.startswith('"') else ""
