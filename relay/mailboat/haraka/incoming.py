"""Haraka's settings of receiving: `smtp.ini`, `connection.ini`, `me`, sizes, and its time limits of plugins."""

from __future__ import annotations

import re

from mailboat.config.legacy import REMOVED_KEYS
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import MAIN, HarakaDirectory, Item, boolean, integer

FILE = "smtp.ini"
CONNECTION = "connection.ini"

_ENDPOINT = re.compile(r"\[(?P<v6>[0-9a-fA-F:.]+)\]:(?P<port6>\d+)|(?:(?P<host>[\w.-]+):)?(?P<port>\d+)", re.ASCII)
_WILDCARDS = ("::", "::0", "0::0")
_FATE: dict[tuple[str, str], str] = {
    ("max", "line_length"): "the limit is that of RFC 5321, or of SMTPUTF8 if it is used",
    (
        "max",
        "data_line_length",
    ): "Haraka folds longer lines; Mailboat keeps them, up to data_line_length of smtp.ini",
    ("max", "mime_parts"): "the parts of a message are not examined",
    ("headers", "clean_auth_results"): "Authentication-Results is neither added nor removed",
    ("headers", "show_version"): "Received names Mailboat, without a version",
    ("headers", "max_lines"): "the header may be as long as the message",
    (MAIN, "spool_dir"): "large messages are written directly to the queue's directory",
    (MAIN, "spool_after"): "messages above 256 KiB are stored in files, smaller ones in the database",
    (MAIN, "smtputf8"): "SMTPUTF8 is always offered",
}
_SECTIONS = {
    "haproxy": "the PROXY protocol is not supported",
    "message": "the texts of replies are fixed",
    "banner": "the texts of replies are fixed",
    "uuid": "the greeting shows no id; 250 shows the queue id",
}


def convert(source: HarakaDirectory, product: Product) -> None:
    """Read all of it."""
    _me(source, product)
    _smtp(source, product)
    _connection(source, product)
    databytes = source.value("databytes")
    if databytes is not None and "databytes" not in product.inis.get(FILE, {}).get(MAIN, {}):
        _size(databytes, product)
    elif databytes is not None:
        product.journal.lost(databytes.place, f"[max] bytes of {CONNECTION} has priority")


def _me(source: HarakaDirectory, product: Product) -> None:
    item = source.value("me")
    if item is not None:
        product.file("me", f"{item.value}\n".encode())
    for place, _ in (source.lines("host_list") or [])[:1]:
        product.journal.lost(SourceLine(place.file), "Mailboat has no local domains: it relays, and keeps no mailboxes")


def _smtp(source: HarakaDirectory, product: Product) -> None:
    ini = source.ini(FILE)
    found = _listen(ini.pop(MAIN, "listen"), ini.pop(MAIN, "listen_host"), ini.pop(MAIN, "port"), product)
    _write_listen(found, ini.pop(MAIN, "smtps_port"), product)
    for key in ("inactivity_timeout", "nodes"):
        item = ini.pop(MAIN, key)
        if item is not None:
            product.put(item.place, FILE, MAIN, key, item.value)
    for item in ini.rest(MAIN):
        product.journal.lost(item.place, REMOVED_KEYS[FILE].get(item.key, "unknown key"))
    for section in ini.sections():
        product.journal.lost(ini.rest(section)[0].place, f"Haraka reads no section [{section}] of this file")


def _write_listen(found: list[str], implicit: Item | None, product: Product) -> None:
    """Haraka speaks TLS from the first octet on one port, if it has a certificate."""
    place = implicit.place if implicit else SourceLine(FILE)
    secure = [one for one in found if one.rpartition(":")[2] == (implicit.value if implicit else "465")]
    plain = [one for one in found if one not in secure]
    if secure and not product.has_certificate:
        product.journal.lost(place, f"{', '.join(secure)}: TLS from the first octet needs a certificate")
        secure = []
    if secure:
        product.journal.became(place, f"smtps_listen={', '.join(secure)}")
        product.put(place, FILE, MAIN, "smtps_listen", ", ".join(secure))
    if plain or secure:
        product.put(place, FILE, MAIN, "listen", ", ".join(plain))


def _listen(listen: Item | None, host: Item | None, port: Item | None, product: Product) -> list[str]:
    """Where to listen; a place where Mailboat cannot is noted."""
    journal = product.journal
    if listen is None and (host or port):
        old = f"{host.value if host else '[::0]'}:{port.value if port else 25}"
        for item in filter(None, (host, port)):
            journal.became(item.place, f"listen={old}")
        listen = Item((host or port or Item(SourceLine(FILE), MAIN, "", "")).place, MAIN, "listen", old)
    elif listen is not None:
        for item in filter(None, (host, port)):
            journal.lost(item.place, "listen rules")
    if listen is None:
        journal.became(SourceLine(FILE), "listen=25, Haraka's default: all addresses")
        return ["25"]
    found: list[str] = []
    for word in re.split(r"[,\s]+", listen.value.strip(", ")):
        match = _ENDPOINT.fullmatch(word)
        if not match:
            journal.lost(listen.place, f"{word[:60]!r} is not an address with a port; unix sockets are not listened on")
        elif match["v6"]:
            # Haraka's wildcard takes IPv4 too; ours says so by naming no address.
            everywhere = match["v6"] in _WILDCARDS
            found.append(match["port6"] if everywhere else word)
        else:
            found.append(word)
    if "," not in listen.value and len(found) == 1 and found[0] != listen.value:
        journal.became(listen.place, found[0])
    return found


def _connection(source: HarakaDirectory, product: Product) -> None:
    ini, journal = source.ini(CONNECTION), product.journal
    for key in ("bytes", "max_bytes"):
        if (item := ini.pop("max", key)) is not None:
            _size(item, product)
    hops = ini.pop("headers", "max_received")
    if hops is not None and (number := integer(hops, journal)) is not None:
        product.put(hops.place, FILE, MAIN, "max_received", str(number))
        journal.became(hops.place, f"max_received in {FILE}")
    strict = ini.pop(MAIN, "strict_rfc1869")
    if strict is not None and (is_strict := boolean(strict, journal)) is not None:
        product.put(strict.place, FILE, MAIN, "strict_rfc1869", "true" if is_strict else "false")
        journal.became(strict.place, f"strict_rfc1869 in {FILE}")
    added = ini.pop("headers", "add_received")
    if added is not None and not boolean(added, journal):
        journal.lost(added.place, "a Received header is always added (RFC 5321 4.4)")
    for section in ini.sections():
        for item in ini.rest(section):
            why = _SECTIONS.get(section) or _FATE.get(
                (section, item.key), f"no part of Mailboat has [{section}] {item.key}"
            )
            journal.lost(item.place, why)


def _size(item: Item, product: Product) -> None:
    number = integer(item, product.journal)
    if number is not None and product.put(item.place, FILE, MAIN, "databytes", str(number)):
        product.journal.became(item.place, f"databytes in {FILE}")
