"""Haraka's `tls.ini`, keys and certificates."""

from __future__ import annotations

from pathlib import PurePath

from mailboat.config.files import FileError
from mailboat.config.legacy import REMOVED_KEYS, REMOVED_SECTIONS
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import MAIN, HarakaDirectory, Ini, Item, boolean
from mailboat.loading.directory import read_file

FILE = "tls.ini"
_FILES = {"key": "tls_key.pem", "cert": "tls_cert.pem", "ca": "", "dhparam": ""}
_TEXTS = ("ciphers", "minVersion")
_BOOLEANS = ("requestCert", "rejectUnauthorized", "honorCipherOrder")
_LISTS = ("force_tls_hosts", "no_tls_hosts")


def convert(source: HarakaDirectory, product: Product) -> None:
    """Read all of it. `[outbound]` inherits from `[main]` in both."""
    ini = source.ini(FILE)
    for section in (MAIN, "outbound"):
        for key, default in _FILES.items():
            _file(ini, section, key, default if section == MAIN else "", source, product)
        for key in _TEXTS:
            item = ini.pop(section, key)
            if item is not None and item.value:
                product.put(item.place, FILE, section, key, item.value)
        for key in _BOOLEANS:
            item = ini.pop(section, key)
            if item is not None:
                product.put(item.place, FILE, section, key, "true" if boolean(item, product.journal) else "false")
        for key in _LISTS:
            for item in ini.pop_list(section, key):
                product.append(item.place, FILE, section, key, item.value)
    _hosts_without_tls(ini, product)
    for section in ini.sections():
        for item in ini.rest(section):
            known = REMOVED_SECTIONS[FILE].get(section) or REMOVED_KEYS[FILE].get(item.key)
            product.journal.lost(item.place, known or "unknown key")


def _hosts_without_tls(ini: Ini, product: Product) -> None:
    """`[no_tls_hosts]` is about clients there; in Mailboat a client that wants no TLS does not ask for it."""
    for item in ini.rest("no_tls_hosts"):
        product.journal.lost(item.place, "TLS is offered to every client, and no client has to use it")


def _file(ini: Ini, section: str, key: str, default: str, source: HarakaDirectory, product: Product) -> None:
    """A key or certificate: named in the ini and copied, or there under its usual name."""
    found = ini.pop_list(section, key)
    for item in found[1:]:
        product.journal.lost(item.place, "only the first one is used; one key and certificate serve all names")
    name = found[0].value if found else default
    place = found[0].place if found else SourceLine(name or FILE)
    if not name or (not found and not source.has(name)):
        return
    if found and name != default:
        product.put(place, FILE, section, key, name)
    if not PurePath(name).is_absolute():
        _copy(name, place, found[0] if found else None, source, product)


def _copy(name: str, place: SourceLine, item: Item | None, source: HarakaDirectory, product: Product) -> None:
    path = PurePath(name)
    if ".." in path.parts:
        content, why = None, f"{name} is outside the directory: write an absolute path"
    else:
        content, why = _content(name, source)
    if content is None:
        product.journal.lost(place, why)
        if item is not None:
            for section in product.inis.get(FILE, {}).values():
                section.pop(item.key, None)
        return
    product.file(path.as_posix(), content, secret=True)


def _content(name: str, source: HarakaDirectory) -> tuple[bytes | None, str]:
    source.content(PurePath(name).parts[0])  # not forgotten, whatever becomes of it
    try:
        return read_file(source.path / name), ""
    except FileNotFoundError:
        return None, f"{name} does not exist"
    except FileError as error:
        return None, f"{name} {error}"
