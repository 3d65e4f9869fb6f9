"""docs/configuration.md: the prose of `configuration.md.in`, the tables from the metadata of the settings.

Called by `scripts.docs`; a test fails when the page has drifted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mailboat.config.settings import (
    DkimDomain,
    DkimSettings,
    HttpSettings,
    NamedKey,
    OutboundSettings,
    OutboundTlsSettings,
    ProviderSettings,
    Route,
    RuleSettings,
    ScopeSettings,
    ShapingSettings,
    SmtpSettings,
    Tenant,
    TlsReportSettings,
    TlsSettings,
    keys_of,
)
from mailboat.config.show import text_of

_TABLES: Mapping[str, type] = {
    "smtp.ini": SmtpSettings,
    "http.ini": HttpSettings,
    "outbound.ini": OutboundSettings,
    "route": Route,
    "tls.ini": TlsSettings,
    "tls.outbound": OutboundTlsSettings,
    "dkim.ini": DkimSettings,
    "domain": DkimDomain,
    "tlsrpt.ini": TlsReportSettings,
    "shaping.ini": ShapingSettings,
    "scope": ScopeSettings,
    "provider": ProviderSettings,
    "rule": RuleSettings,
    "tenants.ini": Tenant,
}
_HEAD = "| key | default | meaning | a change |\n|---|---|---|---|"


def render() -> str:
    """The whole page."""
    template = Path(__file__).with_name("configuration.md.in").read_text(encoding="utf-8")
    return re.sub(r"^@([a-z.]+)@$", lambda match: _table(_TABLES[match[1]]), template, flags=re.MULTILINE)


def _table(kind: type) -> str:
    inherited = {key.field for key in keys_of(kind.__base__ or object)} if kind.__base__ is not object else set()
    return "\n".join([_HEAD, *(_row(key) for key in keys_of(kind) if key.field not in inherited)])


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
