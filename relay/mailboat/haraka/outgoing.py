"""Haraka's settings of delivery: `outbound.ini`, the flat files of old, `queue_dir`, and the bounce templates."""

from __future__ import annotations

from mailboat.config import values
from mailboat.config.legacy import REMOVED_KEYS
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import MAIN, HarakaDirectory, Ini, Item, boolean, integer

FILE = "outbound.ini"
TEMPLATES = ("outbound.bounce_message", "outbound.bounce_message_html", "outbound.bounce_message_image")


def convert(source: HarakaDirectory, product: Product) -> None:
    """Read all of it."""
    ini = source.ini(FILE)
    for key, default in (("disabled", False), ("enable_tls", True), ("always_split", False), ("local_mx_ok", False)):
        _switch(ini.pop(MAIN, key), source.value(f"outbound.{key}"), key, default, product)
    concurrency, legacy = ini.pop(MAIN, "concurrency_max"), source.value("outbound.concurrency_max")
    _number(concurrency, legacy, "concurrency_max", product)
    if concurrency is None and legacy is None:
        product.journal.remark(
            SourceLine(FILE, 0, "concurrency_max"), "is 100 if it is unset; Haraka's code takes 10000"
        )
    _received(ini.pop(MAIN, "received_header") or source.value("outbound.received_header"), product)
    _connect_timeout(ini.pop(MAIN, "connect_timeout"), product)
    _intervals(ini, source, product)
    _inet_prefer(ini.pop(MAIN, "inet_prefer"), product)
    _queue_dir(source.value("queue_dir"), product)
    for item in (source.value("outbound.ipv6_enabled"), *ini.rest(MAIN)):
        if item is not None:
            product.journal.lost(item.place, _why(FILE, item.key.removeprefix("outbound.")))
    for section in ini.sections():
        product.journal.lost(ini.rest(section)[0].place, f"Haraka reads no section [{section}] of this file")
    for name in TEMPLATES:
        _template(name, source, product)


def _why(file: str, key: str) -> str:
    return REMOVED_KEYS.get(file, {}).get(key, "unknown key")


def _switch(item: Item | None, legacy: Item | None, key: str, default: bool, product: Product) -> None:
    """A boolean; the flat file of old can only switch it on."""
    on = boolean(item, product.journal) if item else default
    if legacy is not None and boolean(legacy, product.journal) and not on:
        on, item = True, legacy
        product.journal.became(legacy.place, f"{key} in {FILE}")
    elif legacy is not None:
        product.journal.lost(legacy.place, f"{FILE} says the same or more")
    if item is not None:
        product.put(item.place, FILE, MAIN, key, "true" if on else "false")


def _number(item: Item | None, legacy: Item | None, key: str, product: Product) -> None:
    number = integer(item, product.journal) if item else None
    if item is not None and number is not None and number <= 0:
        product.journal.lost(item.place, f"{number} means the default to Haraka")
        number = None
    if number is None and legacy is not None:
        item, number = legacy, integer(legacy, product.journal)
        product.journal.became(legacy.place, f"{key} in {FILE}")
    if item is not None and number is not None:
        product.put(item.place, FILE, MAIN, key, str(number))


def _received(item: Item | None, product: Product) -> None:
    if item is None or not item.value:
        return
    if item.place.file != FILE:
        product.journal.became(item.place, f"received_header in {FILE}")
    product.put(item.place, FILE, MAIN, "received_header", item.value)


def _connect_timeout(item: Item | None, product: Product) -> None:
    if item is None:
        return
    seconds = integer(item, product.journal)
    if seconds is not None and seconds > 0 and product.put(item.place, FILE, MAIN, "connect_timeout", str(seconds)):
        text = "is for connecting only; each later step has its own timeout (helo_timeout … dot_timeout)"
        product.journal.remark(item.place, text)


def _intervals(ini: Ini, source: HarakaDirectory, product: Product) -> None:
    item = ini.pop(MAIN, "temp_fail_intervals") or source.value("outbound.temp_fail_intervals")
    most = ini.pop(MAIN, "maxTempFailures") or source.value("outbound.maxTempFailures")
    given = _given_intervals(item, product)
    if most is None:
        return
    if given:
        product.journal.lost(most.place, "temp_fail_intervals rules")
        return
    number = integer(most, product.journal)
    if number is not None:
        product.put(most.place, FILE, MAIN, "maxTempFailures", str(number))


def _given_intervals(item: Item | None, product: Product) -> bool:
    if item is None or not item.value.strip():
        return False
    try:
        values.intervals(item.value)
    except ValueError as error:
        text = f"{error}; Haraka may read it differently or use its default schedule, as Mailboat does now"
        product.journal.lost(item.place, text)
        return False
    if item.place.file != FILE:
        product.journal.became(item.place, f"temp_fail_intervals in {FILE}")
    return product.put(item.place, FILE, MAIN, "temp_fail_intervals", item.value)


def _inet_prefer(item: Item | None, product: Product) -> None:
    if item is None:
        return
    if item.value.lower() not in ("v4", "v6", "default"):
        product.journal.lost(item.place, f"{item.value[:60]!r} means the default to Haraka")
        return
    if item.value.lower() != "default" and product.put(item.place, FILE, MAIN, "inet_prefer", item.value):
        product.journal.remark(item.place, "chooses among the addresses of each MX; MX preference comes first")


def _queue_dir(item: Item | None, product: Product) -> None:
    if item is None:
        return
    text = "Haraka's queue files are not read: have Haraka deliver what is in its queue, and name another directory"
    product.journal.lost(item.place, f"{text} in queue_dir of {FILE}")


def _template(name: str, source: HarakaDirectory, product: Product) -> None:
    content = source.content(name) if name.endswith("_image") else (source.text(name) or "").encode()
    if not content:
        return
    product.file(name, content)
    if name == TEMPLATES[0] and b"{to}" in content:
        text = "{to} is the recipient that failed, and {from} the sender; with Haraka {to} was the sender"
        product.journal.remark(
            SourceLine(name), f"{text}. The header fields To, Date and Message-Id are the report's own"
        )
