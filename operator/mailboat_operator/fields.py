"""Maps fields of an OutboundConfig to keys of ini files, and says why some keys have no field. Pure tables.

`spec` reads by them, and the reference page is generated from them. Tests compare them with the CRD and the relay's
settings, and fail if a key is missing in one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from mailboat.config.settings import OutboundSettings, OutboundTlsSettings, Route, Tenant, TlsReportSettings, keys_of
from mailboat.config.settings.shaping import RuleSettings, ScopeSettings

OUTBOUND: Mapping[str, str] = MappingProxyType(
    {
        "disabled": "disabled",
        "concurrency_max": "concurrencyMax",
        "enable_tls": "enableTLS",
        "always_split": "alwaysSplit",
        "received_header": "receivedHeader",
        "connect_timeout": "connectTimeoutSeconds",
        "local_mx_ok": "localMXOK",
        "temp_fail_intervals": "tempFailIntervals",
        "maxTempFailures": "maxTempFailures",
        "inet_prefer": "inetPrefer",
        "dns_servers": "dnsServers",
        "dns_trust_ad": "dnsTrustAD",
        "mx_port": "mxPort",
        "destination_concurrency_max": "destinationConcurrencyMax",
        "connection_max_messages": "connectionMaxMessages",
        "connection_idle_timeout": "connectionIdleTimeoutSeconds",
        "helo_timeout": "heloTimeoutSeconds",
        "mail_timeout": "mailTimeoutSeconds",
        "rcpt_timeout": "rcptTimeoutSeconds",
        "data_timeout": "dataTimeoutSeconds",
        "dot_timeout": "dotTimeoutSeconds",
        "delay_warning": "delayWarningSeconds",
        "attempt_timeout": "attemptTimeoutSeconds",
        "bounce_original_max": "bounceOriginalMaxBytes",
        "quit_timeout": "quitTimeoutSeconds",
    }
)
"""`outbound.ini` [main] -> `spec.outbound`."""

ROUTE: Mapping[str, str] = MappingProxyType(
    {
        "domains": "domains",
        "senders": "senders",
        "hosts": "hosts",
        "inet_prefer": "inetPrefer",
        "protocol": "protocol",
        "tls": "tls",
        "auth_user": "authSecretRef",
        "auth_user_file": "authSecretRef",
        "auth_pass_file": "authSecretRef",
        "auth_type": "authType",
        "require_auth": "requireAuth",
        "connection_max_messages": "connectionMaxMessages",
        "dane": "dane",
        "sts": "sts",
        "auth_without_tls": "allowPlaintextAuth",
        "ca": "caBundleRef",
    }
)
"""`outbound.ini` [route:NAME] -> `spec.routes[]`."""

ROUTE_OAUTH: Mapping[str, str] = MappingProxyType(
    {
        "oauth_token_url": "tokenURL",
        "oauth_client_id": "clientID",
        "oauth_client_secret_file": "clientSecretRef",
        "oauth_refresh_token_file": "refreshTokenRef",
        "oauth_scope": "scope",
        "oauth_ca": "caBundleRef",
    }
)
"""`outbound.ini` [route:NAME] -> `spec.routes[].oauth`."""

ROUTE_FILES: Mapping[str, str] = MappingProxyType(
    {
        "auth_user_file": "user",
        "auth_pass_file": "password",
        "ca": "ca.crt",
        "oauth_client_secret_file": "client-secret",
        "oauth_refresh_token_file": "refresh-token",
        "oauth_ca": "oauth-ca.crt",
    }
)
"""Keys of a route that name a file -> how the file's name ends, behind `route-NAME.`."""

ROUTE_BUNDLES = frozenset({"ca", "oauth_ca"})
"""Those of them whose file holds CA certificates; the others hold a line."""

TLS: Mapping[str, str] = MappingProxyType(
    {
        "key": "certificateSecretRef",
        "cert": "certificateSecretRef",
        "ca": "caBundleRef",
        "dhparam": "dhparamSecretRef",
        "ciphers": "ciphers",
        "minVersion": "minVersion",
        "requestCert": "requestCert",
        "rejectUnauthorized": "rejectUnauthorized",
        "honorCipherOrder": "honorCipherOrder",
        "force_tls_hosts": "forceTLSHosts",
        "no_tls_hosts": "noTLSHosts",
    }
)
"""`tls.ini` [main] -> `spec.tls`."""

TLS_OUTBOUND: Mapping[str, str] = MappingProxyType(
    {ini: name for ini, name in TLS.items() if ini not in ("dhparam", "requestCert")}
    | {"mta_sts": "mtaSTS", "dane": "dane", "force_dane_hosts": "forceDANEHosts"}
    | {"requiretls": "requireTLS", "tls_required_header": "tlsRequiredHeader"}
)
"""`tls.ini` [outbound] -> `spec.tls.outbound`."""

TENANT: Mapping[str, str] = MappingProxyType({"users": "users", "listeners": "listeners", "may_name": "mayName"})
"""`tenants.ini` [tenant:NAME] -> `spec.tenants[]`."""

TLS_REPORTS: Mapping[str, str] = MappingProxyType(
    {"organization": "organization", "contact": "contact", "from": "from", "sending_ip": "sendingIP"}
)
"""`tlsrpt.ini` [main] -> `spec.tlsReports`."""

SHAPING: Mapping[str, str] = MappingProxyType({"table": "table", "rules": "rulesFrom"})
"""`shaping.ini` [main] -> `spec.shaping`."""

SHAPING_PROVIDER: Mapping[str, str] = MappingProxyType({"mx": "mx", "domain": "domains", "sample_mx": "sampleMX"})
"""`shaping.ini` [provider:NAME] -> `spec.shaping.providers[]`."""

SHAPING_LIMITS: Mapping[str, str] = MappingProxyType(
    {
        "connections": "connections",
        "rate": "rate",
        "recipient_rate": "recipientRate",
        "connection_rate": "connectionRate",
    }
)
"""Limits of a section of `shaping.ini` -> `spec.shaping.scopes[].limits`."""

SHAPING_SCOPE: Mapping[str, str] = MappingProxyType(
    {
        "messages_per_connection": "messagesPerConnection",
        "recipients_per_message": "recipientsPerMessage",
        "connection_idle_timeout": "connectionIdleTimeoutSeconds",
        "window": "window",
        "temp_fail_intervals": "tempFailIntervals",
        "connect_timeout": "connectTimeoutSeconds",
        "helo_timeout": "heloTimeoutSeconds",
        "mail_timeout": "mailTimeoutSeconds",
        "rcpt_timeout": "rcptTimeoutSeconds",
        "data_timeout": "dataTimeoutSeconds",
        "dot_timeout": "dotTimeoutSeconds",
        "quit_timeout": "quitTimeoutSeconds",
        "attempt_timeout": "attemptTimeoutSeconds",
        "inet": "inet",
        "tls": "tls",
        "separate": "separate",
        "replace": "replace",
    }
)
"""Its other keys -> `spec.shaping.scopes[]`."""

SHAPING_RULE: Mapping[str, str] = MappingProxyType(
    {
        "on": "on",
        "stage": "stages",
        "reply": "replies",
        "sample": "samples",
        "not": "not",
        "trigger": "trigger",
        "per": "per",
        "action": "actions",
        "for": "for",
        "recover": "recover",
    }
)
"""`shaping.ini` [rule:NAME] -> `spec.shaping.rules[]`."""

REFERENCES = frozenset(
    {
        "certificateSecretRef",
        "caBundleRef",
        "dhparamSecretRef",
        "authSecretRef",
        "clientSecretRef",
        "refreshTokenRef",
    }
)
"""Fields whose value is another object: the key then names a file of `<name>-credentials`."""

UNREACHABLE: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        **{
            (file, key.ini): key.key.no_field
            for file, kind in (
                *(("outbound.ini", OutboundSettings), ("outbound.ini", Route)),
                *(("tls.ini [outbound]", OutboundTlsSettings), ("tenants.ini", Tenant)),
                ("tlsrpt.ini", TlsReportSettings),
                *(("shaping.ini", ScopeSettings), ("shaping.ini [rule:NAME]", RuleSettings)),
            )
            for key in keys_of(kind)
            if key.key.no_field
        },
        ("tls.ini [outbound]", "dhparam"): "a client uses the server's parameters",
        ("tls.ini [outbound]", "requestCert"): "a server always shows its certificate",
    }
)
"""Keys without a field, by file, and why: from the relay's settings, and for keys that one side of TLS lacks."""
