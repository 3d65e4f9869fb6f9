"""The TXT record of `_smtp._tls.DOMAIN`: where reports about mail for a domain go (RFC 8460 3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

MAX_ADDRESSES: Final = 5
"""Addresses that are used of one record; those beyond are ignored."""

_VERSION: Final = "v=TLSRPTv1;"
_WSP: Final = " \t"
_MAILBOX: Final = re.compile(r"[!-?A-~]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?){1,127}")
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_URL: Final = re.compile(r"https://[!-~]{1,2000}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A record with at least one address that can be used."""

    text: str
    """The record as published."""
    mail: tuple[str, ...] = ()
    """Mailboxes of `mailto:`."""
    urls: tuple[str, ...] = ()
    """URLs of `https:`, whose host is a name and no address."""


def is_mailbox(text: str) -> bool:
    """Whether this is a mail address in plain ASCII."""
    return _MAILBOX.fullmatch(text) is not None


def name_of(domain: str) -> str:
    """Where a domain publishes its record."""
    return f"_smtp._tls.{domain}"


def read_record(texts: Iterable[str]) -> ReportRecord | None:
    """The record among the TXT records of the name; None if reports are not wanted, or go nowhere.

    Of several records that begin with the version none counts (RFC 8460 3). The first `rua` counts.
    """
    records = [text for text in texts if text.startswith(_VERSION)]
    if len(records) != 1:
        return None
    for field in records[0].split(";")[1:]:
        name, _, value = field.strip(_WSP).partition("=")
        if name.strip(_WSP) == "rua":
            return _record(records[0], value.split(","))
    return None


def _record(text: str, uris: Iterable[str]) -> ReportRecord | None:
    usable = list(dict.fromkeys(_usable(uris)))[:MAX_ADDRESSES]
    mail = tuple(address for address in usable if not _is_url(address))
    return ReportRecord(text, mail, tuple(filter(_is_url, usable))) if usable else None


def _usable(uris: Iterable[str]) -> Iterator[str]:
    for uri in uris:
        scheme, colon, rest = uri.strip(_WSP).partition(":")
        if not colon:
            continue
        if scheme.lower() == "mailto":
            mailbox = unquote(rest.partition("?")[0])
            if is_mailbox(mailbox):
                yield mailbox
        elif scheme.lower() == "https" and _is_usable_url(url := f"https:{rest}"):
            yield url


def _is_url(address: str) -> bool:
    return address.startswith("https://")


def _is_usable_url(url: str) -> bool:
    if not _URL.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    return port != 0 and "@" not in parts.netloc and _HOST.fullmatch(host) is not None
