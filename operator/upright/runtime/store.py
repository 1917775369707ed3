"""The store of artifacts: a folder a model, in it a folder an artifact, named by its digest and never changed."""

import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from upright.api.artifact import MANIFEST, ArtifactManifest, FileEntry, artifact_path, canonical_manifest, digest
from upright.runtime.environment import this_user
from upright.runtime.folder import CHUNK, NotAFileError, open_file

_UNFINISHED = ".tmp-"
_UNFINISHED_SECONDS = 24 * 3600
_MANIFEST_BYTES = 16 * 1024**2


class CorruptArtifactError(Exception):
    """An artifact is not what its digest says."""


class MissingArtifactError(Exception):
    """There is no artifact where one should be."""


class StoreFullError(Exception):
    """The store has no room for the artifact."""


class StoreNotWritableError(Exception):
    """The store cannot be written to."""


@dataclass(frozen=True)
class Stored:
    """An artifact in the store."""

    path: Path
    digest: str
    size_bytes: int


def add(store: Path, manifest: ArtifactManifest, sources: Mapping[str, Path | bytes]) -> Stored:
    """Put an artifact into the store under its digest: the same content twice is one artifact.

    `sources` gives the content of each of the manifest's files. Nothing appears under the final name before all of it
    is on the disk. Raises StoreFullError, StoreNotWritableError, CorruptArtifactError (what lies there already, or a
    source that has changed since the manifest was made).
    """
    content = canonical_manifest(manifest)
    name = artifact_path(manifest.model, digest(content))
    stored = Stored(store / name, digest(content), len(content) + sum(entry.size for entry in manifest.files))
    with _store_errors(store):
        stored.path.parent.mkdir(exist_ok=True)
        _remove_leftovers(stored.path.parent)
        unfinished = stored.path.parent / f"{_UNFINISHED}{secrets.token_hex(8)}"
        if stored.path.exists():
            try:
                verify(stored.path, stored.digest)
            except MissingArtifactError:  # what somebody began to remove, or to restore: nothing can load it
                stored.path.rename(unfinished)
                _remove(unfinished)
            else:
                return stored
        try:
            unfinished.mkdir()
            for entry in manifest.files:
                _write(unfinished / entry.path, entry, sources[entry.path])
            _write_bytes(unfinished / MANIFEST, content)
            _sync(unfinished)
            _rename(unfinished, stored)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _sync(stored.path.parent)
    return stored


def verify(artifact: Path, expected: str) -> ArtifactManifest:
    """Check the manifest and every file against the digest. Raises MissingArtifactError, CorruptArtifactError."""
    manifest = read_manifest(artifact, expected)
    for entry in manifest.files:
        copy_verified(artifact, entry, None)
    return manifest


def read_manifest(artifact: Path, expected: str) -> ArtifactManifest:
    """The manifest, if it is the one that the digest names. Raises MissingArtifactError, CorruptArtifactError."""
    try:
        with open_file(artifact / MANIFEST) as file:
            content = file.read(_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingArtifactError(f"there is no {MANIFEST} in {artifact}") from None
    except NotAFileError as error:
        raise CorruptArtifactError(str(error)) from None
    found = digest(content)
    if found != expected:
        raise CorruptArtifactError(f"the digest of {MANIFEST} is {found}, not {expected}")
    try:
        manifest = ArtifactManifest.model_validate_json(content)
    except ValidationError as error:
        raise CorruptArtifactError(f"{MANIFEST} is not a manifest: {error.errors()[0]['msg']}") from None
    for entry in manifest.files:
        if Path(entry.path).name != entry.path or entry.path in {"", ".", "..", MANIFEST}:
            raise CorruptArtifactError(f"{MANIFEST} names a file {entry.path!r}; only plain names are allowed")
    return manifest


def copy_verified(artifact: Path, entry: FileEntry, target: Path | None) -> None:
    """Read a file of an artifact once, check what was read, and keep a private copy of just those bytes.

    Raises CorruptArtifactError.
    """
    sha256, left = hashlib.sha256(), entry.size
    try:
        original = open_file(artifact / entry.path, follow=False)
    except FileNotFoundError:
        raise CorruptArtifactError(f"{entry.path} is missing") from None
    except NotAFileError as error:
        raise CorruptArtifactError(str(error)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptArtifactError(f"{entry.path} is a symbolic link, which an artifact never holds") from None
        raise
    with original as file, (target or Path(os.devnull)).open("wb") as copy:
        while left >= 0 and (block := file.read(CHUNK)):
            sha256.update(block)
            copy.write(block)
            left -= len(block)
    if left != 0 or sha256.hexdigest() != entry.sha256:
        raise CorruptArtifactError(f"{entry.path} is not the file that was published (its SHA-256 or size differs)")


@contextmanager
def _store_errors(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFullError(str(error.strerror)) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR}:
            raise StoreNotWritableError(f"{error.strerror}: {error.filename or store}, for {this_user()}") from error
        raise


def _remove_leftovers(folder: Path) -> None:
    """What a publish that was killed has left behind, once no publish can still be at it.

    What cannot be removed is in nobody's way: another publish tidies up as well, another user owns it, or somebody
    holds a file of it open on a network file system.
    """
    oldest = time.time() - _UNFINISHED_SECONDS
    for leftover in folder.glob(f"{_UNFINISHED}*"):
        with suppress(OSError):
            if leftover.lstat().st_mtime < oldest:
                _remove(leftover)


def _remove(path: Path) -> None:
    """Also a file or a link, which somebody has put where a folder should be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _write(path: Path, entry: FileEntry, source: Path | bytes) -> None:
    if isinstance(source, bytes):
        _write_bytes(path, source)
        return
    sha256 = hashlib.sha256()
    with open_file(source) as original, _create(path) as copy:
        while block := original.read(CHUNK):
            sha256.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    if sha256.hexdigest() != entry.sha256:
        raise CorruptArtifactError(f"{source.name} changed while it was being published")


def _write_bytes(path: Path, content: bytes) -> None:
    with _create(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444), "wb")


def _rename(unfinished: Path, stored: Stored) -> None:
    try:
        unfinished.rename(stored.path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        verify(stored.path, stored.digest)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems have no such thing
            raise
    finally:
        os.close(descriptor)
