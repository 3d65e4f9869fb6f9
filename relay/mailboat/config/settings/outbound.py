"""`outbound.ini`, and its `[route:NAME]` sections."""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.config import values
from mailboat.config.nouns import Bind, Endpoint, InetPrefer, OAuthGrant, Protocol, RouteHost, TlsLevel
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class Route:
    """A `[route:NAME]` section: where mail for some domains, or all (`*`), is handed over."""

    name: str
    domains: tuple[str, ...] = setting(
        (),
        values.domains,
        "Recipient domains, separated by commas: exact, `.example.com` for all below it, or `*` for all. The most "
        "specific one decides.",
        shown_default="`*` where `senders` is set, else required",
    )
    senders: tuple[str, ...] = setting(
        (),
        values.senders,
        "Only mail from these, separated by commas: addresses, domains, `.example.com` for all below it, or `<>` for "
        "bounces and other mail without a sender. Domains of recipients are matched first; where several routes have "
        "the same one, the most specific sender decides.",
        shown_default="all",
    )
    hosts: tuple[RouteHost, ...] = setting(
        (),
        values.route_hosts,
        "Next hops `host[:port][/priority]`, separated by commas; lower priority first, equal ones in turn. "
        "A path is a unix socket. Names are looked up as the system does: `/etc/hosts`, then the search list of "
        "`/etc/resolv.conf`; one that ends in a dot is whole.",
    )
    protocol: Protocol = setting(Protocol.SMTP, values.choice(Protocol), "`smtp` or `lmtp` (RFC 2033).")
    tls: TlsLevel = setting(
        TlsLevel.OPPORTUNISTIC,
        values.choice(TlsLevel),
        "`disabled`, `opportunistic`, `required` (verified STARTTLS or defer), `implicit` (verified, at once). With a "
        "user, `opportunistic` means `required`, but for loopback addresses and unix sockets.",
    )
    ca: str = setting(
        "",
        values.path,
        "PEM file of the roots that verify the hosts' certificates, instead of those of tls.ini.",
    )
    auth_user: str = setting("", values.text, "User name for AUTH.")
    auth_user_file: str = setting(
        "", values.path, "File that holds the user name instead; read at load, its last newline removed."
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
        "Token server (RFC 6749 3.2) that gives access tokens: https, or http to loopback. Tokens stay in memory, are "
        "renewed before they expire, and once after a 535.",
    )
    oauth_client_id: str = setting("", values.oauth_text, "Name of the relay at the token server.")
    oauth_client_secret_file: str = setting(
        "",
        values.path,
        "File that holds the client's secret; read at load, its last newline removed. Required unless there is a "
        "refresh token.",
    )
    oauth_refresh_token_file: str = setting(
        "",
        values.path,
        "File that holds a refresh token (RFC 6749 6); read at load, its last newline removed. Unset: the client's own "
        "credentials are the grant (RFC 6749 4.4).",
    )
    oauth_scope: str = setting(
        "", values.oauth_text, "Scope to ask for, such as `https://outlook.office365.com/.default`."
    )
    oauth_ca: str = setting(
        "",
        values.path,
        "PEM file of the roots that verify the token server's certificate, instead of the system's.",
    )
    require_auth: bool = setting(
        False,
        values.boolean,
        "Defer when the host offers no usable AUTH. Otherwise such mail goes without, and a warning is logged. With "
        "access tokens it always waits.",
    )
    inet_prefer: InetPrefer | None = setting(
        None, values.optional(values.inet_prefer), "As in `[main]`, for this route.", shown_default="as in `[main]`"
    )
    connection_max_messages: int | None = setting(
        None,
        values.optional(values.integer(1, 1_000_000)),
        "As in `[main]`, for this route: 10 where the hosts are Exim's defaults, which only queue what comes after it.",
        shown_default="as in `[main]`",
    )
    auth_without_tls: bool = setting(
        False,
        values.boolean,
        "With a user, `tls=opportunistic` stays so: anyone on the path may read the password or access token, or "
        "take the host's place. CRAM-MD5, where the host offers it, does not show it.",
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
    """Why its mail waits, where the last good set is in force and a file that a key names cannot be used."""

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
        False, values.boolean, "Stop delivery attempts; mail is still received and queued. Switching it off resumes."
    )
    concurrency_max: int = setting(
        100,
        values.integer(1, 100_000),
        "Connections at once, in each worker; idle ones count. Those whose host keeps silent come on top, up to "
        "sixteen times as many, so that they delay no other host.",
    )
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
        "`v4-only` and `v6-only` use no other: a domain without such an address bounces. Never crosses MX preference.",
    )
    queue_dir: str = setting(
        "queue",
        values.path,
        "Directory of the queue, on a local file system with working locks.",
        restart=True,
        no_field="the queue is on the pod's volume: `MAILBOAT_QUEUE_DIR` of the pod names it",
    )
    dns_servers: tuple[Endpoint, ...] = setting(
        (), values.dns_servers, "DNS servers `address[:port]`, separated by commas.", shown_default="the system's"
    )
    mx_port: int = setting(25, values.integer(1, 65535), "Port of MX hosts. Anything but 25 is for tests.")
    destination_concurrency_max: int = setting(
        20,
        values.integer(1, 100_000),
        "Attempts at once to one destination (the MX hosts of a domain, whatever domains they serve, or a route), in "
        "each worker, at most: the relay begins with 2 and learns how many the hosts take.",
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
    attempt_timeout: float = setting(
        600.0,
        values.seconds(10, 86400),
        "Seconds that an attempt may take up to the reply to DATA, over all hosts that it tries. After that the body "
        "has to go on (1 KiB a second, over a minute), and for the reply to the final dot there is `dot_timeout`.",
    )
    quit_timeout: float = setting(5.0, values.seconds(1, 3600), "Seconds for the reply to QUIT.")
    binds: tuple[tuple[str, Bind], ...] = ()
    """The `[bind]` section in its order: pod name (or `default`) and entry."""
    routes: tuple[Route, ...] = ()
    """The `[route:NAME]` sections in their order."""


@dataclass(frozen=True, slots=True)
class BounceTemplates:
    """`outbound.bounce_message` and its html and image companions, as text; None: the file is missing."""

    text: str | None = None
    html: str | None = None
    image: bytes | None = None
