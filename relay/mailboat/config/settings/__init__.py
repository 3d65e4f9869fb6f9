"""The effective settings as frozen dataclasses, which all other packages use.

Nothing here reads a file: `mailboat.loading.load` builds these from the configuration directory, and
`docs/configuration.md` is generated from the metadata of the fields. Times are seconds, sizes are octets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from mailboat.config.nouns import (
    CPUS,
    BareNewline,
    Bind,
    BindKind,
    Endpoint,
    InetPrefer,
    IPAddress,
    Network,
    Nul,
    OAuthGrant,
    Protocol,
    RequireTls,
    RouteHost,
    TlsLevel,
)
from mailboat.config.settings.dkim import DkimDomain, DkimSettings
from mailboat.config.settings.http import HttpSettings
from mailboat.config.settings.key import Key, NamedKey, keys_of, setting
from mailboat.config.settings.outbound import BounceTemplates, OutboundSettings, Route
from mailboat.config.settings.plugins import PluginSettings
from mailboat.config.settings.shaping import ProviderSettings, RuleSettings, ScopeSettings, ShapingSettings
from mailboat.config.settings.smtp import SmtpSettings
from mailboat.config.settings.tenants import TENANT_FIELD, Tenant, may_name, tenant_of
from mailboat.config.settings.tls import OutboundTlsSettings, TlsSettings
from mailboat.config.settings.tlsrpt import TlsReportSettings
from mailboat.dkim.signer import Signer
from mailboat.shaping.table import LimitTable

__all__ = [
    "CPUS",
    "DEFAULT_RELAY_ACL",
    "TENANT_FIELD",
    "BareNewline",
    "Bind",
    "BindKind",
    "BounceTemplates",
    "DkimDomain",
    "DkimSettings",
    "Endpoint",
    "HttpSettings",
    "IPAddress",
    "InetPrefer",
    "Key",
    "NamedKey",
    "Network",
    "Nul",
    "OAuthGrant",
    "OutboundSettings",
    "OutboundTlsSettings",
    "PluginSettings",
    "Protocol",
    "ProviderSettings",
    "RequireTls",
    "Route",
    "RouteHost",
    "RuleSettings",
    "ScopeSettings",
    "Settings",
    "ShapingSettings",
    "SmtpSettings",
    "Tenant",
    "TlsLevel",
    "TlsReportSettings",
    "TlsSettings",
    "keys_of",
    "may_name",
    "setting",
    "tenant_of",
]

DEFAULT_RELAY_ACL: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
"""Who may relay without AUTH when there is no `relay_acl_allow`: this machine."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one configuration directory."""

    directory: str
    me: str
    """This host's name: in EHLO, in `Received`, and as the Reporting-MTA of bounces."""
    smtp: SmtpSettings = field(default_factory=SmtpSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    """For clients that submit mail here."""
    tls_outbound: OutboundTlsSettings = field(default_factory=OutboundTlsSettings)
    """For deliveries."""
    relay_acl: tuple[Network, ...] = DEFAULT_RELAY_ACL
    """`relay_acl_allow`: who may relay without AUTH."""
    senders_allow: frozenset[str] | None = None
    """`senders_allow`: the senders that clients which relay by address may use: `domain`, `.parent` or `local@domain`,
    domains normalised; None: any."""
    tenants: tuple[Tenant, ...] = ()
    """`tenants.ini`: which clients' mail belongs to which tenant."""
    dkim: DkimSettings = field(default_factory=DkimSettings)
    dkim_domains: tuple[DkimDomain, ...] = ()
    signer: Signer | None = field(default=None, repr=False)
    """The keys in `dkim/` and how they sign; None: no mail is signed."""
    tlsrpt: TlsReportSettings = field(default_factory=TlsReportSettings)
    shaping: LimitTable = field(default_factory=LimitTable, repr=False)
    """Limits by destination and rules from replies: the built-in table and `shaping.ini` together."""
    shaping_given: Mapping[str, Mapping[str, str | list[str]]] = field(default_factory=dict, repr=False)
    """The sections of `shaping.ini`, as text."""
    awaits_outbound: bool = False
    """`await_outbound` is set in `smtp.ini`, and there is no `outbound.ini`: delivery is held until there is one."""
    bounce: BounceTemplates = field(default_factory=BounceTemplates)
    plugins: PluginSettings = field(default_factory=PluginSettings)
    copies: str = ""
    """The directory with the copies of the configuration files while the last good set is in force; else empty."""
    hash: str = ""
    """`sha256:…` over the files that docs/configuration.md lists; shown by `/configz`."""
