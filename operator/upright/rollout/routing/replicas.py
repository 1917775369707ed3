"""Traffic follows the ratio of ready pods: one Service over both versions, and one over each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from upright.api import names
from upright.api.deployment import Deployment
from upright.api.serving import GRPC_PORT as GRPC_NUMBER
from upright.contract import Manifest
from upright.pods.build import GRPC_PORT, HTTP_PORT

_PORT = 80
"""Of the Service of all traffic."""

_GRPC = {
    "name": GRPC_PORT,
    "protocol": "TCP",
    "appProtocol": "kubernetes.io/h2c",  # what gateways, ingresses and meshes know HTTP/2 without TLS by
    "port": GRPC_NUMBER,
    "targetPort": GRPC_PORT,
}


@dataclass(frozen=True)
class Replicas:
    """How many pods each version has."""

    stable: int
    candidate: int

    @property
    def weight(self) -> int:
        """The candidate's share in percent, rounded; 0 when there are no pods."""
        return share(self.candidate, self.stable)


def share(candidate: int, stable: int) -> int:
    """The candidate's share of so many pods in percent, rounded; 0 when there are no pods."""
    both = candidate + stable
    return round(100 * candidate / both) if both else 0


def split(replicas: int, weight: int) -> Replicas:
    """The pods that give the candidate `weight` percent (1 to 99) as nearly as whole pods can.

    Up to 50 % the stable version keeps all its pods, so that a rollback needs none to start; above, the candidate has
    all of its own and the stable version goes down. There are never fewer ready pods than `replicas`.
    """
    if replicas == 0:
        return Replicas(0, 0)
    if weight <= 50:
        return Replicas(replicas, max(1, round(replicas * weight / (100 - weight))))
    return Replicas(max(1, round(replicas * (100 - weight) / weight)), replicas)


def service_names(deployment: str) -> tuple[str, str, str]:
    """The Services: of all traffic, of the stable version, of the candidate."""
    return names.fit(deployment), names.fit(deployment, "-stable"), names.fit(deployment, "-canary")


def url(owner: Deployment) -> str:
    """Where the model answers inside the cluster."""
    return f"http://{service_names(owner.metadata.name)[0]}.{owner.metadata.namespace}.svc"


def services(
    owner: Deployment,
    stable: str | None,
    candidate: str | None,
    existing: Mapping[str, Manifest],
    *,
    alone: bool,
    grpc: bool,
) -> Sequence[Manifest]:
    """The three Services. Without a candidate, all of them lead to the stable revision, and the other way round.

    The Service of all traffic selects by revision while there is only one, so that a rejected version gets no request
    from the moment on that it is rejected, however long its pods take to end. Those of one version are headless: an
    address of their own would be the cluster's scarcest thing. Ones that have an address, from an earlier version of
    Upright, keep it, since it cannot be taken away. So do those that lead to gRPC keep that port, whatever the spec
    says by now, until no pod answers there: a version that has not gone out takes it from nobody's clients.

    Args:
        owner: the Deployment.
        stable: the stable revision.
        candidate: the candidate's revision.
        existing: our Services that are there, by name.
        alone: no pods but those of one revision are to answer.
        grpc: pods of ours may answer over gRPC.
    """
    everyone, of_stable, of_candidate = service_names(owner.metadata.name)
    only = stable or candidate if alone else None

    to_grpc = owner.spec.serving.grpc or (grpc and lead_to_grpc(existing.values()))
    return [
        _service(owner, everyone, only, headless=False, grpc=to_grpc),
        *(
            _service(owner, name, revision, headless=_headless(existing.get(name)), grpc=to_grpc)
            for name, revision in ((of_stable, stable or candidate), (of_candidate, candidate or stable))
        ),
    ]


def lead_to_grpc(services: Iterable[Manifest]) -> bool:
    """Whether one of them has that port."""
    return any(port.get("name") == GRPC_PORT for one in services for port in one.get("spec", {}).get("ports", ()))


def _headless(existing: Manifest | None) -> bool:
    return existing is None or existing.get("spec", {}).get("clusterIP") in {None, "None"}


def _service(owner: Deployment, name: str, revision: str | None, *, headless: bool, grpc: bool) -> Manifest:
    added = owner.spec.serving.metadata
    port = owner.spec.serving.port if headless else _PORT
    annotations = {"annotations": added.annotations} if added.annotations else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": {
                **added.labels,
                "app.kubernetes.io/managed-by": "upright",
                names.DEPLOYMENT: owner.metadata.name,
            },
            **annotations,
            "ownerReferences": [names.owner_reference("Deployment", owner.metadata)],
        },
        "spec": {
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            **({"clusterIP": "None"} if headless else {}),
            "selector": {names.DEPLOYMENT: owner.metadata.name, **({names.REVISION: revision} if revision else {})},
            "ports": [
                {"name": HTTP_PORT, "protocol": "TCP", "port": port, "targetPort": HTTP_PORT},
                *([_GRPC] if grpc and port != GRPC_NUMBER else []),
            ],
        },
    }
