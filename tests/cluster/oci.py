"""Container images without a container engine: layers as plain tar files, images as OCI archives.

An image is JSON that names its layers by their digests. Layers are kept in the cache, uncompressed (they go no further
than this machine), under the name of what they were made from; the same content gives the same bytes.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from tests.cluster.shell import cache

# The domain that Kubernetes puts before an image name without one; containerd knows images by the whole name only.
_DEFAULT_DOMAIN = "docker.io"
_TYPE = "application/vnd.oci.image."


@dataclass(frozen=True)
class Layer:
    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image to be; `tag` defaults to the digest of its content."""

    name: str
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    fixed_tag: str | None = None

    @property
    def reference(self) -> str:
        """NAME:TAG, as a pod's spec has it."""
        return f"{self.name}:{self.fixed_tag or self.manifest_digest.removeprefix('sha256:')[:12]}"

    @property
    def full_reference(self) -> str:
        return f"{_DEFAULT_DOMAIN}/{self.reference}"

    @property
    def manifest_digest(self) -> str:
        return _digest(self._manifest)

    def write(self, out: IO[bytes], present: Collection[str] = ()) -> None:
        """Write an OCI archive of the image, without the layers whose digests are `present` at the other end."""
        index = {
            "schemaVersion": 2,
            "manifests": [
                {
                    **_descriptor("manifest.v1+json", self._manifest),
                    "annotations": {"io.containerd.image.name": self.full_reference},
                }
            ],
        }
        small = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": _json(index)}
        small |= {_blob_path(_digest(content)): content for content in (self._config, self._manifest)}
        for layer in self.layers:
            if layer.digest not in present:
                with layer.path.open("rb") as blob:
                    _add(out, _blob_path(layer.digest), layer.size, blob)
        for path, content in small.items():
            _add(out, path, len(content), io.BytesIO(content))
        out.write(bytes(2 * tarfile.BLOCKSIZE))

    @cached_property
    def _config(self) -> bytes:
        environment = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", **self.environment}
        return _json(
            {
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
                "os": "linux",
                "config": {
                    "Entrypoint": list(self.entrypoint),
                    "User": self.user,
                    "WorkingDir": "/",
                    "Env": [f"{name}={value}" for name, value in environment.items()],
                },
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]},
            }
        )

    @cached_property
    def _manifest(self) -> bytes:
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": _TYPE + "manifest.v1+json",
                "config": _descriptor("config.v1+json", self._config),
                "layers": [
                    {"mediaType": _TYPE + "layer.v1.tar", "digest": layer.digest, "size": layer.size}
                    for layer in self.layers
                ],
            }
        )


def layer(name: str, made_from: str, fill: Callable[[Path], None]) -> Layer:
    """The layer made from that: the cache's, or else what `fill` puts into a directory, less times and owners."""
    directory = cache() / "layers"
    directory.mkdir(exist_ok=True)
    stem = f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}"
    known = directory / f"{stem}.json"
    tar = directory / f"{stem}.tar"
    if not (known.exists() and tar.exists()):
        with tempfile.TemporaryDirectory(dir=directory, prefix=f"{name}-making-") as work:
            root = Path(work) / "root"
            root.mkdir(mode=0o755)
            fill(root)
            making = Path(work) / "layer.tar"
            _write_tar(root, making)
            with making.open("rb") as content:
                digest = "sha256:" + hashlib.file_digest(content, "sha256").hexdigest()
            for old in directory.glob(f"{name}-????????????????.*"):
                old.unlink()
            making.rename(tar)
            known.write_text(json.dumps({"digest": digest}))
    return Layer(tar, json.loads(known.read_text())["digest"], tar.stat().st_size)


def copy_in(root: Path, source: Path, target: str, mode: int | None = None) -> None:
    path = root / target
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    path.chmod(source.stat().st_mode & 0o777 if mode is None else mode)


def _write_tar(root: Path, target: Path) -> None:
    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, arcname=path.name, filter=plain)  # goes down in sorted order


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _descriptor(kind: str, content: bytes) -> dict[str, str | int]:
    return {"mediaType": _TYPE + kind, "digest": _digest(content), "size": len(content)}


def _blob_path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _add(out: IO[bytes], path: str, size: int, content: IO[bytes]) -> None:
    """Add a file to a tar stream; the tarfile module would copy it in small pieces, in twice the time."""
    entry = tarfile.TarInfo(path)
    entry.size = size
    out.write(entry.tobuf())
    shutil.copyfileobj(content, out, 1 << 20)
    out.write(bytes(-size % tarfile.BLOCKSIZE))
