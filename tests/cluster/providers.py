"""Who provides the cluster: the one that CLUSTER names, else the first of kind and local that can."""

import os

from tests.cluster.cluster import Provider
from tests.cluster.existing import Existing
from tests.cluster.kind import Kind
from tests.cluster.local import Local
from tests.cluster.shell import ClusterError


def choose(index: int = 0) -> Provider:
    """The provider to use; `index` picks one of several local clusters. A ClusterError says why there is none."""
    ours: dict[str, Provider] = {"kind": Kind(), "local": Local(index)}
    known: dict[str, Provider] = {"existing": Existing(), **ours}
    if name := os.environ.get("CLUSTER"):
        if name not in known:
            raise ClusterError(f"CLUSTER is {name!r}: expected one of {', '.join(known)}")
        if obstacle := known[name].obstacle():
            raise ClusterError(f"CLUSTER={name} cannot be had: {obstacle}")
        return known[name]
    obstacles = {}
    for name, provider in ours.items():
        if (obstacle := provider.obstacle()) is None:
            return provider
        obstacles[name] = obstacle
    reasons = "\n".join(f"  {name}: {obstacle}" for name, obstacle in obstacles.items())
    raise ClusterError(f"no cluster can be had here (CLUSTER=existing uses the current kubectl context):\n{reasons}")
