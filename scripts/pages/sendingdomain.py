"""docs/sendingdomain.md: the prose of `sendingdomain.md.in`, and every field from the CRD. As `outboundconfig`."""

from __future__ import annotations

from pathlib import Path

from scripts.pages.crd_fields import field_tables


def render() -> str:
    """The whole page."""
    template = Path(__file__).with_name("sendingdomain.md.in").read_text(encoding="utf-8")
    return template.replace("@fields@", field_tables("sendingdomains.yaml", {}))
