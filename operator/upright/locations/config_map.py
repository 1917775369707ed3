"""`configmap://NAME[/KEY]`: a ConfigMap, each key a file; or one of its keys."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from upright.api import names
from upright.api.artifact import FileEntry, digest_of_files
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
        keys = _files(content)
        if not self.path or self.path in keys:
            return None
        return (
            f"has no key {self.path!r}, only {', '.join(sorted(keys)) or 'none'}: add it, or correct the URI; "
            "the run starts by itself"
        )

    def digest(self, content: Manifest, /) -> str | None:
        return digest_of_files(
            [
                FileEntry(path=key, sha256=hashlib.sha256(file).hexdigest(), size=len(file))
                for key, file in _files(content).items()
                if self.path in ("", key)
            ]
        )


def _files(content: Manifest) -> Mapping[str, bytes]:
    """What the kubelet makes of it."""
    text = {key: value.encode() for key, value in (content.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (content.get("binaryData") or {}).items()}
