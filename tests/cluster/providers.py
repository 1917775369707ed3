"""Who provides the cluster: the one that CLUSTER names, else the first that can."""

import os

from tests.cluster.cluster import Provider
from tests.cluster.local import Local
from tests.cluster.shell import ClusterError


def choose(index: int = 0) -> Provider:
    """The provider that CLUSTER names, else the first of kind and local that can be had here."""
    known: dict[str, Provider] = {"local": Local(index)}
    if name := os.environ.get("CLUSTER"):
        if name not in known:
            raise ClusterError(f"CLUSTER is {name!r}: expected one of {', '.join(known)}")
        if obstacle := known[name].obstacle():
            raise ClusterError(f"CLUSTER={name} cannot be had: {obstacle}")
        return known[name]
    obstacles = {name: provider.obstacle() for name, provider in known.items()}
    for name, obstacle in obstacles.items():
        if obstacle is None:
            return known[name]
    raise ClusterError(
        "no cluster can be had here:\n" + "\n".join(f"  {name}: {why}" for name, why in obstacles.items())
    )
