"""One certificate authority for a cluster, its components' certificates and their kubeconfigs."""

import base64
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files go into `directory`: NAME.crt and NAME.key, or NAME.kubeconfig."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, directory: Path) -> "Authority":
        directory.mkdir(parents=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("cluster")
        certificate = (
            _certificate(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        authority = cls(directory, key, certificate)
        _write(directory / "ca.crt", _pem(certificate))
        _write(directory / "ca.key", _private(key))
        return authority

    def signing_pair(self, name: str) -> None:
        """A bare key and its public half: what ServiceAccount tokens are signed and checked with."""
        key = ec.generate_private_key(ec.SECP256R1())
        _write(self.directory / f"{name}.key", _private(key))
        _write(
            self.directory / f"{name}.pub",
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        )

    def server(self, name: str, user: str, hosts: Sequence[str], groups: Sequence[str] = ()) -> None:
        certificate, key = self._issue(user, groups, ExtendedKeyUsageOID.SERVER_AUTH, hosts)
        _write(self.directory / f"{name}.crt", certificate)
        _write(self.directory / f"{name}.key", key)

    def client(self, name: str, user: str, groups: Sequence[str] = ()) -> None:
        certificate, key = self._issue(user, groups, ExtendedKeyUsageOID.CLIENT_AUTH)
        _write(self.directory / f"{name}.crt", certificate)
        _write(self.directory / f"{name}.key", key)

    def kubeconfig(self, path: Path, server: str, user: str, groups: Sequence[str] = ()) -> None:
        certificate, key = self._issue(user, groups, ExtendedKeyUsageOID.CLIENT_AUTH)
        cluster = {"server": server, "certificate-authority-data": _base64(_pem(self.certificate))}
        _write(
            path,
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "upright",
                    "clusters": [{"name": "upright", "cluster": cluster}],
                    "users": [
                        {
                            "name": user,
                            "user": {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)},
                        }
                    ],
                    "contexts": [{"name": "upright", "context": {"cluster": "upright", "user": user}}],
                }
            ).encode(),
        )

    def _issue(
        self, user: str, groups: Sequence[str], usage: x509.ObjectIdentifier, hosts: Sequence[str] = ()
    ) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _certificate(_name(user, groups), self.certificate.subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        return _pem(builder.sign(self.key, hashes.SHA256())), _private(key)


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _name(user: str, groups: Sequence[str] = ()) -> x509.Name:
    """Kubernetes takes the common name for the user and each organization for a group."""
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
            x509.NameAttribute(NameOID.COMMON_NAME, user),
        ]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
