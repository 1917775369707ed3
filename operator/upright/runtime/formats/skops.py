"""Models as skops stores them: a schema of types that are made only where they are known to run nothing."""

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upright.runtime.environment import Limits
from upright.runtime.formats import nodes, sound
from upright.runtime.formats.format import Format, LoadedModel, UnreadableModelError, UntrustedTypesError
from upright.runtime.formats.trusted import PARTS, TYPES
from upright.runtime.modules import defined

_TOLD = 4
"""Of types that are not trusted, so many are told: there is room for a sentence."""
_BOOSTING = ("xgboost", "lightgbm")
"""Libraries of which the image has what a pipeline ends in; they have formats of their own for what stands alone."""
_OLDEST_PROTOCOL = 1
"""Before, a function was named in two places, of which skops looks at one."""


def load(path: Path, limits: Limits) -> LoadedModel:
    """Raises UntrustedTypesError, UnreadableModelError."""
    try:
        with zipfile.ZipFile(path) as archive:
            schema = _schema(archive, limits)
            estimator, lost = _made(archive, schema, limits)
    except (UnreadableModelError, UntrustedTypesError, MemoryError):
        raise
    except zipfile.BadZipFile as error:
        raise UnreadableModelError(f"{path.name} is not a skops file: {error}") from error
    except Exception as error:  # a damaged file makes skops raise almost anything
        raise UnreadableModelError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    return LoadedModel(estimator, _sklearn_version(schema.document), lost=lost)


@dataclass(frozen=True)
class _Schema:
    """What schema.json says."""

    document: dict[str, Any]
    names: frozenset[str]
    """Of all types in it."""
    nodes: int
    """How many objects it writes out, each as often as it is held."""


def _schema(archive: zipfile.ZipFile, limits: Limits) -> _Schema:
    name = Path(str(archive.filename)).name
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    if (unpacked := sum(sizes.values())) > limits.artifact_bytes:
        raise UnreadableModelError(f"{name} unpacks to {unpacked} bytes; at most {limits.artifact_bytes} are allowed")
    if "schema.json" not in sizes:
        raise UnreadableModelError(f"{name} is not a skops file: it has no schema.json")
    try:
        document = json.loads(archive.read("schema.json"))
    except (zlib.error, RecursionError, ValueError) as error:
        raise UnreadableModelError(f"{name} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise UnreadableModelError(f"{name} is not a skops file: its schema is no object")
    found = list(_nodes_of(document))
    # Each object that names a file reads it anew, so a small file could be made to fill any memory.
    reads = {(str(node.get("__id__")), str(node["file"])) for node in found if "file" in node}
    if (read := sum(sizes.get(file, 0) for _, file in reads)) > limits.artifact_bytes:
        raise UnreadableModelError(f"{name} reads {read} bytes of arrays; at most {limits.artifact_bytes} are allowed")
    names = frozenset(f"{node.get('__module__')}.{node.get('__class__')}" for node in found)
    return _Schema(document, names, len(found))


def _nodes_of(document: Any) -> Iterator[dict[str, Any]]:
    left = [document]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if "__loader__" in one:
                yield one
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)


def _made(archive: zipfile.ZipFile, schema: _Schema, limits: Limits) -> tuple[Any, str]:
    # Of skops' own modules: in between its two public functions, which read the file anew, it could be another one, and
    # neither tells how and where a type is to be made.
    from skops.io._audit import audit_tree, get_tree
    from skops.io._utils import read_schema

    document, context = read_schema(archive)
    if context.protocol < _OLDEST_PROTOCOL:
        raise UnreadableModelError(f"{archive.filename} was written by a skops of long ago: save the model anew")
    allowed = limits.trusted_types | defined(schema.names, limits.own_modules)
    # Skops copies the list to every node: only what the file names goes on it.
    trusted = sorted(schema.names & (PARTS.keys() | TYPES.keys() | allowed))
    root = get_tree(document, context, trusted=trusted)
    found = nodes.look_through(root, schema.nodes, allowed)
    if found.untrusted:
        raise UntrustedTypesError(_refusal(Path(str(archive.filename)).name, found.untrusted))
    audit_tree(root, trusted=[*trusted, *allowed])
    sound.check_states(found.parts)
    _check_matrices(found.matrices, limits)
    estimator = root.construct()
    sound.check(node.construct() for node in (*found.parts, *found.matrices))
    return estimator, next(iter(found.confused), "")


def _check_matrices(found: Iterable[Any], limits: Limits) -> None:
    """Sparse matrices are archives themselves, and may be compressed again."""
    unpacked = 0
    for node in found:
        with zipfile.ZipFile(node.content) as archive:
            unpacked += sum(member.file_size for member in archive.infolist())
        node.content.seek(0)
    if unpacked > limits.artifact_bytes:
        raise UnreadableModelError(
            f"its sparse matrix unpacks to {unpacked} bytes; at most {limits.artifact_bytes} are allowed"
        )


def _refusal(file: str, untrusted: Sequence[nodes.Untrusted]) -> str:
    told = ", ".join(f"{name} (at {where}){why}" for name, where, why in untrusted[:_TOLD])
    more = f" and {len(untrusted) - _TOLD} more" if len(untrusted) > _TOLD else ""
    itself = any(name.startswith("__main__.") for name, _, _ in untrusted)
    own = ", once it is in one and no longer in the program itself (__main__)" if itself else ""
    boosting = next((each for each in _BOOSTING if any(name.startswith(f"{each}.") for name, _, _ in untrusted)), None)
    return (
        f"{file} holds objects of types that are not trusted: {told}{more}. Build the model without them, or have the "
        "platform allow these very names (trustedTypes of the chart; without a cluster, UPRIGHT_TRUSTED_TYPES)."
        + (
            f" What allowing those of {boosting} means is in docs/formats.md, under pipelines"
            if boosting
            else f" What is your own may go with the model as a module{own}, where the platform allows that "
            "(allowModules)"
        )
    )


def _sklearn_version(schema: Any) -> str | None:
    """The version that the outermost estimator was saved with, as skops writes it into its schema."""
    version = schema
    for key in ("content", "content", "_sklearn_version", "content"):
        version = version.get(key) if isinstance(version, dict) else None
    return str(version).strip('"') if isinstance(version, str) else None


SKOPS = Format(
    "skops", ("model.skops",), framework="scikit-learn", packages=("scikit-learn",), runs_code=False, load=load
)
