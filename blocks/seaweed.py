"""SeaweedFS behind one door: who may do what through S3, and every other way in shut.

Out of the box its master, its filer and its gRPC ports serve whoever can reach 127.0.0.1, released services included:
one request to the filer deletes an object under lock. So HTTP of master and filer is off, gRPC asks for a certificate
that only this server has, and the volume server for a token. Called by the stack's `s3` part and by the tests, which
so run the same server.
"""

import ipaddress
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blocks.identity import give
from blocks.installation import write_private

SECURITY_FILE = "security.toml"
"""SeaweedFS reads it from its working directory."""

KEY_VARIABLE = "WEED_S3_SSE_KEK"
"""The environment variable with the key (64 hexadecimal digits) that encrypts the keys of encrypted objects; so it is
never stored beside them."""

_TOKENS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_PEERS = ("master", "volume", "filer", "s3", "client")
_CERTIFICATE_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Identity:
    """One pair of keys and what it may do: `Read`, `Write`, `List`, `Tagging`, `Admin`, each alone or `:bucket`."""

    name: str
    access_key: str
    secret_key: str
    actions: tuple[str, ...]


def write_identities(path: Path, identities: Sequence[Identity], *, user: str | None) -> None:
    """Write who may do what through S3. Effect: one file, readable by the server's user only."""
    known = [
        {
            "name": one.name,
            "credentials": [{"accessKey": one.access_key, "secretKey": one.secret_key}],
            "actions": list(one.actions),
        }
        for one in identities
    ]
    write_private(path, json.dumps({"identities": known}))
    give(path, user, mode=0o400)


def ensure_configuration(folder: Path, *, user: str | None) -> None:
    """Shut every door but S3: certificates for gRPC, keys for tokens, made once and kept.

    To replace them, remove `security.toml` and start the server anew. Effect: files in `folder`, the server's own.
    """
    # One volume for a bucket at a time, not seven: as many as fit on the disk are all that there will ever be.
    write_private(folder / "master.toml", "[master.volume_growth]\ncopy_1 = 1\n", mode=0o644)
    path = folder / SECURITY_FILE
    if path.exists():
        return
    keys = folder / "security"
    keys.mkdir(mode=0o700, exist_ok=True)
    give(keys, user, mode=0o700)
    for name, content in _certificates().items():
        write_private(keys / name, content)
        give(keys / name, user, mode=0o400)
    tables = ["[access]", "ui = false"]
    for token in _TOKENS:
        tables += [f"[{token}]", f'key = "{secrets.token_urlsafe(32)}"', "expires_after_seconds = 60"]
    tables += ["[grpc]", f'ca = "{keys / "ca.crt"}"']
    for peer in _PEERS:
        tables += [f"[grpc.{peer}]", f'cert = "{keys / "weed.crt"}"', f'key = "{keys / "weed.key"}"']
    write_private(path, "\n".join(tables) + "\n")
    give(path, user, mode=0o400)


def server_flags(
    *, data: Path, identities: Path, ports: Mapping[str, int], sockets: Path, tls: Path | None = None
) -> list[str]:
    """The flags of `weed server`; all its listeners on 127.0.0.1 and on ports of ours.

    Args:
        ports: `s3`, `s3-grpc`, and the same two of `s3-master`, `s3-volume` and `s3-filer`; `s3-tls` with `tls`.
        tls: the folder of `ensure_configuration`, whose certificate S3 shows on a second port; None: no such port.
    """
    flags = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "disableHttp": "true",
        "master.port": ports["s3-master"],
        "master.port.grpc": ports["s3-master-grpc"],
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 200,
        "volume.port": ports["s3-volume"],
        "volume.port.grpc": ports["s3-volume-grpc"],
        "volume.max": 0,
        "volume.preStopSeconds": 1,
        "filer": "true",
        "filer.port": ports["s3-filer"],
        "filer.port.grpc": ports["s3-filer-grpc"],
        "filer.localSocket": sockets / "filer.sock",
        "s3": "true",
        "s3.port": ports["s3"],
        "s3.port.grpc": ports["s3-grpc"],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": identities,
        "s3.localSocket": sockets / "s3.sock",
    }
    if tls is not None:
        keys = tls / "security"
        flags |= {"s3.port.https": ports["s3-tls"], "s3.cert.file": keys / "weed.crt", "s3.key.file": keys / "weed.key"}
    return [f"-{key}={value}" for key, value in flags.items()]


def _certificates() -> dict[str, str]:
    """One authority, whose key nobody keeps, and one certificate for server and client alike."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("slipway s3")
    authority = (
        _draft(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    both_ends = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    places = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        _draft(_name("weed"), authority_name, key)
        .add_extension(x509.SubjectAlternativeName(places), critical=False)
        .add_extension(x509.ExtendedKeyUsage(both_ends), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = {"ca.crt": authority, "weed.crt": certificate}
    texts = {name: one.public_bytes(serialization.Encoding.PEM).decode() for name, one in public.items()}
    return texts | {"weed.key": secret.decode()}


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
    )
