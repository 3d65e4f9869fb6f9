"""The `{name}` placeholders of bounce templates: `message` fills them in, `config` warns of all others."""

from __future__ import annotations

import re

PLACEHOLDER = re.compile(r"\{(\w{1,64})\}")
"""One in a template; its group is the name."""

PLACEHOLDERS = frozenset(
    {"pid", "date", "me", "from", "msgid", "to", "recipients", "reason", "extended_reason", "subject"}
)
"""The names that stand for something; docs/configuration.md says for what."""


def unknown(template: str) -> tuple[str, ...]:
    """The names in a template that stand for nothing, each once, in their order."""
    names = (found[1] for found in PLACEHOLDER.finditer(template))
    return tuple(dict.fromkeys(name for name in names if name not in PLACEHOLDERS))
