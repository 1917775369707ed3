"""Folders and their digests."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from upright.api.artifact import FileEntry

CHUNK = 1 << 20
"""Bytes read at once."""


class EscapeError(Exception):
    """A symbolic link leads out of its folder."""


def entries(root: Path) -> list[FileEntry]:
    """Every file below `root`, sorted by path.

    Names that start with two dots are left out: the kubelet keeps what a ConfigMap holds in `..data` and makes each
    file a link into it. Links within the folder are followed. Raises EscapeError for one that leads out, OSError for
    what cannot be read.
    """
    real_root = root.resolve(strict=True)
    return [entry_of(real_root, path) for path in sorted(_files(real_root, PurePosixPath()))]


def entry_of(root: Path, path: PurePosixPath) -> FileEntry:
    """The file's digest and size, read once."""
    sha256, size = hashlib.sha256(), 0
    with (root / path).open("rb") as file:
        while block := file.read(CHUNK):
            sha256.update(block)
            size += len(block)
    return FileEntry(path=str(path), sha256=sha256.hexdigest(), size=size)


def _files(root: Path, below: PurePosixPath) -> Iterator[PurePosixPath]:
    with os.scandir(root / below) as found:
        names = sorted(entry.name for entry in found if not entry.name.startswith(".."))
    for name in names:
        path = below / name
        real = (root / path).resolve(strict=True)
        if not real.is_relative_to(root):
            raise EscapeError(f"{path} is a link to {real}, which is outside its folder")
        if real.is_dir():
            if root.joinpath(path).is_symlink() and root.joinpath(below).resolve().is_relative_to(real):
                raise EscapeError(f"{path} is a link to a folder that holds it")
            yield from _files(root, path)
        else:
            yield path
