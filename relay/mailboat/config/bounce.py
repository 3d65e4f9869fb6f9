"""The names of the bounce templates, and what to warn of in them. Pure; `load` and the operator ask."""

from __future__ import annotations

from collections.abc import Iterator

from mailboat.model.placeholders import unknown

TEXT = "outbound.bounce_message"
HTML = f"{TEXT}_html"
IMAGE = f"{TEXT}_image"


def warnings_of(text: str | None) -> Iterator[str]:
    """What a template says that will not be filled in as its author may think."""
    for name in unknown(text or ""):
        yield f"{{{name}}} is not a placeholder: `?` is inserted"
