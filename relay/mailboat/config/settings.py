"""The effective settings as frozen dataclasses: what every other package is given.

Nothing here reads a file: `mailboat.config.load` builds these from the configuration directory, and
`docs/configuration.md` is generated from the metadata of the fields. Times are seconds, sizes are octets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from mailboat.config import values
from mailboat.config.nouns import (
    CPUS,
    BareNewline,
    Bind,
    BindKind,
    Endpoint,
    InetPrefer,
    IPAddress,
    Network,
    Protocol,
    RouteHost,
    TlsLevel,
)

__all__ = [
    "CPUS",
    "DEFAULT_RELAY_ACL",
    "BareNewline",
    "Bind",
    "BindKind",
    "BounceTemplates",
    "Endpoint",
    "HttpSettings",
    "IPAddress",
    "InetPrefer",
    "Key",
    "NamedKey",
    "Network",
    "OutboundSettings",
    "PluginSettings",
    "Protocol",
    "Route",
    "RouteHost",
    "Settings",
    "SmtpSettings",
    "TlsLevel",
    "TlsSettings",
    "keys_of",
]

DEFAULT_RELAY_ACL: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))
"""Who may relay without AUTH where `relay_acl_allow` does not say: this machine."""


@dataclass(frozen=True, slots=True)
class Key:
    """What the reader, the writer and the reference page know of one ini key; lives in a field's metadata."""

    parse: Callable[[str], Any]
    """Text of the file -> value; raises ValueError with a reason that a person can act on."""
    doc: str
    """Meaning, unit and reason of the default, in Markdown."""
    ini: str = ""
    """The key's name in the file where it is not the field's name."""
    section: str = "main"
    restart: bool = False
    """Whether a change needs a restart to take effect; said in the log on reload."""
    shown_default: str = ""
    """How the reference shows the default where its repr would not do."""


def setting(
    default: Any,
    parse: Callable[[str], Any],
    doc: str,
    *,
    ini: str = "",
    restart: bool = False,
    shown_default: str = "",
) -> Any:
    """A dataclass field that is one key of an ini file."""
    return field(default=default, metadata={"key": Key(parse, doc, ini, "main", restart, shown_default)})


@dataclass(frozen=True, slots=True)
class NamedKey:
    """One key of a settings class: where its value lives, and what the file calls it."""

    field: str
    ini: str
    """Without the `[]` of a list."""
    is_list: bool
    """Written as repeated `ini[]=` lines; the parser is called once a line and the tuples are joined."""
    default: Any
    key: Key


def keys_of(kind: type) -> tuple[NamedKey, ...]:
    """The keys of a settings class in their order; fields that the loader fills by other ways are not among them."""
    return tuple(
        NamedKey(f.name, name.removesuffix("[]"), name.endswith("[]"), f.default, key)
        for f in fields(kind)
        if (key := f.metadata.get("key")) is not None
        for name in [key.ini or f.name]
    )


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """`smtp.ini`: how mail is received."""

    listen: tuple[Endpoint, ...] = setting(
        (Endpoint("127.0.0.1", 2525), Endpoint("::1", 2525)),
        values.endpoints,
        "Addresses that accept SMTP, separated by commas; a port alone is all addresses. Loopback by default, so that "
        "a first start is never an open port.",
        restart=True,
    )
    smtps_listen: tuple[Endpoint, ...] = setting(
        (), values.endpoints, "Addresses that accept SMTP inside TLS from the first octet (RFC 8314 3.3).", restart=True
    )
    nodes: int = setting(
        0,
        values.nodes,
        "Worker processes: `0` or `1` one, `cpus` one a CPU. Each has its own queue database.",
        restart=True,
    )
    inactivity_timeout: float = setting(
        300.0,
        values.seconds(1, 86400),
        "Seconds that a client may take for one command, or between two pieces of a message (RFC 5321 4.5.3.2.7).",
    )
    max_connections: int = setting(
        1000, values.integer(1, 1_000_000), "Inbound connections at once, in each worker; one more is told 421."
    )
    max_connections_per_client: int = setting(
        100, values.integer(1, 1_000_000), "Inbound connections at once from one address, in each worker."
    )
    max_recipients: int = setting(
        1000,
        values.integer(1, 1_000_000),
        "Recipients a message; one more is told 452 4.5.3. RFC 5321 4.5.3.1.8 asks for at least 100.",
    )
    max_errors: int = setting(
        20,
        values.integer(1, 10_000),
        "Refused commands in one connection before it is closed with 421. EHLO, HELO, NOOP, RSET, VRFY and HELP count "
        "too beyond 100 of them without a message between.",
    )
    databytes: int = setting(
        26_214_400,
        values.size(1024, 2**40),
        "Largest message in octets; offered as SIZE (RFC 1870) and checked again as the message comes in.",
    )
    data_line_length: int = setting(
        65_536,
        values.integer(1000, 2**20),
        "Longest line of a message in octets. RFC 5321 4.5.3.1.6 only promises 1000, but much real mail is longer, and "
        "a relay passes on what it was given.",
    )
    max_received: int = setting(
        100, values.integer(1, 10_000), "Received headers a message may have; one more is a loop (RFC 5321 6.3)."
    )
    bare_newline: BareNewline = setting(
        BareNewline.REFUSE,
        values.choice(BareNewline),
        "A CR or LF alone in a message: `refuse` with 550 5.6.0, or `normalize` to CRLF. Never the end of the message.",
    )
    await_outbound: bool = setting(False, values.boolean, "Let mail wait as long as there is no `outbound.ini`.")


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`http.ini`: probes, metrics and the admin API."""

    listen: tuple[Endpoint, ...] = setting(
        (Endpoint("127.0.0.1", 9025),), values.endpoints, "Addresses of the admin listener.", restart=True
    )
    token_file: str = setting(
        "",
        values.path,
        "File with the bearer token that changing calls must show. Required for them when `listen` is not loopback.",
    )


@dataclass(frozen=True, slots=True)
class Route:
    """A `[route:NAME]` section: where mail for some domains, or all (`*`), is handed over."""

    name: str
    domains: tuple[str, ...] = setting(
        (),
        values.domains,
        "Recipient domains, separated by commas: exact, `.example.com` for all below it, or `*` for all.",
    )
    hosts: tuple[RouteHost, ...] = setting(
        (),
        values.route_hosts,
        "Next hops `host[:port][/priority]`, separated by commas; lower priority first, equal ones in turn. "
        "A path is a unix socket.",
    )
    protocol: Protocol = setting(Protocol.SMTP, values.choice(Protocol), "`smtp` or `lmtp` (RFC 2033).")
    tls: TlsLevel = setting(
        TlsLevel.OPPORTUNISTIC,
        values.choice(TlsLevel),
        "`disabled`, `opportunistic`, `required` (verified STARTTLS or defer), `implicit` (verified, at once).",
    )
    auth_user: str = setting("", values.text, "User name for AUTH.")
    auth_pass_file: str = setting(
        "", values.path, "File that holds the password; read at load, its last newline removed."
    )
    auth_type: str = setting(
        "", values.auth_type, "`PLAIN`, `LOGIN` or `CRAM-MD5`; unset: the strongest that the host offers."
    )
    require_auth: bool = setting(
        False,
        values.boolean,
        "Defer when the host offers no usable AUTH. Otherwise such mail goes without, and a warning is logged.",
    )
    auth_pass: str = field(default="", repr=False)
    """Content of `auth_pass_file`; filled by the loader, hidden by `config show`."""


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """`outbound.ini`: how mail is delivered."""

    disabled: bool = setting(
        False, values.boolean, "Stop delivery attempts; mail is still received and queued. Switching it off resumes."
    )
    concurrency_max: int = setting(100, values.integer(1, 100_000), "Attempts at once, in each worker.")
    enable_tls: bool = setting(True, values.boolean, "Use STARTTLS where a host offers it.")
    always_split: bool = setting(
        False, values.boolean, "One queue entry and one delivery a recipient instead of one a domain."
    )
    received_header: str = setting(
        "Mailboat outbound",
        values.header_text,
        "Text of the `Received` header that is put on all outbound mail just before it is queued; `disabled` for none.",
    )
    connect_timeout: float = setting(30.0, values.seconds(1, 3600), "Seconds to connect to a remote host.")
    local_mx_ok: bool = setting(
        False,
        values.boolean,
        "Allow an MX that leads to this host, loopback, link-local or the unspecified address. Off, such hosts are "
        "skipped: they make loops.",
    )
    temp_fail_intervals: tuple[float, ...] | None = setting(
        None,
        values.intervals,
        "Delays between attempts, such as `1m, 5m*2, 1h*3`: spans of at least 5 s in `s`, `m`, `h` or `d`, each with "
        "an optional repetition. When they run out, the next failure bounces; `none` bounces at the first.",
        shown_default="2^(i+5) s for i = 1 … 12: 64 s to 36 h, about 3 days in all",
    )
    max_temp_failures: int = setting(
        13,
        values.integer(1, 64),
        "Without `temp_fail_intervals`: the failure that bounces; the delays before it are 2^(i+5) s.",
        ini="maxTempFailures",
    )
    inet_prefer: InetPrefer = setting(
        InetPrefer.BOTH,
        values.inet_prefer,
        "Address family to try first within an MX: `v4` or `v6`; `both` (also spelled `default`) tries v6 first. "
        "Never crosses MX preference.",
    )
    queue_dir: str = setting(
        "queue", values.path, "Directory of the queue, on a local file system with working locks.", restart=True
    )
    dns_servers: tuple[Endpoint, ...] = setting(
        (), values.dns_servers, "DNS servers `address[:port]`, separated by commas.", shown_default="the system's"
    )
    mx_port: int = setting(25, values.integer(1, 65535), "Port of MX hosts. Anything but 25 is for tests.")
    destination_concurrency_max: int = setting(
        20, values.integer(1, 100_000), "Attempts at once to one destination (a domain, or a route), in each worker."
    )
    connection_max_messages: int = setting(
        100, values.integer(1, 1_000_000), "Messages over one connection before it is closed."
    )
    connection_idle_timeout: float = setting(
        10.0, values.seconds(0, 3600), "Seconds that an idle connection is kept for the next message; 0 keeps none."
    )
    helo_timeout: float = setting(
        300.0, values.seconds(1, 86400), "Seconds for the greeting and for EHLO (RFC 5321 4.5.3.2.1)."
    )
    mail_timeout: float = setting(
        300.0, values.seconds(1, 86400), "Seconds for the reply to MAIL (RFC 5321 4.5.3.2.2)."
    )
    rcpt_timeout: float = setting(
        300.0, values.seconds(1, 86400), "Seconds for the reply to RCPT (RFC 5321 4.5.3.2.3)."
    )
    data_timeout: float = setting(
        180.0,
        values.seconds(1, 86400),
        "Seconds for the reply to DATA, and for each piece of the body (RFC 5321 4.5.3.2.4, .5).",
    )
    dot_timeout: float = setting(
        600.0,
        values.seconds(1, 86400),
        "Seconds for the reply to the final dot (RFC 5321 4.5.3.2.6). Shorter means duplicates: the peer may have "
        "taken the message.",
    )
    bounce_original_max: int = setting(
        0, values.size(0, 2**40), "Octets of an original that comes back whole with a bounce, else its header; 0: any."
    )
    quit_timeout: float = setting(5.0, values.seconds(1, 3600), "Seconds for the reply to QUIT.")
    binds: tuple[tuple[str, Bind], ...] = ()
    """The `[bind]` section in its order: pod name (or `default`) and entry."""
    routes: tuple[Route, ...] = ()
    """The `[route:NAME]` sections in their order."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`tls.ini`: one side of TLS. `[outbound]` overrides each key of `[main]` for delivery and inherits the rest."""

    key: str = setting("tls_key.pem", values.path, "Private key, PEM. A missing default file means no certificate.")
    cert: str = setting("tls_cert.pem", values.path, "Certificate chain, PEM, leaf first.")
    ca: str = setting("", values.path, "CA bundle, PEM, to verify peers against.", shown_default="the system's")
    dhparam: str = setting("", values.path, "DH parameters, PEM.")
    ciphers: str = setting("", values.ciphers, "OpenSSL cipher list for TLS 1.2 and below.", shown_default="OpenSSL's")
    min_version: str = setting(
        "TLSv1.2",
        values.tls_version,
        "Lowest protocol: `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3` (RFC 8996 asks for 1.2).",
        ini="minVersion",
    )
    request_cert: bool = setting(False, values.boolean, "Ask clients for a certificate.", ini="requestCert")
    reject_unauthorized: bool = setting(
        False,
        values.boolean,
        "Refuse a peer whose certificate does not verify. Always on where TLS is required.",
        ini="rejectUnauthorized",
    )
    honor_cipher_order: bool = setting(True, values.boolean, "Prefer this side's cipher order.", ini="honorCipherOrder")
    force_tls_hosts: tuple[str, ...] = setting(
        (),
        values.host_list,
        "Domains, MX names, addresses or networks that get mail over verified TLS or not at all.",
        ini="force_tls_hosts[]",
    )
    no_tls_hosts: tuple[str, ...] = setting(
        (),
        values.host_list,
        "Domains, MX names, addresses or networks that are never offered TLS.",
        ini="no_tls_hosts[]",
    )
    digest: str = ""
    """Hash of the contents of the files named here: a renewed certificate makes different settings."""


@dataclass(frozen=True, slots=True)
class BounceTemplates:
    """`outbound.bounce_message` and its html and image companions, as text; None: the file is missing."""

    text: str | None = None
    html: str | None = None
    image: bytes | None = None


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """`plugins`, `plugin_timeout` and `NAME.timeout`: which plugins are asked, and how long each may take."""

    names: tuple[str, ...] = ()
    """In the order in which they are asked, as the file spells them."""
    lines: tuple[int, ...] = ()
    """Where each stands in the file `plugins`."""
    timeout: float = 30.0
    """Seconds for one hook; 0: no limit."""
    timeouts: tuple[tuple[str, float], ...] = ()
    """Plugin and seconds, of those that have a limit of their own."""
    digest: str = ""
    """Hash of what plugins consist of and may read: their change makes different settings."""


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
    bounce: BounceTemplates = field(default_factory=BounceTemplates)
    plugins: PluginSettings = field(default_factory=PluginSettings)
    hash: str = ""
    """`sha256:…` of outbound.ini and tls.ini as documented in docs/configuration.md; `/configz` shows it."""
