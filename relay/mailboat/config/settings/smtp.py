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
        "Addresses that accept SMTP, separated by commas; a port alone is all addresses. Loopback by default, so that "
        "a first start is never an open port.",
        restart=True,
    )
    submission_listen: tuple[Endpoint, ...] = setting(
        (),
        values.endpoints,
        "Addresses that accept SMTP from clients of ours (RFC 6409): who may not relay by address has to authenticate "
        "before MAIL, where a plugin offers AUTH. So it is on port 587 and in `smtps_listen` in any case; this is for "
        "other ports, such as one behind a Service or a port mapping.",
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
        1000, values.integer(1, 1_000_000), "Inbound connections at once, in each worker; one more gets 421."
    )
    max_connections_per_client: int = setting(
        100,
        values.integer(1, 1_000_000),
        "Inbound connections at once from one address, in each worker; from one IPv6 /64 where it may not relay.",
    )
    max_strangers: int = setting(
        0,
        values.integer(0, 1_000_000),
        "Inbound connections at once, in each worker, of clients that may not relay: neither by address nor by AUTH. "
        "For one more, as for one beyond `max_connections`, the oldest of them that is idle is closed with 421. `0`: "
        "nine tenths of `max_connections`, and no more than a quarter of the memory limit holds at 1 MiB each.",
    )
    auth_backoff_max: float = setting(
        60.0,
        values.seconds(0, 86400),
        "Seconds that an address (IPv6: a /64), and that a user name, is refused AUTH at most after failures: from the "
        "fifth on, in whatever connections they were, the next attempt gets 454 for 1 second, then 2, 4, … A client "
        "that has authenticated as this user before is excepted. In each worker; `0`: never.",
    )
    max_recipients: int = setting(
        1000,
        values.integer(1, 1_000_000),
        "Recipients a message; one more gets 452 4.5.3. RFC 5321 4.5.3.1.8 asks for at least 100.",
    )
    max_errors: int = setting(
        20,
        values.integer(1, 10_000),
        "Refused commands in one connection before it is closed with 421. EHLO, HELO, NOOP, RSET, VRFY and HELP count "
        "too beyond 100 of them without a message between.",
    )
    databytes: int = setting(
        26_214_400,
        values.size_limit(1024, 2**40),
        "Largest message in octets; offered as SIZE (RFC 1870) and checked again as the message comes in. `0`, no "
        "limit in Postfix and Haraka, is the most that can be given, 1 TiB: then the disk is the limit.",
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
    nul: Nul = setting(
        Nul.PASS,
        values.choice(Nul),
        "NUL octets in a message: `pass` them on, `strip` them, or `refuse` the message with 550 5.6.0. Counted in any "
        "case. [Which hosts refuse them](delivery.md#what-clients-send).",
    )
    message_drop_headers: tuple[str, ...] = setting(
        (),
        values.field_names,
        "Header fields that are taken out of every message, separated by commas, such as `bcc, resent-bcc`, which are "
        "not for the other recipients' eyes (RFC 5322 3.6.3). None by default: a relay passes on what it was given. A "
        "message whose header is longer than 256 KiB is then refused with 552 5.3.4.",
    )
    strict_rfc1869: bool = setting(
        False,
        values.boolean,
        "Refuse addresses without angle brackets (`MAIL FROM:a@b`) from all clients. Without it they are accepted from "
        "clients that may relay: printers, scanners and the like send them.",
    )
    await_outbound: bool = setting(False, values.boolean, "Hold delivery until `outbound.ini` exists.")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All that are listened on."""
        return (*self.listen, *self.submission_listen, *self.smtps_listen)
