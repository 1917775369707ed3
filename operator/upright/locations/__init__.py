"""Where is it? A URI names a place, and each kind of place knows how a pod gets at it and what may be missing.

One file for each answer. The form of the URIs is the API's (`api/training_job.py`).
"""

from collections.abc import Mapping
from typing import Protocol

from upright.contract import Manifest, ResourceType
from upright.locations.claim import Claim
from upright.locations.config_map import ConfigMap


class Location(Protocol):
    """A place in an object of the cluster."""

    @property
    def type(self) -> ResourceType:
        """What must exist."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> str:
        """Where in it; empty for all of it."""
        ...

    @property
    def counted(self) -> bool:
        """Whether its content is read by the operator, so that a change of it can start a run."""
        ...

    def volume(self, volume_name: str) -> Manifest:
        """The volume of a pod that gives access to it."""
        ...

    def mount(self, volume_name: str, at: str, *, read_only: bool) -> Manifest:
        """How a container sees it at a path of its own."""
        ...

    def lacks(self, content: Manifest, /) -> str | None:
        """What is not there although the object is, and what to do, in a sentence without its full stop."""
        ...

    def digest(self, content: Manifest, /) -> str | None:
        """What is there, as `data` computes it from the files that the pod sees; None when only pods can see it."""
        ...


_SCHEMES: Mapping[str, type[Claim] | type[ConfigMap]] = {"pvc": Claim, "configmap": ConfigMap}


def is_counted(uri: str) -> bool:
    """Whether the operator reads what is at a URI of any kind."""
    scheme, _, _ = uri.partition("://")
    return scheme in _SCHEMES and _SCHEMES[scheme].counted


def locate(uri: str) -> Location:
    """The place that `SCHEME://NAME[/PATH]` names; the schema has already checked the form."""
    scheme, _, rest = uri.partition("://")
    name, _, path = rest.partition("/")
    return _SCHEMES[scheme](name, path.rstrip("/"))
