"""The effective settings as frozen dataclasses: what every other package is given.

Nothing here reads a file: `mailboat.loading.load` builds these from the configuration directory, and
`docs/configuration.md` is generated from the metadata of the fields. Times are seconds, sizes are octets.
"""

from __future__ import annotations

import ipaddress
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
    RouteHost,
    TlsLevel,
)
from mailboat.config.settings.dkim import DkimDomain, DkimSettings
from mailboat.config.settings.http import HttpSettings
from mailboat.config.settings.key import Key, NamedKey, keys_of, setting
from mailboat.config.settings.outbound import BounceTemplates, OutboundSettings, Route
from mailboat.config.settings.plugins import PluginSettings
from mailboat.config.settings.smtp import SmtpSettings
from mailboat.config.settings.tenants import TENANT_FIELD, Tenant, may_name, tenant_of
from mailboat.config.settings.tls import TlsSettings
from mailboat.dkim.signer import Signer

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
    "PluginSettings",
    "Protocol",
    "Route",
    "RouteHost",
    "Settings",
    "SmtpSettings",
    "Tenant",
    "TlsLevel",
    "TlsSettings",
    "keys_of",
    "may_name",
    "setting",
    "tenant_of",
]

DEFAULT_RELAY_ACL: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
"""Who may relay without AUTH where `relay_acl_allow` does not say: this machine."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that one configuration directory says."""

    directory: str
    me: str
    """This host's name: EHLO, `Received`, the domain that reports bounces."""
    smtp: SmtpSettings = field(default_factory=SmtpSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    outbound: OutboundSettings = field(default_factory=OutboundSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    """For clients that submit mail here."""
    tls_outbound: TlsSettings = field(default_factory=TlsSettings)
    """For deliveries."""
    relay_acl: tuple[Network, ...] = DEFAULT_RELAY_ACL
    """`relay_acl_allow`: who may relay without AUTH."""
    senders_allow: frozenset[str] | None = None
    """`senders_allow`: what clients that relay by address may send as: `domain`, `.parent` or `local@domain`, domains
    normalised; None: as anybody."""
    tenants: tuple[Tenant, ...] = ()
    """`tenants.ini`: whose mail it is."""
    dkim: DkimSettings = field(default_factory=DkimSettings)
    dkim_domains: tuple[DkimDomain, ...] = ()
    signer: Signer | None = field(default=None, repr=False)
    """The keys in `dkim/` and how they sign; None: nothing is signed."""
    awaits_outbound: bool = False
    """`smtp.ini` says `await_outbound`, and there is no `outbound.ini`: mail waits for it."""
    bounce: BounceTemplates = field(default_factory=BounceTemplates)
    plugins: PluginSettings = field(default_factory=PluginSettings)
    copies: str = ""
    """Where the last good set is in force: the folder that holds its copies of the directory's own files."""
    hash: str = ""
    """`sha256:…` of three of the files as documented in docs/configuration.md; `/configz` shows it."""
