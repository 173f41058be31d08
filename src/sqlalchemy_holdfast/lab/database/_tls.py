"""A certificate authority, and certificates of its own making for a server: to be thrown away with it.

One is as it should be. The others have one thing wrong with them each (:data:`CERTIFICATES`), for tests of what a
client makes of that.
"""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import subprocess
from pathlib import Path
from typing import Literal, get_args

from .._errors import ServerFailed

Certificate = Literal["valid", "wrong-name", "expired", "self-signed"]
"""What is wrong with a server's certificate: nothing; it is for another host; its time is over; no authority has signed
it."""
CERTIFICATES: tuple[Certificate, ...] = get_args(Certificate)

_DAYS = 30
_NAMES = "DNS:localhost,IP:127.0.0.1"
_OTHER_NAME = "elsewhere.example"
_KEY = "server-key.pem"


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server-key.pem and a `server-<kind>.pem` for each of `CERTIFICATES` into `folder`.

    All but the one for another host are for localhost and 127.0.0.1. The server's is server-cert.pem, which
    `use_certificate` makes.

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
    (folder / _KEY).chmod(0o600)


def must_be_known(kind: Certificate) -> Certificate:
    """Return a kind of certificate, or raise `ValueError` when there is none of that name."""
    if kind not in CERTIFICATES:
        raise ValueError(f"the certificate is {kind!r}, which is none of {', '.join(CERTIFICATES)}")
    return kind


def use_certificate(folder: Path, kind: Certificate) -> None:
    """Make one of the certificates the one that the server reads when it starts, or is told to read it again."""
    new = folder / "server-cert.new"
    shutil.copyfile(folder / f"server-{kind}.pem", new)
    new.replace(folder / "server-cert.pem")


def _with_cryptography(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def write(file: str, certificate: x509.Certificate) -> None:
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    now = datetime.datetime.now(datetime.timezone.utc)
    ca_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def sign(subject: str, *, issuer: str = "holdfast lab CA", by: rsa.RSAPrivateKey = ca_key, days: int = _DAYS,
             names: x509.SubjectAlternativeName | None = None) -> x509.Certificate:  # fmt: skip
        is_ca = names is None
        public_key = (ca_key if is_ca else key).public_key()
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=not is_ca, data_encipherment=False,
            key_agreement=False, key_cert_sign=is_ca, crl_sign=is_ca, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(by, hashes.SHA256())

    own = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    write("ca.pem", sign("holdfast lab CA"))
    write("server-valid.pem", sign("localhost", names=own))
    write("server-wrong-name.pem", sign(_OTHER_NAME, names=x509.SubjectAlternativeName([x509.DNSName(_OTHER_NAME)])))
    write("server-expired.pem", sign("localhost", names=own, days=-1))
    write("server-self-signed.pem", sign("localhost", names=own, issuer="localhost", by=key))
    (folder / _KEY).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _with_openssl(folder: Path) -> None:
    server = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
    server += "authorityKeyIdentifier=keyid\n"
    (folder / "ca.cnf").write_text(
        "[req]\ndistinguished_name=dn\n[dn]\n"
        "[authority]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
        "subjectKeyIdentifier=hash\n"
        f"[own]\n{server}subjectAltName={_NAMES}\n[other]\n{server}subjectAltName=DNS:{_OTHER_NAME}\n"
        "[ca]\ndefault_ca=lab\n[lab]\nnew_certs_dir=.\ndatabase=index.txt\nrand_serial=yes\ndefault_md=sha256\n"
        "policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n",
        encoding="ascii",
    )
    (folder / "index.txt").write_text("", encoding="ascii")
    now = datetime.datetime.now(datetime.timezone.utc)
    begin, end, over = (f"{now + datetime.timedelta(days=days):%Y%m%d%H%M%SZ}" for days in (-2, _DAYS, -1))
    request = ("req", "-newkey", "rsa:2048", "-nodes", "-config", "ca.cnf", "-sha256")
    again = ("req", "-new", "-key", _KEY, "-config", "ca.cnf", "-sha256")
    days = ("-days", str(_DAYS))
    sign = ("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca-key.pem", "-startdate",
            begin)  # fmt: skip
    for arguments in (
        (*request, "-x509", "-extensions", "authority", "-subj", "/CN=holdfast lab CA", "-keyout", "ca-key.pem",
         "-out", "ca.pem", *days),
        (*request, "-subj", "/CN=localhost", "-keyout", _KEY, "-out", "own.csr"),
        (*again, "-subj", f"/CN={_OTHER_NAME}", "-out", "other.csr"),
        (*again, "-x509", "-extensions", "own", "-subj", "/CN=localhost", "-out", "server-self-signed.pem", *days),
        (*sign, "-extensions", "own", "-enddate", end, "-in", "own.csr", "-out", "server-valid.pem"),
        (*sign, "-extensions", "own", "-enddate", over, "-in", "own.csr", "-out", "server-expired.pem"),
        (*sign, "-extensions", "other", "-enddate", end, "-in", "other.csr", "-out", "server-wrong-name.pem"),
    ):  # fmt: skip
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerFailed(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
