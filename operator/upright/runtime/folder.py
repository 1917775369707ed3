"""Folders, the files in them, and their digests: read with care, for anything may lie in others' folders."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from upright.api.artifact import FileEntry

CHUNK = 1 << 20
"""Bytes read at once."""

_LINKED = 100_000
"""Files and folders that may be reached through links to folders: each level of such links can double them."""

_LOST_AND_FOUND = "lost+found"
"""What a file system makes for itself at the top of a volume, and lets nobody read."""


class EscapeError(Exception):
    """A symbolic link leads out of its folder, to nothing, or round in circles."""


class NotAFileError(Exception):
    """What lies where a file should is none: a pipe, a socket, a device or a folder. None of them is ever read."""


def entries(root: Path) -> list[FileEntry]:
    """Every file below `root`, sorted by path.

    Names that start with two dots are left out: the kubelet keeps what a ConfigMap holds in `..data` and makes each
    file a link into it. Links within the folder are followed, and what they lead to is read once. Raises EscapeError
    for one that leads out, NotAFileError, and OSError for what cannot be read.
    """
    real_root = root.resolve(strict=True)
    read: dict[Path, FileEntry] = {}
    found = []
    for path, real in _files(real_root):
        if real not in read:
            read[real] = entry_of(real, path)
        found.append(read[real].model_copy(update={"path": str(path)}))
    return sorted(found, key=lambda entry: PurePosixPath(entry.path))


def entry_of(file_path: Path, name: PurePosixPath) -> FileEntry:
    """The file's digest and size under a name, read once. Raises NotAFileError, OSError."""
    sha256, size = hashlib.sha256(), 0
    with open_file(file_path) as file:
        while block := file.read(CHUNK):
            sha256.update(block)
            size += len(block)
    return FileEntry(path=str(name), sha256=sha256.hexdigest(), size=size)


def open_file(path: Path, *, follow: bool = True) -> BinaryIO:
    """Open a file for reading; a pipe that nobody writes to would hold whoever opens it for ever.

    Raises NotAFileError, OSError (ELOOP for a link that is not to be followed).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise NotAFileError(f"{path.name} is not a file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(f"{path.name} is not a file")
    return os.fdopen(descriptor, "rb")


@dataclass(frozen=True)
class _Folder:
    """A folder to look into, and how it was reached."""

    path: PurePosixPath
    real: Path
    left: tuple[Path, ...] = ()
    """The real folders that were left through a link on the way here."""


def _files(root: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Each file's path below `root`, and where it really is."""
    linked, folders = 0, [_Folder(PurePosixPath(), root)]
    while folders:
        folder = folders.pop()
        with os.scandir(folder.real) as found:
            inside = [entry for entry in found if not entry.name.startswith("..")]
        if folder.left and (linked := linked + len(inside)) > _LINKED:
            raise EscapeError(f"more than {_LINKED} files are reached through links to folders; {folder.path} is one")
        for entry in inside:
            path, real, left = folder.path / entry.name, folder.real / entry.name, folder.left
            if real == root / _LOST_AND_FOUND:
                continue
            if entry.is_symlink():
                real, left = _target(root, path, real), (*left, folder.real)
            if not entry.is_dir():
                yield path, real
            elif any(before.is_relative_to(real) for before in left):
                raise EscapeError(f"{path} is a link to a folder that holds it")
            else:
                folders.append(_Folder(path, real, left))


def _target(root: Path, path: PurePosixPath, link: Path) -> Path:
    try:
        real = link.resolve(strict=True)
    except FileNotFoundError:
        raise EscapeError(f"{path} is a link to {link.readlink()}, where there is nothing") from None
    except RuntimeError:  # what Python says of links in a circle
        raise EscapeError(f"{path} is a link that leads to itself") from None
    if not real.is_relative_to(root):
        raise EscapeError(f"{path} is a link to {real}, which is outside its folder")
    return real
