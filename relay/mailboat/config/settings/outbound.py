"""`outbound.ini`, and its `[route:NAME]` sections."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.config import values
from mailboat.config.hosts import LOOPBACK
from mailboat.config.nouns import (
    ROUTE_TLS_LEVELS,
    Bind,
    Endpoint,
    InetPrefer,
    OAuthGrant,
    Protocol,
    RouteHost,
    TlsLevel,
)
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class Route:
    """A `[route:NAME]` section: the next hops of mail for some domains, or for all (`*`)."""

    name: str
    domains: tuple[str, ...] = setting(
        (),
        values.domains,
        "Recipient domains, separated by commas: an exact name, `.example.com` for all its subdomains, or `*` for "
        "all. The most specific one decides.",
        shown_default="`*` if `senders` is set, else required",
    )
    senders: tuple[str, ...] = setting(
        (),
        values.senders,
        "Only mail from these senders, separated by commas: addresses, domains, `.example.com` for all its "
        "subdomains, or `<>` for the null sender, such as that of bounces. Recipient domains are matched first; among "
        "routes with the same one, the most specific sender decides.",
        shown_default="all",
    )
    hosts: tuple[RouteHost, ...] = setting(
        (),
        values.route_hosts,
        "Next hops `host[:port][/priority]`, separated by commas; lower priority first, equal ones in random order. A "
        "path is a unix socket. Names are looked up as the system does: `/etc/hosts`, then the search list of "
        "`/etc/resolv.conf`; a name that ends in a dot is not completed.",
    )
    protocol: Protocol = setting(Protocol.SMTP, values.choice(Protocol), "`smtp` or `lmtp` (RFC 2033).")
    tls: TlsLevel = setting(
        TlsLevel.OPPORTUNISTIC,
        values.choice(ROUTE_TLS_LEVELS),
        "`disabled`, `opportunistic`, `required` (verified STARTTLS or defer), `implicit` (verified, from the first "
        "octet). With a user, `opportunistic` means `required`, except for loopback addresses and unix sockets.",
    )
    ca: str = setting(
        "",
        values.path,
        "PEM file of the root certificates that verify the hosts, instead of those of tls.ini.",
    )
    auth_user: str = setting("", values.text, "User name for AUTH.")
    auth_user_file: str = setting(
        "",
        values.path,
        "File that holds the user name, instead of `auth_user`; read at load, its last newline removed.",
    )
    auth_pass_file: str = setting(
        "", values.path, "File that holds the password; read at load, its last newline removed."
    )
    auth_type: str = setting(
        "",
        values.route_auth_type,
        "`PLAIN`, `LOGIN` or `CRAM-MD5`; unset: the strongest that the host offers. `XOAUTH2` and `OAUTHBEARER` (RFC "
        "7628) send `auth_user` and, instead of a password, an access token of `oauth_token_url`.",
    )
    oauth_token_url: str = setting(
        "",
        values.token_url,
        "Token endpoint (RFC 6749 3.2) that issues access tokens: https, or http to loopback. Tokens are kept in "
        "memory, renewed before they expire, and renewed once after a 535.",
    )
    oauth_client_id: str = setting("", values.oauth_text, "Client identifier of the relay at the token server.")
    oauth_client_secret_file: str = setting(
        "",
        values.path,
        "File that holds the client's secret; read at load, its last newline removed. Required unless there is a "
        "refresh token.",
    )
    oauth_refresh_token_file: str = setting(
        "",
        values.path,
        "File that holds a refresh token (RFC 6749 6); read at load, its last newline removed. Unset: the grant is "
        "the client credentials (RFC 6749 4.4).",
    )
    oauth_scope: str = setting(
        "", values.oauth_text, "Scope to ask for, such as `https://outlook.office365.com/.default`."
    )
    oauth_ca: str = setting(
        "",
        values.path,
        "PEM file of the root certificates that verify the token server, instead of the system's.",
    )
    require_auth: bool = setting(
        False,
        values.boolean,
        "Defer if the host offers no usable AUTH. Otherwise mail is sent without AUTH, and a warning is logged. With "
        "access tokens it is always deferred.",
    )
    inet_prefer: InetPrefer | None = setting(
        None, values.optional(values.inet_prefer), "As in `[main]`, for this route.", shown_default="as in `[main]`"
    )
    connection_max_messages: int | None = setting(
        None,
        values.optional(values.integer(1, 1_000_000)),
        "As in `[main]`, for this route. Use 10 for Exim with its defaults, which only queues later messages of a "
        "connection.",
        shown_default="as in `[main]`",
    )
    dane: bool = setting(
        False,
        values.boolean,
        "Obey TLSA records (DANE, RFC 7672) of the hosts, as `dane` in tls.ini does for delivery by MX. The names of "
        "hosts must be complete.",
    )
    sts: bool = setting(
        False,
        values.boolean,
        "Obey the MTA-STS policies (RFC 8461) of the hosts: a host's own name is the domain whose policy is looked up, "
        "and which must list it. Nothing is looked up with `mta_sts=false` in tls.ini. The names of hosts must be "
        "complete.",
    )
    auth_without_tls: bool = setting(
        False,
        values.boolean,
        "With a user, `tls=opportunistic` stays opportunistic: anyone on the network path may read the password or "
        "access token, or impersonate the host. CRAM-MD5, if the host offers it, does not reveal the password.",
    )
    ca_pem: str = field(default="", repr=False)
    """Content of `ca`; filled by the loader."""
    auth_user_read: str = field(default="", repr=False)
    """Content of `auth_user_file`; filled by the loader, hidden by `config show`."""
    auth_pass: str = field(default="", repr=False)
    """Content of `auth_pass_file`; filled by the loader, hidden by `config show`."""
    oauth_client_secret: str = field(default="", repr=False)
    """Content of `oauth_client_secret_file`, likewise."""
    oauth_refresh_token: str = field(default="", repr=False)
    """Content of `oauth_refresh_token_file`, likewise."""
    oauth_ca_pem: str = field(default="", repr=False)
    """Content of `oauth_ca`; filled by the loader."""
    waits: str = ""
    """Why mail of this route is deferred while the last good set is in force and a file that a key names cannot be
    used."""

    @property
    def user(self) -> str:
        """Who AUTH names, wherever that stands; empty: no user."""
        return self.auth_user or self.auth_user_read

    @property
    def sends_token(self) -> bool:
        """Whether AUTH sends an access token, and no password."""
        return self.auth_type in values.TOKEN_MECHANISMS

    @property
    def grant(self) -> OAuthGrant | None:
        """What access tokens are given for; None: AUTH sends a password."""
        if not self.sends_token:
            return None
        return OAuthGrant(
            self.oauth_token_url,
            self.oauth_client_id,
            self.oauth_client_secret,
            self.oauth_refresh_token,
            self.oauth_scope,
            self.oauth_ca_pem,
        )


@dataclass(frozen=True, slots=True)
class OutboundSettings:
    """`outbound.ini`: how mail is delivered."""

    disabled: bool = setting(
        False, values.boolean, "Stop delivery attempts; mail is still received and queued. `false` resumes them."
    )
    concurrency_max: int = setting(
        100,
        values.integer(1, 100_000),
        "Concurrent connections in each worker, idle ones included. Connections whose host is silent are extra, up to "
        "sixteen times as many, so that they do not delay other hosts.",
    )
    enable_tls: bool = setting(True, values.boolean, "Use STARTTLS if a host offers it.")
    always_split: bool = setting(
        False, values.boolean, "One queue entry and one delivery for each recipient instead of for each domain."
    )
    received_header: str = setting(
        "Mailboat outbound",
        values.header_text,
        "Text of the `Received` header that is added to all outbound mail before it is queued; `disabled` for none.",
    )
    connect_timeout: float = setting(30.0, values.seconds(1, 3600), "Seconds to connect to a remote host.")
    local_mx_ok: bool = setting(
        False,
        values.boolean,
        "Allow an MX that resolves to this host, or to a loopback, link-local or the unspecified address. Otherwise "
        "such hosts are skipped, because they cause loops.",
    )
    temp_fail_intervals: tuple[float, ...] | None = setting(
        None,
        values.intervals,
        "Delays between attempts, such as `1m, 5m*2, 1h*3`: at least 5 s each, in `s`, `m`, `h` or `d`, with an "
        "optional repetition. The failure after the last delay bounces; with `none` the first failure bounces.",
        shown_default="2^(i+5) s for i = 1 … 12: 64 s to 36 h, about 3 days in all",
    )
    max_temp_failures: int = setting(
        13,
        values.integer(1, 64),
        "Without `temp_fail_intervals`: the number of the failure that bounces; the delays before it are 2^(i+5) s.",
        ini="maxTempFailures",
    )
    inet_prefer: InetPrefer = setting(
        InetPrefer.BOTH,
        values.inet_prefer,
        "Address family to try first within an MX: `v4` or `v6`; `both` (also spelled `default`) tries v6 first. With "
        "`v4-only` and `v6-only` the other family is never used: mail to a domain without such an address bounces. MX "
        "preference always comes first.",
    )
    queue_dir: str = setting(
        "queue",
        values.path,
        "Directory of the queue, on a local file system with working locks.",
        restart=True,
        no_field="the queue is on the pod's volume, which the pod's `MAILBOAT_QUEUE_DIR` names",
    )
    dns_servers: tuple[Endpoint, ...] = setting(
        (), values.dns_servers, "DNS servers `address[:port]`, separated by commas.", shown_default="the system's"
    )
    dns_trust_ad: tuple[str, ...] = setting(
        (LOOPBACK,),
        values.trusted_resolvers,
        "DNS servers that are trusted to validate answers (DNSSEC) and to say so with the AD bit, which DANE needs: "
        "addresses, `loopback` for all of loopback, or `none`. For another machine, whoever controls the network in "
        "between can forge it.",
    )
    mx_port: int = setting(25, values.integer(1, 65535), "Port of MX hosts. Anything but 25 is for tests.")
    destination_concurrency_max: int = setting(
        20,
        values.integer(1, 100_000),
        "Maximum of concurrent attempts to one destination, in each worker. A destination is a route, or a set of MX "
        "hosts with all the domains that they serve. The relay starts with 2 and learns how many the hosts accept.",
    )
    connection_max_messages: int = setting(
        100, values.integer(1, 1_000_000), "Messages sent over one connection before it is closed."
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
        "Seconds for the reply to the final dot (RFC 5321 4.5.3.2.6). A shorter time causes duplicates: the host may "
        "have accepted the message.",
    )
    bounce_original_max: int = setting(
        0,
        values.size(0, 2**40),
        "Largest original message in octets that a bounce returns whole; of a larger one, it returns the header. 0: "
        "no limit.",
    )
    delay_warning: float = setting(
        0.0,
        values.seconds(0, 31_536_000),
        "Seconds in the queue after which the sender of undelivered mail is told, once, that it is late; by the first "
        "attempt that fails from then on. A sender that excluded DELAY by `NOTIFY` (RFC 3461) is not told. 0: only a "
        "sender that asked for it with `NOTIFY=DELAY` is told, after 4 h.",
    )
    attempt_timeout: float = setting(
        600.0,
        values.seconds(10, 86400),
        "Seconds that an attempt may take up to the reply to DATA, over all hosts that it tries. The body must then "
        "proceed at 1 KiB a second, measured over a minute; the reply to the final dot has `dot_timeout`.",
    )
    quit_timeout: float = setting(5.0, values.seconds(1, 3600), "Seconds for the reply to QUIT.")
    binds: tuple[tuple[str, Bind], ...] = ()
    """The `[bind]` section in order: pod name (or `default`) and entry."""
    routes: tuple[Route, ...] = ()
    """The `[route:NAME]` sections in order."""


@dataclass(frozen=True, slots=True)
class BounceTemplates:
    """`outbound.bounce_message` and its html and image companions, as text; None: the file is missing."""

    text: str | None = None
    html: str | None = None
    image: bytes | None = None
