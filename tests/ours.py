"""What of a cluster was made from here. All else is left alone, also on a cluster that was."""

import json
from collections.abc import Iterable

from tests.cluster.cluster import Cluster
from tests.cluster.shell import ClusterError

MARK = "upright.dev/made-for=demo-and-tests"
"""Label of the namespaces that were made from here, and so of all that is in them."""


def refuse_what_is_not_ours(cluster: Cluster, *namespaces: str) -> None:
    """Raises ClusterError where somebody else has Upright on the cluster, or one of these namespaces."""
    for namespace in _with_an_operator(cluster):
        if not is_ours(cluster, namespace):
            raise ClusterError(
                f"Upright is installed on this cluster already, in namespace {namespace}, and not from here: another "
                f"installation would take over what it does. {_instead(cluster)}; or remove that one first, "
                f"if it is not needed (`helm list --namespace {namespace}` shows the release)."
            )
    for namespace in namespaces:
        if _exists(cluster, namespace) and not is_ours(cluster, namespace):
            raise ClusterError(
                f"namespace {namespace} is there already, and was not made from here. {_instead(cluster)}; "
                f"or delete the namespace first, if nothing in it is needed "
                f"(`kubectl get all --namespace {namespace}`)."
            )


def _instead(cluster: Cluster) -> str:
    if cluster.provider == "existing":
        return "Take another cluster: without CLUSTER=existing a new one is made on this machine"
    return "`make cluster-down` ends the cluster with all that is in it, and the next one is new"


def claim(cluster: Cluster, namespace: str) -> None:
    """Have a namespace that is ours. Raises ClusterError, before anything is changed, as above."""
    refuse_what_is_not_ours(cluster, namespace)
    if not _exists(cluster, namespace):
        cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "--overwrite", "namespace", namespace, MARK)


def is_ours(cluster: Cluster, namespace: str) -> bool:
    """Whether a namespace was made from here."""
    query = ("get", "namespaces", f"--field-selector=metadata.name={namespace}", f"--selector={MARK}", "-o", "name")
    return bool(cluster.kubectl(*query).stdout.strip())


def _exists(cluster: Cluster, namespace: str) -> bool:
    return bool(cluster.kubectl("get", "namespace", namespace, "--ignore-not-found", "-o", "name").stdout.strip())


def _with_an_operator(cluster: Cluster) -> Iterable[str]:
    """The namespaces in which the chart is installed, with Helm or without."""
    query = ("get", "deployments.apps", "--all-namespaces", "--selector=app.kubernetes.io/name=upright", "-o", "json")
    items = json.loads(cluster.kubectl(*query).stdout)["items"]
    return sorted({item["metadata"]["namespace"] for item in items})
