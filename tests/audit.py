"""Who wrote what: read from the API server's audit log."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.installed import SYSTEM

OPERATOR = f"system:serviceaccount:{SYSTEM}:upright"
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


@dataclass(frozen=True)
class Write:
    """One request that the API server has answered."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int

    def __str__(self) -> str:
        path = "/".join(filter(None, (self.resource, self.namespace, self.name, self.subresource)))
        return f"{self.verb} {path} ({self.code})"


@dataclass(frozen=True)
class AuditTrail:
    """What the operator writes from a moment on."""

    log: Path
    begin: int

    @classmethod
    def from_now(cls, log: Path) -> "AuditTrail":
        return cls(log, log.stat().st_size)

    def writes(self) -> list[Write]:
        """All writes so far but those of its Lease, in their order."""
        return [write for write in self._all() if write.resource != "leases"]

    def renewals(self) -> int:
        """How often it has written its Lease."""
        return sum(write.resource == "leases" for write in self._all())

    def _all(self) -> Iterator[Write]:
        assert self.log.stat().st_size >= self.begin, f"{self.log} has been rotated meanwhile"
        with self.log.open() as log:
            log.seek(self.begin)
            for line in log:
                if OPERATOR not in line or not line.endswith("\n"):
                    continue
                event = json.loads(line)
                if event["user"]["username"] == OPERATOR and event["verb"] in _WRITES:
                    target = event["objectRef"]
                    yield Write(
                        verb=event["verb"],
                        resource=target["resource"],
                        subresource=target.get("subresource", ""),
                        namespace=target.get("namespace", ""),
                        name=target.get("name", ""),
                        code=event["responseStatus"].get("code", 0),
                    )
