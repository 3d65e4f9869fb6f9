"""docs/outboundconfig.md: the prose of `outboundconfig.md.in`, and every field from the CRD.

Called by `scripts.docs`; a test fails when the page has drifted.
"""

from __future__ import annotations

from pathlib import Path

from scripts.pages.crd_fields import IniKeys, field_tables

from mailboat_operator import fields

_KEYS: IniKeys = {
    "spec.outbound": ("outbound.ini", fields.OUTBOUND),
    "spec.routes[]": ("outbound.ini [route:NAME]", fields.ROUTE),
    "spec.routes[].oauth": ("outbound.ini [route:NAME]", fields.ROUTE_OAUTH),
    "spec.tenants[]": ("tenants.ini [tenant:NAME]", fields.TENANT),
    "spec.tlsReports": ("tlsrpt.ini", fields.TLS_REPORTS),
    "spec.shaping": ("shaping.ini", fields.SHAPING),
    "spec.shaping.providers[]": ("shaping.ini [provider:NAME]", fields.SHAPING_PROVIDER),
    "spec.shaping.scopes[]": ("shaping.ini [KIND:NAME]", fields.SHAPING_SCOPE),
    "spec.shaping.scopes[].limits": ("shaping.ini [KIND:NAME]", fields.SHAPING_LIMITS),
    "spec.shaping.rules[]": ("shaping.ini [rule:NAME]", fields.SHAPING_RULE),
    "spec.tls": ("tls.ini", fields.TLS),
    "spec.tls.outbound": ("tls.ini [outbound]", fields.TLS_OUTBOUND),
}


def render() -> str:
    """The whole page."""
    unreachable = [f"| `{file}` | `{key}` | {why} |" for (file, key), why in fields.UNREACHABLE.items()]
    template = Path(__file__).with_name("outboundconfig.md.in").read_text(encoding="utf-8")
    parts = {"@fields@": field_tables("outboundconfigs.yaml", _KEYS), "@unreachable@": "\n".join(unreachable)}
    for mark, text in parts.items():
        template = template.replace(mark, text)
    return template
