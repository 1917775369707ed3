"""`pvc://CLAIM[/PATH]`: a folder of a PersistentVolumeClaim. What is in it only its pods see."""

from dataclasses import dataclass
from typing import ClassVar

from upright.api import names
from upright.contract import Manifest, ResourceType


@dataclass(frozen=True)
class Claim:
    """The folder."""

    name: str
    path: str
    type: ClassVar[ResourceType] = names.CLAIMS
    counted: ClassVar[bool] = False

    def volume(self, volume_name: str) -> Manifest:
        return {"name": volume_name, "persistentVolumeClaim": {"claimName": self.name}}

    def mount(self, volume_name: str, at: str, *, read_only: bool) -> Manifest:
        below = {"subPath": self.path} if self.path else {}
        return {"name": volume_name, "mountPath": at, "readOnly": read_only, **below}

    def lacks(self, _: Manifest) -> str | None:
        return None

    def digest(self, _: Manifest) -> str | None:
        return None
