"""Modules of the user's own that go with a model: read with care, and imported only where the platform allows it."""

import atexit
import importlib
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

from upright.api.artifact import ArtifactManifest
from upright.runtime.environment import Limits
from upright.runtime.folder import open_file
from upright.runtime.outcome import LoadError

FOLDER = "modules"
"""Where a training program's output has them. An artifact has them beside the model."""
_SUFFIX = ".py"
_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*\.py")
"""What begins with two underscores is Python's own."""
_MOST = 16
_MOST_BYTES = 1024**2


class ModulesNotAllowedError(LoadError):
    """The operator's configuration does not allow modules to be imported that go with a model."""


class BadModuleError(LoadError):
    """A module cannot go with a model, or cannot be imported here."""


def names_in(manifest: ArtifactManifest) -> Sequence[str]:
    """The files of an artifact that are modules: no other file of one has such a name."""
    return [entry.path for entry in manifest.files if entry.path.endswith(_SUFFIX)]


def read(paths: Sequence[Path]) -> dict[str, bytes]:
    """What the files hold, by their names. Raises BadModuleError, NotAFileError, OSError."""
    if len(paths) > _MOST:
        raise BadModuleError(f"{len(paths)} modules are to go with the model; at most {_MOST} may")
    modules: dict[str, bytes] = {}
    left = _MOST_BYTES
    for path in paths:
        if not _NAME.fullmatch(path.name) or keyword.iskeyword(_module(path.name)):
            raise BadModuleError(
                f"{path.name[:80]!r} is no module that can go with a model: expected a single file with a name that "
                "Python can import, such as features.py"
            )
        if path.name in modules:
            raise BadModuleError(f"two modules are called {path.name}: give one of them another name")
        with open_file(path) as file:
            modules[path.name] = file.read(left + 1)
        if (left := left - len(modules[path.name])) < 0:
            raise BadModuleError(f"the modules that go with the model have more than {_MOST_BYTES} bytes together")
    return modules


def with_modules(limits: Limits, modules: Mapping[str, bytes]) -> Limits:
    """Import modules, given by the names of their files. The result trusts what they define.

    They are looked for after all that is installed. They stay on the disk as long as the process: what a method
    imports later, and what a process of joblib's imports, is there. Raises ModulesNotAllowedError, BadModuleError.
    """
    if not modules:
        return limits
    if not limits.modules:
        raise ModulesNotAllowedError(
            f"it needs modules that go with it ({', '.join(modules)}), and these are not allowed here, because to "
            "import them is to run what is in them. Have the platform allow them (allowModules of the chart; "
            "without a cluster, UPRIGHT_ALLOW_MODULES=true), or build the model without them"
        )
    if missing := {file: content for file, content in modules.items() if not _is_there(file, content)}:
        folder = Path(tempfile.mkdtemp(prefix="modules-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for file, content in missing.items():
            (folder / file).write_bytes(content)
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    for file in modules:
        _import(file, modules)
    return replace(limits, own_modules=frozenset(map(_module, modules)))


def defined(names: Iterable[str], modules: frozenset[str]) -> frozenset[str]:
    """Of names such as features.Clipper those of classes and functions that these imported modules define."""
    return frozenset(name for name in names if _is_defined(*name.rpartition(".")[::2], modules))


def _is_defined(module: str, name: str, modules: frozenset[str]) -> bool:
    if module not in modules:
        return False
    found = getattr(sys.modules[module], name, None)
    return isinstance(found, type | FunctionType) and found.__module__ == module


def _module(file: str) -> str:
    return file.removesuffix(_SUFFIX)


def _is_there(file: str, content: bytes) -> bool:
    """Whether the very module is found already, as in the program that it is part of. Raises BadModuleError for
    another one of its name, which would be imported in its place.
    """
    try:
        found = find_spec(_module(file))
    except ValueError:  # imported, and from no file
        origin = None
    else:
        if found is None:
            return False
        origin = found.origin if found.has_location else None
    with suppress(OSError):  # one of an archive
        if origin and Path(origin).read_bytes() == content:
            return True
    raise BadModuleError(
        f"{file} cannot go with the model: Python has another module {_module(file)} here "
        f"({origin or 'its own'}), which it would import in its place. Give yours another name, and save the model anew"
    )


def _import(file: str, modules: Iterable[str]) -> None:
    try:
        importlib.import_module(_module(file))
    except MemoryError:
        raise
    except ModuleNotFoundError as error:
        raise BadModuleError(
            f"{file} cannot be imported here: there is no module {error.name}. One of your own must go with the model, "
            f"too (those that do: {', '.join(modules)}); a package must be in the image that publishes and serves it"
        ) from error
    except (Exception, SystemExit) as error:  # it is somebody's program, and runs
        raise BadModuleError(f"{file} cannot be imported here: {type(error).__name__}: {error}") from error
