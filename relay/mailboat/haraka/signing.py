"""Haraka's `dkim.ini` `[sign]` and the keys in `dkim/DOMAIN/`, which its plugins `dkim` and `dkim_sign` read."""

from __future__ import annotations

from mailboat.config.dkim import FILE, FOLDER, path_of
from mailboat.haraka.journal import SourceLine
from mailboat.haraka.product import Product
from mailboat.haraka.reader import MAIN, HarakaDirectory, Item, boolean

_SIGN = "sign"
_PLUGINS = ("dkim", "dkim_sign")
_DEFAULT_KEY = "dkim.private.key"
"""Of the domain that `[sign] domain` names, where it has no folder."""


def convert(source: HarakaDirectory, product: Product) -> None:
    """Read all of it, if one of the plugins is listed."""
    if not any(line in _PLUGINS for _, line in source.lines("plugins") or ()):
        return
    ini = source.ini(FILE)
    enabled, domain, selector, headers = (ini.pop(_SIGN, key) for key in ("enabled", "domain", "selector", "headers"))
    if enabled is None or not boolean(enabled, product.journal):
        product.put(SourceLine(FILE), FILE, MAIN, "enabled", "false")
    if headers is not None:
        product.put(headers.place, FILE, MAIN, "headers", headers.value)
    for name in source.names_in(FOLDER):
        _key(source, product, name, f"{FOLDER}/{name}/private", source.value(f"{FOLDER}/{name}/selector"))
    if domain is not None and domain.value:
        product.put(domain.place, FILE, MAIN, "fallback_domain", domain.value)
        if source.has(_DEFAULT_KEY):
            _key(source, product, domain.value, _DEFAULT_KEY, selector)
    for section in ini.sections():
        for item in ini.rest(section):
            product.journal.lost(item.place, "mail is signed, not verified" if section != _SIGN else "unknown key")


def _key(source: HarakaDirectory, product: Product, domain: str, path: str, selector: Item | None) -> None:
    """One key, under the name that the DNS has for it."""
    content = source.content(path)
    if content is None or selector is None or not selector.value:
        product.journal.lost(SourceLine(path), "a key and a selector are needed")
        return
    product.file(path_of(selector.value, domain).lower(), content, secret=True)
