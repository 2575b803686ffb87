from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ganlib.doctor.certificates import look_at_certificate
from ganlib.doctor.http_answers import NoAnswer, ask
from ganlib.settings import load_settings


def write_certificate(path: Path, days: float) -> None:
    """A certificate of 127.0.0.1 by itself, and its key, in one file."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
    )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)


@pytest.fixture
def address_of(tmp_path: Path) -> Iterator[Callable[[float], str]]:
    """Starts a TLS server whose certificate expires in that many days; gives its address."""
    with ExitStack() as stack:

        def start(days: float) -> str:
            write_certificate(tmp_path / "both.pem", days)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / "both.pem")
            door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def serve() -> None:
                connection, _ = door.accept()
                with connection:
                    try:
                        with context.wrap_socket(connection, server_side=True) as secure:
                            secure.recv(1)
                    except OSError:
                        return  # the client has refused the certificate

            threading.Thread(target=serve, daemon=True).start()
            return f"https://127.0.0.1:{door.getsockname()[1]}"

        yield start


@pytest.mark.parametrize(("days", "state"), [(5, "warning"), (40, "ok"), (-1, "broken")])
def test_a_certificate_that_expires_soon_is_told(
    days: float, state: str, address_of: Callable[[float], str], tmp_path: Path
) -> None:
    settings = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_MLFLOW_URI": address_of(days)})
    trusted = ssl.create_default_context(cafile=str(tmp_path / "both.pem"))
    [finding] = look_at_certificate(settings, "mlflow", 20, trusted)
    assert finding.state == state
    assert ("expired" in finding.seen) == (days < 0)


def test_a_certificate_that_nobody_vouches_for_is_broken(
    address_of: Callable[[float], str], tmp_path: Path
) -> None:
    settings = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_MLFLOW_URI": address_of(40)})
    [finding] = look_at_certificate(settings, "mlflow", 20)
    assert finding.state == "broken"
    assert "self-signed" in finding.seen


def test_a_request_to_it_says_why_there_is_no_answer(address_of: Callable[[float], str]) -> None:
    with pytest.raises(NoAnswer, match="its certificate is not trusted"):
        ask(address_of(40), timeout_seconds=20)


def test_an_address_without_tls_has_no_certificate(tmp_path: Path) -> None:
    settings = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_MLFLOW_URI": "http://127.0.0.1:9"})
    assert list(look_at_certificate(settings, "mlflow", 20)) == []
