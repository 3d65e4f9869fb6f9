"""Converts a whole Haraka directory: the files to write, and the notes. Writes nothing."""

from __future__ import annotations

from pathlib import Path

from mailboat.haraka import incoming, outgoing, plugins, security, signing
from mailboat.haraka.journal import Journal, SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import HarakaDirectory

_HTTP = "Haraka's HTTP server is for its plugins; Mailboat's admin listener stays at 127.0.0.1:9025 (see http.ini)"
_LOG = "the event log goes to standard output, diagnostics to standard error; see --log-format"
_FATE = {
    "http.ini": _HTTP,
    "internalcmd_key": "there are no commands over SMTP: use `mailboat queue` and signals",
    "log.ini": _LOG,
    "loglevel": _LOG,
    "log_timestamps": _LOG,
    "daemon_log_file": _LOG,
    "daemon_pid_file": "the service manager or the container decides that",
    "net-utils.ini": "DNS queries have their own timeouts; see dns_servers in outbound.ini",
    "smtp.json": "JSON and YAML files do not override other files",
    "smtp.yaml": "JSON and YAML files do not override other files",
    "smtpgreeting": "the texts of replies are fixed",
    "ehlo_hello_message": "the texts of replies are fixed",
    "connection_close_message": "the texts of replies are fixed",
    "smtp_proxy.ini": "a message is queued before it is forwarded; see [route:NAME]",
    "lmtp.ini": "write a [route:NAME] with protocol=lmtp",
    "smtp_forward.ini": "the plugin queue/smtp_forward is not listed",
    "limit.ini": "the plugin limit is not listed",
    "quarantine.ini": "the plugin queue/quarantine is not listed",
    "tls": "only one key and certificate serve all names; see key and cert in tls.ini",
    "dkim": "the plugin dkim is not listed",
    "dkim.ini": "the plugin dkim is not listed",
}


def convert(directory: Path) -> Product:
    """Convert; the product holds the journal."""
    journal = Journal()
    source, product = HarakaDirectory(directory, journal), Product(journal)
    outgoing.convert(source, product)
    security.convert(source, product)  # before the ports: TLS from the first octet needs a certificate
    incoming.convert(source, product)
    signing.convert(source, product)
    plugins.convert(source, product)
    for name in source.unasked():
        shown = name if name.isprintable() else ascii(name)
        journal.lost(SourceLine(shown), _FATE.get(name, "Mailboat does not read it"))
    return product
