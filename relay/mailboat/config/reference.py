"""Writes docs/configuration.md: the prose of `reference.md.in`, the tables from the metadata of the settings.

Run as `python -m mailboat.config.reference > docs/configuration.md`; a test fails when the page has drifted. Nothing
imports this.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib import resources

from mailboat.config.settings import HttpSettings, NamedKey, OutboundSettings, Route, SmtpSettings, TlsSettings, keys_of
from mailboat.config.show import text_of

_TABLES: Mapping[str, type] = {
    "smtp.ini": SmtpSettings,
    "http.ini": HttpSettings,
    "outbound.ini": OutboundSettings,
    "route": Route,
    "tls.ini": TlsSettings,
}
_HEAD = "| key | default | meaning | a change |\n|---|---|---|---|"


def render() -> str:
    """The whole page."""
    template = resources.files("mailboat.config").joinpath("reference.md.in").read_text(encoding="utf-8")
    return re.sub(r"^@([a-z.]+)@$", lambda match: _table(_TABLES[match[1]]), template, flags=re.MULTILINE)


def _table(kind: type) -> str:
    return "\n".join([_HEAD, *(_row(key) for key in keys_of(kind))])


def _row(key: NamedKey) -> str:
    name = f"{key.ini}[]" if key.is_list else key.ini
    effect = "**restart**" if key.key.restart else "live"
    meaning = key.key.doc.replace("|", "\\|")
    return f"| `{name}` | {_default(key)} | {meaning} | {effect} |"


def _default(key: NamedKey) -> str:
    if key.key.shown_default:
        return key.key.shown_default.replace("|", "\\|")
    text = text_of(key, key.default)
    return f"`{text}`" if text else "none"


if __name__ == "__main__":
    sys.stdout.write(render())
