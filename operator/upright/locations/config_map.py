"""`configmap://NAME[/KEY]`: a ConfigMap, each key a file; or one of its keys."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

from upright.api import names
from upright.api.artifact import FileEntry, digest_of_files
from upright.conditions import some
from upright.contract import Manifest, ResourceType


@dataclass(frozen=True)
class ConfigMap:
    """The ConfigMap, or a key of it."""

    name: str
    path: str
    type: ClassVar[ResourceType] = names.CONFIG_MAPS
    counted: ClassVar[bool] = True

    def volume(self, volume_name: str) -> Manifest:
        items = {"items": [{"key": self.path, "path": self.path}]} if self.path else {}
        return {"name": volume_name, "configMap": {"name": self.name, **items}}

    def mount(self, volume_name: str, at: str, *, read_only: bool) -> Manifest:
        return {"name": volume_name, "mountPath": at, "readOnly": read_only}

    def lacks(self, content: Manifest, /) -> str | None:
        held = [content.get(field) or {} for field in _FIELDS]
        if not self.path or any(self.path in files for files in held):
            return None
        keys = ", ".join(some(chain(*held), sum(map(len, held)))) or "none"
        return f"has no key {self.path!r}, only {keys}: add it, or correct the URI; the run starts by itself"

    def digest(self, content: Manifest, /) -> str | None:
        return digest_of_files(
            [
                FileEntry(path=key, sha256=hashlib.sha256(file).hexdigest(), size=len(file))
                for key, file in self._files(content).items()
            ]
        )

    def _files(self, content: Manifest) -> Mapping[str, bytes]:
        """What the kubelet makes of it; not even looked at but for what is asked for: there may be a MiB beside."""
        held = {field: content.get(field) or {} for field in _FIELDS}
        return {
            key: _FIELDS[field](files[key])
            for field, files in held.items()
            for key in ([self.path] if self.path else files)
            if key in files
        }


_FIELDS: Mapping[str, Callable[[str], bytes]] = {"data": str.encode, "binaryData": base64.b64decode}
