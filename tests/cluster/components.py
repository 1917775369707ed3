"""The commands of the components, for a whole node and for a control plane alone."""

from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from string import Template

from tests.cluster import binaries
from tests.cluster.credentials import Authority

CONFIG = Path(__file__).parent / "config"
Command = list[str | Path]


@dataclass(frozen=True)
class ControlPlane:
    """Where a control plane keeps its files and listens."""

    state: Path
    ip: str
    api_port: int
    etcd_ports: tuple[int, int]
    service_cidr: str

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def server(self) -> str:
        return f"https://{self.ip}:{self.api_port}"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.state / "audit.log"

    @property
    def first_service_ip(self) -> str:
        """That of the Service `kubernetes`."""
        return str(ip_network(self.service_cidr)[1])


def make_credentials(plane: ControlPlane) -> Authority:
    authority = Authority.create(plane.keys)
    authority.signing_pair("service-accounts")
    service = "kubernetes.default.svc.cluster.local"
    names = [service.rsplit(".", count)[0] for count in range(5)]
    authority.server(
        "kube-apiserver", "kube-apiserver", [*names, "localhost", "127.0.0.1", plane.ip, plane.first_service_ip]
    )
    authority.client("kube-apiserver-to-kubelet", "kube-apiserver-to-kubelet", ["system:masters"])
    authority.client("front-proxy", "front-proxy")
    for component in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
        authority.kubeconfig(plane.keys / f"{component}.kubeconfig", plane.server, f"system:{component}")
    authority.kubeconfig(plane.kubeconfig, plane.server, "admin", ["system:masters"])
    return authority


def etcd(plane: ControlPlane) -> Command:
    client, peer = (f"http://127.0.0.1:{port}" for port in plane.etcd_ports)
    return [
        binaries.program(binaries.ETCD),
        f"--data-dir={plane.state / 'etcd'}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def api_server(plane: ControlPlane) -> Command:
    keys = plane.keys
    return _kubernetes(
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{plane.etcd_ports[0]}",
        f"--bind-address={plane.ip}",
        f"--secure-port={plane.api_port}",
        f"--advertise-address={plane.ip}",
        f"--service-cluster-ip-range={plane.service_cidr}",
        "--allow-privileged=true",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={keys}/ca.crt",
        f"--tls-cert-file={keys}/kube-apiserver.crt",
        f"--tls-private-key-file={keys}/kube-apiserver.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={keys}/service-accounts.key",
        f"--service-account-key-file={keys}/service-accounts.pub",
        f"--kubelet-certificate-authority={keys}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={keys}/kube-apiserver-to-kubelet.crt",
        f"--kubelet-client-key={keys}/kube-apiserver-to-kubelet.key",
        f"--requestheader-client-ca-file={keys}/ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys}/front-proxy.crt",
        f"--proxy-client-key-file={keys}/front-proxy.key",
        f"--audit-policy-file={CONFIG / 'audit.yaml'}",
        f"--audit-log-path={plane.audit_log}",
    )


def controller_manager(plane: ControlPlane) -> Command:
    keys = plane.keys
    return _kubernetes(
        "kube-controller-manager",
        *_client(plane, "kube-controller-manager"),
        # With the default of 20 requests a second a new namespace waits seconds for its ServiceAccount.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={keys}/service-accounts.key",
        f"--root-ca-file={keys}/ca.crt",
        f"--cluster-signing-cert-file={keys}/ca.crt",
        f"--cluster-signing-key-file={keys}/ca.key",
        # Its default is a folder of the machine, which it would make.
        f"--flex-volume-plugin-dir={plane.state / 'volumeplugins'}",
    )


def scheduler(plane: ControlPlane) -> Command:
    return _kubernetes(
        "kube-scheduler", *_client(plane, "kube-scheduler"), "--kube-api-qps=200", "--kube-api-burst=400"
    )


def kubelet(config: Path, kubeconfig: Path, node: str, ip: str) -> Command:
    return _kubernetes(
        "kubelet", f"--config={config}", f"--kubeconfig={kubeconfig}", f"--hostname-override={node}", f"--node-ip={ip}"
    )


def kube_proxy(config: Path) -> Command:
    return _kubernetes("kube-proxy", f"--config={config}")


def write_config(target: Path, values: dict[str, str]) -> None:
    """Fill the templates of config/ in."""
    for source in (path for path in CONFIG.rglob("*") if path.is_file()):
        path = target / source.relative_to(CONFIG)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(source.read_text()).substitute(values))


def _kubernetes(name: str, *flags: str) -> Command:
    return [binaries.program(binaries.KUBERNETES), name, *flags]


def _client(plane: ControlPlane, name: str) -> list[str]:
    kubeconfig = plane.keys / f"{name}.kubeconfig"
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
    ]
