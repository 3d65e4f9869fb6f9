"""`smtp.ini`."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.config import values
from mailboat.config.nouns import BareNewline, Endpoint, Nul
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """`smtp.ini`: how mail is received."""

    listen: tuple[Endpoint, ...] = setting(
        (Endpoint("127.0.0.1", 2525), Endpoint("::1", 2525)),
        values.endpoints,
        "Addresses that accept SMTP, separated by commas; a port alone means all addresses. The default is loopback, "
        "so that a first start opens no port to the network.",
        restart=True,
    )
    submission_listen: tuple[Endpoint, ...] = setting(
        (),
        values.endpoints,
        "Addresses for message submission (RFC 6409): if a plugin offers AUTH, clients that may not relay by address "
        "must authenticate before MAIL. The same always holds for port 587 and `smtps_listen`; this key is for other "
        "ports, such as one behind a Service or a port mapping.",
        restart=True,
    )
    smtps_listen: tuple[Endpoint, ...] = setting(
        (), values.endpoints, "Addresses that accept SMTP inside TLS from the first octet (RFC 8314 3.3).", restart=True
    )
    nodes: int = setting(
        0,
        values.nodes,
        "Number of worker processes: `0` and `1` mean one, `cpus` one for each CPU. Each has its own queue database.",
        restart=True,
    )
    inactivity_timeout: float = setting(
        300.0,
        values.seconds(1, 86400),
        "Seconds that a client may take to send a command, or between two pieces of a message (RFC 5321 4.5.3.2.7).",
    )
    max_connections: int = setting(
        1000, values.integer(1, 1_000_000), "Concurrent inbound connections in each worker; one more gets 421."
    )
    max_connections_per_client: int = setting(
        100,
        values.integer(1, 1_000_000),
        "Concurrent inbound connections from one address, in each worker; from one IPv6 /64 if it may not relay.",
    )
    max_strangers: int = setting(
        0,
        values.integer(0, 1_000_000),
        "Concurrent inbound connections, in each worker, of clients that may not relay, neither by address nor by "
        "AUTH. When one more arrives, here or beyond `max_connections`, the oldest idle one of these is closed with "
        "421. `0`: nine tenths of `max_connections`, but no more than fit into a quarter of the memory limit at 1 MiB "
        "each.",
    )
    auth_backoff_max: float = setting(
        60.0,
        values.seconds(0, 86400),
        "Longest time in seconds for which AUTH is refused after failures of an address (IPv6: of a /64) or for a "
        "user name. From the fifth failure on, counted over all connections, further attempts get 454 for 1 second, "
        "then 2, 4, … Clients that have authenticated as this user before are exempt. Counted in each worker; `0`: "
        "never.",
    )
    max_recipients: int = setting(
        1000,
        values.integer(1, 1_000_000),
        "Recipients of one message; one more gets 452 4.5.3. RFC 5321 4.5.3.1.8 requires at least 100.",
    )
    max_errors: int = setting(
        20,
        values.integer(1, 10_000),
        "Refused commands in one connection before it is closed with 421. EHLO, HELO, NOOP, RSET, VRFY and HELP also "
        "count after 100 of them without a message.",
    )
    databytes: int = setting(
        26_214_400,
        values.size_limit(1024, 2**40),
        "Largest message in octets; announced as SIZE (RFC 1870) and checked again while the message is received. "
        "`0`, which means no limit in Postfix and Haraka, means 1 TiB, the highest value: the disk is then the limit.",
    )
    data_line_length: int = setting(
        65_536,
        values.integer(1000, 2**20),
        "Longest line of a message in octets. RFC 5321 4.5.3.1.6 guarantees only 1000, but much real mail has longer "
        "lines, and a relay passes them on unchanged.",
    )
    max_received: int = setting(
        100,
        values.integer(1, 10_000),
        "Received headers that a message may have; one more means a loop (RFC 5321 6.3).",
    )
    bare_newline: BareNewline = setting(
        BareNewline.REFUSE,
        values.choice(BareNewline),
        "A CR or LF alone in a message: `refuse` with 550 5.6.0, or `normalize` to CRLF. It never ends the message.",
    )
    nul: Nul = setting(
        Nul.PASS,
        values.choice(Nul),
        "NUL octets in a message: `pass` them on, `strip` them, or `refuse` the message with 550 5.6.0. Such messages "
        "are always counted. [Which hosts refuse them](delivery.md#what-clients-send).",
    )
    message_drop_headers: tuple[str, ...] = setting(
        (),
        values.field_names,
        "Header fields to remove from every message, separated by commas, such as `bcc, resent-bcc`, which other "
        "recipients must not see (RFC 5322 3.6.3). None by default: a relay passes messages on unchanged. If set, a "
        "message whose header exceeds 256 KiB is refused with 552 5.3.4.",
    )
    strict_rfc1869: bool = setting(
        False,
        values.boolean,
        "Refuse addresses without angle brackets (`MAIL FROM:a@b`) from all clients. Otherwise they are accepted from "
        "clients that may relay: printers and scanners send them.",
    )
    await_outbound: bool = setting(False, values.boolean, "Hold delivery until `outbound.ini` exists.")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All addresses that accept SMTP."""
        return (*self.listen, *self.submission_listen, *self.smtps_listen)
