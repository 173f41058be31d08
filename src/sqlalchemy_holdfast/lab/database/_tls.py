"""A certificate authority and a server certificate to be thrown away with the server."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import subprocess
from pathlib import Path

from .._errors import ServerFailed

_DAYS = 30
_NAMES = "DNS:localhost,IP:127.0.0.1"


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server-cert.pem and server-key.pem, valid for localhost and 127.0.0.1, into `folder`.

    With the `cryptography` package if it is installed, else with the `openssl` command.
    Raises `ServerFailed` when there is neither.
    """
    try:
        import cryptography  # noqa: F401
    except ImportError:
        if shutil.which("openssl") is None:
            raise ServerFailed(
                "TLS certificates need the cryptography package (pip install cryptography) or the openssl command"
            ) from None
        _with_openssl(folder)
    else:
        _with_cryptography(folder)
    (folder / "server-key.pem").chmod(0o600)


def _with_cryptography(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def builder(subject: str, public_key: rsa.RSAPublicKey, is_ca: bool) -> x509.CertificateBuilder:
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=not is_ca, data_encipherment=False,
            key_agreement=False, key_cert_sign=is_ca, crl_sign=is_ca, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("holdfast lab CA"))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(authority, critical=False)
        )

    ca = builder("holdfast lab CA", ca_key.public_key(), True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder("localhost", key.public_key(), False).add_extension(names, critical=False)
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "server-cert.pem").write_bytes(
        certificate.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    (folder / "server-key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _with_openssl(folder: Path) -> None:
    (folder / "ca.cnf").write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n"
        "[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        "[server]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
        f"authorityKeyIdentifier=keyid\nsubjectAltName={_NAMES}\n",
        encoding="ascii",
    )
    request = ("req", "-newkey", "rsa:2048", "-nodes", "-config", "ca.cnf", "-sha256")
    days = ("-days", str(_DAYS))
    for arguments in (
        (*request, "-x509", "-extensions", "ca", "-subj", "/CN=holdfast lab CA", "-keyout", "ca-key.pem",
         "-out", "ca.pem", *days),
        (*request, "-subj", "/CN=localhost", "-keyout", "server-key.pem", "-out", "server.csr"),
        ("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-sha256",
         "-extfile", "ca.cnf", "-extensions", "server", "-out", "server-cert.pem", *days),
    ):  # fmt: skip
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerFailed(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
