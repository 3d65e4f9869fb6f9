"""STARTTLS for `smtp-source`, which has none: a stunnel before the relay, the same for every relay.

    smtp-source -> stunnel (STARTTLS as a client) -> relay -> tls_sink (demands STARTTLS)

Both legs demand TLS: a relay that skipped it would not get its mail, or not get rid of it. The certificate is
ECDSA P-256. Called by `bench.measure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.process import Service

_CONFIG = """\
foreground = yes
pid =
syslog = no
debug = err
sslVersionMin = TLSv1.2
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[submit]
client = yes
protocol = smtp
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{relay}
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate and its key, PEM."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A running stunnel."""

    port: int
    """Takes plain SMTP on 127.0.0.1."""
    service: Service


def make_certificate(directory: Path) -> Certificate:
    """Makes a certificate for the name `localhost`."""
    made = Certificate(directory / "tls_cert.pem", directory / "tls_key.pem")
    run = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    process.run([*run, *subject, "-keyout", made.key, "-out", made.cert])
    made.key.chmod(0o644)  # a throw-away key, read by relays that run as other users
    return made


def open_tunnel(directory: Path, relay: int) -> Tunnel:
    """Starts stunnel before a server that listens, or will, on port `relay`."""
    port = process.free_port()
    config = directory / "stunnel.conf"
    config.write_text(_CONFIG.format(port=port, relay=relay))
    service = process.start("stunnel", ["stunnel", config], directory / "stunnel.log")
    process.wait_for_port(service.process, service.name, port)
    return Tunnel(port, service)
