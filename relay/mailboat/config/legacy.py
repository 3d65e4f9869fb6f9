"""Settings that Haraka reads and Mailboat does not: why, and what to use instead. Pure tables for `sections` and
`load`."""

from __future__ import annotations

from collections.abc import Mapping

_POOLS = "Haraka 3.0 dropped its connection pools; see connection_max_messages and connection_idle_timeout"
_FAMILY = "Haraka 3.0.4 dropped it; see inet_prefer"
_MUTUAL = "client certificates are requested with requestCert and required with rejectUnauthorized"
_PROCESS = "the service manager or the container decides that"
_NO_OCSP = "OCSP stapling is not offered"
_PASSWORD = "write the password into a file of its own, and name that in auth_pass_file"  # noqa: S105

REMOVED_KEYS: Mapping[str, Mapping[str, str]] = {
    "outbound.ini": {
        "pool_timeout": _POOLS,
        "pool_concurrency_max": f"{_POOLS}, and destination_concurrency_max",
        "pool_waiting_queue_max": _POOLS,
        "ipv6_enabled": _FAMILY,
        "max_temp_failures": "the key is maxTempFailures",
        "max_outbound_connections": "it never existed; see concurrency_max and destination_concurrency_max",
        "load_pid_queue": _PROCESS,
        "flush_queue": "send SIGHUP, or run `mailboat queue flush`",
        "auth_pass": _PASSWORD,
    },
    "smtp.ini": {
        "listen_host": "write host and port in listen",
        "port": "write host and port in listen",
        "smtps_port": "write host and port in smtps_listen",
        "public_ip": "it is not used",
        "user": _PROCESS,
        "group": _PROCESS,
        "daemonize": _PROCESS,
        "daemon_log_file": _PROCESS,
        "daemon_pid_file": _PROCESS,
        "graceful_shutdown": "shutdown always drains",
        "force_shutdown_timeout": _PROCESS,
        "ignore_bad_plugins": "a plugin that does not load is a fault",
    },
    "tls.ini": {
        "requestOCSP": _NO_OCSP,
        "enableOCSPStapling": _NO_OCSP,
        "requireAuthorized": _MUTUAL,
        "no_starttls_ports": "STARTTLS is offered wherever there is a certificate",
        "mutual_tls": _MUTUAL,
        "ecdhCurve": "OpenSSL chooses the group",
        "secureProtocol": "see minVersion",
        "pfx": "see key and cert, which are PEM",
        "passphrase": "keys are not encrypted; protect the file",
        "crl": "revocation lists are not checked",
    },
    "http.ini": {"port": "write host and port in listen", "host": "write host and port in listen"},
}
"""By file: known keys of past and present Haraka that are not read."""

REMOVED_SECTIONS: Mapping[str, Mapping[str, str]] = {
    "tls.ini": {
        "no_tls_hosts": "write no_tls_hosts[] in [main]",
        "mutual_auth_hosts": _MUTUAL,
        "mutual_auth_hosts_exclude": _MUTUAL,
        "redis": "if TLS fails and is not required, the same attempt continues in plaintext",
    },
}

LEGACY_FILES: Mapping[str, str] = {
    **{
        f"outbound.{key}": f"is not read: write {key} in outbound.ini"
        for key in (
            "disabled",
            "concurrency_max",
            "enable_tls",
            "always_split",
            "received_header",
            "temp_fail_intervals",
            "maxTempFailures",
        )
    },
    "outbound.ipv6_enabled": "is not read: see inet_prefer in outbound.ini",
    "queue_dir": "is not read: write queue_dir in outbound.ini",
    "databytes": "is not read: write databytes in smtp.ini",
    "connection.ini": "is not read: its limits are keys of smtp.ini",
    "smtp.json": "is not read: JSON overrides are not supported",
    "smtp.yaml": "is not read: YAML overrides are not supported",
}
"""Files from which Haraka reads settings, without plugins' own files."""
