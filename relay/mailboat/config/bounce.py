"""The names of the bounce templates, and warnings about them. Pure; used by `load` and the operator."""

from __future__ import annotations

from collections.abc import Iterator

from mailboat.model.placeholders import unknown

TEXT = "outbound.bounce_message"
HTML = f"{TEXT}_html"
IMAGE = f"{TEXT}_image"


def warnings_of(text: str | None) -> Iterator[str]:
    """Warnings about a template's unknown placeholders."""
    for name in unknown(text or ""):
        yield f"{{{name}}} is not a placeholder: `?` is inserted"
