"""The `{name}` placeholders of bounce templates: `message` fills them in, `config` warns of all others."""

from __future__ import annotations

import re

PLACEHOLDER = re.compile(r"\{(\w{1,64})\}")
"""One in a template; its group is the name."""

PLACEHOLDERS = frozenset(
    {"pid", "date", "me", "from", "msgid", "to", "recipients", "reason", "extended_reason", "subject"}
)
"""The defined names; docs/configuration.md explains them."""


def unknown(template: str) -> tuple[str, ...]:
    """The undefined names in a template, each once, in order."""
    names = (found[1] for found in PLACEHOLDER.finditer(template))
    return tuple(dict.fromkeys(name for name in names if name not in PLACEHOLDERS))
